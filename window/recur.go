package window

import (
	"slices"
	"time"
)

// date is a day with what rules ask about it.
type date struct {
	number  int64 // days since 1970-01-01
	year    int
	month   int
	day     int
	yearDay int
	weekday time.Weekday
}

func dateOf(number int64) date {
	t := time.Unix(number*86400, 0).UTC()
	y, m, d := t.Date()
	return date{number, y, int(m), d, t.YearDay(), t.Weekday()}
}

// dayNumber counts days since 1970-01-01; month may be 13.
func dayNumber(year, month, day int) int64 {
	return floorDiv(time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC).Unix(), 86400)
}

func monthLength(year, month int) int {
	return int(dayNumber(year, month+1, 1) - dayNumber(year, month, 1))
}

func yearLength(year int) int { return int(dayNumber(year+1, 1, 1) - dayNumber(year, 1, 1)) }

// has reports whether list has n, or n counted from the end of size as a negative number.
func has(list []int, n, size int) bool {
	return slices.Contains(list, n) || slices.Contains(list, n-size-1)
}

// covers reports whether the days of the rule have d. All parts must agree.
func (r *rule) covers(d date) bool {
	return (len(r.months) == 0 || slices.Contains(r.months, d.month)) &&
		(len(r.days) == 0 || slices.ContainsFunc(r.days, func(n nthDay) bool { return r.isNth(d, n) })) &&
		(len(r.monthDays) == 0 || has(r.monthDays, d.day, monthLength(d.year, d.month))) &&
		(len(r.yearDays) == 0 || has(r.yearDays, d.yearDay, yearLength(d.year))) &&
		(len(r.weeks) == 0 || r.inWeek(d))
}

// isNth reports whether d is the weekday n of its month, or of its year where the rule is yearly and has no months.
func (r *rule) isNth(d date, n nthDay) bool {
	if d.weekday != n.day || n.n == 0 {
		return d.weekday == n.day
	}
	at, size := d.day, monthLength(d.year, d.month)
	if r.freq == yearly && len(r.months) == 0 {
		at, size = d.yearDay, yearLength(d.year)
	}
	if n.n > 0 {
		return (at-1)/7+1 == n.n
	}
	return (size-at)/7+1 == -n.n
}

// inWeek reports whether d lies in one of the rule's weeks: week 1 is the first with four days of its year
// (RFC 5545 3.3.10), so a week belongs to the year of its fourth day.
func (r *rule) inWeek(d date) bool {
	fourth := dateOf(d.number - int64(d.weekday-r.wkst+7)%7 + 3)
	week := (fourth.yearDay-1)/7 + 1
	// The year's last week is the one whose fourth day is its last.
	weeks := week + (yearLength(fourth.year)-fourth.yearDay)/7
	return has(r.weeks, week, weeks)
}

// period is the number of the year, month, week or day that a day lies in.
func (r *rule) period(number int64) int64 {
	switch r.freq {
	case yearly:
		return int64(dateOf(number).year)
	case monthly:
		d := dateOf(number)
		return int64(d.year)*12 + int64(d.month-1)
	case weekly:
		return floorDiv(number-r.firstWeekday(), 7)
	}
	return number
}

// firstWeekday is the first day of week 0: 1970-01-01 was a Thursday.
func (r *rule) firstWeekday() int64 { return int64(r.wkst-time.Thursday+7) % 7 }

// span gives the days of a period: from the first to before the last.
func (r *rule) span(period int64) (first, end int64) {
	switch r.freq {
	case yearly:
		return dayNumber(int(period), 1, 1), dayNumber(int(period)+1, 1, 1)
	case monthly:
		year, month := int(floorDiv(period, 12)), int(period-floorDiv(period, 12)*12)+1
		return dayNumber(year, month, 1), dayNumber(year, month+1, 1)
	case weekly:
		first = period*7 + r.firstWeekday()
		return first, first + 7
	}
	return period, period + 1
}

func (r *rule) first(period int64) int64 {
	first, _ := r.span(period)
	return first
}

// expand appends the starts of a period in order, whether or not start and until let them be.
func (r *rule) expand(buf []wall, period int64) []wall {
	first, end := r.span(period)
	for n := first; n < end; n++ {
		d := dateOf(n)
		if r.freq == yearly && len(r.months) > 0 && !slices.Contains(r.months, d.month) {
			n += int64(monthLength(d.year, d.month) - d.day)
			continue
		}
		if !r.covers(d) {
			continue
		}
		for _, t := range r.times {
			buf = append(buf, wall(n)*day+t)
		}
	}
	if len(r.positions) == 0 {
		return buf
	}
	var picked []wall
	for i, w := range buf {
		if has(r.positions, i+1, len(buf)) {
			picked = append(picked, w)
		}
	}
	return append(buf[:0], picked...)
}

// cursor walks through the starts of a rule, in both directions. Its work is bounded: it gives up after
// looking at Horizon years of days on its way to one start.
type cursor struct {
	r      *rule
	period int64
	buf    []wall // the starts of period
	at     int    // the one that next gives
}

func (r *rule) cursor() *cursor { return &cursor{r: r} }

const horizonDays = Horizon * 366

// load reads a period.
func (c *cursor) load(period int64) {
	c.period = period
	c.buf = c.r.expand(c.buf[:0], period)
}

// seek goes to before the first start at or after from.
func (c *cursor) seek(from wall) {
	from = min(max(from, c.r.start), c.r.until+1)
	origin := c.r.period(int64(c.r.start / day))
	at := c.r.period(int64(from / day))
	c.load(at - (at-origin)%c.r.interval)
	c.at, _ = slices.BinarySearch(c.buf, from)
}

// next gives the start that follows and goes behind it.
func (c *cursor) next() (wall, bool) {
	from := c.period
	for c.at >= len(c.buf) {
		first, _ := c.r.span(c.period + c.r.interval)
		if c.r.first(from)+horizonDays < first || wall(first)*day > c.r.until {
			return 0, false
		}
		c.load(c.period + c.r.interval)
		c.at = 0
	}
	w := c.buf[c.at]
	if w > c.r.until {
		return 0, false
	}
	c.at++
	return w, true
}

// previous gives the start before and goes before it.
func (c *cursor) previous() (wall, bool) {
	from := c.period
	for c.at == 0 {
		_, end := c.r.span(c.period - c.r.interval)
		if end < c.r.first(from)-horizonDays || wall(end)*day <= c.r.start {
			return 0, false
		}
		c.load(c.period - c.r.interval)
		c.at = len(c.buf)
	}
	w := c.buf[c.at-1]
	if w < c.r.start {
		return 0, false
	}
	c.at--
	return w, true
}
