package window

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Simple is a recurrence in the few words that a form asks for. Apply writes it into a schedule and
// Schedule.Simple reads it back: two views of one thing. What Simple cannot say stays a rule.
type Simple struct {
	Every    string   `json:"every"`              // Day, Week or Month
	Interval int      `json:"interval,omitempty"` // every so many of them; 0 is 1
	Days     []string `json:"days,omitempty"`     // MO, TU, WE, TH, FR, SA, SU: of a week one or more, of a month one with Nth
	Nth      int      `json:"nth,omitempty"`      // which weekday of the month: 1 to 5, or -1 for the last
	After    int      `json:"after,omitempty"`    // so many days after it: "patch Tuesday plus N" is 2, TU, N
	Date     int      `json:"date,omitempty"`     // instead of a weekday: the day of the month, -1 for the last
	At       string   `json:"at"`                 // local time, 02:00
}

// What Simple.Every says.
const (
	Day   = "day"
	Week  = "week"
	Month = "month"
)

// patchTuesday is where the first of the seven days lie on one of which the second Tuesday falls.
const patchTuesday = 8

// Apply writes the recurrence into a schedule: its rule, and the time of its start, whose date stays.
// A refusal is a *fault.Error that names the field of Simple.
func (p Simple) Apply(s Schedule) (Schedule, error) {
	at, err := time.Parse("15:04", p.At)
	if err != nil || at.Format("15:04") != p.At {
		return Schedule{}, invalid("at", "simple_at", "%q is not a local time like 02:00.", clip(p.At))
	}
	rule, err := p.rule()
	if err != nil {
		return Schedule{}, err
	}
	date, _, _ := strings.Cut(s.Start, "T")
	if _, whole, err := parseLocal(date); err != nil || !whole {
		return Schedule{}, invalid("start", "schedule_start", "The schedule needs the date of its start, like 2027-01-12.")
	}
	s.Rule, s.Start = rule, date+"T"+p.At
	return s, nil
}

func (p Simple) rule() (string, error) {
	interval := ""
	switch {
	case p.Interval < 0 || p.Interval > 366:
		return "", invalid("interval", "simple_interval", "The interval is a number from 1 to 366.")
	case p.Interval > 1:
		interval = fmt.Sprintf(";INTERVAL=%d", p.Interval)
	}
	for _, d := range p.Days {
		if !slices.Contains(weekdays, d) {
			return "", invalid("days", "simple_days", "%q is not a weekday; they are %s.", clip(d), strings.Join(weekdays, ", "))
		}
	}
	if p.Every != Month && (p.Nth != 0 || p.After != 0 || p.Date != 0) {
		return "", invalid("every", "simple_every", "Only what comes every month has a numbered weekday or a date.")
	}
	switch p.Every {
	case Day:
		if len(p.Days) > 0 {
			return "", invalid("days", "simple_days", "What comes every day has no weekdays; choose every week.")
		}
		return "FREQ=DAILY" + interval, nil
	case Week:
		if len(p.Days) == 0 {
			return "", invalid("days", "simple_days", "Choose at least one weekday.")
		}
		return "FREQ=WEEKLY" + interval + ";BYDAY=" + strings.Join(p.Days, ","), nil
	case Month:
		return p.monthly("FREQ=MONTHLY" + interval)
	}
	return "", invalid("every", "simple_every", "A recurrence comes every %s, %s or %s.", Day, Week, Month)
}

func (p Simple) monthly(rule string) (string, error) {
	if p.Date != 0 {
		if p.Nth != 0 || p.After != 0 || len(p.Days) > 0 {
			return "", invalid("date", "simple_date", "Give the date or the weekday of the month, not both.")
		}
		if p.Date < -1 || p.Date > 31 {
			return "", invalid("date", "simple_date", "The date is a day from 1 to 31, or -1 for the last.")
		}
		return fmt.Sprintf("%s;BYMONTHDAY=%d", rule, p.Date), nil
	}
	if len(p.Days) != 1 {
		return "", invalid("days", "simple_days", "Choose one weekday of the month.")
	}
	if p.Nth < -1 || p.Nth == 0 || p.Nth > 5 {
		return "", invalid("nth", "simple_nth", "A month has its weekdays from 1 to 5; -1 is the last.")
	}
	if p.After == 0 {
		return fmt.Sprintf("%s;BYDAY=%d%s", rule, p.Nth, p.Days[0]), nil
	}
	first := 7*(p.Nth-1) + 1 + p.After
	if p.Nth < 0 || p.After < 0 || first+6 > 28 {
		return "", invalid("after", "simple_after", "The days after it must lie in the same month, February too: up to %d after the first weekday of a month, 7 fewer for each later one.", 21)
	}
	dates := make([]string, 7)
	for i := range dates {
		dates[i] = fmt.Sprint(first + i)
	}
	return fmt.Sprintf("%s;BYDAY=%s;BYMONTHDAY=%s", rule, shift(p.Days[0], p.After), strings.Join(dates, ",")), nil
}

// shift is the weekday so many days later.
func shift(name string, days int) string {
	return weekdays[((slices.Index(weekdays, name)+days)%7+7)%7]
}

// Simple gives the recurrence in simple words, if they can say it. What they say is always the same windows;
// of several ways to say it ("the third Tuesday" is 7 days after patch Tuesday) it is the one that Apply
// wrote, for the days after the second Tuesday, and else the one with fewer than 7 days after.
func (s Schedule) Simple() (Simple, bool) {
	start, whole, err := parseLocal(s.Start)
	if s.Rule == "" || err != nil || whole {
		return Simple{}, false
	}
	r, err := parseRule(s.Rule, start)
	if err != nil || len(r.times) != 1 || start%day > r.times[0] || strings.Contains(s.Rule, "COUNT=") || strings.Contains(s.Rule, "UNTIL=") {
		return Simple{}, false
	}
	if len(r.months)+len(r.weeks)+len(r.yearDays)+len(r.positions) > 0 || r.interval > 1 && r.wkst != time.Monday {
		return Simple{}, false
	}
	p := Simple{At: r.times[0].utc().Format("15:04")}
	if r.interval > 1 {
		p.Interval = int(r.interval)
	}
	switch {
	case r.freq == daily && len(r.days)+len(r.monthDays) == 0:
		p.Every = Day
	case r.freq == weekly:
		p.Every, p.Days = Week, weekOrder(r.days)
	case r.freq == monthly:
		return p.readMonthly(r)
	default:
		return Simple{}, false
	}
	return p, true
}

// weekOrder names weekdays from Monday on.
func weekOrder(days []nthDay) []string {
	sorted := slices.SortedFunc(slices.Values(days), func(a, b nthDay) int { return cmp.Compare((a.day+6)%7, (b.day+6)%7) })
	var out []string
	for _, d := range sorted {
		out = append(out, weekdays[d.day])
	}
	return out
}

func (p Simple) readMonthly(r *rule) (Simple, bool) {
	p.Every = Month
	switch {
	case len(r.days) == 0 && len(r.monthDays) == 1 && r.monthDays[0] >= -1:
		p.Date = r.monthDays[0]
		return p, true
	case len(r.days) != 1:
		return Simple{}, false
	}
	d := r.days[0]
	if d.n != 0 {
		p.Nth, p.Days = d.n, []string{weekdays[d.day]}
		return p, len(r.monthDays) == 0 && d.n >= -1
	}
	first, ok := sevenDays(r.monthDays)
	if !ok {
		return Simple{}, false
	}
	name := weekdays[d.day]
	if n := first - patchTuesday; n > 0 && shift(name, -n) == "TU" {
		p.Nth, p.After, p.Days = 2, n, []string{"TU"}
		return p, true
	}
	p.Nth, p.After = (first-1)/7+1, (first-1)%7
	p.Days = []string{shift(name, -p.After)}
	return p, true
}

// sevenDays is the first of seven days in a row, all in every month.
func sevenDays(days []int) (first int, ok bool) {
	if len(days) != 7 || days[0] < 1 || days[6] > 28 {
		return 0, false
	}
	return days[0], days[6]-days[0] == 6
}
