package conductor_test

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/plan"
	"assent/rollout"
	"assent/server/internal/auth"
	"assent/server/internal/conductor"
	"assent/server/internal/index"
	"assent/server/internal/index/indextest"
	"assent/server/internal/planner"
	"assent/task"
	"assent/wire"
)

// world is an installation with the groups test, pilot and production, a planner and a conductor.
type world struct {
	*indextest.World
	planner *planner.Planner
	c       *conductor.Conductor

	mu    sync.Mutex
	moved []rollout.Transition
}

var (
	tool  = indextest.Release("tool", "1.1")
	newer = indextest.Release("tool", "1.2")
)

const ringed = "ringed"

func newWorld(t testing.TB) *world {
	w := &world{World: indextest.New(t)}
	for _, g := range []fleet.GroupID{"test", "pilot", "production"} {
		w.Group(g, fleet.Root)
	}
	w.start()
	t.Cleanup(w.end)
	return w
}

func (w *world) start() {
	w.T.Helper()
	var err error
	w.planner, err = planner.New(planner.Config{Index: w.Index, Signer: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))})
	w.must(err)
	w.c, err = conductor.New(conductor.Config{Index: w.Index, Planner: w.planner, Moved: w.move})
	w.must(err)
}

func (w *world) move(t rollout.Transition) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moved = append(w.moved, t)
}

func (w *world) end() {
	w.c.Close()
	w.planner.Close()
}

// restart is a new server on the same database.
func (w *world) restart() {
	w.T.Helper()
	w.end()
	w.Restart()
	w.start()
}

func (w *world) must(err error) {
	w.T.Helper()
	if err != nil {
		w.T.Fatal(err)
	}
}

// rings are Test, Pilot, Production: all of a ring have to succeed, one failure halts, an hour of soak.
func rings(change ...func([]rollout.Ring)) []rollout.Ring {
	var out []rollout.Ring
	for _, name := range []string{"Test", "Pilot", "Production"} {
		group := fleet.GroupID(map[string]string{"Test": "test", "Pilot": "pilot", "Production": "production"}[name])
		out = append(out, rollout.Ring{Name: name, Groups: []fleet.GroupID{group}, SuccessRate: 1000, Failures: 1, Soak: rollout.Span(time.Hour), Silence: rollout.Span(24 * time.Hour)})
	}
	for _, f := range change {
		f(out)
	}
	return out
}

// task makes the task of the tests, and takes the default one out of the way.
func (w *world) task(list []rollout.Ring, change ...func(*task.Task)) {
	w.T.Helper()
	off := task.Default()
	off.Enabled = false
	w.Act("ada", ledger.TaskSet{Task: off})
	t := task.Task{ID: ringed, Name: "Ringed", Enabled: true, Targets: task.Targets{Groups: []fleet.GroupID{fleet.Root}}, Rules: []task.Rule{{Admits: task.Approved}},
		Options: task.Options{NewDependencies: true}, Rings: list}
	for _, f := range change {
		f(&t)
	}
	w.Act("ada", ledger.TaskSet{Task: t})
}

// device enrols a device that could take tool 1.1.
func (w *world) device(id fleet.DeviceID, group fleet.GroupID) {
	w.Device(id, group)
	w.Has(id, "tool 1.0")
	w.Offered(id, indextest.Offer("tool", "1.1", "1.0"))
}

// one makes a device in each group, named as the group.
func (w *world) one() {
	for _, g := range []fleet.GroupID{"test", "pilot", "production"} {
		w.device(fleet.DeviceID(g), g)
	}
}

func (w *world) decide(r catalog.Release, status approval.Status) {
	w.T.Helper()
	w.Act("ada", ledger.UpdateDecide{Scope: fleet.Root, Status: status, Updates: []ledger.Decided{{Update: r.ID(), Release: r, Rev: 1}}})
}

// look has the conductor look until nothing moves.
func (w *world) look() {
	w.T.Helper()
	for range 20 {
		before := len(w.moved)
		w.must(w.c.Look(w.T.Context()))
		if len(w.moved) == before {
			return
		}
	}
	w.T.Fatal("the rollouts do not come to rest")
}

// pass lets time go by as a running server does: in steps well below rollout.Gap, with every device heard of that is not named.
func (w *world) pass(d time.Duration, silent ...fleet.DeviceID) {
	w.T.Helper()
	const step = 14 * time.Minute
	for ; d > 0; d -= step {
		w.Advance(min(d, step))
		var ids []fleet.DeviceID
		w.Index.View(func(v *index.View) {
			for one := range v.All() {
				if one.State == fleet.Active && !slices.Contains(silent, one.ID) {
					ids = append(ids, one.ID)
				}
			}
		})
		for _, id := range ids {
			w.Scan(id)
		}
		w.look()
	}
}

// obey has a device do what it is ordered now, and says whether that is something.
func (w *world) obey(id fleet.DeviceID) bool {
	w.T.Helper()
	var p wire.Plan
	w.Index.View(func(v *index.View) {
		d, _ := v.Device(id)
		p = plan.Compute(v.PlanInput(d, w.Now())).Plan
	})
	w.Obey(id, p)
	return len(p.Install)+len(p.Rollback) > 0
}

// fails has a device report that the probe of an install failed.
func (w *world) fails(id fleet.DeviceID, r catalog.Release) {
	w.T.Helper()
	for _, s := range []installation.State{installation.Assigned, installation.Downloading, installation.Downloaded, installation.Installing} {
		w.Report(id, wire.Report{Update: r.ID(), State: s})
	}
	w.Report(id, wire.Report{Update: r.ID(), State: installation.Failed, Cause: installation.ProbeFailed, Detail: "nobody listens on port 80"})
}

func (w *world) verdict(id fleet.DeviceID, r catalog.Release) plan.Verdict {
	w.T.Helper()
	var out plan.Verdict
	w.Index.View(func(v *index.View) {
		d, _ := v.Device(id)
		for _, verdict := range plan.Compute(v.PlanInput(d, w.Now())).Verdicts {
			if verdict.Update == r.ID() {
				out = verdict
			}
		}
	})
	return out
}

func (w *world) state(r catalog.Release) rollout.State {
	w.T.Helper()
	var s rollout.State
	w.Index.View(func(v *index.View) { s, _ = v.Rollout(ringed, r.ID()) })
	return s
}

// phases are the phases of the rings in their order: "passed running waiting".
func (w *world) phases(r catalog.Release) string {
	w.T.Helper()
	var out []rollout.Phase
	for _, ring := range w.state(r).Rings {
		out = append(out, ring.Phase)
	}
	return fmt.Sprint(out)
}

func (w *world) want(r catalog.Release, phases string) {
	w.T.Helper()
	if got := w.phases(r); got != "["+phases+"]" {
		for _, ring := range w.state(r).Rings {
			w.T.Logf("%s is %s (%s): %s", ring.Ring, ring.Phase, ring.Reason.Code, ring.Reason.Text)
		}
		w.T.Fatalf("the rings are %s, want [%s]", got, phases)
	}
}

// through takes tool 1.1 through ring Test.
func (w *world) through() {
	w.T.Helper()
	w.decide(tool, approval.Approved)
	w.look()
	if !w.obey("test") {
		w.T.Fatal("the device in ring Test is ordered nothing")
	}
	w.look()
	w.want(tool, "soaking waiting waiting")
	w.pass(70 * time.Minute)
	w.want(tool, "passed running waiting")
}

func admin(name string) auth.Actor {
	return auth.Actor{Name: name, Role: ledger.Administrator, Scope: fleet.Root}
}

func (w *world) act(verb rollout.Verb, ring, why string) client.RolloutActed {
	w.T.Helper()
	out, err := w.c.Act(w.T.Context(), admin("ada"), client.RolloutAct{Task: "Ringed", Update: "tool@1.1", Verb: verb, Ring: ring, Reason: why})
	w.must(err)
	return out
}

// put has a device scan with a package on it that came in some way; what it was offered of it is gone.
func (w *world) put(id fleet.DeviceID, p wire.Package) {
	w.T.Helper()
	w.Machine(id, func(s *indextest.Said) {
		s.Packages[p.Name] = p
		s.Offers = slices.DeleteFunc(slices.Clone(s.Offers), func(o wire.Offer) bool { return o.Name == p.Name && o.Version == p.Version })
	})
	w.Scan(id)
}

// offer has a device be offered another release of tool too.
func (w *world) offer(id fleet.DeviceID, version string) {
	w.T.Helper()
	w.Machine(id, func(s *indextest.Said) {
		s.Offers = append(slices.Clone(s.Offers), indextest.Offer("tool", version, s.Packages["tool"].Version))
	})
	w.Scan(id)
}

// mark is how long the ledger was.
type mark int64

func (w *world) entries() (m mark) {
	w.Index.View(func(v *index.View) { m = mark(v.State().Seq) })
	return m
}

// since are the entries that came after.
func (m mark) since(t *testing.T, w *world) []ledger.Entry {
	t.Helper()
	raw, err := w.Store.Entries(t.Context(), int64(m)+1, 1000)
	w.must(err)
	var out []ledger.Entry
	for _, r := range raw {
		e, err := ledger.Decode(r.Data)
		w.must(err)
		out = append(out, e)
	}
	return out
}
