package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"assent/fault"
	"assent/ledger"
	"assent/server/internal/auth"
)

// face is what people reach: the console and the API, and beside them what operations need.
type face struct {
	api      http.Handler
	web      http.Handler
	auth     *auth.Service
	registry *prometheus.Registry
	ping     func(context.Context) error // is the database there?
	fresh    func(context.Context) error // takes in what other servers wrote; nil: there are none
	ready    func() bool                 // do both listeners accept?
	local    bool                        // the listener is on loopback
	pprof    bool
	ending   func() // called when it stops: what waits for changes waits no more
	log      *slog.Logger
}

// handler is everything on the listener for people.
func (f face) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", f.readyz)
	mux.HandleFunc("GET /metrics", f.metrics)
	mux.Handle("/api/", f.upToDate(f.api))
	mux.Handle("/", f.upToDate(f.web))
	if f.pprof && f.local {
		mux.HandleFunc("GET /debug/pprof/", f.onlyLocal(pprof.Index))
		mux.HandleFunc("GET /debug/pprof/profile", f.onlyLocal(pprof.Profile))
		mux.HandleFunc("GET /debug/pprof/trace", f.onlyLocal(pprof.Trace))
		mux.HandleFunc("GET /debug/pprof/symbol", f.onlyLocal(pprof.Symbol))
	}
	return mux
}

// staleHeader says that an answer may lack what other servers wrote last: the database could not be asked.
const staleHeader = "Assent-Stale"

// freshFor bounds how long a request waits to learn what other servers wrote.
const freshFor = 3 * time.Second

// upToDate has requests of people answered by no older truth than any server told anybody before: whoever acted at one server
// and asks another one finds what they did. While the database does not answer, they are answered from memory, and told so.
func (f face) upToDate(h http.Handler) http.Handler {
	if f.fresh == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), freshFor)
		defer cancel()
		if err := f.fresh(ctx); err != nil {
			w.Header().Set(staleHeader, "true")
		}
		h.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n")) // the caller may be gone
}

// readyz says whether the server can do its work: it listens, and its database answers.
func (f face) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	if !f.ready() {
		answer(w, http.StatusServiceUnavailable, "starting or stopping")
		return
	}
	if err := f.ping(ctx); err != nil {
		f.log.Warn("not ready: the database does not answer", "err", err)
		answer(w, http.StatusServiceUnavailable, "the database does not answer")
		return
	}
	answer(w, http.StatusOK, "ok")
}

// metrics are for a scraper on this machine, or for one with the access token of an administrator.
func (f face) metrics(w http.ResponseWriter, r *http.Request) {
	if !f.local || !direct(r) {
		session, err := f.auth.Authenticate(r.Header.Get("Authorization"), r.RemoteAddr)
		if err == nil {
			err = session.CanAll(ledger.Administrator)
		}
		if err != nil {
			status := http.StatusForbidden
			if errors.Is(err, fault.Unauthenticated) {
				w.Header().Set("WWW-Authenticate", "Bearer")
				status = http.StatusUnauthorized
			}
			answer(w, status, fault.From(err).Message)
			return
		}
	}
	promhttp.HandlerFor(f.registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
}

// onlyLocal keeps a handler from callers who come through a proxy on this machine.
func (f face) onlyLocal(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !direct(r) {
			answer(w, http.StatusNotFound, "not found")
			return
		}
		h(w, r)
	}
}

// direct reports whether the caller is a program of this machine and not a proxy that speaks for another,
// nor a web page that got its browser to ask (its Host would not be an address of this machine).
func direct(r *http.Request) bool {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !ap.Addr().Unmap().IsLoopback() || !loopback(withPort(r.Host)) {
		return false
	}
	for _, h := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"} {
		if r.Header.Get(h) != "" {
			return false
		}
	}
	return true
}

func withPort(host string) string {
	if _, _, err := net.SplitHostPort(host); err != nil {
		return net.JoinHostPort(host, "0")
	}
	return host
}

// serve answers people on l until ctx ends, then lets requests finish within grace: an act that was begun is made and answered.
// It closes l.
func (f face) serve(ctx context.Context, l net.Listener, conf *tls.Config, grace time.Duration) error {
	stopping, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	srv := &http.Server{
		Handler: f.handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return stopping }, // ends what is left after the grace
		ErrorLog:    slog.NewLogLogger(f.log.Handler(), slog.LevelDebug),
	}
	if conf != nil {
		l = tls.NewListener(l, conf)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	f.ending()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := srv.Shutdown(end); err != nil {
		return errors.Join(errors.New("stop the API: requests were cut off"), srv.Close())
	}
	return nil
}
