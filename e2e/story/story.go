package story

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"assent/lab"
)

// Devices are the devices the story plays on, with their groups.
func Devices() map[string]string {
	return map[string]string{"test1": "Test", "web1": "Web", "web2": "Web", "db1": "Databases"}
}

// patience is how long a device may take for one round of installs before the story gives up.
const patience = 90 * time.Second

// Tell plays the whole story. The stage has the devices of Devices, is not enrolled yet, and its Acme repository is at step 0.
// With real the devices also follow Debian's own archive.
func (t *Teller) Tell(ctx context.Context, realArchive bool) error {
	t.ctx = ctx
	t.fleet()
	t.see(realArchive)
	t.try()
	t.approve(realArchive)
	t.decline()
	t.askWhy()
	t.dependencies()
	t.takeBack()
	t.except()
	t.managed()
	t.prove()
	t.rings()
	return t.err
}

// row is what the story reads of an update list.
type row struct {
	ID, Name, Version, Status string
	Needed, Installed         int
}

func (t *Teller) updates(args ...string) []row {
	var list struct{ Items []row }
	t.ask(&list, append([]string{"update", "list"}, args...)...)
	return list.Items
}

func (t *Teller) fleet() {
	t.chapter("A fleet of real devices: groups, enrolment, first check-in")
	t.assent("status")
	t.assent("group", "create", "Test")
	t.assent("group", "create", "Production")
	t.assent("group", "create", "Web", "--parent", "Production")
	t.assent("group", "create", "Databases", "--parent", "Production")
	for _, name := range []string{"test1", "web1", "web2", "db1"} {
		if t.err != nil {
			return
		}
		if err := t.Stage.Device(name).Enrol(t.ctx, Devices()[name]); err != nil {
			t.fail("enrol %s: %w", name, err)
		}
		t.say("%s: assent-agent enrol --server https://10.77.0.1:8443 --token …; its agent runs", name)
	}
	t.until("all four devices have said what they have", patience, func() bool {
		var list struct {
			Items []struct {
				LastUseful time.Time `json:"last_useful"`
			}
		}
		t.ask(&list, "device", "list")
		useful := 0
		for _, d := range list.Items {
			if !d.LastUseful.IsZero() {
				useful++
			}
		}
		return useful == 4
	})
	t.assent("group", "list")
	t.assent("device", "list")
}

func (t *Teller) see(realArchive bool) {
	t.chapter("1. See every update that any device could take")
	if t.err != nil {
		return
	}
	if err := lab.PublishAcme(t.Stage.Repo, 1); err != nil {
		t.fail("publish: %w", err)
		return
	}
	t.say("Acme published updates in its signed repository; the administrator asks the devices to look now")
	t.assent("device", "refresh")
	t.until("the devices reported Acme's updates", patience, func() bool {
		rows := t.updates("--search", "acme-", "--needed", "--limit", "100")
		full := 0
		for _, r := range rows {
			if r.Needed == 4 {
				full++
			}
		}
		return full >= 14
	})
	t.until("the devices worked out what apt would change along with each", patience, func() bool {
		var o struct {
			Preview struct{ Devices, Unclear int }
		}
		t.ask(&o, "update", "approve", "acme-suite@1.1", "--dry-run")
		return o.Preview.Devices == 4 && o.Preview.Unclear == 0
	})
	if realArchive {
		t.assent("update", "list", "--needed", "--origin", "Debian:bookworm-security", "--limit", "8")
		if t.err == nil && len(t.updates("--needed", "--search", "debian")) == 0 {
			t.fail("no update of Debian's own archive is pending")
		}
	}
	t.assent("update", "list", "--needed", "--search", "acme-", "--sort", "name")
	t.assent("update", "show", "acme-suite@1.1")
}

func (t *Teller) try() {
	t.chapter("2. Try on a test device first")
	t.refused("superseded", "update", "approve", "acme-tool@1.1", "--group", "Test")
	t.say("acme-tool 2.0 would remove a package; the older release is approved on purpose")
	trial := []string{"update", "approve", "acme-tool@1.1", "acme-suite@1.1", "acme-db@1.1", "--allow-superseded", "--group", "Test"}
	t.assent(append(trial, "--dry-run")...)
	t.assent(append(trial, "--reason", "trial", "--wait")...)
	t.version("test1", "acme-tool", "1.1")
	t.version("test1", "acme-suite-a", "1.1")
	t.version("test1", "acme-suite-b", "1.1")
	t.version("test1", "acme-newdep", "1.0")
	t.version("web1", "acme-tool", "1.0")
}

func (t *Teller) approve(realArchive bool) {
	t.chapter("3. Approve for everybody: queued, installed exactly, proven")
	t.assent("update", "approve", "acme-suite@1.1", "acme-lib@1.1", "--allow-superseded", "--reason", "works on test1")
	t.assent("queue")
	t.until("every device has the approved versions, proven", patience, func() bool {
		return t.installed("acme-suite@1.1") == 4 && t.installed("acme-lib@1.1") == 4
	})
	t.version("db1", "acme-suite-a", "1.1")
	t.version("web2", "acme-lib", "1.1")
	t.say("acme-lib 2.0 is apt's own candidate and was never approved: exactly 1.1 was installed")
	t.assent("update", "approve", "--all-matching", "--security", "--needed", "--dry-run")
	if realArchive {
		t.assent("update", "approve", "--all-matching", "--security", "--needed", "--yes", "--reason", "security updates of the week", "--wait")
		t.assent("update", "list", "--security", "--status", "approved", "--limit", "8")
	} else {
		t.assent("update", "approve", "--all-matching", "--security", "--yes", "--reason", "security updates of the week", "--wait")
	}
	t.version("web1", "acme-sec", "1.1")
}

func (t *Teller) installed(ref string) int {
	var u row
	t.ask(&u, "update", "show", ref)
	return u.Installed
}

func (t *Teller) decline() {
	t.chapter("4. Decline: a wall that apt itself meets")
	t.assent("update", "decline", "acme-app@2.0", "--reason", "breaks our reports")
	t.until("the wall stands on web1", patience, func() bool {
		out, _, _, err := t.Stage.Device("web1").Run(t.ctx, "assent-agent", "why", "acme-app")
		return err == nil && strings.Contains(out, "breaks our reports")
	})
	t.on("web1", "apt-cache", "policy", "acme-app")
	t.on("web1", "apt-get", "-s", "-q", "upgrade")
	t.onRefused("web1", "declined", "apt-get", "-y", "-q", "install", "acme-app=2.0", "acme-lib=2.0")
	t.version("web1", "acme-app", "1.0")
	t.refused("declined", "update", "approve", "acme-app@2.0")
	t.assent("update", "approve", "--all-matching", "--search", "acme-app", "--dry-run")
}

func (t *Teller) askWhy() {
	t.chapter("5. Ask why, here and on the device: the same answer from the same function")
	t.assent("why", "web1", "acme-app@2.0")
	t.assent("why", "db1", "acme-tool@1.1")
	t.on("web1", "assent-agent", "why", "acme-app")
}

func (t *Teller) dependencies() {
	t.chapter("6. What else would come along is never a surprise")
	t.assent("update", "approve", "acme-removes@2.0", "acme-svc@1.1", "--group", "Web", "--reason", "let us see")
	t.until("web1 blocked the removal and reported the failed script", patience, func() bool {
		var q struct {
			Updates []struct{ Name, State, Cause string }
		}
		t.ask(&q, "device", "show", "web1")
		var blocked, failed bool
		for _, u := range q.Updates {
			blocked = blocked || u.Name == "acme-removes" && u.Cause == "removal_needed"
			failed = failed || u.Name == "acme-svc" && (u.State == "failed" || u.Cause == "install_failed")
		}
		return blocked && failed
	})
	t.assent("why", "web1", "acme-removes@2.0")
	t.assent("why", "web1", "acme-svc@1.1")
	t.until("web1 and web2 worked out that they can go back", patience, func() bool { return t.canGoBack("acme-svc@1.1", "Web") == 2 })
	t.say("acme-svc failed in its own script; declining it and taking it back brings the version that worked")
	t.assent("update", "undefine", "acme-removes@2.0", "--group", "Web", "--reason", "reported to Acme")
	t.assent("update", "rollback", "acme-svc@1.1", "--decline", "--group", "Web", "--reason", "its postinst fails")
	t.until("web1 and web2 are back at acme-svc 1.0", patience, func() bool {
		one, err1 := t.Stage.Device("web1").Version(t.ctx, "acme-svc")
		two, err2 := t.Stage.Device("web2").Version(t.ctx, "acme-svc")
		return err1 == nil && err2 == nil && one == "1.0" && two == "1.0"
	})
}

// canGoBack counts the devices of a group that could be rolled back now.
func (t *Teller) canGoBack(ref, group string) int {
	if t.err != nil {
		return 0
	}
	a, err := t.Stage.CLI(t.ctx, "update", "rollback", ref, "--decline", "--group", group, "--dry-run", "--json")
	if err != nil {
		t.fail("%w", err)
		return 0
	}
	return strings.Count(strings.ReplaceAll(a.Stdout, " ", ""), `"can":true`)
}

func (t *Teller) takeBack() {
	t.chapter("7. Declined where it is already installed: listed, and taken back by an explicit act")
	t.assent("update", "decline", "acme-tool@1.1", "--reason", "the trial failed")
	t.assent("update", "list", "--search", "acme-tool")
	t.until("test1 worked out that it can go back", patience, func() bool { return t.canGoBack("acme-tool@1.1", "Test") == 1 })
	t.assent("update", "rollback", "acme-tool@1.1", "--dry-run")
	t.assent("update", "rollback", "acme-tool@1.1", "--reason", "the trial failed")
	t.until("test1 is back at the version it had", patience, func() bool {
		v, err := t.Stage.Device("test1").Version(t.ctx, "acme-tool")
		return err == nil && v == "1.0"
	})
	t.version("test1", "acme-tool", "1.0")
}

func (t *Teller) except() {
	t.chapter("8. Precedence: a parent's decline beats a child's approval; an exception names it, says why and ends")
	t.refused("declined_above", "update", "approve", "acme-app@2.0", "--group", "Databases")
	t.assent("update", "except", "acme-app@2.0", "--group", "Databases", "--reason", "db team tests the fix", "--expires", "7d")
	t.assent("update", "approve", "acme-app@2.0", "acme-lib@2.0", "--group", "Databases", "--wait")
	t.version("db1", "acme-app", "2.0")
	t.version("web1", "acme-app", "1.0")
	t.assent("update", "exceptions")
}

func (t *Teller) prove() {
	t.chapter("18. Prove it: the ledger")
	t.assent("ledger", "list", "--limit", "12")
	file := filepath.Join(t.Stage.Dir(), "ledger.jsonl")
	t.assent("ledger", "export", "--output", file)
	t.assent("ledger", "verify", file)
	t.assent("status")
}
