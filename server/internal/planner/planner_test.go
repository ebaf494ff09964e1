package planner_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"assent/approval"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/index"
	"assent/server/internal/index/indextest"
	"assent/server/internal/planner"
	"assent/wire"
)

type world struct {
	*indextest.World
	planner *planner.Planner
	public  ed25519.PublicKey
}

func newWorld(t testing.TB) *world {
	w := &world{World: indextest.New(t)}
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	w.public = key.Public().(ed25519.PublicKey)
	var err error
	if w.planner, err = planner.New(planner.Config{Index: w.Index, Signer: key}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.planner.Close)
	return w
}

// device enrols a device that could take tool 1.1.
func (w *world) device(id fleet.DeviceID, group fleet.GroupID) {
	w.Device(id, group)
	w.Has(id, "tool 1.0")
	w.Offered(id, indextest.Offer("tool", "1.1", "1.0"))
}

// decide sets the status of tool 1.1 by an act.
func (w *world) decide(scope fleet.GroupID, status approval.Status) ledger.Entry {
	return w.set("tool", scope, status)
}

func (w *world) set(name string, scope fleet.GroupID, status approval.Status) ledger.Entry {
	r := indextest.Release(name, "1.1")
	return w.Act("ada", ledger.UpdateDecide{Scope: scope, Status: status, Updates: []ledger.Decided{{Update: r.ID(), Release: r, Rev: 1}}})
}

func (w *world) statement(id fleet.DeviceID) (wire.Statement, wire.StatementBody) {
	w.T.Helper()
	stmt, digest, err := w.planner.For(id)
	if err != nil {
		w.T.Fatal(err)
	}
	body, err := stmt.Verify([]ed25519.PublicKey{w.public}, id, 0, w.Now())
	if err != nil || body.Plan != digest {
		w.T.Fatalf("statement: %+v, %v", body, err)
	}
	return stmt, body
}

func TestPlansAreSharedByDevicesWithEqualFactsAndStatementsAreNot(t *testing.T) {
	w := newWorld(t)
	w.device("d1", fleet.Root)
	w.device("d2", fleet.Root)
	w.decide(fleet.Root, approval.Approved)
	one, a := w.statement("d1")
	two, b := w.statement("d2")
	if a.Plan != b.Plan {
		t.Error("equal devices have different plans")
	}
	if string(one.Sig) == string(two.Sig) || a.Device != "d1" || b.Device != "d2" {
		t.Error("two devices share a statement")
	}
	if _, err := one.Verify([]ed25519.PublicKey{w.public}, "d2", 0, w.Now()); !errors.Is(err, fault.Forbidden) {
		t.Errorf("the statement of one counts for the other: %v", err)
	}
	if data, ok := w.planner.PlanBytes(a.Plan); !ok || wire.Digest(data) != a.Plan {
		t.Error("the plan's bytes are not to be had")
	}
	if _, ok := w.planner.PlanBytes("nothing"); ok {
		t.Error("bytes of a plan that nobody has")
	}
}

func TestStatementsStayTheSameUntilThePlanChangesAndTheirCounterNeverGoesDown(t *testing.T) {
	w := newWorld(t)
	w.device("d1", fleet.Root)
	first, body := w.statement("d1")
	w.Group("elsewhere", fleet.Root) // the ledger grows, the plan stays
	same, _ := w.statement("d1")
	if string(first.Sig) != string(same.Sig) {
		t.Error("a new statement around the same plan")
	}
	w.decide(fleet.Root, approval.Approved)
	_, next := w.statement("d1")
	if next.Plan == body.Plan || next.Counter <= body.Counter {
		t.Errorf("after an act: plan %v, counter %d after %d", next.Plan == body.Plan, next.Counter, body.Counter)
	}
}

func TestV5_AStatementIsMadeAnewAtHalfOfItsLife(t *testing.T) {
	w := newWorld(t)
	w.device("d1", fleet.Root)
	first, body := w.statement("d1")
	if life := body.Expires.Sub(body.Issued); life != planner.PlanTTL {
		t.Errorf("it lives %s", life)
	}
	w.Advance(planner.PlanTTL/2 - time.Second)
	if same, _ := w.statement("d1"); string(same.Sig) != string(first.Sig) {
		t.Error("made anew before half of its life")
	}
	w.Advance(time.Second)
	second, later := w.statement("d1")
	if string(second.Sig) == string(first.Sig) || !later.Expires.After(body.Expires) {
		t.Error("not made anew at half of its life")
	}
}

func TestA4_AStatementDoesNotOutliveTheApprovalItRestsOn(t *testing.T) {
	w := newWorld(t)
	w.device("d1", fleet.Root)
	w.Device("d2", fleet.Root)
	r := indextest.Release("tool", "1.1")
	end := w.Now().Add(time.Hour)
	w.Act("ada", ledger.UpdateDecide{Scope: fleet.Root, Status: approval.Approved, Expires: end, Updates: []ledger.Decided{{Update: r.ID(), Release: r, Rev: 1}}})
	if _, body := w.statement("d1"); !body.Expires.Equal(end) {
		t.Errorf("it ends at %s, the approval at %s", body.Expires, end)
	}
	if _, body := w.statement("d2"); body.Expires.Equal(end) {
		t.Error("the approval of what a device does not have shortens its plan")
	}
}

func TestQuarantinedAndRetiredDevicesGetNoPlan(t *testing.T) {
	w := newWorld(t)
	w.device("d1", fleet.Root)
	for state, kind := range map[fleet.DeviceState]fault.Kind{fleet.Quarantined: fault.Forbidden, fleet.Retired: fault.Gone} {
		w.Act("server", ledger.DeviceState{IDs: []fleet.DeviceID{"d1"}, State: state})
		if _, _, err := w.planner.For("d1"); !errors.Is(err, kind) {
			t.Errorf("%s: %v", state, err)
		}
	}
	if _, _, err := w.planner.For("nobody"); !errors.Is(err, fault.NotFound) {
		t.Errorf("an unknown device: %v", err)
	}
}

// await waits for the device in the background; the channel closes when Wait returns.
func (w *world) await(ctx context.Context, id fleet.DeviceID) <-chan struct{} {
	stmt, _ := w.statement(id)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.planner.Wait(ctx, id, stmt)
	}()
	return done
}

func returned(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-time.After(10 * time.Second):
		return false
	}
}

func TestAnActWakesExactlyTheDevicesWhosePlanItChanges(t *testing.T) {
	w := newWorld(t)
	w.Group("test", fleet.Root)
	w.device("in", "test")
	w.device("out", fleet.Root)
	w.Device("other", "test")
	w.Has("other", "lib 1.0")
	w.Offered("other", indextest.Offer("lib", "1.1", "1.0"))
	ctx, cancel := context.WithCancel(context.Background())
	in, out, other := w.await(ctx, "in"), w.await(ctx, "out"), w.await(ctx, "other")

	w.decide("test", approval.Approved)
	if !returned(in) {
		t.Fatal("the device whose plan changed sleeps on")
	}
	// A second act, for another device: when that one is awake, the first act has been worked through.
	w.set("lib", "test", approval.Approved)
	if !returned(other) {
		t.Fatal("the second device sleeps on")
	}
	select {
	case <-out:
		t.Error("a device whose plan did not change was woken")
	default:
	}
	w.decide(fleet.Root, approval.Declined)
	if !returned(out) {
		t.Error("a decline above did not wake it")
	}
	cancel()
}

func TestADeclineWakesEvenDevicesThatDoNotKnowTheSoftwareForTheyMustFenceIt(t *testing.T) {
	w := newWorld(t)
	w.device("d1", fleet.Root)
	w.Device("d2", fleet.Root)
	w.Has("d2", "lib 1.0")
	w.Offered("d2")
	done := w.await(t.Context(), "d2")
	w.decide(fleet.Root, approval.Declined)
	if !returned(done) {
		t.Fatal("it sleeps on")
	}
	// The wall grows with what other devices see of the declined release.
	done = w.await(t.Context(), "d2")
	grown := indextest.Offer("tool", "1.1", "1.0")
	grown.Items = append(grown.Items, wire.OfferItem{Item: indextest.Item("tool-data", "1.1"), Installed: "1.0"})
	w.Offered("d1", grown)
	if !returned(done) {
		t.Fatal("the wall grew, but it sleeps on")
	}
	stmt, digest, err := w.planner.For("d2")
	if err != nil {
		t.Fatal(err)
	}
	data, _ := w.planner.PlanBytes(digest)
	body, err := stmt.Verify([]ed25519.PublicKey{w.public}, "d2", 0, w.Now())
	if err != nil {
		t.Fatal(err)
	}
	if p, err := body.Open(data); err != nil || len(p.Deny) != 1 || len(p.Deny[0].Items) != 2 {
		t.Errorf("its walls: %+v, %v", p.Deny, err)
	}
}

func TestNewFactsWakeTheDeviceThatReportedThem(t *testing.T) {
	w := newWorld(t)
	w.device("d1", fleet.Root)
	w.decide(fleet.Root, approval.Approved)
	done := w.await(t.Context(), "d1")
	w.Has("d1", "tool 1.1")
	w.Offered("d1")
	if !returned(done) {
		t.Error("it sleeps on")
	}
}

func TestWaitEndsWithItsContextAndWhenTheDeviceMayNotHaveAPlan(t *testing.T) {
	w := newWorld(t)
	w.device("d1", fleet.Root)
	ctx, cancel := context.WithCancel(context.Background())
	done := w.await(ctx, "d1")
	cancel()
	if !returned(done) {
		t.Error("it outlives its context")
	}
	done = w.await(t.Context(), "d1")
	w.Act("server", ledger.DeviceState{IDs: []fleet.DeviceID{"d1"}, State: fleet.Quarantined})
	if !returned(done) {
		t.Error("quarantined, but it waits on")
	}
	w.planner.Wait(t.Context(), "nobody", wire.Statement{})
}

func TestAStatementThatTheDeviceDoesNotHoldIsDueAtOnce(t *testing.T) {
	w := newWorld(t)
	w.device("d1", fleet.Root)
	w.planner.Wait(t.Context(), "d1", wire.Statement{})
}

func TestManyActsWhileManyWaitLoseNoWake(t *testing.T) {
	w := newWorld(t)
	const n, acts = 40, 20
	var group sync.WaitGroup
	for i := range n {
		id := fleet.DeviceID(fmt.Sprintf("d%02d", i))
		w.device(id, fleet.Root)
		stmt, _ := w.statement(id)
		group.Go(func() { w.follow(id, stmt, acts) })
	}
	for i := range acts {
		w.decide(fleet.Root, []approval.Status{approval.Approved, approval.Declined}[i%2])
	}
	group.Wait()
}

// follow waits until the device has been given the plan of an act that came after all others: the walls
// name the act, so the last one is told apart.
func (w *world) follow(id fleet.DeviceID, stmt wire.Statement, acts int) {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		w.planner.Wait(ctx, id, stmt)
		slept := ctx.Err() != nil
		cancel()
		next, digest, err := w.planner.For(id)
		if err != nil || slept {
			w.T.Errorf("%s: %v; it slept through a change: %v", id, err, slept)
			return
		}
		stmt = next
		data, ok := w.planner.PlanBytes(digest)
		var p wire.Plan
		if ok && json.Unmarshal(data, &p) == nil && len(p.Deny) == 1 && p.Deny[0].Act == w.lastAct(acts) {
			return
		}
	}
}

// lastAct is the ledger sequence of the last of the test's acts: the first two entries and one for each
// enrolment come before.
func (w *world) lastAct(acts int) int64 { return 2 + 40 + int64(acts) }

func TestForIsAlwaysWhatComputingAnewSays(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		defer w.Store.Close()
		w.Group("a", fleet.Root)
		w.Group("b", "a")
		ids := []fleet.DeviceID{"d1", "d2", "d3"}
		for i, id := range ids {
			w.device(id, []fleet.GroupID{fleet.Root, "a", "b"}[i])
		}
		group := rapid.SampledFrom([]fleet.GroupID{fleet.Root, "a", "b"})
		device := rapid.SampledFrom(ids)
		status := rapid.SampledFrom([]approval.Status{approval.Approved, approval.Declined, approval.Undefined})
		for range rapid.IntRange(1, 12).Draw(r, "steps") {
			w.change(r, group, device, status)
			other, err := planner.New(planner.Config{Index: w.Index, Signer: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))})
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range ids {
				_, digest, err := w.planner.For(id)
				if err != nil {
					t.Fatal(err)
				}
				if _, want, err := other.For(id); err != nil || digest != want {
					r.Fatalf("%s: plan %s; computed anew it is %s (%v)", id, digest, want, err)
				}
			}
			other.Close()
		}
	})
}

// change makes one change of some kind.
func (w *world) change(r *rapid.T, group *rapid.Generator[fleet.GroupID], device *rapid.Generator[fleet.DeviceID], status *rapid.Generator[approval.Status]) {
	switch rapid.IntRange(0, 5).Draw(r, "kind") {
	case 0:
		w.decide(group.Draw(r, "scope"), status.Draw(r, "status"))
	case 1:
		w.set("other", group.Draw(r, "scope"), status.Draw(r, "status"))
	case 2:
		w.Act("ada", ledger.DeviceMove{IDs: []fleet.DeviceID{device.Draw(r, "device")}, Group: group.Draw(r, "to")})
	case 3:
		w.Offered(device.Draw(r, "device"), indextest.Offer("tool", "1.1", "1.0"), indextest.Offer("other", "1.1", "1.0"))
	case 4:
		g := w.group(group.Draw(r, "group"))
		g.Guard = rapid.SampledFrom([]fleet.GuardMode{fleet.BlockDeclined, fleet.ApprovedOnly}).Draw(r, "guard")
		w.Act("ada", ledger.GroupChange{Group: g})
	case 5:
		w.Advance(time.Duration(rapid.IntRange(1, 100).Draw(r, "hours")) * time.Hour)
	}
}

func (w *world) group(id fleet.GroupID) (g fleet.Group) {
	w.Index.View(func(v *index.View) { g, _ = v.Tree().Get(id) })
	return g
}

func TestAStatementRestsOnAsMuchOfTheLedgerAsItsDeviceHasSeen(t *testing.T) {
	w := newWorld(t)
	w.Device("d1", fleet.Root)
	first, plan, rests, err := w.planner.AtLeast("d1", 0)
	if err != nil {
		t.Fatal(err)
	}
	w.Group("elsewhere", fleet.Root) // an act that changes no plan
	if again, _, n, err := w.planner.AtLeast("d1", rests); err != nil || n != rests || string(again.Sig) != string(first.Sig) {
		t.Errorf("a device that has seen no more gets another statement: %d, %v", n, err)
	}
	newer, same, n, err := w.planner.AtLeast("d1", rests+1)
	if err != nil || n != rests+1 || same != plan || string(newer.Sig) == string(first.Sig) {
		t.Errorf("a device that saw act %d elsewhere gets a statement that rests on %d: %v", rests+1, n, err)
	}
	if _, _, n, err := w.planner.AtLeast("d1", 1<<40); err != nil || n != rests+1 {
		t.Errorf("of acts that there are not: %d, %v", n, err)
	}
}
