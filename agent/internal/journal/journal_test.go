package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"assent/agent/internal/statedir"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

func openDir(t testing.TB, path string) *statedir.Dir {
	t.Helper()
	d, err := statedir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func open(t testing.TB, d *statedir.Dir) *Journal {
	t.Helper()
	j, err := Open(d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func report(id string, update catalog.UpdateID, state installation.State) wire.Report {
	return wire.Report{ID: id, At: time.Unix(1, 0).UTC(), Update: update, State: state}
}

// same compares two states as the JSON they would be written as.
func same(t testing.TB, want, got State) {
	t.Helper()
	w, err1 := json.Marshal(want)
	g, err2 := json.Marshal(got)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(w), string(g)); diff != "" {
		t.Fatalf("state (-want +got):\n%s", diff)
	}
}

func TestN46_WhateverIsLostOfTheEndTheJournalIsTheStateAfterSomeWholeRecord(t *testing.T) {
	base := t.TempDir()
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		n++
		d := openDir(t, filepath.Join(base, fmt.Sprint(n)))
		j := open(t, d)
		states := []State{clone(t, j.state)}
		ends := []int64{0}
		for i := range rapid.IntRange(1, 12).Draw(r, "records") {
			id := catalog.UpdateID(rapid.SampledFrom([]string{"u1", "u2", "u3"}).Draw(r, "update"))
			rec := Record{Reports: []wire.Report{report(fmt.Sprint(i), id, rapid.SampledFrom(installation.States()).Draw(r, "state"))}}
			if len(j.state.Outbox) > 0 && rapid.Bool().Draw(r, "confirm") {
				rec.Applied = []string{j.state.Outbox[0].ID}
			}
			if j.Flight() == nil && rapid.Bool().Draw(r, "fly") {
				rec.Flight = &Flight{ID: fmt.Sprint("f", i)}
			} else if f := j.Flight(); f != nil && rapid.Bool().Draw(r, "land") {
				rec.Landed = f.ID
			}
			if err := j.Write(rec); err != nil {
				continue // a transition outside the table: nothing happened
			}
			states, ends = append(states, clone(t, j.state)), append(ends, j.size)
		}
		j.Close()
		cut := rapid.Int64Range(0, ends[len(ends)-1]).Draw(r, "bytes that survived")
		if err := os.Truncate(d.Path(file), cut); err != nil {
			r.Fatal(err)
		}
		whole := 0
		for i, end := range ends {
			if end <= cut {
				whole = i
			}
		}
		again := open(t, d)
		same(t, states[whole], again.state)
		if err := again.Write(Record{Reports: []wire.Report{{ID: "new", Event: "e"}}}); err != nil {
			r.Fatal(err)
		}
		want := clone(t, again.state)
		again.Close()
		same(t, want, open(t, d).state)
	})
}

func clone(t testing.TB, s State) State {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var out State
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAFlippedBitEndsTheJournalThere(t *testing.T) {
	d := openDir(t, filepath.Join(t.TempDir(), "s"))
	j := open(t, d)
	for _, id := range []string{"a", "b", "c"} {
		if err := j.Write(Record{Reports: []wire.Report{{ID: id, Event: "e"}}}); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(d.Path(file))
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(b, []byte("\n"))
	lines[1][len(lines[1])/2] ^= 1
	if err := os.WriteFile(d.Path(file), bytes.Join(lines, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := open(t, d).Outbox(1 << 20); len(got) != 1 || got[0].ID != "a" {
		t.Errorf("outbox after the damage: %v", got)
	}
}

func TestV1_ATransitionOutsideTheTableIsRefusedAndChangesNothing(t *testing.T) {
	j := open(t, openDir(t, filepath.Join(t.TempDir(), "s")))
	if err := j.Write(Record{Reports: []wire.Report{report("1", "u", installation.Installing)}}); err != nil {
		t.Fatal(err)
	}
	err := j.Write(Record{Reports: []wire.Report{report("2", "v", installation.Assigned), report("3", "u", installation.Downloading)}})
	if err == nil {
		t.Fatal("installing became downloading")
	}
	if got := j.Outbox(1 << 20); len(got) != 1 || j.Entry("v").State != "" {
		t.Errorf("the refused record left something: %v", got)
	}
}

func TestI7_ASecondTransactionIsRefusedWhileOneIsInTheAir(t *testing.T) {
	j := open(t, openDir(t, filepath.Join(t.TempDir(), "s")))
	if err := j.Write(Record{Flight: &Flight{ID: "one"}}); err != nil {
		t.Fatal(err)
	}
	if err := j.Write(Record{Flight: &Flight{ID: "two"}}); !errors.Is(err, ErrFlight) {
		t.Fatalf("second transaction: %v", err)
	}
	if err := j.Write(Record{Landed: "one", Flight: &Flight{ID: "two"}}); err != nil {
		t.Fatal(err)
	}
}

func TestCompactingKeepsTheStateAndShortensTheFile(t *testing.T) {
	d := openDir(t, filepath.Join(t.TempDir(), "s"))
	j := open(t, d)
	j.least, j.limit = 10_000, 10_000
	for i := range 500 {
		id := fmt.Sprint(i)
		if err := j.Write(Record{Reports: []wire.Report{report(id, "u", installation.Applicable)}}); err != nil {
			t.Fatal(err)
		}
		if err := j.Write(Record{Applied: []string{id}}); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(d.Path(file)); err != nil || info.Size() > 20_000 {
		t.Errorf("journal of %d bytes, %v", info.Size(), err)
	}
	want := clone(t, j.state)
	same(t, want, open(t, d).state)
}

func TestOutboxGivesTheOldestFirstWithinItsLimitButNeverNothing(t *testing.T) {
	j := open(t, openDir(t, filepath.Join(t.TempDir(), "s")))
	for _, id := range []string{"a", "b", "c"} {
		if err := j.Write(Record{Reports: []wire.Report{{ID: id, Event: "e"}}}); err != nil {
			t.Fatal(err)
		}
	}
	if got := j.Outbox(1); len(got) != 1 || got[0].ID != "a" {
		t.Errorf("outbox of 1 byte: %v", got)
	}
	if got := j.Outbox(1 << 20); len(got) != 3 {
		t.Errorf("outbox: %v", got)
	}
}

// tmpfs mounts a small file system that can be filled.
func tmpfs(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", path, "tmpfs", 0, "size=256k,mode=700"); err != nil {
		t.Fatal("needs root: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return path
}

func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	for size := 64 << 10; size > 0; size /= 2 {
		for {
			if _, err := f.Write(make([]byte, size)); err != nil {
				break
			}
		}
	}
	return func() {
		f.Close()
		if err := os.Remove(f.Name()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestN49_AFullDiskRefusesTheRecordChangesNothingAndHealsByItself(t *testing.T) {
	path := tmpfs(t)
	d := openDir(t, path)
	j := open(t, d)
	if err := j.Write(Record{Reports: []wire.Report{{ID: "before", Event: "e"}}}); err != nil {
		t.Fatal(err)
	}
	free := fill(t, path)
	big := Record{Reports: []wire.Report{{ID: "lost", Event: "e", Detail: string(bytes.Repeat([]byte("x"), 9000))}}}
	for range 3 {
		if err := j.Write(big); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("write on a full disk: %v", err)
		}
	}
	if got := j.Outbox(1 << 20); len(got) != 1 {
		t.Fatalf("a refused record is remembered: %v", got)
	}
	same(t, clone(t, j.state), mustRead(t, d))
	free()
	big.Reports[0].ID = "after"
	if err := j.Write(big); err != nil {
		t.Fatalf("the disk has room again: %v", err)
	}
	same(t, clone(t, j.state), mustRead(t, d))
}

func mustRead(t *testing.T, d *statedir.Dir) State {
	t.Helper()
	s, err := Read(d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSequenceNeverRepeatsOrGoesBackAcrossRestarts(t *testing.T) {
	d := openDir(t, filepath.Join(t.TempDir(), "s"))
	last := int64(0)
	for range 5 {
		s, err := OpenSequence(d)
		if err != nil {
			t.Fatal(err)
		}
		for range block + 7 {
			n, err := s.Next()
			if err != nil || n <= last {
				t.Fatalf("%d after %d, %v", n, last, err)
			}
			last = n
		}
		s.Close()
	}
}

func TestN49_SequenceGoesOnWhenTheDiskIsFull(t *testing.T) {
	path := tmpfs(t)
	d := openDir(t, path)
	s, err := OpenSequence(d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Next(); err != nil {
		t.Fatal(err)
	}
	s.Close()
	fill(t, path)
	if s, err = OpenSequence(d); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 3 * block {
		if _, err := s.Next(); err != nil {
			t.Fatalf("an agent on a full disk could not even say so: %v", err)
		}
	}
}

func TestSequenceSurvivesATornReservation(t *testing.T) {
	for damaged := range int64(2) {
		d := openDir(t, filepath.Join(t.TempDir(), "s"))
		s, err := OpenSequence(d)
		if err != nil {
			t.Fatal(err)
		}
		for range 2*block + 1 { // three reservations, the last durable number is below the torn one
			if _, err := s.Next(); err != nil {
				t.Fatal(err)
			}
		}
		given := s.reserved - block // what was reserved before the reservation that tears
		torn := 1 - s.turn
		if _, err := s.f.WriteAt([]byte{0xff, 0xff, 0xff}, torn*slot+damaged*8); err != nil {
			t.Fatal(err)
		}
		s.Close()
		if s, err = OpenSequence(d); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Next(); err != nil || n <= given {
			t.Errorf("%d after a torn reservation above %d, %v", n, given, err)
		}
		s.Close()
	}
}
