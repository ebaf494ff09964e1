package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"assent/e2e/stage"
)

// foreseen is what the tests read of a rehearsal.
type foreseen struct {
	Name, Cause, Detail string
	Needs, Kept         []string
	Ring, Stale         bool
}

// rehearsed asks a device to rehearse and gives what it found once that satisfies ok, by the update's name.
func (s *script) rehearsed(device string, ok func(map[string]foreseen) bool) map[string]foreseen {
	s.t.Helper()
	var found map[string]foreseen
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("rehearsed on %s at last: %+v", device, found)
		}
	})
	s.assent("device", "rehearse", device)
	s.until("the rehearsal of "+device, func() bool {
		var list struct{ Items []foreseen }
		s.ask(&list, "rehearsal", "list", "--only", "all", "--device", device)
		found = map[string]foreseen{}
		for _, f := range list.Items {
			found[f.Name] = f
		}
		return ok(found)
	})
	return found
}

// nights makes or changes the task that installs these in one hour each day, which begins so long from now.
func (s *script) nights(verb string, begins time.Duration) {
	s.t.Helper()
	start := time.Now().UTC().Add(begins - 24*time.Hour).Format("2006-01-02T15:04")
	s.task(verb, "nights", fmt.Sprintf("criteria: name in [\"acme-big\", \"acme-conf\", \"acme-data\"]\nschedule:\n  rule: FREQ=DAILY\n  start: %s\n  length: 1h\n", start))
}

// task makes or changes a task with one rule.
func (s *script) task(verb, id, rest string) {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), id+".yaml")
	criteria, rest, _ := strings.Cut(rest, "\n")
	s.try(os.WriteFile(file, []byte("id: "+id+"\nname: "+id+"\ntargets:\n  groups: [root]\nrules:\n  - name: some\n    admits: approved\n    "+criteria+"\n"+rest), 0o600))
	args := []string{"task", verb}
	if verb == "edit" {
		args = append(args, id)
	}
	s.assent(append(args, "-f", file)...)
}

// untouched is everything of a device that a rehearsal must leave alone: dpkg's database, what is installed, and what was fetched.
func (s *script) untouched(device string) string {
	s.t.Helper()
	return s.run(device, "sh", "-c", `sha256sum /var/lib/dpkg/status /var/lib/apt/extended_states 2>/dev/null; ls -l --time-style=full-iso /var/cache/assent-agent/archives /var/cache/apt/archives; find /usr /etc /opt /boot -newer /var/lib/before -type f | sort`)
}

// TestRehearsal_TellsTodayWhatWouldFailTonight has a device with apt find out, before the window and before the ring opens, what
// then happens: no room, a package file that vanished, a dependency that nobody approved, and a configuration file that was changed.
func TestRehearsal_TellsTodayWhatWouldFailTonight(t *testing.T) {
	s := enrolled(openWith(t, stage.DeviceSpec{Name: "web1", DiskMB: 400}), t)
	s.updates()
	s.assent("group", "create", "Test")
	s.assent("group", "create", "Production")
	s.assent("device", "move", "web1", "--to", "Production")
	s.nights("create", 8*time.Hour)
	s.task("create", "ringed", "criteria: name in [\"acme-app\", \"acme-suite\"]\nrings:\n  - name: Test\n    groups: [Test]\n    success_per_mille: 1000\n  - name: Production\n    groups: [Production]\n    success_per_mille: 1000\n")
	s.run("web1", "sh", "-c", "echo level=mine > /etc/acme-conf.conf")
	s.assent("update", "approve", "acme-big@1.1", "acme-conf@1.1", "acme-data@1.1", "acme-app@2.0", "acme-suite@1.1")
	for _, update := range []string{"acme-big@1.1", "acme-conf@1.1", "acme-data@1.1"} {
		if now := s.becomes("web1", update, "blocked"); now.Cause != "window_closed" {
			t.Errorf("%s waits for %q", update, now.Cause)
		}
	}

	s.run("web1", "sh", "-c", "head -c $(( ($(df -k --output=avail / | tail -1) - 50000) * 1024 )) /dev/zero > /ballast; touch /var/lib/before")
	s.try(s.Repo.RemoveDeb("acme-suite-a", "1.1"))
	before := s.untouched("web1")
	found := s.rehearsed("web1", func(f map[string]foreseen) bool { return len(f) == 5 && f["acme-big"].Cause != "" })
	if after := s.untouched("web1"); before != after {
		t.Errorf("the rehearsal changed the device:\n%s\nwas\n%s", after, before)
	}
	for name, want := range map[string]string{"acme-big": "no_space", "acme-suite": "content_unavailable", "acme-app": "unapproved_dependency", "acme-conf": "", "acme-data": ""} {
		if got := found[name]; got.Cause != want || got.Stale || got.Ring != (name == "acme-suite" || name == "acme-app") {
			t.Errorf("%s: %+v, want cause %q", name, got, want)
		}
	}
	if needs := found["acme-app"].Needs; len(needs) != 1 || !strings.Contains(needs[0], "acme-lib@2.0") {
		t.Errorf("acme-app needs %q", needs)
	}
	if kept := found["acme-conf"].Kept; !slices.Equal(kept, []string{"/etc/acme-conf.conf"}) {
		t.Errorf("acme-conf keeps %q", kept)
	}
	if out := s.assent("status"); !strings.Contains(out, "3 updates would fail on 1 device") {
		t.Errorf("the status does not speak of it:\n%s", out)
	}
	if out := s.assent("why", "web1", "acme-app@2.0"); !strings.Contains(out, "would fail: unapproved dependency") {
		t.Errorf("why does not speak of it:\n%s", out)
	}

	s.nights("edit", -10*time.Minute) // the window opens
	for _, update := range []string{"acme-app@2.0", "acme-suite@1.1"} {
		s.assent("rollout", "skip", "ringed", update, "--reason", "to see that it comes true")
	}
	s.proven("web1", "acme-conf@1.1")
	s.proven("web1", "acme-data@1.1")
	s.tells("conffile_kept", "/etc/acme-conf.conf")
	for update, want := range map[string]string{"acme-big@1.1": "no_space", "acme-suite@1.1": "content_unavailable", "acme-app@2.0": "unapproved_dependency"} {
		s.until(update+" meets what was foreseen: "+want, func() bool {
			now := s.on("web1", update)
			return (now.State == "blocked" || now.State == "failed") && now.Cause == want
		})
	}

	s.run("web1", "rm", "/ballast")
	s.publish(1)
	s.rehearsed("web1", func(f map[string]foreseen) bool {
		big, listed := f["acme-big"]
		return !listed || big.Cause == ""
	})
}
