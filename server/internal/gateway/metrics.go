package gateway

import (
	"errors"
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"assent/installation"
	"assent/wire"
)

// metrics counts what happens on the device listener.
type metrics struct {
	checkIns  checkInCounters
	refusals  *prometheus.CounterVec // by code
	documents *prometheus.CounterVec // by kind
	reports   *prometheus.CounterVec // by state or "event"
	installs  *prometheus.CounterVec // by outcome
	routes    map[string]prometheus.Observer
}

// checkInCounters are the counters of the steady path, looked up once.
type checkInCounters struct {
	steady, statement, incomplete, stale, quarantined, cloned prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, g *Gateway) (*metrics, error) {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "assent_" + name, Help: help}, []string{label})
	}
	m := &metrics{
		refusals:  counter("device_refusals_total", "Refused handshakes and requests of devices, by code.", "code"),
		documents: counter("documents_total", "Documents taken from devices, by kind.", "kind"),
		reports:   counter("reports_total", "Reports taken from devices, repeated ones included, by installation state or \"event\".", "state"),
		installs:  counter("installs_total", "Final results of installs that devices reported, repeated reports included.", "outcome"),
		routes:    map[string]prometheus.Observer{},
	}
	for _, outcome := range outcomes() {
		m.installs.WithLabelValues(string(outcome)) // from the start, so that a first one is a change
	}
	m.refusals.WithLabelValues(errBusy.Code)
	in := counter("checkins_total", "Check-ins, by what they were answered with.", "answer")
	m.checkIns = checkInCounters{steady: in.WithLabelValues("nothing"), statement: in.WithLabelValues("statement"),
		incomplete: in.WithLabelValues("need"), stale: in.WithLabelValues("stale"),
		quarantined: in.WithLabelValues("quarantined"), cloned: in.WithLabelValues("cloned")}
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "assent_device_request_seconds",
		Help: "Time to answer a device, long polls included.", Buckets: prometheus.ExponentialBuckets(0.0001, 4, 11)}, []string{"route"})
	for _, rt := range table() {
		m.routes[rt.name] = seconds.WithLabelValues(rt.name)
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "assent_" + name, Help: help}, f)
	}
	away := func(what string, f func() float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "assent_admissions_refused_total", Help: "Connections and requests of devices that were turned away to keep the load bounded, by what they were.",
			ConstLabels: prometheus.Labels{"what": what}}, f)
	}
	waiting := func(what string, f func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "assent_admissions_waiting", Help: "Connections and requests of devices that wait for a place, by what they are.",
			ConstLabels: prometheus.Labels{"what": what}}, func() float64 { return float64(f()) })
	}
	err := errors.Join(reg.Register(m.refusals), reg.Register(m.documents), reg.Register(m.reports), reg.Register(m.installs),
		reg.Register(in), reg.Register(seconds),
		reg.Register(away("connection", g.conns.away)),
		reg.Register(away("handshake", func() float64 { return float64(g.hands.turned.Load()) })),
		reg.Register(away("write", func() float64 { return float64(g.writes.turned.Load()) })),
		reg.Register(away("upload", func() float64 { return float64(g.uploads.turned.Load()) })),
		reg.Register(waiting("handshake", g.hands.length)), reg.Register(waiting("write", g.writes.length)), reg.Register(waiting("upload", g.uploads.length)),
		reg.Register(gauge("parked_polls", "Long polls of devices that wait for a new plan.", func() float64 { return float64(g.parked.Load()) })),
		reg.Register(gauge("connected_devices", "Devices with an open connection.", func() float64 { _, n := g.conns.counts(); return float64(n) })),
		reg.Register(gauge("stranger_connections", "Connections that have shown no device certificate.", func() float64 { n, _ := g.conns.counts(); return float64(n) })))
	if err != nil {
		return nil, fmt.Errorf("register the gateway's metrics: %w", err)
	}
	return m, nil
}

func (m *metrics) route(name string) prometheus.Observer { return m.routes[name] }

// report counts a report. Only known states become labels: a hostile device cannot make up new ones.
func (m *metrics) report(r wire.Report) {
	switch {
	case r.State == "":
		m.reports.WithLabelValues("event").Inc()
		return
	case !r.State.Valid():
		m.reports.WithLabelValues("invalid").Inc()
		return
	}
	m.reports.WithLabelValues(string(r.State)).Inc()
	if slices.Contains(outcomes(), r.State) {
		m.installs.WithLabelValues(string(r.State)).Inc()
	}
}

// outcomes are the states that are final results.
func outcomes() []installation.State {
	return []installation.State{installation.Installed, installation.RestartRequired, installation.Failed, installation.Removed, installation.RemoveFailed, installation.ResultUnknown}
}
