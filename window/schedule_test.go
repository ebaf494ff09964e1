package window_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/fault"
	"assent/window"
)

// monthly is patch Tuesday at 02:00, for 4 h.
func monthly() window.Schedule {
	return window.Schedule{Rule: "FREQ=MONTHLY;BYDAY=2TU", Start: "2026-01-13T02:00", Length: window.Duration(4 * time.Hour)}
}

func parse(t testing.TB, s window.Schedule) window.Windows {
	t.Helper()
	w, err := window.Parse(s)
	if err != nil {
		t.Fatalf("%+v: %v", s, err)
	}
	return w
}

func zone(t testing.TB, name string) window.Zone {
	t.Helper()
	z, err := window.LoadZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func at(t testing.TB, s string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestT4_RefusalsNameTheFieldInOneSentence(t *testing.T) {
	many := make([]window.Freeze, window.MaxFreezes+1)
	for i := range many {
		many[i] = window.Freeze{Name: "f", From: "12-18", To: "12-20"}
	}
	freeze := func(name, from, to string) func(*window.Schedule) {
		return func(s *window.Schedule) { s.Freezes = []window.Freeze{{Name: name, From: from, To: to}} }
	}
	rule := func(text string) func(*window.Schedule) { return func(s *window.Schedule) { s.Rule = text } }
	for _, c := range []struct {
		change      func(*window.Schedule)
		field, code string
	}{
		{rule("FREQ"), "rule", "schedule_rule"},
		{rule("FREQ=SOMETIMES"), "rule", "schedule_rule"},
		{rule("INTERVAL=2"), "rule", "schedule_rule"},
		{rule("FREQ=DAILY;"), "rule", "schedule_rule"},
		{rule("FREQ=SECONDLY"), "rule", "schedule_rule"},
		{rule("FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=30"), "rule", "schedule_rule"},
		{rule("FREQ=DAILY;BYSECOND=0,30"), "rule", "schedule_rule"},
		{rule("FREQ=DAILY;COUNT=3;COUNT=2"), "rule", "schedule_rule"},
		{rule("FREQ=DAILY;COUNT=3;UNTIL=20300101"), "rule", "schedule_rule"},
		{rule("FREQ=DAILY;COUNT=0"), "rule", "schedule_rule"},
		{rule("FREQ=DAILY;COUNT=1000000000"), "rule", "schedule_rule"},
		{rule("FREQ=DAILY;INTERVAL=0"), "rule", "schedule_rule"},
		{rule("FREQ=DAILY;INTERVAL=-1"), "rule", "schedule_rule"},
		{rule("FREQ=DAILY;INTERVAL=99999999999999999999"), "rule", "schedule_rule"},
		{rule("FREQ=DAILY;UNTIL=20300101T000000Z"), "rule", "schedule_rule"},
		{rule("FREQ=DAILY;UNTIL=20300230"), "rule", "schedule_rule"},
		{rule("FREQ=DAILY;UNTIL=90000101"), "rule", "schedule_rule"},
		{rule("FREQ=DAILY;WKST=XX"), "rule", "schedule_rule"},
		{rule("FREQ=YEARLY;BYEASTER=400"), "rule", "schedule_rule"},
		{rule("FREQ=DAILY;DTSTART=20260101T000000"), "rule", "schedule_rule"},
		{rule("RRULE:FREQ=DAILY"), "rule", "schedule_rule"},
		{rule("freq=daily"), "rule", "schedule_rule"},
		{rule("FREQ=MONTHLY;BYDAY=53MO"), "rule", "schedule_rule"},
		{rule("FREQ=YEARLY;BYMONTH=2;BYDAY=6MO"), "rule", "schedule_rule"},
		{rule("FREQ=YEARLY;BYDAY=54MO"), "rule", "schedule_rule"},
		{rule("FREQ=MONTHLY;BYDAY=0MO"), "rule", "schedule_rule"},
		{rule("FREQ=MONTHLY;BYDAY=M"), "rule", "schedule_rule"},
		{rule("FREQ=WEEKLY;BYDAY=2MO"), "rule", "schedule_rule"},
		{rule("FREQ=YEARLY;BYWEEKNO=2;BYDAY=2MO"), "rule", "schedule_rule"},
		{rule("FREQ=MONTHLY;BYWEEKNO=2"), "rule", "schedule_rule"},
		{rule("FREQ=MONTHLY;BYYEARDAY=2"), "rule", "schedule_rule"},
		{rule("FREQ=WEEKLY;BYMONTHDAY=2"), "rule", "schedule_rule"},
		{rule("FREQ=MONTHLY;BYMONTHDAY=32"), "rule", "schedule_rule"},
		{rule("FREQ=MONTHLY;BYMONTHDAY=0"), "rule", "schedule_rule"},
		{rule("FREQ=MONTHLY;BYMONTH=-1"), "rule", "schedule_rule"},
		{rule("FREQ=DAILY;BYHOUR=24"), "rule", "schedule_rule"},
		{rule("FREQ=DAILY;BYSETPOS=1"), "rule", "schedule_rule"},
		{rule("FREQ=HOURLY;INTERVAL=5"), "rule", "schedule_rule"},
		{rule("FREQ=HOURLY;BYDAY=MO;BYSETPOS=1"), "rule", "schedule_rule"},
		{rule("FREQ=HOURLY;BYMINUTE=0,10,20"), "rule", "schedule_rule"},
		{rule("FREQ=DAILY;BYHOUR=" + strings.Repeat("1,", 400) + "1"), "rule", "schedule_rule"},
		{rule("FREQ=HOURLY;INTERVAL=24;BYHOUR=5"), "rule", "schedule_never"},
		{rule("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"), "rule", "schedule_never"},
		{rule("FREQ=DAILY;UNTIL=20251231"), "rule", "schedule_never"},
		{rule("FREQ=MONTHLY;BYDAY=1MO;BYMONTHDAY=20"), "rule", "schedule_never"},
		{func(s *window.Schedule) { s.Rule, s.Length = "FREQ=DAILY", window.Duration(24*time.Hour) }, "length", "schedule_endless"},
		{func(s *window.Schedule) { s.Rule = "" }, "start", "schedule_start"},
		{func(s *window.Schedule) { s.Rule, s.Start = "", "" }, "length", "schedule_length"},
		{func(s *window.Schedule) { s.Start = "" }, "start", "schedule_start"},
		{func(s *window.Schedule) { s.Start = "2026-01-13" }, "start", "schedule_start"},
		{func(s *window.Schedule) { s.Start = "2026-01-13T02:00Z" }, "start", "schedule_start"},
		{func(s *window.Schedule) { s.Start = "2026-01-13T02:00:30" }, "start", "schedule_start"},
		{func(s *window.Schedule) { s.Start = "1970-01-13T02:00" }, "start", "schedule_start"},
		{func(s *window.Schedule) { s.Length = 0 }, "length", "schedule_length"},
		{func(s *window.Schedule) { s.Length = -1 }, "length", "schedule_length"},
		{func(s *window.Schedule) { s.Length = window.Duration(90 * time.Second) }, "length", "schedule_length"},
		{func(s *window.Schedule) { s.Length = window.Duration(32 * 24 * time.Hour) }, "length", "schedule_length"},
		{func(s *window.Schedule) { s.Spread = -1 }, "spread", "schedule_spread"},
		{func(s *window.Schedule) { s.Spread = window.Duration(25 * time.Hour) }, "spread", "schedule_spread"},
		{func(s *window.Schedule) { *s = window.Schedule{Spread: window.Duration(time.Hour)} }, "spread", "schedule_spread"},
		{func(s *window.Schedule) { s.Missed = "never" }, "missed", "schedule_missed"},
		{func(s *window.Schedule) { s.Zone = "Europe/Berlun" }, "zone", "zone_unknown"},
		{func(s *window.Schedule) { s.Zone = "Local" }, "zone", "zone_unknown"},
		{func(s *window.Schedule) { s.Zone = "../../etc/passwd" }, "zone", "zone_unknown"},
		{func(s *window.Schedule) { s.Freezes = many }, "freezes", "schedule_freezes"},
		{freeze("", "12-18", "12-20"), "freezes[0].name", "freeze_name"},
		{freeze("a\nb", "12-18", "12-20"), "freezes[0].name", "freeze_name"},
		{freeze(strings.Repeat("é", window.MaxName+1), "12-18", "12-20"), "freezes[0].name", "freeze_name"},
		{freeze("x", "18 December", "12-20"), "freezes[0].from", "freeze_date"},
		{freeze("x", "02-30", "12-20"), "freezes[0].from", "freeze_date"},
		{freeze("x", "12-18", "2026-12-20"), "freezes[0].to", "freeze_date"},
		{freeze("x", "2026-12-18", "12-20"), "freezes[0].to", "freeze_date"},
		{freeze("x", "12-18", "12-20T10:00"), "freezes[0].to", "freeze_date"},
		{freeze("x", "2026-12-18", "2026-12-20T10:00"), "freezes[0].to", "freeze_date"},
		{freeze("x", "2026-12-18", "2026-12-17"), "freezes[0].to", "freeze_order"},
		{freeze("x", "2026-12-18T10:00", "2026-12-18T10:00"), "freezes[0].to", "freeze_order"},
		{freeze("x", "12-18T10:00", "12-18T10:00"), "freezes[0].to", "freeze_order"},
		{freeze("all year", "01-01", "12-31"), "freezes", "schedule_frozen"},
		{freeze("wherever windows are", "01-08", "01-07"), "freezes", "schedule_frozen"},
		{func(s *window.Schedule) {
			*s = window.Schedule{Freezes: []window.Freeze{{Name: "a", From: "01-01", To: "06-30"}, {Name: "b", From: "07-01", To: "12-31"}}}
		}, "freezes", "schedule_frozen"},
	} {
		s := monthly()
		c.change(&s)
		_, err := window.Parse(s)
		var refusal *fault.Error
		if !errors.As(err, &refusal) {
			t.Errorf("%+v was not refused: %v", s, err)
			continue
		}
		if refusal.Field != c.field || refusal.Code != c.code || refusal.Kind != fault.Invalid {
			t.Errorf("%+v: got %q on %q (%s), want %q on %q", s, refusal.Code, refusal.Field, refusal.Message, c.code, c.field)
		}
		if !strings.HasSuffix(refusal.Message, ".") || len(refusal.Message) > 250 {
			t.Errorf("%+v: not one sentence for people: %s", s, refusal.Message)
		}
	}
}

func TestT4_SchedulesAreReadStrictlyAndComeBackAsTheyWere(t *testing.T) {
	s := monthly()
	s.Zone, s.Spread, s.Missed = "Europe/Berlin", window.Duration(90*time.Minute), window.AtOnce
	s.Freezes = []window.Freeze{{Name: "Year's end", From: "12-18", To: "01-04"}}
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"rule":"FREQ=MONTHLY;BYDAY=2TU","start":"2026-01-13T02:00","length":"4h","zone":"Europe/Berlin",` +
		`"freezes":[{"name":"Year's end","from":"12-18","to":"01-04"}],"spread":"1h30m","missed":"at_once"}`
	if string(raw) != want {
		t.Errorf("written\n%s, want\n%s", raw, want)
	}
	got, err := window.Decode(raw)
	if diff := cmp.Diff(s, got); err != nil || diff != "" {
		t.Errorf("read back: %v\n%s", err, diff)
	}
	if diff := cmp.Diff(s, parse(t, s).Schedule()); diff != "" {
		t.Errorf("parsed and asked for\n%s", diff)
	}
	empty, err := window.Decode([]byte("{}"))
	if err != nil || !parse(t, empty).AnyTime() {
		t.Errorf("nothing is not any time: %v", err)
	}
	for _, bad := range []string{``, `[]`, `{"rule":"FREQ=DAILY"} {}`, `{"rules":"FREQ=DAILY"}`, `{"length":4}`, `{"length":"4 hours"}`, `{"freezes":[{"nam":"x"}]}`} {
		if _, err := window.Decode([]byte(bad)); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for d, want := range map[time.Duration]string{0: "0s", time.Minute: "1m", 10 * time.Minute: "10m", time.Hour: "1h", 100 * time.Hour: "100h", 90 * time.Second: "1m30s", time.Hour + time.Second: "1h0m1s", time.Millisecond: "1ms"} {
		text, _ := window.Duration(d).MarshalText()
		var back window.Duration
		if err := back.UnmarshalText(text); string(text) != want || err != nil || time.Duration(back) != d {
			t.Errorf("%v is written %q and read %v, %v", d, text, time.Duration(back), err)
		}
	}
}

// hostile are rules that cost as much as the limits let them.
var hostile = []window.Schedule{
	{Rule: "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO", Start: "2026-01-01T00:00", Length: window.Duration(time.Minute)},
	{Rule: "FREQ=DAILY;INTERVAL=366;BYMONTH=2;BYMONTHDAY=29", Start: "2000-02-29T00:00", Length: window.Duration(time.Minute)},
	{Rule: "FREQ=YEARLY;INTERVAL=366;BYDAY=SU,MO,TU,WE,TH,FR,SA;BYHOUR=0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23;BYMINUTE=0,1", Start: "2000-01-01T00:00", Length: window.Duration(time.Minute)},
	{Rule: "FREQ=HOURLY;BYMINUTE=0,30;COUNT=1000", Start: "2026-01-01T00:00", Length: window.Duration(29 * time.Minute)},
	{Rule: "FREQ=YEARLY;BYDAY=SU,MO,TU,WE,TH,FR,SA;BYHOUR=0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23;BYMINUTE=0,1;COUNT=1000", Start: "2026-01-01T00:00", Length: window.Duration(time.Minute)},
	{Rule: "FREQ=HOURLY;BYMINUTE=0,30;BYMONTH=1", Start: "2000-01-01T00:00", Length: window.Duration(31 * 24 * time.Hour)},
	{Rule: "FREQ=HOURLY;BYMINUTE=0,30", Start: "2000-01-01T00:00", Length: window.Duration(time.Minute), Freezes: hostileFreezes()},
	{Freezes: hostileFreezes()},
}

// hostileFreezes leaves one minute of each year that no window opens in, and one in the far future that one does.
func hostileFreezes() []window.Freeze {
	out := []window.Freeze{{Name: "a century", From: "2000-01-01", To: "2049-12-30"}}
	for i := range window.MaxFreezes - 1 {
		out = append(out, window.Freeze{Name: fmt.Sprint(i), From: fmt.Sprintf("%02d-%02dT00:02", i%12+1, i%28+1), To: fmt.Sprintf("%02d-%02dT00:01", (i+3)%12+1, i%28+1)})
	}
	return out
}

// A rule that loops for ever shows as a test that does not end; how long the worst takes is what Benchmark says.
func TestT4_HostileSchedulesEnd(t *testing.T) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, s := range hostile {
			w, err := window.Parse(s)
			if err != nil {
				continue
			}
			for _, now := range []string{"1990-01-01T00:00:00Z", "2026-11-23T00:00:00Z", "2199-12-31T00:00:00Z", "2500-01-01T00:00:00Z"} {
				ask(w, at(t, now), window.UTC())
			}
		}
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("a hostile schedule did not end in a minute")
	}
}

// ask asks everything.
func ask(w window.Windows, now time.Time, z window.Zone) {
	w.At(now, z, "device")
	w.Next(now, z, 3)
	w.Fits(now, z, "device", time.Hour)
	w.Missed(now, z, "device", time.Time{})
	w.Describe()
}

func BenchmarkHostile(b *testing.B) {
	for i, s := range hostile {
		w, err := window.Parse(s)
		b.Run(fmt.Sprint(i), func(b *testing.B) {
			for b.Loop() {
				if err == nil {
					w.At(at(b, "2026-11-23T00:00:00Z"), window.UTC(), "device")
				} else {
					_, _ = window.Parse(s)
				}
			}
		})
	}
}

func BenchmarkAt(b *testing.B) {
	w := parse(b, monthly())
	z, now := zone(b, "Europe/Berlin"), at(b, "2026-11-23T00:00:00Z")
	for b.Loop() {
		w.At(now, z, "device")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("FREQ=MONTHLY;BYDAY=2TU", "2026-01-13T02:00", int64(240), "12-18", "01-04")
	f.Add("FREQ=YEARLY;BYWEEKNO=-1,53;BYDAY=SU;BYSETPOS=-1;WKST=WE", "2000-02-29T23:59", int64(1), "02-29T12:00", "02-29T13:00")
	f.Add("FREQ=HOURLY;INTERVAL=6;BYHOUR=5;UNTIL=21990101T000000", "2199-12-31T05:30", int64(44640), "2026-12-18", "2027-01-04")
	f.Add("FREQ=YEARLY;BYYEARDAY=-366,366;COUNT=1000;INTERVAL=366", "2026-01-13T02:00:00", int64(60), "", "")
	f.Add("FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=31;INTERVAL=14", "2026-12-31T02:00", int64(60), "", "")
	lordHowe := zone(f, "Australia/Lord_Howe")
	f.Fuzz(func(t *testing.T, rule, start string, minutes int64, from, to string) {
		s := window.Schedule{Rule: rule, Start: start, Length: window.Duration(minutes % (40 * 1440) * int64(time.Minute))}
		if from+to != "" {
			s.Freezes = []window.Freeze{{Name: "f", From: from, To: to}}
		}
		// Nothing may loop: fuzzing itself would wait for ever.
		watch := time.AfterFunc(10*time.Second, func() { panic(fmt.Sprintf("still busy after 10 s: %+v", s)) })
		defer watch.Stop()
		w, err := window.Parse(s)
		if err != nil {
			if fault.From(err).Kind != fault.Invalid || fault.From(err).Field == "" {
				t.Fatalf("%+v: %v", s, err)
			}
			return
		}
		now := at(t, "2026-11-23T00:00:00Z")
		before := now
		for _, n := range w.Next(now, lordHowe, 5) {
			if n.Start.Before(before) || !n.End.IsZero() && !n.End.After(n.Start) {
				t.Fatalf("%+v: %v after %v", s, n, before)
			}
			if a := w.At(n.Start, lordHowe, "d"); !a.Open {
				t.Fatalf("%+v: %v is not open at its start: %+v", s, n, a)
			}
			before = n.Start
		}
		ask(w, now, lordHowe)
		if p, ok := s.Simple(); ok {
			if _, err := p.Apply(s); err != nil {
				t.Fatalf("%+v: %+v: %v", s, p, err)
			}
		}
	})
}
