package server

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"assent/fleet"
	"assent/rollout"
	"assent/server/internal/index/indextest"
	"assent/task"
)

func TestT6_FiguresCountRolloutsByPhaseAndThoseThatNeedAPerson(t *testing.T) {
	w := indextest.New(t)
	rings := []rollout.Ring{{Name: "Test", Groups: []fleet.GroupID{fleet.Root}, SuccessRate: 1000}}
	running, _ := rollout.Advance(rollout.Start(task.DefaultID, "u1", rings, w.Now()), rings, nil, w.Now())
	halted, _, err := rollout.Start(task.DefaultID, "u2", rings, w.Now()).Halt("ada", "", w.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []rollout.State{running, halted} {
		if err := w.Index.SaveRollout(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(newRolloutFigures(w.Index))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got[f.GetName()+" "+m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
		}
	}
	for name, want := range map[string]float64{"assent_rollouts running": 1, "assent_rollouts halted": 1, "assent_rollouts needs_person": 2, "assent_rollouts finished": 0} {
		if have, there := got[name]; !there || have != want {
			t.Errorf("%s is %v, want %v; %v", name, have, want, got)
		}
	}
}
