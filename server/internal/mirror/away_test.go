package mirror

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"assent/content"
	"assent/trust/trusttest"
)

// bucket is a store that can be away.
type bucket struct {
	content.Store
	err     atomic.Pointer[error]
	removed atomic.Int64
}

// fail has every use of the store end with err; nil ends that.
func (b *bucket) fail(err error) { b.err.Store(&err) }

func (b *bucket) now() error {
	if p := b.err.Load(); p != nil {
		return *p
	}
	return nil
}

func (b *bucket) Has(ctx context.Context, digest string) (bool, error) {
	if err := b.now(); err != nil {
		return false, err
	}
	return b.Store.Has(ctx, digest)
}

// Open opens the file, and fails its readers when the store goes away.
func (b *bucket) Open(ctx context.Context, digest string) (content.File, error) {
	if err := b.now(); err != nil {
		return nil, err
	}
	f, err := b.Store.Open(ctx, digest)
	if err != nil {
		return nil, err
	}
	return far{f, b}, nil
}

func (b *bucket) Remove(ctx context.Context, digest string) error {
	b.removed.Add(1)
	return b.Store.Remove(ctx, digest)
}

type far struct {
	content.File
	b *bucket
}

func (f far) Read(p []byte) (int, error) {
	if err := f.b.now(); err != nil {
		return 0, err
	}
	return f.File.Read(p)
}

// TestN44_FilesInABucketThatIsAwayAreNeitherRemovedNorTakenForDamaged: devices are told that it is away, people see an alarm,
// and with the bucket everything is back.
func TestN44_FilesInABucketThatIsAwayAreNeitherRemovedNorTakenForDamaged(t *testing.T) {
	for name, away := range map[string]error{"away": content.ErrAway, "refused": content.ErrRefused} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.Add(trusttest.Manifest("ledger", "1.0"), payload)
			s.Publish()
			var b *bucket
			s.start(func(c *Config) { b = &bucket{Store: c.Content}; c.Content = b })
			s.subscribe()
			s.filled()
			b.fail(away)
			s.Advance(proofEvery) // the file is to be read through
			if _, err := s.payload(payload); !errors.Is(err, away) {
				t.Errorf("a device that asks is told %v", err)
			}
			s.must(s.look())
			s.awaitAlarm(code(away), true)
			if n := b.removed.Load(); n != 0 {
				t.Errorf("%d files were removed", n)
			}
			b.fail(nil)
			if !bytes.Equal(s.served(payload), payload) {
				t.Error("other bytes came")
			}
			s.must(s.look())
			s.awaitAlarm(code(away), false)
		})
	}
}

// awaitAlarm waits until a code is, or is no more, among the alarms.
func (s *site) awaitAlarm(code string, want bool) {
	s.t.Helper()
	for range 1000 {
		if slices.ContainsFunc(s.m.Alarms(), func(a Alarm) bool { return a.Code == code }) == want {
			return
		}
		time.Sleep(5 * time.Millisecond) // files are looked for in the background
	}
	s.t.Errorf("%s among the alarms: never %v", code, want)
}
