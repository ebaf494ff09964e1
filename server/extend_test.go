package server

import (
	"errors"
	"fmt"
	"testing"
)

func TestProofs_AreMadeOnceForAllWhoAskAndAnewForAnotherLedger(t *testing.T) {
	made := 0
	var p proofs
	ask := func(older, newer int64) string {
		t.Helper()
		out, err := p.get(older, newer, func() ([]string, error) { made++; return []string{fmt.Sprint(older, newer)}, nil })
		if err != nil || len(out) != 1 {
			t.Fatal(out, err)
		}
		return out[0]
	}
	for _, c := range [][2]int64{{5, 9}, {6, 9}, {5, 9}, {6, 9}, {5, 10}, {5, 9}} {
		if got := ask(c[0], c[1]); got != fmt.Sprint(c[0], c[1]) {
			t.Errorf("the proof from %d to %d is %q", c[0], c[1], got)
		}
	}
	if made != 4 {
		t.Errorf("%d proofs were made, want 4: two to 9, one to 10, and one to 9 again", made)
	}
	if _, err := p.get(7, 9, func() ([]string, error) { return nil, errors.New("the database is away") }); err == nil {
		t.Error("a failure was swallowed")
	}
	if ask(7, 9); made != 5 {
		t.Error("a failure was kept")
	}
	for i := range int64(3 * maxProofs) {
		ask(100+i, 9)
	}
	if len(p.known) > maxProofs {
		t.Errorf("%d are kept", len(p.known))
	}
}
