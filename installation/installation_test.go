package installation_test

import (
	"testing"

	"assent/installation"
)

func TestV1_ExactlyTheStatesOfTheDesign(t *testing.T) {
	want := 15
	if got := len(installation.States()); got != want {
		t.Errorf("%d states, want %d", got, want)
	}
	for _, s := range installation.States() {
		if !s.Valid() {
			t.Errorf("%s is not in the table", s)
		}
	}
}

func TestV1_EveryNonTerminalStateHasADeadlineAndANextStep(t *testing.T) {
	terminal := map[installation.State]bool{installation.NotApplicable: true, installation.Applicable: true, installation.Installed: true, installation.Failed: true,
		installation.Removed: true, installation.RemoveFailed: true, installation.Blocked: true}
	for _, s := range installation.States() {
		if s.Terminal() != terminal[s] {
			t.Errorf("%s: terminal %v", s, s.Terminal())
		}
		if !s.Terminal() && (s.Deadline() <= 0 || s.Next() == "") {
			t.Errorf("%s lasts for ever or leads nowhere", s)
		}
	}
}

func TestV1_IllegalTransitionsAreRefused(t *testing.T) {
	for _, tc := range []struct {
		from, to installation.State
		legal    bool
	}{
		{"", installation.Assigned, true},
		{installation.Assigned, installation.Downloading, true},
		{installation.Installing, installation.Installed, true},
		{installation.Installing, installation.Installing, true},
		{installation.Removing, installation.Removed, true},
		{installation.NotApplicable, installation.Installing, false},
		{installation.Installed, installation.Downloading, false},
		{installation.Removed, installation.RestartRequired, false},
		{installation.Assigned, "flying", false},
	} {
		if err := installation.Check(tc.from, tc.to); (err == nil) != tc.legal {
			t.Errorf("%q to %q: %v", tc.from, tc.to, err)
		}
	}
}

func TestV1_EveryStateCanBeReachedAndLeft(t *testing.T) {
	for _, to := range installation.States() {
		reached, left := false, false
		for _, other := range installation.States() {
			if other == to {
				continue
			}
			reached = reached || installation.Check(other, to) == nil
			left = left || installation.Check(to, other) == nil
		}
		if !reached || !left {
			t.Errorf("%s: reached %v, left %v", to, reached, left)
		}
	}
}
