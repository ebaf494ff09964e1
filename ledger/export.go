package ledger

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// The first line of an export, and its last lines. Between them stand the entries, one a line, byte for
// byte as they are hashed. The hashes of all entries, in chunks, tell which entry was tampered with: the
// checkpoint's root vouches for them. They may be left out; tampering is then found but not located.
type (
	exportHead struct {
		Checkpoint string `json:"checkpoint"`
	}
	exportTail struct {
		Hashes []tlog.Hash `json:"hashes"`
	}
)

const (
	hashesPerLine = 4096
	maxHead       = 64 << 10
)

// Export writes a ledger so that VerifyExport can verify it offline: the signed checkpoint, the entries
// that it covers and their hashes.
func Export(w io.Writer, signed []byte, entries iter.Seq2[[]byte, error]) error {
	out := bufio.NewWriter(w)
	line := func(v any) error {
		data, err := json.Marshal(v)
		if err != nil {
			return err
		}
		return writeLine(out, data)
	}
	if err := line(exportHead{Checkpoint: string(signed)}); err != nil {
		return fmt.Errorf("export ledger: %w", err)
	}
	var hashes []tlog.Hash
	for data, err := range entries {
		if err != nil {
			return fmt.Errorf("export ledger: read entry %d: %w", len(hashes)+1, err)
		}
		hashes = append(hashes, tlog.RecordHash(data))
		if err := writeLine(out, data); err != nil {
			return fmt.Errorf("export ledger: %w", err)
		}
	}
	for len(hashes) > 0 {
		n := min(len(hashes), hashesPerLine)
		if err := line(exportTail{Hashes: hashes[:n]}); err != nil {
			return fmt.Errorf("export ledger: %w", err)
		}
		hashes = hashes[n:]
	}
	return out.Flush()
}

func writeLine(w *bufio.Writer, data []byte) error {
	_, _ = w.Write(data) // bufio keeps the first error
	return w.WriteByte('\n')
}

// Summary is what a verified export says.
type Summary struct {
	Checkpoint Checkpoint
	First      time.Time // of the first entry; zero when there is none
	Last       time.Time
	Kinds      map[Kind]int
	State      *State // what the entries amount to
}

// TamperError says where an export is not what was signed.
type TamperError struct {
	Entry int64 // the first bad entry; 0 when it is the export around them or cannot be told
	Why   string
	Cause error
}

// Error names the entry.
func (e *TamperError) Error() string {
	s := "the export is not what was signed: " + e.Why
	if e.Entry > 0 {
		s = fmt.Sprintf("entry %d is not what was signed: %s", e.Entry, e.Why)
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *TamperError) Unwrap() error { return e.Cause }

// VerifyExport reads an export and verifies everything about it offline: the checkpoint's signature by
// verifierKey (from VerifierKey), the root over all entries, their numbers, every body, and that they
// replay. Any byte that differs from what was signed is an error, a *TamperError that names the first bad
// entry where that can be told. It holds one entry and 64 bytes for each in memory.
func VerifyExport(r io.Reader, verifierKey string) (Summary, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	cp, err := readHead(in, verifierKey)
	if err != nil {
		return Summary{}, err
	}
	v := verification{Summary: Summary{Checkpoint: cp, Kinds: map[Kind]int{}, State: NewState()}}
	for {
		line, err := readLine(in, MaxEntry)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Summary{}, err
		}
		if err := v.add(line); err != nil {
			return Summary{}, err
		}
	}
	return v.Summary, v.finish()
}

func readHead(in *bufio.Reader, verifierKey string) (Checkpoint, error) {
	line, err := readLine(in, maxHead)
	if err != nil {
		return Checkpoint{}, &TamperError{Why: "it has no checkpoint line", Cause: err}
	}
	var head exportHead
	if err := decodeCanonical(line, &head); err != nil {
		return Checkpoint{}, &TamperError{Why: "its first line is not a checkpoint", Cause: err}
	}
	cp, err := VerifyCheckpoint([]byte(head.Checkpoint), verifierKey)
	if err != nil {
		return Checkpoint{}, &TamperError{Why: "its checkpoint does not verify", Cause: err}
	}
	return cp, nil
}

// verification is a VerifyExport under way.
type verification struct {
	Summary
	tree   Tree
	hashes []tlog.Hash // what the last lines say the entries' hashes are
	bad    *TamperError
}

// add takes the next line: an entry, or hashes once the entries are through. The first entry that cannot
// be right is kept in v.bad; only finish can tell whether an earlier one was altered without a trace.
func (v *verification) add(line []byte) error {
	if v.tail(line) {
		return nil
	}
	seq := v.tree.Size() + 1
	if len(v.hashes) > 0 {
		return &TamperError{Entry: seq, Why: "it stands behind the hashes"}
	}
	if err := v.tree.Append(line); err != nil {
		return err
	}
	if v.bad != nil {
		return nil //nolint:nilerr // the first bad entry is known; the rest is read for the tree
	}
	if err := v.apply(line); err != nil {
		v.bad = &TamperError{Entry: seq, Why: "it cannot stand there", Cause: err}
	}
	return nil
}

func (v *verification) apply(line []byte) error {
	e, err := Decode(line)
	if err != nil {
		return err
	}
	if err := v.State.Apply(e); err != nil {
		return err
	}
	if e.Seq == 1 {
		v.First = e.At
	}
	v.Last = e.At
	v.Kinds[e.Kind]++
	return nil
}

// tail takes a line of hashes.
func (v *verification) tail(line []byte) bool {
	if !bytes.HasPrefix(line, []byte(`{"hashes":`)) {
		return false
	}
	var t exportTail
	if err := decodeCanonical(line, &t); err != nil {
		return false
	}
	v.hashes = append(v.hashes, t.Hashes...)
	return true
}

// finish gives the verdict once all lines are through.
func (v *verification) finish() error {
	root, err := v.tree.Root()
	if err != nil {
		return err
	}
	intact := v.tree.Size() == v.Checkpoint.Size && root == v.Checkpoint.Root
	switch listed := v.listed(); {
	case !intact && listed:
		return v.locate()
	case v.bad != nil:
		return v.bad
	case v.tree.Size() < v.Checkpoint.Size:
		return &TamperError{Entry: v.tree.Size() + 1, Why: fmt.Sprintf("it is missing: the checkpoint covers %d entries", v.Checkpoint.Size)}
	case v.tree.Size() > v.Checkpoint.Size:
		return &TamperError{Entry: v.Checkpoint.Size + 1, Why: fmt.Sprintf("the checkpoint covers only %d entries", v.Checkpoint.Size)}
	case !intact:
		return &TamperError{Why: "some entry was altered; without its list of hashes it cannot be told which"}
	case len(v.hashes) > 0 && !listed:
		return &TamperError{Why: "its list of hashes was altered; the entries are intact"}
	case v.State.Server.Org != "" && v.State.Server.Org != v.Checkpoint.Org:
		return &TamperError{Entry: 1, Why: fmt.Sprintf("it starts the ledger of %q, the checkpoint is of %q", v.State.Server.Org, v.Checkpoint.Org)}
	}
	return nil
}

// listed reports whether the list of hashes is the one that the checkpoint vouches for.
func (v *verification) listed() bool {
	if int64(len(v.hashes)) != v.Checkpoint.Size {
		return false
	}
	var signed Tree
	for _, h := range v.hashes {
		if err := signed.appendHash(h); err != nil {
			return false
		}
	}
	root, err := signed.Root()
	return err == nil && root == v.Checkpoint.Root
}

// locate names the first entry that is not the one the signed list of hashes says.
func (v *verification) locate() error {
	for i, h := range v.hashes {
		seq := int64(i) + 1
		switch {
		case seq > v.tree.Size():
			return &TamperError{Entry: seq, Why: "it is missing"}
		case v.tree.record(seq) != h:
			return v.name(seq)
		}
	}
	return &TamperError{Entry: v.Checkpoint.Size + 1, Why: fmt.Sprintf("the checkpoint covers only %d entries", v.Checkpoint.Size)}
}

// name says as well as can be said what is wrong with an entry whose hash is not the signed one.
func (v *verification) name(seq int64) error {
	if v.bad != nil && v.bad.Entry == seq {
		return v.bad
	}
	return &TamperError{Entry: seq, Why: "its bytes were altered, or it was removed, added or moved"}
}

// readLine reads a line of at most limit bytes and returns it without its newline. io.EOF means that
// there is no further line; a last line without newline is an error.
func readLine(in *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(line)+len(part) > limit+1 {
			return nil, &TamperError{Why: fmt.Sprintf("a line has more than %d bytes", limit)}
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return line[:len(line)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err == io.EOF && len(line) == 0:
			return nil, io.EOF
		case err == io.EOF:
			return nil, &TamperError{Why: "its last line is cut off"}
		}
		return nil, fmt.Errorf("read export: %w", err)
	}
}

// decodeCanonical reads line into v if it is exactly what encoding v gives.
func decodeCanonical[T any](line []byte, v *T) error {
	if err := decodeStrict(line, v); err != nil {
		return err
	}
	again, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(line, again) {
		return errors.New("it is not in the one form that Export writes")
	}
	return nil
}
