package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"assent/window"
	"assent/wire"
)

// randomSchedule opens now and then, in one of several zones, perhaps with a freeze.
func randomSchedule(r *rand.Rand) window.Schedule {
	rules := []string{"FREQ=DAILY", "FREQ=HOURLY;INTERVAL=3", "FREQ=DAILY;INTERVAL=2", "FREQ=WEEKLY;BYDAY=SA,SU,MO", ""}
	zones := []string{"", "", "Europe/Berlin", "Asia/Kathmandu"}
	s := window.Schedule{Rule: rules[r.IntN(len(rules))], Zone: zones[r.IntN(len(zones))], Missed: window.NextWindow}
	if s.Rule != "" {
		s.Start = fmt.Sprintf("2000-01-01T%02d:%02d", r.IntN(24), r.IntN(60))
		s.Length = window.Duration(time.Duration(10+r.IntN(100)) * time.Minute)
		s.Spread = window.Duration(time.Duration(r.IntN(60)) * time.Minute)
		if r.IntN(3) == 0 {
			s.Missed = window.AtOnce
		}
	}
	if s.Rule == "" || r.IntN(3) == 0 {
		from := 1 + r.IntN(2)
		s.Freezes = []window.Freeze{{Name: "frozen", From: fmt.Sprintf("2000-01-%02dT%02d:00", from, r.IntN(24)), To: fmt.Sprintf("2000-01-%02dT%02d:00", from+1, r.IntN(24))}}
	}
	return s
}

// mayBegin is the property in its own words: a schedule is open, or it lets missed runs be caught up and is in no freeze.
func mayBegin(t *testing.T, s window.Schedule, now time.Time, zone window.Zone, device string) (open, outside bool) {
	t.Helper()
	w, err := window.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	a := w.At(now, zone, device)
	return a.Open || s.Missed == window.AtOnce && a.Window == (window.Window{}) && a.Freeze == "", !a.Open
}

func TestT4_NoTransactionBeginsOutsideOfAnOpenWindowWhateverHappensToClockAgentAndServer(t *testing.T) {
	began, caught := 0, 0
	for seed := range uint64(24) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, c := playWindows(t, rand.New(rand.NewPCG(seed, 7)))
				began, caught = began+b, caught+c
			})
		})
	}
	if began < 24 || caught < 2 {
		t.Errorf("%d transactions, %d of them caught up: the property says little", began, caught)
	}
}

// playWindows lets two days go by on a device to which everything happens, and counts the transactions and those outside of a window.
func playWindows(t *testing.T, r *rand.Rand) (began, caught int) {
	var files []simFile
	var names []string
	for i := range 4 {
		f := file(fmt.Sprintf("pkg%d", i), "2")
		f.Fails = r.IntN(4) == 0
		files, names = append(files, f), append(names, f.Name)
	}
	var schedules []window.Schedule
	terms := wire.PlanTerms{Retries: wire.PlanRetries{Attempts: 3, First: 600}, StopAfter: r.IntN(3) * 1800}
	for range 1 + r.IntN(2) {
		s := randomSchedule(r)
		schedules = append(schedules, s)
		terms.Schedules = append(terms.Schedules, schedule(t, s))
	}
	b := newBench(t, files, names...)
	by := b.offset()
	d := inZone([]string{"UTC", "Europe/Berlin", "America/New_York"}[r.IntN(3)])
	b.opt.Device = d
	b.s.expires = 30 * 24 * time.Hour
	b.m.applied = func([]wire.Change) {
		began++
		zone, err := window.LoadZone(d.zone.Load().(string))
		if err != nil {
			t.Error(err)
		}
		for _, s := range schedules {
			open, outside := mayBegin(t, s, b.opt.Now().Round(0), zone, string(b.opt.Identity.Device))
			if !open {
				raw, _ := json.Marshal(s)
				t.Errorf("a transaction began at %s outside of %s", b.opt.Now(), raw)
			}
			if outside {
				caught++
			}
		}
	}
	lasts := rand.New(rand.NewPCG(r.Uint64(), 8)) // asked by the agent
	b.m.duringApply = func() { time.Sleep(time.Duration(lasts.IntN(20)) * time.Minute) }
	b.s.set(on(installs(files[:2]...), terms))
	b.start(t)
	running := true
	for range 30 {
		b.pass(time.Duration(r.IntN(120)) * time.Minute)
		switch r.IntN(7) {
		case 0:
			by.Add(int64(time.Duration(r.IntN(600)-300) * time.Minute))
		case 1, 2:
			if running {
				b.pass(20 * time.Minute) // what began is over
				b.stop()
			} else {
				b.start(t)
			}
			running = !running
		case 3:
			b.s.with(func() { b.s.fail = errors.New("away") })
		case 4:
			b.s.with(func() { b.s.fail = nil })
		case 5:
			b.s.set(on(installs(files[:1+r.IntN(4)]...), terms))
		}
	}
	b.pass(30 * time.Minute)
	legal(t, b)
	return began, caught
}
