// Package server is the wiring of assentd: it opens the data directory, the keys and the database, builds
// the services and runs the two listeners until it is told to stop.
//
// Guarantees: it starts in order (keys, database, memory, listeners) and stops in the reverse one, ending
// long polls with an answer and writing down what was held in memory; one server runs on a data directory;
// private keys are files with mode 0600 in it and nothing else; the two listeners share no handler.
// It decides nothing: what the program does is in the packages below.
package server

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"assent/server/internal/conductor"
	"assent/server/internal/gateway"
	"assent/server/internal/index"
	"assent/server/internal/job"
	"assent/server/internal/mirror"
	"assent/server/internal/notify"
	"assent/server/internal/peers"
	"assent/server/internal/planner"
	"assent/server/internal/signin"
	"assent/server/internal/staging"
	"assent/server/internal/store"
	"assent/server/internal/tracing"
	"assent/server/internal/trend"
	"assent/wire"
)

// Periods of the server's own work.
const (
	stopGrace  = 20 * time.Second // for requests at shutdown
	pruneEvery = time.Hour
)

// running is an opened server.
type running struct {
	Config
	dir       *os.Root
	keys      keys
	db        *store.DB
	index     *index.Index
	planner   *planner.Planner
	peers     *peers.Peers
	gateway   *gateway.Gateway
	mirror    *mirror.Mirror
	trend     *trend.Service
	conductor *conductor.Conductor
	turns     *job.Runner
	content   files
	signin    *signin.Service
	notices   *notify.Service
	face      face
	registry  *prometheus.Registry
	tracer    *tracing.Tracer
	plans     prometheus.Histogram   // seconds to compute one
	turn      *prometheus.GaugeVec   // of recurring work
	collect   []prometheus.Collector // made before the registry was
	space     space                  // that the database takes
	pruned    *prometheus.CounterVec // rows, by what they were
	agents    net.Listener
	people    net.Listener
	tls       *tls.Config // of the listener for people; nil: plain HTTP on loopback
	started   atomic.Bool
	proofs    proofs
	closers   []func() error
}

// Run runs the server until ctx ends or something it cannot go on without fails.
func Run(ctx context.Context, c Config) (err error) {
	if c, err = c.normal(); err != nil {
		return err
	}
	r := &running{Config: c}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.open(ctx); err != nil {
		return advise(err, r.Data)
	}
	return r.run(ctx)
}

// onClose has f called at the end, the last one first.
func (r *running) onClose(f func() error) { r.closers = append(r.closers, f) }

func (r *running) close() error {
	var errs []error
	for i := len(r.closers) - 1; i >= 0; i-- {
		errs = append(errs, r.closers[i]())
	}
	return errors.Join(errs...)
}

// open brings everything up to the point where the listeners accept.
func (r *running) open(ctx context.Context) error {
	for _, step := range []func(context.Context) error{r.openData, r.openStore, r.openTracing, r.openLedger, r.openIndex, r.openMirror, r.openListeners, r.openServices} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (r *running) openData(context.Context) (err error) {
	if r.dir, err = openData(r.Data); err != nil {
		return err
	}
	r.onClose(r.dir.Close)
	release, err := lock(r.dir)
	if err != nil {
		return err
	}
	r.onClose(release)
	return finishRestore(r.dir, r.Log.Warn)
}

func (r *running) openStore(ctx context.Context) error {
	conf, err := r.database()
	if err != nil {
		return err
	}
	conf.Patience = r.patience
	r.observeStore(&conf)
	if r.db, err = awaitStore(ctx, conf, r.wait); err != nil {
		return err
	}
	r.onClose(r.db.Close)
	return r.measure(ctx)
}

// openLedger takes the keys, which must be those of the database's ledger, and starts a new installation.
func (r *running) openLedger(ctx context.Context) (err error) {
	if err := requireKeys(ctx, r.db, r.dir); err != nil {
		return err
	}
	if r.keys, err = openKeys(r.dir, time.Now); err != nil {
		return err
	}
	text, err := found(ctx, r.db, r.dir, r.keys, time.Now())
	if err != nil {
		return err
	}
	if err := pin(ctx, r.db, r.keys, r.dir.Name()); err != nil {
		return err
	}
	if text != "" {
		r.greet(text)
	}
	return nil
}

// greet tells the first administrator how to sign in. Logs are kept longer and read by more people than a
// terminal, so the log names only the file.
func (r *running) greet(text string) {
	r.Log.Info("made the first administrator; the sign-in works once, within 24 hours", "operator", firstOperator, "file", r.Data+"/"+signInFile)
	fmt.Fprintf(r.Out, "Assent is ready for its first administrator. Sign in once, within 24 hours, on the command line or in a browser:\n\n  %s\n  %s\n\n", r.login(text), r.signInLink(text))
}

// signInLink is the page of the console that uses a sign-in. Browsers send what stands behind the # to nobody.
func (r *running) signInLink(text string) string {
	return strings.TrimSuffix(r.publicURL(r.Listen), "/") + "/sign-in#" + text
}

// login is the command line that uses a sign-in.
func (r *running) login(text string) string {
	return loginLine(r.Config, wire.Digest(r.keys.ca.Certificate()), text)
}

// loginLine is the command line that uses a sign-in. A server that listens with TLS shows a certificate of
// its own CA, so the line pins that.
func loginLine(c Config, ca, text string) string {
	line := "assent login --server " + c.apiURL(c.Listen)
	if !loopback(c.Listen) {
		line += " --ca " + ca
	}
	return line + " --token " + text
}

// publicURL is where people reach the console that listens on addr.
func (c Config) publicURL(addr string) string {
	if c.PublicURL != "" {
		return c.PublicURL
	}
	return c.apiURL(addr)
}

// secure reports whether people come over TLS: to this server, or to a proxy in front of it.
func (r *running) secure() bool { return r.tls != nil || strings.HasPrefix(r.PublicURL, "https://") }

// apiURL is where people find the API that listens on addr.
func (c Config) apiURL(addr string) string {
	if loopback(addr) {
		return "http://" + addr
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil || len(c.ServerNames) == 0 {
		return "https://" + addr
	}
	return "https://" + net.JoinHostPort(c.ServerNames[0], port)
}

func (r *running) openIndex(ctx context.Context) (err error) {
	if ownGC() {
		// Nearly all that loading makes stays: looking for garbage as often as later would only take time.
		debug.SetGCPercent(loadingGC)
		defer debug.SetGCPercent(servingGC)
	}
	if r.index, err = index.Open(ctx, tracedStore{r.db, r.tracer}, index.Config{Log: r.Log, Version: r.Version}); err != nil {
		return fmt.Errorf("load the server's memory: %w", err)
	}
	go debug.FreeOSMemory() // what loading made and threw away is not needed again
	r.planner, err = planner.New(planner.Config{Index: r.index, Signer: r.keys.plan, TTL: time.Duration(r.PlanDays) * 24 * time.Hour, Root: r.root(), Computed: r.computed})
	if err != nil {
		return err
	}
	r.onClose(func() error { r.planner.Close(); return nil })
	r.peers, err = peers.New(peers.Config{Memory: r.index, Bell: r.db, Log: r.Log,
		Heard: func(ctx context.Context, contacts []store.Contact) { r.gateway.Heard(ctx, contacts) }})
	if err != nil {
		return err
	}
	var leases job.Leases
	if r.db.Shared() {
		leases = r.db
	}
	r.turns, err = job.New(leases, rand.Text(), r.Log)
	return err
}

// openListeners binds both addresses before anything is served, so that a taken port is an error at the start.
func (r *running) openListeners(ctx context.Context) (err error) {
	var lc net.ListenConfig
	if r.agents, err = lc.Listen(ctx, "tcp", r.AgentListen); err != nil {
		return fmt.Errorf("listen for devices: %w", err)
	}
	r.onClose(closeListener(r.agents))
	if r.people, err = lc.Listen(ctx, "tcp", r.Listen); err != nil {
		return fmt.Errorf("listen for the API: %w", err)
	}
	r.onClose(closeListener(r.people))
	if !loopback(r.people.Addr().String()) {
		cert, err := r.keys.ca.Server(r.ServerNames)
		if err != nil {
			return err
		}
		r.tls = &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: cert.Certificate}
	}
	return nil
}

// closeListener closes a listener that may be closed already.
func closeListener(l net.Listener) func() error {
	return func() error {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("close the listener %s: %w", l.Addr(), err)
		}
		return nil
	}
}

// openGateway builds the device protocol.
func (r *running) openGateway(ctx context.Context, enrol enroller) error {
	cert, err := r.keys.ca.Server(r.ServerNames)
	if err != nil {
		return err
	}
	d := devices{index: r.index, roster: enrol, now: time.Now}
	var others gateway.Others
	if r.db.Shared() {
		others = r.peers
	}
	r.gateway, err = gateway.New(ctx, gateway.Config{Others: others,
		Prove: r.prove, CA: r.keys.ca, Server: cert, PlanKeys: []ed25519.PublicKey{r.keys.plan.Public().(ed25519.PublicKey)},
		Roster: d, Acts: d, Facts: tracedFacts{r.index, r.tracer}, Presence: r.index, Contacts: contacts{r.db, r.index}, Planner: r.planner, Feeds: r.mirror,
		Log: r.Log, Metrics: r.registry, Limits: r.limits, Delivered: r.delivered(),
	})
	return err
}

// run serves until ctx ends.
func (r *running) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.gateway.Serve(ctx, r.agents, stopGrace) })
	group.Go(func() error { return r.face.serve(ctx, r.people, r.tls, stopGrace) })
	group.Go(func() error { return standing{r.index, r.gateway}.follow(ctx) })
	for name, work := range r.jobs() {
		group.Go(func() error { return r.turns.Run(ctx, name, r.showTurn(name, work)) })
	}
	group.Go(func() error { return r.peers.Run(ctx) })
	group.Go(func() error { return r.mirror.Run(ctx) })
	group.Go(func() error { return r.notices.Run(ctx) })
	group.Go(func() error { return r.signin.Run(ctx) })
	group.Go(func() error { r.every(ctx, sweepEvery, "remove unused files", r.sweep); return nil })
	group.Go(func() error {
		r.every(ctx, cmp.Or(r.pruneEvery, pruneEvery), "measure the database", r.measure)
		return nil
	})
	group.Go(func() error { r.watchdog(ctx); return nil })
	group.Go(func() error { followGarbage(ctx); return nil })
	context.AfterFunc(ctx, func() {
		r.started.Store(false)
		r.notify(daemon.SdNotifyStopping)
	})
	r.started.Store(true)
	r.Log.Info("serving", "version", r.Version, "api", r.people.Addr().String(), "agents", r.agents.Addr().String(),
		"names", r.ServerNames, "database", r.db.Engine(), "content", r.content.Where())
	r.notify(daemon.SdNotifyReady)
	if r.Ready != nil {
		r.Ready(r.people.Addr(), r.agents.Addr())
	}
	err := group.Wait()
	if err == nil {
		r.Log.Info("stopped")
	}
	return err
}

// jobs is the work that one of several servers does.
func (r *running) jobs() map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"trend":   r.trend.Run,
		"staging": func(ctx context.Context) error { return staging.Run(ctx, r.index, r.Log) },
		"conduct": r.conduct,
		"prune":   job.Every(cmp.Or(r.pruneEvery, pruneEvery), r.Log, "forget what is too old", r.prune),
	}
}

// conduct takes rollouts further from where the server that did so before left them.
func (r *running) conduct(ctx context.Context) error {
	if err := r.peers.Fresh(ctx); err != nil {
		return err
	}
	if err := r.index.RereadRollouts(ctx); err != nil {
		return err
	}
	return r.conductor.Run(ctx)
}

// every does work again and again until ctx ends. A failure is logged and tried again at the next turn;
// while it lasts, once a minute.
func (r *running) every(ctx context.Context, period time.Duration, what string, work func(context.Context) error) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	var told time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := work(ctx); err != nil && ctx.Err() == nil && time.Since(told) > time.Minute {
			told = time.Now()
			r.Log.Error("could not "+what, "err", err)
		}
	}
}

// notify tells systemd, where it is there, how the service stands.
func (r *running) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		r.Log.Warn("systemd could not be told", "state", state, "err", err)
	}
}

// watchdog tells systemd that the server lives as long as its memory can be read. A database that does not
// answer is no reason to end it: a restart would not help, and from its memory the server goes on telling
// devices what is declined.
func (r *running) watchdog(ctx context.Context) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return
	}
	r.every(ctx, interval/3, "answer the watchdog", func(context.Context) error {
		r.index.View(func(*index.View) {})
		r.notify(daemon.SdNotifyWatchdog)
		return nil
	})
}
