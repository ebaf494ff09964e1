package server

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/api"
	"assent/server/internal/audit"
	"assent/server/internal/auth"
	"assent/server/internal/decide"
	"assent/server/internal/notify"
	"assent/server/internal/packages"
	"assent/server/internal/roster"
	"assent/server/internal/signin"
	"assent/server/internal/tasks"
	"assent/server/internal/trend"
	"assent/server/internal/views"
	"assent/server/internal/web"
	"assent/wire"
)

// openServices builds what stands between the listeners and the index.
func (r *running) openServices(ctx context.Context) error {
	var watch observer
	var err error
	if r.registry, watch, err = register(r.index, r.planner, r.Version); err != nil {
		return err
	}
	who, err := auth.New(auth.Config{Book: auth.IndexBook{Index: r.index}, Log: r.Log})
	if err != nil {
		return err
	}
	decisions, err := decide.New(decide.Config{Index: r.index, Planner: r.planner, Version: r.Version, Engine: r.db.Engine(), Texts: r.mirror, Alarms: r.mirror.Sentences, Storage: r.storage, Log: r.Log})
	if err != nil {
		return err
	}
	r.collect = append(r.collect, newOperations(&operations{status: decisions.Status, trouble: r.db.Trouble, space: &r.space,
		ca: r.keys.ca.Certificate(), backups: filepath.Join(r.Data, backupStamp), log: r.Log}))
	for _, c := range r.collect {
		r.registry.MustRegister(c) // a new registry for each start: the names are free
	}
	if r.trend, err = trend.New(trend.Config{Index: r.index, Store: r.db, Figures: decisions, Keep: days(r.Retention.TrendsDays), Log: r.Log}); err != nil {
		return err
	}
	if r.conductor, err = r.newConductor(); err != nil {
		return err
	}
	saved, err := views.New(views.Config{Index: r.index, Store: r.db, Log: r.Log})
	if err != nil {
		return err
	}
	installs, err := tasks.New(tasks.Config{Index: r.index, Log: r.Log})
	if err != nil {
		return err
	}
	book, err := r.newAudit()
	if err != nil {
		return err
	}
	people, err := r.newRoster(decisions, book, who)
	if err != nil {
		return err
	}
	kits, err := r.newPackages(decisions, people)
	if err != nil {
		return err
	}
	if r.signin, err = r.newSignIn(who); err != nil {
		return err
	}
	if r.notices, err = r.newNotify(decisions); err != nil {
		return err
	}
	waiting, end := newChanges(r.index)
	handler, err := api.New(api.Config{Auth: who, SignIn: r.signin, Decide: decisions, Roster: people, Audit: book, Changes: waiting, Feeds: r.mirror, Packages: kits, Trends: r.trend, Views: saved, Tasks: installs, Rollouts: r.conductor, Channels: r.notices,
		Log: r.Log, Observe: watch.observe, Version: r.Version})
	if err != nil {
		return err
	}
	console, err := web.New(web.Config{SignIn: r.signin, Decide: decisions, Roster: people, Audit: book, Changes: waiting,
		Feeds: r.mirror, Packages: kits, Trends: r.trend, Views: saved, Tasks: installs, Rollouts: r.conductor, Channels: r.notices, Secure: r.secure(), Log: r.Log, Observe: watch.observe, Violation: violations(r.registry), Version: r.Version})
	if err != nil {
		return err
	}
	r.face = face{api: r.tracer.Handler("api", handler), web: r.tracer.Handler("console", console), auth: who, registry: r.registry, ping: r.db.Ping, ready: r.started.Load,
		local: loopback(r.people.Addr().String()), pprof: r.Pprof, ending: end, log: r.Log}
	if r.db.Shared() {
		r.face.fresh = r.peers.Fresh
	}
	return r.openGateway(ctx, people)
}

// newSignIn builds what lets people into the console.
func (r *running) newSignIn(tokens *auth.Service) (*signin.Service, error) {
	site, err := signin.ReadSite(r.publicURL(r.people.Addr().String()))
	if err != nil {
		return nil, err
	}
	return signin.New(signin.Config{Book: auth.IndexBook{Index: r.index}, Tokens: tokens, Vault: r.db, Acts: r.index, Site: site, Log: r.Log, Observe: signIns(r.registry)})
}

// signIns counts attempts to sign in or to confirm who is signed in.
func signIns(reg *prometheus.Registry) func(signin.Means, signin.Outcome) {
	attempts := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "assent_sign_ins_total",
		Help: "Attempts to sign in to the console or to confirm who is signed in, by means and outcome; many refused or limited ones are somebody guessing."}, []string{"means", "outcome"})
	reg.MustRegister(attempts) // a new registry for each start: the name is free
	for _, m := range []signin.Means{signin.ByPassword, signin.ByPasskey, signin.ByToken, signin.ByLink} {
		for _, o := range []signin.Outcome{signin.Admitted, signin.Refused, signin.Limited} {
			attempts.WithLabelValues(string(m), string(o)) // from the start, so that a first one is a change
		}
	}
	return func(m signin.Means, o signin.Outcome) { attempts.WithLabelValues(string(m), string(o)).Inc() }
}

// violations counts what browsers blocked on pages of the console.
func violations(reg *prometheus.Registry) func() {
	reports := prometheus.NewCounter(prometheus.CounterOpts{Name: "assent_console_csp_reports_total",
		Help: "Reports of browsers that a page of the console broke its Content-Security-Policy; anything above zero is worth a look."})
	reg.MustRegister(reports) // a new registry for each start: the name is free
	return reports.Inc
}

// newNotify builds what tells people by channels. Only an address that was configured makes links: the default may be
// one that nobody else reaches.
func (r *running) newNotify(figures notify.Figures) (*notify.Service, error) {
	attempts := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "assent_notifications_total",
		Help: "Attempts to send messages to channels, by kind and outcome."}, []string{"kind", "outcome"})
	r.registry.MustRegister(attempts) // a new registry for each start: the name is free
	for _, kind := range []ledger.ChannelKind{ledger.Webhook, ledger.Mail, ledger.Chat} {
		attempts.WithLabelValues(string(kind), "sent") // from the start, so that a first one is a change
		attempts.WithLabelValues(string(kind), "failed")
	}
	observe := func(kind ledger.ChannelKind, ok bool) {
		attempts.WithLabelValues(string(kind), map[bool]string{true: "sent", false: "failed"}[ok]).Inc()
	}
	host, err := os.Hostname()
	if err != nil {
		host = "" // then the data directory tells servers apart
	}
	return notify.New(notify.Config{Index: r.index, Outbox: r.db, Figures: figures, Alarms: r.mirror.Alarms, Key: r.keys.seal, Holder: host + ":" + r.Data, Keep: days(r.Retention.MessagesDays), Public: r.PublicURL, Log: r.Log, Observe: observe})
}

// forDevices is where devices find this server.
func (r *running) forDevices() (string, error) {
	_, port, err := net.SplitHostPort(r.agents.Addr().String())
	if err != nil {
		return "", fmt.Errorf("find the port for devices: %w", err)
	}
	return r.agentURL(port), nil
}

// packagesDir is where in the data directory an administrator may put the agent's Debian packages.
const packagesDir = "packages"

func (r *running) newPackages(book packages.Book, tokens packages.Tokens) (*packages.Service, error) {
	server, err := r.forDevices()
	if err != nil {
		return nil, err
	}
	return packages.New(packages.Config{Book: book, Files: r.mirror, Tokens: tokens, Dir: filepath.Join(r.Data, packagesDir), Server: server,
		CA: wire.Digest(r.keys.ca.Certificate()), Log: r.Log})
}

func (r *running) newRoster(reader roster.Reader, events roster.Events, who *auth.Service) (*roster.Service, error) {
	server, err := r.forDevices()
	if err != nil {
		return nil, err
	}
	return roster.New(roster.Config{Index: r.index, Reader: reader, Events: events, CA: r.keys.ca.Certificate(),
		Server: server, LastUsed: who.LastUsed, Log: r.Log,
		Refresh: func(ids []fleet.DeviceID) { r.gateway.Refresh(ids) }, Rehearse: func(ids []fleet.DeviceID) { r.gateway.Rehearse(ids) }})
}

// newAudit builds the reader of the ledger with the key that signs its checkpoints.
func (r *running) newAudit() (*audit.Service, error) {
	names := audit.IndexFleet{Index: r.index}
	signer, err := ledger.NewSigner(names.Org(), r.keys.ledger)
	if err != nil {
		return nil, err
	}
	key, err := ledger.VerifierKey(names.Org(), r.keys.ledger.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	return audit.New(audit.Config{Store: r.db, Fleet: names, Signer: signer, Key: key})
}
