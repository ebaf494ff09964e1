// Package gateway speaks the device protocol of package wire: enrolment, renewal, check-ins with long
// polls, documents, reports and plans, over mutual TLS 1.3 on a listener of its own.
//
// Guarantees: who a device is comes from its certificate alone and is checked against the roster at every
// handshake (resumed ones too) and every request, so a retired device is out at once; a device sees its
// own plan only; a certificate used by two agents is found out and quarantined, loudly, whichever of several servers they use;
// what a device knows of the ledger is never contradicted by a server that lags behind; what a peer can
// make the server hold in memory is bounded before it has proved who it is and after; a check-in that
// changes nothing touches no database.
//
// It decides nothing about updates: plans come from the planner, facts and reports go to the index. It
// promises no delivery of plans to devices that do not ask. Its limits are those of one server: several admit as much each.
package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"assent/fleet"
	"assent/server/internal/ca"
	"assent/server/internal/store"
	"assent/wire"
)

// Roster knows the devices. All methods are safe for concurrent use; Device answers from memory.
type Roster interface {
	Device(id fleet.DeviceID) (fleet.Device, bool)
	// Enrol spends one use of the token and admits a new device with this key, durably. When the very
	// device was admitted moments ago with this token and key (its reply was lost), it is returned again.
	Enrol(ctx context.Context, token wire.Token, key, hostname string) (fleet.Device, error)
}

// Acts records what the server itself and the devices do to devices. All are durable when they return, and
// doing one again is no error and no second entry.
type Acts interface {
	// Renewed replaces the device's key old by key.
	Renewed(ctx context.Context, id fleet.DeviceID, old, key string) error
	// Quarantine takes a device out, for the reason given, with an event.
	Quarantine(ctx context.Context, id fleet.DeviceID, reason string) error
	// Leave retires a device, as its own act.
	Leave(ctx context.Context, id fleet.DeviceID) error
}

// Facts takes what devices say; *index.Index is one. It keeps at-least-once messages exactly once.
type Facts interface {
	// Contact takes a check-in and returns the kinds of the announced documents that the server lacks.
	// While there are such, the device's earlier documents go on counting. A check-in that announces what
	// counts already must touch no database.
	Contact(ctx context.Context, c store.Contact) (need []wire.Kind, err error)
	// ObserveDocument keeps a document of a device, durably; its digest has been verified.
	ObserveDocument(ctx context.Context, id fleet.DeviceID, kind wire.Kind, digest string, body []byte) error
	// ApplyReports applies reports and returns the ids of those that are durable now.
	ApplyReports(ctx context.Context, id fleet.DeviceID, reports []wire.Report) ([]string, error)
	// Rehearsed keeps, durably, what the device found when it rehearsed its plan, in place of what it found before.
	Rehearsed(ctx context.Context, id fleet.DeviceID, r wire.Rehearsal) error
}

// Presence is told which devices listen.
type Presence interface {
	// PollOpened says that the device has a long poll open; the function it returns ends that.
	PollOpened(id fleet.DeviceID) (closed func())
}

// Contacts keeps contacts across restarts and tells other servers of them; *store.DB is one.
type Contacts interface {
	LoadContacts(ctx context.Context, each func(store.Contact) error) error
	// MergeContacts writes a batch, every few seconds. Where another server may have written since, merge makes one of what is
	// stored and what is to be written; what it made is returned.
	MergeContacts(ctx context.Context, batch []store.Contact, merge func(stored, mine store.Contact) store.Contact) ([]store.Contact, error)
	// AskRefresh has the other servers know that devices are to look for updates now.
	AskRefresh(ctx context.Context, devices []fleet.DeviceID, at time.Time) error
	// AskRehearsal has them know that devices are to rehearse their plans now.
	AskRehearsal(ctx context.Context, devices []fleet.DeviceID, at time.Time) error
}

// Others are the other servers on the same database; *peers.Peers follows them.
type Others interface {
	// Reach has this server know what others wrote, at least up to an act, if there is such an act.
	Reach(ctx context.Context, act int64) error
}

// Planner gives devices their plans. Its methods are safe for concurrent use.
type Planner interface {
	// AtLeast returns the device's current statement, the digest of its plan, and on how many acts of the ledger it rests: on
	// so many at least, if this server knows them.
	AtLeast(id fleet.DeviceID, acts int64) (stmt wire.Statement, plan string, rests int64, err error)
	// PlanBytes returns a plan's body while it is current for some device.
	PlanBytes(digest string) ([]byte, bool)
	// Listen calls wake, once and from any goroutine, when the device's statement may differ from held, which names the plan
	// with this digest. By time alone it does not for as long as rest; zero: it may differ now. leave ends it, whatever rest
	// was; a wake that is under way may come later.
	Listen(id fleet.DeviceID, held wire.Statement, plan string, wake func()) (rest time.Duration, leave func())
}

// Config is what New needs. The zero value of each field below the line is usable.
type Config struct {
	// Prove makes the proof that the ledger's first newer entries extend its first older ones; nil: none is sent.
	Prove    func(ctx context.Context, older, newer int64) ([]string, error)
	CA       *ca.CA
	Server   *ca.Server // the listener's certificate
	PlanKeys []ed25519.PublicKey
	Roster   Roster
	Acts     Acts
	Facts    Facts
	Presence Presence
	Contacts Contacts
	Planner  Planner
	// ---
	// Delivered is told of each statement that a device is given; nil: nobody is told.
	Delivered func(ctx context.Context, device fleet.DeviceID, s wire.Statement, plan string)

	Feeds   Feeds  // nil: none are followed
	Others  Others // nil: this is the only server
	Limits  Limits
	Now     func() time.Time
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Flush   time.Duration // how long a contact may be known only in memory; 3 s by default
	Next    time.Duration // what agents without long poll are told to wait; 60 s by default
}

// Gateway serves the device protocol. Make one with New, start it with Serve.
type Gateway struct {
	Config
	tls      *tls.Config
	mux      *http.ServeMux
	conns    *conns
	attempts *attempts
	hands    *line[netip.Prefix] // handshakes, by network
	writes   *line[string]       // requests that may wait for the database, by device
	uploads  *line[string]       // documents being received, by device
	herd     herd
	metrics  *metrics
	plans    *planCache
	inFlight atomic.Int64 // requests being worked on
	bodies   atomic.Int64 // bytes of messages in memory that are more than small
	parked   atomic.Int64 // long polls
	polls    *polls       // their connections

	downloads atomic.Int64 // files of feeds being sent
	refused   *quiet
	steady    *route   // of check-ins
	json      []string // the Content-Type of answers; never changed
	codec     codec

	mu       sync.Mutex
	sessions map[fleet.DeviceID]*session
	dirty    []*session
	soon     chan struct{} // holds a token when contacts are to be written at once
	ending   atomic.Bool   // the server stops
}

// New makes a Gateway and loads what is known of the devices' sequences, so that a copied device is found
// out across restarts of the server.
func New(ctx context.Context, c Config) (*Gateway, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	c.defaults()
	g := &Gateway{Config: c, conns: newConns(c.Limits), attempts: newAttempts(c.Limits), plans: newPlanCache(),
		hands:   newLine[netip.Prefix](c.Limits.Handshakes, c.Limits.Strangers, c.Limits.Patience),
		writes:  newLine[string](c.Limits.Writes, c.Limits.Waiting, c.Limits.Patience),
		uploads: newLine[string](c.Limits.Uploads, c.Limits.Waiting, c.Limits.Patience),
		codec:   codec{unpacking: make(chan struct{}, 2*runtime.GOMAXPROCS(0))},
		soon:    make(chan struct{}, 1),
		refused: newQuiet(), json: []string{"application/json"}, sessions: map[fleet.DeviceID]*session{}, polls: newPolls()}
	m, err := newMetrics(c.Metrics, g)
	if err != nil {
		return nil, err
	}
	g.metrics = m
	g.tls = g.tlsConfig()
	g.mux = g.routes()
	err = c.Contacts.LoadContacts(ctx, func(k store.Contact) error {
		g.sessions[k.Device] = newSession(k)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load the devices' contacts: %w", err)
	}
	return g, nil
}

func (c Config) check() error {
	switch {
	case c.CA == nil || c.Server == nil:
		return errors.New("the gateway needs a CA and a server certificate")
	case len(c.PlanKeys) == 0:
		return errors.New("the gateway needs the key that signs plans")
	case c.Roster == nil || c.Acts == nil || c.Facts == nil || c.Presence == nil || c.Contacts == nil || c.Planner == nil:
		return errors.New("the gateway needs all its services")
	}
	return nil
}

func (c *Config) defaults() {
	c.Limits.defaults()
	if c.Feeds == nil {
		c.Feeds = noFeeds{}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	if c.Flush <= 0 {
		c.Flush = 3 * time.Second
	}
	if c.Next <= 0 {
		c.Next = time.Minute
	}
}

// Serve answers devices on l until ctx ends; then it ends the long polls, lets the other requests finish
// within grace, writes down the contacts and returns. It closes l. It may be called once.
func (g *Gateway) Serve(ctx context.Context, l net.Listener, grace time.Duration) error {
	stopping, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := func() { g.ending.Store(true); g.polls.end(); cancel() } // in this order: what a long poll is answered with depends on it
	defer stop()

	srv := g.server()
	served := make(chan error, 1)
	go func() {
		served <- srv.Serve(g.listen(l))
	}()
	flushed := make(chan struct{})
	go func() {
		defer close(flushed)
		g.writeBehind(stopping)
	}()

	var err error
	select {
	case <-ctx.Done():
		stop()
		err = g.shutdown(srv, grace)
		<-served //nolint:errcheck // it says only that it was shut down
	case err = <-served:
		stop()
	}
	<-flushed
	return errors.Join(err, g.flush(context.WithoutCancel(ctx)))
}

// shutdown lets requests finish for a while, then closes what is left.
func (g *Gateway) shutdown(srv *http.Server, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	err := errors.Join(srv.Shutdown(ctx), g.polls.drain(ctx))
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.Join(errors.New("stop the device listener: requests were cut off"), srv.Close())
	}
	return err
}

// server is the HTTP server of the listener. It speaks HTTP/1.1 only: agents hold one request at a time,
// and streams would add cost and attack surface for nothing. One deadline covers a request's header and a
// small body, because setting deadlines is a good part of what a steady check-in costs; the handlers set
// others for large bodies, answers and long polls.
func (g *Gateway) server() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler: g, Protocols: protocols,
		ReadHeaderTimeout: g.Limits.HeaderTimeout, ReadTimeout: g.Limits.HeaderTimeout, IdleTimeout: g.Limits.IdleTimeout, MaxHeaderBytes: 8 << 10,
		ConnContext: connContext,
		ErrorLog:    slog.NewLogLogger(g.Log.Handler(), slog.LevelDebug),
	}
}
