package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"assent/e2e/stage"
	"assent/lab"
)

// patience is how long a script waits for anything before it gives up.
const patience = 90 * time.Second

// held is where acme-slow looks whether it has to wait in its postinst; started is what it leaves when it is there.
const (
	held    = "/etc/acme-slow.hold"
	started = "/run/acme-slow.started"
)

// script is what a test says to a stage: commands of the operator, commands on devices, and what must hold.
type script struct {
	*stage.Stage
	t *testing.T
}

// fleet opens a stage whose devices are enrolled in the root group and know Acme's updates with their closures.
func fleet(t *testing.T, devices ...string) *script {
	t.Helper()
	s := enrolled(open(t, devices...), t)
	s.updates()
	return s
}

// updates publishes Acme's updates and waits until every device knows what each brings along.
func (s *script) updates() {
	s.t.Helper()
	s.publish(1)
	s.refresh()
	s.until("every device knows what each update brings along", func() bool {
		var o struct {
			Preview struct{ Devices, Unclear int }
		}
		return s.knows(&o, "update", "approve", "acme-suite@1.1", "--dry-run") && o.Preview.Devices == len(s.Devices) && o.Preview.Unclear == 0
	})
}

// enrolled enrols the devices of a stage in the root group. They have nothing to update.
func enrolled(of *stage.Stage, t *testing.T) *script {
	t.Helper()
	s := &script{of, t}
	for _, d := range s.Devices {
		// The default of a minute between two looks is right for a fleet and long for a script.
		s.try(d.WriteFile("/etc/assent-agent/config.json", []byte(`{"scan": "1s"}`), 0o644))
		s.try(d.Enrol(t.Context(), "All devices"))
	}
	s.until("the devices have said what they have", func() bool {
		var list struct {
			Items []struct {
				LastUseful time.Time `json:"last_useful"`
			}
		}
		s.ask(&list, "device", "list")
		for _, d := range list.Items {
			if d.LastUseful.IsZero() {
				return false
			}
		}
		return len(list.Items) == len(s.Devices)
	})
	return s
}

func (s *script) try(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// publish makes a step of Acme's story the state of its repository.
func (s *script) publish(step int) {
	s.t.Helper()
	s.try(lab.PublishAcme(s.Repo, step))
}

// refresh asks all devices to fetch their package lists now.
func (s *script) refresh() {
	s.t.Helper()
	s.assent("device", "refresh")
}

// assent runs the CLI, which must succeed.
func (s *script) assent(args ...string) string {
	s.t.Helper()
	out, err := s.Output(s.t.Context(), args...)
	s.try(err)
	return out
}

// ask runs the CLI with --json and reads its answer into v.
func (s *script) ask(v any, args ...string) {
	s.t.Helper()
	out := s.assent(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		s.t.Fatalf("assent %s --json: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// knows is ask for what may not be there yet.
func (s *script) knows(v any, args ...string) bool {
	s.t.Helper()
	a, err := s.CLI(s.t.Context(), append(args, "--json")...)
	s.try(err)
	return a.Code == 0 && json.Unmarshal([]byte(a.Stdout), v) == nil
}

// refused runs the CLI, which must refuse with this exit code and this word on its standard error.
func (s *script) refused(exit int, word string, args ...string) {
	s.t.Helper()
	a, err := s.CLI(s.t.Context(), args...)
	s.try(err)
	if a.Code != exit || !strings.Contains(a.Stderr, word) {
		s.t.Errorf("assent %s: exit code %d, want %d and %q: %s", strings.Join(args, " "), a.Code, exit, word, a.Stdout+a.Stderr)
	}
}

// until waits until a condition holds.
func (s *script) until(what string, holds func() bool) {
	s.t.Helper()
	limit, start := time.NewTimer(patience), time.Now()
	defer limit.Stop()
	for !holds() {
		select {
		case <-limit.C:
			s.t.Fatalf("waited %s in vain: %s", time.Since(start).Round(time.Second), what)
		case <-s.t.Context().Done():
			s.t.Fatalf("%s: %v", what, context.Cause(s.t.Context()))
		case <-time.After(100 * time.Millisecond):
		}
	}
	s.t.Logf("%4.1f s: %s", time.Since(start).Seconds(), what)
}

// standing is where an update stands on a device.
type standing struct {
	Name, Version, State, Cause, Detail, How string

	DeviceName string `json:"device_name"`
	Against    bool   `json:"installed_though_declined"`
	Proof      *struct {
		Transaction string
		AuditClean  bool `json:"audit_clean"`
		Items       []struct{ Name, Version, Status string }
	}
}

// on gives the standing of an update, such as "acme-lib@1.1", on a device; the zero value if it has none there.
func (s *script) on(device, update string) standing {
	s.t.Helper()
	var u struct{ Devices []standing }
	if !s.knows(&u, "update", "show", update) {
		return standing{}
	}
	for _, d := range u.Devices {
		if d.DeviceName == device {
			return d
		}
	}
	return standing{}
}

// becomes waits until an update has a state on a device.
func (s *script) becomes(device, update, state string) standing {
	s.t.Helper()
	var now standing
	s.t.Cleanup(func() {
		if s.t.Failed() && now.State != state {
			s.t.Logf("%s on %s at last: %+v", update, device, now)
		}
	})
	s.until(update+" is "+state+" on "+device, func() bool {
		now = s.on(device, update)
		return now.State == state
	})
	return now
}

// proven waits until an update is installed and demands that the device proved it (V3).
func (s *script) proven(device, update string) {
	s.t.Helper()
	now := s.becomes(device, update, "installed")
	if now.Proof == nil || !now.Proof.AuditClean || len(now.Proof.Items) == 0 {
		s.t.Fatalf("%s on %s is installed without proof: %+v", update, device, now)
	}
	for _, it := range now.Proof.Items {
		if it.Status != "ii" {
			s.t.Errorf("proof of %s on %s: %+v", update, device, it)
		}
	}
}

// run runs a command on a device, which must succeed.
func (s *script) run(device string, argv ...string) string {
	s.t.Helper()
	out, err := s.Device(device).Output(s.t.Context(), argv...)
	s.try(err)
	return out
}

// fails runs a command on a device, which must fail and say this.
func (s *script) fails(device, says string, argv ...string) {
	s.t.Helper()
	out, errOut, code, err := s.Device(device).Run(s.t.Context(), argv...)
	s.try(err)
	if code == 0 || !strings.Contains(out+errOut, says) {
		s.t.Errorf("%s# %s: exit code %d, want a failure that says %q:\n%s", device, strings.Join(argv, " "), code, says, out+errOut)
	}
}

// aptGet is apt-get as a person uses it, patient when something else is at work.
func aptGet(args ...string) []string {
	return append([]string{"apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=60"}, args...)
}

// version is the installed version of a package on a device.
func (s *script) version(device, pkg string) string {
	s.t.Helper()
	v, err := s.Device(device).Version(s.t.Context(), pkg)
	s.try(err)
	return v
}

// has demands that a device has exactly this version of a package.
func (s *script) has(device, pkg, want string) {
	s.t.Helper()
	if v := s.version(device, pkg); v != want {
		s.t.Errorf("%s has %s %q, want %q", device, pkg, v, want)
	}
}

// hold makes acme-slow wait in its postinst.
func (s *script) hold(device string) {
	s.t.Helper()
	s.try(s.Device(device).WriteFile(held, nil, 0o644))
}

// release lets acme-slow's postinst go on.
func (s *script) release(device string) {
	s.t.Helper()
	s.try(s.Device(device).Remove(held))
}

// inPostinst waits until acme-slow is in its postinst.
func (s *script) inPostinst(device string) {
	s.t.Helper()
	s.until("acme-slow is in its postinst", func() bool {
		_, _, code, err := s.Device(device).Run(s.t.Context(), "test", "-e", started)
		return err == nil && code == 0
	})
}

// events are the kinds and texts of what devices reported beside states, newest first.
func (s *script) events(args ...string) []struct{ Event, Detail string } {
	s.t.Helper()
	var list struct {
		Items []struct{ Event, Detail string }
	}
	s.ask(&list, append([]string{"event", "list"}, args...)...)
	return list.Items
}

// tells waits until a device reported an event of this kind whose text contains all words.
func (s *script) tells(kind string, words ...string) {
	s.t.Helper()
	s.until("an event "+kind+" with "+strings.Join(words, ", "), func() bool {
		for _, e := range s.events() {
			all := e.Event == kind
			for _, w := range words {
				all = all && strings.Contains(e.Detail, w)
			}
			if all {
				return true
			}
		}
		return false
	})
}
