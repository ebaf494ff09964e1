package ledger_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"assent/ledger"
	"assent/ledger/ledgertest"
)

// export writes the export of a ledger, with or without its list of hashes.
func export(t require, b book, hashes bool) (data []byte, verifier string) {
	t.Helper()
	s, v := keys(t, "org", 1)
	signed, err := b.checkpoint(t, len(b.lines)).Sign(s)
	if err != nil {
		t.Fatalf("%v", err)
	}
	var out bytes.Buffer
	if err := ledger.Export(&out, signed, b.entries()); err != nil {
		t.Fatalf("%v", err)
	}
	data = out.Bytes()
	if i := bytes.Index(data, []byte("\n{\"hashes\":")); !hashes && i >= 0 {
		data = data[:i+1]
	}
	return data, v
}

func TestAnExportVerifiesOfflineAndReplays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := write(t, ledgertest.Acts(rapid.IntRange(2, 60).Draw(t, "n")).Draw(t, "acts"))
		data, v := export(t, b, rapid.Bool().Draw(t, "hashes"))
		sum, err := ledger.VerifyExport(iotest.OneByteReader(bytes.NewReader(data)), v)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(b.state, sum.State); d != "" {
			t.Fatalf("state (-want +got):\n%s", d)
		}
		n := 0
		for _, k := range sum.Kinds {
			n += k
		}
		if sum.Checkpoint != b.checkpoint(t, len(b.lines)) || n != len(b.lines) || !sum.First.Equal(ledgertest.Start()) || sum.Last.Before(sum.First) {
			t.Fatalf("summary %+v", sum)
		}
	})
}

// tampered asserts that an export is refused and, where entry is not 0, that this entry is named.
func tampered(t require, data []byte, verifier string, entry int) {
	t.Helper()
	_, err := ledger.VerifyExport(bytes.NewReader(data), verifier)
	var tamper *ledger.TamperError
	if !errors.As(err, &tamper) {
		t.Fatalf("got %v, want a TamperError", err)
	}
	if entry > 0 && (tamper.Entry != int64(entry) || !strings.HasPrefix(err.Error(), fmt.Sprintf("entry %d is not", entry))) {
		t.Fatalf("got %v, want entry %d named", err, entry)
	}
}

func TestAnyChangedByteOfAnExportIsFoundAndItsEntryNamed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := write(t, ledgertest.Acts(40).Draw(t, "acts"))
		data, v := export(t, b, true)
		at := rapid.IntRange(0, len(data)-1).Draw(t, "at")
		entry := bytes.Count(data[:at], []byte("\n")) // line 0 is the checkpoint
		if entry > len(b.lines) {
			entry = 0 // the list of hashes
		}
		var bad []byte
		switch rapid.SampledFrom([]string{"alter", "remove", "insert", "cut"}).Draw(t, "how") {
		case "alter":
			bad = bytes.Clone(data)
			bad[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "flip"))
		case "remove":
			bad = slices.Delete(bytes.Clone(data), at, at+1)
		case "insert":
			bad = slices.Insert(bytes.Clone(data), at, rapid.Byte().Draw(t, "byte"))
			if bytes.Equal(bad[at:], data[at:]) {
				entry = 0
			}
		case "cut":
			bad = data[:at]
			entry = 0 // the list of hashes, which names entries, is gone
		}
		if i := bytes.LastIndex(data[:len(data)-1], []byte("\n")); len(bad) == i+1 && bytes.Equal(bad, data[:i+1]) {
			return // exactly the list was cut off: what is left is an intact export
		}
		tampered(t, bad, v, entry)
	})
}

func TestWholeEntriesRemovedInsertedMovedOrReplacedAreNamed(t *testing.T) {
	b := write(t, ledgertest.Acts(60).Example(4))
	data, v := export(t, b, true)
	lines := bytes.SplitAfter(data, []byte("\n"))
	lines = lines[:len(lines)-1]
	n := len(b.lines)
	forgedEntry, err := ledger.Make(8, ledgertest.Start(), "mallory", ledger.GroupDelete{ID: "g"})
	if err != nil {
		t.Fatal(err)
	}
	forged, err := ledger.Encode(forgedEntry)
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func([][]byte) [][]byte) []byte { return bytes.Join(f(slices.Clone(lines)), nil) }
	for name, c := range map[string]struct {
		data  []byte
		entry int
	}{
		"first removed":    {change(func(l [][]byte) [][]byte { return slices.Delete(l, 1, 2) }), 1},
		"one removed":      {change(func(l [][]byte) [][]byte { return slices.Delete(l, 8, 9) }), 8},
		"last removed":     {change(func(l [][]byte) [][]byte { return slices.Delete(l, n, n+1) }), n},
		"one doubled":      {change(func(l [][]byte) [][]byte { return slices.Insert(l, 8, l[8]) }), 9},
		"two swapped":      {change(func(l [][]byte) [][]byte { l[8], l[9] = l[9], l[8]; return l }), 8},
		"one replaced":     {change(func(l [][]byte) [][]byte { l[8] = append(forged, '\n'); return l }), 8},
		"one added at end": {change(func(l [][]byte) [][]byte { return slices.Insert(l, n+1, append(forged, '\n')) }), n + 1},
		"two altered":      {change(func(l [][]byte) [][]byte { l[12], l[8] = []byte("{}\n"), append(forged, '\n'); return l }), 8},
		"behind hashes":    {change(func(l [][]byte) [][]byte { return append(l, append(forged, '\n')) }), n + 1},
		"hashes doubled":   {change(func(l [][]byte) [][]byte { return append(l, l[n+1]) }), 0},
		"blank line":       {change(func(l [][]byte) [][]byte { return slices.Insert(l, 8, []byte("\n")) }), 8},
		"no checkpoint":    {change(func(l [][]byte) [][]byte { return l[1:] }), 0},
		"nothing":          {nil, 0},
	} {
		t.Run(name, func(t *testing.T) { tampered(t, c.data, v, c.entry) })
	}
}

func TestWithoutTheListOfHashesTamperingIsStillFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := write(t, ledgertest.Acts(40).Draw(t, "acts"))
		data, v := export(t, b, false)
		at := rapid.IntRange(0, len(data)-1).Draw(t, "at")
		bad := bytes.Clone(data)
		bad[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "flip"))
		tampered(t, bad, v, 0)
	})
}

func TestAForeignOrOlderCheckpointDoesNotCoverAnExport(t *testing.T) {
	b := write(t, ledgertest.Acts(60).Example(5))
	s, v := keys(t, "org", 1)
	_, otherKey := keys(t, "org", 2)
	data, _ := export(t, b, true)
	tampered(t, data, otherKey, 0)
	older, err := b.checkpoint(t, len(b.lines)-2).Sign(s)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := ledger.Export(&out, older, b.entries()); err != nil {
		t.Fatal(err)
	}
	tampered(t, out.Bytes(), v, len(b.lines)-1)
	// A ledger of one organisation under the checkpoint of another, both genuine.
	s2, v2 := keys(t, "org2", 1)
	c := b.checkpoint(t, len(b.lines))
	c.Org = "org2"
	stolen, err := c.Sign(s2)
	if err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if err := ledger.Export(&out, stolen, b.entries()); err != nil {
		t.Fatal(err)
	}
	tampered(t, out.Bytes(), v2, 1)
}

func TestAnEmptyLedgerExports(t *testing.T) {
	data, v := export(t, book{}, true)
	sum, err := ledger.VerifyExport(bytes.NewReader(data), v)
	if err != nil || sum.Checkpoint.Size != 0 || len(sum.Kinds) != 0 {
		t.Errorf("%+v, %v", sum, err)
	}
}

func TestALedgerLongerThanOneLineOfHashesExports(t *testing.T) {
	acts := []ledger.Body{ledger.ServerInit{Org: "org"}}
	for i := range 9000 {
		acts = append(acts, ledger.TokenCreate{ID: fmt.Sprint(i)})
	}
	b := write(t, acts)
	data, v := export(t, b, true)
	if got := bytes.Count(data, []byte("{\"hashes\":")); got != 3 {
		t.Errorf("%d lines of hashes, want 3", got)
	}
	if _, err := ledger.VerifyExport(bytes.NewReader(data), v); err != nil {
		t.Error(err)
	}
	bad := bytes.Replace(data, []byte(`{"id":"8500",`), []byte(`{"id":"850X",`), 1)
	tampered(t, bad, v, 8502)
}

func TestAReaderThatFailsIsNotTakenForTheEnd(t *testing.T) {
	b := write(t, ledgertest.Acts(20).Example(6))
	data, v := export(t, b, false)
	cause := errors.New("disk")
	r := io.MultiReader(bytes.NewReader(data), iotest.ErrReader(cause))
	if _, err := ledger.VerifyExport(r, v); !errors.Is(err, cause) {
		t.Errorf("%v, want %v", err, cause)
	}
	failing := func(yield func([]byte, error) bool) { yield(nil, cause) }
	if err := ledger.Export(io.Discard, nil, failing); !errors.Is(err, cause) {
		t.Errorf("export: %v, want %v", err, cause)
	}
}

// FuzzVerifyExport: no bytes but the genuine ones verify, and none make it panic.
func FuzzVerifyExport(f *testing.F) {
	b := write(f, ledgertest.Acts(12).Example(7))
	data, v := export(f, b, true)
	bare, _ := export(f, b, false)
	f.Add(data)
	f.Add(bare)
	f.Add(data[:len(data)/2])
	f.Add([]byte("{\"checkpoint\":\"\"}\n{}\n"))
	f.Add([]byte("{\"hashes\":[\"AAAA\"]}\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if _, err := ledger.VerifyExport(bytes.NewReader(in), v); err == nil && !bytes.Equal(in, data) && !bytes.Equal(in, bare) {
			t.Errorf("an export verified that nobody signed:\n%q", in)
		}
	})
}

// FuzzDecode: whatever is read is encoded as it was.
func FuzzDecode(f *testing.F) {
	for _, l := range write(f, ledgertest.Acts(60).Example(8)).lines {
		f.Add(l)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		e, err := ledger.Decode(in)
		if err != nil {
			return
		}
		again, err := ledger.Encode(e)
		if err != nil || !bytes.Equal(in, again) {
			t.Errorf("%q is encoded as %q, %v", in, again, err)
		}
		_ = ledger.NewState().Apply(e) // must not panic
	})
}
