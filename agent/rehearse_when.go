package agent

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// Rhythms of rehearsals.
const (
	// rehearseSpread is how much longer than it has to be what changed is left alone by some devices: a decision must not have a
	// whole fleet rehearse at once.
	rehearseSpread = 25 * time.Minute
	// rehearseLead is how long before its window a device rehearses at the latest, and rehearseLeads over how much more devices
	// are spread.
	rehearseLead  = 2 * time.Hour
	rehearseLeads = 4 * time.Hour
	// rehearseNight is how long the night is in which devices rehearse whose next window nobody knows; it begins at midnight.
	rehearseNight = 5 * time.Hour
	// rehearseAge is how old the last rehearsal may be when a window opens.
	rehearseAge = 24 * time.Hour
	// rehearsePause is the shortest time between two rehearsals of the same.
	rehearsePause = 12 * time.Hour
)

// occasion is what the time of the next rehearsal depends on.
type occasion struct {
	now     time.Time // in the device's zone
	share   float64   // the device's own, from 0 to 1
	changed time.Time // since when device and plan are as they are
	settle  time.Duration
	last    time.Time // when exactly this was rehearsed; zero: never
	opens   time.Time // when the next window opens of what waits for one; zero: nothing does, or nobody knows when
}

// due is when to rehearse. What changed is rehearsed once it has settled; after that, what stays the same once more before its window,
// or in the device's night.
func (o occasion) due() time.Time {
	spread := func(d time.Duration) time.Duration { return time.Duration(o.share * float64(d)) }
	if o.last.IsZero() {
		return o.changed.Add(o.settle + spread(rehearseSpread))
	}
	if o.opens.IsZero() {
		after := o.last.Add(rehearsePause).In(o.now.Location())
		night := time.Date(after.Year(), after.Month(), after.Day(), 0, 0, 0, 0, after.Location()).Add(spread(rehearseNight))
		if night.Before(after) {
			night = night.AddDate(0, 0, 1)
		}
		return night
	}
	if o.opens.Sub(o.last) <= rehearseAge {
		return o.opens.Add(rehearsePause) // by then it is over, or there is another window
	}
	return o.opens.Add(-rehearseLead - spread(rehearseLeads))
}

// shareOf is a device's own share of a spread: the same every day, and evenly spread over devices.
func shareOf(device string) float64 {
	sum := sha256.Sum256([]byte("rehearsal\x00" + device))
	return float64(binary.BigEndian.Uint32(sum[:4])) / (1 << 32)
}
