package pkgmgrtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/installation"
	"assent/lab"
	"assent/wire"

	"github.com/google/go-cmp/cmp"
)

// behaviour is one thing that the contract promises.
type behaviour struct {
	name string
	disk int // MiB of the device's disk; 0 is no limit
	test func(t *testing.T, d *Device)
}

// core is what must hold on every release of a package manager.
func core() []behaviour {
	return []behaviour{
		{"InstallsExactlyTheWantedVersionAndProvesIt", 0, installsExactly},
		{"OfTwoVersionsTakesTheWantedOneAndLeavesItsDependencyAlone", 0, twoVersions},
		{"V2_DependencyOutsideTheWantIsNamedAndNothingElse", 0, dependencyOutside},
		{"V2_RemovalIsNamedAndRefused", 0, removalNeeded},
		{"T3_WhatIsNamedGoesAlongAndNothingElse", 0, removalNamed},
		{"V2_HeldPackageIsRefusedAndStaysHeld", 0, held},
		{"CraftedNamesAndVersionsAreRefusedBeforeAnyProcessStarts", 0, crafted},
		{"NewDependencyComesInAsAnExtraAndIsMarkedAutomatic", 0, extra},
		{"V3_FailingScriptIsNoSuccessAndGoingBackHealsIt", 0, failingScript},
		{"C3_RollsBackToTheRecordedVersion", 0, rollback},
		{"ConffileIsKeptAndReported", 0, conffile},
	}
}

// faults is what must hold when the world misbehaves.
func faults() []behaviour {
	return []behaviour{
		{"N03_SameVersionWithOtherContentIsRefusedWithBothDigests", 0, otherContent},
		{"N03_ContentSwappedAfterFetchIsRefusedByApplyAndByTheGuard", 0, swappedFile},
		{"N50_DpkgKilledInAScriptIsRecoveredWithoutRunningTheScriptTwice", 0, killedInScript},
		{"N46_TransactionSurvivesTheDeathOfItsStarter", 0, starterDies},
		{"N52_LockHeldByAnotherIsReportedWithItsHolder", 0, lockHeld},
		{"N49_DiskTooSmallIsRefusedBeforeAnythingIsFetched", 120, diskFull},
		{"C3_RollsBackFromTheKeptFileWhenNoSourceHasIt", 0, rollbackFromCache},
		{"N57_MissingFileIsContentUnavailable", 0, missingFile},
	}
}

// Run shows behaviours, each on a device of its own.
func Run(t *testing.T, b *Bench, spec lab.BaseSpec, lists ...[]behaviour) {
	for _, c := range slices.Concat(lists...) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := b.New(t, spec, c.disk)
			c.test(t, d)
			d.must(d.Destroy(t.Context()))
		})
	}
}

func installsExactly(t *testing.T, d *Device) {
	d.Sh("apt-mark auto acme-lib >/dev/null")
	want := d.Want("acme-suite-a=1.1", "acme-suite-b=1.1", "acme-lib=2.0")
	rep := d.Install("t1", want)
	if err := rep.err(); err != nil {
		t.Fatalf("apply: %v\n%s", err, rep.Outcome.Log)
	}
	proof := d.Call(request{Method: "Verify", Items: want.Items})
	d.must(proof.err())
	for i, p := range proof.Proof {
		it := want.Items[i]
		if p.Version != it.Version || p.Status != "ii" || p.SHA256 != it.SHA256 {
			t.Errorf("proof %+v, want %+v installed", p, it)
		}
	}
	if proof.Health != (pkgmgr.Health{}) {
		t.Errorf("health %+v", proof.Health)
	}
	if out := d.Sh("apt-mark showauto acme-lib acme-suite-a acme-suite-b"); strings.TrimSpace(out) != "acme-lib" {
		t.Errorf("marked automatic: %q, want acme-lib as before and nothing more", out)
	}
	last := 0.0
	for _, p := range rep.Progress {
		if p.Percent < last || p.Phase != "unpack" && p.Phase != "configure" {
			t.Errorf("progress %+v after %v %%", p, last)
		}
		last = p.Percent
	}
	if last < 90 {
		t.Errorf("progress ends at %v %%", last)
	}
	if again := d.Simulate(want); len(again.Changes) != 0 {
		t.Errorf("satisfied, and still changes: %+v", again.Changes)
	}
}

func twoVersions(t *testing.T, d *Device) {
	tx := d.Simulate(d.Want("acme-app=1.1"))
	want := []wire.Change{{Op: wire.OpUpgrade, Name: "acme-app", Version: "1.1", From: "1.0"}}
	if diff := cmp.Diff(want, brief(tx.Changes)); diff != "" {
		t.Error(diff)
	}
	if rep := d.Install("t1", d.Want("acme-app=1.1")); rep.err() != nil {
		t.Fatal(rep.err())
	}
	if app, lib := d.Version("acme-app"), d.Version("acme-lib"); app != "ii 1.1" || lib != "ii 1.0" {
		t.Errorf("acme-app %s, acme-lib %s", app, lib)
	}
}

func dependencyOutside(t *testing.T, d *Device) {
	r := d.Refused(d.Want("acme-app=2.0"), installation.UnapprovedDependency)
	if diff := cmp.Diff([]wire.Change{{Op: wire.OpUpgrade, Name: "acme-lib", Version: "2.0", From: "1.0"}}, brief(r.Changes)); diff != "" {
		t.Error(diff)
	}
	c := r.Changes[0]
	if lib := d.Item("acme-lib", "2.0"); c.SHA256 != lib.SHA256 || c.Source != "acme-lib" || c.SrcVer != "2.0" || c.Space != "acme" {
		t.Errorf("change %+v does not say which release to approve", c)
	}
	r = d.Refused(d.Want("acme-db=1.1"), installation.UnapprovedDependency)
	if diff := cmp.Diff([]wire.Change{{Op: wire.OpInstall, Name: "acme-newdep", Version: "1.0"}}, brief(r.Changes)); diff != "" {
		t.Error(diff)
	}
	if tx := d.Simulate(d.Want("acme-app=2.0", "acme-lib=2.0")); len(tx.Changes) != 2 {
		t.Errorf("with the dependency: %+v", tx.Changes)
	}
}

func removalNeeded(t *testing.T, d *Device) {
	r := d.Refused(d.Want("acme-removes=2.0"), installation.RemovalNeeded)
	if diff := cmp.Diff([]wire.Change{{Op: wire.OpRemove, Name: "acme-removed", From: "1.0"}}, brief(r.Changes)); diff != "" {
		t.Error(diff)
	}
	if v := d.Version("acme-removed"); v != "ii 1.0" {
		t.Errorf("acme-removed is %q", v)
	}
}

func removalNamed(t *testing.T, d *Device) {
	want := d.Want("acme-removes=2.0", "acme-tool=2.0")
	want.Removable = []string{"acme-removed", "acme-lib"}
	r := d.Refused(want, installation.RemovalNeeded)
	if diff := cmp.Diff([]wire.Change{{Op: wire.OpRemove, Name: "acme-old", From: "1.0"}}, brief(r.Changes)); diff != "" {
		t.Error(diff)
	}
	want.Items = want.Items[:1]
	d.Sh("apt-mark hold acme-removed >/dev/null")
	d.Refused(want, installation.Unresolvable) // apt itself keeps what is on hold
	d.Sh("apt-mark unhold acme-removed >/dev/null")

	tx := d.Simulate(want)
	d.must(d.Call(request{Method: "Fetch", Tx: tx}).err())
	d.Fence(wire.Plan{Format: 1, Guard: "block_declined", Install: []wire.PlanInstall{{Update: "u1", Items: want.Items}}})
	tx.ID = "unnamed" // the plan in force does not let it go: the guard ends what was simulated
	if rep := d.Call(request{Method: "Apply", Tx: tx}); rep.err() == nil || d.Version("acme-removed") != "ii 1.0" {
		t.Errorf("apply: %v; acme-removed is %q", rep.err(), d.Version("acme-removed"))
	}
	rep := d.Install("named", want)
	if err := rep.err(); err != nil {
		t.Fatalf("apply: %v\n%s", err, rep.Outcome.Log)
	}
	for name, version := range map[string]string{"acme-removes": "ii 2.0", "acme-removed": "un", "acme-old": "ii 1.0", "acme-lib": "ii 1.0"} {
		if got := d.Version(name); got != version {
			t.Errorf("%s is %q, want %q", name, got, version)
		}
	}
}

func held(t *testing.T, d *Device) {
	d.Sh("apt-mark hold acme-lib >/dev/null")
	r := d.Refused(d.Want("acme-lib=2.0"), installation.HeldPackage)
	if len(r.Changes) != 1 || r.Changes[0].Name != "acme-lib" {
		t.Errorf("changes %+v", r.Changes)
	}
	if out := d.Sh("apt-mark showhold"); strings.TrimSpace(out) != "acme-lib" {
		t.Errorf("held: %q", out)
	}
}

// crafted shows with a process accountant in place of the tools that none of them is ever started: any start leaves a file.
func crafted(t *testing.T, d *Device) {
	d.Sh("for p in apt-get apt-mark dpkg dpkg-query dpkg-deb; do mv /usr/bin/$p /usr/bin/$p.real; " +
		"printf '#!/bin/sh\\ntouch /started; exec %s.real \"$@\"\\n' /usr/bin/$p > /usr/bin/$p; chmod +x /usr/bin/$p; done")
	good := strings.Repeat("a", 64)
	bad := []string{"-oX=Y", "-o", "", "-", "fo*", "^fo.$", "~n.", "~nfoo", "./x.deb", "/tmp/x.deb", "foo/suite", "foo bar", "foo\nbar", "foo\x00",
		"Foo", "foo=1", "foo:i386", "foo-=", "_foo", "+foo", strings.Repeat("a", 10_000), "föö", "foo\u202e"}
	var items []catalog.Item
	for _, b := range bad {
		items = append(items, catalog.Item{Name: b, Arch: "all", Version: "1.0", SHA256: good},
			catalog.Item{Name: "foo", Arch: b, Version: "1.0", SHA256: good})
	}
	for _, v := range append(bad, "1.0 ", "1.0;id", "$(id)", "1.0/stable", "*", "1.0*") {
		items = append(items, catalog.Item{Name: "foo", Arch: "all", Version: v, SHA256: good})
	}
	for _, s := range []string{"", "x", strings.ToUpper(good), good + "a"} {
		items = append(items, catalog.Item{Name: "foo", Arch: "all", Version: "1.0", SHA256: s})
	}
	var calls []request
	for _, it := range items {
		for _, want := range []pkgmgr.Want{{Items: []catalog.Item{it}}, {Items: []catalog.Item{d.fixed()}, Extras: []catalog.Item{it}}} {
			tx := pkgmgr.Transaction{ID: "t", Want: want, Changes: []wire.Change{{Op: wire.OpUpgrade, Name: "x", Version: "1"}}}
			for _, method := range []string{"Simulate", "Fetch", "Apply"} {
				calls = append(calls, request{Method: method, Want: want, Tx: tx})
			}
		}
	}
	replies, err := d.calls(t.Context(), calls)
	d.must(err)
	for i, rep := range replies {
		if rep.Refusal == nil || rep.Refusal.Cause != installation.UnknownData {
			t.Errorf("%s: %.300s: %v", calls[i].Method, fmt.Sprint(calls[i].Want), rep.err())
		}
	}
	if d.Has("/started") {
		t.Error("a program was started")
	}
}

// fixed is some item that is in order.
func (d *Device) fixed() catalog.Item {
	return catalog.Item{Name: "acme-lib", Arch: "all", Version: "2.0", SHA256: strings.Repeat("a", 64)}
}

func extra(t *testing.T, d *Device) {
	want := d.Want("acme-db=1.1")
	want.Extras = []catalog.Item{d.Item("acme-newdep", "1.0")}
	if rep := d.Install("t1", want); rep.err() != nil {
		t.Fatalf("%v\n%s", rep.err(), rep.Outcome.Log)
	}
	if db, dep := d.Version("acme-db"), d.Version("acme-newdep"); db != "ii 1.1" || dep != "ii 1.0" {
		t.Errorf("acme-db %s, acme-newdep %s", db, dep)
	}
	if out := d.Sh("apt-mark showauto acme-db acme-newdep"); strings.TrimSpace(out) != "acme-newdep" {
		t.Errorf("marked automatic: %q", out)
	}
	// An extra is for what is new: it is no licence to upgrade what is there.
	unneeded := d.Want("acme-tool=1.1")
	unneeded.Extras = []catalog.Item{d.Item("acme-lib", "2.0")}
	if tx := d.Simulate(unneeded); len(tx.Changes) != 1 {
		t.Errorf("an extra that nothing needs came in: %+v", tx.Changes)
	}
	upgrade := d.Want("acme-app=2.0")
	upgrade.Extras = []catalog.Item{d.Item("acme-lib", "2.0")}
	d.Refused(upgrade, installation.UnapprovedDependency)
}

func failingScript(t *testing.T, d *Device) {
	want := d.Want("acme-svc=1.1", "acme-tool=1.1")
	rep := d.Install("t1", want)
	if rep.Refusal == nil || rep.Refusal.Cause != installation.InstallFailed || !strings.Contains(rep.Refusal.Detail, "acme-svc") {
		t.Errorf("outcome: %v", rep.err())
	}
	proof := d.Call(request{Method: "Verify", Items: want.Items})
	if p := proof.Proof; p[0].Status != "iF" || p[1].Status != "ii" || p[1].Version != "1.1" || !strings.Contains(proof.Health.Broken, "acme-svc") {
		t.Errorf("proof %+v, health %+v", p, proof.Health)
	}
	if h := d.Call(request{Method: "Recover"}); h.err() != nil || !strings.Contains(h.Health.Broken, "acme-svc") {
		t.Errorf("recover: %+v, %v", h.Health, h.err())
	}
	back := pkgmgr.Want{Items: []catalog.Item{d.Item("acme-svc", "1.0")}, Downgrade: true}
	if rep := d.Install("t2", back); rep.err() != nil {
		t.Errorf("going back: %v\n%s", rep.err(), rep.Outcome.Log)
	}
	if v := d.Version("acme-svc"); v != "ii 1.0" {
		t.Errorf("acme-svc is %s", v)
	}
}

func rollback(t *testing.T, d *Device) {
	want := d.Want("acme-app=2.0", "acme-lib=2.0")
	tx := d.Simulate(want)
	d.must(d.Call(request{Method: "Remember", Update: "u1", Changes: tx.Changes}).err())
	d.must(d.Install("t1", want).err())
	got := d.Call(request{Method: "Close", Snapshot: d.scan()})
	d.must(got.err())
	var back pkgmgr.Want
	for _, r := range got.Available.Restore {
		if r.Update != "u1" || r.From != "repository" || r.Version != "1.0" || r.Current != "2.0" {
			t.Errorf("restore %+v", r)
		}
		back.Items = append(back.Items, catalog.Item{Name: r.Name, Arch: r.Arch, Version: r.Version, SHA256: r.SHA256, Size: r.Size})
	}
	if len(back.Items) != 2 {
		t.Fatalf("restore %+v", got.Available.Restore)
	}
	d.Refused(back, installation.DowngradeNeeded) // not without the word for it
	back.Downgrade = true
	d.must(d.Install("t2", back).err())
	if app, lib := d.Version("acme-app"), d.Version("acme-lib"); app != "ii 1.0" || lib != "ii 1.0" {
		t.Errorf("acme-app %s, acme-lib %s", app, lib)
	}
}

func conffile(t *testing.T, d *Device) {
	d.Sh("echo level=mine > /etc/acme-conf.conf")
	rep := d.Install("t1", d.Want("acme-conf=1.1"))
	d.must(rep.err())
	if diff := cmp.Diff([]string{"/etc/acme-conf.conf"}, rep.Outcome.Conffiles); diff != "" {
		t.Errorf("%s\n%s", diff, rep.Outcome.Log)
	}
	if out := d.Sh("cat /etc/acme-conf.conf; ls /etc/acme-conf.conf*"); !strings.Contains(out, "level=mine") || !strings.Contains(out, ".dpkg-dist") {
		t.Errorf("%s", out)
	}
}

// brief leaves out of changes what depends on contents and architectures.
func brief(changes []wire.Change) []wire.Change {
	out := slices.Clone(changes)
	for i, c := range out {
		out[i] = wire.Change{Op: c.Op, Name: c.Name, Version: c.Version, From: c.From}
	}
	return out
}
