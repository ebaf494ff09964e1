package rollout_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/installation"
	"assent/rollout"
)

// told is a state with something of everything in it.
func told(t *testing.T) rollout.State {
	s := tell(t, threeRings(), 2, 6, 12)
	s.report("test*", installation.Installed)
	s.pass(time.Hour)
	s.report("pilot0 pilot1 pilot2", installation.Failed)
	s.did(s.state.Resume("ann", "<disk> \"full\"\n", s.now))
	s.report("pilot3", installation.Installing)
	s.now = s.now.Add(3 * time.Hour)
	s.advance()
	s.did(s.state.Halt("bob", "", s.now))
	return s.state.Supersede("u456")
}

func TestT6_AStateIsReadBackAsItWas(t *testing.T) {
	want := told(t)
	data, err := rollout.Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := rollout.Decode(data)
	if err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("%v\n%s", err, cmp.Diff(want, got))
	}
}

func TestT6_AStateInAnyOtherFormIsRefused(t *testing.T) {
	data, err := rollout.Encode(told(t))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	swap := func(old, with string) string {
		if !strings.Contains(text, old) {
			t.Fatalf("%q is not in %s", old, text)
		}
		return strings.Replace(text, old, with, 1)
	}
	for name, bad := range map[string]string{
		"nothing":                   "",
		"null":                      "null",
		"an empty object":           "{}",
		"bytes behind":              text + "{}",
		"white space":               text + "\n",
		"cut off":                   text[:len(text)-1],
		"an unknown field":          swap(`{"task"`, `{"more":1,"task"`),
		"a repeated field":          swap(`"run":1`, `"run":1,"run":1`),
		"another spelling":          swap(`"run"`, `"Run"`),
		"an unknown phase":          swap(`"phase":"halted"`, `"phase":"flying"`),
		"an unknown reason":         swap(`"code":"inner_halted"`, `"code":"because"`),
		"an unknown standing":       swap(`"standing":"failed"`, `"standing":"fine"`),
		"a local time":              swap(`"started":"2026-11-23T18:00:00Z"`, `"started":"2026-11-23T19:00:00+01:00"`),
		"no start":                  swap(`"started":"2026-11-23T18:00:00Z"`, `"started":"0001-01-01T00:00:00Z"`),
		"a device in two rings":     swap(`"test0":`, `"pilot0":`),
		"a ring that stands twice":  swap(`"ring":"Pilot","phase"`, `"ring":"Test","phase"`),
		"negative soak":             swap(`"phase":"halted"`, `"phase":"halted","soaked":"-1h"`),
		"an update without a name":  swap(`"update":"u123"`, `"update":""`),
		"halted with nothing wrong": `{"task":"t","update":"u","run":1,"started":"2026-11-23T18:00:00Z","clock":"2026-11-23T18:00:00Z","rings":[{"ring":"A","phase":"halted","since":"2026-11-23T18:00:00Z","reason":{"code":"inner_ring","text":"x"},"progress":{"devices":0,"succeeded":0,"failed":0,"silent":0,"pending":0,"blocked":0,"not_applicable":0,"by_other_means":0,"gone":0,"forgiven":0,"overdue":0,"sample":0}}]}`,
	} {
		if s, err := rollout.Decode([]byte(bad)); err == nil {
			t.Errorf("%s was read: %+v", name, s)
		}
	}
}

func TestT6_OnlyWhatChangedIsWorthSaving(t *testing.T) {
	s := tell(t, threeRings(), 2, 6, 12)
	s.report("test*", installation.Installed)
	saved := s.state
	s.pass(time.Minute)
	if rollout.WorthSaving(saved, s.state) {
		t.Errorf("nothing changed: %s", cmp.Diff(saved, s.state))
	}
	s.pass(rollout.Gap / 3)
	if !rollout.WorthSaving(saved, s.state) {
		t.Error("a restart of the server would lose the soak time")
	}
	saved = s.state
	s.report("test0", installation.Failed)
	if !rollout.WorthSaving(saved, s.state) {
		t.Error("a failure is not saved")
	}
}

func FuzzDecode_WhatIsReadIsWrittenTheSame(f *testing.F) {
	f.Add([]byte(`{"task":"t","update":"u","run":1,"started":"2026-11-23T18:00:00Z","clock":"2026-11-23T18:00:00Z","rings":[]}`))
	f.Add([]byte(`{"task":"t","update":"u","run":1,"started":"2026-11-23T18:00:00Z","clock":"2026-11-23T18:00:00Z","rings":[{"ring":"A","phase":"waiting","since":"2026-11-23T18:00:00Z","reason":{"code":"inner_ring","text":"x"},"soaked":"1h","progress":{"devices":0,"succeeded":0,"failed":0,"silent":0,"pending":0,"blocked":0,"not_applicable":0,"by_other_means":0,"gone":0,"forgiven":0,"overdue":0,"sample":0},"marks":{"d":{"standing":"failed","since":"2026-11-23T18:00:00Z"}}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := rollout.Decode(data)
		if err != nil {
			return
		}
		if again, err := rollout.Encode(s); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%v\n%s\n%s", err, data, again)
		}
		if next, _ := rollout.Advance(s, threeRings(), nil, start); next.Task != s.Task {
			t.Fatal("a state that was read does not advance")
		}
	})
}
