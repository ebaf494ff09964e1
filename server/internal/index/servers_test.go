package index_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"assent/approval"
	"assent/catalog"
	"assent/fault"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/rollout"
	"assent/server/internal/index"
	"assent/server/internal/index/indextest"
	"assent/server/internal/store"
	"assent/server/pgtest"
	"assent/task"
	"assent/wire"
)

// postgres starts a PostgreSQL server for a test.
func postgres(t *testing.T) *pgtest.Server {
	t.Helper()
	server, err := pgtest.Start(pgtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// traffic is what happens to several servers at random: devices go to any of them, and so do people.
type traffic struct {
	*indextest.World
	t       *testing.T
	servers int
	rand    *rand.Rand
	devices []fleet.DeviceID
	groups  []fleet.GroupID
	waiting map[fleet.DeviceID]int // the server that did not write down what a device said
	reports int
}

func TestServersOnOneDatabaseEndUpWithOneTruth(t *testing.T) {
	server := postgres(t)
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			const servers = 3
			f := &traffic{World: indextest.NewServers(t, server.Database(t), servers), t: t, servers: servers, rand: rand.New(rand.NewPCG(seed, 6)), waiting: map[fleet.DeviceID]int{}}
			f.begin()
			for range 150 {
				f.At(f.rand.IntN(servers))
				f.happen()
			}
			f.agree()
		})
	}
}

func (f *traffic) begin() {
	f.groups = []fleet.GroupID{fleet.Root, "web", "db"}
	f.Group("web", fleet.Root)
	f.Group("db", fleet.Root)
	for i := range 5 {
		id := fleet.DeviceID(fmt.Sprint("d", i))
		f.Device(id, f.groups[i%3])
		f.devices = append(f.devices, id)
	}
	for i := range f.servers {
		f.At(i)
		f.Follow()
	}
}

// agree demands that all servers, and one that starts now, tell the same.
func (f *traffic) agree() {
	f.t.Helper()
	for round := range 2 { // what one takes in may have it write something
		for i := range f.servers {
			f.At(i)
			f.Flush()
			f.Follow()
			if round == 1 {
				f.Follow()
			}
		}
	}
	for i := range f.servers {
		f.At(i)
		f.Follow()
	}
	want := f.Remembered(f.Rebuilt())
	if len(want.Updates) == 0 || len(want.State.Decisions) == 0 {
		f.t.Error("nothing happened")
	}
	for i := range f.servers {
		f.At(i)
		if diff := cmp.Diff(want, f.Remembered(f.Index), cmpopts.EquateEmpty(), cmpopts.SortSlices(func(a, b string) bool { return a < b })); diff != "" {
			f.t.Errorf("server %d (-one that starts now +it):\n%s", i, diff)
		}
	}
}

func (f *traffic) device() fleet.DeviceID { return f.devices[f.rand.IntN(len(f.devices))] }
func (f *traffic) group() fleet.GroupID   { return f.groups[f.rand.IntN(len(f.groups))] }
func (f *traffic) software() string       { return fmt.Sprint("tool", f.rand.IntN(4)) }
func (f *traffic) version() string        { return fmt.Sprintf("1.%d", 1+f.rand.IntN(3)) }

// happen does one thing.
func (f *traffic) happen() {
	f.Advance(time.Second)
	switch f.rand.IntN(12) {
	case 0, 1, 2:
		f.scan()
	case 3, 4, 5:
		f.report()
	case 6, 7:
		f.decide()
	case 8:
		f.do(ledger.DeviceMove{IDs: []fleet.DeviceID{f.device()}, Group: f.group()})
	case 9:
		f.Flush()
	case 10:
		f.Follow()
	case 11:
		f.roll()
	}
}

// scan has a device say what it has and could take, at the server of the moment.
func (f *traffic) scan() {
	id := f.device()
	var offers []wire.Offer
	for range f.rand.IntN(4) {
		name := f.software()
		if f.rand.IntN(2) == 0 {
			f.Has(id, name+" 1.0")
			o := indextest.Offer(name, f.version(), "1.0")
			if f.rand.IntN(3) == 0 {
				o = indextest.Brings(o, fmt.Sprint("lib", f.rand.IntN(3)), "7")
			}
			offers = append(offers, o)
		} else {
			f.Has(id, name+" "+f.version())
		}
	}
	slices.SortFunc(offers, func(a, b wire.Offer) int { return ordered(a.Name+a.Version, b.Name+b.Version) })
	f.Offered(id, slices.CompactFunc(offers, func(a, b wire.Offer) bool { return a.Name == b.Name })...)
}

func ordered(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// report has a device tell how an update goes; some of it cannot be.
func (f *traffic) report() {
	states := []installation.State{installation.Assigned, installation.Downloading, installation.Downloaded, installation.Installing, installation.Installed, installation.Failed}
	var reports []wire.Report
	for range 1 + f.rand.IntN(3) {
		f.reports++
		r := wire.Report{ID: fmt.Sprint("r", f.reports), At: f.Now(), Update: indextest.ID(f.software(), f.version()), State: states[f.rand.IntN(len(states))]}
		if f.rand.IntN(6) == 0 {
			r.State, r.Event = "", index.EventRefused
		}
		if r.State == installation.Failed {
			r.Cause = installation.ProbeFailed
		}
		reports = append(reports, r)
	}
	f.Report(f.device(), reports...)
}

// decide has somebody decide on an update that the server knows.
func (f *traffic) decide() {
	name, version := f.software(), f.version()
	status := []approval.Status{approval.Approved, approval.Declined, approval.Undefined}[f.rand.IntN(3)]
	r := indextest.Release(name, version)
	_, err := f.Index.Act(context.Background(), "ada", func(v *index.View) (ledger.Body, error) {
		u, ok := v.Update(r.ID())
		if !ok {
			return nil, nil
		}
		return ledger.UpdateDecide{Scope: f.group(), Status: status, Reason: "because", Updates: []ledger.Decided{{Update: u.ID, Release: u.Release, Rev: u.Rev()}}}, nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	if f.rand.IntN(4) == 0 {
		f.do(ledger.UpdateRollback{Update: r.ID(), Devices: []fleet.DeviceID{f.device()}})
	}
}

// roll has the conductor of the server write down how far an update is.
func (f *traffic) roll() {
	r := indextest.Release(f.software(), f.version())
	state := rollout.Start(task.DefaultID, r.ID(), nil, f.Now())
	if f.rand.IntN(2) == 0 {
		if err := f.Index.SaveRollout(context.Background(), state); err != nil && !errors.Is(err, store.ErrMoved) {
			f.t.Fatal(err)
		}
		return
	}
	_, err := f.Index.StepRollout(context.Background(), "ada", func(v *index.View) (*ledger.RolloutStep, rollout.State, error) {
		s, begun := v.Rollout(state.Task, state.Update)
		if !begun {
			s = state
		}
		verb, act := rollout.VerbHalt, s.Halt
		if s.Stop != nil {
			verb, act = rollout.VerbResume, s.Resume
		}
		after, moved, err := act("ada", "because", f.Now())
		return &ledger.RolloutStep{Task: s.Task, Update: s.Update, Release: r, Verb: verb, Why: "because", Transitions: moved}, after, err
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// do makes an act; one that cannot be is nothing.
func (f *traffic) do(body ledger.Body) {
	_, err := f.Index.Act(context.Background(), "ada", func(*index.View) (ledger.Body, error) { return body, nil })
	if err != nil && fault.From(err).Kind == fault.Internal {
		f.t.Fatal(err)
	}
}

func TestNoServerWritesOverWhatADeviceToldAnother(t *testing.T) {
	w := indextest.NewServers(t, postgres(t).Database(t), 2)
	w.Device("d1", fleet.Root)
	w.Has("d1", "tool 1.0")
	w.Offered("d1", indextest.Offer("tool", "1.1", "1.0"))
	w.Flush()
	w.At(1)
	w.Follow()
	id := indextest.ID("tool", "1.1")
	steps := []installation.State{installation.Assigned, installation.Downloading, installation.Downloaded, installation.Installing, installation.Installed}
	for i, s := range steps { // each to the other server, which has not heard of the one before
		w.At(i % 2)
		w.Report("d1", wire.Report{Update: id, State: s})
	}
	for i := range 2 {
		w.At(i)
		w.Follow()
		w.Index.View(func(v *index.View) {
			d, _ := v.Device("d1")
			if row, _ := d.Install(id); row.State != installation.Installed || !d.Illegal.IsZero() {
				t.Errorf("server %d: %s, illegal %v", i, row.State, d.Illegal)
			}
		})
	}
}

func TestAHaltAtOneServerIsNotWrittenOverByTheConductorOfAnother(t *testing.T) {
	w := indextest.NewServers(t, postgres(t).Database(t), 2)
	r := indextest.Release("tool", "1.1")
	begun := rollout.Start(task.DefaultID, r.ID(), nil, w.Now())
	if err := w.Index.SaveRollout(t.Context(), begun); err != nil {
		t.Fatal(err)
	}
	w.At(1)
	w.Follow()
	_, err := w.Index.StepRollout(t.Context(), "ada", func(v *index.View) (*ledger.RolloutStep, rollout.State, error) {
		s, _ := v.Rollout(begun.Task, begun.Update)
		after, moved, err := s.Halt("ada", "it breaks", w.Now())
		return &ledger.RolloutStep{Task: s.Task, Update: s.Update, Release: r, Verb: rollout.VerbHalt, Transitions: moved}, after, err
	})
	if err != nil {
		t.Fatal(err)
	}
	w.At(0) // it has not heard of the halt
	if err := w.Index.SaveRollout(t.Context(), begun); !errors.Is(err, store.ErrMoved) {
		t.Errorf("a state from before the halt: %v, want ErrMoved", err)
	}
	w.Index.View(func(v *index.View) {
		if s, _ := v.Rollout(begun.Task, begun.Update); s.Stop == nil {
			t.Error("the halt is not known where it was refused to write over it")
		}
	})
}

func TestAnActIsJudgedByWhatOtherServersDid(t *testing.T) {
	w := indextest.NewServers(t, postgres(t).Database(t), 2)
	w.Group("web", fleet.Root)
	w.At(1) // it has not heard of the group
	_, err := w.Index.Act(t.Context(), "ada", func(v *index.View) (ledger.Body, error) {
		if _, ok := v.Tree().Get("web"); !ok {
			return nil, fault.New(fault.NotFound, "group_unknown", "There is no such group.")
		}
		return ledger.GroupCreate{Group: fleet.Group{ID: "front", Name: "front", Parent: "web"}}, nil
	})
	if err != nil {
		t.Errorf("an act in a group that another server made a moment ago: %v", err)
	}
}

func TestARecallIsNotUndoneByAServerThatHasNotHeardOfIt(t *testing.T) {
	w := indextest.NewServers(t, postgres(t).Database(t), 2)
	w.Device("d1", fleet.Root)
	w.Has("d1", "tool 1.0")
	w.Offered("d1", indextest.Offer("tool", "1.1", "1.0"))
	w.At(1)
	w.Follow()
	published := update1(t, w)
	published.Severity, published.Summary = catalog.Critical, "recalled"
	published.Published = &catalog.Publication{}
	if err := w.Index.PutReleases(t.Context(), []catalog.Update{published}); err != nil {
		t.Fatal(err)
	}
	w.At(0) // the release grows here
	w.Offered("d1", indextest.Brings(indextest.Offer("tool", "1.1", "1.0"), "libtool", "7"))
	for i := range 2 {
		w.At(i)
		w.Follow()
		if u := update1(t, w); u.Severity != catalog.Critical || u.Published == nil || len(u.Items) != 2 {
			t.Errorf("server %d: %+v", i, u)
		}
	}
}

func update1(t *testing.T, w *indextest.World) catalog.Update {
	t.Helper()
	u, ok := update(w, indextest.ID("tool", "1.1"))
	if !ok {
		t.Fatal("the update is not known")
	}
	return u
}
