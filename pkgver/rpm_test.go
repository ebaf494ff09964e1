package pkgver

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestRPMOrderOfKnownTrapsIsThatOfRpm(t *testing.T) {
	// From rpm's own documentation and tests of rpmvercmp.
	ascending := []string{
		"1.0~rc1-1", "1.0~rc1^git1-1", "1.0~rc2-1", "1.0-0", "1.0-1", "1.0-1.fc9", "1.0-1.fc10", "1.0-2", "1.0-10",
		"1.0^git1~pre-1", "1.0^git1-1", "1.0^git2-1", "1.0.a-1", "1.0.1-1", "1.0010-1", "2.0-1", "20101121-1", "0:20101122-1", "1:0-1", "2:0-1",
	}
	for i, a := range ascending {
		for j, b := range ascending {
			got, err := Compare("rpm", a, b)
			if err != nil {
				t.Fatal(err)
			}
			if want := sign(i - j); got != want {
				t.Errorf("Compare(%q, %q) = %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestRPMTextsThatRpmReadsAsEqualCompareEqual(t *testing.T) {
	for _, pair := range [][2]string{{"1.0-1", "0:1.0-1"}, {"1.0-1", "1_0-1"}, {"1.0-1", "1.00-01"}, {"1.0.-1", "1.0-1"}, {"a1-1", "a.1-1"}} {
		if got, err := Compare("rpm", pair[0], pair[1]); got != 0 || err != nil {
			t.Errorf("Compare(%q, %q) = %d, %v; want equal", pair[0], pair[1], got, err)
		}
	}
}

func TestRPMVersionWithoutReleaseComesBeforeTheSameWithOne(t *testing.T) {
	for _, pair := range [][2]string{{"1.0", "1.0-0"}, {"1.0-9", "1.1"}, {"0:1.0", "1.0-1"}} {
		if got, err := Compare("rpm", pair[0], pair[1]); got != -1 || err != nil {
			t.Errorf("Compare(%q, %q) = %d, %v; want older", pair[0], pair[1], got, err)
		}
	}
}

func TestMalformedRPMVersionsAreErrorsAndNeverOrdered(t *testing.T) {
	for _, s := range []string{
		"", " ", "-", "-1", "1-", "1-1-1", ":1-1", "a:1-1", "1:", "-1:1-1", "2147483648:1-1", "1 2-1", "1\n-1", "1\x00-1", "1/2-1", "1:2:3-1",
		"é-1", "1=2-1", "%{v}-1", "~-1", "...-1", "1-~", "$1-1", "(none)-1", strings.Repeat("1", MaxRPMLength+1),
	} {
		if v, err := ParseRPM(s); !errors.Is(err, ErrMalformed) {
			t.Errorf("ParseRPM(%q) = %q, %v; want ErrMalformed", s, v, err)
		}
		for _, pair := range [][2]string{{s, "1-1"}, {"1-1", s}, {s, s}} {
			if _, err := Compare("rpm", pair[0], pair[1]); err == nil {
				t.Errorf("Compare(%q, %q) gave an order", pair[0], pair[1])
			}
		}
	}
}

func TestRPMPartsAreThoseOfTheText(t *testing.T) {
	v, err := ParseRPM("12:1.2~rc1^git5-3.fc40")
	if err != nil || v.Epoch() != 12 || v.Version() != "1.2~rc1^git5" || v.Release() != "3.fc40" || v.String() != "12:1.2~rc1^git5-3.fc40" {
		t.Errorf("parsed as %d %q %q: %v", v.Epoch(), v.Version(), v.Release(), err)
	}
}

func TestRPMOrderIsTotal(t *testing.T) {
	gen := rapid.StringMatching(`([0-2]:)?[019abZ~^._+]{1,7}(-[019aZ~^._]{1,4})?`).Filter(func(s string) bool {
		_, err := ParseRPM(s)
		return err == nil
	})
	rapid.Check(t, func(t *rapid.T) {
		var v [3]RPM
		for i := range v {
			v[i], _ = ParseRPM(gen.Draw(t, "version"))
		}
		a, b, c := v[0], v[1], v[2]
		if a.Compare(a) != 0 || a.Compare(b) != -b.Compare(a) {
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

// randomRPM mixes plausible and contrived texts, valid or not.
func randomRPM(r *rand.Rand) string {
	pick := func(from string, n int) string {
		var b strings.Builder
		for range n {
			b.WriteByte(from[r.IntN(len(from))])
		}
		return b.String()
	}
	text := pick("01239a", 1) + pick("0123456789abcXYZ~~^^..__++", r.IntN(9))
	switch r.IntN(4) {
	case 0:
		text = fmt.Sprintf("%d.%d.%d", r.IntN(3), r.IntN(12), r.IntN(3))
	case 1:
		text = fmt.Sprintf("%d%s%d", r.IntN(3), pick("~^.a", 1), r.IntN(3))
	}
	if r.IntN(2) == 0 {
		text = fmt.Sprintf("%d:", r.IntN(3)) + text
	}
	if r.IntN(5) > 0 {
		text += "-" + pick("019", 1) + pick("0.~^fc1", r.IntN(5))
	}
	return text
}

func TestRPMOrderEqualsRpmOnVeryManyPairs(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	var lua, pairs bytes.Buffer
	var want []string
	for len(want) < 20_000 {
		a, b := randomRPM(r), randomRPM(r)
		if len(want)%5 == 0 {
			b = a + []string{"", "0", "~", "^", ".", "a"}[r.IntN(6)] // a near miss
		}
		va, errA := ParseRPM(a)
		vb, errB := ParseRPM(b)
		if errA != nil || errB != nil {
			continue
		}
		want = append(want, fmt.Sprintf("%s %s %d", a, b, va.Compare(vb)))
		fmt.Fprintf(&pairs, "%s %s\n", a, b)
	}
	file := filepath.Join(t.TempDir(), "pairs")
	if err := os.WriteFile(file, pairs.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	// One process answers all questions; %{lua:…} is rpm's own interpreter.
	fmt.Fprintf(&lua, "%%{lua:for l in io.lines('%s') do local a, b = l:match('(%%S+) (%%S+)'); print(a..' '..b..' '..math.floor(rpm.vercmp(a, b))..'\\n') end}", file)
	compareLines(t, nil, append(want, ""), "rpm", "--eval", lua.String())
}

func FuzzParseRPM(f *testing.F) {
	for _, s := range []string{"1.0-1", "1:2~rc1^git-0.fc40", "", "1:", "1-", "~", "^1-1", "1\x00", "2147483647:0-0", "1-2-3", "1:2:3"} {
		f.Add(s, "1.0-1")
	}
	f.Fuzz(func(t *testing.T, s, other string) {
		v, err := ParseRPM(s)
		if err != nil {
			return
		}
		if v.String() != s || v.Compare(v) != 0 {
			t.Fatalf("%q parsed as %q", s, v)
		}
		if w, err := ParseRPM(other); err == nil && v.Compare(w) != -w.Compare(v) {
			t.Fatalf("%q and %q: not antisymmetric", s, other)
		}
	})
}
