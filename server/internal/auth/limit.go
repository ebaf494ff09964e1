package auth

import (
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// Limits bounds how often something may fail. The zero value means the defaults.
type Limits struct {
	Burst int           // failures in a row; 20 by default
	Every time.Duration // one more failure is allowed after this time; 3 s by default
}

// buckets is how many keys are told apart. More keys share buckets, which can only make the limit
// stricter; the memory stays the same whatever an attacker does.
const buckets = 4096

// Limiter counts failures by a key (an address, a name) in a fixed table. The hash's seed is random, so
// nobody can aim at somebody else's bucket. It is safe for concurrent use.
type Limiter struct {
	limits Limits
	seed   maphash.Seed
	mu     sync.Mutex
	full   [buckets]time.Time // when the bucket will be empty of failures again
}

// NewLimiter makes a Limiter.
func NewLimiter(l Limits) *Limiter {
	if l.Burst <= 0 {
		l.Burst = 20
	}
	if l.Every <= 0 {
		l.Every = 3 * time.Second
	}
	return &Limiter{limits: l, seed: maphash.MakeSeed()}
}

// Take counts one failure of the key. Where there were too many it counts nothing and refuses with Limited.
// Each failure fills the bucket by Every; it leaks in real time and holds Burst of them.
func (l *Limiter) Take(key string, now time.Time) error {
	i := maphash.String(l.seed, key) % buckets
	l.mu.Lock()
	defer l.mu.Unlock()
	from := l.full[i]
	if from.Before(now) {
		from = now
	}
	from = from.Add(l.limits.Every)
	if over := from.Sub(now) - time.Duration(l.limits.Burst)*l.limits.Every; over > 0 {
		return Limited(over)
	}
	l.full[i] = from
	return nil
}

// Give takes a failure back that was counted before it was known to be none.
func (l *Limiter) Give(key string) {
	i := maphash.String(l.seed, key) % buckets
	l.mu.Lock()
	defer l.mu.Unlock()
	l.full[i] = l.full[i].Add(-l.limits.Every)
}

// limited is ErrLimited with how long to wait.
type limited struct{ wait time.Duration }

// Limited is the refusal ErrLimited that says how long to wait.
func Limited(wait time.Duration) error { return limited{wait} }

// Error is for logs.
func (l limited) Error() string { return fmt.Sprintf("%v (for %v)", ErrLimited, l.wait) }

// Unwrap is what people are told.
func (l limited) Unwrap() error { return ErrLimited }

// RetryAfter says after how many whole seconds to try again after a refusal with Limited.
func RetryAfter(err error) (seconds int, ok bool) {
	var l limited
	ok = errors.As(err, &l)
	return int((l.wait + time.Second - 1) / time.Second), ok
}

// Network is the part of a remote address ("host:port") that one subscriber holds: an IPv4 address, an IPv6 /64.
func Network(remote string) string { return network(remote) }

// network is the part of an address that one subscriber holds: an IPv4 address, an IPv6 /64.
func network(remote string) string {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote
	}
	addr := ap.Addr().Unmap().WithZone("")
	if addr.Is4() {
		return addr.String()
	}
	p, err := addr.Prefix(64)
	if err != nil {
		return remote
	}
	return p.String()
}

// lastUsed remembers when tokens were let in. It is kept in memory on purpose: a database write for each
// request would make reading cost what acting costs. Only tokens that exist get in, so it stays small.
type lastUsed struct {
	mu sync.Mutex
	at map[string]time.Time
}

func newLastUsed() *lastUsed { return &lastUsed{at: map[string]time.Time{}} }

func (l *lastUsed) mark(id string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at[id] = now
}

func (l *lastUsed) get(id string) (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.at[id]
	return t, ok
}
