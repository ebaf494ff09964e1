package index

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"

	"assent/approval"
	"assent/server/internal/store"
)

// load rebuilds the index from the store.
func (x *Index) load(ctx context.Context) error {
	// The moment comes first: what others write meanwhile is taken in again.
	now, err := x.store.Changes(ctx, store.Mark{})
	if err != nil {
		return fmt.Errorf("find the moment to follow others from: %w", err)
	}
	x.mark, x.shared = now.Mark, now.Mark != store.Mark{}
	state, err := x.store.LoadState(ctx)
	if err != nil {
		return fmt.Errorf("load the state of decisions: %w", err)
	}
	x.state, x.tree = state, state.Tree()
	for id := range state.Devices {
		x.place(id)
	}
	x.roll.sort(x.devices)
	x.loadDecisions()
	x.compileTasks()
	if err := x.loadRollouts(ctx); err != nil {
		return err
	}
	if err := x.store.LoadCatalog(ctx, func(u store.CatalogRow) error { x.putUpdate(u.Update, u.Version); return nil }); err != nil {
		return fmt.Errorf("load the catalog: %w", err)
	}
	if err := x.store.LoadInstalls(ctx, x.loadInstall); err != nil {
		return fmt.Errorf("load installation states: %w", err)
	}
	if err := x.loadDocuments(ctx); err != nil {
		return err
	}
	if err := x.loadTroubles(ctx); err != nil {
		return err
	}
	if err := x.loadRehearsals(ctx); err != nil {
		return err
	}
	return x.loadRollbacks(ctx)
}

// loadTroubles remembers which devices lately reported what cannot be, or refused a plan.
func (x *Index) loadTroubles(ctx context.Context) error {
	for event, at := range map[string]func(*device) *atomic.Int64{
		EventIllegal: func(d *device) *atomic.Int64 { return &d.illegal },
		EventRefused: func(d *device) *atomic.Int64 { return &d.refused },
	} {
		events, err := x.store.Events(ctx, store.EventQuery{Event: event, Limit: 1000})
		if err != nil {
			return fmt.Errorf("read events %s: %w", event, err)
		}
		for _, e := range slices.Backward(events) {
			if n, ok := x.numbers[e.Device]; ok {
				at(x.devices[n]).Store(e.At.Unix())
			}
		}
	}
	return nil
}

func (x *Index) loadDecisions() {
	for _, d := range x.state.Decisions {
		x.enter(d)
		x.decisions.bySoftware[d.Release.Software] = append(x.decisions.bySoftware[d.Release.Software], d)
	}
	for _, list := range x.decisions.bySoftware {
		slices.SortFunc(list, func(a, b approval.Decision) int {
			return cmp.Or(cmp.Compare(a.Act, b.Act), cmp.Compare(a.Update, b.Update), cmp.Compare(a.Scope, b.Scope))
		})
	}
	for _, e := range x.state.Exceptions {
		x.decisions.exceptions[e.Update] = append(x.decisions.exceptions[e.Update], e)
	}
	for _, list := range x.decisions.exceptions {
		slices.SortFunc(list, func(a, b approval.Exception) int { return cmp.Compare(a.Act, b.Act) })
	}
	x.listExpiries()
}

func (x *Index) loadInstall(row store.InstallRow) error {
	if n, ok := x.numbers[row.Device]; ok {
		x.devices[n].putInstall(&row)
	}
	return nil
}

// loadRollbacks finds the ordered rollbacks that are still to be done.
func (x *Index) loadRollbacks(ctx context.Context) error {
	for act, rb := range x.state.Rollbacks {
		x.ordered(act, rb.UpdateRollback)
	}
	if len(x.rollbacks) == 0 {
		return nil
	}
	if err := x.loadDone(ctx); err != nil {
		return err
	}
	for n := range x.rollbacks {
		if err := x.saveDone(ctx, x.devices[n], x.settleRollbacks(x.devices[n])); err != nil {
			return err
		}
	}
	return nil
}

// loadDone reads which rollbacks were done before.
func (x *Index) loadDone(ctx context.Context) error {
	const page = 1000
	for n := range x.rollbacks {
		q := store.EventQuery{Device: x.devices[n].id, Event: EventRollbackDone, Limit: page}
		for {
			events, err := x.store.Events(ctx, q)
			if err != nil {
				return fmt.Errorf("read which rollbacks are done: %w", err)
			}
			for _, e := range events {
				if act, err := strconv.ParseInt(e.Detail, 10, 64); err == nil {
					x.rollbacks[n][act] = false
				}
				q.Before, q.BeforeID = e.At, e.ID
			}
			if len(events) < page {
				break
			}
		}
	}
	return nil
}
