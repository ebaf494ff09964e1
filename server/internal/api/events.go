package api

import (
	"context"
	"errors"
	"sync"
	"time"

	"assent/client"
	"assent/fault"
	"assent/server/internal/auth"
)

type eventsInput struct {
	Device   string    `query:"device" maxLength:"200"`
	Update   string    `query:"update" maxLength:"1000"`
	Event    string    `query:"event" maxLength:"64"`
	Before   time.Time `query:"before" doc:"Only events before this time: the at of the last one of the page before."`
	BeforeID int64     `query:"before_id" minimum:"0" doc:"With before: its id."`
	Limit    int       `query:"limit" minimum:"0" maximum:"1000" doc:"100 by default."`
}

func (s *server) events(ctx context.Context, who auth.Session, in *eventsInput) (client.List[client.Event], error) {
	return s.Audit.Events(ctx, who.Actor, client.EventQuery{Device: in.Device, Update: in.Update, Event: in.Event,
		Before: in.Before, BeforeID: in.BeforeID, Limit: in.Limit})
}

type changesInput struct {
	After uint64 `query:"after" doc:"The seq of the answer before; the answer comes once there is a higher one."`
	Wait  int    `query:"wait" minimum:"0" maximum:"60" doc:"Seconds the answer may be held back; 0: answer at once."`
}

// changes is a long poll: one request waits, none is sent in vain. When the time is over it answers with
// the number that stands, and the caller asks again.
func (s *server) changes(ctx context.Context, who auth.Session, in *changesInput) (client.Changes, error) {
	seq := s.Changes.Seq()
	if in.Wait == 0 || seq > in.After {
		return client.Changes{Seq: seq}, nil
	}
	done, err := s.waiting.enter(who.Access)
	if err != nil {
		return client.Changes{}, err
	}
	defer done()
	limited, cancel := context.WithTimeout(ctx, time.Duration(in.Wait)*time.Second)
	defer cancel()
	seq, err = s.Changes.WaitChange(limited, in.After)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		seq, err = s.Changes.Seq(), nil
	}
	if err != nil {
		return client.Changes{}, err
	}
	return client.Changes{Seq: seq}, s.Auth.Live(who) // the token may have been revoked meanwhile
}

// Caps on requests that wait.
const (
	maxWaiting    = 1000 // in all
	maxWaitingOne = 20   // with one access token
)

// waiters counts the requests that wait.
type waiters struct {
	mu  sync.Mutex
	all int
	one map[string]int
}

func newWaiters() *waiters { return &waiters{one: map[string]int{}} }

// enter counts a waiting request until done is called, or refuses it.
func (w *waiters) enter(access string) (done func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all >= maxWaiting || w.one[access] >= maxWaitingOne {
		return nil, fault.New(fault.Unavailable, "too_many_waiting", "Too many requests are waiting for changes; end some of them, or try again later.")
	}
	w.all++
	w.one[access]++
	return func() { w.leave(access) }, nil
}

func (w *waiters) leave(access string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all--
	if w.one[access]--; w.one[access] == 0 {
		delete(w.one, access)
	}
}
