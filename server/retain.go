package server

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"time"

	"assent/client"
)

// space is what the database takes, in bytes, as it was measured last.
type space struct{ taken, free atomic.Int64 }

// prune forgets what is older than it is kept, in small batches. Trends, messages and sessions
// are forgotten where they are made.
func (r *running) prune(ctx context.Context) error {
	now := time.Now()
	var errs []error
	for what, forget := range map[string]func() (int64, error){
		"documents": func() (int64, error) { return r.db.PruneDocuments(ctx, now.Add(-days(r.Retention.DocumentsDays))) },
		"reports": func() (int64, error) {
			return r.db.PruneReports(ctx, now.Add(-cmp.Or(r.keepReports, days(r.Retention.ReportsDays))))
		},
	} {
		n, err := forget()
		if n > 0 {
			r.pruned.WithLabelValues(what).Add(float64(n))
			r.Log.Info("forgot what was too old", "what", what, "count", n)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (r *running) measure(ctx context.Context) error {
	taken, free, err := r.db.Size(ctx)
	if err != nil {
		return err
	}
	r.space.taken.Store(taken)
	r.space.free.Store(free)
	return nil
}

// storage says what the database takes and how long what is kept.
func (r *running) storage() client.Storage {
	s := client.Storage{Bytes: r.space.taken.Load(), Free: r.space.free.Load(), ReportsDays: r.Retention.ReportsDays, TrendsDays: r.Retention.TrendsDays}
	if at := lastBackup(filepath.Join(r.Data, backupStamp), r.Log); at > 0 {
		made := time.Unix(at, 0).UTC()
		s.Backup = &made
	}
	return s
}
