package window

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// freeze is a Freeze that was read: once, from and to; or every year, the points in the year.
type freeze struct {
	name     string
	yearly   bool
	from, to wall // once; to is the moment it ends
	begin    point
	end      point
}

// point is a moment of any year; minute is 1440 for the end of a day.
type point struct {
	month, day int
	minute     wall
}

// in is the point in one year. 29 February in years without one is the end of 28 February.
func (p point) in(year int) wall {
	if p.day > monthLength(year, p.month) {
		return wall(dayNumber(year, p.month+1, 1)) * day
	}
	return wall(dayNumber(year, p.month, p.day))*day + p.minute
}

func parseFreezes(w *Windows) error {
	if len(w.schedule.Freezes) > MaxFreezes {
		return invalid("freezes", "schedule_freezes", "A schedule has up to %d freezes.", MaxFreezes)
	}
	for i, f := range w.schedule.Freezes {
		frozen, err := parseFreeze(fmt.Sprintf("freezes[%d]", i), f)
		if err != nil {
			return err
		}
		w.freezes = append(w.freezes, frozen)
	}
	return nil
}

func parseFreeze(field string, f Freeze) (freeze, error) {
	if n := utf8.RuneCountInString(f.Name); n == 0 || n > MaxName || !utf8.ValidString(f.Name) || strings.TrimSpace(f.Name) != f.Name || strings.ContainsFunc(f.Name, unprintable) {
		return freeze{}, invalid(field+".name", "freeze_name", "A freeze has a name of 1 to %d characters; people read it as the reason.", MaxName)
	}
	out := freeze{name: f.Name}
	from, fromWhole, err := parseLocal(f.From)
	if err == nil {
		to, toWhole, err := parseLocal(f.To)
		if err != nil || fromWhole != toWhole {
			return freeze{}, badFreeze(field+".to", f.To)
		}
		if toWhole {
			to += day
		}
		if to <= from {
			return freeze{}, invalid(field+".to", "freeze_order", "The freeze %q ends before it begins.", f.Name)
		}
		out.from, out.to = from, to
		return out, nil
	}
	out.yearly = true
	var ok bool
	if out.begin, fromWhole, ok = parsePoint(f.From); !ok {
		return freeze{}, badFreeze(field+".from", f.From)
	}
	var toWhole bool
	if out.end, toWhole, ok = parsePoint(f.To); !ok || fromWhole != toWhole {
		return freeze{}, badFreeze(field+".to", f.To)
	}
	if toWhole {
		out.end.minute = day
	}
	if out.begin == out.end {
		return freeze{}, invalid(field+".to", "freeze_order", "The freeze %q ends when it begins.", f.Name)
	}
	return out, nil
}

func unprintable(r rune) bool { return r < ' ' || r == 0x7f }

func badFreeze(field, value string) error {
	return invalid(field, "freeze_date", "%q is not a local date or date-time; write both ends of a freeze like 2026-12-18, 2026-12-18T18:00, or for every year 12-18, 12-18T18:00.", clip(value))
}

// parsePoint reads a date or date-time without a year. The year 2000 lends its 29 February.
func parsePoint(s string) (p point, whole, ok bool) {
	at, whole, err := parseLocal("2000-" + s)
	if err != nil {
		return point{}, false, false
	}
	t := at.utc()
	return point{int(t.Month()), t.Day(), at % day}, whole, true
}

// during gives the freeze of one year as wall times; end comes after begin.
func (f freeze) during(year int) (from, to wall) {
	from, to = f.begin.in(year), f.end.in(year)
	if f.wraps() {
		to = f.end.in(year + 1)
	}
	return from, to
}

// wraps reports whether a yearly freeze ends in the year after the one in which it begins.
func (f freeze) wraps() bool {
	b, e := f.begin, f.end
	return e.month < b.month || e.month == b.month && (e.day < b.day || e.day == b.day && e.minute <= b.minute)
}

// span is a freeze as moments.
type span struct {
	from, to time.Time
	name     string
}

// frozen gives the freezes that meet the time from a to before b, by their beginning.
func (v view) frozen(a, b time.Time) []span {
	first, last := wallOf(a.In(v.loc))-2*day, wallOf(b.In(v.loc))+2*day
	var out []span
	add := func(name string, from, to wall) {
		if to < first || from > last {
			return
		}
		s := span{from.in(v.loc), to.in(v.loc), name}
		if s.from.Before(s.to) && s.to.After(a) && s.from.Before(b) {
			out = append(out, s)
		}
	}
	for _, f := range v.freezes {
		if !f.yearly {
			add(f.name, f.from, f.to)
			continue
		}
		for year := first.utc().Year() - 1; year <= last.utc().Year(); year++ {
			from, to := f.during(year)
			add(f.name, from, to)
		}
	}
	slices.SortStableFunc(out, func(a, b span) int { return a.from.Compare(b.from) })
	return out
}

// thaw is the first moment from t on that is in no freeze; never is true when there is none in Horizon years.
func (v view) thaw(t time.Time) (at time.Time, never bool) {
	limit := t.AddDate(Horizon, 0, 0)
	for at = t; ; {
		spans := v.frozen(at, at.Add(1))
		if len(spans) == 0 {
			return at, false
		}
		for _, s := range spans {
			if s.to.After(at) {
				at = s.to
			}
		}
		if at.After(limit) {
			return time.Time{}, true
		}
	}
}
