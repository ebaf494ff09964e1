package cli_test

import (
	"strings"
	"testing"
)

// TestASavedViewSetsTheFlagsOfAListUnlessTheyAreGiven for each list that takes one.
func TestASavedViewSetsTheFlagsOfAListUnlessTheyAreGiven(t *testing.T) {
	w, token := pending(t)
	s := newSession(t, w, token, "")
	do := func(want int, args ...string) string {
		t.Helper()
		if code := s.do(t, args...); code != want {
			t.Fatalf("%v: exit %d: %s%s", args, code, s.out.String(), s.err.String())
		}
		return s.out.String() + s.err.String()
	}
	do(0, "view", "save", "done", "--query", "status=approved&status=declined&columns=name&sort=-name")
	do(0, "view", "save", "gone", "--list", "devices", "--query", "state=retired")
	do(0, "view", "save", "late", "--list", "queue", "--query", "overdue=true&state=failed")
	do(0, "view", "save", "clones", "--list", "events", "--query", "event=clone")
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"update", "list", "--view", "done"}, "No updates"},
		{[]string{"update", "list", "--view", "done", "--status", "undefined"}, "openssl"},
		{[]string{"update", "list", "--view", "seamless"}, "No updates"},
		{[]string{"device", "list", "--view", "gone"}, "No devices"},
		{[]string{"device", "list", "--view", "gone", "--state", "active"}, "web1"},
		{[]string{"queue", "list", "--view", "late"}, "Nothing is on its way"},
		{[]string{"event", "list", "--view", "clones"}, "No events"},
		{[]string{"view", "list", "--list", "queue"}, "overdue=true"},
	} {
		if got := do(0, c.args...); !strings.Contains(got, c.says) {
			t.Errorf("%v: %s", c.args, got)
		}
	}
	do(2, "update", "list", "--view", "gone")
	do(2, "view", "save", "x", "--list", "queue", "--query", "nonsense=1")
	do(5, "view", "save", "x", "--shared")
	do(0, "view", "delete", "late")
	do(2, "view", "delete", "late")
}

// TestDevicePackagesListsWhatIsInstalled with search and order.
func TestDevicePackagesListsWhatIsInstalled(t *testing.T) {
	w, token := pending(t)
	s := newSession(t, w, token, "")
	if code := s.do(t, "device", "packages", "web1", "--search", "SSL"); code != 0 || !strings.Contains(s.out.String(), "openssl  3.0.1") {
		t.Errorf("exit %d: %s%s", code, s.out.String(), s.err.String())
	}
	if code := s.do(t, "device", "packages", "web1", "--search", "curl"); code != 0 || !strings.Contains(s.out.String(), "No packages") {
		t.Errorf("exit %d: %s%s", code, s.out.String(), s.err.String())
	}
	if code := s.do(t, "device", "packages", "web9"); code != 3 {
		t.Errorf("exit %d: %s%s", code, s.out.String(), s.err.String())
	}
}
