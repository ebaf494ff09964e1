package multi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

// member is a manager of either kind that notes what it was asked for.
type member struct {
	name    string
	snap    *pkgmgr.Snapshot
	scanErr error
	closed  wire.Available
	health  pkgmgr.Health
	err     error // of everything but scans
	heard   []string
	fenced  wire.Plan
}

func (m *member) hear(what string, items ...catalog.Item) {
	for _, it := range items {
		what += " " + it.Name
	}
	m.heard = append(m.heard, what)
}

func (m *member) Scan(context.Context) (*pkgmgr.Snapshot, error) { return m.snap, m.scanErr }
func (m *member) Close(_ context.Context, s *pkgmgr.Snapshot) (wire.Available, error) {
	if s != m.snap {
		return wire.Available{}, errors.New("not a snapshot of " + m.name)
	}
	return m.closed, m.err
}
func (m *member) Refresh(context.Context) ([]wire.OriginHealth, error) {
	return []wire.OriginHealth{{Origin: "Debian"}}, m.err
}

func (m *member) Simulate(_ context.Context, w pkgmgr.Want) (pkgmgr.Transaction, error) {
	m.hear("simulate", itemsOf(w)...)
	tx := pkgmgr.Transaction{Want: w}
	for _, it := range itemsOf(w) {
		tx.Changes = append(tx.Changes, wire.Change{Name: it.Name, Arch: it.Arch, Version: it.Version})
	}
	if m.err != nil {
		return tx, &pkgmgr.Refusal{Cause: installation.NoSpace, Changes: slices.Clone(tx.Changes)}
	}
	return tx, nil
}

func (m *member) Fetch(_ context.Context, tx pkgmgr.Transaction, _ func(pkgmgr.Progress)) error {
	m.hear("fetch", itemsOf(tx.Want)...)
	return m.err
}

func (m *member) Apply(_ context.Context, tx pkgmgr.Transaction, _ func(pkgmgr.Progress)) (pkgmgr.Outcome, error) {
	m.hear("apply", itemsOf(tx.Want)...)
	return pkgmgr.Outcome{}, m.err
}

func (m *member) Recover(context.Context) (pkgmgr.Health, error) {
	m.hear("recover")
	return m.health, m.err
}

func (m *member) Verify(_ context.Context, items []catalog.Item) ([]wire.ProofItem, pkgmgr.Health, error) {
	m.hear("verify", items...)
	var out []wire.ProofItem
	for _, it := range items {
		out = append(out, wire.ProofItem{Name: it.Name, Status: m.name})
	}
	return out, m.health, m.err
}

func (m *member) Remember(_ context.Context, _ catalog.UpdateID, changes []wire.Change) error {
	for _, c := range changes {
		m.hear("remember " + c.Name)
	}
	return m.err
}

func (m *member) Fence(_ context.Context, p wire.Plan) error { m.fenced = p; return m.err }
func (m *member) Unfence(context.Context) error              { m.hear("unfence"); return m.err }

type feeds []wire.OriginHealth

func (f feeds) Refresh(context.Context) []wire.OriginHealth { return f }

var (
	pkg  = catalog.Item{Name: "pkg", Arch: "amd64", Version: "1"}
	lib  = catalog.Item{Name: "lib", Arch: "all", Version: "2"}
	app  = catalog.Item{Name: "app", Arch: "amd64", Version: "3", Format: catalog.Tar}
	data = catalog.Item{Name: "data", Arch: "all", Version: "4", Format: catalog.ContentFile}
)

func pair() (*Manager, *member, *member) {
	n := &member{name: "native", snap: &pkgmgr.Snapshot{Stamp: "n1", Inventory: wire.Inventory{Ecosystem: "deb", Packages: []wire.Package{{Name: "curl", Arch: "amd64"}, {Name: "zsh", Arch: "amd64"}}},
		Available: wire.Available{Ecosystem: "deb", Updates: []wire.Offer{{Namespace: "debian", Name: "curl", Version: "8"}, {Namespace: "feed.acme", Name: "tool", Version: "1"}}}, Restart: []string{"libc6"}}}
	s := &member{name: "side", snap: &pkgmgr.Snapshot{Stamp: "s1", Inventory: wire.Inventory{Ecosystem: catalog.Generic, Packages: []wire.Package{{Name: "ledger", Arch: "amd64"}}},
		Available: wire.Available{Ecosystem: catalog.Generic, Updates: []wire.Offer{{Namespace: "feed.acme", Name: "ledger", Version: "2", Ecosystem: catalog.Generic}}}, Restart: []string{"ledger"}}}
	return New(n, s, feeds{{Origin: "feed:acme", Problem: "expired"}}), n, s
}

func TestScan_TheTwoAreOneInTheOrderThatDocumentsPromise(t *testing.T) {
	m, _, _ := pair()
	got, err := m.Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := &pkgmgr.Snapshot{Stamp: "n1 s1", Restart: []string{"ledger", "libc6"},
		Inventory: wire.Inventory{Ecosystem: "deb", Packages: []wire.Package{{Name: "curl", Arch: "amd64"}, {Name: "ledger", Arch: "amd64", Ecosystem: "generic"}, {Name: "zsh", Arch: "amd64"}}},
		Available: wire.Available{Ecosystem: "deb", Updates: []wire.Offer{{Namespace: "debian", Name: "curl", Version: "8"}, {Namespace: "feed.acme", Name: "ledger", Version: "2", Ecosystem: "generic"}, {Namespace: "feed.acme", Name: "tool", Version: "1"}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestScan_WithoutAnyChangeTheSameSnapshotComesBackAndAChangeOfEitherIsNews(t *testing.T) {
	m, n, s := pair()
	first, _ := m.Scan(t.Context())
	if again, _ := m.Scan(t.Context()); again != first {
		t.Error("an unchanged rescan gave another snapshot")
	}
	side := *s.snap
	side.Stamp = "s2"
	s.snap = &side
	second, _ := m.Scan(t.Context())
	native := *n.snap
	native.Stamp = "n2"
	n.snap = &native
	third, _ := m.Scan(t.Context())
	if second == first || third == second || second.Stamp == first.Stamp || third.Stamp == second.Stamp {
		t.Errorf("stamps %q %q %q", first.Stamp, second.Stamp, third.Stamp)
	}
}

func TestScan_ASideManagerThatCannotBeReadLeavesItsLastStateAndDoesNotStopTheOther(t *testing.T) {
	for _, seen := range []bool{true, false} {
		m, _, s := pair()
		if seen {
			if _, err := m.Scan(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		s.snap, s.scanErr = nil, errors.New("input/output error")
		got, err := m.Scan(t.Context())
		if err != nil || !strings.Contains(got.Health.Broken, "input/output error") {
			t.Fatalf("%v, broken %q", err, got.Health.Broken)
		}
		has := slices.ContainsFunc(got.Inventory.Packages, func(p wire.Package) bool { return p.Name == "ledger" })
		if has != seen || len(got.Inventory.Packages) < 2 {
			t.Errorf("packages %v", got.Inventory.Packages)
		}
		if again, _ := m.Scan(t.Context()); again != got {
			t.Error("the same trouble is not news")
		}
		if _, err := m.Close(t.Context(), got); err != nil {
			t.Errorf("closures of the device's own packages: %v", err)
		}
	}
}

func TestScan_ADeviceWhoseOwnPackageManagerCannotBeReadHasNoSnapshot(t *testing.T) {
	m, n, _ := pair()
	n.scanErr = errors.New("no status file")
	if _, err := m.Scan(t.Context()); !errors.Is(err, n.scanErr) {
		t.Error(err)
	}
}

func TestClose_EachIsAskedWithItsOwnSnapshotAndPreviousVersionsOfBothAreThere(t *testing.T) {
	m, n, s := pair()
	n.closed = n.snap.Available
	n.closed.Closed, n.closed.Restore = true, []wire.RestoreItem{{Name: "curl"}}
	s.closed = s.snap.Available
	s.closed.Restore = []wire.RestoreItem{{Name: "ledger", Format: catalog.Tar}}
	first, _ := m.Scan(t.Context())
	got, err := m.Close(t.Context(), first)
	if err != nil || !got.Closed || len(got.Restore) != 2 || len(got.Updates) != 3 || got.Updates[1].Ecosystem != catalog.Generic || got.Ecosystem != "deb" {
		t.Errorf("%+v %v", got, err)
	}
	if n.closed.Updates[1].Name != "tool" || n.snap.Available.Updates[1].Name != "tool" {
		t.Error("a manager's own list was changed")
	}
	if _, err := m.Close(t.Context(), &pkgmgr.Snapshot{}); !errors.Is(err, errOld) {
		t.Error(err)
	}
	s.err = errors.New("boom") // without its previous versions a step back would look like a removal
	if _, err := m.Close(t.Context(), first); !errors.Is(err, s.err) {
		t.Error(err)
	}
}

func TestTransactions_GoToTheManagerOfTheirFormatOnly(t *testing.T) {
	for _, c := range []struct {
		want pkgmgr.Want
		side bool
	}{
		{pkgmgr.Want{Items: []catalog.Item{pkg}, Extras: []catalog.Item{lib}}, false},
		{pkgmgr.Want{Items: []catalog.Item{app, data}}, true},
		{pkgmgr.Want{Remove: []catalog.Item{pkg}}, false},
		{pkgmgr.Want{Remove: []catalog.Item{data}}, true},
		{pkgmgr.Want{}, false},
	} {
		m, n, s := pair()
		tx, err := m.Simulate(t.Context(), c.want)
		err = errors.Join(err, m.Fetch(t.Context(), tx, nil), m.Remember(t.Context(), "u1", tx.Changes))
		_, applyErr := m.Apply(t.Context(), tx, nil)
		if err := errors.Join(err, applyErr); err != nil {
			t.Fatal(err)
		}
		asked, other := n, s
		if c.side {
			asked, other = s, n
		}
		if len(asked.heard) != 3+len(tx.Changes) || len(other.heard) != 0 {
			t.Errorf("%+v: asked %v, other %v", c.want, asked.heard, other.heard)
		}
		for i, ch := range tx.Changes {
			if ch.Format != itemsOf(c.want)[i].Format {
				t.Errorf("change %+v", ch)
			}
		}
	}
}

func TestTransactions_AMixtureIsRefusedLoudlyAndNobodyIsAsked(t *testing.T) {
	m, n, s := pair()
	want := pkgmgr.Want{Items: []catalog.Item{pkg, app}}
	tx := pkgmgr.Transaction{Want: want}
	_, err := m.Simulate(t.Context(), want)
	_, applyErr := m.Apply(t.Context(), tx, nil)
	for _, err := range []error{err, applyErr, m.Fetch(t.Context(), tx, nil), m.Remember(t.Context(), "u1", []wire.Change{{Name: "pkg"}, {Name: "app", Format: catalog.Tar}})} {
		if refusal := (*pkgmgr.Refusal)(nil); !errors.Is(err, errMixed) || errors.As(err, &refusal) {
			t.Errorf("%v", err)
		}
	}
	if len(n.heard)+len(s.heard) != 0 {
		t.Errorf("asked %v and %v", n.heard, s.heard)
	}
}

func TestSimulate_ARefusalOfTheSideManagerNamesChangesWithTheirFormat(t *testing.T) {
	m, _, s := pair()
	s.err = errors.New("full")
	_, err := m.Simulate(t.Context(), pkgmgr.Want{Items: []catalog.Item{app}})
	var refusal *pkgmgr.Refusal
	if !errors.As(err, &refusal) || refusal.Changes[0].Format != catalog.Tar {
		t.Errorf("%v", err)
	}
}

func TestVerify_AnswersInTheOrderOfTheItemsWithTheHealthOfWhoWasAsked(t *testing.T) {
	m, n, s := pair()
	n.health.Broken = "half installed"
	found, health, err := m.Verify(t.Context(), []catalog.Item{app, pkg, data, lib})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range found {
		got = append(got, fmt.Sprint(f.Name, " ", f.Status))
	}
	if diff := cmp.Diff([]string{"app side", "pkg native", "data side", "lib native"}, got); diff != "" || health.Broken != "half installed" {
		t.Errorf("%s health %+v", diff, health)
	}
	n.heard, s.heard = nil, nil
	if _, health, err = m.Verify(t.Context(), []catalog.Item{app}); err != nil || health.Broken != "" || len(n.heard) != 0 {
		t.Errorf("health %+v, %v, native heard %v", health, err, n.heard)
	}
}

func TestRecover_BothAreRepairedAndATroubledSideIsSaidNotReturned(t *testing.T) {
	m, n, s := pair()
	s.err = errors.New("a record cannot be read")
	health, err := m.Recover(t.Context())
	if err != nil || !strings.Contains(health.Broken, "a record cannot be read") || len(n.heard) != 1 {
		t.Errorf("%+v %v", health, err)
	}
	n.err = errors.New("dpkg is busy")
	if _, err := m.Recover(t.Context()); !errors.Is(err, n.err) {
		t.Error(err)
	}
}

func TestRefresh_TellsOfSourcesAndFeedsEvenWhenTheListsCannotBeFetched(t *testing.T) {
	m, n, _ := pair()
	n.err = errors.New("apt is busy")
	health, err := m.Refresh(t.Context())
	if !errors.Is(err, n.err) || len(health) != 2 || health[1].Origin != "feed:acme" {
		t.Errorf("%+v %v", health, err)
	}
	m.feeds = nil
	if health, _ = m.Refresh(t.Context()); len(health) != 1 {
		t.Errorf("%+v", health)
	}
}

func TestFence_TheWallsOfPackagesKnowNothingOfApplicationsThatOnlyShareAName(t *testing.T) {
	m, n, _ := pair()
	plan := wire.Plan{Install: []wire.PlanInstall{{Update: "u1", Items: []catalog.Item{pkg}}, {Update: "u2", Items: []catalog.Item{app}}},
		Remove:   []wire.PlanRemove{{Update: "u3", Items: []catalog.Item{data}}, {Update: "u4", Items: []catalog.Item{lib}}},
		Allow:    []wire.PlanAllow{{Update: "u5", Items: []catalog.Item{app}}},
		Rollback: []wire.PlanRollback{{Update: "u6", Items: []wire.RestoreItem{{Name: "app", Format: catalog.Tar}}}, {Update: "u7", Items: []wire.RestoreItem{{Name: "pkg"}}}},
		Deny:     []wire.PlanDeny{{Update: "u8", Software: catalog.Software{Ecosystem: catalog.Generic, Name: "pkg"}}, {Update: "u9", Software: catalog.Software{Ecosystem: "deb"}, Items: []catalog.Item{pkg}}}}
	if err := m.Fence(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	f := n.fenced
	if len(f.Install) != 1 || len(f.Remove) != 1 || len(f.Allow) != 0 || len(f.Rollback) != 1 || len(f.Deny) != 1 || f.Deny[0].Update != "u9" {
		t.Errorf("%+v", f)
	}
	if len(plan.Install) != 2 || plan.Install[1].Update != "u2" {
		t.Error("the caller's plan was changed")
	}
	if err := m.Unfence(t.Context()); err != nil || !slices.Equal(n.heard, []string{"unfence"}) {
		t.Errorf("%v %v", err, n.heard)
	}
}
