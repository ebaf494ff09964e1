package terms_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"assent/agent/internal/journal"
	"assent/agent/internal/terms"
	"assent/window"
	"assent/wire"
)

func read(t *testing.T, p wire.PlanTerms, schedules ...window.Schedule) terms.Terms {
	t.Helper()
	for _, s := range schedules {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		p.Schedules = append(p.Schedules, b)
	}
	return terms.Read(p)
}

func at(text string) time.Time {
	v, err := time.Parse("2006-01-02T15:04", text)
	if err != nil {
		panic(err)
	}
	return v
}

func moment(text string) terms.Moment {
	return terms.Moment{Now: at(text), Zone: window.UTC(), Device: "d-1"}
}

func nightly(start string, length time.Duration) window.Schedule {
	return window.Schedule{Rule: "FREQ=DAILY", Start: "2027-01-01T" + start, Length: window.Duration(length)}
}

func TestT4_WithoutSchedulesEverythingMayBeginAtOnce(t *testing.T) {
	for _, m := range []terms.Moment{moment("2027-03-01T12:00"), {Now: at("2027-03-01T12:00"), Wrong: "it is behind"}} {
		if a := (terms.Terms{}).At(m); !a.Open || !a.Until.IsZero() {
			t.Errorf("%+v", a)
		}
	}
}

func TestT4_WindowsThatAreNeverOpenTogetherSaySoAndEnd(t *testing.T) {
	x := read(t, wire.PlanTerms{}, nightly("02:00", time.Hour), nightly("04:00", time.Hour))
	begin := time.Now()
	a := x.At(moment("2027-03-01T12:00"))
	if a.Open || !a.Opens.IsZero() || !strings.Contains(a.Text, "No time was found at which all windows of its tasks are open together.") {
		t.Errorf("%+v", a)
	}
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestT4_TheOpeningOfSeveralWindowsIsTheFirstMomentAtWhichAllAreOpen(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var list []window.Schedule
		for range rapid.IntRange(1, 3).Draw(r, "schedules") {
			list = append(list, nightly(at("2027-01-01T00:00").Add(time.Duration(rapid.IntRange(0, 1439).Draw(r, "start"))*time.Minute).Format("15:04"),
				time.Duration(rapid.IntRange(1, 1300).Draw(r, "length"))*time.Minute))
		}
		x := read(t, wire.PlanTerms{}, list...)
		m := moment("2027-03-01T12:00")
		m.Now = m.Now.Add(time.Duration(rapid.IntRange(0, 1439).Draw(r, "now")) * time.Minute)
		var windows []window.Windows
		for _, s := range list {
			w, err := window.Parse(s)
			if err != nil {
				r.Fatal(err)
			}
			windows = append(windows, w)
		}
		open := func(now time.Time) bool {
			for _, w := range windows {
				if !w.At(now, m.Zone, m.Device).Open {
					return false
				}
			}
			return true
		}
		a := x.At(m)
		if a.Open != open(m.Now) {
			t.Fatalf("%+v", a)
		}
		var want time.Time
		for n := range 3 * 1440 {
			if now := m.Now.Add(time.Duration(n) * time.Minute); open(now) {
				want = now
				break
			}
		}
		if !a.Open && !a.Opens.Equal(want) {
			t.Fatalf("opens %v, want %v", a.Opens, want)
		}
		if a.Open && !a.Until.IsZero() && (open(a.Until) && !x.At(terms.Moment{Now: a.Until, Zone: m.Zone, Device: m.Device}).Open || !open(a.Until.Add(-time.Minute))) {
			t.Fatalf("until %v", a.Until)
		}
	})
}

func TestT4_WhatIsLongerThanEveryWindowBeginsInTheFirstQuarterOfOne(t *testing.T) {
	x := read(t, wire.PlanTerms{}, nightly("02:00", time.Hour))
	for text, open := range map[string]bool{"2027-03-01T02:00": true, "2027-03-01T02:15": true, "2027-03-01T02:16": false, "2027-03-01T02:59": false, "2027-03-01T03:00": false} {
		if a := x.Fits(moment(text), 2*time.Hour); a.Open != open || !open && !a.Opens.Equal(at("2027-03-02T02:00")) {
			t.Errorf("%s: %+v", text, a)
		}
	}
	if a := x.Fits(moment("2027-03-01T02:30"), 0); !a.Open {
		t.Errorf("what was not measured: %+v", a)
	}
	long := window.Schedule{Freezes: []window.Freeze{{Name: "freeze", From: "2027-03-01T05:00", To: "2027-03-01T06:00"}}}
	if a := read(t, wire.PlanTerms{}, long).Fits(moment("2027-03-01T04:30"), time.Hour); a.Open || a.Code != window.TooShort || !a.Opens.Equal(at("2027-03-01T06:00")) {
		t.Errorf("before a freeze: %+v", a)
	}
}

func TestT4_AtShutdownBothTheShutdownAndTheWindowsCount(t *testing.T) {
	x := read(t, wire.PlanTerms{AtShutdown: true}, nightly("02:00", time.Hour))
	for text, want := range map[string]bool{"2027-03-01T02:30": true, "2027-03-01T04:30": false} {
		m := moment(text)
		if a := x.At(m); a.Open || a.Code != terms.AtShutdown || !strings.Contains(a.Text, "when the device shuts down") {
			t.Errorf("%s: %+v", text, a)
		}
		m.Shutdown = true
		if a := x.At(m); a.Open != want {
			t.Errorf("%s while it shuts down: %+v", text, a)
		}
	}
}

func TestT4_MarksAreKeptForTheSchedulesOfThePlanOnlyAndNeverGoBack(t *testing.T) {
	s := nightly("02:00", time.Hour)
	s.Missed = window.AtOnce
	all := []terms.Terms{read(t, wire.PlanTerms{}, s)}
	m := moment("2027-03-01T12:00")
	marks := terms.Known(all, map[string]time.Time{"another": m.Now}, m.Now)
	if got := slices.Collect(maps.Values(marks)); len(got) != 1 || !got[0].Equal(m.Now) {
		t.Fatalf("%v", marks)
	}
	if got := terms.Known(all, map[string]time.Time{slices.Collect(maps.Keys(marks))[0]: m.Now.AddDate(5, 0, 0)}, m.Now); !maps.EqualFunc(got, marks, time.Time.Equal) {
		t.Errorf("a clock that was years ahead is believed: %v", got)
	}
	m = moment("2027-03-03T12:00") // two windows passed
	m.Runs.Marks = marks
	if a := all[0].At(m); !a.Open || a.Code != window.CatchUp {
		t.Fatalf("%+v", a)
	}
	m.Runs.Marks = terms.Ran(all, m, marks)
	if a := all[0].At(m); a.Open {
		t.Errorf("caught up twice: %+v", a)
	}
	for _, text := range []string{"2027-03-03T12:01", "2027-03-02T12:00", "2027-03-02T02:30", "2027-03-04T01:59"} {
		back := moment(text)
		back.Runs.Marks = m.Runs.Marks
		if got := terms.Ran(all, back, m.Runs.Marks); !maps.EqualFunc(got, m.Runs.Marks, time.Time.Equal) {
			t.Errorf("%s: %v", text, got)
		}
		if a := all[0].At(back); a.Open != (text == "2027-03-02T02:30") {
			t.Errorf("%s: %+v", text, a)
		}
	}
}

func TestT4_NeedIsNeverLessThanWhatWasMeasured(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var took map[string][]journal.Took
		for range rapid.IntRange(1, 30).Draw(r, "transactions") {
			took = terms.Took(took, "packages", rapid.IntRange(1, 500).Draw(r, "changes"), time.Duration(rapid.IntRange(0, 7200).Draw(r, "seconds"))*time.Second)
		}
		list := took["packages"]
		if len(list) > 16 {
			t.Fatalf("%d are kept", len(list))
		}
		for _, p := range list {
			if need := terms.Need(list, p.Changes); need.Seconds() < p.Seconds {
				t.Fatalf("%d changes took %v s, and need %v", p.Changes, p.Seconds, need)
			}
		}
		if a, b := terms.Need(list, 10), terms.Need(list, 20); a > b {
			t.Fatalf("10 changes need %v, 20 need %v", a, b)
		}
	})
	even := []journal.Took{{Changes: 10, Seconds: 30}, {Changes: 100, Seconds: 120}}
	if got := terms.Need(even, 50); got != 70*time.Second {
		t.Errorf("50 changes need %v: 20 s for each transaction and 1 s for each change", got)
	}
	if terms.Need(nil, 50) != 0 || terms.Need(even, 0) != 0 {
		t.Error("what was never measured needs something")
	}
}

func TestT3_DescribeSaysEverythingThatTheTermsAskFor(t *testing.T) {
	x := read(t, wire.PlanTerms{Task: "nights", AtShutdown: true, DownloadOnly: true, StopAfter: 5400}, nightly("02:00", time.Hour))
	got := strings.Join(x.Describe(), "; ")
	for _, want := range []string{"every day at 02:00", "downloaded only", "shuts down", "1 h 30 min after the first install"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
	if len((terms.Terms{}).Describe()) > 0 {
		t.Error("no terms say something")
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"rule":"FREQ=DAILY","start":"2027-01-01T02:00","length":"1h"}`), int64(1_800_000_000), int64(60))
	f.Add([]byte(`{"rule":"FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO","start":"2027-01-01T02:00","length":"31d"}`), int64(-1), int64(1))
	f.Fuzz(func(t *testing.T, raw []byte, now, need int64) {
		x := terms.Read(wire.PlanTerms{Schedules: []json.RawMessage{raw}, StopAfter: 600})
		m := terms.Moment{Now: time.Unix(now%1e11, 0).UTC(), Zone: window.UTC(), Device: "d"}
		m.Runs.Marks = terms.Known([]terms.Terms{x}, nil, m.Now.AddDate(0, -1, 0))
		m.Runs.Began = x.Begin(m, nil)
		if a := x.Fits(m, time.Duration(need)); !a.Open && a.Text == "" {
			t.Errorf("%+v", a)
		}
		terms.Ran([]terms.Terms{x}, m, m.Runs.Marks)
	})
}
