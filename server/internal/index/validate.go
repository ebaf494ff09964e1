package index

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"assent/catalog"
	"assent/pkgver"
	"assent/wire"
)

// Caps on what one document may bring. What is over a cap is left out and reported.
const (
	maxOffers   = 20_000
	maxItems    = 5_000 // items of one offer, changes of one closure
	maxListed   = 1_000 // origins, findings, users and the like
	maxText     = 300   // characters of a text that is shown
	maxProblems = 20    // problems that are named one by one
)

// form is what a name may consist of. Names are checked by hand and not by regular expressions: an
// inventory has thousands.
type form struct {
	most  int
	extra string // characters besides a-z and 0-9, not at the beginning
	upper bool   // A-Z too
}

// The forms of names. Debian's are in lower case; those of RPM packages need not be, and their architectures have an
// underscore ("x86_64").
var (
	debName      = form{most: 255, extra: "+.-"}
	rpmName      = form{most: 255, extra: "+.-_", upper: true}
	architecture = form{most: 32, extra: "-_"}
	publisher    = form{most: 64, extra: ".-"}
)

// packageName is the form of the names of packages in an ecosystem, and of the sources that they are built from.
func packageName(ecosystem string) form {
	if ecosystem == catalog.RPM.Ecosystem() {
		return rpmName
	}
	return debName
}

// fits reports whether s has the form.
func (f form) fits(s string) bool {
	if s == "" || len(s) > f.most {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || f.upper && c >= 'A' && c <= 'Z' || i > 0 && strings.IndexByte(f.extra, c) >= 0 {
			continue
		}
		return false
	}
	return true
}

// checker removes what is wrong from a document and remembers what it removed.
type checker struct {
	problems []string
	more     int
	interned map[string]string
}

func (c *checker) problem(format string, args ...any) {
	if len(c.problems) == maxProblems {
		c.more++
		return
	}
	c.problems = append(c.problems, text(fmt.Sprintf(format, args...)))
}

// report is what is shown as the device's problem.
func (c *checker) report(kind wire.Kind) []string {
	if c.more > 0 {
		c.problems = append(c.problems, fmt.Sprintf("%d more problems in its %s", c.more, kind))
	}
	return c.problems
}

// intern lets equal strings share their memory within a document.
func (c *checker) intern(s string) string {
	if v, ok := c.interned[s]; ok {
		return v
	}
	c.interned[s] = s
	return s
}

// text makes a string harmless to show: valid UTF-8, no control or direction characters, not too long.
func text(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) {
			return -1
		}
		return r
	}, s)
	if utf8.RuneCountInString(s) > maxText {
		s = string([]rune(s)[:maxText]) + "…"
	}
	return s
}

// capped cuts a list.
func capped[T any](c *checker, list []T, most int, what string) []T {
	if len(list) <= most {
		return list
	}
	c.problem("it reports %d %s; only the first %d were read", len(list), what, most)
	return list[:most]
}

func (c *checker) facts(f *wire.Facts) {
	for _, s := range []*string{&f.Hostname, &f.MachineID, &f.OS, &f.OSVersion, &f.Codename, &f.Arch, &f.Kernel, &f.Agent, &f.ManagerHealth, &f.TimeZone} {
		*s = text(*s)
	}
	f.Foreign = c.texts(f.Foreign, "foreign architectures")
	f.Restart = c.texts(f.Restart, "reasons to restart")
	f.Stale = capped(c, f.Stale, maxListed, "reasons to restart")
	for i := range f.Stale {
		r := &f.Stale[i]
		r.Kind, r.Name, r.Detail = wire.RestartKind(text(string(r.Kind))), text(r.Name), text(r.Detail)
	}
	f.Posture = capped(c, f.Posture, maxListed, "findings")
	for i := range f.Posture {
		f.Posture[i].Code, f.Posture[i].Detail = text(f.Posture[i].Code), text(f.Posture[i].Detail)
	}
	f.Origins = capped(c, f.Origins, maxListed, "package sources")
	for i := range f.Origins {
		o := &f.Origins[i]
		for _, s := range []*string{&o.Site, &o.Suite, &o.Label, &o.Origin, &o.Problem, &o.Detail} {
			*s = text(*s)
		}
	}
	if !f.Guard.Valid() {
		c.problem("it reports the unknown guard mode %q", f.Guard)
		f.Guard = ""
	}
}

func (c *checker) texts(list []string, what string) []string {
	list = capped(c, list, maxListed, what)
	for i := range list {
		list[i] = text(list[i])
	}
	return list
}

func (c *checker) inventory(inv *wire.Inventory) {
	if !native(inv.Ecosystem) {
		c.problem("it reports packages of the unknown ecosystem %q", inv.Ecosystem)
		inv.Packages = nil
		return
	}
	inv.Packages = slices.DeleteFunc(capped(c, inv.Packages, wire.MaxPackages, "installed packages"), func(p wire.Package) bool {
		eco := p.In(inv.Ecosystem)
		return c.bad(wrongEcosystem(eco), wrong("package", p.Name, packageName(eco)), wrong("architecture", p.Arch, architecture), wrongVersion(eco, p.Version),
			wrong("source package", p.Source, packageName(eco)), wrongVersion(eco, p.SourceVersion))
	})
	var last wire.Package
	for i := range inv.Packages {
		p := &inv.Packages[i]
		if p.Status != last.Status || p.How != last.How {
			p.Status, p.How = text(p.Status), text(p.How)
		}
		share(&p.Source, p.Name)
		share(&p.SourceVersion, p.Version)
		share(&p.Arch, last.Arch)
		share(&p.Status, last.Status)
		share(&p.How, last.How)
		last = *p
	}
}

// share lets a string use the memory of another one that is the same. An inventory has thousands of packages, and nearly
// all of them say what the one before says, or the same twice: comparing is less work than looking for it.
func share(s *string, with string) {
	if *s == with {
		*s = with
	}
}

// bad reports the first fault that is not empty.
func (c *checker) bad(faults ...string) bool {
	for _, f := range faults {
		if f != "" {
			c.problem("%s", f)
			return true
		}
	}
	return false
}

func wrong(what, s string, f form) string {
	if f.fits(s) {
		return ""
	}
	return fmt.Sprintf("it reports the %s %q, which is not a valid name", what, clip(s))
}

// native reports whether an ecosystem is that of a device's own package manager.
func native(ecosystem string) bool {
	return ecosystem == catalog.Deb.Ecosystem() || ecosystem == catalog.RPM.Ecosystem()
}

// wrongEcosystem knows the device's own package manager and what a feed installs beside it.
func wrongEcosystem(s string) string {
	if native(s) || s == catalog.Generic {
		return ""
	}
	return fmt.Sprintf("it reports something of the unknown ecosystem %q", clip(s))
}

func wrongVersion(ecosystem, s string) string {
	if len(s) <= 255 && pkgver.Check(ecosystem, s) == nil {
		return ""
	}
	return fmt.Sprintf("it reports the version %q, which is not a valid one", clip(s))
}

// wrongDigest accepts no digest at all: what has none is held, not approved by accident.
func wrongDigest(s string) string {
	if b, err := hex.DecodeString(s); s == "" || err == nil && len(b) == 32 && s == strings.ToLower(s) {
		return ""
	}
	return fmt.Sprintf("it reports the digest %q, which is not SHA-256", clip(s))
}

func wrongSize(n int64) string {
	if n >= 0 && n < 1<<50 {
		return ""
	}
	return fmt.Sprintf("it reports a file of %d bytes", n)
}

func (c *checker) available(a *wire.Available) {
	if !native(a.Ecosystem) {
		c.problem("it reports updates of the unknown ecosystem %q", a.Ecosystem)
		a.Updates, a.Restore = nil, nil
		return
	}
	seen := map[catalog.Release]bool{}
	a.Updates = slices.DeleteFunc(capped(c, a.Updates, maxOffers, "updates"), func(o wire.Offer) bool {
		release := o.In(a.Ecosystem)
		if seen[release] {
			c.problem("it reports %s %s twice", clip(o.Name), clip(o.Version))
			return true
		}
		seen[release] = true
		return c.bad(wrongEcosystem(release.Ecosystem), wrong("publisher", o.Namespace, publisher), wrong("source package", o.Name, packageName(release.Ecosystem)), wrongVersion(release.Ecosystem, o.Version))
	})
	for i := range a.Updates {
		c.offer(&a.Updates[i], a.Updates[i].In(a.Ecosystem).Ecosystem)
	}
	a.Restore = slices.DeleteFunc(capped(c, a.Restore, wire.MaxPackages, "previous versions"), func(r wire.RestoreItem) bool {
		return c.bad(wrong("package", r.Name, packageName(a.Ecosystem)), wrong("architecture", r.Arch, architecture),
			wrongDigest(r.SHA256), wrongSize(r.Size), tooLong(string(r.Update)), tooLong(r.Version), tooLong(r.Current), tooLong(r.From), tooLong(r.Release))
	})
}

func tooLong(s string) string {
	if len(s) <= 255 && s == text(s) {
		return ""
	}
	return fmt.Sprintf("it reports the value %q, which cannot be", clip(s))
}

// offer checks what an offer brings. An item or a change that is wrong makes the whole offer one that
// cannot be installed: what is left might not be what the device would really do.
func (c *checker) offer(o *wire.Offer, ecosystem string) {
	before := len(c.problems) + c.more
	o.Problem = text(o.Problem)
	o.Items = slices.DeleteFunc(capped(c, o.Items, maxItems, "files of one update"), func(it wire.OfferItem) bool {
		return c.bad(wrong("package", it.Name, packageName(ecosystem)), wrong("architecture", it.Arch, architecture), wrongVersion(ecosystem, it.Item.Version),
			wrongDigest(it.SHA256), wrongSize(it.Size), tooLong(it.Installed))
	})
	for i := range o.Items {
		it := &o.Items[i]
		it.Origin, it.Summary = c.intern(text(it.Origin)), text(it.Summary)
		if it.Severity != "" && it.Severity.Rank() == 0 {
			it.Severity = catalog.Unrated
		}
		if it.Phased < 0 || it.Phased > 100 {
			it.Phased = 0
		}
	}
	o.Closure = slices.DeleteFunc(capped(c, o.Closure, maxItems, "changes with one update"), func(ch wire.Change) bool {
		return c.bad(wrongChange(ecosystem, ch))
	})
	if len(c.problems)+c.more > before && o.Problem == "" {
		o.Problem = "the device's report about it was not valid in part"
		o.Closure = append(o.Closure, wire.Change{Op: "invalid", Name: o.Name})
	}
}

func wrongChange(ecosystem string, ch wire.Change) string {
	faults := []string{wrong("package", ch.Name, packageName(ecosystem)), wrong("architecture", ch.Arch, architecture), wrongDigest(ch.SHA256), wrongSize(ch.Size)}
	if ch.Op != wire.OpRemove {
		faults = append(faults, wrongVersion(ecosystem, ch.Version), wrong("source package", ch.Source, packageName(ecosystem)), wrongVersion(ecosystem, ch.SrcVer), wrong("publisher", ch.Space, publisher))
	}
	if ch.From != "" {
		faults = append(faults, wrongVersion(ecosystem, ch.From))
	}
	for _, f := range append(faults, tooLong(string(ch.Op))) {
		if f != "" {
			return f
		}
	}
	return ""
}
