package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/catalog"
	"assent/fleet"
	"assent/ledger"
	"assent/rollout"
	"assent/server/internal/store"
	"assent/slot"
	"assent/task"
)

// rolloutsKept checks that states of rollouts come back as they were put, beside an act and without one, that an act that is
// refused brings none, and that they go with their task.
func rolloutsKept(t *testing.T, fresh func(testing.TB) store.Config) {
	db := open(t, fresh(t))
	s := begin(t, db)
	rings := []rollout.Ring{{Name: "Test", Groups: []fleet.GroupID{fleet.Root}, SuccessRate: 900, Soak: rollout.Span(time.Hour)}}
	for _, id := range []string{"k1", "k2"} {
		must(t, act(t.Context(), db, s, "ada", ledger.TaskSet{Task: task.Task{ID: id, Name: id, Enabled: true, Targets: task.Targets{Groups: []fleet.GroupID{fleet.Root}},
			Rules: []task.Rule{{Admits: task.Approved}}, Rings: rings}}))
	}
	first := rollout.Start("k1", "u1", rings, at(1))
	other := rollout.Start("k2", "u1", rings, at(2))
	must(t, db.SaveRollouts(t.Context(), []store.RolloutRow{{State: first}, {State: other}}))
	next, moved := rollout.Advance(first, rings, nil, at(3))
	r := catalog.Release{Software: catalog.Software{Ecosystem: "deb", Namespace: "acme", Name: "tool"}, Version: "1"}
	must(t, actBeside(t, db, s, ledger.RolloutStep{Task: "k1", Update: "u1", Release: r, Transitions: moved}, store.BesideRollout(func() store.RolloutRow { return store.RolloutRow{State: next, Version: 1} })))
	rolloutsAre(t, db, next, other)
	turns := slot.State{Task: "k2", Clock: at(3), Held: map[fleet.DeviceID]slot.Slot{"d1": {Since: at(1), Until: at(2)}}, Had: map[fleet.DeviceID]time.Time{"d2": at(1)}}
	must(t, db.SaveSlots(t.Context(), slot.State{Task: "k2", Clock: at(2)}))
	must(t, db.SaveSlots(t.Context(), turns))
	rolloutsAre(t, db, next, other) // whose turn it is is no rollout
	slotsAre(t, db, turns)

	stale := s.Clone()
	must(t, act(t.Context(), db, s, "ada", ledger.TaskRemove{ID: "k2"}))
	halted, steps, err := next.Halt("ada", "it breaks", at(4))
	must(t, err)
	if err := actBeside(t, db, stale, ledger.RolloutStep{Task: "k1", Update: "u1", Release: r, Verb: rollout.VerbHalt, Transitions: steps},
		store.BesideRollout(func() store.RolloutRow { return store.RolloutRow{State: halted, Version: 2} })); err == nil {
		t.Error("an act that does not follow the last one was written")
	}
	rolloutsAre(t, db, next)
	slotsAre(t, db)

	if err := db.SaveRollouts(t.Context(), []store.RolloutRow{{State: halted, Version: 1}}); !errors.Is(err, store.ErrMoved) {
		t.Errorf("a state that follows an earlier one: %v, want ErrMoved", err)
	}
	if err := actBeside(t, db, s, ledger.RolloutStep{Task: "k1", Update: "u1", Release: r, Verb: rollout.VerbHalt, Transitions: steps},
		store.BesideRollout(func() store.RolloutRow { return store.RolloutRow{State: halted, Version: 1} })); !errors.Is(err, store.ErrMoved) {
		t.Errorf("an act on a rollout that another server took further: %v, want ErrMoved", err)
	}
	rolloutsAre(t, db, next)
	row, found, err := db.Rollout(t.Context(), "k1", "u1")
	if must(t, err); !found || row.Version != 2 {
		t.Errorf("the rollout is at version %d, %v; want 2", row.Version, found)
	}
	if _, found, err := db.Rollout(t.Context(), "k2", "u1"); err != nil || found {
		t.Errorf("a rollout of a task that is gone: %v, %v", found, err)
	}
}

func slotsAre(t *testing.T, db *store.DB, want ...slot.State) {
	t.Helper()
	var got []slot.State
	must(t, db.LoadSlots(t.Context(), func(s slot.State) error { got = append(got, s); return nil }))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("slots (-want +got):\n%s", diff)
	}
}

func rolloutsAre(t *testing.T, db *store.DB, want ...rollout.State) {
	t.Helper()
	var got []rollout.State
	must(t, db.LoadRollouts(t.Context(), func(s store.RolloutRow) error { got = append(got, s.State); return nil }))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rollouts (-want +got):\n%s", diff)
	}
}
