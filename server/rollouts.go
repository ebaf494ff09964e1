package server

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"assent/client"
	"assent/rollout"
	"assent/server/internal/conductor"
	"assent/server/internal/index"
)

// newConductor builds what takes updates through the rings of tasks, with its figures.
func (r *running) newConductor() (*conductor.Conductor, error) {
	moves := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "assent_rollout_transitions_total",
		Help: "Changes of phase of rings, by the phase that they came to; many halts are bad updates or bad probes."}, []string{"to"})
	if err := errors.Join(r.registry.Register(moves), r.registry.Register(newRolloutFigures(r.index))); err != nil {
		return nil, fmt.Errorf("register metrics of rollouts: %w", err)
	}
	for _, p := range []rollout.Phase{rollout.Waiting, rollout.Running, rollout.Soaking, rollout.Passed, rollout.Halted, rollout.Skipped} {
		moves.WithLabelValues(string(p)) // from the start, so that a first one is a change
	}
	c, err := conductor.New(conductor.Config{Index: r.index, Planner: r.planner, Log: r.Log,
		Moved: func(t rollout.Transition) { moves.WithLabelValues(string(t.To)).Inc() }})
	if err != nil {
		return nil, err
	}
	r.onClose(func() error { c.Close(); return nil })
	return c, nil
}

// rolloutFigures counts rollouts by phase, when it is scraped.
type rolloutFigures struct {
	index  *index.Index
	phases *prometheus.Desc
}

func newRolloutFigures(x *index.Index) rolloutFigures {
	return rolloutFigures{index: x, phases: prometheus.NewDesc("assent_rollouts", "Rollouts of updates through the rings of tasks, by phase; those that wait for a person are counted as needs_person too.", []string{"phase"}, nil)}
}

// Describe names the figures.
func (f rolloutFigures) Describe(ch chan<- *prometheus.Desc) { ch <- f.phases }

// Collect reads one consistent moment.
func (f rolloutFigures) Collect(ch chan<- prometheus.Metric) {
	const person = "needs_person"
	n := map[string]int{person: 0}
	for _, p := range []client.RolloutPhase{client.RolloutWaiting, client.RolloutRunning, client.RolloutSoaking, client.RolloutHalted, client.RolloutFinished, client.RolloutOpen} {
		n[string(p)] = 0
	}
	f.index.View(func(v *index.View) {
		for _, s := range v.Rollouts() {
			at := conductor.Current(s)
			n[string(at.Phase)]++
			if at.NeedsPerson {
				n[person]++
			}
		}
	})
	for phase, count := range n {
		ch <- prometheus.MustNewConstMetric(f.phases, prometheus.GaugeValue, float64(count), phase)
	}
}
