package server

import (
	"context"
	"time"

	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/index"
	"assent/server/internal/store"
	"assent/server/internal/tracing"
	"assent/wire"
)

// traceGrace bounds how long the end of the server waits for its last traces.
const traceGrace = 3 * time.Second

// openTracing starts tracing where somebody asked for it.
func (r *running) openTracing(ctx context.Context) (err error) {
	r.tracer, err = tracing.Open(ctx, tracing.Config{Endpoint: r.Tracing.Endpoint, Sample: r.Tracing.Sample, Version: r.Version, Log: r.Log,
		Entries: func(ctx context.Context, from, limit int64) ([][]byte, error) {
			raw, err := r.db.Entries(ctx, from, limit)
			out := make([][]byte, len(raw))
			for i := range raw {
				out[i] = raw[i].Data
			}
			return out, err
		}})
	if err != nil {
		return err
	}
	r.onClose(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), traceGrace)
		defer cancel()
		return r.tracer.Close(ctx)
	})
	return nil
}

// tracedStore tells of acts once they are durable.
type tracedStore struct {
	*store.DB
	tracer *tracing.Tracer
}

// AppendBeside implements index.Ledger.
func (s tracedStore) AppendBeside(ctx context.Context, e ledger.Entry, after *ledger.State, beside ...store.Beside) error {
	err := s.DB.AppendBeside(ctx, e, after, beside...)
	if err == nil {
		s.tracer.Act(ctx, e)
	}
	return err
}

// tracedFacts tells what devices report once it is durable.
type tracedFacts struct {
	*index.Index
	tracer *tracing.Tracer
}

// ApplyReports implements gateway.Facts.
func (f tracedFacts) ApplyReports(ctx context.Context, id fleet.DeviceID, reports []wire.Report) ([]string, error) {
	applied, err := f.Index.ApplyReports(ctx, id, reports)
	if err == nil && f.tracer != nil {
		for _, r := range reports {
			if r.State != "" {
				f.tracer.Reported(ctx, id, r, f.act(id, r))
			}
		}
	}
	return applied, err
}

// act is the act that decided on a reported update for the device's group; 0: none did.
func (f tracedFacts) act(id fleet.DeviceID, r wire.Report) (seq int64) {
	f.View(func(v *index.View) {
		d, known := v.State().Devices[id]
		u, listed := v.Update(r.Update)
		if !known || !listed {
			return
		}
		if decision := v.Status(u.Release, d.Group, f.Now()).Decision; decision != nil {
			seq = decision.Act
		}
	})
	return seq
}

// computed counts and traces a plan.
func (r *running) computed(device fleet.DeviceID, digest string, counter int64, took time.Duration) {
	r.plans.Observe(took.Seconds())
	r.tracer.Computed(device, digest, counter, took)
}

// delivered traces the statements that devices are given; nil when nothing is traced.
func (r *running) delivered() func(context.Context, fleet.DeviceID, wire.Statement, string) {
	if r.tracer == nil {
		return nil
	}
	return r.tracer.Delivered
}
