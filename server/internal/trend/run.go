package trend

import (
	"context"
	"log/slog"
	"time"

	"assent/server/internal/job"
)

// Times between samples.
const (
	often = time.Hour   // after a change, and no more often
	retry = time.Minute // after a failure
)

// Run takes a sample at the start, at each turn of the day, and after changes, at most once an hour. It ends with ctx.
func (s *Service) Run(ctx context.Context) error {
	run(ctx, s.Log, s.Index.Now, s.Index.WaitChange, s.Index.Seq, s.Take)
	return nil
}

// run is Run apart from what it watches.
func run(ctx context.Context, log *slog.Logger, now func() time.Time, change func(context.Context, uint64) (uint64, error), seq func() uint64, take func(context.Context) error) {
	for ctx.Err() == nil {
		seen, at := seq(), now().UTC()
		if err := take(ctx); err != nil {
			if ctx.Err() == nil {
				log.Error("the figures of the day could not be taken; it is tried again", "err", err)
			}
			job.Pause(ctx, retry)
			continue
		}
		turn := at.Truncate(day).Add(day).Sub(at)
		within, cancel := context.WithTimeout(ctx, turn)
		if _, err := change(within, seen); err == nil {
			job.Pause(within, often-now().Sub(at))
		}
		cancel()
	}
}
