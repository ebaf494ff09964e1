package migrate

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"assent/approval"
)

// Preferences reads a file of apt_preferences(5). What apt decides by priorities among versions stays with apt, which the agent asks; what
// keeps versions out becomes declines.
func Preferences(at string, raw []byte, group string) (Draft, error) {
	var d Draft
	if err := within(at, raw); err != nil {
		return d, err
	}
	records, err := stanzas(at, raw)
	if err != nil {
		return d, err
	}
	for _, r := range records {
		d.pin(r, group)
	}
	d.overridden(records)
	return d, nil
}

// maxWords is how many names one record may have, and how many globs and expressions are compared with the names of other records.
const maxWords = 500

// overridden notes records of single packages that override a glob or an expression in apt: here a decline counts whatever stands beside it.
func (d *Draft) overridden(records []stanza) {
	type wide struct {
		p  Pattern
		at string
	}
	var all []wide
	for _, w := range d.Wishes {
		for _, p := range w.Names {
			if w.Status == approval.Declined && !p.Source && p.Match != Exact && len(all) < maxWords {
				all = append(all, wide{p, w.At})
			}
		}
	}
	for _, r := range records {
		for _, name := range strings.Fields(r.fields["package"]) {
			name, _, _ = strings.Cut(name, ":")
			if i := slices.IndexFunc(all, func(w wide) bool { return w.at != r.at && w.p.name(name) }); i >= 0 {
				d.note(r.at, Differs, "In apt it counts more for %s than %s at %s; here the decline of that counts.", plain(name), all[i].p, all[i].at)
			}
		}
	}
}

// PreferencesName reports whether apt reads a file of preferences.d with this name.
func PreferencesName(name string) bool {
	return preferencesName.MatchString(name) && (path.Ext(name) == "" || path.Ext(name) == ".pref")
}

var preferencesName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// stanza is one record of fields, as in debian/control.
type stanza struct {
	at     string
	fields map[string]string // keys in lower case
}

// stanzas reads records of fields, divided by empty lines. Lines that begin with # say nothing.
func stanzas(at string, raw []byte) ([]stanza, error) {
	var out []stanza
	var now stanza
	key := ""
	done := func() {
		if len(now.fields) > 0 {
			out = append(out, now)
		}
		now, key = stanza{}, ""
	}
	n := 0
	for line := range strings.SplitSeq(string(raw), "\n") {
		n++
		line = strings.TrimRight(line, "\r")
		switch {
		case strings.HasPrefix(line, "#"):
			continue
		case strings.TrimSpace(line) == "":
			done()
			continue
		case line[0] == ' ' || line[0] == '\t':
			if key == "" {
				return nil, bad(at, "Line %d goes on, and there is no field before it.", n)
			}
			now.fields[key] += "\n" + strings.TrimSpace(line)
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if key = strings.ToLower(strings.TrimSpace(name)); !ok || key == "" {
			return nil, bad(at, "Line %d is no field: %.80q.", n, line)
		}
		if now.fields == nil {
			if now = (stanza{at: fmt.Sprintf("%s, line %d", at, n), fields: map[string]string{}}); len(out) >= maxRecords {
				return nil, bad(at, "It has more than %d records.", maxRecords)
			}
		}
		now.fields[key] = strings.TrimSpace(value)
	}
	done()
	return out, nil
}

// pin reads one record.
func (d *Draft) pin(r stanza, group string) {
	words := strings.Fields(r.fields["package"])
	by, what, _ := strings.Cut(strings.TrimSpace(r.fields["pin"]), " ")
	if len(words) == 0 && by == "" {
		return // only an explanation
	}
	priority, err := strconv.Atoi(r.fields["pin-priority"])
	switch {
	case len(words) == 0 || by == "":
		d.note(r.at, LeftOut, "A record without Package or Pin says nothing to apt either.")
		return
	case len(words) > maxWords:
		d.note(r.at, LeftOut, "It names %d packages; %d are read. Divide it.", len(words), maxWords)
		return
	case err != nil || priority == 0:
		d.note(r.at, LeftOut, "The priority %.40q is none that apt gives a meaning to.", r.fields["pin-priority"])
		return
	}
	p := pinned{stanza: r, group: group, priority: priority, what: strings.TrimSpace(what)}
	if len(words) == 1 && words[0] == "*" {
		p.all = true
	} else if p.names = d.names(r.at, words); len(p.names) == 0 {
		return
	}
	switch by {
	case "version":
		d.pinVersion(p)
	case "release":
		d.pinRelease(p)
	case "origin":
		d.pinSite(p)
	default:
		d.note(r.at, LeftOut, "Pins by %.40q are not known.", by)
	}
}

// pinned is a record that could be read.
type pinned struct {
	stanza
	group    string
	priority int
	what     string // behind version, release or origin
	all      bool   // Package: *
	names    []Pattern
}

// names reads the words of Package.
func (d *Draft) names(at string, words []string) (out []Pattern) {
	for _, w := range words {
		name, arch := w, ""
		if i := strings.LastIndex(w, ":"); i > 0 && !strings.HasSuffix(w, "/") && w[:i] != "src" {
			name, arch = w[:i], w[i+1:]
		}
		if arch != "" && arch != "any" && arch != "native" {
			d.note(at, Differs, "It is for the architecture %s only; decisions are for all architectures.", plain(arch))
		}
		p, ok := newPattern(name)
		if !ok {
			d.note(at, LeftOut, "The name %.100q is no name, glob or expression that can be read.", w)
			continue
		}
		out = append(out, p)
	}
	return out
}

// reason says in the ledger where a decision comes from.
func (p pinned) reason() string {
	if why := plain(p.fields["explanation"]); why != "" {
		return why + " (apt pin " + strconv.Itoa(p.priority) + ")"
	}
	return fmt.Sprintf("apt pin: %s, priority %d", plain(p.fields["pin"]), p.priority)
}

func (p pinned) wish(status approval.Status) Wish {
	return Wish{At: p.at, Status: status, Group: p.group, Reason: p.reason(), Names: p.names}
}

const keepsToIt = "apt on the device keeps to it, and the agent asks apt; leave the file where it is."

// pinVersion reads "version 5.36*".
func (d *Draft) pinVersion(p pinned) {
	switch prefix := literalPrefix(p.what); {
	case p.what == "":
		d.note(p.at, LeftOut, "It names no version.")
	case p.all:
		d.note(p.at, LeftOut, "A version of all packages together is nothing that could be decided on.")
	case p.priority < 0 && p.what == "*":
		w := p.wish(approval.Declined)
		w.Later = true
		d.Wishes = append(d.Wishes, w)
	case p.priority < 0:
		w := p.wish(approval.Declined)
		w.Version = p.what
		d.Wishes = append(d.Wishes, w)
		if prefix != p.what {
			d.note(p.at, Differs, "The versions %s that are known now are declined; one that comes later has to be declined by itself. Nothing installs that nobody approved.", plain(p.what))
		}
	case p.priority <= 500 || p.what == "*":
		d.note(p.at, AsIs, "With the priority %d the versions %s are not preferred to others; %s", p.priority, plain(p.what), keepsToIt)
	case prefix == "":
		d.note(p.at, LeftOut, "Which versions are later than %s cannot be told.", plain(p.what))
	default:
		keep, later := p.wish(approval.Approved), p.wish(approval.Declined)
		keep.Version, keep.Newest = p.what, true
		later.Newer, later.Not, later.Later = prefix, p.what, true
		d.Wishes = append(d.Wishes, keep, later)
		if p.priority > 1000 {
			d.note(p.at, Differs, "With a priority above 1000 apt would also go back to %s. Nothing goes back by itself here: `assent update rollback` orders it.", plain(p.what))
		}
	}
}

// literalPrefix is what a glob begins with.
func literalPrefix(pattern string) string {
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		return strings.TrimRight(pattern[:i], "-.+~:")
	}
	return pattern
}

// pinRelease reads "release o=Debian,a=unstable".
func (d *Draft) pinRelease(p pinned) {
	archive, unknown := readRelease(p.what)
	switch {
	case p.priority >= 100:
		d.note(p.at, AsIs, "It orders archives among each other; %s", keepsToIt)
	case p.priority > 0:
		d.note(p.at, AsIs, "apt takes nothing from there that is not installed from there already; %s Nothing installs that nobody approved.", keepsToIt)
	case unknown != "":
		d.note(p.at, LeftOut, "What it says of the archive (%s) is not known to the server; %s", plain(unknown), keepsToIt)
	case p.all:
		d.archiveOut(p, archive)
	case archive == Archive{}:
		w := p.wish(approval.Declined)
		w.Later = true
		d.Wishes = append(d.Wishes, w)
	default:
		w := p.wish(approval.Declined)
		w.Archives = []Archive{archive}
		d.Wishes = append(d.Wishes, w)
		d.note(p.at, Differs, "What only %s has now is declined; what comes there later has to be declined by itself. Nothing installs that nobody approved.", plain(p.what))
	}
}

// archiveOut says how to keep a whole archive out: decisions are about releases.
func (d *Draft) archiveOut(p pinned, archive Archive) {
	say := ""
	if c, ok := archive.criteria(); ok {
		say = fmt.Sprintf(" To keep tasks from it, put `!(%s)` into their rules.", c)
	}
	d.note(p.at, LeftOut, "A whole archive cannot be declined, only releases; %s Nothing of it installs that nobody approved.%s", keepsToIt, say)
}

// readRelease reads the conditions of a release; unknown are those that a server cannot judge.
func readRelease(what string) (a Archive, unknown string) {
	if what == "*" {
		return a, ""
	}
	for part := range strings.SplitSeq(what, ",") {
		key, value, found := strings.Cut(strings.TrimSpace(part), "=")
		value = strings.Trim(strings.TrimSpace(value), `"`)
		switch {
		case !found && key != "": // apt reads a bare word as the archive's name, or as its version if it begins with a digit
			a.Name = key
			if key[0] >= '0' && key[0] <= '9' {
				return a, part
			}
		case value == "*":
		case key == "o":
			a.Origin = value
		case key == "n", key == "a" && !alias(value):
			a.Name = value
		case key == "l" && value == "Debian-Security":
			a.Security = true
		default:
			return a, strings.TrimSpace(part)
		}
	}
	return a, ""
}

// alias reports whether a suite is a name that moves from one release to another: a server knows codenames.
func alias(suite string) bool {
	for _, s := range []string{"oldoldstable", "oldstable", "stable", "testing", "unstable", "experimental"} {
		if suite == s || strings.HasPrefix(suite, s+"-") || strings.HasPrefix(suite, "proposed-") {
			return true
		}
	}
	return strings.ContainsAny(suite, "*?[/")
}

// pinSite reads "origin deb.example.org".
func (d *Draft) pinSite(p pinned) {
	if p.priority < 0 {
		d.note(p.at, LeftOut, "The server does not know from which host (%s) a device gets an archive; %s", plain(p.what), keepsToIt)
		return
	}
	d.note(p.at, AsIs, "It orders hosts among each other; %s", keepsToIt)
}
