package decide_test

import (
	"crypto/ed25519"
	"fmt"
	"runtime"
	"testing"

	"assent/server/internal/index"
	"assent/server/internal/index/indextest"
	"assent/server/internal/planner"
)

// held is the memory in bytes that an index of a fleet holds, and that the board of all its plans holds beside it.
type held struct{ index, board float64 }

func hold(t testing.TB, s *indextest.Big) (h held) {
	if _, err := index.Open(t.Context(), s, index.Config{}); err != nil { // the catalog grows once
		t.Fatal(err)
	}
	before := inUse()
	x, err := index.Open(t.Context(), s, index.Config{})
	if err != nil {
		t.Fatal(err)
	}
	opened := inUse()
	p, err := planner.New(planner.Config{Index: x, Signer: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Refresh(); err != nil {
		t.Fatal(err)
	}
	h = held{opened - before, inUse() - opened}
	runtime.KeepAlive(s)
	return h
}

// inUse is what is reachable.
func inUse() float64 {
	runtime.GC()
	runtime.GC() // what finalizers let go of
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

func TestAsManyTinySetsAsDevicesTakeAtMostTwiceTheMemoryOfSharedOnes(t *testing.T) {
	const devices = 20_000
	shared, worst := hold(t, indextest.NewTiny(devices, devices/20)), hold(t, indextest.NewTiny(devices, devices))
	t.Logf("index: %.0f bytes a device where 20 share a set, %.0f where each has its own; board: %.0f and %.0f", shared.index/devices, worst.index/devices, shared.board/devices, worst.board/devices)
	if worst.index > 2*shared.index {
		t.Errorf("the index holds %.0f bytes for each device, more than twice the %.0f where sets are shared", worst.index/devices, shared.index/devices)
	}
}

// BenchmarkTinySets is the same at sizes that are asked for by hand: -bench TinySets/devices=1000000 -benchtime 1x.
func BenchmarkTinySets(b *testing.B) {
	for _, devices := range []int{20_000, 1_000_000} {
		for _, share := range []int{20, 1} {
			b.Run(fmt.Sprintf("devices=%d/share=%d", devices, share), func(b *testing.B) {
				for b.Loop() {
					h := hold(b, indextest.NewTiny(devices, devices/share))
					b.ReportMetric(h.index/float64(devices), "index-B/device")
					b.ReportMetric(h.board/float64(devices), "board-B/device")
				}
			})
		}
	}
}
