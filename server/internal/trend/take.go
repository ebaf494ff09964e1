package trend

import (
	"context"
	"fmt"
	"time"

	"assent/client"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/server/internal/store"
)

// Take takes today's sample of every group and puts it in the place of an earlier one of today. It forgets what is too
// old once a day.
func (s *Service) Take(ctx context.Context) error {
	now := s.Index.Now().UTC()
	times := s.times(now)
	var samples []store.Sample
	for _, g := range s.groups() {
		if err := ctx.Err(); err != nil {
			return err
		}
		one, err := s.sample(ctx, g, now)
		if err != nil {
			return fmt.Errorf("take the figures of the group %s: %w", g, err)
		}
		one.Decision, one.Install = times[g].figures()
		samples = append(samples, store.Sample{Group: g, Day: one})
	}
	if err := s.Store.SaveSamples(ctx, samples); err != nil {
		return err
	}
	return s.prune(ctx, now)
}

// groups lists all groups.
func (s *Service) groups() (out []fleet.GroupID) {
	s.Index.View(func(v *index.View) { out = v.Tree().Subtree(fleet.Root) })
	return out
}

// sample is what the overview of a group shows.
func (s *Service) sample(ctx context.Context, group fleet.GroupID, now time.Time) (client.TrendDay, error) {
	status, err := s.Figures.Status(ctx, auth.Actor{Name: "server", Role: ledger.Viewer, Scope: group})
	if err != nil {
		return client.TrendDay{}, err
	}
	d := status.Devices
	return client.TrendDay{Day: now.Format(time.DateOnly), At: now, Compliance: status.Compliance, Undecided: status.Undecided,
		Devices: d["active"], Reporting: d["active"] - d["silent"], Silent: d["silent"]}, nil
}

// prune forgets what is too old, the first time on a day.
func (s *Service) prune(ctx context.Context, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	today := now.Format(time.DateOnly)
	if s.day == today {
		return nil
	}
	n, err := s.Store.PruneSamples(ctx, now.Add(-s.Keep))
	if err != nil {
		return err
	}
	if s.day = today; n > 0 {
		s.Log.Info("forgot old trend samples", "count", n)
	}
	return nil
}
