package window

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/teambition/rrule-go"
	"pgregory.net/rapid"
)

// starts lists up to n starts of a rule from a moment on.
func starts(r *rule, from wall, n int) []string {
	c := r.cursor()
	c.seek(from)
	var out []string
	for range n {
		w, ok := c.next()
		if !ok {
			break
		}
		out = append(out, w.String())
	}
	return out
}

func mustRule(t testing.TB, text, start string) *rule {
	t.Helper()
	at, _, err := parseLocal(start)
	if err != nil {
		t.Fatal(err)
	}
	r, err := parseRule(text, at)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return r
}

// drawList draws a list of some of the numbers from low to high, with negative ones if signed.
func drawList(t *rapid.T, name string, low, high int, signed bool) string {
	n := rapid.Custom(func(t *rapid.T) string {
		v := rapid.IntRange(low, high).Draw(t, name)
		if signed && rapid.Bool().Draw(t, "minus") {
			v = -v
		}
		return fmt.Sprint(v)
	})
	return strings.Join(rapid.SliceOfNDistinct(n, 1, 4, rapid.ID[string]).Draw(t, name), ",")
}

// drawRule draws the text of a rule that the library reads as RFC 5545 says. It does not: numbered and plain weekdays
// together (it wants both), the last weeks of years (it takes week 52 for 53), BYWEEKNO without a day.
func drawRule(t *rapid.T) string {
	freq := rapid.SampledFrom(frequencies[:4]).Draw(t, "freq")
	out := []string{"FREQ=" + freq, fmt.Sprintf("INTERVAL=%d", rapid.IntRange(1, 5).Draw(t, "interval"))}
	maybe := func(name string) bool { return rapid.IntRange(0, 3).Draw(t, "has "+name) == 0 }
	months := maybe("months")
	if months {
		out = append(out, "BYMONTH="+drawList(t, "month", 1, 12, false))
	}
	weeks := freq == "YEARLY" && maybe("weeks")
	if weeks {
		out = append(out, "BYWEEKNO="+drawList(t, "week", 2, 50, false))
	}
	if freq == "YEARLY" && maybe("yearDays") {
		out = append(out, "BYYEARDAY="+drawList(t, "yearDay", 1, 366, true))
	}
	if freq != "WEEKLY" && maybe("monthDays") {
		out = append(out, "BYMONTHDAY="+drawList(t, "monthDay", 1, 31, true))
	}
	if weeks || rapid.Bool().Draw(t, "days") {
		numbered := !weeks && (freq == "MONTHLY" || freq == "YEARLY") && rapid.Bool().Draw(t, "numbered")
		day := rapid.Custom(func(t *rapid.T) string {
			name := rapid.SampledFrom(weekdays).Draw(t, "day")
			if !numbered {
				return name
			}
			high := 5
			if freq == "YEARLY" && !months {
				high = 53
			}
			return fmt.Sprint(rapid.IntRange(1, high).Draw(t, "n")*rapid.SampledFrom([]int{1, -1}).Draw(t, "sign")) + name
		})
		out = append(out, "BYDAY="+strings.Join(rapid.SliceOfN(day, 1, 3).Draw(t, "weekdays"), ","))
	}
	if maybe("hours") {
		out = append(out, "BYHOUR="+drawList(t, "hour", 0, 23, false))
	}
	if maybe("minutes") {
		out = append(out, "BYMINUTE="+drawList(t, "minute", 0, 59, false))
	}
	if len(out) > 2 && maybe("positions") {
		out = append(out, "BYSETPOS="+drawList(t, "position", 1, 6, true))
	}
	// The library takes the rest of the first week for the whole of it: only from a week's first day on both agree.
	if freq != "WEEKLY" && rapid.Bool().Draw(t, "wkst") {
		out = append(out, "WKST="+rapid.SampledFrom(weekdays).Draw(t, "first"))
	}
	switch rapid.IntRange(0, 5).Draw(t, "ends") {
	case 0:
		out = append(out, fmt.Sprintf("COUNT=%d", rapid.IntRange(1, 30).Draw(t, "count")))
	case 1:
		out = append(out, fmt.Sprintf("UNTIL=20%d0615T120000", rapid.IntRange(26, 40).Draw(t, "until")))
	}
	return strings.Join(out, ";")
}

func TestT4_RecurrencesAreThoseThatALibraryOfRFC5545Gives(t *testing.T) {
	compared := 0
	rapid.Check(t, func(t *rapid.T) {
		text := drawRule(t)
		from := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.IntRange(0, 800*1440).Draw(t, "start")) * time.Minute)
		if strings.Contains(text, "WEEKLY") {
			from = from.AddDate(0, 0, -(int(from.Weekday())+6)%7)
		}
		option, err := rrule.StrToROption(strings.Replace(text, "T120000", "T120000Z", 1))
		if err != nil {
			t.Fatal(err)
		}
		option.Dtstart = from
		library, err := rrule.NewRRule(*option)
		if err != nil {
			t.Fatal(err)
		}
		next := library.Iterator()
		var want []string
		for at, ok := next(); ok && len(want) < 40 && at.Year() < 2050; at, ok = next() {
			want = append(want, wallOf(at).String())
		}
		r, err := parseRule(text, wallOf(from))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		got := starts(r, r.start, len(want))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s from %v (-library +window)\n%s", text, from, diff)
		}
		compared += len(want)
	})
	if compared < 100 {
		t.Fatalf("only %d starts were compared", compared)
	}
}

func TestT4_RecurrencesWhereTheLibraryErrs(t *testing.T) {
	for _, c := range []struct {
		rule, start string
		want        []string
	}{
		{"FREQ=YEARLY;BYWEEKNO=53;BYDAY=SU", "2026-01-01T03:00", []string{"2027-01-03T03:00", "2033-01-02T03:00", "2038-01-03T03:00", "2044-01-03T03:00"}},
		{"FREQ=YEARLY;BYWEEKNO=-1;BYDAY=SU", "2026-01-05T03:00", []string{"2027-01-03T03:00", "2028-01-02T03:00", "2028-12-31T03:00", "2029-12-30T03:00"}},
		{"FREQ=YEARLY;BYWEEKNO=20", "2026-01-05T03:00", []string{"2026-05-11T03:00", "2027-05-17T03:00"}},
		{"FREQ=MONTHLY;BYDAY=SA,2TU", "2026-01-01T03:00", []string{"2026-01-03T03:00", "2026-01-10T03:00", "2026-01-13T03:00", "2026-01-17T03:00"}},
		{"FREQ=WEEKLY;BYDAY=MO,FR;BYSETPOS=1", "2026-01-07T03:00", []string{"2026-01-12T03:00", "2026-01-19T03:00"}},
		{"FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO", "2026-01-01T03:00", []string{"2044-02-29T03:00", "2072-02-29T03:00"}},
		{"FREQ=YEARLY", "2024-02-29T03:00", []string{"2024-02-29T03:00", "2028-02-29T03:00"}},
		{"FREQ=MONTHLY", "2026-01-31T03:00", []string{"2026-01-31T03:00", "2026-03-31T03:00"}},
		{"FREQ=HOURLY;INTERVAL=8;BYDAY=MO", "2026-01-01T03:30", []string{"2026-01-05T03:30", "2026-01-05T11:30", "2026-01-05T19:30", "2026-01-12T03:30"}},
		{"FREQ=DAILY;UNTIL=20260102", "2026-01-01T23:59", []string{"2026-01-01T23:59", "2026-01-02T23:59"}},
		{"FREQ=DAILY;COUNT=2", "2026-01-01T23:59", []string{"2026-01-01T23:59", "2026-01-02T23:59"}},
	} {
		r := mustRule(t, c.rule, c.start)
		got := starts(r, r.start, len(c.want))
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", c.rule, diff)
		}
	}
}

func TestT4_ARuleIsTheSameReadForwardsBackwardsAndFromTheMiddle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := drawRule(t)
		r, err := parseRule(text, wallOf(time.Date(2024, 3, 1, 2, 30, 0, 0, time.UTC)))
		if err != nil {
			t.Fatal(err)
		}
		all := starts(r, r.start, 50)
		c := r.cursor()
		c.seek(r.start)
		for range all {
			c.next()
		}
		var back []string
		for w, ok := c.previous(); ok; w, ok = c.previous() {
			back = append(back, w.String())
		}
		slices.Reverse(back)
		if !slices.Equal(back, all) {
			t.Fatalf("%s forwards %v, backwards %v", text, all, back)
		}
		if len(all) == 0 {
			return
		}
		i := rapid.IntRange(0, len(all)-1).Draw(t, "middle")
		from, _, _ := parseLocal(all[i])
		if i > 0 && rapid.Bool().Draw(t, "just after the one before") {
			from, _, _ = parseLocal(all[i-1])
			from++
		}
		if got := starts(r, from, len(all)-i); !slices.Equal(got, all[i:]) {
			t.Fatalf("%s from %v: %v, want %v", text, from, got, all[i:])
		}
	})
}
