package rollout

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Span is a length of elapsed time, written for people: "45m", "36h", "7d", "1d12h". A day is 24 hours.
type Span time.Duration

const day = 24 * time.Hour

// Seconds is the span in whole seconds, as devices are told of it.
func (s Span) Seconds() int { return int(time.Duration(s) / time.Second) }

// String is the one form that MarshalText writes.
func (s Span) String() string {
	d := time.Duration(s)
	if d < day && d > -day {
		return short(d)
	}
	days, rest := d/day, d%day
	if rest == 0 {
		return fmt.Sprintf("%dd", days)
	}
	return fmt.Sprintf("%dd%s", days, short(rest.Abs()))
}

// short is Duration.String without the units that are zero at its end.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText makes spans readable in JSON and YAML.
func (s Span) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what people write: a number of days, hours, minutes and seconds, each with its unit, the larger first.
func (s *Span) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return fmt.Errorf("a time like 45m, 36h or 7d is missing")
	}
	rest, total := string(text), time.Duration(0)
	if n, after, found := strings.Cut(rest, "d"); found {
		days, err := strconv.Atoi(n)
		if err != nil || days < -36500 || days > 36500 {
			return fmt.Errorf("%q is not a time like 45m, 36h or 7d", text)
		}
		total, rest = time.Duration(days)*day, after
		if rest != "" && (days < 0 || strings.ContainsAny(rest, "+-")) {
			return fmt.Errorf("%q is not a time like 45m, 36h or 7d", text)
		}
	}
	if rest != "" || total == 0 {
		d, err := time.ParseDuration(orZero(rest))
		if err != nil || d.Abs() > 36500*day {
			return fmt.Errorf("%q is not a time like 45m, 36h or 7d", text)
		}
		total += d
	}
	*s = Span(total)
	return nil
}

// orZero lets "0d" be zero.
func orZero(rest string) string {
	if rest == "" {
		return "0"
	}
	return rest
}
