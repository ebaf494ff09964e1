package server

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How much the memory may grow, in percent, before garbage is looked for: while it is loaded, and afterwards. What a fleet
// takes stays for long and is looked at rarely, so half is enough room. But on a small server half is next to nothing, and
// looking for garbage all the time would be a quarter of what it does: some room is always left.
const (
	loadingGC = 200
	servingGC = 50
	roomGC    = 64 << 20 // bytes
)

// roomEvery is how often the room is measured out anew.
const roomEvery = 10 * time.Second

// ownGC reports whether the server chooses itself, which it does unless whoever runs it said how.
func ownGC() bool { return os.Getenv("GOGC") == "" }

// percentGC is how much memory may grow in which so many bytes are in use.
func percentGC(live uint64) int {
	return max(servingGC, int(100*roomGC/max(live, roomGC/16)))
}

// followGarbage sets how much the memory may grow as what is in use grows, until ctx ends.
func followGarbage(ctx context.Context) {
	if !ownGC() {
		return
	}
	tick := time.NewTicker(roomEvery)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for set := servingGC; ; {
		metrics.Read(sample)
		if percent := percentGC(sample[0].Value.Uint64()); percent < set || percent > set+set/8 { // setting it stops the world for a moment
			debug.SetGCPercent(percent)
			set = percent
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
