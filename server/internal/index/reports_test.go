package index_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/server/internal/index"
	"assent/server/internal/index/indextest"
	"assent/server/internal/store"
	"assent/wire"
)

// state is the recorded state of tool 1.1 on d1.
func state(w *indextest.World) (row store.InstallRow, ok bool) {
	w.Index.View(func(v *index.View) {
		d, _ := v.Device("d1")
		row, ok = d.Install(indextest.ID("tool", "1.1"))
	})
	return row, ok
}

func report(states ...installation.State) (out []wire.Report) {
	for _, s := range states {
		out = append(out, wire.Report{Update: indextest.ID("tool", "1.1"), State: s})
	}
	return out
}

func withTool(t testing.TB) *indextest.World {
	w := world(t)
	w.Has("d1", "tool 1.0")
	w.Offered("d1", indextest.Offer("tool", "1.1", "1.0"))
	return w
}

func TestV1_IllegalTransitionsAreRefusedLoudlyAndAcknowledged(t *testing.T) {
	w := withTool(t)
	w.Report("d1", report(installation.Installed, installation.Downloading)...)
	if row, _ := state(w); row.State != installation.Installed {
		t.Errorf("state %s", row.State)
	}
	w.Report("d1", wire.Report{ID: "unknown", Update: "unothing", State: installation.Installed}, wire.Report{ID: "flying", Update: indextest.ID("tool", "1.1"), State: "flying"})
	events, err := w.Index.Events(t.Context(), store.EventQuery{Device: "d1"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range events {
		names = append(names, e.Event)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"illegal_transition", "illegal_transition", "unknown_update"}) {
		t.Errorf("events: %v", names)
	}
	w.Restart()
	w.Index.View(func(v *index.View) {
		if d, _ := v.Device("d1"); d.Illegal.IsZero() {
			t.Error("a restart forgets that a device reports nonsense")
		}
	})
}

func TestN29_ReportsAreAppliedOnceHoweverOftenTheyCome(t *testing.T) {
	w := withTool(t)
	reports := report(installation.Assigned, installation.Downloading, installation.Downloaded)
	w.Report("d1", reports...)
	w.Report("d1", report(installation.Installing, installation.Failed)...)
	for range 2 {
		w.Report("d1", reports...) // the reply was lost
		if row, _ := state(w); row.State != installation.Failed {
			t.Errorf("a repeated report took the state back to %s", row.State)
		}
		w.Restart()
	}
	events, err := w.Index.Events(t.Context(), store.EventQuery{Device: "d1"})
	if err != nil || len(events) > 1 {
		// After a restart the repeats of before are not remembered one by one; what they must not do is
		// change the state. At most their first illegal step is recorded, once.
		t.Errorf("%d events, %v", len(events), err)
	}
}

func TestV1_ScansEstablishWhatIsThere(t *testing.T) {
	w := withTool(t)
	w.Report("d1", report(installation.Installing, installation.Failed)...)
	w.Has("d1", "tool 1.1")
	w.Offered("d1")
	if row, _ := state(w); row.State != installation.Installed {
		t.Errorf("it is there, but %s", row.State)
	}
	w.Has("d1", "tool 1.2")
	w.Offered("d1")
	if row, _ := state(w); row.State != installation.NotApplicable {
		t.Errorf("neither there nor offered, but %s", row.State)
	}
	w.Restart()
	if row, _ := state(w); row.State != installation.NotApplicable {
		t.Errorf("after a restart %s", row.State)
	}
}

func TestV1_ARunningRemovalIsNotOvertakenByAScan(t *testing.T) {
	w := withTool(t)
	w.Has("d1", "tool 1.1")
	w.Offered("d1")
	for _, s := range []installation.State{installation.Removing, installation.RemoveFailed} {
		w.Report("d1", report(s)...)
		w.Machine("d1", func(says *indextest.Said) { says.Facts.Kernel = string(s) })
		w.Scan("d1")
		if row, _ := state(w); row.State != s {
			t.Errorf("a scan took %s to %s", s, row.State)
		}
	}
}

func TestN26_HostileReportsAreCleaned(t *testing.T) {
	w := withTool(t)
	long := make([]string, 10_000)
	w.Report("d1", wire.Report{ID: "x", Update: indextest.ID("tool", "1.1"), State: installation.Installing, Detail: "a\x1bb" + strings.Repeat("y", 10_000), Needs: long,
		Proof: &wire.Proof{Log: strings.Repeat("line\x1b\n", 100_000), Items: make([]wire.ProofItem, 100_000)}})
	row, _ := state(w)
	if strings.Contains(row.Detail, "\x1b") || len(row.Detail) > 400 || len(row.Needs) > 200 || len(row.Proof.Items) > 5000 || strings.Contains(row.Proof.Log, "\x1b") || len(row.Proof.Log) > 64<<10 {
		t.Errorf("detail %d, needs %d, items %d, log %d", len(row.Detail), len(row.Needs), len(row.Proof.Items), len(row.Proof.Log))
	}
	applied, err := w.Index.ApplyReports(t.Context(), "d1", []wire.Report{{ID: ""}, {ID: strings.Repeat("i", 500)}, {ID: "a\nb"}, {ID: "fine", Event: "hello"}})
	if err != nil || !slices.Equal(applied, []string{"fine"}) {
		t.Errorf("applied %v, %v", applied, err)
	}
	if _, err := w.Index.ApplyReports(t.Context(), "nobody", nil); err == nil {
		t.Error("reports of nobody were applied")
	}
}

// flaky is a store that refuses to save states for a while.
type flaky struct {
	index.Store
	refuse bool
}

func (f *flaky) SaveInstalls(ctx context.Context, rows []store.InstallRow) error {
	if f.refuse {
		return errors.New("no space left on device")
	}
	return f.Store.SaveInstalls(ctx, rows)
}

func TestN49_WhatAScanEstablishedIsSavedLaterWhenTheDiskWasFull(t *testing.T) {
	w := withTool(t)
	w.Report("d1", report(installation.Installing, installation.Failed)...)
	full := &flaky{Store: w.Store, refuse: true}
	x, err := index.Open(t.Context(), full, index.Config{Now: w.Now})
	if err != nil {
		t.Fatal(err)
	}
	w.Has("d1", "tool 1.1")
	digests := map[wire.Kind]string{}
	for kind, doc := range map[wire.Kind]any{wire.KindInventory: wire.Inventory{Ecosystem: "deb", Packages: []wire.Package{indextest.Package("tool", "1.1")}},
		wire.KindAvailable: wire.Available{Ecosystem: "deb"}} {
		body, digest, err := wire.Encode(doc)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.ObserveDocument(t.Context(), "d1", kind, digest, body); err != nil {
			t.Fatal(err)
		}
		digests[kind] = digest
	}
	contact := store.Contact{Device: "d1", Digests: digests, LastSeen: w.Now()}
	if _, err := x.Contact(t.Context(), contact); err == nil {
		t.Fatal("a state that could not be saved was passed over")
	}
	full.refuse = false
	if _, err := x.Contact(t.Context(), contact); err != nil {
		t.Fatal(err)
	}
	var saved store.InstallRow
	if err := w.Store.LoadInstalls(t.Context(), func(r store.InstallRow) error { saved = r; return nil }); err != nil || saved.State != installation.Installed {
		t.Errorf("saved: %s, %v", saved.State, err)
	}
}

func TestARenewedKeyIsSeenAtOnce(t *testing.T) {
	w := indextest.New(t)
	w.Device("d1", fleet.Root)
	w.Act("device:d1", ledger.DeviceRenew{ID: "d1", Key: "another"})
	w.Index.View(func(v *index.View) {
		if d, _ := v.Device("d1"); d.Key != "another" || d.Device != v.State().Devices["d1"] {
			t.Errorf("the view has %+v, the state %+v", d.Device, v.State().Devices["d1"])
		}
	})
}
