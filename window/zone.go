package window

import (
	"errors"
	"strings"
	"time"

	"assent/fault"
)

// wall is a time on a clock without zone: minutes since 1970-01-01T00:00.
type wall int64

const (
	hour wall = 60
	day  wall = 24 * hour
)

// wallOf is what the clock of t shows.
func wallOf(t time.Time) wall {
	_, offset := t.Zone()
	return wall(floorDiv(t.Unix()+int64(offset), 60))
}

// utc is the wall time as if it were in UTC.
func (w wall) utc() time.Time { return time.Unix(int64(w)*60, 0).UTC() }

// String is for people.
func (w wall) String() string { return w.utc().Format("2006-01-02T15:04") }

// in is the first moment at which the clocks of loc show w or a later time: of two the first, and where w
// does not exist, the first moment after the gap.
func (w wall) in(loc *time.Location) time.Time {
	local := int64(w) * 60
	// No offset is larger than 16 h, so what shows w lies within a day of it. Stretch by stretch of one offset:
	for begin, last := local-24*3600, local+24*3600; ; {
		offset := offsetAt(begin, loc)
		t := max(local-offset, begin)
		end := stretch(begin, last, offset, loc)
		if t < end || end == last {
			return time.Unix(t, 0).In(loc)
		}
		begin = end
	}
}

func offsetAt(unix int64, loc *time.Location) int64 {
	_, offset := time.Unix(unix, 0).In(loc).Zone()
	return int64(offset)
}

// stretch is the first second after begin that has another offset, or last if none before it has. It takes for
// granted that no zone changes its offset and back within six hours. Time.ZoneBounds does not serve: it also ends
// at the ends of years, and in Go 1.26 never comes past 31 December of a leap year that lies behind the zone's table.
func stretch(begin, last, offset int64, loc *time.Location) int64 {
	const step = 6 * 3600
	for low := begin; low < last; low += step {
		high := min(low+step, last)
		if offsetAt(high, loc) == offset {
			continue
		}
		for low+1 < high {
			if middle := low + (high-low)/2; offsetAt(middle, loc) == offset {
				low = middle
			} else {
				high = middle
			}
		}
		return high
	}
	return last
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// Zone is a time zone by its name. Its zero value, and one whose name is not known, hold: every question
// with it is answered ZoneUnknown.
type Zone struct {
	name string
	loc  *time.Location
}

// UTC is the zone of that name.
func UTC() Zone { return Zone{name: "UTC", loc: time.UTC} }

// Name is the name that the zone was asked by.
func (z Zone) Name() string { return z.name }

// In shows a time as clocks of the zone do; as it is where the zone is not known.
func (z Zone) In(t time.Time) time.Time {
	if z.loc == nil {
		return t
	}
	return t.In(z.loc)
}

// Known reports whether the zone has rules.
func (z Zone) Known() bool { return z.loc != nil }

// LoadZone finds a zone by its IANA name, such as Europe/Berlin, in the host's database or in the one that is
// built into the program (time/tzdata). It reads files, so callers keep what it gives. With the error
// (a *fault.Error on the field zone) comes a Zone that has the name and holds. "Local" and the empty name are
// not known: what they mean depends on who asks.
func LoadZone(name string) (Zone, error) {
	loc, err := time.LoadLocation(name)
	if name == "" || strings.EqualFold(name, "local") || len(name) > MaxName {
		err = errors.New("no name of a zone")
	}
	if err != nil {
		return Zone{name: clip(name)}, fault.New(fault.Invalid, "zone_unknown",
			"The time zone %q is not known here; name it like Europe/Berlin, and see that time zone data is installed.", clip(name)).On("zone").Because(err)
	}
	return Zone{name: name, loc: loc}, nil
}
