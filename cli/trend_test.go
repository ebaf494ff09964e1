package cli_test

import (
	"strings"
	"testing"
)

// TestStatusTrendShowsFiguresOfDaysAndNoneWhereThereAreNone before and after the server took the day's figures.
func TestStatusTrendShowsFiguresOfDaysAndNoneWhereThereAreNone(t *testing.T) {
	w, token := pending(t)
	s := newSession(t, w, token, "")
	if code := s.do(t, "status", "--trend"); code != 0 || !strings.Contains(s.out.String(), "There are no figures yet") {
		t.Errorf("exit %d: %s%s", code, s.out.String(), s.err.String())
	}
	w.Sample()
	for _, args := range [][]string{{"status", "--trend"}, {"status", "--trend", "--group", "All devices", "--days", "1"}} {
		if code := s.do(t, args...); code != 0 || !strings.Contains(s.out.String(), "nothing approved") || strings.Contains(s.out.String(), "100") {
			t.Errorf("%v: exit %d: %s%s", args, code, s.out.String(), s.err.String())
		}
	}
	if code := s.do(t, "status", "--trend", "--json"); code != 0 || !strings.Contains(s.out.String(), `"first_seen": 1`) {
		t.Errorf("exit %d: %s%s", code, s.out.String(), s.err.String())
	}
	for _, args := range [][]string{{"status", "--days", "3"}, {"status", "--trend", "--days", "9999"}} {
		if code := s.do(t, args...); code != 2 {
			t.Errorf("%v: exit %d", args, code)
		}
	}
}
