package apt

import (
	"bytes"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"
	"time"

	"assent/wire"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func readAll(r io.Reader) (out []string, skipped int, err error) {
	p := newParagraphs(r)
	for {
		para, ok := p.next()
		if !ok {
			return out, p.skipped, p.err
		}
		out = append(out, string(para))
	}
}

func TestParagraphsAreTheSameHoweverTheFileArrives(t *testing.T) {
	blank := regexp.MustCompile(`\r?\n(?:\r?\n)+`)
	rapid.Check(t, func(t *rapid.T) {
		var b strings.Builder
		for range rapid.IntRange(0, 10).Draw(t, "pieces") {
			b.WriteString(rapid.SampledFrom([]string{"A: b", "\n", "\n", "\n\n", "\r\n", " c", strings.Repeat("x", 90<<10)}).Draw(t, "piece"))
		}
		text := b.String()
		var want []string
		for _, s := range blank.Split(text, -1) {
			if s = strings.Trim(s, "\r\n"); s != "" {
				want = append(want, s)
			}
		}
		step := rapid.SampledFrom([]int{1, 2, 3, 1000, 1 << 20}).Draw(t, "step")
		if len(text) > 1000 {
			step = max(step, 1000)
		}
		got, _, err := readAll(&stutter{text, step})
		for i := range got {
			got[i] = strings.Trim(got[i], "\r\n")
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("%v\n%s", err, clip(diff, 2000))
		}
	})
}

// stutter gives a few bytes at a time.
type stutter struct {
	text string
	step int
}

func (s *stutter) Read(p []byte) (int, error) {
	if s.text == "" {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.step)], s.text)
	s.text = s.text[n:]
	return n, nil
}

func TestAnOversizedParagraphIsSkippedCountedAndTheNextOneRead(t *testing.T) {
	huge := "Package: a\nX: " + strings.Repeat("y", 3*maxParagraph)
	got, skipped, err := readAll(strings.NewReader("Package: 1\n\n" + huge + "\n\nPackage: 2\n"))
	if err != nil || skipped != 1 || !slices.Equal(got, []string{"Package: 1", "Package: 2"}) {
		t.Errorf("%d paragraphs, %d skipped, %v", len(got), skipped, err)
	}
	if got, skipped, err = readAll(strings.NewReader(huge)); len(got) != 0 || skipped != 1 || err != nil {
		t.Errorf("at the end of the file: %d paragraphs, %d skipped, %v", len(got), skipped, err)
	}
}

func TestAReadErrorIsReportedAndNotTakenForTheEnd(t *testing.T) {
	if _, _, err := readAll(iotest.TimeoutReader(&stutter{"A: b\n\nC: d\n", 3})); err == nil {
		t.Error("no error")
	}
}

func TestFieldsAreReadWithContinuationsAndWithoutRegardToCase(t *testing.T) {
	var got []string
	fields([]byte("pAcKaGe:  x \nDescription: one\n two\n\tthree\n: nothing\nno colon\nX-Y:z"), func(name string, value []byte) {
		got = append(got, name+"="+string(value))
	})
	if diff := cmp.Diff([]string{"package=x", "description=one\n two\n\tthree", "x-y=z"}, got); diff != "" {
		t.Error(diff)
	}
	if name := packageName([]byte("Version: 1\nPackage: late\n")); string(name) != "late" {
		t.Errorf("a Package field that is not the first: %q", name)
	}
}

func TestListNamesAreThoseOfApt(t *testing.T) {
	for uri, want := range map[string]string{
		"http://deb.example.org/debian/dists/bookworm/InRelease":  "deb.example.org_debian_dists_bookworm_InRelease",
		"https://user:pa%20ss@h.example:8443/a_b/dists/x/Release": "h.example:8443_a%5fb_dists_x_Release",
		"file:/srv/repo/./Packages":                               "_srv_repo_._Packages",
		"file:///srv/repo/Packages":                               "_srv_repo_Packages",
		"http://h/a~b/é":                                          "h_a%7eb_%c3%a9",
	} {
		if got := listName(uri); got != want {
			t.Errorf("listName(%q) = %q, want %q", uri, got, want)
		}
	}
}

func TestReleaseNameAndSecurityOfTheUsualArchives(t *testing.T) {
	for _, c := range []struct {
		r        release
		name, ns string
		security bool
	}{
		{release{origin: "Debian", label: "Debian-Security", suite: "oldstable-security", codename: "bookworm-security"}, "Debian:bookworm-security", "debian", true},
		{release{origin: "Debian", label: "Debian", suite: "stable", codename: "trixie"}, "Debian:trixie", "debian", false},
		{release{origin: "Debian", label: "Debian", suite: "stable-updates", codename: "trixie-updates"}, "Debian:trixie-updates", "debian", false},
		{release{origin: "Debian", label: "Debian", dist: "buster/updates", suite: "oldstable", codename: "buster"}, "Debian:buster", "debian", true},
		{release{origin: "Ubuntu", label: "Ubuntu", suite: "jammy-security", codename: "jammy"}, "Ubuntu:jammy-security", "ubuntu", true},
		{release{origin: "Ubuntu", label: "Ubuntu", suite: "jammy", codename: "jammy"}, "Ubuntu:jammy", "ubuntu", false},
		{release{origin: "Acme, Inc. (Apps)", suite: "acme"}, "Acme, Inc. (Apps):acme", "acmeinc.apps", false},
		{release{dist: "./"}, ":.", "unknown", false},
		{release{origin: "日本", dist: "s"}, "日本:s", "unknown", false},
	} {
		if c.r.name() != c.name || c.r.namespace() != c.ns || c.r.security() != c.security {
			t.Errorf("%+v: %q, %q, %v", c.r, c.r.name(), c.r.namespace(), c.r.security())
		}
	}
}

func TestReleaseIsReadOutOfItsSignatureArmour(t *testing.T) {
	text := "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nOrigin: Debian\nSuite: stable\n- -Dashed: x\nDate: Sat, 15 Nov 2025 09:56:44 UTC\n" +
		"Valid-Until: Sat,  6 Dec 2025 09:56:44 UTC\nNotAutomatic: yes\nMD5Sum:\n x 1 Origin\n-----BEGIN PGP SIGNATURE-----\nOrigin: Evil\n"
	var r release
	if err := r.parse([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if r.origin != "Debian" || r.suite != "stable" || !r.notAutomatic || r.butAutomaticUpgrades ||
		!r.date.Equal(time.Date(2025, 11, 15, 9, 56, 44, 0, time.UTC)) || !r.validUntil.Equal(time.Date(2025, 12, 6, 9, 56, 44, 0, time.UTC)) {
		t.Errorf("read as %+v", r)
	}
	if err := new(release).parse([]byte("Origin: x\n")); err == nil {
		t.Error("no error without a date")
	}
}

func TestConfigurationIsReadAsAptReadsIt(t *testing.T) {
	c := aptConfig{}
	err := c.parse(`// comment "
APT::Get::Assume-Yes "true"; # more
Acquire { Languages { "none"; "en"; }; http { Proxy "http://x//y;z"; }; };
APT::Architectures { "amd64"; };
APT::Architectures:: "i386";
/* a
 "b; */ Dir::Etc "x";
#clear Dir::Etc;
APT::NeverAutoRemove:: "^linux";
Bare::Word yes;
`)
	want := aptConfig{
		"apt::get::assume-yes": {"true"}, "acquire::languages::": {"none", "en"}, "acquire::http::proxy": {"http://x//y;z"},
		"apt::architectures::": {"amd64", "i386"}, "apt::neverautoremove::": {"^linux"}, "bare::word": {"yes"},
	}
	if diff := cmp.Diff(want, c); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if !c.isTrue("APT::Get::Assume-Yes") || c.isTrue("nothing") {
		t.Error("booleans")
	}
}

func TestShellPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"a*c*", "abcd", true}, {"a*c", "abcd", false}, {"?", "", false},
		{"[a-c]x", "bx", true}, {"[!a-c]x", "bx", false}, {"[^a]", "b", true}, {"[]a]", "]", true}, {"[a-]", "-", true}, {"[[:digit:]x]", "7", true},
		{"[", "[", true}, {"[a", "[a", true}, {`\*`, "*", true}, {`\*`, "a", false}, {`[\]]`, "]", true}, {"**a", "ba", true}, {"a**", "a", true},
		{strings.Repeat("*a", 400) + "b", strings.Repeat("a", 5000), false},
	} {
		if got := fnmatch(c.pattern, c.text); got != c.want {
			t.Errorf("fnmatch(%.20q, %.20q) = %v", c.pattern, c.text, got)
		}
	}
	for pattern, want := range map[string]bool{"/^AB/": true, "/(/": false, "AB*": true, "/" + strings.Repeat("a", 2000) + "/": false} {
		if got := newExpression(pattern).matches("abc"); got != want {
			t.Errorf("%.20q matches abc: %v", pattern, got)
		}
	}
}

// The expected numbers were drawn by a C++ program with std::seed_seq, std::minstd_rand and
// std::uniform_int_distribution of GNU's library.
func TestPhaseIsTheNumberThatTheCppLibraryDraws(t *testing.T) {
	for _, c := range []struct {
		source, version, machine string
		want                     uint32
	}{
		{"a", "1", "x", 53}, {"openssl", "3.0.17-1~deb12u3", "0123456789abcdef0123456789abcdef", 18},
		{"foo", "1.0", "11111111111111111111111111111111", 18}, {"b\xe9", "1", "x", 73},
	} {
		if got := phaseOf(c.source, c.version, c.machine); got != c.want {
			t.Errorf("%s %s: %d, want %d", c.source, c.version, got, c.want)
		}
	}
}

func TestCleanTextNeverPassesControlCharactersOrHalfCharactersOn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.SliceOf(rapid.Byte()).Draw(t, "in")
		limit := rapid.IntRange(0, 20).Draw(t, "limit")
		out := cleanText(in, limit)
		if len(out) > limit || strings.ToValidUTF8(out, "") != out || regexp.MustCompile(`[[:cntrl:]\x{200b}-\x{200f}\x{202a}-\x{202e}]`).MatchString(out) {
			t.Fatalf("%q became %q", in, out)
		}
	})
	if got := cleanText([]byte("a\x1b[31m\u202eb\tc\x00é"), 100); got != "a[31mb cé" {
		t.Errorf("got %q", got)
	}
}

func FuzzStatus(f *testing.F) {
	f.Add([]byte(dpkgEntry + installedEntry("x", "1:2-3", "Source: y (2)\nConffiles:\n /etc/x abc\n")))
	f.Add([]byte("Package: x\r\n\r\nStatus: a\n\x00\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &status{byKey: map[string]*installed{}}
		if err := s.read(bytes.NewReader(data), true); err != nil {
			return
		}
		for _, p := range s.Packages {
			if !validName([]byte(p.Name)) || !validName([]byte(p.Source)) || !validArch([]byte(p.Arch)) || len(p.abbrev()) < 2 {
				t.Fatalf("passed on: %+v", p)
			}
		}
		_ = s.broken()
		autoInstalled(bytes.NewReader(data), "amd64")
	})
}

func FuzzList(f *testing.F) {
	f.Add([]byte(listEntry("x", "1.0", "") + listEntry("x", "2.0", "Source: y (1)\nPhased-Update-Percentage: 7\n")))
	f.Add([]byte("Package: x\nVersion: 1\nArchitecture: all\nSize: 99999999999999999999\nSHA256: zz\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, versions, in := newParagraphs(bytes.NewReader(data)), pool{}, interner{}
		for {
			para, ok := p.next()
			if !ok {
				return
			}
			v, problem := entry(&index{}, para, in, true)
			if problem != "" {
				continue
			}
			versions.add(v.Name, v)
			fl := v.Files[0]
			if !validName([]byte(v.Name)) || !validSHA256([]byte(fl.SHA256)) || fl.Size <= 0 || len(fl.Summary) > maxField || strings.ContainsAny(fl.Filename+fl.Summary, "\n\x00\x1b") {
				t.Fatalf("passed on: %+v", v)
			}
			if !slices.IsSortedFunc(versions[v.Name], func(a, b *version) int { return b.parsed.Compare(a.parsed) }) {
				t.Fatal("versions are not newest first")
			}
		}
	})
}

func FuzzSmallFiles(f *testing.F) {
	f.Add([]byte("deb [arch=amd64 signed-by=/k] http://x/ s main\nTypes: deb\nURIs: x:y\nSuites: s/\n"))
	f.Add([]byte("APT { a \"b\"; };\n#clear x;\nPackage: a /b/ src:c*:any\nPin: release o=x,a=/(/\nPin-Priority: 5\n"))
	f.Add([]byte("-----BEGIN PGP SIGNED MESSAGE-----\n\nDate: x\n\nStart-Date: x\nCommandline: y\nUpgrade: a:b (1, 2), c\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = aptConfig{}.parse(string(data))
		sources, _ := parseSourcesList("f", data)
		more, _ := parseSourcesDeb822("f", data)
		for _, s := range append(sources, more...) {
			if name := listName(s.base()); strings.ContainsAny(name, "/\x00\n") {
				t.Fatalf("list name %q", name)
			}
			s.architectures([]string{"amd64"})
		}
		p := &policy{native: "amd64", byName: map[string][]int{}}
		_ = p.parse(data)
		v := &version{Name: "a", Arch: "amd64", Version: "1", Source: "c", Indexes: []*index{{release: &release{origin: "x"}}}}
		if prio := p.priority(v, 1000); prio > 1000 || prio < neverPin {
			t.Fatalf("priority %d", prio)
		}
		r := &release{}
		_ = r.parse(data)
		if len(r.origin) > maxField {
			t.Fatal("origin is not capped")
		}
		releaseSize(data, "x")
		h := history{native: "amd64", how: map[string]string{}}
		for line := range bytes.Lines(data) {
			h.aptLine(bytes.TrimSpace(line))
			h.dpkgLine(bytes.TrimSpace(line))
		}
		h.end()
		restartNeeded(newTree(fstest.MapFS{"run/reboot-required": {}, "run/reboot-required.pkgs": {Data: data}}))
	})
}

func FuzzLZ4(f *testing.F) {
	f.Add([]byte("\x04\x22\x4d\x18\x40\x40\xc0\x05\x00\x00\x80hello\x00\x00\x00\x00"))
	f.Add([]byte("\x04\x22\x4d\x18\x40\x40\xc0\x06\x00\x00\x00\x1fa\x01\x00\xff\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := io.Copy(io.Discard, io.LimitReader(newLZ4(bytes.NewReader(data)), 64<<20))
		if err == nil && n > int64(len(data))*256 {
			t.Fatalf("%d bytes out of %d", n, len(data))
		}
	})
}

func FuzzFnmatch(f *testing.F) {
	f.Add("a[b-c]*", "abz")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		fnmatch(pattern, text)
		if !strings.ContainsAny(text, `*?[\`) && !fnmatch(text, text) {
			t.Fatalf("%q does not match itself", text)
		}
	})
}

func TestHostileSizesOfAReleaseAndADatabaseAreRefused(t *testing.T) {
	var b strings.Builder
	for range wire.MaxPackages + 2 {
		b.WriteString("Package: x\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n")
	}
	if err := (&status{}).read(strings.NewReader(b.String()), false); err == nil {
		t.Error("more packages than there can be were taken")
	}
	tree := newTree(fstest.MapFS{"x": {Data: make([]byte, 100)}})
	if _, err := tree.read("x", 99); err == nil {
		t.Error("more bytes than allowed were read")
	}
}
