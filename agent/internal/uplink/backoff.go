package uplink

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"time"
)

// Backoff says how long to wait after failures in a row: 1 s, doubled each time, 5 min at most, each
// time a random point in the upper half, so that a fleet does not come back in step. Whatever the server
// asks for with Retry-After is waited out, and a little more by chance. The zero value is ready for use.
type Backoff struct{ failures int }

const (
	firstWait = time.Second
	longest   = 5 * time.Minute
)

// Next is the wait after one more failure with err.
func (b *Backoff) Next(err error) time.Duration {
	wait := min(firstWait<<min(b.failures, 20), longest)
	b.failures++
	var refused *Refused
	if errors.As(err, &refused) && refused.RetryAfter > 0 {
		return refused.RetryAfter + Jitter(refused.RetryAfter/4+time.Second)
	}
	return wait/2 + Jitter(wait/2)
}

// Reset starts anew after a success.
func (b *Backoff) Reset() { b.failures = 0 }

// Jitter is a random duration from 0 up to but without d.
func Jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	var b [8]byte
	rand.Read(b[:]) // never fails
	return time.Duration(binary.BigEndian.Uint64(b[:]) % uint64(d))
}
