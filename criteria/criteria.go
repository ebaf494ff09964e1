// Package criteria compiles and evaluates the expressions that people write: the criteria of a task's rule, over an update
// (T2), and selections, over a device.
//
// Expressions are CEL (Common Expression Language), cut down to what is needed here: fields with a documented type, the
// logical operators, comparisons, `in`, texts (contains, startsWith, endsWith, matches), size, days(n), hours(n), duration("…")
// and exists/all over a list. Nothing else compiles. Parties: whoever writes a rule, the console and its completion, the
// task that admits updates, the server that counts what a rule would match.
//
// Guarantees:
//
//   - Pure and bounded: no clock (the time comes in with what is judged), no I/O, no recursion, no nested loops. Source,
//     nodes, depth, patterns and estimated cost are limited when it compiles; where a list is read, cost also while it runs.
//   - What is not known is never false. A field whose value nobody knows makes the evaluation fail with a sentence that names
//     it, unless the rest of the expression decides alone (`false && unknown` is false, `true || unknown` is true). Whoever
//     asks must hold then. Where a missing value is a value of its own, or falls back to another one, Fields says so.
//   - Ordering means what people expect. `severity >= "high"` goes by severity and not by alphabet; `version < "3.0.17"` goes
//     by the ecosystem's own version order. Other texts have no order, and ordering them does not compile.
//   - A value that a field can never have (`severity == "hihg"`) does not compile, so a slip cannot make a rule that is silently
//     never met.
//   - A refusal is a *fault.Error with line and column, in one sentence.
//   - Compiled expressions are safe for concurrent use and never change.
//   - Form and text are two views of one thing: Language.Form reads an expression as the lines of the console's form if it is a
//     conjunction of simple comparisons; Form.Expression writes it back in the canonical spelling.
//
// Limits: it knows what the catalog and the fleet know. CVEs of software that no feed publishes, and whether a CVE is
// exploited, are unknown until somebody tells (Update.Advisories). Language.Never finds what is cheap to prove, not everything.
package criteria

import (
	"slices"
	"strings"

	"assent/catalog"
	"assent/fleet"
)

// Type is the type of a field.
type Type string

// The types of fields.
const (
	Text     Type = "text"     // compared with == and !=, `in`, contains, startsWith, endsWith, matches
	Version  Type = "version"  // a text that <, <=, > and >= order as its ecosystem does
	Choice   Type = "choice"   // a text out of Values
	Level    Type = "level"    // a text out of Values that <, <=, > and >= order as listed
	List     Type = "list"     // a list of texts: "x" in field, field.exists(x, …), size(field)
	Bool     Type = "bool"     // true or false
	Number   Type = "number"   // a whole number
	Duration Type = "duration" // compared with days(2), hours(12) or duration("90m")
)

// Field is a variable of expressions.
type Field struct {
	Name   string   `json:"name"`
	Type   Type     `json:"type"`
	Doc    string   `json:"doc"`
	Values []string `json:"values,omitempty"` // of Choice and Level, in order
	// Missing says what stands when the value is not known. Empty: it is always known.
	Missing string `json:"missing,omitempty"`
	// Space is the version order of a Version field; empty: that of the update's ecosystem.
	Space string `json:"space,omitempty"`
}

// unknownHolds is how Field.Missing says that there is no fallback.
const unknownHolds = "unknown: the evaluation holds"

// updateFields are the variables of rules.
var updateFields = []Field{
	{Name: "class", Type: Choice, Values: []string{string(catalog.ThirdParty), string(catalog.Managed), string(catalog.Component), string(catalog.Content)},
		Doc: "who knows the software: the device's own package sources (third_party), a feed (managed, content) or Assent itself (component)"},
	{Name: "ecosystem", Type: Choice, Values: []string{"deb", "rpm", catalog.Generic}, Doc: "the kind of package; generic for trees and content of feeds"},
	{Name: "origin", Type: Text, Doc: "who publishes it: the Origin of its archive in lower case (\"debian\"), or \"feed.NAME\""},
	{Name: "origins", Type: List, Doc: "the archives in which it was seen: \"Debian:bookworm-security\""},
	{Name: "feed", Type: Text, Doc: "the feed that publishes it", Missing: "\"\" for what no feed publishes"},
	{Name: "name", Type: Text, Doc: "the name of the software: the source package (\"openssl\") or the application"},
	{Name: "packages", Type: List, Doc: "the names of its files' packages: \"libssl3\""},
	{Name: "version", Type: Version, Doc: "its version; <, <=, > and >= order as the ecosystem does, == compares the text"},
	{Name: "severity", Type: Level, Values: []string{string(catalog.Unrated), string(catalog.Low), string(catalog.Medium), string(catalog.High), string(catalog.Critical)},
		Doc: "how severe what it fixes is", Missing: "\"unrated\", a value of its own that comes before \"low\""},
	{Name: "security", Type: Bool, Doc: "a security archive offers it"},
	{Name: "cves", Type: List, Doc: "the CVEs that it fixes", Missing: unknownHolds},
	{Name: "kev", Type: Bool, Doc: "one of its CVEs is known to be exploited; feeds say which, nobody yet says it of package sources", Missing: unknownHolds},
	{Name: "advisories", Type: List, Doc: "the advisories about it: \"DSA-5764-1\"", Missing: unknownHolds},
	{Name: "age_release", Type: Duration, Doc: "time since its publisher released it", Missing: "time since it was first seen"},
	{Name: "age_seen", Type: Duration, Doc: "time since this server first saw it"},
	{Name: "new_major", Type: Bool, Doc: "its first number, or its epoch, differs from that of the version on the device", Missing: "false where nothing of it is installed; " + unknownHolds + " where versions cannot be read"},
	{Name: "size", Type: Number, Doc: "bytes of its own files, all architectures together", Missing: unknownHolds + " while none of its files is known"},
	{Name: "phased", Type: Number, Doc: "percentage of devices to which its publisher has released it; 100 when not phased"},
	{Name: "restart", Type: Choice, Values: []string{"unknown", string(catalog.RestartNone), string(catalog.RestartService), string(catalog.RestartDevice)},
		Doc: "what its publisher says must be restarted", Missing: "\"unknown\" for what no feed publishes"},
	{Name: "removable", Type: Bool, Doc: "it can be taken back by declining it"},
}

// deviceFields are the variables of selections.
var deviceFields = []Field{
	{Name: "id", Type: Text, Doc: "the device's id"},
	{Name: "name", Type: Text, Doc: "its name at enrolment"},
	{Name: "hostname", Type: Text, Doc: "the hostname that it reports", Missing: "its name at enrolment"},
	{Name: "group", Type: Text, Doc: "the name of its group"},
	{Name: "groups", Type: List, Doc: "the names of its group and of all groups above, nearest first"},
	{Name: "test", Type: Bool, Doc: "it is in a test group"},
	{Name: "os", Type: Text, Doc: "ID of os-release: \"debian\"", Missing: unknownHolds},
	{Name: "os_version", Type: Version, Space: "deb", Doc: "VERSION_ID of os-release: \"12\"", Missing: "\"\" where the system has none; " + unknownHolds + " before the first report"},
	{Name: "codename", Type: Text, Doc: "VERSION_CODENAME of os-release: \"bookworm\"", Missing: "\"\" where the system has none; " + unknownHolds + " before the first report"},
	{Name: "arch", Type: Text, Doc: "dpkg's name of its architecture: \"amd64\"", Missing: unknownHolds},
	{Name: "foreign", Type: List, Doc: "its foreign architectures", Missing: unknownHolds + " before the first report"},
	{Name: "kernel", Type: Version, Space: kernels, Doc: "the running kernel, as uname -r says: \"6.1.0-28-amd64\"", Missing: unknownHolds},
	{Name: "agent", Type: Version, Space: catalog.Generic, Doc: "the version of its agent", Missing: unknownHolds},
	{Name: "time_zone", Type: Text, Doc: "its IANA time zone; \"UTC\" where it has none", Missing: unknownHolds},
	{Name: "restart_pending", Type: Bool, Doc: "something that was installed waits for a restart", Missing: unknownHolds},
	{Name: "findings", Type: List, Doc: "codes of the weaknesses in its set-up: \"trusted_yes\"", Missing: unknownHolds},
	{Name: "healthy", Type: Bool, Doc: "its package manager is well", Missing: unknownHolds},
	{Name: "guard", Type: Choice, Values: []string{"none", string(fleet.Observe), string(fleet.BlockDeclined), string(fleet.ApprovedOnly)},
		Doc: "the guard mode in force; none where the hook is not installed", Missing: unknownHolds},
	{Name: "age_enrolled", Type: Duration, Doc: "time since it enrolled"},
	{Name: "last_seen", Type: Duration, Doc: "time since it last spoke with the server", Missing: unknownHolds + " while it never did"},
}

// Fields lists the variables of the language, in the order of the documentation.
func (l *Language) Fields() []Field {
	out := slices.Clone(l.fields)
	for i := range out {
		out[i].Values = slices.Clone(out[i].Values)
	}
	return out
}

// field finds a variable by its name.
func (l *Language) field(name string) (Field, bool) {
	f, ok := l.byName[name]
	return f, ok
}

// level is the place of a value in its field's order; false for a value that the field cannot have.
func (f Field) level(value string) (int, bool) {
	i := slices.Index(f.Values, value)
	return i, i >= 0
}

// near finds the name that was probably meant.
func near(name string, among []string) string {
	best, least := "", len(name)/2+1
	for _, candidate := range among {
		if d := distance(name, candidate); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// distance is the number of letters to add, drop or change between two short words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, before+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// quoted lists values for a sentence.
func quoted(values []string) string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = quote(v)
	}
	return strings.Join(out, ", ")
}
