package conductor_test

import (
	"context"
	"fmt"
	"testing"

	"assent/approval"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/rollout"
	"assent/server/internal/index"
	"assent/wire"
)

// crowd is a fleet of which all devices but one are in the only ring.
func crowd(t testing.TB, devices int) *world {
	w := newWorld(t)
	w.task([]rollout.Ring{{Name: "All", Groups: []fleet.GroupID{fleet.Root}, SuccessRate: 1000, Failures: devices + 1, MinSample: devices}})
	for i := range devices {
		w.device(name(i), "production")
	}
	w.decide(tool, approval.Approved)
	w.look()
	return w
}

func name(i int) fleet.DeviceID { return fleet.DeviceID(fmt.Sprintf("d%05d", i)) }

// reports has a device say that it installs.
func (w *world) reports(id fleet.DeviceID) {
	w.Report(id, wire.Report{Update: tool.ID(), State: installation.Assigned}, wire.Report{Update: tool.ID(), State: installation.Downloading},
		wire.Report{Update: tool.ID(), State: installation.Downloaded}, wire.Report{Update: tool.ID(), State: installation.Installing},
		wire.Report{Update: tool.ID(), State: installation.Installed, Proof: &wire.Proof{Transaction: "t"}})
}

// TestT6_ManyDevicesThatReportAtOnceAreLookedAtTogether: however many report, what follows is written once for each change of
// phase, and every device is counted.
func TestT6_ManyDevicesThatReportAtOnceAreLookedAtTogether(t *testing.T) {
	const devices = 60
	w := crowd(t, devices)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	before := w.entries()
	go func() { ended <- w.c.Run(ctx) }()
	for i := range devices {
		w.reports(name(i))
	}
	for !w.state(tool).Finished() {
		seq := w.Index.Seq()
		if !w.state(tool).Finished() {
			_, err := w.Index.WaitChange(t.Context(), seq)
			w.must(err)
		}
	}
	cancel()
	<-ended
	steps := 0
	for _, e := range before.since(t, w) {
		if body, _ := e.Decode(); body != nil {
			if _, ok := body.(ledger.RolloutStep); ok {
				steps++
			}
		}
	}
	if ring, _ := w.state(tool).Ring("All"); ring.Progress.Succeeded != devices || steps > 2 {
		t.Errorf("%s; %d entries", ring.Progress, steps)
	}
}

// BenchmarkT6_TenThousandDevicesReportAtOnce is one look after every device of a rollout has reported.
func BenchmarkT6_TenThousandDevicesReportAtOnce(b *testing.B) {
	const devices = 10_000
	for b.Loop() {
		b.StopTimer()
		w := crowd(b, devices)
		for i := range devices {
			w.reports(name(i))
		}
		b.StartTimer()
		w.must(w.c.Look(b.Context()))
		b.StopTimer()
		w.Index.View(func(v *index.View) {
			if s, _ := v.Rollout(ringed, tool.ID()); len(s.Rings[0].Marks) != devices {
				b.Fatalf("%d devices are counted", len(s.Rings[0].Marks))
			}
		})
		b.StartTimer()
	}
}
