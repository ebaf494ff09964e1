package trend_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/decide"
	"assent/server/internal/index/indextest"
	"assent/server/internal/planner"
	"assent/server/internal/trend"
	"assent/wire"
)

// almanac is an installation with one device in each of two groups below the root.
type almanac struct {
	*indextest.World
	trend  *trend.Service
	viewer auth.Actor
}

func newAlmanac(t *testing.T) *almanac {
	t.Helper()
	a := &almanac{World: indextest.New(t), viewer: auth.Actor{Name: "vic", Role: ledger.Viewer, Scope: fleet.Root}}
	a.Group("left", fleet.Root)
	a.Group("right", fleet.Root)
	for _, g := range []fleet.GroupID{"left", "right"} {
		id := fleet.DeviceID("d-" + g)
		a.Device(id, g)
		a.Has(id, "curl 1.0", "bash 5.0")
		a.Offered(id, indextest.Offer("curl", "2.0", "1.0"), indextest.Offer("bash", "6.0", "5.0"))
	}
	a.serve()
	return a
}

func (a *almanac) serve() {
	a.T.Helper()
	plans, err := planner.New(planner.Config{Index: a.Index, Signer: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))})
	a.must(err)
	a.T.Cleanup(plans.Close)
	figures, err := decide.New(decide.Config{Index: a.Index, Planner: plans})
	a.must(err)
	a.trend, err = trend.New(trend.Config{Index: a.Index, Store: a.Store, Figures: figures})
	a.must(err)
}

func (a *almanac) must(err error) {
	a.T.Helper()
	if err != nil {
		a.T.Fatal(err)
	}
}

func (a *almanac) decided(status approval.Status, scope fleet.GroupID, names ...string) {
	a.T.Helper()
	act := ledger.UpdateDecide{Scope: scope, Status: status}
	for _, name := range names {
		version := map[string]string{"curl": "2.0", "bash": "6.0"}[name]
		act.Updates = append(act.Updates, ledger.Decided{Update: indextest.ID(name, version), Release: indextest.Release(name, version), Rev: 1, Digest: "d"})
	}
	a.Act("ada", act)
}

func (a *almanac) take() {
	a.T.Helper()
	a.must(a.trend.Take(a.T.Context()))
}

func (a *almanac) of(group string) client.Trend {
	a.T.Helper()
	out, err := a.trend.Trend(a.T.Context(), a.viewer, client.TrendQuery{Group: group})
	a.must(err)
	return out
}

// installs has a device install a release now; how is how its package manager says that it came.
func (a *almanac) installs(id fleet.DeviceID, name, version, how string) {
	a.T.Helper()
	update := indextest.ID(name, version)
	for _, st := range []installation.State{installation.Assigned, installation.Downloading, installation.Downloaded, installation.Installing, installation.Installed} {
		a.Report(id, wire.Report{Update: update, State: st})
	}
	a.Machine(id, func(s *indextest.Said) {
		p := indextest.Package(name, version)
		p.How = how
		s.Packages[name] = p
		s.Offers = slices.DeleteFunc(slices.Clone(s.Offers), func(o wire.Offer) bool { return o.Name == name })
	})
	a.Scan(id)
}

func days(t client.Trend) []string {
	var out []string
	for _, d := range t.Days {
		out = append(out, d.Day)
	}
	return out
}

// TestThereIsOneSampleForADayAndTheLastOneCounts takes a day's figures twice, with a decision in between.
func TestThereIsOneSampleForADayAndTheLastOneCounts(t *testing.T) {
	a := newAlmanac(t)
	a.take()
	if got := a.of("left").Days; len(got) != 1 || got[0].Compliance != (client.Compliance{}) || got[0].Undecided["unrated"] != 2 {
		t.Fatalf("before any decision: %+v", got)
	}
	a.Advance(time.Hour)
	a.decided(approval.Approved, "left", "curl")
	a.decided(approval.Declined, fleet.Root, "bash")
	a.take()
	for group, want := range map[string]client.Compliance{"left": {Approved: 1, Risk: 1}, "right": {Risk: 1}, "root": {Approved: 1, Risk: 2}} {
		got := a.of(group).Days
		if len(got) != 1 || got[0].Compliance != want || !got[0].At.Equal(a.Now()) {
			t.Errorf("%s: %+v, want %+v", group, got, want)
		}
	}
	if share, ok := a.of("right").Days[0].Compliance.Share(); !ok || share != 0 {
		t.Errorf("only declined: a share of %v: a decline is no compliance (A4)", share)
	}
}

// TestADayWithoutASampleStaysAGap: no server ran on the days between.
func TestADayWithoutASampleStaysAGap(t *testing.T) {
	a := newAlmanac(t)
	a.take()
	a.Advance(3 * 24 * time.Hour)
	a.take()
	if d := cmp.Diff([]string{"2026-11-23", "2026-11-26"}, days(a.of(""))); d != "" {
		t.Error(d)
	}
	a.Restart()
	a.serve()
	a.take()
	if d := cmp.Diff([]string{"2026-11-23", "2026-11-26"}, days(a.of(""))); d != "" {
		t.Error("after a restart: " + d)
	}
}

// TestSamplesAreKeptForTwoYears moves the clock past the limit.
func TestSamplesAreKeptForTwoYears(t *testing.T) {
	a := newAlmanac(t)
	a.take()
	a.Advance(trend.Keep)
	a.take()
	kept := func() int {
		all, err := a.Store.Samples(t.Context(), fleet.Root, time.Time{})
		a.must(err)
		return len(all)
	}
	if kept() != 2 {
		t.Fatal("a sample that is exactly two years old is gone")
	}
	a.Advance(24 * time.Hour)
	a.take()
	if kept() != 2 {
		t.Errorf("%d samples, want those of the last two days", kept())
	}
}

// TestSilentDevicesAreNotReporting lets one device say nothing for long.
func TestSilentDevicesAreNotReporting(t *testing.T) {
	a := newAlmanac(t)
	a.Advance(48 * time.Hour)
	a.Scan("d-left")
	a.take()
	got := a.of("").Days[0]
	if got.Devices != 2 || got.Reporting != 1 || got.Silent != 1 {
		t.Errorf("%d devices, %d reporting, %d silent", got.Devices, got.Reporting, got.Silent)
	}
}

// TestTimesAreOfTheDecisionThatCountsAndOfInstallsByAssent: what came by other means is not counted (V4).
func TestTimesAreOfTheDecisionThatCountsAndOfInstallsByAssent(t *testing.T) {
	a := newAlmanac(t)
	a.Advance(2 * time.Hour)
	a.decided(approval.Approved, fleet.Root, "curl")
	a.Advance(3 * time.Hour)
	a.installs("d-left", "curl", "2.0", "assent")
	a.installs("d-right", "curl", "2.0", "by hand: apt install curl")
	a.take()
	want := map[string][2]client.TrendTime{
		"root":  {{Cases: 1, Median: 2 * time.Hour, P90: 2 * time.Hour}, {Cases: 1, Median: 3 * time.Hour, P90: 3 * time.Hour}},
		"left":  {{Cases: 1, Median: 2 * time.Hour, P90: 2 * time.Hour}, {Cases: 1, Median: 3 * time.Hour, P90: 3 * time.Hour}},
		"right": {{Cases: 1, Median: 2 * time.Hour, P90: 2 * time.Hour}, {}},
	}
	for group, times := range want {
		got := a.of(group).Days[0]
		if d := cmp.Diff(times, [2]client.TrendTime{got.Decision, got.Install}); d != "" {
			t.Errorf("%s (-want +got):\n%s", group, d)
		}
	}
	a.Advance(31 * 24 * time.Hour)
	a.take()
	if got := a.of("").Days[1]; got.Decision.Cases+got.Install.Cases != 0 {
		t.Errorf("what happened more than 30 days ago is still counted: %+v", got)
	}
}

// TestWeeksAreCountedFromTheCatalogAndTheLedger also after a decision was replaced, and only where it concerns the group.
func TestWeeksAreCountedFromTheCatalogAndTheLedger(t *testing.T) {
	a := newAlmanac(t) // on a Monday
	a.decided(approval.Approved, "left", "curl", "bash")
	a.Advance(7 * 24 * time.Hour)
	a.decided(approval.Declined, "left", "curl")
	for _, restarted := range []bool{false, true} {
		if restarted {
			a.Restart()
			a.serve()
		}
		for group, want := range map[string][]client.TrendWeek{
			"left":  {{Monday: "2026-11-23", Seen: 2, Approved: 2}, {Monday: "2026-11-30", Declined: 1}},
			"root":  {{Monday: "2026-11-23", Seen: 2, Approved: 2}, {Monday: "2026-11-30", Declined: 1}},
			"right": {{Monday: "2026-11-23", Seen: 2}, {Monday: "2026-11-30"}},
		} {
			got := a.of(group).Weeks
			if len(got) != 26 {
				t.Fatalf("%d weeks", len(got))
			}
			if d := cmp.Diff(want, got[24:]); d != "" {
				t.Errorf("%s, restarted %v (-want +got):\n%s", group, restarted, d)
			}
		}
	}
	a.Advance(40 * 7 * 24 * time.Hour)
	a.decided(approval.Approved, "right", "curl")
	a.serve() // reads the ledger anew, from the first week on
	if got := a.of("right").Weeks; got[25].Approved != 1 || got[0].Seen != 0 {
		t.Errorf("much later: %+v", got)
	}
}

// TestN25_ATrendIsForThoseWhoMaySeeTheGroup asks as somebody whose role counts elsewhere.
func TestN25_ATrendIsForThoseWhoMaySeeTheGroup(t *testing.T) {
	a := newAlmanac(t)
	a.take()
	left := auth.Actor{Name: "lea", Role: ledger.Viewer, Scope: "left"}
	for group, want := range map[string]error{"left": nil, "": nil, "right": fault.Forbidden, "root": fault.Forbidden, "nowhere": fault.NotFound} {
		got, err := a.trend.Trend(t.Context(), left, client.TrendQuery{Group: group})
		if !errors.Is(err, want) || want == nil && got.Group != "left" {
			t.Errorf("%q: %v, want %v", group, err, want)
		}
	}
	for _, days := range []int{-1, 732} {
		if _, err := a.trend.Trend(t.Context(), left, client.TrendQuery{Days: days}); !errors.Is(err, fault.Invalid) {
			t.Errorf("%d days: %v", days, err)
		}
	}
}

// TestAFailedSampleWritesNothing: the figures of one group fail.
func TestAFailedSampleWritesNothing(t *testing.T) {
	a := newAlmanac(t)
	broken, err := trend.New(trend.Config{Index: a.Index, Store: a.Store, Figures: failing{}})
	a.must(err)
	if err := broken.Take(t.Context()); !errors.Is(err, errFigures) {
		t.Errorf("%v", err)
	}
	if got := days(a.of("")); got != nil {
		t.Errorf("something was written: %v", got)
	}
}

var errFigures = errors.New("no figures")

type failing struct{}

func (failing) Status(context.Context, auth.Actor) (client.Status, error) {
	return client.Status{Undecided: map[string]int{string(catalog.High): 1}}, errFigures
}
