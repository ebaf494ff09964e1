package gateway

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"

	"assent/server/internal/store"
)

// maxTwice is how many of the last check-ins may have been seen by two servers. One agent's never are, but a database that broke
// off in the middle of writing can make a server believe it.
const maxTwice = 8

// line is the lineage as it is kept and told to other servers.
func (l *lineage) line() *store.Line {
	out := &store.Line{Epoch: l.epoch, Low: l.low, Seen: l.seen, Twice: l.twice, Boots: l.boots}
	for _, e := range l.ended {
		out.Ended = append(out.Ended, store.Ended{Run: e.run, Low: e.low, High: e.high})
	}
	return out
}

// lineageOf reads what is kept of a device. A contact that a server of an earlier release wrote says less.
func lineageOf(c store.Contact) lineage {
	l := lineage{boot: c.BootID, run: c.Run, low: c.Sequence, high: c.Sequence, seen: ^uint64(0)}
	if c.Run == "" {
		l = lineage{}
	}
	if k := c.Line; k != nil {
		l.epoch, l.boots = k.Epoch, k.Boots
		if c.Run != "" {
			l.low, l.seen, l.twice = k.Low, k.Seen, k.Twice
		}
		for _, e := range k.Ended {
			l.ended = append(l.ended, endedRun{run: e.Run, low: e.Low, high: e.High})
		}
	}
	return l
}

// join takes in what other servers saw, and says how it shows two agents; empty if it does not. What counts after the device was
// let back in replaces what was before.
func (l *lineage) join(o lineage) (why string) {
	switch {
	case o.epoch < l.epoch || o.run == "" && o.epoch == l.epoch:
		return ""
	case o.epoch > l.epoch || l.run == "":
		*l = o
		return ""
	case l.run == o.run && l.boot != o.boot:
		return fmt.Sprintf("one agent process claims two boots, %s and %s: a running machine was copied", l.boot, o.boot)
	}
	runs := append(l.runs(), o.runs()...) // before the windows move: a run in which nothing follows ends where its window does
	o.reach(l.high)
	l.reach(o.high)
	l.twice |= o.twice | o.seen&l.own
	l.seen |= o.seen
	if why := l.order(runs, o); why != "" {
		return why
	}
	if n := bits.OnesCount64(l.twice); n > maxTwice {
		return fmt.Sprintf("two servers were given %d of the last check-ins, up to sequence %d, of one agent process: a running machine was copied", n, l.high)
	}
	return ""
}

// runs are all runs that are known, each with the sequences between which it checked in.
func (l *lineage) runs() []endedRun {
	return append(slices.Clone(l.ended), endedRun{run: l.run, low: l.low, high: l.high})
}

// order puts runs together, as far as they are known here and there. Those of one agent lie one after the other.
func (l *lineage) order(runs []endedRun, o lineage) (why string) {
	var all []endedRun
	for _, r := range runs {
		i := slices.IndexFunc(all, func(e endedRun) bool { return e.run == r.run })
		if i < 0 {
			all = append(all, r)
			continue
		}
		all[i].low, all[i].high, all[i].stale = min(all[i].low, r.low), max(all[i].high, r.high), max(all[i].stale, r.stale)
	}
	slices.SortStableFunc(all, func(a, b endedRun) int { return cmp.Compare(a.low, b.low) })
	for i, r := range all[1:] {
		if before := all[i]; r.low <= before.high {
			return fmt.Sprintf("two agents use its certificate at once: the process %s checked in with sequence %d, and the process %s with %d", r.run, r.low, before.run, before.high)
		}
	}
	now := all[len(all)-1]
	boots := slices.Concat(o.boots, l.boots, []string{o.boot, l.boot})
	if now.run != l.run {
		l.boot, l.run, l.replays = o.boot, o.run, 0
	}
	slices.Sort(boots)
	l.boots = last(slices.DeleteFunc(slices.Compact(boots), func(b string) bool { return b == l.boot || b == "" }), maxEnded)
	l.low, l.ended = now.low, last(all[:len(all)-1], maxEnded)
	return ""
}
