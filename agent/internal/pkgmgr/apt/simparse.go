package apt

import (
	"fmt"
	"strings"
)

// step is one line of what apt-get -s says it would do.
type step struct {
	Remove  bool
	Name    string
	Arch    string // of the new version ("all" among them); for a removal empty or the foreign architecture
	Version string // the new version; empty for a removal
	From    string // the version there now; empty for a new package
}

// parseSimulation reads the Inst, Remv and Purg lines of apt-get -s. A line has the form
//
//	Inst NAME[:ARCH] [OLD] (NEW ORIGIN:SUITE, … [ARCH]) [NAMES:ARCH OF WHAT IS BROKEN MEANWHILE ]
//
// where everything after the parenthesis, and the old version, may be missing, and labels of origins may hold any
// character. A line that starts like one but cannot be read is an error: unknown holds.
func parseSimulation(out string) ([]step, error) {
	var steps []step
	for line := range strings.Lines(out) {
		op, rest, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		switch op {
		case "Inst":
			s, ok := parseInst(rest)
			if !ok {
				return nil, fmt.Errorf("apt's line cannot be read: %.300q", line)
			}
			steps = append(steps, s)
		case "Remv", "Purg":
			s, ok := parseRemv(rest)
			if !ok {
				return nil, fmt.Errorf("apt's line cannot be read: %.300q", line)
			}
			steps = append(steps, s)
		}
	}
	return steps, nil
}

func parseInst(rest string) (step, bool) {
	name, rest, ok := strings.Cut(rest, " ")
	if !ok {
		return step{}, false
	}
	s := step{}
	s.Name, _, _ = strings.Cut(name, ":")
	if strings.HasPrefix(rest, "[") {
		s.From, rest, ok = strings.Cut(rest[1:], "] ")
		if !ok {
			return step{}, false
		}
	}
	if !strings.HasPrefix(rest, "(") {
		return step{}, false
	}
	s.Version, rest, ok = strings.Cut(rest[1:], " ")
	end := strings.LastIndex(rest, "])") // labels may hold it too; the last one ends the parenthesis
	if !ok || end < 0 {
		return step{}, false
	}
	start := strings.LastIndexByte(rest[:end], '[')
	if start < 0 {
		return step{}, false
	}
	s.Arch = rest[start+1 : end]
	return s, checkName(s.Name, s.Arch, s.Version) == nil
}

func parseRemv(rest string) (step, bool) {
	name, rest, ok := strings.Cut(rest, " [")
	if !ok {
		return step{}, false
	}
	s := step{Remove: true}
	s.Name, s.Arch, _ = strings.Cut(name, ":")
	s.From, _, ok = strings.Cut(rest, "]")
	return s, ok && itemName.MatchString(s.Name)
}

// aptErrors are apt's own words of what went wrong: its E: lines and the sentences about unmet dependencies.
func aptErrors(out string) []string {
	var errs []string
	unmet := false
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "E: "):
			unmet = false
			errs = append(errs, strings.TrimPrefix(line, "E: "))
		case strings.HasPrefix(line, "The following packages have unmet dependencies"):
			unmet = true
		case unmet && strings.HasPrefix(line, " "):
			errs = append(errs, strings.Join(strings.Fields(line), " "))
		default:
			unmet = false
		}
	}
	return errs
}

// aptWords is one sentence of apt's own, for people.
func aptWords(out string) string {
	errs := aptErrors(out)
	if len(errs) == 0 {
		return "no reason given"
	}
	s := plain(strings.Join(errs, "; "), 600)
	return s
}

// plain makes text of other programs fit to be shown and stored: no control characters, at most limit bytes.
func plain(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
