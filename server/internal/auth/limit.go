package auth

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// Limits bounds how often an address may fail. The zero value means the defaults.
type Limits struct {
	Burst int           // failures in a row; 20 by default
	Every time.Duration // one more failure is allowed after this time; 3 s by default
}

// buckets is how many addresses are told apart. More addresses share buckets, which can only make the
// limit stricter; the memory stays the same whatever an attacker does.
const buckets = 4096

// limiter counts failures per address in a fixed table. The hash's seed is random, so nobody can aim at
// somebody else's bucket.
type limiter struct {
	limits Limits
	seed   maphash.Seed
	mu     sync.Mutex
	full   [buckets]time.Time // when the bucket will be empty of failures again
}

func newLimiter(l Limits) *limiter {
	if l.Burst <= 0 {
		l.Burst = 20
	}
	if l.Every <= 0 {
		l.Every = 3 * time.Second
	}
	return &limiter{limits: l, seed: maphash.MakeSeed()}
}

// allow counts one failure and reports whether the address may still have it answered in full. Each
// failure fills the bucket by Every; it leaks in real time and holds Burst of them.
func (l *limiter) allow(remote string, now time.Time) bool {
	i := maphash.String(l.seed, network(remote)) % buckets
	l.mu.Lock()
	defer l.mu.Unlock()
	from := l.full[i]
	if from.Before(now) {
		from = now
	}
	from = from.Add(l.limits.Every)
	if from.Sub(now) > time.Duration(l.limits.Burst)*l.limits.Every {
		return false
	}
	l.full[i] = from
	return true
}

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
