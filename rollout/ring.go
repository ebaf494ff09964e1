package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"assent/fault"
	"assent/fleet"
)

// DefaultSilence is the silence deadline of a ring that does not set one.
const DefaultSilence = 24 * time.Hour

// The limits of what a task may ask for.
const (
	MaxRings   = 20
	MaxGroups  = 1000 // in one ring
	maxName    = 80   // characters
	maxSpan    = 366 * 24 * time.Hour
	minSilence = time.Minute
)

// Ring is one stage of a task. Rates are exact: devices in a thousand. Every field but the name, the groups and the success rate has a usable zero value.
type Ring struct {
	Name        string          `json:"name"`
	Groups      []fleet.GroupID `json:"groups"`                      // its devices: those of these groups and below, unless a ring before names them
	SuccessRate int             `json:"success_per_mille"`           // 1 to 1000: at least so many of a thousand counted devices must succeed
	MinSample   int             `json:"min_sample,omitempty"`        // devices that must have an outcome first; 0 or more than there are: the whole ring
	Soak        Span            `json:"soak,omitzero"`               // how long sample and rate must hold before the next ring
	Failures    int             `json:"failure_limit,omitempty"`     // halts at so many failures; 0: no such limit
	FailureRate int             `json:"failure_per_mille,omitempty"` // halts when more than so many of a thousand of the ring's devices failed; 0: no such limit
	Silence     Span            `json:"silence,omitzero"`            // a device not heard of for so long counts as a failure; 0: 24 hours
	Probes      bool            `json:"probes_required,omitempty"`   // an install counts only with a passing health probe
	Restarted   bool            `json:"after_restart,omitempty"`     // an install that waits for a restart counts only after it (else judged apart, T5)
	NotBefore   time.Time       `json:"not_before,omitzero"`         // it does not open earlier
	Person      bool            `json:"opened_by_person,omitempty"`  // it does not open until a person opens it
	IfEmpty     Empty           `json:"if_empty,omitempty"`          // what happens when no device of it could take the update
}

// Empty says what to do with a ring of which no device could take the update.
type Empty string

// What an empty ring does. The zero value waits.
const (
	EmptyWait Empty = "wait" // for a person
	EmptySkip Empty = "skip" // skipped, after it stayed so for the soak time and at least Gap
)

// silence is the deadline that applies.
func (r Ring) silence() time.Duration {
	if r.Silence <= 0 {
		return DefaultSilence
	}
	return time.Duration(r.Silence)
}

// names reports whether a device with this path (its group and the ancestors) is in the ring's scope.
func (r Ring) names(path []fleet.GroupID) bool {
	return slices.ContainsFunc(r.Groups, func(g fleet.GroupID) bool { return slices.Contains(path, g) })
}

// Place returns the name of the ring that a device with this path (nearest group first) is in: the first that names it. It is empty when none does.
func Place(rings []Ring, path []fleet.GroupID) string {
	if i := place(rings, path); i >= 0 {
		return rings[i].Name
	}
	return ""
}

func place(rings []Ring, path []fleet.GroupID) int {
	return slices.IndexFunc(rings, func(r Ring) bool { return r.names(path) })
}

// distinct leaves the first ring of each name, so that Advance is total.
func distinct(rings []Ring) []Ring {
	out := make([]Ring, 0, len(rings))
	for _, r := range rings {
		if !slices.ContainsFunc(out, func(o Ring) bool { return o.Name == r.Name }) {
			out = append(out, r)
		}
	}
	return out
}

func wrong(field, format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, "ring_invalid", format, args...).On(field)
}

// Validate refuses rings that cannot work, naming the first field at fault as "rings[1].soak". No rings at all are valid. The refusals are *fault.Error.
func Validate(rings []Ring) error {
	if len(rings) > MaxRings {
		return wrong("rings", "A task has at most %d rings, not %d.", MaxRings, len(rings))
	}
	names, groups := map[string]bool{}, map[fleet.GroupID]string{}
	var latest Ring
	for i, r := range rings {
		at := func(field string) string { return fmt.Sprintf("rings[%d].%s", i, field) }
		if err := r.check(at); err != nil {
			return err
		}
		if names[strings.ToLower(r.Name)] {
			return wrong(at("name"), "Two rings are named %q: which comes first could not be told.", r.Name)
		}
		names[strings.ToLower(r.Name)] = true
		for n, g := range r.Groups {
			if other, twice := groups[g]; twice {
				return wrong(fmt.Sprintf("%s[%d]", at("groups"), n), "The group %q stands in ring %q already; a device counts in the first ring that names it.", g, other)
			}
			groups[g] = r.Name
		}
		if !r.NotBefore.IsZero() && r.NotBefore.Before(latest.NotBefore) {
			return wrong(at("not_before"), "Ring %q would open before ring %q, which comes first.", r.Name, latest.Name)
		}
		if !r.NotBefore.IsZero() {
			latest = r
		}
	}
	return nil
}

// check refuses a ring that is wrong by itself.
func (r Ring) check(at func(string) string) error {
	switch {
	case strings.TrimSpace(r.Name) == "" || r.Name != strings.TrimSpace(r.Name):
		return wrong(at("name"), "A ring needs a name, without spaces around it.")
	case utf8.RuneCountInString(r.Name) > maxName || !utf8.ValidString(r.Name) || strings.ContainsFunc(r.Name, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return wrong(at("name"), "A ring's name has at most %d characters, in one line.", maxName)
	case len(r.Groups) == 0 || slices.Contains(r.Groups, ""):
		return wrong(at("groups"), "Ring %q names no group, so no device is in it.", r.Name)
	case len(r.Groups) > MaxGroups:
		return wrong(at("groups"), "Ring %q names %d groups; the most is %d. Name a group above them.", r.Name, len(r.Groups), MaxGroups)
	}
	return r.checkNumbers(at)
}

func (r Ring) checkNumbers(at func(string) string) error {
	switch {
	case r.SuccessRate < 1 || r.SuccessRate > 1000:
		return wrong(at("success_per_mille"), "The success rate is 1 to 1000 of a thousand devices; with none, failing everywhere would pass.")
	case r.MinSample < 0:
		return wrong(at("min_sample"), "The minimum sample is a number of devices, 0 for the whole ring.")
	case r.Soak < 0 || time.Duration(r.Soak) > maxSpan:
		return wrong(at("soak"), "The soak time is 0 to 366 days.")
	case r.Failures < 0:
		return wrong(at("failure_limit"), "The failure limit is a number of devices, 0 for none.")
	case r.FailureRate < 0 || r.FailureRate > 999:
		return wrong(at("failure_per_mille"), "The failure rate is 1 to 999 of a thousand devices, 0 for none.")
	case r.Silence != 0 && (time.Duration(r.Silence) < minSilence || time.Duration(r.Silence) > maxSpan):
		return wrong(at("silence"), "The silence deadline is 1 minute to 366 days; left out it is 24 hours.")
	case !slices.Contains([]Empty{"", EmptyWait, EmptySkip}, r.IfEmpty):
		return wrong(at("if_empty"), "An empty ring does %q or %q, not %q.", EmptyWait, EmptySkip, r.IfEmpty)
	}
	return nil
}

// ValidateIn is Validate, and refuses rings that do not fit the groups there are: a group that is not known, and a ring of which every group lies inside
// a ring before it, so that no device could ever count in it.
func ValidateIn(rings []Ring, tree fleet.Tree) error {
	if err := Validate(rings); err != nil {
		return err
	}
	for i, r := range rings {
		hidden := true
		for n, g := range r.Groups {
			path := tree.Path(g)
			if len(path) == 0 {
				return wrong(fmt.Sprintf("rings[%d].groups[%d]", i, n), "There is no group %q.", g)
			}
			hidden = hidden && place(rings[:i], path) >= 0
		}
		if hidden {
			return wrong(fmt.Sprintf("rings[%d].groups", i), "Every device of ring %q counts in a ring before it: put the narrower ring first.", r.Name)
		}
	}
	return nil
}
