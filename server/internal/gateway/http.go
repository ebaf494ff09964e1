package gateway

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"assent/fault"
	"assent/fleet"
	"assent/wire"
)

// route is one line of the protocol. A route that is not open needs a device certificate; there is no
// third kind.
type route struct {
	name    string // for metrics
	pattern string // for http.ServeMux
	open    bool
	bulk    bool // of many requests in a row: the pace of devices does not count it
	serve   func(*Gateway, *call) error
	seconds prometheus.Observer
}

func table() []route {
	return []route{
		{name: "enrol", pattern: "POST " + wire.PathEnrol, open: true, serve: (*Gateway).enrol},
		{name: "renew", pattern: "POST " + wire.PathRenew, serve: (*Gateway).renew},
		{name: "checkin", pattern: "POST " + wire.PathCheckIn, serve: (*Gateway).checkIn},
		{name: "document", pattern: "PUT " + wire.PathDocument + "/{kind}/{digest}", serve: (*Gateway).document},
		{name: "reports", pattern: "POST " + wire.PathReports, serve: (*Gateway).reports},
		{name: "rehearsal", pattern: "POST " + wire.PathRehearsal, serve: (*Gateway).rehearsal},
		{name: "leave", pattern: "POST " + wire.PathLeave, serve: (*Gateway).quit},
		{name: "plan", pattern: "GET " + wire.PathPlan + "/{digest}", serve: (*Gateway).plan},
		{name: "feed", pattern: "GET " + wire.PathFeed + "/{feed}/{path...}", bulk: true, serve: (*Gateway).feed},
	}
}

// call is one request with its caller. It must not be used after the answer.
type call struct {
	w       http.ResponseWriter
	r       *http.Request
	device  fleet.Device
	peer    *peer
	session *session
	in      wire.CheckIn
	working bool    // holds one of the places for requests that are worked on
	weight  int64   // of its message in memory, counted in Gateway.bodies
	parked  *parked // the long poll that the request became; it has no answer then
}

// io sets the deadlines of the request's connection.
func (c *call) io() *http.ResponseController { return http.NewResponseController(c.w) }

var errNotFound = fault.New(fault.NotFound, "not_found", "The device protocol has no such path.")

func (g *Gateway) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for _, rt := range table() {
		rt.seconds = g.metrics.route(rt.name)
		mux.HandleFunc(rt.pattern, func(w http.ResponseWriter, r *http.Request) { g.handle(&rt, w, r) })
		if rt.name == "checkin" {
			g.steady = &rt
		}
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		g.problem(w, r, "unknown", errNotFound)
	})
	return mux
}

// ServeHTTP answers one request. It is exported for http.Server; requests that did not come through Serve
// have no identity and can reach no device.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		w.Header().Set("Connection", "close") // strangers keep no connection
	}
	if r.URL.Path == wire.PathCheckIn && r.Method == http.MethodPost && r.URL.RawPath == "" {
		g.handle(g.steady, w, r) // the path of nearly all requests
		return
	}
	if r.URL.RawPath != "" || path.Clean(r.URL.Path) != r.URL.Path {
		g.problem(w, r, "unknown", errNotFound) // no redirects for spellings of a path
		return
	}
	g.mux.ServeHTTP(w, r)
}

// handle runs one route with everything around it.
func (g *Gateway) handle(rt *route, w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	if p := g.request(rt, w, r, start); p != nil {
		p.begin(start)
		return
	}
	rt.seconds.Observe(time.Since(start).Seconds())
}

// request answers a request, or returns the long poll that it became; nothing else is held for it then.
func (g *Gateway) request(rt *route, w http.ResponseWriter, r *http.Request, start time.Time) (p *parked) {
	conn := connOf(r.Context())
	var c *call
	if conn != nil {
		c = &conn.call
	} else {
		c = new(call)
	}
	*c = call{w: w, r: r}
	defer func() {
		c.w, c.r = nil, nil                                        // a connection that idles holds on to no request
		if v := recover(); v != nil && v != http.ErrAbortHandler { //nolint:errorlint // a sentinel of net/http
			g.Log.Error("a device request panicked", "route", rt.name, "device", c.device.ID, "panic", v, "stack", string(debug.Stack()))
			g.problem(w, r, rt.name, fmt.Errorf("panic: %v", v))
		}
	}()
	if err := g.run(rt, c, conn, start); err != nil {
		g.problem(w, r, rt.name, err)
	}
	return c.parked
}

// run finds out who calls, takes the places that the request needs and serves it.
func (g *Gateway) run(rt *route, c *call, conn *conn, now time.Time) error {
	if !g.enter(c) {
		return errBusy
	}
	defer g.leave(c)
	defer g.unload(c)
	if rt.open {
		return rt.serve(g, c)
	}
	if err := g.device(c, conn); err != nil {
		c.w.Header().Set("Connection", "close")
		return err
	}
	c.session = g.sessionOn(conn, c.device.ID) // device found the connection
	if owes := c.session.pace.owes(now, g.Limits.DeviceBurst, g.Limits.DeviceEvery); owes > 0 && !rt.bulk {
		if err := g.slow(c, owes); err != nil {
			return err
		}
	}
	if !c.session.enter(g.Limits.DeviceFlight) {
		return errTooMany
	}
	defer func() {
		if c.parked == nil { // else it takes the place along
			c.session.leave()
		}
	}()
	return rt.serve(g, c)
}

// enter takes one of the places for requests that are worked on.
func (g *Gateway) enter(c *call) bool {
	if g.inFlight.Add(1) > int64(g.Limits.Requests) {
		g.inFlight.Add(-1)
		return false
	}
	c.working = true
	return true
}

// slow lets a device that asks for too much wait for its turn, and holds nothing for it meanwhile. It has few
// connections, each with one request at a time, so that what waits is bounded.
func (g *Gateway) slow(c *call, owes time.Duration) error {
	g.leave(c)
	wait := time.NewTimer(owes)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-c.r.Context().Done():
		return errTooMany.Because(c.r.Context().Err())
	}
	if !g.enter(c) {
		return errBusy
	}
	g.again(c)
	return nil
}

// again gives a request that waited the time for its small body once more.
func (g *Gateway) again(c *call) {
	_ = c.io().SetReadDeadline(time.Now().Add(g.Limits.HeaderTimeout)) // fails only on a closed connection
}

// durably does what may wait for the database. It gives the working place back for one of another kind, so that
// a slow database holds up nobody who does not need it.
func (g *Gateway) durably(c *call, work func() error) error {
	g.leave(c)
	who := string(c.device.ID)
	if who == "" {
		who = network(c.r.RemoteAddr).String()
	}
	if !g.writes.enter(c.r.Context(), who) {
		return errCrowd
	}
	defer g.writes.leave()
	return work()
}

// leave gives the place back; called again it does nothing.
func (g *Gateway) leave(c *call) {
	if c.working {
		c.working = false
		g.inFlight.Add(-1)
	}
}

// reply writes v as JSON.
func (g *Gateway) reply(c *call, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %T: %w", v, err)
	}
	c.w.Header()["Content-Type"] = g.json
	return g.write(c, body)
}

// small is the size up to which net/http buffers an answer and counts its length itself. One that is as
// small also fits into the kernel's buffer, so writing it waits only for a device that does not read at
// all; that holds up nothing but its own few connections, and a deadline would cost more than it saves.
const small = 2 << 10

// write sends an answer. An error of the connection is the peer's affair: there is nobody left to tell.
func (g *Gateway) write(c *call, body []byte) error {
	if len(body) > small {
		c.w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	if len(body) > small || c.device.ID == "" {
		_ = c.io().SetWriteDeadline(time.Now().Add(g.Limits.WriteTimeout)) // fails only on a closed connection
	}
	if _, err := c.w.Write(body); err != nil {
		g.Log.Debug("an answer did not reach its device", "device", c.device.ID, "err", err)
	}
	return nil
}

// problem is the body of every refusal (RFC 9457): what the agent logs, and the code it acts on.
type problem struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Field  string `json:"field,omitempty"`
}

// problem writes a refusal. Internal errors are logged here, once, and not shown.
func (g *Gateway) problem(w http.ResponseWriter, r *http.Request, route string, err error) {
	f := fault.From(err)
	g.metrics.refusals.WithLabelValues(f.Code).Inc()
	if f.Kind == fault.Internal && r.Context().Err() == nil { // else the device hung up in the middle
		g.Log.Error("a device request failed", "route", route, "remote", r.RemoteAddr, "err", err)
	}
	h := w.Header()
	h.Del("Content-Length")
	h.Del("Content-Encoding")
	h.Set("Content-Type", "application/problem+json")
	if after := g.retryAfter(f); after > 0 {
		h.Set("Retry-After", strconv.Itoa(after))
	}
	body, _ := json.Marshal(problem{Status: status(f.Kind), Code: f.Code, Detail: f.Message, Field: f.Field}) // plain fields: cannot fail
	rc := http.NewResponseController(w)                                                                       // deadlines cannot be set only on a closed connection
	_ = rc.SetWriteDeadline(time.Now().Add(g.Limits.WriteTimeout))
	_ = rc.SetReadDeadline(time.Now().Add(time.Second)) // net/http reads on what is left of the body
	w.WriteHeader(status(f.Kind))
	_, _ = w.Write(body) // the peer may be gone
}

// retryAfter says in how many seconds to try again: spread, so that a herd does not come back as one.
func (g *Gateway) retryAfter(f *fault.Error) int {
	switch {
	case f.Code == errQuarantined.Code:
		return 240 + rand.IntN(120)
	case f.Kind == fault.Unavailable:
		return g.herd.after(time.Now())
	}
	return 0
}

// status is the HTTP status of a refusal for devices. What an agent sends is made by a program, so what is
// invalid is a bad request; people's input, at the API, is 422.
func status(k fault.Kind) int {
	if k == fault.Invalid {
		return http.StatusBadRequest
	}
	return k.Status()
}
