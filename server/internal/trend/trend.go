// Package trend keeps how the installation did over time: for each group and day one sample of the figures that the
// overview shows, and what happened week by week.
//
// Guarantees: there is one sample for each group and day (UTC), whoever takes it and however often: the last one of a
// day counts, so several servers on one database do no harm. A day on which no server ran stays a gap; nothing is made
// up for it. Figures are those of decide.Status, from the same function as the overview's. A share of nothing is no
// share. Samples are kept for two years. What happened in a week is counted from the catalog and the ledger, so it has
// no gaps and needs no samples.
//
// It decides nothing, and it does not look back: samples begin when this was installed. A group's figures are those of
// the devices that it had on that day.
package trend

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/server/internal/store"
)

const (
	// Keep is how long samples are kept when Config does not say.
	Keep = 2 * 366 * 24 * time.Hour
	// window is how far back the figures of how long things took look.
	window = 30 * 24 * time.Hour
	// weeks is how many weeks are told of.
	weeks       = 26
	defaultDays = 90
	maxDays     = 731
	day         = 24 * time.Hour
)

// Store keeps samples, and the ledger. What it wrote is durable when it returns nil; it is safe for concurrent use.
type Store interface {
	SaveSamples(ctx context.Context, samples []store.Sample) error
	Samples(ctx context.Context, group fleet.GroupID, from time.Time) ([]store.Sample, error)
	PruneSamples(ctx context.Context, before time.Time) (int64, error)
	// Entries lists entries of the ledger from the number on, in order.
	Entries(ctx context.Context, from, limit int64) ([]store.RawEntry, error)
}

// Figures says how a group stands now; decide.Service does.
type Figures interface {
	Status(ctx context.Context, who auth.Actor) (client.Status, error)
}

// Config is what New needs; only Log may stay empty.
type Config struct {
	Index   *index.Index
	Store   Store
	Figures Figures
	Keep    time.Duration // how long samples are kept; Keep when zero
	Log     *slog.Logger
}

// Service takes samples and tells of them. It is safe for concurrent use.
type Service struct {
	Config
	acts acts
	mu   sync.Mutex
	day  string // on which old samples were forgotten
}

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Index == nil || c.Store == nil || c.Figures == nil {
		return nil, errors.New("trend needs an index, a store and the figures of now")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Keep <= 0 {
		c.Keep = Keep
	}
	return &Service{Config: c, acts: acts{counts: map[actKey]int{}}}, nil
}

// Trend tells how a group did (the actor's own scope by default).
func (s *Service) Trend(ctx context.Context, who auth.Actor, q client.TrendQuery) (client.Trend, error) {
	if q.Days < 0 || q.Days > maxDays {
		return client.Trend{}, fault.New(fault.Invalid, "days_invalid", "A trend covers 1 to %d days.", maxDays).On("days")
	}
	if q.Days == 0 {
		q.Days = defaultDays
	}
	out := client.Trend{Now: s.Index.Now().UTC(), Days: []client.TrendDay{}}
	near, err := s.group(who, q.Group, &out)
	if err != nil {
		return out, err
	}
	samples, err := s.Store.Samples(ctx, out.Group, out.Now.Add(-time.Duration(q.Days-1)*day))
	if err != nil {
		return out, err
	}
	for _, one := range samples {
		out.Days = append(out.Days, one.Day)
	}
	out.Weeks, err = s.weeks(ctx, out.Now, near)
	return out, err
}

// group finds the group that is asked for, and says whose decisions concern it: its own, and those above and below.
func (s *Service) group(who auth.Actor, ref string, out *client.Trend) (near map[fleet.GroupID]bool, err error) {
	if ref == "" {
		ref = string(who.Scope)
	}
	s.Index.View(func(v *index.View) {
		g, ok := v.Tree().Find(ref)
		if !ok {
			err = fault.New(fault.NotFound, "group_unknown", "There is no group %.80q; `assent group list` shows all.", ref).On("group")
			return
		}
		if err = who.Can(ledger.Viewer, v.Tree(), g.ID); err != nil {
			return
		}
		out.Group, out.Name = g.ID, g.Name
		near = map[fleet.GroupID]bool{}
		for _, list := range [][]fleet.GroupID{v.Tree().Path(g.ID), v.Tree().Subtree(g.ID)} {
			for _, id := range list {
				near[id] = true
			}
		}
	})
	return near, err
}
