package trend

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"assent/client"
)

// changes is a counter that can be waited for.
type changes struct {
	seq  uint64
	next chan struct{}
}

func (c *changes) wait(ctx context.Context, seen uint64) (uint64, error) {
	for c.seq <= seen {
		select {
		case <-c.next:
		case <-ctx.Done():
			return c.seq, ctx.Err()
		}
	}
	return c.seq, nil
}

func (c *changes) change() {
	c.seq++
	close(c.next)
	c.next = make(chan struct{})
}

// TestSamplesAreTakenAtTheTurnOfTheDayAndAfterChangesAtMostOnceAnHour plays two days.
func TestSamplesAreTakenAtTheTurnOfTheDayAndAfterChangesAtMostOnceAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the clock begins at midnight, 2000-01-01
		ctx, cancel := context.WithCancel(t.Context())
		c := &changes{next: make(chan struct{})}
		var taken []string
		fails := 0
		take := func(context.Context) error {
			if fails > 0 {
				fails--
				return errors.New("not now")
			}
			taken = append(taken, time.Now().UTC().Format("02 15:04"))
			return nil
		}
		go run(ctx, slog.New(slog.DiscardHandler), time.Now, c.wait, func() uint64 { return c.seq }, take)
		for _, at := range []time.Duration{10 * time.Minute, time.Minute, 5 * time.Hour, 18*time.Hour + 30*time.Minute} {
			time.Sleep(at)
			synctest.Wait()
			c.change()
		}
		time.Sleep(2 * time.Hour)
		fails = 2
		c.change()
		time.Sleep(3 * time.Hour)
		cancel()
		synctest.Wait()
		want := []string{"01 00:00", "01 01:00", "01 05:11", "01 23:41", "02 00:00", "02 01:43"}
		if d := cmp.Diff(want, taken); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}

// TestFiguresOfTimesAreTimesThatOccurred compares with a count.
func TestFiguresOfTimesAreTimesThatOccurred(t *testing.T) {
	if got := figure(nil); got != (client.TrendTime{}) {
		t.Errorf("of nothing: %+v", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) time.Duration { return time.Duration(rapid.Int64Range(0, 50).Draw(t, "d")) }), 1, 60).Draw(t, "list")
		got := figure(append([]time.Duration(nil), list...))
		for _, c := range []struct {
			permille int
			at       time.Duration
		}{{500, got.Median}, {900, got.P90}} {
			below, upTo := 0, 0
			for _, d := range list {
				if d < c.at {
					below++
				}
				if d <= c.at {
					upTo++
				}
			}
			if upTo*1000 < c.permille*len(list) || below*1000 >= c.permille*len(list) || upTo == below {
				t.Fatalf("%d permille of %v is %v", c.permille, list, c.at)
			}
		}
	})
}
