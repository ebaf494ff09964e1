package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
)

// Gateway is the address of the lab's bridge, where the lab process and its servers listen.
const Gateway = "10.77.0.1"

const (
	bridgeCIDR = Gateway + "/16"
	netnsDir   = "/run/netns/"
)

// Net is the network of a lab. Its methods may be called from any goroutine.
type Net struct{ netns string }

// NetNS is the name of the network namespace, as ip(8) knows it.
func (n *Net) NetNS() string { return n.netns }

func (n *Net) file() string { return netnsDir + n.netns }

func (n *Net) create(ctx context.Context) error {
	if _, err := output(ctx, "", "ip", "netns", "add", n.netns); err != nil {
		return fmt.Errorf("create lab network: %w", err)
	}
	// A fixed address: else the bridge takes that of a device, and the others lose it when that device goes.
	err := ip(ctx, n.netns, "link set lo up", "link add br0 address 02:00:0a:4d:00:01 type bridge", "addr add "+bridgeCIDR+" dev br0", "link set br0 up")
	if err != nil {
		return fmt.Errorf("create lab network: %w", err)
	}
	return nil
}

// Listen listens inside the lab, TCP over IPv4. The host part of addr is an address of the lab or empty for all;
// the listener works from any goroutine and outlives none of the lab.
func (n *Net) Listen(addr string) (net.Listener, error) {
	if _, err := literal(addr, true); err != nil {
		return nil, fmt.Errorf("listen in lab: %w", err)
	}
	var ln net.Listener
	err := inNetNS(n.file(), func() (err error) {
		ln, err = net.Listen("tcp4", addr)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen in lab: %w", err)
	}
	return ln, nil
}

// Dial connects to an IPv4 address and port inside the lab.
func (n *Net) Dial(ctx context.Context, addr string) (net.Conn, error) {
	if _, err := literal(addr, false); err != nil {
		return nil, fmt.Errorf("dial in lab: %w", err)
	}
	var conn net.Conn
	err := inNetNS(n.file(), func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp4", addr)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("dial in lab: %w", err)
	}
	return conn, nil
}

// DialContext has the shape that http.Transport wants. The network is always TCP over IPv4.
func (n *Net) DialContext(ctx context.Context, _, addr string) (net.Conn, error) {
	return n.Dial(ctx, addr)
}

// literal refuses names: resolving one would ask the host's resolver, on another thread.
func literal(addr string, emptyHost bool) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q: %w", addr, err)
	}
	if host == "" && emptyHost {
		host = "0.0.0.0"
	}
	ap, err := netip.ParseAddrPort(net.JoinHostPort(host, port))
	if err != nil || !ap.Addr().Is4() {
		return netip.AddrPort{}, fmt.Errorf("address %q is not an IPv4 address and port", addr)
	}
	return ap, nil
}

// Command prepares a process of the host that sees only the lab's network, such as a server under test. Its file
// system is the host's. The process keeps the pid of the started command, so signals reach it directly.
func (n *Net) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + n.file(), "--", name}, args...)...)
}
