package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// when shows a moment to the minute; the zero time is empty.
func (a *app) when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.In(a.zone()).Format("2006-01-02 15:04")
}

// exactly shows a moment to the second with its zone.
func (a *app) exactly(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.In(a.zone()).Format("2006-01-02 15:04:05 MST")
}

func (a *app) zone() *time.Location {
	if a.utc || a.Zone == nil {
		return time.UTC
	}
	return a.Zone
}

// ago shows how long ago a moment was, coarsely.
func (a *app) ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := a.Now().Sub(t)
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", d/time.Hour)
	}
	return fmt.Sprintf("%d days ago", d/(24*time.Hour))
}

// size shows a number of bytes.
func size(n int64) string {
	if n <= 0 {
		return ""
	}
	units := []string{"B", "kB", "MB", "GB", "TB"}
	f, i := float64(n), 0
	for f >= 999.5 && i < len(units)-1 {
		f /= 1000
		i++
	}
	if i == 0 || f >= 99.5 {
		return fmt.Sprintf("%.0f %s", f, units[i])
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// count shows a number, and 0 as nothing: what is not there should not draw the eye.
func count(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// many is "1 device" or "2 devices".
func many(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// span reads how long something lasts: "30d", "12h", "2w", "90m".
func span(s string) (time.Duration, error) {
	for unit, length := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if digits, ok := strings.CutSuffix(s, unit); ok {
			n, err := strconv.Atoi(digits)
			if err != nil || n <= 0 || n > 3650 {
				return 0, usage("%q is not a span of time; give one like 30d, 12h or 2w", clean(s))
			}
			return time.Duration(n) * length, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, usage("%q is not a span of time; give one like 30d, 12h or 2w", clean(s))
	}
	return d, nil
}

// until reads when something ends: a span from now, a date (its first moment in the zone shown) or a time.
func (a *app) until(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, a.zone()); err == nil {
			return t.UTC(), nil
		}
	}
	d, err := span(s)
	if err != nil {
		return time.Time{}, usage("%q is neither a date like 2026-12-31 nor a span of time like 30d", clean(s))
	}
	return a.Now().Add(d).UTC().Truncate(time.Second), nil
}

// counts shows named numbers, without those that are 0, in a fixed order: the whole first, then by name.
func counts(m map[string]int) string {
	var parts []string
	for _, key := range slices.SortedFunc(maps.Keys(m), func(x, y string) int {
		return cmp.Or(cmp.Compare(weight(x), weight(y)), cmp.Compare(x, y))
	}) {
		if n := m[key]; n > 0 || weight(key) == 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, strings.ReplaceAll(key, "_", " ")))
		}
	}
	return strings.Join(parts, ", ")
}

func weight(key string) int {
	if key == "total" || key == "active" {
		return 0
	}
	return 1
}
