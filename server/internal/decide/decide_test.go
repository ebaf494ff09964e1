package decide_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"testing"

	"assent/approval"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/plan"
	"assent/server/internal/auth"
	"assent/server/internal/decide"
	"assent/server/internal/index/indextest"
	"assent/server/internal/planner"
	"assent/wire"
)

// office is a world with the services on it and two people in it.
type office struct {
	*indextest.World
	decide  *decide.Service
	planner *planner.Planner
	admin   auth.Actor
	viewer  auth.Actor
}

func newOffice(t testing.TB) *office {
	o := &office{World: indextest.New(t),
		admin:  auth.Actor{Name: "ada", Role: ledger.Administrator, Scope: fleet.Root},
		viewer: auth.Actor{Name: "vic", Role: ledger.Viewer, Scope: fleet.Root}}
	o.Act("server", ledger.OperatorSet{Operator: ledger.Operator{Name: "ada", Role: ledger.Administrator, Scope: fleet.Root}})
	o.serve()
	return o
}

// serve builds the services on the world's index.
func (o *office) serve() {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	var err error
	o.planner, err = planner.New(planner.Config{Index: o.Index, Signer: key})
	if err != nil {
		o.T.Fatal(err)
	}
	o.decide, err = decide.New(decide.Config{Index: o.Index, Planner: o.planner, Version: "test", Engine: "sqlite"})
	if err != nil {
		o.T.Fatal(err)
	}
}

// plan is what a device is ordered to do now.
func (o *office) plan(id fleet.DeviceID) wire.Plan {
	o.T.Helper()
	stmt, digest, err := o.planner.For(id)
	if err != nil {
		o.T.Fatalf("plan of %s: %v", id, err)
	}
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public().(ed25519.PublicKey)
	body, err := stmt.Verify([]ed25519.PublicKey{key}, id, 0, o.Now())
	if err != nil {
		o.T.Fatalf("statement of %s: %v", id, err)
	}
	data, ok := o.planner.PlanBytes(digest)
	if !ok {
		o.T.Fatalf("the plan %s of %s is not to be had", digest, id)
	}
	p, err := body.Open(data)
	if err != nil {
		o.T.Fatalf("plan of %s: %v", id, err)
	}
	return p
}

// installs lists what a device is ordered to install, as "name version".
func (o *office) installs(id fleet.DeviceID) []string {
	o.T.Helper()
	var out []string
	for _, in := range o.plan(id).Install {
		out = append(out, in.Release.Name+" "+in.Release.Version)
	}
	return out
}

// act decides and fails the test on a refusal.
func (o *office) act(d client.Decide) client.Outcome {
	o.T.Helper()
	out, err := o.decide.Decide(context.Background(), o.admin, d)
	if err != nil {
		o.T.Fatalf("decide %+v: %v", d, err)
	}
	return out
}

func (o *office) approve(updates ...string) client.Outcome {
	o.T.Helper()
	return o.act(client.Decide{Updates: updates, Status: approval.Approved})
}

func (o *office) decline(updates ...string) client.Outcome {
	o.T.Helper()
	return o.act(client.Decide{Updates: updates, Status: approval.Declined, Reason: "not here"})
}

// refused decides and returns the code of the refusal.
func (o *office) refused(d client.Decide) *fault.Error {
	o.T.Helper()
	_, err := o.decide.Decide(context.Background(), o.admin, d)
	if err == nil {
		o.T.Fatalf("decide %+v: not refused", d)
	}
	return fault.From(err)
}

func (o *office) list(f client.Filter, p client.Page) client.List[client.UpdateRow] {
	o.T.Helper()
	out, err := o.decide.List(context.Background(), o.admin, f, p)
	if err != nil {
		o.T.Fatalf("list %+v: %v", f, err)
	}
	return out
}

func (o *office) why(device, update string) client.Why {
	o.T.Helper()
	out, err := o.decide.Why(context.Background(), o.admin, device, update)
	if err != nil {
		o.T.Fatalf("why %s %s: %v", device, update, err)
	}
	return out
}

func (o *office) row(name string) client.UpdateRow {
	o.T.Helper()
	d, err := o.decide.Get(context.Background(), o.admin, name, "")
	if err != nil {
		o.T.Fatalf("get %s: %v", name, err)
	}
	return d.UpdateRow
}

// seq is the number of entries in the ledger.
func (o *office) seq() int64 {
	e, _, err := o.Store.Head(context.Background())
	if err != nil {
		o.T.Fatal(err)
	}
	return e
}

func TestA1_ANewUpdateIsUndefinedAndSettingItBackIsADecision(t *testing.T) {
	o := newOffice(t)
	o.Device("d1", fleet.Root)
	o.Has("d1", "tool 1.0")
	o.Offered("d1", indextest.Offer("tool", "1.1", "1.0"))
	row := o.row("tool@1.1")
	if row.Status != approval.Undefined || row.Needed != 1 {
		t.Fatalf("a new update is %s and needed by %d", row.Status, row.Needed)
	}
	if got := o.installs("d1"); len(got) > 0 {
		t.Fatalf("undecided, but ordered: %v", got)
	}
	o.approve("tool@1.1")
	before := o.seq()
	out := o.act(client.Decide{Updates: []string{"tool@1.1"}, Status: approval.Undefined})
	if out.Act != before+1 || o.row("tool@1.1").Status != approval.Undefined {
		t.Errorf("setting back: act %d after %d, status %s", out.Act, before, o.row("tool@1.1").Status)
	}
}

func TestT7_ApprovingIsEnoughForTheInstallToBeOrdered(t *testing.T) {
	o := newOffice(t)
	o.Device("d1", fleet.Root)
	o.Has("d1", "tool 1.0")
	o.Offered("d1", indextest.Offer("tool", "1.1", "1.0"))
	out := o.approve(string(indextest.ID("tool", "1.1")))
	if out.Preview.Installs != 1 || out.Preview.Devices != 1 || out.Preview.Download != 1000 {
		t.Errorf("preview of the act: %+v", out.Preview)
	}
	p := o.plan("d1")
	if len(p.Install) != 1 || p.Install[0].Items[0] != indextest.Item("tool", "1.1") {
		t.Fatalf("plan: %+v", p.Install)
	}
	o.Obey("d1", p)
	if row := o.row("tool@1.1"); row.Installed != 1 || row.Needed != 0 {
		t.Errorf("after the install: %+v", row)
	}
	if got := o.installs("d1"); len(got) > 0 {
		t.Errorf("installed, but still ordered: %v", got)
	}
}

func TestC3_DeclinedButInstalledIsSaidAndStaysUntilItIsRolledBackByAnAct(t *testing.T) {
	o := newOffice(t)
	o.Device("d1", fleet.Root)
	o.Has("d1", "tool 1.0")
	o.Offered("d1", indextest.Offer("tool", "1.1", "1.0"))
	o.approve("tool@1.1")
	o.Obey("d1", o.plan("d1"))

	o.decline("tool@1.1")
	p := o.plan("d1")
	if len(p.Rollback) > 0 || len(p.Deny) != 1 {
		t.Fatalf("a decline alone ordered %+v with walls %+v", p.Rollback, p.Deny)
	}
	if row := o.row("tool@1.1"); row.Against != 1 || row.Installed != 1 {
		t.Fatalf("declined but installed is not said: %+v", row)
	}
	why := o.why("d1", "tool@1.1")
	if !why.State.Against || why.Verdict.Action != plan.None {
		t.Errorf("why: %+v", why)
	}
	out, err := o.decide.Rollback(t.Context(), o.admin, client.RollbackRequest{Update: "tool@1.1"})
	if err != nil || len(out.Devices) != 1 || !out.Devices[0].Can {
		t.Fatalf("rollback: %+v, %v", out, err)
	}
	p = o.plan("d1")
	if len(p.Rollback) != 1 || p.Rollback[0].Items[0].Version != "1.0" {
		t.Fatalf("rollback ordered as %+v", p.Rollback)
	}
	o.Obey("d1", p)
	if p = o.plan("d1"); len(p.Rollback) > 0 || len(p.Install) > 0 {
		t.Fatalf("after the rollback the device is ordered %+v %+v", p.Rollback, p.Install)
	}

	// Somebody installs it again by hand: the old order is done for good, also for a new process.
	o.Has("d1", "tool 1.1")
	o.Offered("d1")
	for _, moment := range []string{"at once", "after a restart"} {
		if p = o.plan("d1"); len(p.Rollback) > 0 {
			t.Fatalf("%s an old rollback fires again: %+v", moment, p.Rollback)
		}
		o.planner.Close()
		o.Restart()
		o.serve()
	}
}

func TestC3_ARollbackOfWhatIsStillApprovedIsRefusedUnlessDeclinedInTheSameCall(t *testing.T) {
	o := newOffice(t)
	o.Device("d1", fleet.Root)
	o.Has("d1", "tool 1.0")
	o.Offered("d1", indextest.Offer("tool", "1.1", "1.0"))
	o.approve("tool@1.1")
	o.Obey("d1", o.plan("d1"))
	_, err := o.decide.Rollback(t.Context(), o.admin, client.RollbackRequest{Update: "tool@1.1"})
	if !errors.Is(err, fault.Conflict) || fault.From(err).Code != "still_approved" {
		t.Fatalf("refusal: %v", err)
	}
	before := o.seq()
	dry, err := o.decide.Rollback(t.Context(), o.admin, client.RollbackRequest{Update: "tool@1.1", Decline: true, DryRun: true})
	if err != nil || !dry.Devices[0].Can || o.seq() != before {
		t.Fatalf("dry run: %+v, %v, %d entries", dry, err, o.seq()-before)
	}
	out, err := o.decide.Rollback(t.Context(), o.admin, client.RollbackRequest{Update: "tool@1.1", Decline: true, Reason: "broken"})
	if err != nil || out.Act != before+2 {
		t.Fatalf("rollback: act %d after %d, %v", out.Act, before, err)
	}
	entries, err := o.Store.Entries(t.Context(), before+1, 10)
	if err != nil || len(entries) != 2 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	first, err := ledger.Decode(entries[0].Data)
	if err != nil || first.Kind != (ledger.UpdateDecide{}).Kind() {
		t.Errorf("the first entry is %s, %v", first.Kind, err)
	}
	if p := o.plan("d1"); len(p.Rollback) != 1 {
		t.Errorf("ordered: %+v", p.Rollback)
	}
}

func TestC3_ARollbackThatCannotBeOrderedDeclinesNothing(t *testing.T) {
	o := newOffice(t)
	o.Device("d1", fleet.Root)
	o.Has("d1", "tool 1.0")
	o.Offered("d1", indextest.Offer("tool", "1.1", "1.0"))
	before := o.seq()
	_, err := o.decide.Rollback(t.Context(), o.admin, client.RollbackRequest{Update: "tool@1.1", Decline: true, Reason: "broken"})
	if !errors.Is(err, fault.Conflict) || fault.From(err).Code != "nothing_to_roll_back" || o.seq() != before {
		t.Errorf("refusal: %v, with %d entries", err, o.seq()-before)
	}
}
