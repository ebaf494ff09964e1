package ledger_test

import (
	"crypto/ed25519"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"

	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/ledger/ledgertest"
)

// book is a random ledger: its encoded entries and what they amount to.
type book struct {
	lines [][]byte
	state *ledger.State
}

// write makes the ledger of acts.
func write(t require, acts []ledger.Body) book {
	t.Helper()
	var b book
	var err error
	b.state, err = ledgertest.Run(acts, func(e ledger.Entry, _ *ledger.State) error {
		line, err := ledger.Encode(e)
		b.lines = append(b.lines, line)
		return err
	})
	if err != nil {
		t.Fatalf("write ledger: %v", err)
	}
	return b
}

// require is what *testing.T, *testing.F and *rapid.T have in common.
type require interface {
	Helper()
	Fatalf(string, ...any)
}

func (b book) entries() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, l := range b.lines {
			if !yield(l, nil) {
				return
			}
		}
	}
}

// checkpoint is the one of the first n entries.
func (b book) checkpoint(t require, n int) ledger.Checkpoint {
	t.Helper()
	root, err := b.tree(t, n).Root()
	if err != nil {
		t.Fatalf("root: %v", err)
	}
	return ledger.Checkpoint{Org: "org", Size: int64(n), Root: root}
}

func (b book) tree(t require, n int) *ledger.Tree {
	t.Helper()
	var tree ledger.Tree
	for _, l := range b.lines[:n] {
		if err := tree.Append(l); err != nil {
			t.Fatalf("append to tree: %v", err)
		}
	}
	return &tree
}

// keys are a signer and the key to verify it with, made from a seed.
func keys(t require, org string, seed byte) (note.Signer, string) {
	t.Helper()
	key := ed25519.NewKeyFromSeed(slices.Repeat([]byte{seed}, ed25519.SeedSize))
	s, err := ledger.NewSigner(org, key)
	if err != nil {
		t.Fatalf("%v", err)
	}
	v, err := ledger.VerifierKey(org, key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatalf("%v", err)
	}
	return s, v
}

func TestReplayedEntriesGiveTheState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := write(t, ledgertest.Acts(60).Draw(t, "acts"))
		got, err := ledger.Replay(b.entries())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(b.state, got); d != "" {
			t.Fatalf("replayed state (-want +got):\n%s", d)
		}
	})
}

func TestARefusedEntryChangesNothing(t *testing.T) {
	refused := 0
	rapid.Check(t, func(t *rapid.T) {
		s := ledger.NewState()
		for i, act := range ledgertest.Acts(60).Draw(t, "acts") {
			e, err := ledger.Make(s.Seq+1, ledgertest.Start().Add(time.Duration(i)*time.Minute), "op", act)
			if err != nil {
				t.Fatal(err)
			}
			before := s.Clone()
			if err := s.Apply(e); err != nil {
				refused++
				if d := cmp.Diff(before, s); d != "" {
					t.Fatalf("%T was refused (%v) but changed the state:\n%s", act, err, d)
				}
				if fault.From(err).Kind == fault.Internal {
					t.Fatalf("%T was refused with %v, which nobody can act on", act, err)
				}
			}
		}
	})
	if refused == 0 {
		t.Error("no act was refused")
	}
}

func TestACloneSharesNothingThatApplyChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		acts := ledgertest.Acts(60).Draw(t, "acts")
		half := write(t, acts[:30])
		clone := half.state.Clone()
		want := write(t, acts[:30]).state
		for i, act := range acts[30:] {
			e, err := ledger.Make(clone.Seq+1, ledgertest.Start().Add(time.Duration(i)*time.Minute), "op", act)
			if err != nil {
				t.Fatal(err)
			}
			_ = clone.Apply(e) // refusals are fine here
		}
		if d := cmp.Diff(want, half.state); d != "" {
			t.Fatalf("acts on the clone changed the original:\n%s", d)
		}
	})
}

func TestEntriesHaveExactlyOneEncoding(t *testing.T) {
	e, err := ledger.Make(1, ledgertest.Start(), "anna", ledger.GroupDelete{ID: "<g>"})
	if err != nil {
		t.Fatal(err)
	}
	line, err := ledger.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"seq":1,"at":"2026-11-23T12:00:00.000123Z","by":"anna","kind":"group.delete","body":{"id":"\u003cg\u003e"}}`
	if string(line) != want {
		t.Fatalf("the encoding changed, so old ledgers no longer verify:\n got %s\nwant %s", line, want)
	}
	for name, other := range map[string]string{
		"white space":    `{"seq":1, "at":"2026-11-23T12:00:00.000123Z","by":"anna","kind":"group.delete","body":{"id":"g"}}`,
		"unknown field":  `{"seq":1,"at":"2026-11-23T12:00:00.000123Z","by":"anna","kind":"group.delete","body":{"id":"g"},"x":1}`,
		"repeated field": `{"seq":1,"at":"2026-11-23T12:00:00.000123Z","by":"bob","by":"anna","kind":"group.delete","body":{"id":"g"}}`,
		"other case":     `{"Seq":1,"at":"2026-11-23T12:00:00.000123Z","by":"anna","kind":"group.delete","body":{"id":"g"}}`,
		"other escape":   `{"seq":1,"at":"2026-11-23T12:00:00.000123Z","by":"\u0061nna","kind":"group.delete","body":{"id":"g"}}`,
		"not UTC":        `{"seq":1,"at":"2026-11-23T13:00:00.000123+01:00","by":"anna","kind":"group.delete","body":{"id":"g"}}`,
		"nanoseconds":    `{"seq":1,"at":"2026-11-23T12:00:00.000123456Z","by":"anna","kind":"group.delete","body":{"id":"g"}}`,
		"no sequence":    `{"seq":0,"at":"2026-11-23T12:00:00.000123Z","by":"anna","kind":"group.delete","body":{"id":"g"}}`,
		"not UTF-8":      "{\"seq\":1,\"at\":\"2026-11-23T12:00:00.000123Z\",\"by\":\"anna\",\"kind\":\"group.delete\",\"body\":{\"id\":\"\xff\"}}",
		"trailing bytes": want + "{}",
		"not JSON":       `entry`,
		"nothing":        ``,
	} {
		if _, err := ledger.Decode([]byte(other)); err == nil {
			t.Errorf("%s: an entry was read from %s", name, other)
		}
	}
}

func TestWhatIsNotKnownIsRefusedAndNotSkipped(t *testing.T) {
	for name, e := range map[string]ledger.Entry{
		"kind":           {Seq: 1, Kind: "group.paint", Body: []byte(`{}`)},
		"field":          {Seq: 1, Kind: "group.delete", Body: []byte(`{"id":"g","unless":"monday"}`)},
		"trailing bytes": {Seq: 1, Kind: "group.delete", Body: []byte(`{"id":"g"} {}`)},
		"wrong type":     {Seq: 1, Kind: "group.delete", Body: []byte(`{"id":7}`)},
		"no body":        {Seq: 1, Kind: "group.delete"},
	} {
		if b, err := e.Decode(); err == nil {
			t.Errorf("%s: decoded to %#v", name, b)
		}
		s := ledger.NewState()
		if err := s.Apply(e); err == nil || s.Seq != 0 {
			t.Errorf("%s: it was applied", name)
		}
	}
}

func TestEntriesThatWouldNotComeBackAsTheyWereAreNotEncoded(t *testing.T) {
	good, err := ledger.Make(1, ledgertest.Start(), "a\xffb", ledger.GroupDelete{ID: "g\xff"})
	if err != nil {
		t.Fatal(err)
	}
	if good.By != "a\uFFFDb" {
		t.Errorf("Make kept the name %q", good.By)
	}
	if _, err := ledger.Encode(good); err != nil {
		t.Errorf("an entry from Make: %v", err)
	}
	for name, change := range map[string]func(*ledger.Entry){
		"name":     func(e *ledger.Entry) { e.By = "\xff" },
		"zone":     func(e *ledger.Entry) { e.At = e.At.In(time.FixedZone("CET", 3600)) },
		"fraction": func(e *ledger.Entry) { e.At = e.At.Add(time.Nanosecond) },
		"year":     func(e *ledger.Entry) { e.At = e.At.AddDate(9000, 0, 0) },
		"body":     func(e *ledger.Entry) { e.Body = []byte(`{`) },
		"bytes":    func(e *ledger.Entry) { e.Body = []byte("\"\xff\"") },
		"seq":      func(e *ledger.Entry) { e.Seq = 0 },
	} {
		e := good
		change(&e)
		if line, err := ledger.Encode(e); err == nil {
			t.Errorf("%s: encoded as %s", name, line)
		}
	}
}

// applyAll applies acts that must be allowed.
func applyAll(t *testing.T, acts ...ledger.Body) *ledger.State {
	t.Helper()
	s := ledger.NewState()
	for _, b := range acts {
		if err := try(s, b); err != nil {
			t.Fatalf("%T: %v", b, err)
		}
	}
	return s
}

func try(s *ledger.State, b ledger.Body) error {
	e, err := ledger.Make(s.Seq+1, ledgertest.Start(), "admin", b)
	if err != nil {
		return err
	}
	return s.Apply(e)
}

func TestActsThatWouldUndoEarlierOnesAreRefused(t *testing.T) {
	hour := ledgertest.Start().Add(time.Hour)
	admin := ledger.Operator{Name: "admin", Role: ledger.Administrator, Scope: fleet.Root}
	access := ledger.Access{ID: "a", Operator: "admin", Expires: hour}
	device := fleet.Device{ID: "d", Group: fleet.Root, State: fleet.Active}
	base := []ledger.Body{ledger.ServerInit{Org: "org"}, ledger.OperatorSet{Operator: admin}, ledger.AccessCreate{Access: access},
		ledger.TokenCreate{ID: "t", Group: fleet.Root, Uses: 1, Expires: hour}, ledger.DeviceEnrol{Device: device, Token: "t"}}
	for code, b := range map[string]ledger.Body{
		"server_started":       ledger.ServerInit{Org: "other"},
		"token_exists":         ledger.TokenCreate{ID: "t", Group: fleet.Root, Uses: 100, Expires: hour},
		"access_exists":        ledger.AccessCreate{Access: access},
		"token_spent":          ledger.DeviceEnrol{Device: fleet.Device{ID: "d2", Group: fleet.Root}, Token: "t"},
		"role_unknown":         ledger.OperatorSet{Operator: ledger.Operator{Name: "x", Role: "god", Scope: fleet.Root}},
		"device_state_unknown": ledger.DeviceState{IDs: []fleet.DeviceID{"d"}, State: "asleep"},
		"last_administrator":   ledger.OperatorRemove{Name: "admin"},
		"group_root":           ledger.GroupDelete{ID: fleet.Root},
	} {
		if err := try(applyAll(t, base...), b); err == nil || fault.From(err).Code != code {
			t.Errorf("%T: %v, want %s", b, err, code)
		}
	}
	s := applyAll(t, ledger.OperatorSet{Operator: ledger.Operator{Name: "guest", Role: ledger.Viewer, Scope: fleet.Root}})
	if err := try(s, ledger.OperatorRemove{Name: "guest"}); err != nil {
		t.Errorf("a viewer where nobody administers: %v, want removed", err)
	}
}

func TestReplayNamesTheEntryThatCannotStand(t *testing.T) {
	b := write(t, ledgertest.Acts(60).Example(3))
	if len(b.lines) < 12 {
		t.Fatalf("only %d entries", len(b.lines))
	}
	b.lines = slices.Delete(b.lines, 9, 10)
	_, err := ledger.Replay(b.entries())
	if want := "apply ledger entry 10: "; err == nil || !hasPrefix(err, want) {
		t.Errorf("%v, want %q…", err, want)
	}
	broken := func(yield func([]byte, error) bool) { yield(nil, fmt.Errorf("disk")) }
	if _, err := ledger.Replay(broken); err == nil || !hasPrefix(err, "read ledger entry 1: disk") {
		t.Errorf("an entry that cannot be read: %v", err)
	}
}

func hasPrefix(err error, prefix string) bool {
	s := err.Error()
	return len(s) >= len(prefix) && s[:len(prefix)] == prefix
}
