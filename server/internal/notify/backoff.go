package notify

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"time"

	"assent/server/internal/store"
)

// Bounds of trying.
const (
	firstPause = 5 * time.Second
	mostPause  = time.Hour
	giveUp     = 3 * 24 * time.Hour // after the first attempt
	mostRefuse = 5                  // refusals of one message
)

// errRefused marks a failure that concerns this very message: the receiver is there and does not want it.
var errRefused = errors.New("the receiver refuses this message")

// backoff is how long to wait after so many attempts, without the jitter.
func backoff(tries int) time.Duration {
	d := firstPause
	for range tries - 1 {
		if d *= 2; d >= mostPause {
			return mostPause
		}
	}
	return d
}

// jitter spreads a pause, so that many that failed together do not come back together: between half of it and all.
func jitter(d time.Duration) time.Duration {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails; see crypto/rand
	half := uint64(d / 2)
	if half == 0 {
		return d
	}
	return d/2 + time.Duration(binary.LittleEndian.Uint64(b[:])%half)
}

// after is a message after an attempt that ended with err at now, with the pause that follows a failure.
func after(m store.Outgoing, err error, now time.Time, jitter func(time.Duration) time.Duration) store.Outgoing {
	m.Tries++
	if m.First.IsZero() {
		m.First = now
	}
	if err == nil {
		m.State, m.Done, m.Error, m.Next = store.Sent, now, "", time.Time{}
		return m
	}
	if errors.Is(err, errRefused) {
		m.Refused++
	}
	m.Error = plain(err.Error(), maxDetail)
	if m.Refused >= mostRefuse || now.Sub(m.First) >= giveUp {
		m.State, m.Done, m.Next = store.GaveUp, now, time.Time{}
		return m
	}
	// The last attempt is at the end of the time, not an hour after it.
	m.State, m.Next = store.Waiting, now.Add(jitter(backoff(m.Tries)))
	if end := m.First.Add(giveUp); m.Next.After(end) {
		m.Next = end
	}
	return m
}
