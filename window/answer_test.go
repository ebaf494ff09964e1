package window_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"assent/fault"
	"assent/window"
)

// daily is every day at a time, for an hour, from a date.
func daily(start string) window.Schedule {
	return window.Schedule{Rule: "FREQ=DAILY", Start: start, Length: window.Duration(time.Hour)}
}

// shown writes windows in their zone.
func shown(windows []window.Window) []string {
	var out []string
	for _, w := range windows {
		out = append(out, w.Start.Format("01-02 15:04 MST")+" to "+w.End.Format("01-02 15:04 MST"))
	}
	return out
}

func TestT4_WindowsWhereClocksChange(t *testing.T) {
	for name, c := range map[string]struct {
		zone, start, after string
		length             time.Duration
		want               []string
	}{
		"a start in a gap moves to the first moment after it": {"Europe/Berlin", "2026-01-01T02:30", "2026-03-28T12:00:00Z", time.Hour,
			[]string{"03-29 03:00 CEST to 03-29 04:00 CEST", "03-30 02:30 CEST to 03-30 03:30 CEST"}},
		"a start in a fold is the first of two, once": {"Europe/Berlin", "2026-01-01T02:30", "2026-10-24T12:00:00Z", time.Hour,
			[]string{"10-25 02:30 CEST to 10-25 02:30 CET", "10-26 02:30 CET to 10-26 03:30 CET"}},
		"the length is elapsed time over a gap": {"Europe/Berlin", "2026-01-01T01:00", "2026-03-28T12:00:00Z", 4 * time.Hour,
			[]string{"03-29 01:00 CET to 03-29 06:00 CEST"}},
		"the length is elapsed time over a fold": {"Europe/Berlin", "2026-01-01T01:00", "2026-10-24T12:00:00Z", 4 * time.Hour,
			[]string{"10-25 01:00 CEST to 10-25 04:00 CET"}},
		"half an hour of summer time, forwards": {"Australia/Lord_Howe", "2026-01-01T02:15", "2026-10-03T00:00:00Z", time.Hour,
			[]string{"10-04 02:30 +11 to 10-04 03:30 +11", "10-05 02:15 +11 to 10-05 03:15 +11"}},
		"half an hour of summer time, back": {"Australia/Lord_Howe", "2026-01-01T01:45", "2026-04-04T00:00:00Z", time.Hour,
			[]string{"04-05 01:45 +11 to 04-05 02:15 +1030"}},
		"a day that was skipped: its start is the first moment after it": {"Pacific/Apia", "2011-12-01T02:00", "2011-12-29T00:00:00Z", time.Hour,
			[]string{"12-29 02:00 -10 to 12-29 03:00 -10", "12-31 00:00 +14 to 12-31 01:00 +14", "12-31 02:00 +14 to 12-31 03:00 +14"}},
		"a gap at midnight": {"America/Sao_Paulo", "2018-01-01T00:00", "2018-11-03T12:00:00Z", time.Hour,
			[]string{"11-04 01:00 -02 to 11-04 02:00 -02"}},
		"an offset of 45 minutes": {"Asia/Kathmandu", "2026-01-01T02:00", "2026-11-23T00:00:00Z", time.Hour,
			[]string{"11-24 02:00 +0545 to 11-24 03:00 +0545"}},
		"an offset of 8 h 45 min": {"Australia/Eucla", "2026-01-01T02:00", "2026-11-23T00:00:00Z", time.Hour,
			[]string{"11-24 02:00 +0845 to 11-24 03:00 +0845"}},
		"the last day of a leap year behind the zone's table": {"Europe/Berlin", "2026-01-01T02:00", "2040-12-30T12:00:00Z", time.Hour,
			[]string{"12-31 02:00 CET to 12-31 03:00 CET", "01-01 02:00 CET to 01-01 03:00 CET"}},
		"a leap day": {"UTC", "2026-01-01T23:30", "2028-02-28T23:40:00Z", time.Hour,
			[]string{"02-29 23:30 UTC to 03-01 00:30 UTC", "03-01 23:30 UTC to 03-02 00:30 UTC"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := daily(c.start)
			s.Length = window.Duration(c.length)
			got := parse(t, s).Next(at(t, c.after), zone(t, c.zone), len(c.want))
			if diff := cmp.Diff(c.want, shown(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestT4_WindowsThatOverlapOrTouchAreOne(t *testing.T) {
	s := daily("2026-01-01T01:00")
	s.Rule, s.Length = "FREQ=DAILY;BYHOUR=1,3,5,12", window.Duration(2*time.Hour)
	got := parse(t, s).Next(at(t, "2026-11-23T00:00:00Z"), window.UTC(), 3)
	want := []string{"11-23 01:00 UTC to 11-23 07:00 UTC", "11-23 12:00 UTC to 11-23 14:00 UTC", "11-24 01:00 UTC to 11-24 07:00 UTC"}
	if diff := cmp.Diff(want, shown(got)); diff != "" {
		t.Error(diff)
	}
	for _, now := range []string{"2026-11-23T01:00:00Z", "2026-11-23T03:00:00Z", "2026-11-23T06:59:59Z"} {
		if a := parse(t, s).At(at(t, now), window.UTC(), "d"); !a.Window.Start.Equal(got[0].Start) || !a.Window.End.Equal(got[0].End) {
			t.Errorf("at %s: %+v", now, a)
		}
	}
}

func TestT4_AFreezeIsCutOutOfTheWindowsItMeets(t *testing.T) {
	s := daily("2026-01-01T22:00")
	s.Length = window.Duration(6 * time.Hour)
	s.Freezes = []window.Freeze{{Name: "Year's end", From: "12-18", To: "01-04"}, {Name: "move", From: "2027-01-06T23:00", To: "2027-01-07T01:00"}}
	w := parse(t, s)
	got := w.Next(at(t, "2026-12-17T12:00:00Z"), window.UTC(), 5)
	want := []string{
		"12-17 22:00 UTC to 12-18 00:00 UTC", // ends where the freeze begins
		"01-05 00:00 UTC to 01-05 04:00 UTC", // what is left after it
		"01-05 22:00 UTC to 01-06 04:00 UTC",
		"01-06 22:00 UTC to 01-06 23:00 UTC",
		"01-07 01:00 UTC to 01-07 04:00 UTC",
	}
	if diff := cmp.Diff(want, shown(got)); diff != "" {
		t.Error(diff)
	}
	a := w.At(at(t, "2026-12-24T22:30:00Z"), window.UTC(), "d")
	if a.Open || a.Code != window.Frozen || a.Freeze != "Year's end" || !a.Opens.Equal(at(t, "2027-01-05T00:00:00Z")) || !strings.Contains(a.Text, `Frozen by "Year's end" until Tue 2027-01-05 00:00 UTC`) {
		t.Errorf("in the freeze: %+v", a)
	}
}

func TestT4_AFreezeOn29FebruaryInOtherYears(t *testing.T) {
	s := window.Schedule{Freezes: []window.Freeze{{Name: "leap", From: "02-29", To: "02-29"}, {Name: "spring", From: "02-27", To: "02-29"}}}
	got := parse(t, s).Next(at(t, "2027-01-01T00:00:00Z"), window.UTC(), 2)
	want := []string{"03-01 00:00 UTC to 02-27 00:00 UTC", "03-01 00:00 UTC to 02-27 00:00 UTC"}
	if diff := cmp.Diff(want, shown(got)); diff != "" {
		t.Error(diff)
	}
	if got[0].Start.Year() != 2027 || got[0].End.Year() != 2028 || got[1].Start.Year() != 2028 {
		t.Errorf("%v", got)
	}
}

func TestT4_WithoutARuleItIsAnyTimeButInFreezes(t *testing.T) {
	now := at(t, "2026-11-23T00:00:00Z")
	a := window.Windows{}.At(now, window.UTC(), "d")
	if !a.Open || a.Code != window.Anytime || !a.Opens.IsZero() || !a.Window.End.IsZero() || a.Text != "Installations may start at any time." {
		t.Errorf("nothing said: %+v", a)
	}
	w := parse(t, window.Schedule{Freezes: []window.Freeze{{Name: "Year's end", From: "12-18", To: "01-04"}, {Name: "far", From: "2031-06-01", To: "2031-06-02"}}})
	a = w.At(now, zone(t, "Europe/Berlin"), "d")
	if !a.Open || !a.Window.End.Equal(at(t, "2026-12-17T23:00:00Z")) || a.Text != "Installations may start at any time, until a freeze on Fri 2026-12-18 00:00 CET." {
		t.Errorf("before the freeze: %+v", a)
	}
	a = w.At(at(t, "2026-12-20T00:00:00Z"), zone(t, "Europe/Berlin"), "d")
	if a.Open || a.Freeze != "Year's end" || !a.Opens.Equal(at(t, "2027-01-04T23:00:00Z")) {
		t.Errorf("in the freeze: %+v", a)
	}
	if f := w.Fits(at(t, "2026-12-17T22:00:00Z"), zone(t, "Europe/Berlin"), "d", 2*time.Hour); f.Fits || f.Code != window.TooShort || !f.When.Equal(at(t, "2027-01-04T23:00:00Z")) {
		t.Errorf("into the freeze: %+v", f)
	}
	if c := w.Missed(now, window.UTC(), "d", time.Time{}); c.Missed {
		t.Errorf("without windows none is missed: %+v", c)
	}
}

func TestT4_AZoneThatIsNotKnownHolds(t *testing.T) {
	for _, name := range []string{"", "Local", "local", "Europe/Berlun", "../UTC", "/etc/localtime", strings.Repeat("x", 500)} {
		z, err := window.LoadZone(name)
		if !errors.Is(err, fault.Invalid) || z.Known() {
			t.Errorf("%q is known: %v", name, err)
		}
		for what, w := range map[string]window.Windows{"any time": {}, "monthly": parse(t, monthly())} {
			now := at(t, "2026-01-13T03:00:00Z")
			a, f, c := w.At(now, z, "d"), w.Fits(now, z, "d", time.Minute), w.Missed(now, z, "d", time.Time{})
			if a.Open || a.Code != window.ZoneUnknown || f.Fits || f.Code != window.ZoneUnknown || c.Run || c.Code != window.ZoneUnknown || a.Text == "" || w.Next(now, z, 1) != nil {
				t.Errorf("%s in %q: %+v, %+v, %+v", what, name, a, f, c)
			}
		}
	}
	s := monthly()
	s.Zone = "Asia/Tokyo"
	if a := parse(t, s).At(at(t, "2026-01-12T17:30:00Z"), window.Zone{}, "d"); !a.Open {
		t.Errorf("a schedule with a zone of its own asks for the device's: %+v", a)
	}
}

func TestT4_EveryAnswerHasItsReason(t *testing.T) {
	s := monthly()
	s.Rule += ";UNTIL=20260601"
	w := parse(t, s)
	for now, want := range map[string]string{
		"2026-01-13T01:59:59Z": "closed: The window is closed; it opens for this device on Tue 2026-01-13 02:00 UTC.",
		"2026-01-13T02:00:00Z": "open: The window is open until Tue 2026-01-13 06:00 UTC.",
		"2026-01-13T05:59:59Z": "open: The window is open until Tue 2026-01-13 06:00 UTC.",
		"2026-01-13T06:00:00Z": "closed: The window is closed; it opens for this device on Tue 2026-02-10 02:00 UTC.",
		"2026-05-12T06:00:00Z": "never_again: No window opens any more in the next 50 years.",
	} {
		a := w.At(at(t, now), window.UTC(), "d")
		if got := string(a.Code) + ": " + a.Text; got != want || a.Open != (a.Code == window.Open) {
			t.Errorf("%s: %s\nwant %s", now, got, want)
		}
	}
}

func TestT4_SpreadIsTheDevicesOwnUniformAndInsideTheWindow(t *testing.T) {
	for _, c := range []struct{ spread, room time.Duration }{{time.Hour, time.Hour}, {2 * time.Hour, 2 * time.Hour}, {3 * time.Hour, 2 * time.Hour}, {24 * time.Hour, 2 * time.Hour}} {
		s := monthly()
		s.Spread = window.Duration(c.spread)
		w := parse(t, s)
		start := at(t, "2026-01-13T02:00:00Z")
		const devices, slots = 20000, 20
		var counts [slots]int
		for i := range devices {
			device := fmt.Sprint("device-", i)
			a := w.At(start, window.UTC(), device)
			wait := a.Opens.Sub(start)
			if wait < 0 || wait >= c.room {
				t.Fatalf("spread %v: device %d waits %v", c.spread, i, wait)
			}
			counts[int(wait*slots/c.room)]++
			if i < 50 {
				spreadOf(t, w, start, a, device)
			}
		}
		// Chi squared with 19 degrees of freedom exceeds 50 once in 10,000 draws; these are always the same ones.
		chi, want := 0.0, float64(devices)/slots
		for _, n := range counts {
			chi += (float64(n) - want) * (float64(n) - want) / want
		}
		if chi > 50 {
			t.Errorf("spread %v is not uniform: chi squared %.1f of %v", c.spread, chi, counts)
		}
	}
}

// spreadOf checks one device around its own start.
func spreadOf(t *testing.T, w window.Windows, start time.Time, a window.Answer, device string) {
	t.Helper()
	if own := w.At(a.Opens, window.UTC(), device); !own.Open || !own.Opens.Equal(a.Opens) {
		t.Errorf("%s at its own start: %+v", device, own)
	}
	if a.Opens.After(start) {
		if early := w.At(a.Opens.Add(-time.Second), window.UTC(), device); early.Open || early.Code != window.Spread || !early.Opens.Equal(a.Opens) {
			t.Errorf("%s before its own start: %+v", device, early)
		}
	}
	if before := w.At(start.Add(-time.Hour), window.UTC(), device); !before.Opens.Equal(a.Opens) {
		t.Errorf("%s is told %v before the window and %v in it", device, before.Opens, a.Opens)
	}
}

func TestT4_SpreadDiffersFromWindowToWindow(t *testing.T) {
	s := monthly()
	s.Spread = window.Duration(time.Hour)
	w := parse(t, s)
	seen := map[time.Duration]bool{}
	for _, n := range w.Next(at(t, "2026-01-01T00:00:00Z"), window.UTC(), 10) {
		seen[w.At(n.Start, window.UTC(), "d").Opens.Sub(n.Start)] = true
	}
	if len(seen) < 9 {
		t.Errorf("the same device waits as long in each window: %v", seen)
	}
}

func TestT4_FitsIsJudgedFromWhatIsLeft(t *testing.T) {
	w := parse(t, monthly())
	for _, c := range []struct {
		now  string
		need time.Duration
		fits bool
		code window.Code
		when string
		text string
	}{
		{"2026-01-13T02:00:00Z", 4 * time.Hour, true, window.Open, "2026-01-13T02:00:00Z", "It takes 4 h; the window has 4 h left."},
		{"2026-01-13T03:00:00Z", 3*time.Hour + time.Second, false, window.TooShort, "2026-02-10T02:00:00Z", "It takes 3 h 1 min; the window has only 3 h left. It fits on Tue 2026-02-10 02:00 UTC."},
		{"2026-01-13T05:00:00Z", 90 * time.Minute, false, window.TooShort, "2026-02-10T02:00:00Z", "It takes 1 h 30 min; the window has only 1 h left. It fits on Tue 2026-02-10 02:00 UTC."},
		{"2026-01-13T03:00:00Z", 5 * time.Hour, false, window.TooLong, "", "It takes 5 h, and no window among the next 12 leaves this device so long."},
		{"2026-01-13T01:00:00Z", time.Hour, false, window.Closed, "2026-01-13T02:00:00Z", "The window is closed; it opens for this device on Tue 2026-01-13 02:00 UTC. It takes 1 h and fits on Tue 2026-01-13 02:00 UTC."},
		{"2026-01-13T03:00:00Z", 0, true, window.Open, "2026-01-13T03:00:00Z", "How long it takes has not been measured yet, so the open window is enough."},
		{"2026-01-13T01:00:00Z", 0, false, window.Closed, "2026-01-13T02:00:00Z", "The window is closed; it opens for this device on Tue 2026-01-13 02:00 UTC."},
	} {
		got := w.Fits(at(t, c.now), window.UTC(), "d", c.need)
		var when time.Time
		if c.when != "" {
			when = at(t, c.when)
		}
		if diff := cmp.Diff(window.Fit{Fits: c.fits, When: when, Code: c.code, Text: c.text}, got); diff != "" {
			t.Errorf("%v at %s\n%s", c.need, c.now, diff)
		}
	}
}

func TestT4_FitsLeavesRoomForTheSpread(t *testing.T) {
	s := monthly()
	s.Spread = window.Duration(2 * time.Hour)
	w := parse(t, s)
	rapid.Check(t, func(t *rapid.T) {
		device := fmt.Sprint(rapid.IntRange(0, 1000).Draw(t, "device"))
		now := time.Date(2026, 1, 12, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.IntRange(0, 60*1440).Draw(t, "now")) * time.Minute)
		need := time.Duration(rapid.IntRange(1, 300).Draw(t, "need")) * time.Minute
		f := w.Fits(now, window.UTC(), device, need)
		if f.Fits && (!w.At(now, window.UTC(), device).Open || w.At(now, window.UTC(), device).Window.End.Before(now.Add(need))) {
			t.Fatalf("%+v does not fit", f)
		}
		if f.When.IsZero() {
			if f.Code != window.TooLong || need <= 2*time.Hour {
				t.Fatalf("%v: %+v", need, f)
			}
			return
		}
		if later := w.Fits(f.When, window.UTC(), device, need); !later.Fits {
			t.Fatalf("%v at %v was told %+v, then %+v", need, now, f, later)
		}
	})
}

func TestT4_NextOnlyGoesForwardAndAtAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plan, name, around := drawWalk(t)
		w, err := window.Parse(plan.schedule(name))
		if err != nil {
			return
		}
		last := around
		for _, n := range w.Next(around, window.Zone{}, 30) {
			if !n.Start.After(last) || !n.End.IsZero() && !n.End.After(n.Start) {
				t.Fatalf("%+v after %v", n, last)
			}
			a := w.At(n.Start, window.Zone{}, "d")
			if !a.Open || !a.Window.Start.Equal(n.Start) || !a.Window.End.Equal(n.End) {
				t.Fatalf("Next gives %v, At %+v", n, a)
			}
			if a = w.At(n.Start.Add(-time.Second), window.Zone{}, "d"); a.Open && a.Window.End.After(n.Start) || !a.Next.Start.Equal(n.Start) && !a.Open {
				t.Fatalf("Next gives %v, At a second before %+v", n, a)
			}
			last = later(n.End, n.Start)
			if !n.End.IsZero() {
				last = n.End.Add(-time.Second)
			}
		}
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func TestT4_AMissedRunIsCaughtUpOnceInTheNextWindow(t *testing.T) {
	w := parse(t, monthly())
	last := at(t, "2026-01-13T02:00:00Z") // the run of January
	c := w.Missed(at(t, "2026-03-01T00:00:00Z"), window.UTC(), "d", last)
	if !c.Missed || c.Run || c.Code != window.CatchLater || !c.When.Equal(at(t, "2026-03-10T02:00:00Z")) || !c.Mark.IsZero() ||
		c.Text != "The run of Tue 2026-02-10 02:00 UTC was missed; it is caught up on Tue 2026-03-10 02:00 UTC." {
		t.Errorf("between windows: %+v", c)
	}
	c = w.Missed(at(t, "2026-03-10T02:00:00Z"), window.UTC(), "d", last)
	if !c.Run || c.Code != window.CatchUp || !c.Mark.Equal(at(t, "2026-03-10T02:00:00Z")) {
		t.Errorf("in the next window: %+v", c)
	}
	for _, now := range []string{"2026-03-10T05:00:00Z", "2026-03-20T00:00:00Z", "2026-02-20T00:00:00Z", "2020-01-01T00:00:00Z"} {
		if again := w.Missed(at(t, now), window.UTC(), "d", c.Mark); again.Missed || again.Run {
			t.Errorf("caught up, and at %s again: %+v", now, again)
		}
	}
}

func TestT4_AMissedRunIsCaughtUpAtOnceButNotInAFreeze(t *testing.T) {
	s := monthly()
	s.Missed, s.Spread = window.AtOnce, window.Duration(time.Hour)
	s.Freezes = []window.Freeze{{Name: "inventory", From: "2026-02-20", To: "2026-02-22"}}
	w := parse(t, s)
	last := at(t, "2026-01-13T02:00:00Z")
	c := w.Missed(at(t, "2026-02-21T08:00:00Z"), window.UTC(), "d", last)
	if !c.Missed || c.Run || !c.When.Equal(at(t, "2026-02-23T00:00:00Z")) {
		t.Errorf("in the freeze: %+v", c)
	}
	c = w.Missed(at(t, "2026-02-23T08:00:00Z"), window.UTC(), "d", last)
	if !c.Run || !c.Mark.Equal(at(t, "2026-02-10T02:00:00Z")) || c.Text != "The run of Tue 2026-02-10 02:00 UTC was missed; it is caught up now." {
		t.Errorf("after it: %+v", c)
	}
	if again := w.Missed(at(t, "2026-02-23T09:00:00Z"), window.UTC(), "d", c.Mark); again.Missed {
		t.Errorf("twice: %+v", again)
	}
	// In a window the device waits for its share of the spread, missed run or not.
	c = w.Missed(at(t, "2026-03-10T02:00:00Z"), window.UTC(), "some device", last)
	if own := w.At(at(t, "2026-03-10T02:00:00Z"), window.UTC(), "some device"); c.Run != own.Open || !c.Run && !c.When.Equal(own.Opens) {
		t.Errorf("in a window: %+v, but At says %+v", c, own)
	}
}

func TestT4_WhatIsNotMissed(t *testing.T) {
	w := parse(t, monthly())
	for name, c := range map[string]struct {
		last, now string
		code      window.Code
	}{
		"a window before the device had the task":           {"2026-11-20T09:00:00Z", "2026-11-23T00:00:00Z", window.NotMissed},
		"a window that is still open":                       {"2026-11-01T09:00:00Z", "2026-11-10T05:59:00Z", window.NotMissed},
		"a window before one that was done":                 {"2026-11-10T02:00:00Z", "2026-11-10T08:00:00Z", window.NotMissed},
		"anything, when the clock is before the last run":   {"2026-11-10T02:00:00Z", "2026-11-10T01:59:59Z", window.Behind},
		"anything, when the clock is years before last run": {"2026-11-10T02:00:00Z", "1970-01-01T00:00:00Z", window.Behind},
	} {
		if got := w.Missed(at(t, c.now), window.UTC(), "d", at(t, c.last)); got.Missed || got.Run || got.Code != c.code {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// A device whose clock jumps as it likes marks what it runs, and never runs one window twice.
func TestT4_ClocksThatJumpNeverRunAWindowTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := daily("2026-01-01T02:00")
		s.Missed = rapid.SampledFrom([]window.Missing{window.NextWindow, window.AtOnce}).Draw(t, "missed")
		s.Zone = rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "Australia/Lord_Howe"}).Draw(t, "zone")
		w, err := window.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
		last, ran := now, map[int64]bool{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(-3000, 6000).Draw(t, "jump")) * time.Minute)
			c := w.Missed(now, window.Zone{}, "d", last)
			if c.Run && (!c.Missed || !c.Mark.After(last)) || !c.Run && !c.Mark.IsZero() {
				t.Fatalf("at %v, last %v: %+v", now, last, c)
			}
			mark := c.Mark
			if a := w.At(now, window.Zone{}, "d"); !c.Run && a.Open && a.Window.Start.After(last) {
				mark = a.Window.Start // an ordinary run in its window
			}
			if mark.IsZero() {
				continue
			}
			if ran[mark.Unix()] {
				t.Fatalf("the window of %v runs twice", mark)
			}
			ran[mark.Unix()], last = true, mark
		}
	})
}
