package criteria_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"assent/criteria"
)

func TestNever_IsRightWhenItSaysSo(t *testing.T) {
	found := 0
	rapid.Check(t, func(t *rapid.T) {
		all := criteria.Updates().Fields()
		few := []criteria.Field{rapid.SampledFrom(all).Draw(t, "one"), rapid.SampledFrom(all).Draw(t, "other")} // so that lines meet
		e := drawTreeOf(t, 3, few)
		reason, never := criteria.Updates().Never(e.source)
		if !never {
			return
		}
		found++
		if reason == "" {
			t.Fatalf("%s can never be true, and nobody says why", e.source)
		}
		for range 20 {
			if u := drawUpdate(t); e.value(u) == 1 {
				t.Fatalf("%s can never be true (%s), but is for %+v", e.source, reason, u)
			}
		}
	})
	if found == 0 {
		t.Error("nothing that can never be true was drawn: this test looked at nothing")
	}
}

func TestT2_ARuleThatCanNeverFireIsFound(t *testing.T) {
	for source, want := range map[string]string{
		`false`:                      "always false",
		`1 == 2`:                     "always false",
		`name == "a" && false`:       "always false",
		`name == "a" && name == "b"`: `name == "a" and name == "b" can never be true together.`,
		`name in ["a", "b"] && name.startsWith("c")`:   "together",
		`name.startsWith("a") && name.startsWith("b")`: "together",
		`severity >= "high" && severity < "medium"`:    "together",
		`severity > "critical"`:                        `severity > "critical" can never be true.`,
		`age_seen > days(3) && age_seen < days(2)`:     "together",
		`size < 0`:                "size < 0",
		`size > 5 && size < 6`:    "together",
		`size == 5 && size != 5`:  "together",
		`size > 5 && 5 >= size`:   "together",
		`phased > 100`:            "phased > 100",
		`kev && security && !kev`: "kev and !kev",
		`class == "managed" && (class == "content" || !(class in ["managed"]))`: "together",
		`!(security || !security)`:                      "together",
		`"x" in cves && !("x" in cves)`:                 "together",
		`(name == "a" && name == "b") || (kev && !kev)`: "together",
	} {
		if got, never := criteria.Updates().Never(source); !never || !strings.Contains(got, want) {
			t.Errorf("%s: %q, %v", source, got, never)
		}
	}
	for _, source := range []string{"", "true", `1 == 1`, `kev`, `name == "a" || name == "b"`, `!(name == "a" && name == "b")`, `severity >= "high" && severity < "critical"`,
		`size >= 5 && size <= 5 && size == 5`, `size > 4 && size < 6 && size != 4`, `age_seen >= days(2) && age_seen <= hours(48)`, `phased == 100`, `size == 0`, `size >= 5 && size != 5`, `cves.exists(c, c == "a") && name != "x"`,
		`version > "2" && version < "1"`, `security ? kev : false`, `does not compile`} {
		if reason, never := criteria.Updates().Never(source); never {
			t.Errorf("%s: never, because %s", source, reason)
		}
	}
}

func TestRule_TurnsIsNotAfterTheAnswerChanged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawTree(t, 2)
		r, err := criteria.CompileRule(e.source)
		if err != nil {
			return
		}
		u := drawUpdate(t)
		before, berr := r.Match(u)
		turns := r.Turns(u)
		later := u
		later.Now = u.Now.Add(time.Duration(rapid.Int64Range(1, int64(200*time.Hour)).Draw(t, "later")))
		if !turns.IsZero() && !later.Now.Before(turns) {
			later.Now = turns.Add(-1)
		}
		after, aerr := r.Match(later)
		if before != after || (berr == nil) != (aerr == nil) {
			t.Fatalf("%s changed from %v to %v by %v, but was said to turn at %v", e.source, before, after, later.Now, turns)
		}
	})
}

func TestRule_TurnsWhereTheAgeIsReached(t *testing.T) {
	r, err := criteria.CompileRule(`security && age_seen >= days(4) || age_release > days(9)`)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.Turns(openssl()), now.Add(24*time.Hour); !got.Equal(want) {
		t.Errorf("%v, want %v", got, want)
	}
	if r, _ := criteria.CompileRule(`age_seen > days(3)`); !r.Turns(openssl()).Equal(now.Add(1)) { // it is exactly three days old
		t.Errorf("%v", r.Turns(openssl()))
	}
	if r, _ := criteria.CompileRule(`security`); !r.Turns(openssl()).IsZero() {
		t.Error("an answer without time turns")
	}
	if r, _ := criteria.CompileRule(`age_seen > age_release`); r.Turns(openssl()).After(now.Add(time.Minute)) || r.Turns(openssl()).IsZero() {
		t.Error("an unusual use of time is not looked at again")
	}
}
