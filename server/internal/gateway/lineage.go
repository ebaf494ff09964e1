package gateway

import (
	"fmt"
	"slices"
)

// Bounds on what is remembered of a certificate's past users.
const (
	maxEnded   = 16 // ended runs and boots
	maxReplays = 8  // repeated check-ins of one run that are put down to the network
	maxStale   = 2  // check-ins of a run that ended which were still on their way
	window     = 64 // how far a check-in may be overtaken by later ones
)

// lineage tells one agent that restarts from two agents on one certificate.
//
// An agent's sequence grows with every check-in and across restarts; each process has a random run, each
// boot its id. One agent therefore shows one run after the other, each beginning above where the last
// ended, and never returns to a run or boot that it left. Two agents (a copied disk, a cloned machine, a
// reverted snapshot) cannot keep that up: sooner or later a sequence is not above the last one, or a run
// speaks again after another took over. The zero value knows nothing and accepts the first check-in.
//
// Of several servers each sees a part of the check-ins; what they saw they put together (join), in which order they were
// seen being lost. One agent's runs are then still one after the other by their sequences, and each sequence was seen by one
// server.
type lineage struct {
	epoch     int64 // act by which the device was let back in: what is of an earlier one counts no more
	boot, run string
	low, high int64  // first sequence of the run, highest sequence seen
	seen      uint64 // bit i: sequence high-i was seen
	own       uint64 // those of them that this server saw and the others do not know of yet
	twice     uint64 // those that two servers saw
	replays   int
	ended     []endedRun
	boots     []string // boots before this one
}

type endedRun struct {
	run       string
	low, high int64
	stale     int
}

// word is the judgement on one check-in.
type word int

const (
	fresh word = iota // the newest: it counts
	stale             // overtaken by a later one: its content is old
	clone             // a second agent uses the certificate
)

// judge takes in a check-in and says what it is; for a clone, with the reason in words.
func (l *lineage) judge(boot, run string, seq int64) (word, string) {
	switch {
	case l.run == "" && l.high == 0:
		l.begin(boot, run, seq)
		return fresh, ""
	case run == l.run:
		return l.same(boot, seq)
	}
	if i := slices.IndexFunc(l.ended, func(e endedRun) bool { return e.run == run }); i >= 0 {
		if seq < l.high && !l.had(seq) && l.ended[i].stale < maxStale {
			l.ended[i].stale++
			l.ended[i].low, l.ended[i].high = min(l.ended[i].low, seq), max(l.ended[i].high, seq)
			l.note(seq)
			return stale, ""
		}
		return clone, fmt.Sprintf("two agents take turns on its certificate: the process %s checked in again (sequence %d) after the process %s had taken over", run, seq, l.run)
	}
	switch {
	case seq <= l.high:
		return clone, fmt.Sprintf("a new agent process came with sequence %d although %d was reached before: its disk was copied or set back", seq, l.high)
	case boot != l.boot && slices.Contains(l.boots, boot):
		return clone, fmt.Sprintf("two machines take turns on its certificate: boot %s came back after boot %s", boot, l.boot)
	}
	l.begin(boot, run, seq)
	return fresh, ""
}

// same judges a check-in of the current run.
func (l *lineage) same(boot string, seq int64) (word, string) {
	switch {
	case boot != l.boot:
		return clone, fmt.Sprintf("one agent process claims two boots, %s and %s: a running machine was copied", l.boot, boot)
	case seq > l.high:
		l.note(seq)
		return fresh, ""
	case !l.had(seq):
		l.low = min(l.low, seq)
		l.note(seq)
		return stale, ""
	case seq == l.high && l.replays < maxReplays:
		l.replays++ // the network may deliver a request twice
		return fresh, ""
	}
	return clone, fmt.Sprintf("its sequence went back from %d to %d in one agent process: a running machine was copied or set back", l.high, seq)
}

// begin starts a run.
func (l *lineage) begin(boot, run string, seq int64) {
	if l.run != "" {
		l.ended = last(append(l.ended, endedRun{run: l.run, low: l.low, high: l.high}), maxEnded)
	}
	if l.boot != "" && l.boot != boot {
		l.boots = last(append(l.boots, l.boot), maxEnded)
	}
	l.boot, l.run, l.low, l.replays = boot, run, seq, 0
	l.note(seq)
}

// note marks a sequence as seen.
func (l *lineage) note(seq int64) {
	l.reach(seq)
	if behind := l.high - seq; behind < window {
		l.seen |= 1 << behind
		l.own |= 1 << behind
	}
}

// reach moves the window ahead to a sequence.
func (l *lineage) reach(seq int64) {
	ahead := seq - l.high
	if ahead <= 0 {
		return
	}
	l.high, l.seen, l.own, l.twice = seq, l.seen<<uint64(ahead), l.own<<uint64(ahead), l.twice<<uint64(ahead)
}

// had reports whether a sequence was seen; what lies too far back counts as seen.
func (l *lineage) had(seq int64) bool {
	behind := l.high - seq
	return behind >= window || behind >= 0 && l.seen&(1<<behind) != 0
}

func last[T any](s []T, n int) []T {
	if len(s) > n {
		return slices.Clone(s[len(s)-n:])
	}
	return s
}
