package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"assent/catalog"
	"assent/fleet"
	"assent/rollout"
	"assent/window"
)

// ordinal is the number that a word is among the days of a month; -1 is the last.
func ordinal(word string) (n int, ok bool) {
	if word == "last" {
		return -1, true
	}
	for i, words := range [][]string{{"first", "1st"}, {"second", "2nd"}, {"third", "3rd"}, {"fourth", "4th"}, {"fifth", "5th"}} {
		if slices.Contains(words, word) {
			return i + 1, true
		}
	}
	return 0, false
}

// filler reports whether a word of a window says nothing.
func filler(word string) bool {
	return slices.Contains([]string{"on", "the", "of", "each", "and", "at", "month", "from"}, word)
}

const windowHelp = `"any", "nightly 02:00 for 4h", "sat,sun 22:00 for 6h", "weekdays 01:00 for 2h", "every 2 weeks tue 02:00 for 4h", ` +
	`"second tuesday plus 3 02:00 for 4h", "last friday 20:00 for 8h", "day 15 02:00 for 4h", "last day 02:00 for 4h", or a rule: "FREQ=MONTHLY;BYDAY=2TU 02:00 for 4h"`

// readWindow puts a window, as people say it, into a schedule.
func readWindow(s window.Schedule, said string) (window.Schedule, error) {
	bad := func(why string) (window.Schedule, error) {
		return s, usage("the window %q %s; say it like %s", clean(said), why, windowHelp)
	}
	if strings.EqualFold(strings.TrimSpace(said), "any") {
		s.Rule, s.Start, s.Length, s.Spread, s.Missed = "", "", 0, 0, ""
		return s, nil
	}
	when, length, found := strings.Cut(said, " for ")
	if !found {
		return bad("does not say for how long")
	}
	long, err := span(strings.TrimSpace(length))
	if err != nil {
		return s, err
	}
	s.Length = window.Duration(long)
	words := strings.Fields(strings.ReplaceAll(when, ",", " "))
	if len(words) == 0 {
		return bad("does not say when")
	}
	at := words[len(words)-1]
	if _, err := time.Parse("15:04", at); err != nil {
		return bad("does not say at what time, like 02:00")
	}
	if strings.HasPrefix(strings.ToUpper(words[0]), "FREQ=") {
		rule, _, _ := strings.Cut(strings.TrimSpace(when), " ")
		date, _, _ := strings.Cut(s.Start, "T")
		s.Rule, s.Start = strings.ToUpper(rule), date+"T"+at
		return s, nil
	}
	simple, err := readSimple(words[:len(words)-1])
	if err != nil {
		return bad(err.Error())
	}
	simple.At = at
	return simple.Apply(s)
}

// readSimple reads the days of a window.
func readSimple(words []string) (window.Simple, error) {
	p := window.Simple{Every: window.Week}
	for i := 0; i < len(words); i++ {
		word := strings.ToLower(words[i])
		next := func() string {
			if i+1 < len(words) {
				return strings.ToLower(words[i+1])
			}
			return ""
		}
		switch n, isOrdinal := ordinal(word); {
		case filler(word):
		case word == "every" && strings.Trim(next(), "0123456789") == "" && next() != "":
			p.Interval, _ = strconv.Atoi(next())
			i++
		case word == "every", word == "week", word == "weeks":
		case word == "days" && p.Nth != 0: // second tuesday plus 3 days
		case word == "months":
			p.Every = window.Month
		case isOrdinal && next() == "day":
			p.Every, p.Date = window.Month, n
			i++
		case isOrdinal:
			p.Every, p.Nth = window.Month, n
		case word == "day" && next() != "" && strings.Trim(next(), "0123456789") == "":
			p.Every = window.Month
			p.Date, _ = strconv.Atoi(next())
			i++
		case slices.Contains([]string{"night", "nightly", "nights", "daily", "day", "days"}, word):
			p.Every = window.Day
		case word == "plus" || strings.HasPrefix(word, "+"):
			text := strings.TrimPrefix(word, "+")
			if text == "plus" || text == "" {
				text = next()
				i++
			}
			var err error
			if p.After, err = strconv.Atoi(text); err != nil {
				return p, fmt.Errorf("says plus %q, which is no number of days", clean(text))
			}
		default:
			named := weekdays(word)
			if named == nil {
				return p, fmt.Errorf("has the word %q, which says nothing here", clean(word))
			}
			p.Days = append(p.Days, named...)
		}
	}
	return p, nil
}

// weekdays are the days that a word names: "tue", "tuesday", "weekend".
func weekdays(word string) []string {
	switch word {
	case "weekdays":
		return []string{"MO", "TU", "WE", "TH", "FR"}
	case "weekend", "weekends":
		return []string{"SA", "SU"}
	}
	for _, name := range []string{"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"} {
		if len(word) >= 2 && (strings.HasPrefix(name, word) || word == name+"s") {
			return []string{strings.ToUpper(name[:2])}
		}
	}
	return nil
}

// readFreeze reads "NAME:FROM:TO"; the name may be left out.
func readFreeze(said string) (window.Freeze, error) {
	name, span, _ := strings.Cut(said, ":")
	if strings.Trim(name, "0123456789-") == "" && name != "" && !strings.Contains(span, ":") {
		return window.Freeze{Name: said, From: name, To: span}, nil
	}
	from, to, ok := strings.Cut(span, ":")
	if !ok {
		return window.Freeze{}, usage("the freeze %q is not like 'Year end:12-18:01-04'", clean(said))
	}
	return window.Freeze{Name: name, From: from, To: to}, nil
}

const ringHelp = `"NAME:GROUP,…[:rate 90%][:min 3][:soak 2d][:failures 2][:failure-rate 5%][:silence 12h][:probes][:after-restart][:by-person][:not-before 2027-01-05T02:00:00Z][:skip-empty]"`

// readRing reads a ring: "Pilot:Pilot:rate 90%:soak 2d:min 3:failures 2".
func readRing(said string) (rollout.Ring, error) {
	bad := func(why string) (rollout.Ring, error) {
		return rollout.Ring{}, usage("the ring %q %s; say it like %s", clean(said), why, ringHelp)
	}
	parts := strings.Split(said, ":")
	if len(parts) < 2 || strings.TrimSpace(parts[1]) == "" {
		return bad("does not name a group")
	}
	r := rollout.Ring{Name: strings.TrimSpace(parts[0]), SuccessRate: 1000}
	for g := range strings.SplitSeq(parts[1], ",") {
		r.Groups = append(r.Groups, fleet.GroupID(strings.TrimSpace(g)))
	}
	for i := 2; i < len(parts); i++ {
		key, value, _ := strings.Cut(strings.TrimSpace(parts[i]), " ")
		value = strings.TrimSpace(value)
		if key == "not-before" { // the only part that has colons of its own
			value, i = strings.Join(append([]string{value}, parts[i+1:]...), ":"), len(parts)
		}
		if why := ringPart(&r, key, value); why != "" {
			return bad(why)
		}
	}
	return r, nil
}

// ringPart puts one part into a ring, or says what is wrong with it.
func ringPart(r *rollout.Ring, key, value string) (wrong string) {
	var err error
	switch key {
	case "rate":
		r.SuccessRate, err = perMille(value)
	case "failure-rate":
		r.FailureRate, err = perMille(value)
	case "min":
		r.MinSample, err = strconv.Atoi(value)
	case "failures":
		r.Failures, err = strconv.Atoi(value)
	case "soak":
		err = r.Soak.UnmarshalText([]byte(value))
	case "silence":
		err = r.Silence.UnmarshalText([]byte(value))
	case "not-before":
		r.NotBefore, err = time.Parse(time.RFC3339, value)
	case "probes":
		r.Probes = true
	case "after-restart":
		r.Restarted = true
	case "by-person":
		r.Person = true
	case "skip-empty":
		r.IfEmpty = rollout.EmptySkip
	default:
		return fmt.Sprintf("has the part %q, which says nothing here", clean(key))
	}
	if err != nil {
		return fmt.Sprintf("has %q, which does not fit %q", clean(value), key)
	}
	return ""
}

// perMille reads "90%" or "99.5%".
func perMille(s string) (int, error) {
	text, _ := strings.CutSuffix(s, "%")
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f >= 0 && f <= 100) {
		return 0, fmt.Errorf("%q is no percentage", s)
	}
	return int(f*10 + 0.5), nil
}

const probeHelp = "unit=nginx.service, tcp=443, http=8080/health[=204], process=/usr/sbin/nginx, file=/etc/motd@SHA256"

// readProbe reads a health probe.
func readProbe(said string) (catalog.Probe, error) {
	bad := func() (catalog.Probe, error) {
		return catalog.Probe{}, usage("the probe %q is none of: %s", clean(said), probeHelp)
	}
	kind, what, ok := strings.Cut(said, "=")
	if !ok {
		return bad()
	}
	p := catalog.Probe{Type: catalog.ProbeType(kind)}
	var err error
	switch p.Type {
	case catalog.ProbeUnit:
		p.Unit = what
	case catalog.ProbeProcess:
		p.Path = what
	case catalog.ProbeTCP:
		p.Port, err = strconv.Atoi(what)
	case catalog.ProbeFile:
		p.Path, p.SHA256, ok = strings.Cut(what, "@")
	case catalog.ProbeHTTP:
		port, path, _ := strings.Cut(what, "/")
		path, status, answers := strings.Cut(path, "=")
		if p.Path = "/" + path; answers {
			if p.Status, err = strconv.Atoi(status); err != nil {
				return bad()
			}
		}
		p.Port, err = strconv.Atoi(port)
	default:
		return bad()
	}
	if err != nil || !ok {
		return bad()
	}
	return p, nil
}

// slug makes an id of a name: "Patch Tuesday + 3" is patch-tuesday-3.
func slug(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	id := b.String()
	return strings.Trim(id[:min(len(id), 60)], "-")
}
