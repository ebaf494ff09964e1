package server

import "testing"

func TestALargeMemoryGrowsByHalfAndASmallOneHasRoom(t *testing.T) {
	for live, want := range map[uint64]int{0: 1600, 16 << 20: 400, 64 << 20: 100, 128 << 20: 50, 1 << 30: 50, 1 << 40: 50} {
		if got := percentGC(live); got != want {
			t.Errorf("with %d bytes in use: %d %%; want %d %%", live, got, want)
		}
	}
}
