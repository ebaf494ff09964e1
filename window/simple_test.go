package window_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"assent/fault"
	"assent/window"
)

func TestT4_SimpleWordsAndTheRuleAreTwoViewsOfOneThing(t *testing.T) {
	for _, c := range []struct {
		simple     window.Simple
		rule, text string
	}{
		{window.Simple{Every: "day", At: "02:00"}, "FREQ=DAILY", "every day at 02:00"},
		{window.Simple{Every: "day", Interval: 3, At: "02:00"}, "FREQ=DAILY;INTERVAL=3", "every 3 days at 02:00, counted from 2026-01-13"},
		{window.Simple{Every: "week", Days: []string{"SA"}, At: "22:30"}, "FREQ=WEEKLY;BYDAY=SA", "every Saturday at 22:30"},
		{window.Simple{Every: "week", Days: []string{"MO", "WE", "SU"}, At: "22:30"}, "FREQ=WEEKLY;BYDAY=MO,WE,SU", "every Monday, Wednesday and Sunday at 22:30"},
		{window.Simple{Every: "week", Interval: 2, Days: []string{"TU"}, At: "22:30"}, "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU", "every 2 weeks on Tuesday at 22:30, counted from 2026-01-13"},
		{window.Simple{Every: "month", Nth: 2, Days: []string{"TU"}, At: "02:00"}, "FREQ=MONTHLY;BYDAY=2TU", "the second Tuesday of every month at 02:00"},
		{window.Simple{Every: "month", Nth: -1, Days: []string{"FR"}, At: "02:00"}, "FREQ=MONTHLY;BYDAY=-1FR", "the last Friday of every month at 02:00"},
		{window.Simple{Every: "month", Nth: 2, Days: []string{"TU"}, After: 1, At: "02:00"}, "FREQ=MONTHLY;BYDAY=WE;BYMONTHDAY=9,10,11,12,13,14,15", "1 day after the second Tuesday of every month at 02:00"},
		{window.Simple{Every: "month", Nth: 2, Days: []string{"TU"}, After: 14, At: "02:00"}, "FREQ=MONTHLY;BYDAY=TU;BYMONTHDAY=22,23,24,25,26,27,28", "14 days after the second Tuesday of every month at 02:00"},
		{window.Simple{Every: "month", Nth: 1, Days: []string{"SU"}, After: 6, At: "02:00"}, "FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=7,8,9,10,11,12,13", "6 days after the first Sunday of every month at 02:00"},
		{window.Simple{Every: "month", Date: 15, At: "02:00"}, "FREQ=MONTHLY;BYMONTHDAY=15", "the 15th of every month at 02:00"},
		{window.Simple{Every: "month", Interval: 3, Date: -1, At: "02:00"}, "FREQ=MONTHLY;INTERVAL=3;BYMONTHDAY=-1", "the last day of every 3 months at 02:00, counted from 2026-01-13"},
	} {
		s, err := c.simple.Apply(window.Schedule{Start: "2026-01-13", Length: window.Duration(4 * time.Hour)})
		if err != nil || s.Rule != c.rule {
			t.Errorf("%+v became %q: %v", c.simple, s.Rule, err)
			continue
		}
		back, ok := s.Simple()
		if diff := cmp.Diff(c.simple, back); !ok || diff != "" {
			t.Errorf("%s read back (%v)\n%s", s.Rule, ok, diff)
		}
		if got, want := parse(t, s).Describe(), c.text+", for 4 h, device time"; got != want {
			t.Errorf("described as %q, want %q", got, want)
		}
	}
}

func TestT4_SimpleReadsRulesThatMeanTheSame(t *testing.T) {
	for rule, want := range map[string]*window.Simple{
		"FREQ=WEEKLY":                            {Every: "week", Days: []string{"TU"}, At: "02:00"},
		"FREQ=MONTHLY":                           {Every: "month", Date: 13, At: "02:00"},
		"BYDAY=+2TU;FREQ=MONTHLY;INTERVAL=1":     {Every: "month", Nth: 2, Days: []string{"TU"}, At: "02:00"},
		"FREQ=DAILY;BYHOUR=5;BYMINUTE=30":        {Every: "day", At: "05:30"},
		"FREQ=DAILY;BYHOUR=1":                    nil, // before the start's time: the first would be a day later
		"FREQ=DAILY;BYHOUR=5,6":                  nil,
		"FREQ=DAILY;COUNT=3":                     nil,
		"FREQ=DAILY;UNTIL=20300101":              nil,
		"FREQ=DAILY;BYDAY=MO":                    nil,
		"FREQ=YEARLY":                            nil,
		"FREQ=WEEKLY;INTERVAL=2;WKST=SU":         nil,
		"FREQ=MONTHLY;BYDAY=1MO,3MO":             nil,
		"FREQ=MONTHLY;BYDAY=-2MO":                nil,
		"FREQ=MONTHLY;BYMONTHDAY=-2":             nil,
		"FREQ=MONTHLY;BYDAY=MO":                  nil,
		"FREQ=MONTHLY;BYDAY=2MO;BYMONTHDAY=8":    nil,
		"FREQ=MONTHLY;BYDAY=MO;BYSETPOS=2":       nil,
		"FREQ=MONTHLY;BYDAY=MO;BYMONTHDAY=1,2,3": nil,
		"FREQ=MONTHLY;BYDAY=MO;BYMONTH=3":        nil,
		"FREQ=NEVER":                             nil,
	} {
		s := monthly()
		s.Rule = rule
		got, ok := s.Simple()
		if want == nil {
			if ok {
				t.Errorf("%s is said as %+v", rule, got)
			}
			continue
		}
		if diff := cmp.Diff(*want, got); !ok || diff != "" {
			t.Errorf("%s (%v)\n%s", rule, ok, diff)
		}
	}
	if _, ok := (window.Schedule{}).Simple(); ok {
		t.Error("any time has no recurrence")
	}
}

func TestT4_SimpleRefusesWhatItCannotMean(t *testing.T) {
	for field, p := range map[string]window.Simple{
		"at":       {Every: "day", At: "2:00"},
		"every":    {Every: "fortnight", At: "02:00"},
		"interval": {Every: "day", Interval: 1000, At: "02:00"},
		"days":     {Every: "week", At: "02:00"},
		"nth":      {Every: "month", Days: []string{"TU"}, At: "02:00"},
		"after":    {Every: "month", Nth: 2, Days: []string{"TU"}, After: 15, At: "02:00"},
		"date":     {Every: "month", Nth: 2, Date: 3, At: "02:00"},
	} {
		_, err := p.Apply(monthly())
		if !errors.Is(err, fault.Invalid) || fault.From(err).Field != field {
			t.Errorf("%+v: %v, want %s refused", p, err, field)
		}
	}
	for _, p := range []window.Simple{
		{Every: "day", Days: []string{"MO"}, At: "02:00"}, {Every: "week", Days: []string{"Monday"}, At: "02:00"}, {Every: "week", Nth: 2, Days: []string{"MO"}, At: "02:00"},
		{Every: "month", Nth: 2, Days: []string{"MO", "TU"}, At: "02:00"}, {Every: "month", Nth: -1, Days: []string{"MO"}, After: 1, At: "02:00"}, {Every: "month", Date: 32, At: "02:00"},
	} {
		if _, err := p.Apply(monthly()); !errors.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", p, err)
		}
	}
	if _, err := (window.Simple{Every: "day", At: "02:00"}).Apply(window.Schedule{}); !errors.Is(err, fault.Invalid) {
		t.Errorf("without a date: %v", err)
	}
}

// Whatever is said in simple words is read back as words that mean the same windows, day by day.
func TestT4_SimpleWordsMeanWhatTheySay(t *testing.T) {
	days := []string{"SU", "MO", "TU", "WE", "TH", "FR", "SA"}
	rapid.Check(t, func(t *rapid.T) {
		weekday := rapid.IntRange(0, 6).Draw(t, "weekday")
		nth := rapid.IntRange(1, 4).Draw(t, "nth")
		after := rapid.IntRange(0, 28-7*nth).Draw(t, "after")
		p := window.Simple{Every: "month", Nth: nth, Days: []string{days[weekday]}, After: after, At: "02:00"}
		s, err := p.Apply(window.Schedule{Start: "2026-01-01", Length: window.Duration(time.Hour)})
		if err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		back, ok := s.Simple()
		if !ok {
			t.Fatalf("%+v became %s, which is not simple", p, s.Rule)
		}
		again, err := back.Apply(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []window.Schedule{s, again} {
			w, err := window.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			month := time.Date(2026, 1, 1, 2, 0, 0, 0, time.UTC)
			for _, n := range w.Next(month.Add(-time.Minute), window.UTC(), 30) {
				// The first of the month, on to the weekday, on by weeks, on by days.
				want := month.AddDate(0, 0, (weekday-int(month.Weekday())+7)%7+7*(nth-1)+after)
				if !n.Start.Equal(want) {
					t.Fatalf("%+v as %s: %v, want %v", p, text.Rule, n.Start, want)
				}
				month = month.AddDate(0, 1, 0)
			}
		}
	})
}

func TestT4_DescribeSaysAllThatCounts(t *testing.T) {
	s := monthly()
	s.Zone, s.Spread, s.Missed = "Europe/Berlin", window.Duration(30*time.Minute), window.AtOnce
	s.Freezes = []window.Freeze{{Name: "Year's end", From: "12-18", To: "01-04"}, {Name: "audit", From: "2027-03-01", To: "2027-03-01"}}
	odd := monthly()
	odd.Rule, odd.Length = "FREQ=YEARLY;BYMONTH=3,6,9,12;BYDAY=1SU", window.Duration(72*time.Hour)
	for want, s := range map[string]window.Schedule{
		"at any time": {},
		"at any time, device time; not from 12-18 to 01-04 every year (Year's end)": {Freezes: s.Freezes[:1]},
		"the second Tuesday of every month at 02:00, for 4 h, time of Europe/Berlin; devices start within 30 min; " +
			"not from 12-18 to 01-04 every year (Year's end); not on 2027-03-01 (audit); a missed run is caught up at once": s,
		"by the rule FREQ=YEARLY;BYMONTH=3,6,9,12;BYDAY=1SU from 2026-01-13T02:00, for 3 days, device time": odd,
	} {
		if got := parse(t, s).Describe(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
