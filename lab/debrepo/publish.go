package debrepo

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Seal says how a suite's release file is signed.
type Seal int

// The ways to sign a release.
const (
	Signed       Seal = iota // with the repository's key
	Unsigned                 // not at all
	WrongKey                 // by a stranger
	BadSignature             // with the repository's key, and changed afterwards
)

// Suite is the complete state of one suite at one time.
type Suite struct {
	Name     string // also its codename, unless Codename is set
	Codename string
	Origin   string
	Label    string
	Packages []Package // any number of versions of each
	Debs     []string  // files of further packages, built elsewhere, for this machine's architecture or all

	Date     time.Time     // zero means now; an earlier one than before is a validly signed rollback
	ValidFor time.Duration // from Date; zero means no Valid-Until, negative means expired from the start
	Seal     Seal
}

// Publish makes s the state of its suite. Other suites and pool files stay as they are; a package with the name,
// version and architecture of an earlier one replaces its file even if the contents differ.
func (r *Repo) Publish(s Suite) error {
	if !nameSyntax.MatchString(s.Name) {
		return fmt.Errorf("publish: suite name %q is not valid", s.Name)
	}
	err := r.locked(func() error {
		when, err := r.tick()
		if err != nil {
			return err
		}
		return r.publish(s, change{r, when})
	})
	if err != nil {
		return fmt.Errorf("publish %s of %s: %w", s.Name, r.name, err)
	}
	return nil
}

func (r *Repo) publish(s Suite, c change) error {
	stanzas, err := r.publishPool(s.Packages, c)
	if err != nil {
		return err
	}
	others, err := r.publishDebs(s.Debs, c)
	if err != nil {
		return err
	}
	stanzas = append(stanzas, others...)
	var indexes []index
	for _, arch := range s.architectures() {
		indexes = append(indexes, plainAndGzip(arch, stanzas)...)
	}
	for _, ix := range indexes {
		if err := ix.write(c, s.Name); err != nil {
			return err
		}
	}
	return r.publishRelease(s, indexes, c)
}

// architectures that get an index: this machine's, and any that the packages name.
func (s Suite) architectures() []string {
	out := []string{HostArch()}
	for _, p := range s.Packages {
		if a := p.arch(); a != "all" && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	slices.Sort(out)
	return out
}

// HostArch is Debian's name for the architecture of this machine.
func HostArch() string {
	switch runtime.GOARCH {
	case "386":
		return "i386"
	case "arm":
		return "armhf"
	case "ppc64le":
		return "ppc64el"
	}
	return runtime.GOARCH
}

// stanza is one paragraph of a Packages file.
type stanza struct{ arch, text string }

func (r *Repo) publishPool(packages []Package, c change) ([]stanza, error) {
	var out []stanza
	for _, p := range packages {
		deb, err := Deb(p)
		if err != nil {
			return nil, err
		}
		if old, err := os.ReadFile(r.public(p.filename())); err != nil || !bytes.Equal(old, deb) {
			if err := c.write(p.filename(), deb); err != nil {
				return nil, err
			}
		}
		out = append(out, stanza{p.arch(), p.stanza(deb)})
	}
	return out, nil
}

func (p Package) stanza(deb []byte) string {
	text := p.control(p.installedKiB(p.contents()))
	text += fmt.Sprintf("Filename: %s\nSize: %d\nSHA256: %x\n", p.filename(), len(deb), sha256.Sum256(deb))
	if p.Phased > 0 {
		text += fmt.Sprintf("Phased-Update-Percentage: %d\n", p.Phased)
	}
	return text
}

// index is one file that a release file lists.
type index struct {
	path string // below the suite's directory
	data []byte
}

func plainAndGzip(arch string, stanzas []stanza) []index {
	var plain bytes.Buffer
	for _, s := range stanzas {
		if s.arch == arch || s.arch == "all" {
			plain.WriteString(s.text + "\n")
		}
	}
	name := path.Join("main", "binary-"+arch, "Packages")
	return []index{{name, plain.Bytes()}, {name + ".gz", gzipBytes(plain.Bytes())}}
}

func gzipBytes(data []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	// A bytes.Buffer takes every write.
	_, _ = w.Write(data)
	_ = w.Close()
	return out.Bytes()
}

func (ix index) byHash() string {
	return path.Join(path.Dir(ix.path), "by-hash", "SHA256", fmt.Sprintf("%x", sha256.Sum256(ix.data)))
}

func (ix index) write(c change, suite string) error {
	if err := c.write(path.Join("dists", suite, ix.byHash()), ix.data); err != nil {
		return err
	}
	return c.write(path.Join("dists", suite, ix.path), ix.data)
}

func (r *Repo) publishRelease(s Suite, indexes []index, c change) error {
	date := s.Date
	if date.IsZero() {
		date = time.Now()
	}
	text := s.release(indexes, date.UTC())
	base := path.Join("dists", s.Name)
	if s.Seal == Unsigned {
		if err := c.remove(path.Join(base, "InRelease")); err != nil {
			return err
		}
		if err := c.remove(path.Join(base, "Release.gpg")); err != nil {
			return err
		}
		return c.write(path.Join(base, "Release"), text)
	}
	clear, detached, err := r.sign(s.Seal, text, date)
	if err != nil {
		return err
	}
	if err := c.write(path.Join(base, "Release"), text); err != nil {
		return err
	}
	if err := c.write(path.Join(base, "Release.gpg"), detached); err != nil {
		return err
	}
	return c.write(path.Join(base, "InRelease"), clear)
}

func (r *Repo) sign(seal Seal, text []byte, date time.Time) (clear, detached []byte, err error) {
	key := r.key
	if seal == WrongKey {
		key = r.other
	}
	if clear, err = key.clearSign(text, date); err != nil {
		return nil, nil, err
	}
	if detached, err = key.detachSign(text, date); err != nil {
		return nil, nil, err
	}
	if seal == BadSignature {
		clear = bytes.Replace(clear, []byte("Components: main"), []byte("Components: mane"), 1)
		detached = []byte("not a signature\n")
	}
	return clear, detached, nil
}

func (s Suite) release(indexes []index, date time.Time) []byte {
	var b strings.Builder
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	field("Origin", s.Origin)
	field("Label", s.Label)
	field("Suite", s.Name)
	field("Codename", orElse(s.Codename, s.Name))
	field("Date", releaseTime(date))
	if s.ValidFor != 0 {
		field("Valid-Until", releaseTime(date.Add(s.ValidFor)))
	}
	field("Acquire-By-Hash", "yes")
	field("Architectures", strings.Join(s.architectures(), " "))
	field("Components", "main")
	b.WriteString("SHA256:\n")
	for _, ix := range indexes {
		fmt.Fprintf(&b, " %x %d %s\n", sha256.Sum256(ix.data), len(ix.data), ix.path)
	}
	return []byte(b.String())
}

func releaseTime(t time.Time) string { return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC") }
