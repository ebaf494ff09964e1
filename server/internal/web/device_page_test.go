package web

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/client"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/plan"
	"assent/server/internal/auth"
	"assent/wire"
)

// oneDevice is a Roster that has one device.
type oneDevice struct {
	Roster
	detail client.DeviceDetail
}

func (o oneDevice) Device(context.Context, auth.Actor, string) (client.DeviceDetail, error) {
	return o.detail, nil
}

func troubled() client.DeviceDetail {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	return client.DeviceDetail{
		DeviceRow: client.DeviceRow{ID: "d1", Name: "web1", Group: "Web", GroupID: "g", State: fleet.Active, Problem: "its package manager is broken: half-installed"},
		Guard:     fleet.BlockDeclined, Packages: 1284,
		Facts: wire.Facts{Restart: []string{"kernel", "libc6"}, ManagerHealth: "half-installed", Posture: []wire.Finding{{Code: "trusted_yes", Detail: "/etc/apt/sources.list:3"}},
			Origins: []wire.OriginHealth{{Site: "mirror.example", Suite: "bookworm", Problem: "rolled_back", Detail: "older than seen", Date: now}, {Origin: "feed:acme"}, {Site: "far.example", Problem: "unreachable"}}},
		Updates: []client.DeviceUpdate{
			{Device: "d1", Update: "u1", Name: "zlib", Version: "1", Verdict: plan.None, State: installation.Applicable},
			{Device: "d1", Update: "u2", Name: "bash", Version: "2", Verdict: plan.Install, State: installation.Assigned},
			{Device: "d1", Update: "u3", Name: "vim", Version: "3", Verdict: plan.Hold, State: installation.Blocked, Cause: installation.DigestMismatch},
			{Device: "d1", Update: "u4", Name: "curl", Version: "4", Verdict: plan.Remove, State: installation.Removing, Since: now}}}
}

func TestDevicePage_SaysWhatIsWrongWithADevice(t *testing.T) {
	s := &server{Config: Config{Roster: oneDevice{detail: troubled()}}}
	v := &Visit{Request: httptest.NewRequest("GET", "/devices/d1", nil)}
	v.Session.Actor = auth.Actor{Name: "ada", Role: ledger.Viewer, Scope: fleet.Root}
	view, err := s.devicePage(v)
	if err != nil {
		t.Fatal(err)
	}
	names := mapped(view.Updates, func(u deviceUpdateView) string { return u.Name })
	if d := cmp.Diff([]string{"vim", "bash", "curl"}, names); d != "" {
		t.Errorf("what is held comes first, what needs nothing is not there: %s", d)
	}
	if !strings.HasPrefix(view.Guarding, "not in force") || view.Restart != "kernel, libc6" || len(view.Acts) != 0 {
		t.Errorf("guard %q, restart %q, acts of a viewer %v", view.Guarding, view.Restart, view.Acts)
	}
	tones := mapped(view.Sources, func(s sourceView) string { return s.Name + " " + s.Tone })
	if d := cmp.Diff([]string{"mirror.example bookworm red", "feed acme green", "far.example orange"}, tones); d != "" {
		t.Error(d)
	}
	under := mapped(view.Live.Under, func(u liveInstall) string { return u.Name })
	if d := cmp.Diff([]string{"bash", "curl"}, under); d != "" {
		t.Errorf("under way: %s", d)
	}
	a, err := loadAssets()
	if err != nil {
		t.Fatal(err)
	}
	if s.views, err = loadViews(a, s.routes()); err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	if err := s.showBare(rec, v.Request, "device_show", view); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Needs a restart, for kernel, libc6.", "half-installed", "trusted yes", "/etc/apt/sources.list:3", "rolled back", "older than seen", "1,284 installed", "not in force", `href="/devices/d1/why/u3"`, "digest mismatch"} {
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestActsOn_FollowTheStateOfTheDeviceAndTheRole(t *testing.T) {
	for _, c := range []struct {
		state fleet.DeviceState
		role  ledger.Role
		want  string
	}{
		{fleet.Active, ledger.Viewer, ""}, {fleet.Active, ledger.Approver, "refresh rehearse"}, {fleet.Active, ledger.Administrator, "refresh rehearse move quarantine retire"},
		{fleet.Quarantined, ledger.Administrator, "move release retire"}, {fleet.Retired, ledger.Administrator, ""}, {fleet.Quarantined, ledger.Approver, ""},
	} {
		v := &Visit{}
		v.Session.Actor = auth.Actor{Role: c.role, Scope: "g"}
		acts := mapped(actsOn(v, client.DeviceDetail{DeviceRow: client.DeviceRow{State: c.state}}), func(a deviceAct) string { return a.Name })
		if got := strings.Join(acts, " "); got != c.want {
			t.Errorf("%s to %s: %q, want %q", c.role, c.state, got, c.want)
		}
	}
}

func TestDeviceUpdates_SortFilterAndPage(t *testing.T) {
	all := troubled().Updates
	order := func(by string) string {
		return strings.Join(mapped(sortedUpdates(all, by), func(u client.DeviceUpdate) string { return u.Name }), " ")
	}
	for by, want := range map[string]string{"": "vim bash curl zlib", "verdict": "vim bash curl zlib", "-verdict": "zlib curl bash vim", "name": "bash curl vim zlib", "-since": "curl zlib vim bash"} {
		if got := order(by); got != want {
			t.Errorf("by %q: %s, want %s", by, got, want)
		}
	}
	if all[0].Name != "zlib" {
		t.Error("the service's list was sorted in place")
	}
	page, next, err := slicePage(all, client.Page{Limit: 3})
	if err != nil || len(page) != 3 || next != "3" {
		t.Fatalf("%d rows, next %q, %v", len(page), next, err)
	}
	if page, next, err = slicePage(all, client.Page{Limit: 3, Cursor: next}); err != nil || len(page) != 1 || next != "" {
		t.Errorf("%d rows, next %q, %v", len(page), next, err)
	}
	if page, _, err := slicePage(all, client.Page{Cursor: "99"}); err != nil || len(page) != 0 {
		t.Errorf("past the end: %d rows, %v", len(page), err)
	}
	if _, _, err := slicePage(all, client.Page{Cursor: "-1"}); err == nil {
		t.Error("a negative row is a page")
	}
}

func TestSpan_ReadsHoursAndDaysAndNothingElse(t *testing.T) {
	for in, want := range map[string]time.Duration{"": 0, "1h": time.Hour, "30d": 720 * time.Hour} {
		if got, err := span(in); err != nil || got != want {
			t.Errorf("span(%q) = %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"d", "h", "0h", "-1d", "1w", "1", "99999d", "1.5h", "１h"} {
		if got, err := span(in); err == nil {
			t.Errorf("span(%q) = %v", in, got)
		}
	}
}
