package cli

import (
	"testing"
	"time"

	"assent/client"
	"assent/fleet"
	"assent/installation"
	"assent/plan"
)

func TestAssignedIsNeverAnEndForADeviceThatWasHeardOfNotLongAgo(t *testing.T) {
	act := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	device := func(connected bool, seen time.Duration) client.DeviceRow {
		return client.DeviceRow{ID: "d", State: fleet.Active, Connected: connected, LastSeen: act.Add(seen)}
	}
	assigned := client.DeviceUpdate{Device: "d", State: installation.Assigned, Verdict: plan.Install, Since: act}
	type look struct {
		device client.DeviceRow
		after  time.Duration // since the first look
		want   end
	}
	for name, looks := range map[string][]look{
		"it listens":                            {{device(true, -time.Hour), 0, pending}, {device(true, 0), time.Hour, pending}},
		"it uploads or fetches between polls":   {{device(false, -time.Minute), 0, pending}, {device(false, -time.Minute), time.Minute, pending}, {device(true, 0), 2 * time.Minute, pending}},
		"it was off for a day":                  {{device(false, -24*time.Hour), 0, offline}},
		"it was never seen":                     {{client.DeviceRow{ID: "d", State: fleet.Active}, 0, offline}},
		"it goes away for good":                 {{device(true, 0), 0, pending}, {device(false, 0), time.Minute, pending}, {device(false, 0), 5 * time.Minute, offline}},
		"it goes away again and again":          {{device(false, 0), 0, pending}, {device(true, 0), 2 * time.Minute, pending}, {device(false, 0), 4 * time.Minute, pending}, {device(false, 0), 6 * time.Minute, pending}},
		"it is back after it counted as absent": {{device(false, -time.Hour), 0, offline}, {device(true, time.Minute), time.Minute, pending}},
		"it is quarantined":                     {{client.DeviceRow{ID: "d", State: fleet.Quarantined, LastSeen: act}, 0, offline}},
	} {
		t.Run(name, func(t *testing.T) {
			f := &follower{act: client.Outcome{At: act}, gone: map[string]time.Time{}}
			start := act.Add(-1000 * time.Hour) // our clock is wrong
			for i, l := range looks {
				if got := f.judge(assigned, f.absent(l.device, start.Add(l.after))); got != l.want {
					t.Errorf("look %d: end %d; want %d", i, got, l.want)
				}
			}
		})
	}
}

func TestWhatWasApprovedAlreadyIsWaitedForToo(t *testing.T) {
	f := &follower{act: client.Outcome{Changed: []client.UpdateRef{{ID: "a"}}, Skipped: []client.Skipped{
		{UpdateRef: client.UpdateRef{ID: "b"}, Code: "unchanged"}, {UpdateRef: client.UpdateRef{ID: "c"}, Code: "declined"}}}}
	if got := f.updates(); len(got) != 2 || got[0].ID != "a" || got[1].ID != "b" {
		t.Errorf("followed are %v", got)
	}
}
