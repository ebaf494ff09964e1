package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// listener accepts connections, applies the caps on strangers to them and makes the handshakes: a stranger over
// the caps is closed before it costs one, and so many are computed at a time that those who are in already are
// answered meanwhile. Package http gets connections whose handshake is done.
type listener struct {
	net.Listener
	conf   *tls.Config
	conns  *conns
	hands  *line[netip.Prefix]
	within time.Duration // for the whole handshake
	log    *slog.Logger

	start  sync.Once
	ready  chan *tls.Conn
	failed chan error // of the listener below; one at most
	open   context.Context
	close  context.CancelFunc
}

func (g *Gateway) listen(l net.Listener) *listener {
	out := &listener{Listener: l, conf: g.tls, conns: g.conns, hands: g.hands, within: g.Limits.HeaderTimeout, log: g.Log,
		ready: make(chan *tls.Conn), failed: make(chan error, 1)}
	out.open, out.close = context.WithCancel(context.Background())
	return out
}

// Accept returns the next connection whose handshake succeeded.
func (l *listener) Accept() (net.Conn, error) {
	l.start.Do(func() { go l.run() })
	select {
	case c := <-l.ready:
		return c, nil
	case err := <-l.failed:
		return nil, err
	case <-l.open.Done():
		return nil, net.ErrClosed
	}
}

// giveBack returns a connection that was taken out of net/http.
func (l *listener) giveBack(c *tls.Conn) {
	select {
	case l.ready <- c:
	case <-l.open.Done():
		_ = c.Close() // the server stops
	}
}

// Close ends Accept, and the handshakes that are under way.
func (l *listener) Close() error {
	l.close()
	return l.Listener.Close()
}

// run accepts until the listener is closed. Errors that pass, such as too many open files, are waited out.
func (l *listener) run() {
	for {
		c, err := l.Listener.Accept()
		var passing interface{ Temporary() bool }
		switch {
		case errors.As(err, &passing) && passing.Temporary():
			l.log.Warn("a connection could not be accepted", "err", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-l.open.Done():
			}
		case err != nil:
			l.failed <- err
			return
		default:
			if counted, ok := l.conns.stranger(c); ok {
				counted.home = l
				go l.shake(counted)
				continue
			}
			l.log.Debug("closed a connection over the limit on strangers", "remote", c.RemoteAddr().String())
			_ = c.Close() // nobody is told anything: that would cost as much as letting it in
		}
	}
}

// shake makes one handshake and passes the connection on.
func (l *listener) shake(c *conn) {
	ctx, cancel := context.WithTimeout(l.open, l.within)
	defer cancel()
	c.hands = &place{line: l.hands, ctx: ctx, network: c.network}
	t := tls.Server(c, l.conf)
	err := t.HandshakeContext(ctx)
	c.hands.leave()
	c.hands = nil
	if err == nil {
		select {
		case l.ready <- t:
			return
		case <-l.open.Done():
		}
	} else {
		l.log.Debug("a handshake failed", "remote", c.RemoteAddr().String(), "err", err)
	}
	_ = c.Close()
}

// place is what a connection has of the line of handshakes. It is given back whenever the peer is waited for: one
// who stops in the middle holds up nobody.
type place struct {
	line    *line[netip.Prefix]
	ctx     context.Context
	network netip.Prefix
	held    bool
}

var errHandshakes = errors.New("too many handshakes wait for their turn")

func (p *place) enter() error {
	if p.held = p.line.enter(p.ctx, p.network); !p.held {
		return errHandshakes
	}
	return nil
}

func (p *place) leave() {
	if p.held {
		p.held = false
		p.line.leave()
	}
}
