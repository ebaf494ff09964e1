package decide_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"runtime"
	"testing"

	"assent/approval"
	"assent/client"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/decide"
	"assent/server/internal/index"
	"assent/server/internal/index/indextest"
	"assent/server/internal/planner"
)

// big opens a large fleet: 40 of 10,000 updates applicable to each device.
func big(b testing.TB, devices, kinds int) (*indextest.Big, *index.Index, *planner.Planner, *decide.Service) {
	s := indextest.NewBig(indextest.Size{Devices: devices, Updates: 10_000, Each: 40, Packages: 400, Kinds: kinds})
	x, err := index.Open(b.Context(), s, index.Config{})
	if err != nil {
		b.Fatal(err)
	}
	p, err := planner.New(planner.Config{Index: x, Signer: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.Close)
	d, err := decide.New(decide.Config{Index: x, Planner: p})
	if err != nil {
		b.Fatal(err)
	}
	return s, x, p, d
}

var admin = auth.Actor{Name: "ada", Role: ledger.Administrator, Scope: fleet.Root}

// sizes are devices and different sets of facts.
var sizes = []struct{ devices, kinds int }{{1_000, 250}, {10_000, 250}, {100_000, 250}, {100_000, 5_000}}

func each(b *testing.B, f func(b *testing.B, x *index.Index, p *planner.Planner, d *decide.Service)) {
	for _, s := range sizes {
		b.Run(fmt.Sprintf("devices=%d/kinds=%d", s.devices, s.kinds), func(b *testing.B) {
			_, x, p, d := big(b, s.devices, s.kinds)
			if _, err := d.Decide(b.Context(), admin, client.Decide{Matching: &client.Filter{Search: "tool0000"}, Status: approval.Approved}); err != nil {
				b.Fatal(err)
			}
			f(b, x, p, d)
		})
	}
}

// BenchmarkOpen is P7 and P4: the time to a loaded index and the memory that it holds.
func BenchmarkOpen(b *testing.B) {
	for _, s := range sizes {
		b.Run(fmt.Sprintf("devices=%d/kinds=%d", s.devices, s.kinds), func(b *testing.B) {
			store := indextest.NewBig(indextest.Size{Devices: s.devices, Updates: 10_000, Each: 40, Packages: 400, Kinds: s.kinds})
			if _, err := index.Open(b.Context(), store, index.Config{}); err != nil { // grows the catalog once
				b.Fatal(err)
			}
			var before, after runtime.MemStats
			for b.Loop() {
				runtime.GC()
				runtime.ReadMemStats(&before)
				x, err := index.Open(b.Context(), store, index.Config{})
				if err != nil {
					b.Fatal(err)
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/(1<<20), "MiB")
				runtime.KeepAlive(x)
			}
		})
	}
}

// BenchmarkList is P5: a sorted, filtered, counted page.
func BenchmarkList(b *testing.B) {
	each(b, func(b *testing.B, _ *index.Index, _ *planner.Planner, d *decide.Service) {
		needed := true
		f := client.Filter{Status: []approval.Status{approval.Undefined}, Needed: &needed}
		for b.Loop() {
			if out, err := d.List(b.Context(), admin, f, client.Page{Sort: "-needed"}); err != nil || out.Total == 0 {
				b.Fatal(out.Total, err)
			}
		}
	})
}

// BenchmarkDevices is a sorted, counted page of devices.
func BenchmarkDevices(b *testing.B) {
	each(b, func(b *testing.B, _ *index.Index, _ *planner.Planner, d *decide.Service) {
		for b.Loop() {
			if out, err := d.Devices(b.Context(), admin, client.DeviceQuery{}, client.Page{}); err != nil || out.Total == 0 {
				b.Fatal(out.Total, err)
			}
		}
	})
}

// BenchmarkWhy is P5 and P6: it must not grow with the fleet.
func BenchmarkWhy(b *testing.B) {
	each(b, func(b *testing.B, _ *index.Index, _ *planner.Planner, d *decide.Service) {
		for b.Loop() {
			if _, err := d.Why(b.Context(), admin, "d0000000", "tool000000@1.1"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkStatus is the first page of the console.
func BenchmarkStatus(b *testing.B) {
	each(b, func(b *testing.B, _ *index.Index, _ *planner.Planner, d *decide.Service) {
		for b.Loop() {
			if _, err := d.Status(b.Context(), admin); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkBulk is P3 without the disk: one act on all 10,000 updates and the next list.
func BenchmarkBulk(b *testing.B) {
	each(b, func(b *testing.B, _ *index.Index, _ *planner.Planner, d *decide.Service) {
		status := approval.Approved
		for b.Loop() {
			out, err := d.Decide(b.Context(), admin, client.Decide{Matching: &client.Filter{}, Status: status, Reason: fmt.Sprint(b.Elapsed())})
			if err != nil || out.Act == 0 {
				b.Fatal(out.Act, err)
			}
			b.ReportMetric(float64(out.Preview.Unseen), "unseen")
		}
	})
}

// BenchmarkBulkCounts is the second half of P3: how long the next reader of a list waits for the right counts after such an
// act, for which most plans are another one.
func BenchmarkBulkCounts(b *testing.B) {
	each(b, func(b *testing.B, _ *index.Index, _ *planner.Planner, d *decide.Service) {
		for i := 0; b.Loop(); i++ {
			b.StopTimer()
			status := []approval.Status{approval.Approved, approval.Undefined}[i%2]
			act := func() {
				ctx, stop := context.WithCancel(b.Context()) // nobody waits for what it means
				stop()
				if _, err := d.Decide(ctx, admin, client.Decide{Matching: &client.Filter{}, Status: status, Reason: fmt.Sprint(b.Elapsed())}); err != nil {
					b.Fatal(err)
				}
			}
			act()
			b.StartTimer()
			if out, err := d.List(b.Context(), admin, client.Filter{Status: []approval.Status{status}}, client.Page{Limit: 1}); err != nil || out.Total == 0 {
				b.Fatal(out.Total, err)
			}
		}
	})
}

// BenchmarkSteady is the planner's part of a steady check-in (P1).
func BenchmarkSteady(b *testing.B) {
	each(b, func(b *testing.B, _ *index.Index, p *planner.Planner, _ *decide.Service) {
		for b.Loop() {
			if _, _, err := p.For("d0000000"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
