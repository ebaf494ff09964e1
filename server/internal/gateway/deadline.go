package gateway

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// deadlines spares a connection most of its deadlines. net/http sets a read deadline some seven times for each request, nearly
// always a later one than the one in force, and each is a timer of the runtime's. Here a later deadline is only noted: when the
// earlier one below fires, the read is put back until the noted one. An earlier deadline counts at once, so that a read
// ends when it was told to and never before. It is for one reader at a time, as package tls is.
type deadlines struct {
	mu      sync.Mutex
	want    time.Time // what was set last; zero: none
	armed   time.Time // what the connection below has; zero: none
	reading bool
	writes  bool // a deadline of writes is set
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	d := &c.lazy
	d.mu.Lock()
	defer d.mu.Unlock()
	d.want = t
	if d.reading && d.tighter() {
		return d.arm(c.Conn)
	}
	return nil
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetWriteDeadline implements net.Conn. net/http lifts the deadline after each answer, though most had none.
func (c *conn) SetWriteDeadline(t time.Time) error {
	d := &c.lazy
	d.mu.Lock()
	defer d.mu.Unlock()
	if t.IsZero() && !d.writes {
		return nil
	}
	d.writes = !t.IsZero()
	return c.Conn.SetWriteDeadline(t)
}

// peek waits until the peer says something, and keeps that for Read.
func (c *conn) peek() error {
	if c.early {
		return nil
	}
	n, err := c.read(c.ahead[:])
	if c.early = n > 0; c.early {
		return nil
	}
	return err
}

// Read implements net.Conn. In a handshake the place is given back while the peer is waited for.
func (c *conn) Read(p []byte) (int, error) {
	if c.early && len(p) > 0 {
		c.early = false
		return copy(p, c.ahead[:]), nil
	}
	if c.hands == nil {
		return c.read(p)
	}
	c.hands.leave()
	n, err := c.read(p)
	if err != nil {
		return n, err
	}
	return n, c.hands.enter()
}

func (c *conn) read(p []byte) (int, error) {
	for {
		if err := c.lazy.begin(c.Conn); err != nil {
			return 0, err
		}
		n, err := c.Conn.Read(p)
		if again := c.lazy.end(err); !again || n > 0 {
			return n, err
		}
	}
}

// begin makes sure that the read which starts now ends in time.
func (d *deadlines) begin(below net.Conn) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tighter() {
		if !d.want.IsZero() && !time.Now().Before(d.want) {
			return os.ErrDeadlineExceeded
		}
		if err := d.arm(below); err != nil {
			return err
		}
	}
	d.reading = true
	return nil
}

// end says whether a read that ended was ended too early. What the connection below has is over then; the next read sets it anew.
func (d *deadlines) end(err error) (again bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reading = false
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	d.armed = never
	return d.want.IsZero() || time.Now().Before(d.want)
}

// never is later than all deadlines: a connection that has it must be given another, or none.
var never = time.Unix(1<<40, 0)

// tighter reports whether the connection below would let a read last too long, or ends it although it has none.
func (d *deadlines) tighter() bool {
	if d.armed.Equal(never) {
		return true
	}
	return !d.want.IsZero() && (d.armed.IsZero() || d.want.Before(d.armed))
}

func (d *deadlines) arm(below net.Conn) error {
	d.armed = d.want
	return below.SetReadDeadline(d.want)
}
