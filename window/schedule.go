package window

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"assent/fault"
)

// Limits of a schedule.
const (
	MaxRule    = 500                 // bytes of a rule's text
	MaxFreezes = 64                  // freezes of one schedule
	MaxName    = 80                  // characters of a freeze's name
	MaxStarts  = 48                  // windows that may begin in one day
	MaxCount   = 1000                // COUNT of a rule
	MinLength  = time.Minute         // of a window
	MaxLength  = 31 * 24 * time.Hour // of a window
	MaxSpread  = 24 * time.Hour
	MaxRun     = 62 * 24 * time.Hour // that windows may last which run into each other
	Horizon    = 50                  // years that are looked ahead for the next window; leap days on a weekday are up to 40 apart
	firstYear  = 2000                // that a schedule may name
	lastYear   = 2199                // that a schedule may name
)

// Schedule says when installations may start, as people write it and the store keeps it. Its zero value
// means at any time. Parse checks it.
type Schedule struct {
	Rule    string   `json:"rule,omitempty"`  // a recurrence rule of RFC 5545, such as FREQ=MONTHLY;BYDAY=2TU; empty: at any time
	Start   string   `json:"start,omitempty"` // the earliest window, local: 2027-01-12T02:00; what the rule leaves open comes from here
	Length  Duration `json:"length,omitzero"` // of each window, elapsed time
	Zone    string   `json:"zone,omitempty"`  // IANA name; empty: each device's own
	Freezes []Freeze `json:"freezes,omitempty"`
	Spread  Duration `json:"spread,omitzero"`  // devices start at random up to this much after a window opens
	Missed  Missing  `json:"missed,omitempty"` // what becomes of a run whose window passed; empty: NextWindow
}

// Freeze is a time in which nothing starts. From and To are both local dates or local date-times; without a
// year ("12-18", "12-18T18:00") they come every year. To as a date is the last frozen day; as a date-time, the
// moment it ends. Every year, To may lie before From: then it is in the year after.
type Freeze struct {
	Name string `json:"name"`
	From string `json:"from"`
	To   string `json:"to"`
}

// Missing says what becomes of a run whose window passed while the device was off or out of reach.
type Missing string

// What becomes of a missed run.
const (
	NextWindow Missing = "next_window" // it is caught up in the next window
	AtOnce     Missing = "at_once"     // it is caught up as soon as the device can, but not in a freeze
)

// Duration is a time.Duration that is written as people write it: "4h", "90m", "1h30m".
type Duration time.Duration

// MarshalText writes whole hours and minutes without the zeros that follow them.
func (d Duration) MarshalText() ([]byte, error) {
	s := time.Duration(d).String()
	s = strings.TrimSuffix(s, "0s")
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	if s == "" || s[len(s)-1] >= '0' && s[len(s)-1] <= '9' {
		s = time.Duration(d).String()
	}
	return []byte(s), nil
}

// UnmarshalText reads what MarshalText writes, and whatever time.ParseDuration knows.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("read the duration %q: write it like 4h, 90m or 1h30m", text)
	}
	*d = Duration(v)
	return nil
}

// Decode reads one schedule as JSON, strictly: a field that is not known, a value of another type or bytes
// after it are refused, since what an unknown field would have limited must not be left out silently.
// It does not judge what is in it; Parse does.
func Decode(raw []byte) (Schedule, error) {
	var s Schedule
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	err := dec.Decode(&s)
	if err == nil && len(bytes.TrimSpace(raw[dec.InputOffset():])) > 0 {
		err = errors.New("bytes follow the schedule")
	}
	if err != nil {
		return Schedule{}, fault.New(fault.Invalid, "schedule_malformed", "The schedule is not the JSON that schedules are written in.").Because(err)
	}
	return s, nil
}

// Parse checks a schedule and makes it ready for questions. A refusal is a *fault.Error of kind Invalid
// that names the field.
func Parse(s Schedule) (Windows, error) {
	w := Windows{schedule: s, length: time.Duration(s.Length), spread: time.Duration(s.Spread), missed: s.Missed}
	w.schedule.Freezes = append([]Freeze(nil), s.Freezes...)
	for _, step := range []func(*Windows) error{parseZone, parseRecurrence, parseFreezes, parseSpread, parseMissed, checkOpens} {
		if err := step(&w); err != nil {
			return Windows{}, err
		}
	}
	return w, nil
}

// invalid is a refusal of one field.
func invalid(field, code, format string, args ...any) error {
	return fault.New(fault.Invalid, code, format, args...).On(field)
}

func parseZone(w *Windows) error {
	if w.schedule.Zone == "" {
		return nil
	}
	zone, err := LoadZone(w.schedule.Zone)
	if err != nil {
		return err
	}
	w.zone = zone
	return nil
}

func parseRecurrence(w *Windows) error {
	s := w.schedule
	if s.Rule == "" {
		if s.Start != "" {
			return invalid("start", "schedule_start", "A start without a rule means nothing; give a rule, or leave the start out for any time.")
		}
		if s.Length != 0 {
			return invalid("length", "schedule_length", "A length without a rule means nothing; give a rule, or leave the length out for any time.")
		}
		return nil
	}
	start, whole, err := parseLocal(s.Start)
	if err != nil || whole {
		return invalid("start", "schedule_start", "The start %q is not a local date and time like 2027-01-12T02:00, in the years %d to %d.", clip(s.Start), firstYear, lastYear)
	}
	if w.length < MinLength || w.length > MaxLength || w.length%time.Minute != 0 {
		return invalid("length", "schedule_length", "A window lasts from %s to %s, in whole minutes.", human(MinLength), human(MaxLength))
	}
	rule, err := parseRule(s.Rule, start)
	if err != nil {
		return err
	}
	w.rule = rule
	return checkRuns(w)
}

// checkRuns refuses windows that run into each other without end. The first 400 days show them: within those
// every month, week and weekday of a rule has come.
func checkRuns(w *Windows) error {
	c := w.rule.cursor()
	c.seek(w.rule.start)
	first, ok := c.next()
	if !ok {
		return invalid("rule", "schedule_never", "The rule never opens a window in the %d years from its start; change it, or leave it out for any time.", Horizon)
	}
	length := wall(w.length / time.Minute)
	begin, end := first, first+length
	for {
		n, ok := c.next()
		if !ok || n > first+400*day {
			return nil
		}
		if n > end {
			begin = n
		}
		end = n + length
		if end-begin > wall(MaxRun/time.Minute) {
			return invalid("length", "schedule_endless", "The windows run into each other without end; shorten them, or leave the rule out for any time.")
		}
	}
}

func parseSpread(w *Windows) error {
	switch {
	case w.spread == 0:
		return nil
	case w.rule == nil:
		return invalid("spread", "schedule_spread", "A spread needs windows; give a rule, or leave the spread out.")
	case w.spread < 0 || w.spread > MaxSpread:
		return invalid("spread", "schedule_spread", "A spread lasts up to %s.", human(MaxSpread))
	}
	return nil
}

func parseMissed(w *Windows) error {
	switch w.missed {
	case "":
		w.missed = NextWindow
	case NextWindow, AtOnce:
	default:
		return invalid("missed", "schedule_missed", "What becomes of a missed run is %q or %q.", NextWindow, AtOnce)
	}
	return nil
}

// checkOpens refuses a schedule that freezes leave no time of.
func checkOpens(w *Windows) error {
	from := time.Date(firstYear, 1, 1, 0, 0, 0, 0, time.UTC)
	if w.rule != nil {
		from = w.rule.start.in(time.UTC)
	}
	if _, ok := w.in(time.UTC).after(from); !ok {
		return invalid("freezes", "schedule_frozen", "The freezes leave no time in which a window could open; shorten them.")
	}
	return nil
}

// parseLocal reads a local date, or a local date and time of whole minutes; whole says that it was a date.
func parseLocal(s string) (at wall, whole bool, err error) {
	for _, form := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", time.DateOnly} {
		t, err := time.Parse(form, s)
		if err != nil || t.Format(form) != s {
			continue
		}
		if t.Second() != 0 || t.Year() < firstYear || t.Year() > lastYear {
			break
		}
		return wallOf(t), form == time.DateOnly, nil
	}
	return 0, false, errors.New("not a local date or time")
}

// clip shortens what a person wrote so that it can be told back.
func clip(s string) string {
	if s = strings.ToValidUTF8(s, "?"); utf8.RuneCountInString(s) > 40 {
		return string([]rune(s)[:40]) + "…"
	}
	return s
}
