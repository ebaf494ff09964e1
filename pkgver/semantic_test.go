package pkgver_test

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"assent/pkgver"
)

func TestSemantic_TheOrderOfTheSpecification(t *testing.T) {
	// semver.org, item 11, and dates.
	order := []string{"0.9", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0",
		"1.0.1", "1.2", "1.10", "2.0.0", "2026.09.30", "2026.11.3", "2026.11.23.1", "99999999999999999999999"}
	for i, a := range order {
		for j, b := range order {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got, err := pkgver.Compare("generic", a, b); err != nil || got != want {
				t.Errorf("%s and %s: %d %v, want %d", a, b, got, err, want)
			}
		}
	}
	if got, err := pkgver.Compare("generic", "1.0+build.1", "1"); got != 0 || err != nil {
		t.Errorf("build metadata counts: %d %v", got, err)
	}
}

func TestSemantic_WhatCannotBeReadIsAnError(t *testing.T) {
	for _, s := range []string{"", "v1", "1..2", "1.", "1.0-", "1.0-a..b", "1.0+", "1.2.3.4.5.6.7", "1.0 ", "latest", "1.0-ä", "-1"} {
		if _, err := pkgver.ParseSemantic(s); !errors.Is(err, pkgver.ErrMalformed) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestSemantic_IsATotalOrder(t *testing.T) {
	gen := rapid.StringMatching(`[0-9]{1,3}(\.[0-9]{1,2}){0,3}(-[a-z0-9]{1,2}(\.[a-z0-9]{1,2}){0,2})?`)
	rapid.Check(t, func(t *rapid.T) {
		read := func(name string) pkgver.Semantic {
			v, err := pkgver.ParseSemantic(gen.Draw(t, name))
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		a, b, c := read("a"), read("b"), read("c")
		if a.Compare(b) != -b.Compare(a) || a.Compare(a) != 0 {
			t.Fatalf("%s and %s are not opposites", a, b)
		}
		if a.Compare(b) <= 0 && b.Compare(c) <= 0 && a.Compare(c) > 0 {
			t.Fatalf("%s, %s, %s is a circle", a, b, c)
		}
	})
}

func FuzzParseSemantic(f *testing.F) {
	f.Add("1.0.0-rc.1+x")
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := pkgver.ParseSemantic(s); err == nil && v.Compare(v) != 0 {
			t.Errorf("%q differs from itself", s)
		}
	})
}
