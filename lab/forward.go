package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"strconv"
	"time"
)

// Forward makes an address inside the lab reachable at an address of the host, such as "127.0.0.1:8443", until the
// lab closes. Port 0 picks a free one; the address in use is returned. Only the owner of the lab can forward.
func (l *Lab) Forward(hostAddr, labAddr string) (string, error) {
	if _, err := literal(labAddr, false); err != nil {
		return "", fmt.Errorf("forward: %w", err)
	}
	return l.forward(hostAddr, labAddr, func(ctx context.Context) (net.Conn, error) { return l.Net.Dial(ctx, labAddr) })
}

// Forward makes an address of the device itself, such as one of its loopback, reachable at an address of the host; see
// Lab.Forward. While the device is off, connections are closed at once.
func (d *Device) Forward(hostAddr, deviceAddr string) (string, error) {
	if _, err := literal(deviceAddr, false); err != nil {
		return "", fmt.Errorf("forward: %w", err)
	}
	return d.lab.forward(hostAddr, d.name+" "+deviceAddr, func(ctx context.Context) (conn net.Conn, err error) {
		r, err := d.running()
		if err != nil {
			return nil, err
		}
		err = inNetNS("/proc/"+strconv.Itoa(r.System.PID)+"/ns/net", func() (err error) {
			conn, err = new(net.Dialer).DialContext(ctx, "tcp4", deviceAddr)
			return err
		})
		return conn, err
	})
}

func (l *Lab) forward(hostAddr, label string, dial func(context.Context) (net.Conn, error)) (string, error) {
	if !l.owner {
		return "", errors.New("forward: the lab belongs to another process")
	}
	ln, err := net.Listen("tcp", hostAddr)
	if err != nil {
		return "", fmt.Errorf("forward: %w", err)
	}
	l.mu.Lock()
	l.closers = append(l.closers, ln)
	l.mu.Unlock()
	l.ending.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return // closed with the lab
			}
			l.ending.Go(func() { l.relay(conn, label, dial) })
		}
	})
	addr := ln.Addr().String()
	return addr, l.saveState(func(s *State) {
		forwards := map[string]string{addr: label} // a new map, as State hands out the old one
		maps.Copy(forwards, s.Forwards)
		s.Forwards = forwards
	})
}

// relay copies both ways until both sides have said all, or the lab closes.
func (l *Lab) relay(outside net.Conn, label string, dial func(context.Context) (net.Conn, error)) {
	defer outside.Close()
	ctx, cancel := context.WithTimeout(l.life, 10*time.Second)
	defer cancel()
	inside, err := dial(ctx)
	if err != nil {
		l.log.Warn("forward", "to", label, "err", err)
		return
	}
	defer inside.Close()
	defer context.AfterFunc(l.life, func() { outside.Close(); inside.Close() })()
	done := make(chan struct{})
	go func() {
		defer close(done)
		copyHalf(inside, outside)
	}()
	copyHalf(outside, inside)
	<-done
}

// copyHalf copies one direction and passes its end on, leaving the other direction open.
func copyHalf(dst, src net.Conn) {
	_, err := io.Copy(dst, src)
	if tcp, ok := dst.(*net.TCPConn); ok && err == nil {
		_ = tcp.CloseWrite() // the other end may have closed already
		return
	}
	_ = dst.Close() // a broken direction breaks both
}
