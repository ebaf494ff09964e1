package feed

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"assent/catalog"
	"assent/fault"
	"assent/pkgver"
)

const maxVersion = 128

var (
	feedID      = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)
	application = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]{1,62}$`)
	word        = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)
	digest      = regexp.MustCompile(`^[0-9a-f]{64}$`)
	cve         = regexp.MustCompile(`^CVE-[0-9]{4}-[0-9]{4,19}$`)
	unit        = regexp.MustCompile(`^[A-Za-z0-9:_.@-]{1,200}\.(service|socket|timer|target|mount)$`)
)

// CheckID refuses what cannot be the name of a feed.
func CheckID(id string) error {
	if !feedID.MatchString(id) {
		return fault.New(fault.Invalid, "feed_name", "A feed's name has up to 40 lower-case letters, digits and dashes.").On("name")
	}
	return nil
}

// checker looks at a manifest. What it does not know is noted; what is unsound is refused.
type checker struct {
	m       Manifest
	unknown []string
}

func (c *checker) note(format string, args ...any) {
	c.unknown = append(c.unknown, fmt.Sprintf(format, args...))
}

// refusal names what is unsound.
func refusal(field, format string, args ...any) error {
	return fault.New(fault.Invalid, "manifest_malformed", format, args...).On(field)
}

func (c *checker) check() error {
	m := c.m
	switch {
	case !application.MatchString(m.Application):
		return refusal("application", "The application's name must be 2 to 63 lower-case letters, digits, dots, dashes and plus signs.")
	case !sound(m.Version, 1, maxVersion) || strings.ContainsAny(m.Version, " /\\"):
		return refusal("version", "The version is empty or has characters that no version has.")
	case !sound(m.Title, 0, maxShort) || !sound(m.Summary, 0, maxShort) || !sound(m.Removal.Reason, 0, maxShort):
		return refusal("title", "A title, summary or reason is too long or has control characters.")
	case !lines(m.Notes):
		return refusal("notes", "The release notes are longer than %d bytes or have control characters.", maxText)
	case len(m.Items) == 0 || len(m.Items) > maxItems:
		return refusal("items", "A release has 1 to %d items.", maxItems)
	case max(len(m.AppliesTo), len(m.Requires), len(m.Supersedes), len(m.CVEs), len(m.Exploited), len(m.Agreements)) > maxList:
		return refusal("", "A list has more than %d entries.", maxList)
	}
	c.words()
	c.versions()
	for _, f := range []func() error{c.items, c.agreements, c.probe, c.lists} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// words notes values that this build does not know.
func (c *checker) words() {
	m := c.m
	if m.Format != ManifestFormat {
		c.note("manifest format %d", m.Format)
	}
	if !slices.Contains([]catalog.Class{catalog.Managed, catalog.Component, catalog.Content}, m.Class) {
		c.note("class %.40q", m.Class)
	}
	if m.Payload.Ecosystem() == "" {
		c.note("payload format %.40q", m.Payload)
	}
	if (m.Class == catalog.Content) != (m.Payload == catalog.ContentFile) {
		c.note("payload format %.40q in class %.40q", m.Payload, m.Class)
	}
	if !slices.Contains([]catalog.ReleaseKind{catalog.Full, catalog.Patch, catalog.Data}, m.Kind) {
		c.note("kind %.40q", m.Kind)
	}
	if !slices.Contains([]catalog.Restart{catalog.RestartNone, catalog.RestartService, catalog.RestartDevice}, m.Restart) {
		c.note("restart behaviour %.40q", m.Restart)
	}
	if m.Severity != "" && m.Severity != catalog.Unrated && m.Severity.Rank() == 0 {
		c.note("severity %.40q", m.Severity)
	}
	for _, it := range m.Items {
		if it.Platform.OS != "" && it.Platform.OS != "linux" {
			c.note("platform %.40q", it.Platform.OS)
		}
	}
}

// versions notes versions and constraints that cannot be ordered.
func (c *checker) versions() {
	m, eco := c.m, c.m.Payload.Ecosystem()
	check := func(what, ecosystem, version string) {
		if ecosystem != "" && pkgver.Check(ecosystem, version) != nil {
			c.note("%s %.40q", what, version)
		}
	}
	check("version", eco, m.Version)
	if m.MinServer != "" {
		check("minimum server version", catalog.Generic, m.MinServer)
	}
	if m.MinAgent != "" {
		check("minimum agent version", catalog.Generic, m.MinAgent)
	}
	for _, r := range m.Requires {
		check("version of prerequisite", eco, r.Version)
	}
	for _, a := range m.AppliesTo {
		if _, err := Applies(eco, []string{a}, m.Version); eco != "" && err != nil {
			c.note("applicable versions %.40q", a)
		}
	}
}

func (c *checker) items() error {
	seen := map[string]bool{}
	for i, it := range c.m.Items {
		field := fmt.Sprintf("items[%d]", i)
		p := it.Platform
		switch {
		case !application.MatchString(it.Name) || !word.MatchString(it.Arch):
			return refusal(field, "The item's name or architecture is not one.")
		case !sound(it.Version, 1, maxVersion) || strings.ContainsAny(it.Version, " /\\"):
			return refusal(field, "The item's version is not one.")
		case it.Size <= 0 || it.Size > MaxPayload || !digest.MatchString(it.SHA256):
			return refusal(field, "The item's size or digest is not one.")
		case len(it.Control) > maxControl || !utf8.ValidString(it.Control) || strings.ContainsAny(it.Control, "\x00\r") || strings.Contains(it.Control, "\n\n"):
			return refusal(field, "The item's control fields are not one stanza.")
		case !optional(p.OS) || !optional(p.Distribution) || !optional(p.Version) || !optional(p.Arch):
			return refusal(field, "The item's platform is not one.")
		}
		key := it.Name + ":" + it.Arch + "=" + it.Version
		if seen[key] {
			return refusal(field, "The item %s is there twice.", key)
		}
		seen[key] = true
		if c.m.Payload.Side() && (it.Name != c.m.Application || it.Version != c.m.Version || it.Arch != p.String()) {
			return refusal(field, "An item of this format has the application's name and version, and its platform as architecture.")
		}
		if eco := c.m.Payload.Ecosystem(); eco != "" && pkgver.Check(eco, it.Version) != nil {
			c.note("version %.40q of an item", it.Version)
		}
	}
	return nil
}

func optional(s string) bool { return s == "" || word.MatchString(s) }

func (c *checker) agreements() error {
	ids := map[string]bool{}
	for i, a := range c.m.Agreements {
		field := fmt.Sprintf("agreements[%d]", i)
		if !word.MatchString(a.ID) || ids[a.ID] || !sound(a.Title, 0, maxShort) || len(a.Texts) == 0 || len(a.Texts) > maxList {
			return refusal(field, "An agreement needs an id of its own and at least one text.")
		}
		ids[a.ID] = true
		for j, t := range a.Texts {
			if !word.MatchString(t.Language) || !digest.MatchString(t.SHA256) || t.Size <= 0 || t.Size > MaxAgreement {
				return refusal(field, "An agreement's text needs a language, a digest and at most %d bytes.", MaxAgreement)
			}
			if j > 0 && a.Texts[j-1].Language >= t.Language {
				return refusal(field, "An agreement's texts are sorted by language, one for each.")
			}
		}
	}
	return nil
}

func (c *checker) probe() error {
	p := c.m.Probe
	if p == nil {
		return nil
	}
	bad := refusal("probe", "The probe lacks something or has something that its type does not.")
	local := strings.HasPrefix(p.Path, "/") && path.Clean(p.Path) == p.Path
	port := p.Port > 0 && p.Port < 65536
	switch p.Type {
	case catalog.ProbeFile:
		if p.Path == "" || !digest.MatchString(p.SHA256) || p.Path != path.Clean(p.Path) || path.IsAbs(p.Path) || strings.HasPrefix(p.Path, "..") {
			return bad
		}
	case catalog.ProbeUnit:
		if !unit.MatchString(p.Unit) {
			return bad
		}
	case catalog.ProbeProcess:
		if !local {
			return bad
		}
	case catalog.ProbeTCP:
		if !port {
			return bad
		}
	case catalog.ProbeHTTP:
		if !port || !strings.HasPrefix(p.Path, "/") || p.Status != 0 && (p.Status < 100 || p.Status > 599) {
			return bad
		}
	default:
		c.note("probe %.40q", p.Type)
	}
	if !sound(p.Path, 0, maxShort) || p.Timeout < 0 || p.Timeout > 600 {
		return bad
	}
	return nil
}

func (c *checker) lists() error {
	for _, s := range c.m.CVEs {
		if !cve.MatchString(s) {
			return refusal("cves", "%.40q is no CVE identifier.", s)
		}
	}
	for _, s := range c.m.Exploited {
		if !slices.Contains(c.m.CVEs, s) {
			return refusal("known_exploited", "%.40q is known to be exploited, but is not among the CVEs that the release fixes.", s)
		}
	}
	for _, s := range c.m.Supersedes {
		if !sound(s, 1, maxVersion) {
			return refusal("supersedes", "A superseded version is not one.")
		}
	}
	for _, r := range c.m.Requires {
		if !application.MatchString(r.Application) || !sound(r.Version, 1, maxVersion) {
			return refusal("requires", "A prerequisite needs an application and a version.")
		}
		if r.Application == c.m.Application {
			return refusal("requires", "A release cannot be its own prerequisite.")
		}
	}
	return nil
}

// sound reports whether s is one line of text of a length in bytes.
func sound(s string, shortest, longest int) bool {
	return len(s) >= shortest && len(s) <= longest && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// lines reports whether s is text of several lines.
func lines(s string) bool {
	return len(s) <= maxText && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' })
}
