package migrate

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"assent/approval"
)

// Holds reads held packages: dpkg's status file, `dpkg --get-selections`, or `apt-mark showhold`.
func Holds(at string, raw []byte, group string) (Draft, error) {
	var d Draft
	if err := within(at, raw); err != nil {
		return d, err
	}
	var all []held
	var err error
	if bytes.HasPrefix(raw, []byte("Package:")) || bytes.Contains(raw, []byte("\nPackage:")) {
		all, err = heldStatus(at, raw)
	} else {
		all, err = heldList(at, raw)
	}
	if err != nil {
		return d, err
	}
	for _, h := range all {
		d.hold(h, group)
	}
	return d, nil
}

// held is a package on hold.
type held struct {
	at, name, source, version string // source and its version as far as they are known
}

// heldStatus reads dpkg's status file.
func heldStatus(at string, raw []byte) (out []held, err error) {
	all, err := stanzas(at, raw)
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		want, _, _ := strings.Cut(s.fields["status"], " ")
		name := s.fields["package"]
		if want != "hold" || !packageName.MatchString(name) {
			continue
		}
		h := held{at: s.at, name: name, source: name, version: s.fields["version"]}
		if source, version, ok := strings.Cut(s.fields["source"], "("); source != "" {
			h.source = strings.TrimSpace(source)
			if ok {
				h.version = strings.TrimSuffix(strings.TrimSpace(version), ")")
			}
		}
		out = append(out, h)
	}
	return out, nil
}

// heldList reads lines of a name, or of a name and a selection.
func heldList(at string, raw []byte) (out []held, err error) {
	n := 0
	for line := range strings.SplitSeq(string(raw), "\n") {
		n++
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		name, _, _ := strings.Cut(words[0], ":")
		switch {
		case len(words) > 2 || !packageName.MatchString(name):
			return nil, bad(at, "Line %d is no package with its selection: %.80q.", n, line)
		case len(words) == 2 && words[1] != "hold":
			continue
		case len(out) >= maxRecords:
			return nil, bad(at, "It has more than %d held packages.", maxRecords)
		}
		out = append(out, held{at: fmt.Sprintf("%s, line %d", at, n), name: name})
	}
	return out, nil
}

var packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]*$`)

// hold declines what is newer than the held version.
func (d *Draft) hold(h held, group string) {
	w := Wish{At: h.at, Status: approval.Declined, Group: group, Later: true, Reason: "on hold: " + h.name,
		Names: []Pattern{{Text: h.name, Match: Exact}}, Newer: h.version, Needed: h.version == ""}
	if h.source != "" {
		w.Names = []Pattern{{Text: h.source, Match: Exact, Source: true}}
	}
	d.Wishes = append(d.Wishes, w)
	d.note(h.at, AsIs, "The hold of %s stays on the device, and Assent keeps to it (held package). After the import the decline does its work: `apt-mark unhold %s`.", h.name, h.name)
}
