package window

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Describe says in plain English when installations may start: "the second Tuesday of every month at 02:00,
// for 4 h, device time". It has no period at its end, and is for people only.
func (w Windows) Describe() string {
	s := w.schedule
	out := "at any time"
	if w.rule != nil {
		out = w.recurrence() + ", for " + human(w.length)
	}
	if w.rule != nil || len(w.freezes) > 0 {
		if s.Zone == "" {
			out += ", device time"
		} else {
			out += ", time of " + s.Zone
		}
	}
	if w.spread > 0 {
		out += "; devices start within " + human(w.spread)
	}
	for _, f := range s.Freezes {
		out += "; not " + f.describe()
	}
	if w.rule != nil && w.missed == AtOnce {
		out += "; a missed run is caught up at once"
	}
	return out
}

func (f Freeze) describe() string {
	each := ""
	if len(f.From) < len(time.DateOnly) || f.From[4] != '-' {
		each = " every year"
	}
	if f.From == f.To {
		return fmt.Sprintf("on %s%s (%s)", f.From, each, f.Name)
	}
	return fmt.Sprintf("from %s to %s%s (%s)", f.From, f.To, each, f.Name)
}

func (w Windows) recurrence() string {
	p, ok := w.schedule.Simple()
	if !ok {
		return fmt.Sprintf("by the rule %s from %s", w.schedule.Rule, w.schedule.Start)
	}
	out := p.String()
	if p.Interval > 1 {
		out += ", counted from " + w.schedule.Start[:len(time.DateOnly)]
	}
	return out
}

// String says the recurrence in English.
func (p Simple) String() string {
	every := "every " + p.Every
	if p.Interval > 1 {
		every = fmt.Sprintf("every %d %ss", p.Interval, p.Every)
	}
	names := make([]string, len(p.Days))
	for i, d := range p.Days {
		names[i] = time.Weekday(max(slices.Index(weekdays, d), 0)).String()
	}
	switch {
	case p.Every == Week && p.Interval <= 1:
		every = "every " + list(names)
	case p.Every == Week:
		every += " on " + list(names)
	case p.Date > 0:
		every = "the " + ordinal(p.Date) + " of " + every
	case p.Date < 0:
		every = "the last day of " + every
	case p.Every == Month:
		every = "the " + nthWords[p.Nth] + " " + list(names) + " of " + every
	}
	if p.After > 0 {
		every = plural(p.After, "day") + " after " + every
	}
	return every + " at " + p.At
}

var nthWords = map[int]string{1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth", -1: "last"}

func list(names []string) string {
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names, "")
}

func ordinal(n int) string {
	suffix := "th"
	if n/10 != 1 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return fmt.Sprint(n) + suffix
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// human writes a duration for people: 3 days, 1 h 30 min, 40 s.
func human(d time.Duration) string {
	d = d.Round(time.Second)
	if d < time.Minute {
		return fmt.Sprintf("%d s", d/time.Second)
	}
	if d >= 48*time.Hour && d%(24*time.Hour) == 0 {
		return plural(int(d/(24*time.Hour)), "day")
	}
	h, m, s := d/time.Hour, d%time.Hour/time.Minute, d%time.Minute/time.Second
	var out []string
	if h > 0 {
		out = append(out, fmt.Sprintf("%d h", h))
	}
	if m > 0 {
		out = append(out, fmt.Sprintf("%d min", m))
	}
	if s > 0 && h == 0 {
		out = append(out, fmt.Sprintf("%d s", s))
	}
	return strings.Join(out, " ")
}

// clock writes a moment for people, in its zone; seconds only where they count.
func clock(t time.Time) string {
	if t.Second() != 0 {
		return t.Format("Mon 2006-01-02 15:04:05 MST")
	}
	return t.Format("Mon 2006-01-02 15:04 MST")
}

// ending is a text with a moment, or nothing if there is none.
func ending(text string, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return text + clock(t)
}
