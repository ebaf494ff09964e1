package trend

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"sync"
	"time"

	"assent/approval"
	"assent/client"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/index"
	"assent/server/internal/store"
)

// acts counts decisions by week. It reads the ledger from the first week that is told of on, once, and then what is new.
type acts struct {
	mu     sync.Mutex
	seq    int64 // the last entry that was counted; 0: none was
	counts map[actKey]int
}

type actKey struct {
	monday string
	scope  fleet.GroupID
	status approval.Status
}

// monday is the day on which a moment's week begins.
func monday(t time.Time) time.Time {
	t = t.UTC().Truncate(day)
	return t.Add(-time.Duration((int(t.Weekday())+6)%7) * day)
}

// weeks counts what happened, week by week.
func (s *Service) weeks(ctx context.Context, now time.Time, near map[fleet.GroupID]bool) ([]client.TrendWeek, error) {
	first := monday(now).Add(-(weeks - 1) * 7 * day)
	out := make([]client.TrendWeek, weeks)
	at := map[string]*client.TrendWeek{}
	for i := range out {
		out[i].Monday = first.Add(time.Duration(i) * 7 * day).Format(time.DateOnly)
		at[out[i].Monday] = &out[i]
	}
	s.Index.View(func(v *index.View) {
		for u := range v.Updates() {
			if u.FirstSeen.Before(first) {
				continue
			}
			if w := at[monday(u.FirstSeen).Format(time.DateOnly)]; w != nil {
				w.Seen++
			}
		}
	})
	err := s.acts.read(ctx, s, first, func(k actKey, n int) {
		w := at[k.monday]
		switch {
		case w == nil || !near[k.scope]:
		case k.status == approval.Approved:
			w.Approved += n
		case k.status == approval.Declined:
			w.Declined += n
		}
	})
	return out, err
}

// read counts what is new in the ledger and calls each with all counts.
func (a *acts) read(ctx context.Context, s *Service, first time.Time, each func(actKey, int)) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var head int64
	s.Index.View(func(v *index.View) { head = v.State().Seq })
	if a.seq == 0 {
		if err := a.start(ctx, s.Store, first, head); err != nil {
			return err
		}
	}
	for a.seq < head {
		part, err := s.Store.Entries(ctx, a.seq+1, min(500, head-a.seq))
		if err != nil {
			return fmt.Errorf("count decisions after entry %d: %w", a.seq, err)
		}
		if len(part) == 0 {
			return fmt.Errorf("count decisions: entry %d is not there", a.seq+1)
		}
		if err := a.count(part); err != nil {
			return err
		}
	}
	for k, n := range a.counts {
		if k.monday < first.Format(time.DateOnly) {
			delete(a.counts, k)
			continue
		}
		each(k, n)
	}
	return nil
}

// start finds the last entry before the first week. Entries stand in the order of their times, but for a clock that was
// put back: then a few acts around the first Monday may be missed.
func (a *acts) start(ctx context.Context, from Store, first time.Time, head int64) error {
	var failed error
	n := sort.Search(int(head), func(i int) bool {
		if failed != nil {
			return true
		}
		part, err := from.Entries(ctx, int64(i)+1, 1)
		if err == nil && len(part) == 0 {
			err = fmt.Errorf("entry %d is not there", i+1)
		}
		var e ledger.Entry
		if err == nil {
			e, err = ledger.Decode(part[0].Data)
		}
		failed = err
		return err != nil || !e.At.Before(first)
	})
	if failed != nil {
		return fmt.Errorf("look for the first week in the ledger: %w", failed)
	}
	a.seq = int64(n)
	return nil
}

// count adds the decisions among some entries.
func (a *acts) count(part []store.RawEntry) error {
	for _, raw := range part {
		e, err := ledger.Decode(raw.Data)
		if err != nil {
			return fmt.Errorf("count the decisions of entry %d: %w", raw.Seq, err)
		}
		if a.seq = raw.Seq; e.Kind != (ledger.UpdateDecide{}).Kind() {
			continue
		}
		var act struct { // no more of it than is counted: a bulk act has thousands of updates
			Scope   fleet.GroupID   `json:"scope"`
			Status  approval.Status `json:"status"`
			Updates []struct{}      `json:"updates"`
		}
		if err := json.Unmarshal(e.Body, &act); err != nil {
			return fmt.Errorf("count the decisions of entry %d: %w", raw.Seq, err)
		}
		a.counts[actKey{monday(e.At).Format(time.DateOnly), act.Scope, act.Status}] += len(act.Updates)
	}
	return nil
}
