package pkgver

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestDebOrderOfKnownTrapsIsThatOfPolicy(t *testing.T) {
	ascending := []string{
		"0~~", "0~", "0", "0.0~rc1", "0.0", "1~~a", "1~", "1", "1-0.1", "1-1~bpo1", "1-1", "1-1+b1", "1-2", "1-10",
		"1a", "1+", "1.0~beta", "1.0-0~", "1.0", "1.0-0ubuntu1", "1.00.1", "1.2", "1.10", "2", "10", "1:0~", "1:0", "2:0",
	}
	for i, a := range ascending {
		for j, b := range ascending {
			got, err := Compare("deb", a, b)
			if err != nil {
				t.Fatal(err)
			}
			if want := sign(i - j); got != want {
				t.Errorf("Compare(%q, %q) = %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestDebTextsThatDpkgReadsAsEqualCompareEqual(t *testing.T) {
	for _, pair := range [][2]string{{"1.0", "0:1.0"}, {"1.0", "1.00"}, {"1.0", "1.0-0"}, {"1", "1-00"}, {"007", "7"}, {"1.a", "1.a0"}} {
		if got, err := Compare("deb", pair[0], pair[1]); got != 0 || err != nil {
			t.Errorf("Compare(%q, %q) = %d, %v; want equal", pair[0], pair[1], got, err)
		}
	}
}

func TestNumbersBeyondAnyIntegerAreOrderedByValue(t *testing.T) {
	small, big := strings.Repeat("9", 60), "1"+strings.Repeat("0", 60)
	if got, err := Compare("deb", "000"+small, big); got != -1 || err != nil {
		t.Errorf("got %d, %v", got, err)
	}
}

func TestMalformedVersionsAreErrorsAndNeverOrdered(t *testing.T) {
	bad := []string{
		"", " ", "a", "v1", ".1", "-1", "1-", ":1", "a:1", "1:", "1:a", "-1:1", "+1:1", "2147483648:1", "99999999999999999999:1",
		"1 2", "1\n", "1\x00", "1_2", "1/2", "1-a_b", "1-1:1x_", "é1", "1é", "1=2", "1;2", "$1", strings.Repeat("1", MaxDebLength+1),
	}
	for _, s := range bad {
		if v, err := ParseDeb(s); !errors.Is(err, ErrMalformed) {
			t.Errorf("ParseDeb(%q) = %q, %v; want ErrMalformed", s, v, err)
		}
		for _, pair := range [][2]string{{s, "1"}, {"1", s}, {s, s}} {
			if _, err := Compare("deb", pair[0], pair[1]); err == nil {
				t.Errorf("Compare(%q, %q) gave an order", pair[0], pair[1])
			}
		}
	}
	for _, ecosystem := range []string{"", "apk", "Deb", "deb "} {
		if _, err := Compare(ecosystem, "1", "1"); !errors.Is(err, ErrEcosystem) {
			t.Errorf("ecosystem %q: %v", ecosystem, err)
		}
	}
}

func TestDebPartsAreThoseOfTheText(t *testing.T) {
	v, err := ParseDeb("12:1.2-3:4~rc1-0ubuntu5+esm1")
	if err != nil {
		t.Fatal(err)
	}
	if v.Epoch() != 12 || v.Upstream() != "1.2-3:4~rc1" || v.Revision() != "0ubuntu5+esm1" || v.String() != "12:1.2-3:4~rc1-0ubuntu5+esm1" {
		t.Errorf("parsed as %d %q %q", v.Epoch(), v.Upstream(), v.Revision())
	}
}

// versions draws from few characters, so that near misses are common.
func versions() *rapid.Generator[string] {
	return rapid.StringMatching(`([0-3]:)?[0-9][019ab~+.-]{0,6}(-[019aZ~+.]{1,4})?`).Filter(func(s string) bool {
		_, err := ParseDeb(s)
		return err == nil
	})
}

func TestDebOrderIsTotal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var v [3]Deb
		for i := range v {
			v[i], _ = ParseDeb(versions().Draw(t, "version"))
		}
		a, b, c := v[0], v[1], v[2]
		if a.Compare(a) != 0 {
			t.Fatalf("%s differs from itself", a)
		}
		if a.Compare(b) != -b.Compare(a) {
			t.Fatalf("%s and %s: not antisymmetric", a, b)
		}
		if a.Compare(b) <= 0 && b.Compare(c) <= 0 && a.Compare(c) > 0 {
			t.Fatalf("%s, %s, %s: not transitive", a, b, c)
		}
		if a.Compare(b) == 0 && a.Compare(c) != b.Compare(c) {
			t.Fatalf("%s equals %s but they differ against %s", a, b, c)
		}
	})
}

// randomVersion mixes plausible and contrived texts, valid or not.
func randomVersion(r *rand.Rand) string {
	const all = "0123456789abcXYZ~~..++--::"
	pick := func(from string, n int) string {
		var b strings.Builder
		for range n {
			b.WriteByte(from[r.IntN(len(from))])
		}
		return b.String()
	}
	switch r.IntN(4) {
	case 0:
		return pick("01239", 1) + pick(all, r.IntN(9))
	case 1:
		return fmt.Sprintf("%d.%d.%d-%d", r.IntN(3), r.IntN(12), r.IntN(3), r.IntN(12))
	case 2:
		return fmt.Sprintf("%d:%d%s%d-%d%s%d", r.IntN(3), r.IntN(3), pick("~+.", 1), r.IntN(3), r.IntN(2), pick("~+.", 1), r.IntN(3))
	}
	return pick("01", 1) + pick("0~a.", r.IntN(5)) + "-" + pick("0~a+", r.IntN(3))
}

func TestDebOrderEqualsDpkgOnManyPairs(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const pairs = 1500
	var script bytes.Buffer
	var want []string
	for len(want) < pairs {
		a, b := randomVersion(r), randomVersion(r)
		if len(want)%5 == 0 {
			b = a[:len(a)-r.IntN(min(2, len(a)))] + []string{"", "0", "~", "-0", "+"}[r.IntN(5)] // a near miss
		}
		va, errA := ParseDeb(a)
		vb, errB := ParseDeb(b)
		if errA != nil || errB != nil {
			continue
		}
		want = append(want, fmt.Sprintf("%s %s %d", a, b, va.Compare(vb)))
		fmt.Fprintf(&script, "if dpkg --compare-versions %s lt %s; then echo %s %s -1; elif dpkg --compare-versions %s eq %s; then echo %s %s 0; else echo %s %s 1; fi\n",
			a, b, a, b, a, b, a, b, a, b)
	}
	compareLines(t, script.Bytes(), want, "sh")
}

// compareLines runs the script and wants exactly these lines.
func compareLines(t *testing.T, input []byte, want []string, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(input)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(got) != len(want) {
		t.Fatalf("%d answers to %d questions", len(got), len(want))
	}
	bad := 0
	for i := range want {
		if got[i] != want[i] {
			if bad++; bad <= 10 {
				t.Errorf("the tool says %q, we say %q", got[i], want[i])
			}
		}
	}
}

// perlOracle is dpkg's own Perl library: one process answers any number of questions.
const perlOracle = `use Dpkg::Version; while (<STDIN>) { chomp; my ($a, $b) = split / /, $_, -1;
my ($va, $vb) = map { Dpkg::Version->new($_, check => 0) } ($a, $b);
print "$a $b ", version_compare($a, $b), "\n"; }`

func TestDebOrderEqualsDpkgsLibraryOnVeryManyPairs(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var input bytes.Buffer
	var want []string
	for len(want) < 40_000 {
		a, b := randomVersion(r), randomVersion(r)
		va, errA := ParseDeb(a)
		vb, errB := ParseDeb(b)
		if errA != nil || errB != nil {
			continue
		}
		want = append(want, fmt.Sprintf("%s %s %d", a, b, va.Compare(vb)))
		fmt.Fprintf(&input, "%s %s\n", a, b)
	}
	compareLines(t, input.Bytes(), want, "perl", "-e", perlOracle)
}

func TestDebValidityEqualsDpkgs(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var script bytes.Buffer
	var want []string
	valid := 0
	for range 1500 {
		v := randomVersion(r)
		if r.IntN(3) == 0 {
			v = strings.TrimLeft(v, "0123") + ":"[:r.IntN(2)]
		}
		if strings.HasPrefix(v, "-") || v == "" {
			continue // an option or nothing to dpkg
		}
		_, err := ParseDeb(v)
		if err == nil {
			valid++
		}
		want = append(want, fmt.Sprintf("%s %v", v, err == nil))
		fmt.Fprintf(&script, "if dpkg --validate-version '%s' 2>/dev/null; then echo '%s' true; else echo '%s' false; fi\n", v, v, v)
	}
	if valid < 300 || valid > len(want)-100 {
		t.Fatalf("%d of %d texts are valid: the sample proves nothing", valid, len(want))
	}
	compareLines(t, script.Bytes(), want, "sh")
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

func FuzzParseDeb(f *testing.F) {
	for _, s := range []string{"1.0-1", "1:2~rc1-0+b1", "", "1:", "1-", "0~~", "a", "1\x00", "2147483647:0", "1-2-3", "1:2:3"} {
		f.Add(s, "1.0")
	}
	f.Fuzz(func(t *testing.T, s, other string) {
		v, err := ParseDeb(s)
		if err != nil {
			return
		}
		if v.String() != s || v.Compare(v) != 0 {
			t.Fatalf("%q parsed as %q", s, v)
		}
		w, err := ParseDeb(other)
		if err != nil {
			return
		}
		if v.Compare(w) != -w.Compare(v) {
			t.Fatalf("%q and %q: not antisymmetric", s, other)
		}
	})
}

func BenchmarkDebCompare(b *testing.B) {
	v, _ := ParseDeb("3.0.17-1~deb12u2")
	w, _ := ParseDeb("3.0.17-1~deb12u3")
	for b.Loop() {
		if v.Compare(w) >= 0 {
			b.Fatal("order")
		}
	}
}
