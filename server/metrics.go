package server

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"assent/fleet"
	"assent/installation"
	"assent/server/internal/index"
	"assent/server/internal/planner"
)

// observer counts the API's requests; it fits api.Config.Observe.
type observer struct{ seconds *prometheus.HistogramVec }

func (o observer) observe(pattern string, status int, took time.Duration) {
	o.seconds.WithLabelValues(pattern, strconv.Itoa(status)).Observe(took.Seconds())
}

// register makes the registry with what is not counted elsewhere.
func register(x *index.Index, plans *planner.Planner, version string) (*prometheus.Registry, observer, error) {
	reg := prometheus.NewRegistry()
	o := observer{prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "assent_api_request_seconds",
		Help: "Time to answer the API, by route and status.", Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9)}, []string{"route", "status"})}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "assent_build_info", Help: "1; the labels say which build runs.",
		ConstLabels: prometheus.Labels{"version": version}})
	build.Set(1)
	computed := prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "assent_plan_computations_total",
		Help: "Plans computed; devices with the same facts in the same group share one."}, func() float64 { return float64(plans.Computed()) })
	err := errors.Join(reg.Register(computed), reg.Register(collectors.NewGoCollector()), reg.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})),
		reg.Register(o.seconds), reg.Register(build), reg.Register(newInventory(x)))
	if err != nil {
		return nil, o, fmt.Errorf("register metrics: %w", err)
	}
	return reg, o, nil
}

// inventory reads figures of the whole installation from the index, when it is scraped.
type inventory struct {
	index                            *index.Index
	ledger, updates, devices, queued *prometheus.Desc
	foreseen                         *prometheus.Desc
}

func newInventory(x *index.Index) inventory {
	return inventory{index: x,
		ledger:   prometheus.NewDesc("assent_ledger_entries", "Entries of the ledger.", nil, nil),
		updates:  prometheus.NewDesc("assent_updates", "Known updates.", nil, nil),
		devices:  prometheus.NewDesc("assent_devices", "Devices, by standing; those that listen now are counted as connected too.", []string{"state"}, nil),
		queued:   prometheus.NewDesc("assent_queue_length", "Updates on devices that are under way, by installation state.", []string{"state"}, nil),
		foreseen: prometheus.NewDesc("assent_rehearsal_failures", "Updates on devices that would fail in their next window, as the devices found beforehand.", nil, nil)}
}

// Describe names the figures.
func (i inventory) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{i.ledger, i.updates, i.devices, i.queued, i.foreseen} {
		ch <- d
	}
}

// Collect reads one consistent moment.
func (i inventory) Collect(ch chan<- prometheus.Metric) {
	devices := map[string]int{string(fleet.Active): 0, string(fleet.Quarantined): 0, string(fleet.Retired): 0, "connected": 0}
	queued, foreseen := map[string]int{}, 0
	for _, s := range installation.States() {
		if !s.Terminal() {
			queued[string(s)] = 0
		}
	}
	var entries int64
	var updates int
	i.index.View(func(v *index.View) {
		entries, updates = v.State().Seq, v.NumberOfUpdates()
		for d := range v.All() {
			devices[string(d.State)]++
			if d.Connected {
				devices["connected"]++
			}
			for row := range d.Installs() {
				if !row.State.Terminal() {
					queued[string(row.State)]++
				}
			}
			foreseen += len(d.WouldFail())
		}
	})
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	gauge(i.ledger, int(entries))
	gauge(i.updates, updates)
	for state, n := range devices {
		gauge(i.devices, n, state)
	}
	for state, n := range queued {
		gauge(i.queued, n, state)
	}
	gauge(i.foreseen, foreseen)
}
