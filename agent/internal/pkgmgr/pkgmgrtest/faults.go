package pkgmgrtest

import (
	"context"
	"strings"
	"testing"

	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/installation"
	"assent/lab"

	"github.com/google/go-cmp/cmp"
)

func otherContent(t *testing.T, d *Device) {
	want := d.Want("acme-tool=1.1")
	tx := d.Simulate(want)
	main, _ := lab.AcmeSuites(1)
	for i, p := range main.Packages {
		if p.Name == "acme-tool" && p.Version == "1.1" {
			main.Packages[i].Files = map[string]string{"/usr/bin/acme-tool": "#!/bin/sh\necho evil\n"}
		}
	}
	d.must(d.Repo.Publish(main))
	d.Sh("apt-get -q --error-on=any update")
	r := d.Refused(want, installation.DigestMismatch)
	if found := d.Item("acme-tool", "1.1").SHA256; !strings.Contains(r.Detail, want.Items[0].SHA256) || !strings.Contains(r.Detail, found) {
		t.Errorf("detail %q", r.Detail)
	}
	tx.ID = "t1"
	if rep := d.Call(request{Method: "Fetch", Tx: tx}); rep.Refusal == nil || rep.Refusal.Cause != installation.DigestMismatch {
		t.Errorf("fetch of what was simulated before: %v", rep.err())
	}
	// By hand, with the plan that knows the approved content.
	d.Order(want)
	out, code := d.Try("apt-get -y -q install acme-tool=1.1")
	if code == 0 || !strings.Contains(out, "is not the file that Assent knows") || d.Version("acme-tool") != "ii 1.0" {
		t.Errorf("by hand: exit code %d, acme-tool %s\n%s", code, d.Version("acme-tool"), out)
	}
	events := d.Sh("cat /var/lib/assent-agent/events/*.json")
	if !strings.Contains(events, "guard_refused") || !strings.Contains(events, want.Items[0].SHA256) {
		t.Errorf("events: %s", events)
	}
}

func swappedFile(t *testing.T, d *Device) {
	want := d.Want("acme-tool=1.1")
	d.Order(want)
	tx := d.Simulate(want)
	tx.ID = "t1"
	d.must(d.Call(request{Method: "Fetch", Tx: tx}).err())
	d.Sh("f=$(ls /var/cache/assent-agent/archives/acme-tool_1.1_*.deb) && printf x | dd of=$f bs=1 conv=notrunc seek=100 2>/dev/null")
	if rep := d.Call(request{Method: "Apply", Tx: tx}); rep.Refusal == nil || rep.Refusal.Cause != installation.DigestMismatch {
		t.Errorf("apply: %v", rep.err())
	}
	if v := d.Version("acme-tool"); v != "ii 1.0" {
		t.Errorf("acme-tool is %s", v)
	}
	// A plan that does not order what the transaction does: the guard is the last to see it.
	d.must(d.Call(request{Method: "Fetch", Tx: tx}).err())
	d.Order(d.Want("acme-lib=1.1"))
	tx.ID = "t2"
	rep := d.Call(request{Method: "Apply", Tx: tx})
	if rep.Refusal == nil || rep.Refusal.Cause != installation.UnapprovedDependency || d.Version("acme-tool") != "ii 1.0" {
		t.Errorf("apply without an order: %v, acme-tool %s\n%s", rep.err(), d.Version("acme-tool"), rep.Outcome.Log)
	}
}

// applySlow starts a transaction whose script waits, and returns once it does.
func applySlow(t *testing.T, d *Device) (tx pkgmgr.Transaction, done chan error, cancel context.CancelFunc) {
	d.Sh("touch /etc/acme-slow.hold")
	want := d.Want("acme-slow=1.1", "acme-lib=1.1")
	d.Sh("apt-mark auto acme-lib >/dev/null")
	d.Order(want)
	tx = d.Simulate(want)
	tx.ID = "t1"
	d.must(d.Call(request{Method: "Fetch", Tx: tx}).err())
	ctx, cancel := context.WithCancel(t.Context())
	done = make(chan error, 1)
	go func() {
		_, err := d.call(ctx, request{Method: "Apply", Tx: tx})
		done <- err
	}()
	d.Eventually("the script to wait", func() bool { return d.Has("/run/acme-slow.started") })
	return tx, done, cancel
}

func killedInScript(t *testing.T, d *Device) {
	tx, done, cancel := applySlow(t, d)
	defer cancel()
	script := strings.TrimSpace(d.Sh("cat /run/acme-slow.started"))
	killed := append(append(d.PIDs("run-transaction"), d.PIDs("apt-get -y")...), d.PIDs("/usr/bin/dpkg --")...)
	if len(killed) < 3 {
		t.Fatalf("found only %v to kill", killed)
	}
	d.Sh("kill -9 " + strings.Join(killed, " "))
	d.must(<-done)
	if _, code := d.Try("kill -0 " + script); code != 0 {
		t.Fatal("the script did not outlive its dpkg, so this shows nothing")
	}
	if v := d.Version("acme-slow"); v != "iF 1.1" {
		t.Fatalf("acme-slow is %s, want it half-configured", v)
	}
	recovered := make(chan reply, 1)
	go func() {
		rep, err := d.call(t.Context(), request{Method: "Recover"})
		if err != nil {
			rep.Error = err.Error()
		}
		recovered <- rep
	}()
	d.Sh("sleep 0.5") // the time in which a careless repair would have begun
	if d.Has("/var/lib/assent-agent/apt/transactions/repair-*") {
		t.Error("the repair did not wait for the orphaned script")
	}
	d.Sh("rm /etc/acme-slow.hold")
	rep := <-recovered
	if rep.err() != nil || rep.Health != (pkgmgr.Health{}) {
		t.Errorf("recover: %+v, %v", rep.Health, rep.err())
	}
	for _, it := range tx.Want.Items {
		if v := d.Version(it.Name); v != "ii 1.1" {
			t.Errorf("%s is %s", it.Name, v)
		}
	}
	if out := d.Sh("apt-mark showauto acme-lib"); strings.TrimSpace(out) != "acme-lib" {
		t.Error("the mark of a dependency was lost with the run")
	}
}

func starterDies(t *testing.T, d *Device) {
	tx, done, cancel := applySlow(t, d)
	cancel() // kills the process that called Apply, with SIGKILL
	if err := <-done; err == nil {
		t.Fatal("the starter was not killed")
	}
	if pids := d.PIDs("assent-agent call"); len(pids) != 0 {
		t.Fatal("the starter still runs")
	}
	if pids := d.PIDs("apt-get -y"); len(pids) == 0 {
		t.Fatal("the transaction died with its starter")
	}
	recovered := make(chan reply, 1)
	go func() {
		rep, err := d.call(t.Context(), request{Method: "Recover"})
		if err != nil {
			rep.Error = err.Error()
		}
		recovered <- rep
	}()
	d.Sh("rm /etc/acme-slow.hold")
	if rep := <-recovered; rep.err() != nil || rep.Health != (pkgmgr.Health{}) {
		t.Errorf("recover: %+v, %v", rep.Health, rep.err())
	}
	proof := d.Call(request{Method: "Verify", Items: tx.Want.Items})
	for i, p := range proof.Proof {
		if p.Version != "1.1" || p.Status != "ii" || p.SHA256 != tx.Want.Items[i].SHA256 {
			t.Errorf("proof %+v", p)
		}
	}
	if d.Has("/var/lib/assent-agent/apt/transactions/repair-*") {
		t.Error("a run that ended well was repaired")
	}
}

func lockHeld(t *testing.T, d *Device) {
	d.Sh("touch /etc/acme-slow.hold")
	want := d.Want("acme-tool=1.1")
	d.Order(want)
	tx := d.Simulate(want)
	tx.ID = "t1"
	other, err := d.Start(t.Context(), "other", "apt-get", "-y", "install", "acme-slow=1.1")
	d.must(err)
	d.Eventually("the other apt to wait", func() bool { return d.Has("/run/acme-slow.started") })
	if again := d.Simulate(want); cmp.Diff(tx.Changes, again.Changes) != "" {
		t.Error("a simulation needs the lock")
	}
	d.must(d.Call(request{Method: "Fetch", Tx: tx}).err())
	rep := d.Call(request{Method: "Apply", Tx: tx})
	if rep.Refusal == nil || rep.Refusal.Cause != installation.ManagerBusy || !strings.Contains(rep.Refusal.Detail, "apt-get -y install acme-slow") {
		t.Errorf("apply: %v", rep.err())
	}
	if h := d.Call(request{Method: "Recover"}); h.err() != nil || h.Health.Holder == "" {
		t.Errorf("recover: %+v, %v", h.Health, h.err())
	}
	d.Sh("rm /etc/acme-slow.hold")
	d.must(other.Wait(t.Context()))
	tx.ID = "t2"
	d.must(d.Call(request{Method: "Apply", Tx: tx}).err())
}

func diskFull(t *testing.T, d *Device) {
	want := d.Want("acme-big=1.1")
	tx := d.Simulate(want)
	d.Sh("head -c $(( ($(df -k --output=avail / | tail -1) - 20000) * 1024 )) /dev/zero > /filler")
	rep := d.Call(request{Method: "Fetch", Tx: tx})
	if rep.Refusal == nil || rep.Refusal.Cause != installation.NoSpace {
		t.Errorf("fetch: %v", rep.err())
	}
	if out := d.Sh("ls /var/cache/assent-agent/archives"); strings.Contains(out, "acme-big") {
		t.Errorf("fetched all the same: %s", out)
	}
	d.Sh("rm /filler")
	d.must(d.Call(request{Method: "Fetch", Tx: tx}).err())
}

func rollbackFromCache(t *testing.T, d *Device) {
	first := d.Want("acme-tool=1.1")
	d.must(d.Install("t1", first).err())
	// The next step of the repository holds nothing but the newest version.
	main, _ := lab.AcmeSuites(2)
	var newest []int
	for i, p := range main.Packages {
		if p.Name == "acme-old" || p.Name == "acme-tool" && p.Version != "2.1" {
			continue
		}
		newest = append(newest, i)
	}
	packages := main.Packages
	main.Packages = nil
	for _, i := range newest {
		p := packages[i]
		p.Conflicts = ""
		main.Packages = append(main.Packages, p)
	}
	d.must(d.Repo.Publish(main))
	d.Sh("apt-get -q --error-on=any update")
	second := d.Want("acme-tool=2.1")
	tx := d.Simulate(second)
	d.must(d.Call(request{Method: "Remember", Update: "u1", Changes: tx.Changes}).err())
	d.must(d.Install("t2", second).err())
	got := d.Call(request{Method: "Close", Snapshot: d.scan()})
	d.must(got.err())
	if len(got.Available.Restore) != 1 || got.Available.Restore[0].From != "cache" || got.Available.Restore[0].SHA256 != first.Items[0].SHA256 {
		t.Fatalf("restore %+v", got.Available.Restore)
	}
	back := pkgmgr.Want{Items: first.Items, Downgrade: true}
	if rep := d.Install("t3", back); rep.err() != nil {
		t.Errorf("%v\n%s", rep.err(), rep.Outcome.Log)
	}
	if v := d.Version("acme-tool"); v != "ii 1.1" {
		t.Errorf("acme-tool is %s", v)
	}
	gone := pkgmgr.Want{Items: []catalog.Item{d.Item("acme-old", "1.0")}}
	gone.Items[0].Version = "1.5"
	d.Refused(gone, installation.ContentUnavailable)
}

func missingFile(t *testing.T, d *Device) {
	want := d.Want("acme-tool=1.1")
	tx := d.Simulate(want)
	d.must(d.Repo.RemoveDeb("acme-tool", "1.1"))
	rep := d.Call(request{Method: "Fetch", Tx: tx})
	if rep.Refusal == nil || rep.Refusal.Cause != installation.ContentUnavailable {
		t.Errorf("removed: %v", rep.err())
	}
	d.Publish(1)
	d.must(d.Repo.TamperDeb("acme-tool", "1.1"))
	rep = d.Call(request{Method: "Fetch", Tx: tx})
	if rep.Refusal == nil || rep.Refusal.Cause != installation.DigestMismatch {
		t.Errorf("tampered with: %v", rep.err())
	}
}
