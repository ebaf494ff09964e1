package pgtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// socketName is how PostgreSQL calls its socket in a directory.
const socketName = ".s.PGSQL.5432"

// Proxy stands between a client and a server, and can make the server look slow or away. It can be turned to another server.
type Proxy struct {
	dir string
	l   net.Listener

	mu    sync.Mutex
	to    string        // socket of the server; empty: nobody is let through
	delay time.Duration // of each answer
	hold  []byte        // in the transaction whose commit is not answered
	free  chan struct{} // closed when it is
	conns map[net.Conn]bool
	group sync.WaitGroup
}

// Proxy starts a proxy, which ends with the test.
func (s *Server) Proxy(t testing.TB) *Proxy {
	t.Helper()
	dir, err := os.MkdirTemp("", "assent-proxy")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{dir: dir, to: s.socket(), conns: map[net.Conn]bool{}}
	if p.l, err = net.Listen("unix", filepath.Join(dir, socketName)); err != nil {
		t.Fatal(err)
	}
	p.group.Go(p.serve)
	t.Cleanup(func() {
		if err := errors.Join(p.Close(), os.RemoveAll(dir)); err != nil {
			t.Errorf("stop the proxy: %v", err)
		}
	})
	return p
}

// URL leads to a database by way of the proxy.
func (p *Proxy) URL(direct string) string {
	u, err := url.Parse(direct)
	if err != nil {
		panic(fmt.Sprintf("pgtest: %q is no address of a database: %v", direct, err))
	}
	u.RawQuery = url.Values{"host": {p.dir}}.Encode()
	return u.String()
}

// Delay makes every answer of the server come that much later.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// HoldCommit keeps back the answer to the commit of the next transaction in which a client sends text, until release is
// called: the transaction is made and nobody hears of it.
func (p *Proxy) HoldCommit(text string) (release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold, p.free = []byte(text), make(chan struct{})
	return sync.OnceFunc(func() { close(p.free) })
}

// Cut ends all connections and lets none through until Turn.
func (p *Proxy) Cut() { p.turn("") }

// Turn ends all connections and lets new ones through to a server.
func (p *Proxy) Turn(s *Server) { p.turn(s.socket()) }

func (p *Proxy) turn(to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = to
	for c := range p.conns {
		_ = c.Close() // the other end may have been first
	}
}

// Close ends the proxy and all connections through it.
func (p *Proxy) Close() error {
	err := p.l.Close()
	p.Cut()
	p.group.Wait()
	return err
}

func (p *Proxy) serve() {
	for {
		client, err := p.l.Accept()
		if err != nil {
			return
		}
		server, err := p.connect(client)
		if err != nil {
			_ = client.Close() // as if there were no server
			continue
		}
		c := &wire{proxy: p}
		p.group.Go(func() { p.copy(server, client, c.asked) })
		p.group.Go(func() { p.copy(client, server, c.answered) })
	}
}

// connect connects a client to the server of the moment.
func (p *Proxy) connect(client net.Conn) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock() // over the dial, so that a Turn misses no connection to the server before
	if p.to == "" {
		return nil, net.ErrClosed
	}
	server, err := net.Dial("unix", p.to)
	if err != nil {
		return nil, err
	}
	p.conns[client], p.conns[server] = true, true
	return server, nil
}

// copy passes on what comes, and calls before with it first.
func (p *Proxy) copy(to, from net.Conn, before func([]byte)) {
	defer func() {
		_, _ = to.Close(), from.Close() // the other direction ends too
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, to)
		delete(p.conns, from)
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			before(buf[:n])
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if errors.Is(err, io.EOF) || err != nil {
			return
		}
	}
}

// wire is one connection through the proxy.
type wire struct {
	proxy  *Proxy
	marked bool            // the text went through it
	held   <-chan struct{} // its answers wait for this; nil: for nothing. Guarded by proxy.mu, as marked is
}

// asked sees what the client sends.
func (w *wire) asked(b []byte) {
	w.proxy.mu.Lock()
	defer w.proxy.mu.Unlock()
	if w.proxy.hold != nil && bytes.Contains(b, w.proxy.hold) {
		w.proxy.hold, w.marked = nil, true
	}
	if w.marked && bytes.Contains(bytes.ToLower(b), []byte("commit")) {
		w.marked, w.held = false, w.proxy.free
	}
}

// answered lets the server's answers wait.
func (w *wire) answered([]byte) {
	w.proxy.mu.Lock()
	held, delay := w.held, w.proxy.delay
	w.proxy.mu.Unlock()
	if held != nil {
		<-held
	}
	time.Sleep(delay)
}
