package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"
	"unicode/utf8"
)

// MaxEntry is the most bytes that one encoded entry may have: an act on 500,000 updates fits.
const MaxEntry = 256 << 20

// Encode returns the bytes of an entry as they are hashed, stored and exported: its JSON on one line,
// without a newline. It refuses what Decode would not give back as it was (a time that is not UTC in
// microseconds, a name that is not UTF-8); entries from Make never are like that.
func Encode(e Entry) ([]byte, error) {
	data, err := json.Marshal(e)
	switch {
	case err != nil:
		return nil, fmt.Errorf("encode ledger entry %d: %w", e.Seq, err)
	case e.Seq < 1:
		return nil, fmt.Errorf("encode ledger entry %d: entries count from 1", e.Seq)
	case e.At.Location() != time.UTC || !e.At.Equal(e.At.Truncate(time.Microsecond)):
		return nil, fmt.Errorf("encode ledger entry %d: its time %v is not UTC in microseconds", e.Seq, e.At)
	case !utf8.ValidString(e.By) || !utf8.Valid(data):
		return nil, fmt.Errorf("encode ledger entry %d: it is not UTF-8", e.Seq)
	case len(data) > MaxEntry:
		return nil, fmt.Errorf("encode ledger entry %d: it has %d bytes, more than %d", e.Seq, len(data), MaxEntry)
	}
	return data, nil
}

// Decode reads the bytes of an entry. It is strict: there is exactly one encoding of an entry, so any
// other spelling (white space, unknown or repeated fields, trailing bytes) is an error. The body is read
// by Entry.Decode.
func Decode(data []byte) (Entry, error) {
	var e Entry
	if err := json.Unmarshal(data, &e); err != nil {
		return Entry{}, fmt.Errorf("decode ledger entry: %w", err)
	}
	again, err := Encode(e)
	if err != nil {
		return Entry{}, fmt.Errorf("decode ledger entry: %w", err)
	}
	if !bytes.Equal(data, again) {
		return Entry{}, fmt.Errorf("decode ledger entry %d: it is not in the one form that Encode writes", e.Seq)
	}
	return e, nil
}

// decodeStrict reads exactly one JSON value into v and refuses fields that v does not have: what an
// unknown field would have limited must not be left out silently.
func decodeStrict(raw []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if len(bytes.TrimSpace(raw[dec.InputOffset():])) > 0 {
		return errors.New("bytes follow the value")
	}
	return nil
}

// Replay applies encoded entries, from the first on, to an empty state. It stops at the first entry
// that cannot be read or applied and names it.
func Replay(entries iter.Seq2[[]byte, error]) (*State, error) {
	s := NewState()
	for data, err := range entries {
		if err != nil {
			return nil, fmt.Errorf("read ledger entry %d: %w", s.Seq+1, err)
		}
		if err := s.applyRaw(data); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// applyRaw decodes an entry and applies it.
func (s *State) applyRaw(data []byte) error {
	e, err := Decode(data)
	if err != nil {
		return fmt.Errorf("ledger entry %d: %w", s.Seq+1, err)
	}
	if err := s.Apply(e); err != nil {
		return fmt.Errorf("apply ledger entry %d: %w", s.Seq+1, err)
	}
	return nil
}
