package window

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// frequency is the FREQ of a rule. HOURLY is read as DAILY with the hours it means.
type frequency int

const (
	yearly frequency = iota
	monthly
	weekly
	daily
	hourly
)

var frequencies = []string{"YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY"}

// weekdays are RFC 5545's names in the order of time.Weekday.
var weekdays = []string{"SU", "MO", "TU", "WE", "TH", "FR", "SA"}

// nthDay is a weekday of a month or year by its number: 2TU, -1FR; n is 0 for every one.
type nthDay struct {
	n   int
	day time.Weekday
}

// rule is a recurrence rule with everything in it that its text leaves to the start.
type rule struct {
	freq      frequency
	interval  int64
	wkst      time.Weekday
	months    []int // empty: all
	weeks     []int
	yearDays  []int
	monthDays []int
	days      []nthDay
	hours     []int
	minutes   []int
	positions []int

	times []wall // of a day, in order
	start wall   // the earliest window
	until wall   // the latest window
}

// part is a part of a rule that is a list of numbers.
type part struct {
	low, high int
	signed    bool
	to        func(*rule) *[]int
}

var parts = map[string]part{
	"BYMONTH":    {1, 12, false, func(r *rule) *[]int { return &r.months }},
	"BYWEEKNO":   {1, 53, true, func(r *rule) *[]int { return &r.weeks }},
	"BYYEARDAY":  {1, 366, true, func(r *rule) *[]int { return &r.yearDays }},
	"BYMONTHDAY": {1, 31, true, func(r *rule) *[]int { return &r.monthDays }},
	"BYHOUR":     {0, 23, false, func(r *rule) *[]int { return &r.hours }},
	"BYMINUTE":   {0, 59, false, func(r *rule) *[]int { return &r.minutes }},
	"BYSETPOS":   {1, 366, true, func(r *rule) *[]int { return &r.positions }},
}

// badRule is a refusal of the rule's text.
func badRule(format string, args ...any) error {
	return invalid("rule", "schedule_rule", format, args...)
}

// parseRule reads the text of a rule (the value of RRULE, RFC 5545 3.3.10).
func parseRule(text string, start wall) (*rule, error) {
	if len(text) > MaxRule {
		return nil, badRule("The rule is longer than %d characters.", MaxRule)
	}
	r := &rule{freq: -1, interval: 1, wkst: time.Monday, start: start, until: wallOf(time.Date(lastYear+1, 1, 1, 0, 0, 0, 0, time.UTC)) - 1}
	seen := map[string]bool{}
	count := 0
	for piece := range strings.SplitSeq(text, ";") {
		key, value, found := strings.Cut(piece, "=")
		if !found || value == "" {
			return nil, badRule("%q in the rule is not of the form NAME=VALUE, with semicolons between.", clip(piece))
		}
		if seen[key] {
			return nil, badRule("The rule says %s twice.", clip(key))
		}
		seen[key] = true
		if err := r.set(key, value, &count); err != nil {
			return nil, err
		}
	}
	if seen["COUNT"] && seen["UNTIL"] {
		return nil, badRule("The rule has COUNT and UNTIL; only one of them may end it.")
	}
	for _, step := range []func() error{r.check, r.flatten, r.fill} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if count > 0 {
		r.bound(count)
	}
	return r, nil
}

// set reads one part.
func (r *rule) set(key, value string, count *int) (err error) {
	if p, ok := parts[key]; ok {
		*p.to(r), err = numbers(key, value, p)
		return err
	}
	switch key {
	case "FREQ":
		if r.freq = frequency(slices.Index(frequencies, value)); r.freq < 0 {
			return badRule("FREQ is %s; windows that come more often than hourly are not for updates.", strings.Join(frequencies, ", "))
		}
	case "INTERVAL":
		var n int
		n, err = number(key, value, 1, 366)
		r.interval = int64(n)
	case "COUNT":
		*count, err = number(key, value, 1, MaxCount)
	case "UNTIL":
		r.until, err = until(value)
	case "WKST":
		i := slices.Index(weekdays, value)
		if r.wkst = time.Weekday(i); i < 0 {
			return badRule("WKST is one of %s.", strings.Join(weekdays, ", "))
		}
	case "BYDAY":
		r.days, err = nthDays(value)
	case "BYSECOND":
		if value != "0" {
			return badRule("Windows begin at whole minutes; BYSECOND can only be 0.")
		}
	default:
		return badRule("The rule has %q, which RFC 5545 does not know.", clip(key))
	}
	return err
}

// integer reads digits with at most one sign before them.
func integer(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && len(s) <= 5
}

func number(key, value string, low, high int) (int, error) {
	n, ok := integer(value)
	if !ok || n < low || n > high {
		return 0, badRule("%s is a number from %d to %d.", key, low, high)
	}
	return n, nil
}

func numbers(key, value string, p part) ([]int, error) {
	var out []int
	for s := range strings.SplitSeq(value, ",") {
		n, ok := integer(s)
		size := n
		if p.signed {
			size = max(n, -n)
		}
		if !ok || size < p.low || size > p.high {
			signed := ""
			if p.signed {
				signed = ", or as many from the end with a minus"
			}
			return nil, badRule("%s lists numbers from %d to %d%s.", key, p.low, p.high, signed)
		}
		out = append(out, n)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func nthDays(value string) ([]nthDay, error) {
	var out []nthDay
	for s := range strings.SplitSeq(value, ",") {
		cut := max(len(s)-2, 0)
		i := slices.Index(weekdays, s[cut:])
		n, ok := 0, true
		if cut > 0 {
			n, ok = integer(s[:cut])
			ok = ok && n != 0 && n >= -53 && n <= 53
		}
		if i < 0 || !ok {
			return nil, badRule("BYDAY lists weekdays (%s), each with a number from 1 to 53 before it or none.", strings.Join(weekdays, ", "))
		}
		out = append(out, nthDay{n, time.Weekday(i)})
	}
	slices.SortFunc(out, func(a, b nthDay) int { return cmp.Or(cmp.Compare(a.n, b.n), cmp.Compare(a.day, b.day)) })
	return slices.Compact(out), nil
}

// until reads UNTIL: a local date (that whole day), or a local date and time, whose seconds do not count.
func until(value string) (wall, error) {
	for _, form := range []string{"20060102", "20060102T150405"} {
		t, err := time.Parse(form, value)
		if err != nil || t.Format(form) != value || t.Year() < firstYear || t.Year() > lastYear {
			continue
		}
		if len(form) == 8 {
			return wallOf(t) + day - 1, nil
		}
		return wallOf(t), nil
	}
	return 0, badRule("UNTIL is a local date like 20271231 or date and time like 20271231T235900, without a zone, in the years %d to %d.", firstYear, lastYear)
}

// check refuses what RFC 5545 forbids to stand together.
func (r *rule) check() error {
	numbered := slices.ContainsFunc(r.days, func(d nthDay) bool { return d.n != 0 })
	far := slices.ContainsFunc(r.days, func(d nthDay) bool { return d.n > 5 || d.n < -5 })
	switch {
	case r.freq < 0:
		return badRule("The rule needs FREQ, such as FREQ=WEEKLY.")
	case len(r.weeks) > 0 && r.freq != yearly:
		return badRule("BYWEEKNO goes only with FREQ=YEARLY.")
	case len(r.yearDays) > 0 && (r.freq == daily || r.freq == weekly || r.freq == monthly):
		return badRule("BYYEARDAY does not go with FREQ=%s.", frequencies[r.freq])
	case len(r.monthDays) > 0 && r.freq == weekly:
		return badRule("BYMONTHDAY does not go with FREQ=WEEKLY.")
	case numbered && (r.freq > monthly || len(r.weeks) > 0):
		return badRule("Numbered weekdays in BYDAY go only with FREQ=MONTHLY, or FREQ=YEARLY without BYWEEKNO.")
	case far && (r.freq == monthly || len(r.months) > 0):
		return badRule("A month has no weekday more than five times; BYDAY can number it from 1 to 5.")
	case len(r.positions) > 0 && len(r.months)+len(r.weeks)+len(r.yearDays)+len(r.monthDays)+len(r.days)+len(r.hours)+len(r.minutes) == 0:
		return badRule("BYSETPOS picks from what another BY part lists; add one.")
	}
	return nil
}

// flatten reads HOURLY as DAILY at the hours it means.
func (r *rule) flatten() error {
	if r.freq != hourly {
		return nil
	}
	if 24%r.interval != 0 {
		return badRule("The INTERVAL of FREQ=HOURLY divides a day: 1, 2, 3, 4, 6, 8, 12 or 24.")
	}
	if len(r.positions) > 0 {
		return badRule("BYSETPOS does not go with FREQ=HOURLY.")
	}
	first := int64(r.start % day / hour)
	var hours []int
	for h := range int64(24) {
		if (h-first)%r.interval == 0 && (len(r.hours) == 0 || slices.Contains(r.hours, int(h))) {
			hours = append(hours, int(h))
		}
	}
	if len(hours) == 0 {
		return invalid("rule", "schedule_never", "The rule never opens a window: every %d hours from its start never meets its BYHOUR.", r.interval)
	}
	r.freq, r.interval, r.hours = daily, 1, hours
	return nil
}

// fill takes from the start what the rule leaves open.
func (r *rule) fill() error {
	t := r.start.utc()
	if len(r.weeks) > 0 && len(r.yearDays)+len(r.monthDays)+len(r.days) == 0 {
		r.days = []nthDay{{0, t.Weekday()}}
	}
	if len(r.weeks)+len(r.yearDays)+len(r.monthDays)+len(r.days) == 0 {
		switch r.freq {
		case yearly:
			r.monthDays = []int{t.Day()}
			if len(r.months) == 0 {
				r.months = []int{int(t.Month())}
			}
		case monthly:
			r.monthDays = []int{t.Day()}
		case weekly:
			r.days = []nthDay{{0, t.Weekday()}}
		}
	}
	if len(r.hours) == 0 {
		r.hours = []int{t.Hour()}
	}
	if len(r.minutes) == 0 {
		r.minutes = []int{t.Minute()}
	}
	if n := len(r.hours) * len(r.minutes); n > MaxStarts {
		return badRule("The rule opens %d windows a day; %d are the most.", n, MaxStarts)
	}
	for _, h := range r.hours {
		for _, m := range r.minutes {
			r.times = append(r.times, wall(h)*hour+wall(m))
		}
	}
	return nil
}

// bound ends the rule after count windows.
func (r *rule) bound(count int) {
	c := r.cursor()
	c.seek(r.start)
	last := r.start - 1
	for range count {
		w, ok := c.next()
		if !ok {
			break
		}
		last = w
	}
	r.until = last
}

// String is for logs and failures of tests.
func (r *rule) String() string {
	return fmt.Sprintf("every %d %s from %v until %v", r.interval, frequencies[r.freq], r.start, r.until)
}
