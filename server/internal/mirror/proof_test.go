package mirror

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"assent/content"
	"assent/fault"
	"assent/trust/trusttest"
)

// damage is what a failing disk does to the file of a payload: other bytes, of the same length.
func (s *site) damage(b []byte) {
	s.t.Helper()
	digest := content.Digest(b)
	bad := bytes.Clone(b)
	bad[len(bad)/2] ^= 1
	s.must(os.WriteFile(filepath.Join(s.data, "content", digest[:2], digest), bad, 0o600))
}

// served is what a device that asks for the payload gets.
func (s *site) served(b []byte) []byte {
	s.t.Helper()
	f, err := s.payload(b)
	s.must(err)
	defer f.Close()
	got, err := io.ReadAll(f)
	s.must(err)
	return got
}

// serves reports whether a device gets the file as it was published now, and not word to come again.
func (s *site) serves(b []byte) bool {
	s.t.Helper()
	if _, err := s.payload(b); errors.Is(err, fault.Unavailable) {
		return false
	}
	return bytes.Equal(s.served(b), b)
}

// TestADamagedFileIsFetchedAnew: at a look that somebody asks for, after a day when a device asks for it, and after a
// start. The second payload shows that only the damaged one is.
func TestADamagedFileIsFetchedAnew(t *testing.T) {
	for name, heal := range map[string]func(*site){
		"at a refresh": func(s *site) { s.must(s.look()) },
		"after a day":  func(s *site) { s.Advance(proofEvery) },
		"at a start":   func(s *site) { s.restart() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			other := []byte("another payload")
			s.Add(trusttest.Manifest("ledger", "1.0"), payload)
			s.Add(trusttest.Manifest("ledger", "1.1"), other)
			s.Publish()
			s.start()
			s.subscribe()
			s.filled()
			s.damage(payload)
			if bytes.Equal(s.served(payload), payload) {
				t.Fatal("the damage is not there, so nothing is shown by its going")
			}
			heal(s)
			for range 1000 {
				if s.serves(payload) && s.serves(other) {
					return
				}
				time.Sleep(5 * time.Millisecond) // a refresh reads the files through in the background
			}
			t.Error("devices still get the damaged file")
		})
	}
}

// TestADamagedFileWhoseFeedIsAwayIsNotServed: no file is better than one that every device refuses.
func TestADamagedFileWhoseFeedIsAwayIsNotServed(t *testing.T) {
	s := newSite(t)
	s.Add(trusttest.Manifest("ledger", "1.0"), payload)
	s.Publish()
	s.start(func(c *Config) { c.Patience = 50 * time.Millisecond })
	s.subscribe()
	s.filled()
	s.damage(payload)
	s.handle(payloads(func(w http.ResponseWriter, r *http.Request, _ http.Handler) { http.NotFound(w, r) }))
	s.Advance(proofEvery)
	if _, err := s.payload(payload); !errors.Is(err, fault.Unavailable) {
		t.Errorf("a device gets %v", err)
	}
}
