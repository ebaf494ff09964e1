package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"sync"

	"assent/agent/internal/statedir"
)

const (
	sequenceFile = "sequence"
	// block is how many numbers one fsync reserves.
	block = 1000
	slot  = 16 // bytes: the number, its checksum, its complement
)

// Sequence gives out the numbers of check-ins: each is higher than any given out before, in this
// process or an earlier one, whatever was killed when. Numbers may be skipped.
//
// The reservation is written in place, into the older of two slots, so that it works on a full disk:
// an agent that cannot say "my disk is full" would be silent just then.
type Sequence struct {
	mu       sync.Mutex
	f        *os.File
	last     int64 // given out
	reserved int64 // durable: no process before or after this one gives out a number at or below
	turn     int64 // the slot to write next
}

// OpenSequence opens the counter in dir or starts it.
func OpenSequence(dir *statedir.Dir) (*Sequence, error) {
	f, err := dir.Root().OpenFile(sequenceFile, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open check-in counter: %w", err)
	}
	s := &Sequence{f: f}
	for i := range int64(2) {
		if n, ok := s.read(i); ok && n > s.reserved {
			s.reserved, s.turn = n, 1-i
		}
	}
	s.last = s.reserved
	return s, nil
}

func (s *Sequence) read(i int64) (int64, bool) {
	var b [slot]byte
	if n, err := s.f.ReadAt(b[:], i*slot); n < slot || (err != nil && n < slot) {
		return 0, false
	}
	n := binary.BigEndian.Uint64(b[:8])
	ok := crc32.ChecksumIEEE(b[:8]) == binary.BigEndian.Uint32(b[8:12])
	return int64(n), ok && int64(n) > 0
}

// Next returns the next number. It waits for the disk once in a block.
func (s *Sequence) Next() (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last >= s.reserved {
		if err := s.reserve(s.reserved + block); err != nil {
			return 0, err
		}
		CrashPoint(SequenceReserved)
	}
	s.last++
	return s.last, nil
}

func (s *Sequence) reserve(n int64) error {
	var b [slot]byte
	binary.BigEndian.PutUint64(b[:8], uint64(n))
	binary.BigEndian.PutUint32(b[8:12], crc32.ChecksumIEEE(b[:8]))
	if _, err := s.f.WriteAt(b[:], s.turn*slot); err != nil {
		return fmt.Errorf("reserve check-in numbers: %w", err)
	}
	if err := s.f.Sync(); err != nil {
		return fmt.Errorf("reserve check-in numbers: %w", err)
	}
	s.reserved, s.turn = n, 1-s.turn
	return nil
}

// Close releases the file.
func (s *Sequence) Close() error { return s.f.Close() }
