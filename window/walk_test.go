package window_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"assent/window"
)

// This file walks through the calendar minute by minute and knows nothing of how package window works: each
// minute it asks what the device's clock shows, whether the plan says that a window begins at one of the times that
// the clock has just reached or jumped over, and whether a freeze is on.

// clockTime is what a clock shows, as a day and a minute of it.
type clockTime struct {
	date   time.Time // midnight UTC of that day
	minute int
}

func shows(t time.Time) clockTime {
	y, m, d := t.Date()
	return clockTime{time.Date(y, m, d, 0, 0, 0, 0, time.UTC), t.Hour()*60 + t.Minute()}
}

func (c clockTime) after(o clockTime) bool {
	return c.date.After(o.date) || c.date.Equal(o.date) && c.minute > o.minute
}

func (c clockTime) next() clockTime {
	if c.minute++; c.minute == 1440 {
		return clockTime{c.date.AddDate(0, 0, 1), 0}
	}
	return c
}

// walkRule is a rule as the walk reads it.
type walkRule struct {
	freq      string
	interval  int
	months    []time.Month
	monthDays []int
	days      []string // 2TU, -1FR, MO
	week      int      // ISO week, yearly
	hours     []int
	start     clockTime
	until     *clockTime
}

var dayNames = []string{"SU", "MO", "TU", "WE", "TH", "FR", "SA"}

func (r walkRule) String() string {
	out := fmt.Sprintf("FREQ=%s;INTERVAL=%d", r.freq, r.interval)
	list := func(name string, n int, at func(int) string) {
		var all []string
		for i := range n {
			all = append(all, at(i))
		}
		if n > 0 {
			out += ";" + name + "=" + strings.Join(all, ",")
		}
	}
	list("BYMONTH", len(r.months), func(i int) string { return fmt.Sprint(int(r.months[i])) })
	list("BYMONTHDAY", len(r.monthDays), func(i int) string { return fmt.Sprint(r.monthDays[i]) })
	list("BYDAY", len(r.days), func(i int) string { return r.days[i] })
	list("BYHOUR", len(r.hours), func(i int) string { return fmt.Sprint(r.hours[i]) })
	if r.week != 0 {
		out += fmt.Sprintf(";BYWEEKNO=%d", r.week)
	}
	if r.until != nil {
		out += ";UNTIL=" + r.until.date.Format("20060102") + fmt.Sprintf("T%02d%02d00", r.until.minute/60, r.until.minute%60)
	}
	return out
}

// begins says whether a window begins when the clock shows c.
func (r walkRule) begins(c clockTime) bool {
	if r.start.after(c) || r.until != nil && c.after(*r.until) {
		return false
	}
	return c.minute%60 == r.start.minute%60 && r.hasHour(c) && r.hasPeriod(c) && r.hasDate(c.date)
}

func (r walkRule) hasHour(c clockTime) bool {
	if len(r.hours) > 0 && !slices.Contains(r.hours, c.minute/60) {
		return false
	}
	return len(r.hours) > 0 || r.freq == "HOURLY" || c.minute/60 == r.start.minute/60
}

func (r walkRule) hasPeriod(c clockTime) bool {
	days := int(c.date.Sub(r.start.date).Hours() / 24)
	switch r.freq {
	case "HOURLY":
		return (days*24+c.minute/60-r.start.minute/60)%r.interval == 0
	case "DAILY":
		return days%r.interval == 0
	case "WEEKLY":
		return (days+int(r.start.date.Weekday()+6)%7)/7%r.interval == 0
	case "MONTHLY":
		return ((c.date.Year()-r.start.date.Year())*12+int(c.date.Month()-r.start.date.Month()))%r.interval == 0
	}
	return (c.date.Year()-r.start.date.Year())%r.interval == 0
}

func (r walkRule) hasDate(d time.Time) bool {
	if len(r.months) > 0 && !slices.Contains(r.months, d.Month()) {
		return false
	}
	if _, week := d.ISOWeek(); r.week != 0 && week != r.week {
		return false
	}
	last := d.AddDate(0, 1, -d.Day()).Day()
	if len(r.monthDays) > 0 && !slices.Contains(r.monthDays, d.Day()) && !slices.Contains(r.monthDays, d.Day()-last-1) {
		return false
	}
	if len(r.days) > 0 {
		return slices.ContainsFunc(r.days, func(name string) bool { return r.isDay(d, name) })
	}
	if len(r.monthDays) > 0 {
		return true
	}
	switch r.freq {
	case "WEEKLY":
		return d.Weekday() == r.start.date.Weekday()
	case "MONTHLY":
		return d.Day() == r.start.date.Day()
	case "YEARLY":
		if r.week != 0 {
			return d.Weekday() == r.start.date.Weekday()
		}
		return d.Day() == r.start.date.Day() && (len(r.months) > 0 || d.Month() == r.start.date.Month())
	}
	return true
}

// isDay counts the weekdays of the month one by one.
func (r walkRule) isDay(d time.Time, name string) bool {
	if !strings.HasSuffix(name, dayNames[d.Weekday()]) {
		return false
	}
	var n int
	if _, err := fmt.Sscanf(name, "%d", &n); err != nil {
		return true
	}
	step := -7
	if n < 0 {
		step, n = 7, -n
	}
	place := 1
	for o := d.AddDate(0, 0, step); o.Month() == d.Month(); o = o.AddDate(0, 0, step) {
		place++
	}
	return place == n
}

// walkFreeze is a freeze as the walk reads it: year 0 is every year.
type walkFreeze struct {
	from, to         [4]int // year, month, day, minute; to is when it ends
	fromText, toText string
}

func (f walkFreeze) on(c clockTime) bool {
	now := [4]int{c.date.Year(), int(c.date.Month()), c.date.Day(), c.minute}
	if f.from[0] == 0 {
		now[0] = 0
	}
	begun, ended := slices.Compare(now[:], f.from[:]) >= 0, slices.Compare(now[:], f.to[:]) >= 0
	if slices.Compare(f.to[:], f.from[:]) <= 0 { // over the year's end
		return begun || !ended
	}
	return begun && !ended
}

// walk is the plan that is walked through.
type walk struct {
	rule    *walkRule // nil: any time
	length  time.Duration
	freezes []walkFreeze
	loc     *time.Location
}

// open gives the times that are open from from to to, found minute by minute. What is open at to ends there.
func (w walk) open(from, to time.Time) []window.Window {
	var out []window.Window
	t := from.Add(-10 * 24 * time.Hour) // longer than any window that is drawn
	latest := shows(t.In(w.loc))        // the latest time that the clock has shown
	until := t
	isOpen := false
	for ; t.Before(to); t = t.Add(time.Minute) {
		for now := shows(t.In(w.loc)); now.after(latest); {
			latest = latest.next()
			if w.rule != nil && w.rule.begins(latest) {
				until = t.Add(w.length)
			}
		}
		was := isOpen
		isOpen = (w.rule == nil || t.Before(until)) && !slices.ContainsFunc(w.freezes, func(f walkFreeze) bool { return f.on(latest) })
		if isOpen && !was {
			out = append(out, window.Window{Start: t})
		}
		if isOpen {
			out[len(out)-1].End = t.Add(time.Minute)
		}
	}
	return slices.DeleteFunc(out, func(w window.Window) bool { return !w.End.After(from) })
}

func (w walk) schedule(zone string) window.Schedule {
	s := window.Schedule{Zone: zone}
	if w.rule != nil {
		s.Rule, s.Length = w.rule.String(), window.Duration(w.length)
		s.Start = w.rule.start.date.Format("2006-01-02") + fmt.Sprintf("T%02d:%02d", w.rule.start.minute/60, w.rule.start.minute%60)
	}
	for _, f := range w.freezes {
		s.Freezes = append(s.Freezes, window.Freeze{Name: "drawn", From: f.fromText, To: f.toText})
	}
	return s
}

// oddTimes are days on which clocks of a zone do something.
var oddTimes = []struct{ zone, day string }{
	{"UTC", "2026-11-23"}, {"UTC", "2028-02-29"}, {"UTC", "2027-02-28"}, {"UTC", "2026-12-31"},
	{"Europe/Berlin", "2026-03-29"}, {"Europe/Berlin", "2026-10-25"}, {"Europe/Dublin", "2026-10-25"},
	{"America/New_York", "2026-03-08"}, {"America/New_York", "2026-11-01"}, {"America/St_Johns", "2026-03-08"},
	{"America/Havana", "2026-03-08"}, {"America/Havana", "2026-11-01"}, {"America/Sao_Paulo", "2018-11-04"}, // gaps and folds at midnight
	{"Australia/Lord_Howe", "2026-04-05"}, {"Australia/Lord_Howe", "2026-10-04"}, // half an hour
	{"Antarctica/Troll", "2026-03-29"}, {"Antarctica/Troll", "2026-10-25"}, // two hours
	{"Asia/Kathmandu", "2026-04-14"}, {"Asia/Kolkata", "2026-08-15"}, {"Australia/Eucla", "2026-02-27"}, {"Pacific/Chatham", "2026-09-27"},
	{"Pacific/Apia", "2011-12-30"}, // the day that was skipped
	{"Pacific/Apia", "2012-04-01"},
	{"Europe/Berlin", "2040-12-31"}, {"America/New_York", "2060-12-31"}, {"Australia/Lord_Howe", "2044-10-02"}, // behind the tables of zones
	{"America/Caracas", "2016-05-01"}, {"Asia/Pyongyang", "2018-05-05"}, {"Africa/Casablanca", "2026-02-15"}, {"Pacific/Kiritimati", "2028-03-01"},
}

// drawWalk draws a plan and the day around which it is walked.
func drawWalk(t *rapid.T) (walk, string, time.Time) {
	odd := rapid.SampledFrom(oddTimes).Draw(t, "odd time")
	loc, err := time.LoadLocation(odd.zone)
	if err != nil {
		t.Fatal(err)
	}
	around, err := time.ParseInLocation("2006-01-02", odd.day, loc)
	if err != nil {
		t.Fatal(err)
	}
	date, _ := time.Parse("2006-01-02", odd.day)
	w := walk{loc: loc}
	if rapid.IntRange(0, 9).Draw(t, "any time") > 0 {
		w.rule = drawWalkRule(t, date)
		w.length = time.Duration(rapid.SampledFrom([]int{1, 20, 45, 60, 90, 240, 420, 1380, 1440, 3000}).Draw(t, "length")) * time.Minute
	}
	for range rapid.IntRange(0, 2).Draw(t, "freezes") {
		w.freezes = append(w.freezes, drawWalkFreeze(t, date))
	}
	return w, odd.zone, around
}

func drawWalkRule(t *rapid.T, date time.Time) *walkRule {
	r := &walkRule{
		freq:     rapid.SampledFrom([]string{"HOURLY", "DAILY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY"}).Draw(t, "freq"),
		interval: rapid.IntRange(1, 3).Draw(t, "interval"),
	}
	r.start = clockTime{date.AddDate(0, 0, -rapid.IntRange(0, 400).Draw(t, "days before")), rapid.IntRange(0, 23).Draw(t, "hour")*60 + rapid.SampledFrom([]int{0, 15, 30, 59}).Draw(t, "minute")}
	if rapid.IntRange(0, 3).Draw(t, "months") == 0 {
		r.months = []time.Month{date.Month(), date.AddDate(0, 0, 20).Month()}
	}
	if r.freq != "WEEKLY" && rapid.IntRange(0, 3).Draw(t, "dates") == 0 {
		r.monthDays = []int{date.Day(), rapid.SampledFrom([]int{-1, -2, 1, 29, 30}).Draw(t, "date")}
	}
	numbered := r.freq == "MONTHLY" || r.freq == "YEARLY" && len(r.months) > 0
	for range rapid.IntRange(0, 3).Draw(t, "weekdays") {
		d := rapid.SampledFrom(dayNames).Draw(t, "weekday")
		if numbered && rapid.Bool().Draw(t, "numbered") {
			d = fmt.Sprint(rapid.SampledFrom([]int{1, 2, 3, 4, 5, -1, -2}).Draw(t, "number")) + d
			r.days = append(r.days, d)
			continue
		}
		r.days = append(r.days, d)
	}
	if r.freq == "YEARLY" && len(r.days) == 0 && rapid.Bool().Draw(t, "week") {
		_, r.week = date.ISOWeek()
	}
	if rapid.IntRange(0, 2).Draw(t, "hours") == 0 {
		r.hours = rapid.SliceOfNDistinct(rapid.IntRange(0, 23), 1, 4, rapid.ID[int]).Draw(t, "at hours")
	}
	if rapid.IntRange(0, 4).Draw(t, "ends") == 0 {
		r.until = &clockTime{date.AddDate(0, 0, rapid.IntRange(-1, 2).Draw(t, "until")), rapid.IntRange(0, 1439).Draw(t, "until minute")}
	}
	return r
}

func drawWalkFreeze(t *rapid.T, date time.Time) walkFreeze {
	from := date.AddDate(0, 0, rapid.IntRange(-4, 3).Draw(t, "frozen from"))
	to := from.AddDate(0, 0, rapid.IntRange(0, 5).Draw(t, "frozen days"))
	whole, yearly := rapid.Bool().Draw(t, "whole days"), rapid.Bool().Draw(t, "yearly")
	form, begin, end := "2006-01-02", 0, 1440
	if !whole {
		form = "2006-01-02T15:04"
		begin = rapid.IntRange(0, 1439).Draw(t, "frozen minute")
		end = rapid.IntRange(0, 1439).Draw(t, "thawed minute")
		if from.Equal(to) && end <= begin {
			to = to.AddDate(0, 0, 1)
		}
		from, to = from.Add(time.Duration(begin)*time.Minute), to.Add(time.Duration(end)*time.Minute)
	}
	f := walkFreeze{
		from: [4]int{from.Year(), int(from.Month()), from.Day(), begin}, to: [4]int{to.Year(), int(to.Month()), to.Day(), end},
		fromText: from.Format(form), toText: to.Format(form),
	}
	if yearly {
		f.from[0], f.to[0] = 0, 0
		f.fromText, f.toText = f.fromText[5:], f.toText[5:]
	}
	return f
}

// refused says whether the schedule was refused for a reason that drawing cannot rule out.
func refused(err error) bool {
	text := fmt.Sprint(err)
	return strings.Contains(text, "schedule_never") || strings.Contains(text, "schedule_endless") || strings.Contains(text, "schedule_frozen")
}

func TestT4_AnswersAreThoseOfAWalkThroughTheCalendar(t *testing.T) {
	walked, opened := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		w, name, around := drawWalk(t)
		s := w.schedule(name)
		windows, err := window.Parse(s)
		if refused(err) {
			return
		}
		if err != nil {
			t.Fatalf("%+v: %v", s, err)
		}
		from, to := around.AddDate(0, 0, -3), around.AddDate(0, 0, 4)
		want := w.open(from, to)
		walked, opened = walked+1, opened+len(want)
		if diff := cmp.Diff(text(clipped(want, from, to)), text(clipped(answered(windows, from, to), from, to))); diff != "" {
			t.Fatalf("%+v\n(-walk +window)\n%s", s, diff)
		}
		for range 20 {
			at := from.Add(time.Duration(rapid.IntRange(0, int(to.Sub(from)/time.Minute)-1).Draw(t, "at")) * time.Minute)
			open := slices.ContainsFunc(want, func(w window.Window) bool { return w.Contains(at) })
			if got := windows.At(at, window.Zone{}, "d"); got.Open != open {
				t.Fatalf("%+v\nat %v: %+v, the walk says open: %v", s, at, got, open)
			}
			missed(t, windows, want, from, to, at)
		}
	})
	if walked < 50 || opened < 50 {
		t.Fatalf("only %d walks through %d windows", walked, opened)
	}
}

// missed compares Missed with the windows of a walk.
func missed(t *rapid.T, windows window.Windows, walked []window.Window, from, to, now time.Time) {
	if windows.AnyTime() {
		return
	}
	last := from.Add(time.Duration(rapid.IntRange(0, int(now.Sub(from)/time.Minute)).Draw(t, "last")) * time.Minute)
	var want window.Window
	for _, w := range walked {
		if w.Start.After(last) && !w.End.After(now) && w.Start.After(from) && w.End.Before(to) {
			want = w
		}
	}
	got := windows.Missed(now, window.Zone{}, "d", last)
	if got.Missed != (want != window.Window{}) || got.Missed && !got.Window.Start.Equal(want.Start) {
		t.Fatalf("%+v\nlast %v, now %v: %+v, the walk says %v", windows.Schedule(), last, now, got, want)
	}
}

// answered lists the windows from from to to as package window gives them.
func answered(windows window.Windows, from, to time.Time) []window.Window {
	var out []window.Window
	if w := windows.At(from, window.Zone{}, "d").Window; (w != window.Window{}) || windows.At(from, window.Zone{}, "d").Open {
		out = append(out, w)
	}
	for at := from; at.Before(to); {
		next := windows.Next(at, window.Zone{}, window.MaxNext)
		if len(next) == 0 {
			break
		}
		for _, w := range next {
			if at = w.Start; at.Before(to) {
				out = append(out, w)
			}
		}
	}
	return out
}

// clipped cuts windows to what the walk has seen.
func clipped(windows []window.Window, from, to time.Time) []window.Window {
	var out []window.Window
	for _, w := range windows {
		if w.Start.Before(from) {
			w.Start = from
		}
		if w.End.IsZero() || w.End.After(to) {
			w.End = to
		}
		out = append(out, w)
	}
	return out
}

func text(windows []window.Window) []string {
	var out []string
	for _, w := range windows {
		out = append(out, w.Start.UTC().Format(time.RFC3339)+" "+w.End.UTC().Format(time.RFC3339))
	}
	return out
}
