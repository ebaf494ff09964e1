package rollout_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"assent/fault"
	"assent/fleet"
	"assent/rollout"
)

func TestT6_RingsThatCannotWorkAreRefusedByTheFieldAtFault(t *testing.T) {
	for field, change := range map[string]func([]rollout.Ring){
		"rings[0].name":              func(r []rollout.Ring) { r[0].Name = " " },
		"rings[1].name":              func(r []rollout.Ring) { r[1].Name = "TEST" },
		"rings[2].name":              func(r []rollout.Ring) { r[2].Name = strings.Repeat("n", 81) },
		"rings[1].groups":            func(r []rollout.Ring) { r[1].Groups = nil },
		"rings[2].groups[0]":         func(r []rollout.Ring) { r[2].Groups = []fleet.GroupID{"pilot"} },
		"rings[0].groups[1]":         func(r []rollout.Ring) { r[0].Groups = []fleet.GroupID{"test", "test"} },
		"rings[0].success_per_mille": func(r []rollout.Ring) { r[0].SuccessRate = 0 },
		"rings[1].success_per_mille": func(r []rollout.Ring) { r[1].SuccessRate = 1001 },
		"rings[1].min_sample":        func(r []rollout.Ring) { r[1].MinSample = -1 },
		"rings[1].soak":              func(r []rollout.Ring) { r[1].Soak = -1 },
		"rings[2].soak":              func(r []rollout.Ring) { r[2].Soak = rollout.Span(367 * 24 * time.Hour) },
		"rings[0].failure_limit":     func(r []rollout.Ring) { r[0].Failures = -1 },
		"rings[0].failure_per_mille": func(r []rollout.Ring) { r[0].FailureRate = 1000 },
		"rings[0].silence":           func(r []rollout.Ring) { r[0].Silence = rollout.Span(time.Second) },
		"rings[2].if_empty":          func(r []rollout.Ring) { r[2].IfEmpty = "pass" },
		"rings[2].not_before":        func(r []rollout.Ring) { r[0].NotBefore, r[2].NotBefore = start, start.Add(-time.Hour) },
	} {
		rings := threeRings()
		if err := rollout.Validate(rings); err != nil {
			t.Fatal(err)
		}
		change(rings)
		err := rollout.Validate(rings)
		refused(t, err, fault.Invalid, "ring_invalid")
		if f := fault.From(err); f.Field != field || f.Message == "" {
			t.Errorf("%s: the field at fault is %q (%s)", field, f.Field, f.Message)
		}
	}
	if err := rollout.Validate(make([]rollout.Ring, rollout.MaxRings+1)); fault.From(err).Field != "rings" {
		t.Error(err)
	}
	if err := rollout.Validate(nil); err != nil {
		t.Error(err)
	}
}

func TestT6_RingsMustFitTheGroupsThereAre(t *testing.T) {
	tree, err := fleet.NewTree([]fleet.Group{{ID: fleet.Root, Name: fleet.RootName}, {ID: "test", Name: "Test", Parent: fleet.Root}, {ID: "pilot", Name: "Pilot", Parent: fleet.Root},
		{ID: "lab", Name: "Lab", Parent: "test"}})
	if err != nil {
		t.Fatal(err)
	}
	rings := threeRings()
	if err := rollout.ValidateIn(rings, tree); err != nil {
		t.Error(err)
	}
	rings[1].Groups = []fleet.GroupID{"lab"} // inside Test, which comes first
	if err := rollout.ValidateIn(rings, tree); fault.From(err).Field != "rings[1].groups" {
		t.Error(err)
	}
	rings[1].Groups = []fleet.GroupID{"pilot", "moon"}
	if err := rollout.ValidateIn(rings, tree); fault.From(err).Field != "rings[1].groups[1]" {
		t.Error(err)
	}
	if got := rollout.Place(threeRings(), tree.Path("lab")); got != "Test" {
		t.Errorf("a device of a group below counts in %q", got)
	}
	if got := rollout.Place(threeRings()[:2], tree.Path(fleet.Root)); got != "" {
		t.Errorf("a device that no ring names is in %q", got)
	}
}

func TestSpan_ReadsWhatItWritesAndRefusesTheRest(t *testing.T) {
	for text, want := range map[string]time.Duration{"0s": 0, "45m": 45 * time.Minute, "1h30m": 90 * time.Minute, "7d": 7 * 24 * time.Hour, "1d12h": 36 * time.Hour, "36h": 36 * time.Hour, "0d": 0, "90s": 90 * time.Second} {
		var s rollout.Span
		if err := s.UnmarshalText([]byte(text)); err != nil || time.Duration(s) != want {
			t.Errorf("%q: %v %v", text, s, err)
		}
	}
	for _, text := range []string{"", "7", "d", "1d-2h", "x", "1d2", "99999999d", "-1d2h", "1.5d", "1d 2h", "9999999h"} {
		var s rollout.Span
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %v", text, s)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		want := rollout.Span(rapid.Int64Range(0, int64(1000*24*time.Hour)).Draw(t, "span"))
		var got rollout.Span
		if err := got.UnmarshalText([]byte(want.String())); err != nil || got != want {
			t.Fatalf("%s: %v %v", want, got, err)
		}
	})
}

func TestT6_RingsHaveAStrictJSONForm(t *testing.T) {
	text := `[{"name":"Pilot","groups":["pilot"],"success_per_mille":950,"min_sample":5,"soak":"2d","failure_limit":3,"silence":"12h","probes_required":true,"opened_by_person":true}]`
	rings, err := rollout.DecodeRings([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := json.Marshal(rings); err != nil || string(again) != text {
		t.Errorf("%v\n%s\n%s", err, text, again)
	}
	for _, bad := range []string{`[{"name":"x","success_percent":1}]`, `[] []`, `{}`, `[{"soak":"soon"}]`, `[{"soak":5}]`} {
		if _, err := rollout.DecodeRings([]byte(bad)); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func ExampleProgress_Rate() {
	fmt.Println(rollout.Progress{Succeeded: 8, Failed: 2}.Rate())
	fmt.Println(rollout.Progress{Pending: 10}.Rate())
	// Output:
	// 8 of 10
	// no outcome yet
}
