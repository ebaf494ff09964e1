// Package migrate reads what other products decided, and says what it comes to here: apt's preferences and holds and
// unattended-upgrades, patch baselines of AWS Systems Manager, approvals of WSUS.
//
// Parties: a reader (one file for each source) makes a Draft of what it is given. The command line fetches the updates that the Draft asks
// for, and Resolve makes decisions about exactly those. What comes out is what a fleet file holds, so that `assent diff` and `assent apply`
// do the rest: there is one way to write.
//
// # Guarantees
//
//   - Nothing is dropped silently: every record of a source becomes a group, a task, a wish or a Note that says why not.
//   - Nothing widens: where a condition that narrowed a rule cannot be said here, the rule is left out, and the note says so.
//   - A decline wins over an approval of the same update in the same group, as everywhere (A3).
//   - Pure and bounded: bytes in, values out; what is too large or not of the format is a *fault.Error that names the line.
//
// # Limits
//
// It does not ask the other product, and it does not translate what a product does by itself (schedules of AWS maintenance windows, WSUS
// client policy). Decisions are about releases that the server knows; for others it can only say that it does not know them.
package migrate

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"assent/approval"
	"assent/fault"
	"assent/task"
)

// The limits of what is read.
const (
	MaxInput   = 16 << 20 // bytes of one file
	maxRecords = 20_000   // records of one source
	maxText    = 500      // bytes of a text that is taken over
)

// Draft is what a source comes to.
type Draft struct {
	Groups []Group     `json:"groups,omitempty"`
	Tasks  []task.Task `json:"tasks,omitempty"` // groups by name
	Wishes []Wish      `json:"wishes,omitempty"`
	Notes  []Note      `json:"notes,omitempty"`
}

// Group is a group that has to be there.
type Group struct {
	Name   string `json:"name"`
	Parent string `json:"parent,omitempty"` // empty: the root
}

// Wish is a decision that the source asks for, before it is known on which updates.
type Wish struct {
	At       string          `json:"at"` // where it stands in the source: "preferences.d/nginx, line 3"
	Status   approval.Status `json:"status"`
	Group    string          `json:"group,omitempty"` // by name; empty: the root
	Reason   string          `json:"reason"`
	Names    []Pattern       `json:"names"`              // one of them has to match
	Version  string          `json:"version,omitempty"`  // only releases whose version matches this glob
	Newer    string          `json:"newer,omitempty"`    // only releases newer than this version …
	Not      string          `json:"not,omitempty"`      // … and whose version does not match this glob
	Archives []Archive       `json:"archives,omitempty"` // only releases that no other archive has
	// Later declines the oldest match with all later ones (A4), instead of each match. Newest approves only the newest match.
	Later  bool `json:"later,omitempty"`
	Newest bool `json:"newest,omitempty"`
	// Needed counts only releases that some device could take: the version on the device is not known.
	Needed bool `json:"needed,omitempty"`
}

// NoteKind says what became of something in the source.
type NoteKind string

// What can become of it.
const (
	LeftOut  NoteKind = "left_out"  // it cannot be said here
	Differs  NoteKind = "differs"   // it is carried over and means something else here
	AsIs     NoteKind = "as_is"     // there is nothing to do: it stays as it is, or is so anyway
	NotKnown NoteKind = "not_known" // no update that this server knows
)

// Note is what people have to know of one thing in the source.
type Note struct {
	At   string   `json:"at"`
	Kind NoteKind `json:"kind"`
	Text string   `json:"text"` // one or two sentences
}

// Merge adds what another file of the source comes to.
func (d *Draft) Merge(o Draft) {
	for _, g := range o.Groups {
		if !slices.ContainsFunc(d.Groups, func(x Group) bool { return strings.EqualFold(x.Name, g.Name) }) {
			d.Groups = append(d.Groups, g)
		}
	}
	for _, t := range o.Tasks {
		if n := count(d.Tasks, t.Name); n > 0 {
			t.Name = fmt.Sprintf("%s (%d)", t.Name, n+1)
		}
		d.Tasks = append(d.Tasks, t)
	}
	d.Wishes, d.Notes = append(d.Wishes, o.Wishes...), append(d.Notes, o.Notes...)
}

// count is how many tasks have a name, with or without a number behind it.
func count(tasks []task.Task, name string) (n int) {
	for _, t := range tasks {
		if t.Name == name || strings.HasPrefix(t.Name, name+" (") {
			n++
		}
	}
	return n
}

func (d *Draft) note(at string, kind NoteKind, format string, args ...any) {
	d.Notes = append(d.Notes, Note{At: at, Kind: kind, Text: fmt.Sprintf(format, args...)})
}

// Decision is a wish about one release.
type Decision struct {
	At      string          `json:"at"`
	Update  string          `json:"update"` // package URL
	Status  approval.Status `json:"status"`
	Group   string          `json:"group,omitempty"`
	Reason  string          `json:"reason,omitempty"`
	Expires time.Time       `json:"expires,omitzero"`
	Reach   approval.Reach  `json:"reach,omitzero"`
}

// bad is a refusal of input, with the place in it.
func bad(at, format string, args ...any) error {
	return fault.New(fault.Invalid, "source_malformed", "%s: "+format, append([]any{at}, args...)...)
}

// within refuses what is too large or no text.
func within(at string, raw []byte) error {
	switch {
	case len(raw) > MaxInput:
		return fault.New(fault.TooLarge, "source_too_large", "%s has %d bytes; %d are read.", at, len(raw), MaxInput)
	case !utf8.Valid(raw):
		return bad(at, "It is not text in UTF-8.")
	}
	return nil
}

// plain is a text of the source as it may stand in a name, a reason or a note: one line, no control characters, not too long.
func plain(s string) string {
	out := make([]rune, 0, min(len(s), maxText))
	for _, r := range s {
		switch {
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError:
			r = ' '
		case len(out) >= maxText:
			return string(out) + "…"
		}
		if r == ' ' && (len(out) == 0 || out[len(out)-1] == ' ') {
			continue
		}
		out = append(out, r)
	}
	for len(out) > 0 && out[len(out)-1] == ' ' {
		out = out[:len(out)-1]
	}
	return string(out)
}
