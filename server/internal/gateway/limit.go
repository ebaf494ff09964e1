package gateway

import (
	"context"
	"crypto/tls"
	"hash/maphash"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"assent/fault"
	"assent/fleet"
)

// Limits bounds what peers can make the server hold. Zero fields mean the defaults.
type Limits struct {
	HeaderTimeout time.Duration // a handshake; a request's header with a body of up to 64 KiB: 15 s
	BodyTimeout   time.Duration // a larger message's body: 60 s; a document gets ten times as long
	WriteTimeout  time.Duration // an answer: 60 s
	IdleTimeout   time.Duration // between requests: 4 min
	Strangers     int           // connections that have shown no device certificate yet: 4096
	PerAddress    int           // of these, per IPv4 address or IPv6 /64: 512
	PerDevice     int           // connections of one device: 8
	Handshakes    int           // handshakes computed at once: 2 for each processor
	Requests      int           // requests worked on at once, parked long polls not counted: 512
	Writes        int           // of these, requests at once that may wait for the database: 256, as many as one transaction takes
	Waiting       int           // requests that wait for one of these places: 1024
	Patience      time.Duration // how long a handshake or a request waits for its place: 10 s
	DeviceFlight  int           // requests of one device at once: 4
	DeviceBurst   int           // requests of one device in a row, files of feeds not counted: 400
	DeviceEvery   time.Duration // one more after: 50 ms; earlier ones wait until then
	Uploads       int           // documents received at once, one of each device: 8
	Bodies        int64         // bytes of messages over 64 KiB in memory, documents not counted: 64 MiB
	Trickle       time.Duration // within this time at least 64 KiB of a large body must come: 15 s
	EnrolBurst    int           // failed enrolments of one address in a row: 20
	EnrolEvery    time.Duration // one more is allowed after: 3 s
}

func (l *Limits) defaults() {
	orDuration := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	orInt := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	orDuration(&l.HeaderTimeout, 15*time.Second)
	orDuration(&l.BodyTimeout, time.Minute)
	orDuration(&l.WriteTimeout, time.Minute)
	orDuration(&l.IdleTimeout, 4*time.Minute)
	orDuration(&l.EnrolEvery, 3*time.Second)
	orDuration(&l.Patience, 10*time.Second)
	orDuration(&l.DeviceEvery, 50*time.Millisecond)
	orDuration(&l.Trickle, 15*time.Second)
	orInt(&l.Handshakes, 2*runtime.GOMAXPROCS(0))
	if l.Bodies <= 0 {
		l.Bodies = 64 << 20
	}
	orInt(&l.Writes, 256)
	orInt(&l.Waiting, 1024)
	orInt(&l.DeviceBurst, 400)
	orInt(&l.Strangers, 4096)
	orInt(&l.PerAddress, 512)
	orInt(&l.PerDevice, 8)
	orInt(&l.Requests, 512)
	orInt(&l.DeviceFlight, 4)
	orInt(&l.Uploads, 8)
	orInt(&l.EnrolBurst, 20)
}

// The refusals of overload. Each goes with a Retry-After.
var (
	errBusy         = fault.New(fault.Unavailable, "server_busy", "The server is busy; try again later.")
	errCrowd        = fault.New(fault.Unavailable, "server_crowded", "Too many devices wait for the server's database; try again later.")
	errBehind       = fault.New(fault.Unavailable, "server_behind", "This server does not know yet what another one told the device; try again.")
	errTooMany      = fault.New(fault.Unavailable, "device_busy", "The device has too many requests under way; try again later.")
	errTooManyConns = fault.New(fault.Unavailable, "device_connections", "The device has too many connections open.")
	errAttempts     = fault.New(fault.Unavailable, "too_many_attempts", "Too many failed enrolments from this address; wait a moment and try again.")
)

// conns counts connections: strangers in all and by network, the others by device. A stranger over the
// caps is closed at accept, before it costs a handshake.
type conns struct {
	limits    Limits
	mu        sync.Mutex
	turned    int64 // strangers that were closed at accept
	strangers int
	byNetwork map[netip.Prefix]int
	byDevice  map[fleet.DeviceID]int
}

// conn is one accepted connection and what it counts as.
type conn struct {
	net.Conn
	table   *conns
	network netip.Prefix
	lazy    deadlines
	hands   *place // in the line of handshakes; nil once the handshake is done
	home    *listener
	early   bool    // ahead was read before its time
	ahead   [1]byte // by peek
	peer    atomic.Pointer[peer]
	session atomic.Pointer[session]
	call    call           // of the request under way: there is one at a time
	device  fleet.DeviceID // guarded by table.mu; empty for a stranger
	closed  bool           // guarded by table.mu
}

func newConns(l Limits) *conns {
	return &conns{limits: l, byNetwork: map[netip.Prefix]int{}, byDevice: map[fleet.DeviceID]int{}}
}

// stranger counts a new connection, or refuses it.
func (t *conns) stranger(c net.Conn) (*conn, bool) {
	n := network(c.RemoteAddr().String())
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.strangers >= t.limits.Strangers || t.byNetwork[n] >= t.limits.PerAddress {
		t.turned++
		return nil, false
	}
	t.strangers++
	t.byNetwork[n]++
	return &conn{Conn: c, table: t, network: n}, true
}

// admit turns a stranger's connection into one of a device.
func (t *conns) admit(c *conn, id fleet.DeviceID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.closed || c.device != "" {
		return c.device == id
	}
	if t.byDevice[id] >= t.limits.PerDevice {
		return false
	}
	t.leaveStrangers(c)
	c.device = id
	t.byDevice[id]++
	return true
}

func (t *conns) leaveStrangers(c *conn) {
	t.strangers--
	if t.byNetwork[c.network]--; t.byNetwork[c.network] <= 0 {
		delete(t.byNetwork, c.network)
	}
}

// Close closes the connection and stops counting it; more often than once is harmless.
func (c *conn) Close() error {
	t := c.table
	t.mu.Lock()
	if !c.closed {
		c.closed = true
		if c.device == "" {
			t.leaveStrangers(c)
		} else if t.byDevice[c.device]--; t.byDevice[c.device] <= 0 {
			delete(t.byDevice, c.device)
		}
	}
	t.mu.Unlock()
	return c.Conn.Close()
}

// counts returns how many strangers and devices are connected.
func (t *conns) counts() (strangers, devices int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.strangers, len(t.byDevice)
}

// away returns how many strangers were turned away.
func (t *conns) away() float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return float64(t.turned)
}

// connContext hands the counted connection to the requests on it.
func connContext(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		if counted, ok := t.NetConn().(*conn); ok {
			return context.WithValue(ctx, connKey{}, counted)
		}
	}
	return ctx
}

// network is the part of an address that one subscriber holds: an IPv4 address, an IPv6 /64.
func network(remote string) netip.Prefix {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	addr, bits := ap.Addr().Unmap().WithZone(""), 64
	if addr.Is4() {
		bits = 32
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// attempts limits failed enrolments per network in a table of fixed size: networks that share a place
// can only make the limit stricter. Successful enrolments are free, so a roll-out behind one address works.
type attempts struct {
	burst time.Duration
	every time.Duration
	seed  maphash.Seed
	mu    sync.Mutex
	full  [4096]time.Time // when the place will be empty of failures again
}

func newAttempts(l Limits) *attempts {
	return &attempts{burst: time.Duration(l.EnrolBurst) * l.EnrolEvery, every: l.EnrolEvery, seed: maphash.MakeSeed()}
}

func (a *attempts) place(remote string) *time.Time {
	return &a.full[maphash.Comparable(a.seed, network(remote))%uint64(len(a.full))]
}

// allowed reports whether the address may try now.
func (a *attempts) allowed(remote string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.place(remote).Sub(now)+a.every <= a.burst
}

// failed charges the address for a failure.
func (a *attempts) failed(remote string, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := a.place(remote)
	if at.Before(now) {
		*at = now
	}
	*at = at.Add(a.every)
}

// herd spreads those who are turned away: the more they are, the farther apart they come back.
type herd struct {
	mu       sync.Mutex
	since    time.Time
	now, old int // turned away in this window and in the one before
}

// Bounds of Retry-After.
const (
	herdWindow = 10 * time.Second
	herdPace   = 250 // of those turned away come back in a second
	soonest    = 2   // seconds
	spread     = 14  // seconds, for a few
	farthest   = 300 // seconds
)

// after says in how many seconds somebody who is turned away now shall come back.
func (h *herd) after(now time.Time) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if past := now.Sub(h.since); past >= herdWindow {
		if h.old = h.now; past >= 2*herdWindow {
			h.old = 0
		}
		h.since, h.now = now, 0
	}
	h.now++
	return soonest + rand.IntN(min(spread+(h.now+h.old)/herdPace, farthest-soonest))
}

// quiet lets a few log lines through per second, so that a flood of refusals does not fill the disk.
type quiet struct {
	mu   sync.Mutex
	sec  int64
	left int
}

func newQuiet() *quiet { return &quiet{} }

func (q *quiet) may(now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s := now.Unix(); s != q.sec {
		q.sec, q.left = s, 5
	}
	q.left--
	return q.left >= 0
}
