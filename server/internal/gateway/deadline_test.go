package gateway

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// setting is one deadline: set at a time, for a time, both counted from the beginning. For 0: none.
type setting struct{ at, until time.Duration }

// ended runs the steps on a connection while a read waits, and says when the read ended and how.
func ended(c net.Conn, peer net.Conn, steps []setting, data time.Duration) string {
	begin := time.Now()
	for _, s := range steps {
		time.AfterFunc(s.at, func() {
			if s.until == 0 {
				_ = c.SetReadDeadline(time.Time{})
			} else {
				_ = c.SetReadDeadline(begin.Add(s.until))
			}
		})
	}
	stop := time.AfterFunc(data, func() { _, _ = peer.Write([]byte("x")) })
	defer stop.Stop()
	_ = c.SetReadDeadline(begin.Add(time.Second))
	_, err := c.Read(make([]byte, 1))
	return fmt.Sprintf("%v after %v", errors.Is(err, os.ErrDeadlineExceeded), time.Since(begin))
}

// A connection that puts deadlines off ends each read exactly when a plain one does.
func TestReadsEndWhenTheirDeadlineSaysAndNeverBefore(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		second := rapid.Custom(func(r *rapid.T) time.Duration { return time.Duration(rapid.IntRange(0, 20).Draw(r, "s")) * time.Second })
		steps := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) setting {
			return setting{second.Draw(r, "at") + time.Millisecond, second.Draw(r, "until")}
		}), 0, 6).Draw(r, "steps")
		seen := map[time.Duration]bool{}
		for _, s := range steps {
			if seen[s.at] {
				return // which of two at the same moment comes first is not said
			}
			seen[s.at] = true
		}
		data := second.Draw(r, "data") + 500*time.Microsecond
		synctest.Test(t, func(t *testing.T) {
			plain, plainPeer := net.Pipe()
			below, peer := net.Pipe()
			lazy := &conn{Conn: below}
			want := ended(plain, plainPeer, steps, data)
			time.Sleep(time.Minute) // the timers of the first are over
			if got := ended(lazy, peer, steps, data); got != want {
				r.Errorf("steps %v, data after %v: %s; want %s", steps, data, got, want)
			}
			time.Sleep(time.Minute)
			plain.Close()
			below.Close()
			plainPeer.Close()
			peer.Close()
		})
	})
}

// counting counts the read deadlines that reach a connection.
type counting struct {
	net.Conn
	sets atomic.Int32
}

func (c *counting) SetReadDeadline(t time.Time) error {
	c.sets.Add(1)
	return c.Conn.SetReadDeadline(t)
}

func TestRequestsInARowCostNoDeadlines(t *testing.T) {
	below, peer := net.Pipe()
	defer below.Close()
	count := &counting{Conn: below}
	c := &conn{Conn: count}
	for range 100 {
		for _, after := range []time.Duration{15 * time.Second, 15 * time.Second, 240 * time.Second} { // as net/http does
			if err := c.SetReadDeadline(time.Now().Add(after)); err != nil {
				t.Fatal(err)
			}
		}
		go peer.Write([]byte("x"))
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil { // no more of this request
			t.Fatal(err)
		}
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read after a deadline in the past: %v", err)
	}
	if n := count.sets.Load(); n != 1 {
		t.Errorf("%d deadlines were set below for 100 requests; want 1", n)
	}
}

func TestTheDeadlineOfAnAnswerCountsAndIsLifted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		below, peer := net.Pipe()
		defer peer.Close()
		defer below.Close()
		c := &conn{Conn: below}
		for range 2 { // also when it was lifted before
			if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
				t.Errorf("%v after %v; nobody reads", err, time.Since(start))
			}
			if err := c.SetWriteDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(time.Hour, func() { _, _ = peer.Read(make([]byte, 1)) })
			if _, err := c.Write([]byte("x")); err != nil {
				t.Errorf("without a deadline: %v", err)
			}
		}
	})
}
