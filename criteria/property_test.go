package criteria_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"assent/catalog"
	"assent/criteria"
	"assent/fault"
)

// The values that are drawn are few, so that comparisons are often met.
var (
	words  = []string{"openssl", "open", "curl", "linux", "a\"b\\c", "ü\n", ""}
	spans  = []string{"0d", "1d", "2d", "3d", "36h", "1h30m0s", "-1d"}
	counts = []string{"0", "1", "99", "100", "3000", "-5"}
)

// drawLine draws any line that the form can have.
func drawLine(t *rapid.T) criteria.Line { return drawLineOf(t, criteria.Updates().Fields()) }

func drawLineOf(t *rapid.T, fields []criteria.Field) criteria.Line {
	f := rapid.SampledFrom(fields).Draw(t, "field")
	op := rapid.SampledFrom(f.Type.Ops()).Draw(t, "op")
	among := map[criteria.Type][]string{criteria.Number: counts, criteria.Duration: spans, criteria.Bool: {"true", "false"}, criteria.Choice: f.Values, criteria.Level: f.Values}[f.Type]
	if among == nil {
		among = words
	}
	n := 1
	if op == criteria.OneOf || op == criteria.NoneOf {
		n = rapid.IntRange(1, 3).Draw(t, "values")
	}
	line := criteria.Line{Field: f.Name, Op: op}
	for range n {
		line.Values = append(line.Values, rapid.SampledFrom(among).Draw(t, "value"))
	}
	return line
}

func drawForm(t *rapid.T) criteria.Form {
	return criteria.Form{Lines: rapid.SliceOfN(rapid.Custom(drawLine), 0, 6).Draw(t, "lines")}
}

func drawUpdate(t *rapid.T) criteria.Update {
	text := func(name string) string { return rapid.SampledFrom(words).Draw(t, name) }
	u := criteria.Update{Now: now, Installed: rapid.SampledFrom([]string{"", "1.0", "2.0", "?"}).Draw(t, "installed"), Update: catalog.Update{
		Release:  catalog.Release{Software: catalog.Software{Ecosystem: rapid.SampledFrom([]string{"deb", "generic", "odd"}).Draw(t, "eco"), Namespace: text("origin"), Name: text("name")}, Version: text("version")},
		Class:    rapid.SampledFrom([]catalog.Class{catalog.ThirdParty, catalog.Managed, "odd"}).Draw(t, "class"),
		Severity: rapid.SampledFrom([]catalog.Severity{"", catalog.Unrated, catalog.Low, catalog.Medium, catalog.High, catalog.Critical, "odd"}).Draw(t, "severity"),
		Security: rapid.Bool().Draw(t, "security"), Phased: rapid.SampledFrom([]int{0, 99, 100}).Draw(t, "phased"),
		Origins: rapid.SliceOfN(rapid.SampledFrom(words), 0, 2).Draw(t, "origins"), FirstSeen: now.Add(-time.Duration(rapid.IntRange(-30, 80).Draw(t, "hours")) * time.Hour),
		Items: []catalog.Bound{{Item: catalog.Item{Name: text("package"), Size: rapid.SampledFrom([]int64{0, 100, 3000}).Draw(t, "size")}, Role: catalog.Own}}}}
	if rapid.Bool().Draw(t, "published") {
		u.Published = &catalog.Publication{Feed: text("feed"), CVEs: rapid.SliceOfN(rapid.SampledFrom(words), 0, 2).Draw(t, "cves"), Restart: rapid.SampledFrom([]catalog.Restart{"none", "service", "odd", ""}).Draw(t, "restart"),
			Released: now.Add(-time.Duration(rapid.IntRange(0, 80).Draw(t, "released")) * time.Hour), Removal: catalog.Removal{Removable: rapid.Bool().Draw(t, "removable")}}
	}
	if rapid.Bool().Draw(t, "advised") {
		u.Advisories = &criteria.Advisories{IDs: rapid.SliceOfN(rapid.SampledFrom(words), 0, 2).Draw(t, "ids"), KEV: rapid.Bool().Draw(t, "kev")}
	}
	return u
}

func TestForm_AndExpressionAreInverse(t *testing.T) {
	l := criteria.Updates()
	rapid.Check(t, func(t *rapid.T) {
		form := drawForm(t)
		source, err := l.Expression(form)
		if err != nil {
			t.Fatalf("%+v: %v", form, err)
		}
		back, ok, err := l.Form(source)
		if err != nil || !ok {
			t.Fatalf("%s cannot be read back: %v, %v", source, ok, err)
		}
		if diff := cmp.Diff(form, back, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s: %s", source, diff)
		}
	})
}

// variants are other spellings of simple comparisons, with the canonical one.
var variants = map[string]string{
	`(name == "a") && ((security) && !kev)`:          `name == "a" && security && !kev`,
	`"a" == name && "high" <= severity && 3 > size`:  `name == "a" && severity >= "high" && size < 3`,
	`!(name == "a") && !(severity < "high")`:         `name != "a" && severity >= "high"`,
	`kev == true && security != true && !!removable`: `kev && !security && removable`,
	`age_seen >= duration("48h")`:                    `age_seen >= days(2)`,
	`age_seen >= hours(36) && days(1) < age_seen`:    `age_seen >= hours(36) && age_seen > days(1)`,
	`!name.contains('x') && !("a" in cves)`:          `!name.contains("x") && !("a" in cves)`,
	`true`:                                           ``,
	` `:                                              ``,
}

func TestForm_ReadsOtherSpellingsAndWritesTheCanonicalOne(t *testing.T) {
	for source, want := range variants {
		form, ok, err := criteria.Updates().Form(source)
		got, werr := criteria.Updates().Expression(form)
		if err != nil || werr != nil || !ok || got != want {
			t.Errorf("%s became %q, want %q (%v %v %v)", source, got, want, ok, err, werr)
		}
	}
	for _, source := range []string{`security || kev`, `name.matches("x")`, `cves.exists(c, c == "x")`, `security ? kev : true`, `size(cves) > 1`, `name == origin`, `name in []`, `age_seen > age_release`, `!(security && kev)`} {
		if form, ok, err := criteria.Updates().Form(source); ok || err != nil {
			t.Errorf("%s is shown as %+v, %v", source, form, err)
		}
	}
	if _, ok, err := criteria.Updates().Form(`name = 1`); ok || err == nil {
		t.Error("what does not compile was read as a form")
	}
}

func TestForm_RefusesLinesThatNameWhatIsNot(t *testing.T) {
	_, err := criteria.Updates().Expression(criteria.Form{Lines: []criteria.Line{{"name", criteria.Less, []string{"x"}}}})
	if f := fault.From(err); err == nil || f.Code != "criteria_type" {
		t.Errorf("%v", err)
	}
	for _, n := range []criteria.Line{{"nam", criteria.Is, []string{"x"}}, {"name", criteria.Less, []string{"x"}}, {"name", criteria.Is, nil}, {"name", criteria.Is, []string{"a", "b"}}, {"kev", criteria.Is, []string{"yes"}},
		{"size", criteria.Is, []string{"x"}}, {"age_seen", criteria.Less, []string{"2 days"}}, {"name", criteria.Is, []string{"\xff"}}, {"name", "is\" || true || name == \"", []string{"x"}}} {
		_, err := criteria.Updates().Expression(criteria.Form{Lines: []criteria.Line{{Field: "security", Op: criteria.Is, Values: []string{"true"}}, n}})
		if f := fault.From(err); err == nil || f.Kind != fault.Invalid || f.Field != "lines[1]" {
			t.Errorf("%+v: %v", n, err)
		}
	}
	if _, err := criteria.Updates().Expression(criteria.Form{Lines: []criteria.Line{{"severity", criteria.Is, []string{"hihg"}}}}); err == nil {
		t.Error("a value that the field never has was written")
	}
}

// truth is a line judged a second time, as plainly as it can be: 1 met, 0 not met, -1 not known. It is the reference.
func truth(u criteria.Update, n criteria.Line) int {
	text, list, number, boolean, known := plain(u, n.Field)
	if !known {
		return -1
	}
	var ok bool
	v := n.Values[0]
	switch n.Op {
	case criteria.Has, criteria.HasNot:
		ok = slices.Contains(list, v)
	case criteria.Is, criteria.IsNot, criteria.OneOf, criteria.NoneOf:
		switch {
		case boolean != nil:
			ok = strconv.FormatBool(*boolean) == v
		case number != nil:
			ok = *number == amount(v)
		default:
			ok = slices.Contains(n.Values, text)
		}
	case criteria.Contains, criteria.ContainsNot:
		ok = strings.Contains(text, v)
	case criteria.StartsWith, criteria.StartsWithNot:
		ok = strings.HasPrefix(text, v)
	case criteria.EndsWith, criteria.EndsWithNot:
		ok = strings.HasSuffix(text, v)
	default:
		var left, right int64
		switch {
		case number != nil:
			left, right = *number, amount(v)
		case n.Field == "severity":
			left, right = int64(catalog.Severity(text).Rank()), int64(catalog.Severity(v).Rank())
		default:
			return -1 // words are no versions
		}
		ok = n.Op == criteria.Less && left < right || n.Op == criteria.AtMost && left <= right || n.Op == criteria.More && left > right || n.Op == criteria.AtLeast && left >= right
	}
	if strings.HasSuffix(string(n.Op), "_not") || n.Op == criteria.NoneOf {
		ok = !ok
	}
	if ok {
		return 1
	}
	return 0
}

func amount(v string) int64 {
	if d, ok := strings.CutSuffix(v, "d"); ok {
		n, _ := strconv.Atoi(d)
		return int64(n) * int64(24*time.Hour)
	}
	if d, err := time.ParseDuration(v); err == nil && v != "0" {
		return int64(d)
	}
	n, _ := strconv.ParseInt(v, 10, 64)
	return n
}

// plain is the value of a field by the words of its documentation.
func plain(u criteria.Update, field string) (text string, list []string, number *int64, boolean *bool, known bool) {
	count := func(n int64) *int64 { return &n }
	yes := func(b bool) *bool { return &b }
	switch field {
	case "class":
		return string(u.Class), nil, nil, nil, u.Class != "odd"
	case "ecosystem":
		return u.Ecosystem, nil, nil, nil, u.Ecosystem != "odd"
	case "origin":
		return u.Namespace, nil, nil, nil, u.Namespace != ""
	case "name":
		return u.Name, nil, nil, nil, u.Name != ""
	case "version":
		return u.Version, nil, nil, nil, u.Version != ""
	case "severity":
		if u.Severity == "" {
			return "unrated", nil, nil, nil, true
		}
		return string(u.Severity), nil, nil, nil, u.Severity != "odd"
	case "security":
		return "", nil, nil, yes(u.Security), true
	case "kev":
		return "", nil, nil, yes(u.Advisories != nil && u.Advisories.KEV), u.Advisories != nil
	case "removable":
		return "", nil, nil, yes(u.Class == catalog.Managed && u.Published != nil && u.Published.Removal.Removable), true
	case "new_major":
		return "", nil, nil, yes(false), u.Installed == "" // words are no versions
	case "origins":
		return "", u.Origins, nil, nil, true
	case "packages":
		return "", []string{u.Items[0].Name}, nil, nil, true
	case "advisories":
		if u.Advisories == nil {
			return
		}
		return "", u.Advisories.IDs, nil, nil, true
	case "cves":
		if u.Published == nil {
			return "", nil, nil, nil, u.Advisories != nil
		}
		return "", u.Published.CVEs, nil, nil, true
	case "size":
		return "", nil, count(u.Items[0].Size), nil, true
	case "phased":
		return "", nil, count(int64(u.Phased)), nil, true
	case "age_seen":
		return "", nil, count(int64(now.Sub(u.FirstSeen))), nil, true
	case "age_release":
		if u.Published != nil {
			return "", nil, count(int64(now.Sub(u.Published.Released))), nil, true
		}
		return "", nil, count(int64(now.Sub(u.FirstSeen))), nil, true
	case "feed":
		if u.Published == nil {
			return "", nil, nil, nil, true
		}
		return u.Published.Feed, nil, nil, nil, true
	case "restart":
		if u.Published == nil || u.Published.Restart == "" {
			return "unknown", nil, nil, nil, true
		}
		return string(u.Published.Restart), nil, nil, nil, u.Published.Restart != "odd"
	}
	panic(field)
}

// tree is a random expression with its truth in three values, by the reference.
type tree struct {
	source string
	value  func(criteria.Update) int
}

func drawTree(t *rapid.T, depth int) tree { return drawTreeOf(t, depth, criteria.Updates().Fields()) }

func drawTreeOf(t *rapid.T, depth int, fields []criteria.Field) tree {
	if kind := rapid.IntRange(0, 4).Draw(t, "kind"); depth > 0 && kind > 1 {
		a := drawTreeOf(t, depth-1, fields)
		if kind == 4 {
			return tree{"!(" + a.source + ")", func(u criteria.Update) int {
				if v := a.value(u); v >= 0 {
					return 1 - v
				}
				return -1
			}}
		}
		b := drawTreeOf(t, depth-1, fields)
		decides := kind - 2 // && is decided by 0, || by 1
		return tree{fmt.Sprintf("(%s) %s (%s)", a.source, []string{"&&", "||"}[decides], b.source), func(u criteria.Update) int {
			x, y := a.value(u), b.value(u)
			switch {
			case x == decides || y == decides:
				return decides
			case x < 0 || y < 0:
				return -1
			}
			return 1 - decides
		}}
	}
	line := drawLineOf(t, fields)
	source, err := criteria.Updates().Expression(criteria.Form{Lines: []criteria.Line{line}})
	if err != nil {
		t.Fatal(err)
	}
	return tree{source, func(u criteria.Update) int { return truth(u, line) }}
}

func TestT2_EvaluationEqualsTheReferenceInThreeValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawTree(t, 3)
		r, err := criteria.CompileRule(e.source)
		if err != nil {
			if f := fault.From(err); f.Code == "criteria_too_long" || f.Code == "criteria_costly" {
				return
			}
			t.Fatalf("%s: %v", e.source, err)
		}
		for range 5 {
			u := drawUpdate(t)
			got, err := r.Match(u)
			want := e.value(u)
			var unknown *criteria.Unknown
			if (err != nil) != (want < 0) || got != (want == 1) || err != nil && !errors.As(err, &unknown) {
				t.Fatalf("%s over %+v: %v, %v; want %d", e.source, u, got, err, want)
			}
		}
	})
}

func FuzzCompile(f *testing.F) {
	for source := range variants {
		f.Add(source)
	}
	for _, source := range []string{`cves.exists(c, c.matches("^CVE-20(2[4-9]|30)"))`, `(((((`, `version < "3~" || "\u00e9" == name`, `a ? b : c`, `days(-1) < age_seen`, `[[[]]]`, "name == \"\x00\"", `{}`, `1e9 > 2u`, `b"x" == r'y'`, `kev&&`, `name == "a" && name in ["b", "a"]`} {
		f.Add(source)
	}
	u, d := openssl(), criteria.Device{Now: now}
	f.Fuzz(func(t *testing.T, source string) {
		r, err := criteria.CompileRule(source)
		var refused *fault.Error
		if err != nil {
			if !errors.As(err, &refused) || refused.Kind != fault.Invalid || refused.Message == "" || strings.Contains(refused.Message, "\n") {
				t.Fatalf("%q: %v", source, err)
			}
		} else {
			met, err := r.Match(u)
			var unknown *criteria.Unknown
			if err != nil && (met || !errors.As(err, &unknown)) {
				t.Fatalf("%q: %v, %v", source, met, err)
			}
			if reason, never := criteria.Updates().Never(source); never && met {
				t.Fatalf("%q is met and can never be: %s", source, reason)
			}
			roundTrip(t, source, r, u)
			r.Turns(u)
		}
		if s, err := criteria.CompileSelection(source); err == nil {
			if _, err := s.Match(d); err != nil {
				_ = err.Error()
			}
		}
		criteria.Updates().Completions(source)
	})
}

// roundTrip demands that the form's spelling of an expression means the same and stays.
func roundTrip(t *testing.T, source string, r criteria.Rule, u criteria.Update) {
	form, ok, err := criteria.Updates().Form(source)
	if err != nil {
		t.Fatalf("%q compiles, but: %v", source, err)
	}
	if !ok {
		return
	}
	canonical, err := criteria.Updates().Expression(form)
	if err != nil {
		if len(source)*4 > criteria.MaxSource {
			return // spelled out it may be too long
		}
		t.Fatalf("%q as %+v: %v", source, form, err)
	}
	again, ok, err := criteria.Updates().Form(canonical)
	if diff := cmp.Diff(form, again, cmpopts.EquateEmpty()); err != nil || !ok || diff != "" {
		t.Fatalf("%q, written as %q: %v %v %s", source, canonical, ok, err, diff)
	}
	other, err := criteria.CompileRule(canonical)
	if err != nil {
		t.Fatal(err)
	}
	a, aerr := r.Match(u)
	b, berr := other.Match(u)
	if a != b || (aerr == nil) != (berr == nil) {
		t.Fatalf("%q gives %v, %v; written as %q it gives %v, %v", source, a, aerr, canonical, b, berr)
	}
}

func BenchmarkMatch(b *testing.B) {
	for name, source := range map[string]string{"security": `security && severity >= "high" && age_release >= days(2)`, "names": `name in ["linux", "openssl", "curl"] && !(origin == "x")`,
		"version": `version < "3.1" && !new_major`, "loop": `origins.exists(o, o.endsWith("-security"))`, "unknown": `kev`} {
		r, err := criteria.CompileRule(source)
		if err != nil {
			b.Fatal(err)
		}
		u := openssl()
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = r.Match(u)
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		if _, err := criteria.CompileRule(`security && severity >= "high" && age_release >= days(2)`); err != nil {
			b.Fatal(err)
		}
	}
}
