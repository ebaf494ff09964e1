package dnf

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"assent/pkgver"
	"assent/wire"
)

// step is one line of what dnf says it would do.
type step struct {
	Op                  wire.Op
	Name, Arch, Version string
	// Replaces are packages that go because of it: "name.arch version".
	Replaces []replaced
}

type replaced struct{ Name, Arch, Version string }

// sections are the headings of dnf's table and what stands below them. Anything else is not understood, and so refused.
var sections = map[string]wire.Op{
	"Installing:":                   wire.OpInstall,
	"Installing dependencies:":      wire.OpInstall,
	"Upgrading:":                    wire.OpUpgrade,
	"Downgrading:":                  wire.OpDowngrade,
	"Reinstalling:":                 wire.OpReinstall,
	"Removing:":                     wire.OpRemove,
	"Removing dependent packages:":  wire.OpRemove,
	"Removing unused dependencies:": wire.OpRemove,
}

const (
	resolved = "Dependencies resolved."
	nothing  = "Nothing to do."
	summary  = "Transaction Summary"
)

// errNoTable says that dnf did not come to a table: it gives its reasons instead.
var errNoTable = errors.New("dnf did not say what it would do")

var (
	rule     = regexp.MustCompile(`^=+$`)
	heading  = regexp.MustCompile(`^ Package +Arch(itecture)? +Version +Repo(sitory)? +Size$`)
	sizeText = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)
	sizeUnit = regexp.MustCompile(`^[kMGTPEZY]$`)
)

// parseTable reads the table of `dnf --assumeno`. Rows are read as words, for dnf breaks them into several lines where a
// name is longer than its column. It refuses everything that it does not expect.
func parseTable(output string) ([]step, error) {
	_, table, found := strings.Cut("\n"+output, "\n"+resolved+"\n")
	if !found {
		return nil, errNoTable
	}
	lines := strings.Split(table, "\n")
	if lines[0] == nothing {
		return nil, nil
	}
	if len(lines) < 4 || !rule.MatchString(lines[0]) || !heading.MatchString(strings.TrimRight(lines[1], " ")) || !rule.MatchString(lines[2]) {
		return nil, fmt.Errorf("dnf's table has another form than expected: %.200q", table)
	}
	var t rows
	for _, line := range lines[3:] {
		line = strings.TrimRight(line, " ")
		switch op, section := sections[line]; {
		case line == summary:
			return t.steps, t.flush()
		case section:
			if err := t.flush(); err != nil {
				return nil, err
			}
			t.op = op
		case line == "":
		case line[0] != ' ' || t.op == "":
			return nil, fmt.Errorf("dnf would do something that is not understood: %.200q", line)
		default:
			if err := t.row(line); err != nil {
				return nil, err
			}
		}
	}
	return nil, fmt.Errorf("dnf's table does not end")
}

// rows is the table as far as it is read.
type rows struct {
	op    wire.Op
	words []string // of rows that are not read yet
	steps []step
}

// row takes a line of a section: a row, part of one, or what the row above replaces.
func (t *rows) row(line string) error {
	f := strings.Fields(line)
	if f[0] != "replacing" {
		t.words = append(t.words, f...)
		return nil
	}
	if err := t.flush(); err != nil {
		return err
	}
	dot := -1
	if len(f) == 3 {
		dot = strings.LastIndexByte(f[1], '.')
	}
	if dot < 0 || len(t.steps) == 0 || checkName(f[1][:dot], f[1][dot+1:], f[2]) != nil {
		return fmt.Errorf("dnf would do something that is not understood: %.200q", line)
	}
	last := &t.steps[len(t.steps)-1]
	last.Replaces = append(last.Replaces, replaced{f[1][:dot], f[1][dot+1:], f[2]})
	return nil
}

// flush reads the words of whole rows: name, architecture, version, repository, size, and perhaps its unit.
func (t *rows) flush() error {
	w := t.words
	t.words = nil
	for len(w) > 0 {
		if len(w) < 5 || checkName(w[0], w[1], w[2]) != nil || !sizeText.MatchString(w[4]) {
			return fmt.Errorf("dnf would do something that is not understood: %.200q", strings.Join(w, " "))
		}
		t.steps = append(t.steps, step{Op: t.op, Name: w[0], Arch: w[1], Version: w[2]})
		w = w[5:]
		if len(w) > 0 && sizeUnit.MatchString(w[0]) {
			w = w[1:]
		}
	}
	return nil
}

var (
	duplicateLine = regexp.MustCompile(`^(\S+) is a duplicate with (\S+)$`)
	scriptletLine = regexp.MustCompile(`(?m)^(?:warning|error): %([a-z]+)\(([^()\s]+)\) scriptlet failed\b`)
	keptLine      = regexp.MustCompile(`(?m)^warning: (/\S+) created as /\S+\.rpmnew$`)
)

// parseDuplicates reads `dnf check --duplicates`: pairs of packages.
func parseDuplicates(output string) [][2]string {
	var out [][2]string
	for line := range strings.Lines(output) {
		if m := duplicateLine.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			out = append(out, [2]string{plain(m[1], 300), plain(m[2], 300)})
		}
	}
	return out
}

// failedScriptlets are the scriptlets that failed in a run, by the package as rpm names it: name-version-release.arch, without
// an epoch.
func failedScriptlets(output string) map[string]string {
	out := map[string]string{}
	for _, m := range scriptletLine.FindAllStringSubmatch(output, -1) {
		out[m[2]] = "%" + m[1]
	}
	return out
}

// rpmName is a package as rpm names it in its messages.
func rpmName(name, arch, version string) string {
	v, err := pkgver.ParseRPM(version)
	if err != nil {
		return ""
	}
	return name + "-" + v.Version() + "-" + v.Release() + "." + arch
}
