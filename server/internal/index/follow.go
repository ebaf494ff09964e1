package index

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/catalog"
	"assent/fleet"
	"assent/server/internal/store"
)

// Follow takes in what other servers on the database wrote since the last call: their acts and what devices told them. It
// returns what was heard of devices, for the gateway. Where there is nothing new it costs one question to the database. What
// fails is taken in with the next call.
func (x *Index) Follow(ctx context.Context) ([]store.Contact, error) {
	x.following.Lock()
	defer x.following.Unlock()
	c, err := x.store.Changes(ctx, x.mark)
	if err != nil {
		return nil, fmt.Errorf("find out what other servers wrote: %w", err)
	}
	if c.Head > x.Acts() {
		if err := x.CatchUp(ctx); err != nil {
			return nil, err
		}
	}
	if err := x.take(ctx, c); err != nil {
		return nil, err
	}
	x.mark = c.Mark
	return c.Contacts, nil
}

// Acts is how many acts of the ledger are known.
func (x *Index) Acts() (seq int64) {
	x.View(func(v *View) { seq = v.State().Seq })
	return seq
}

// take takes facts in. All of it may be taken in again: what is not newer than what is known changes nothing.
func (x *Index) take(ctx context.Context, c store.Changes) error {
	if c.Empty() {
		return nil
	}
	x.grow.Lock()
	x.followCatalog(c.Updates)
	x.grow.Unlock()
	x.followRollouts(c.Rollouts)
	x.followSlots(c.Slots)
	x.followInstalls(c.Installs)
	x.followEvents(c.Events)
	x.followRehearsals(c.Rehearsals)
	var failed []error
	for _, k := range c.Contacts {
		failed = append(failed, x.followContact(ctx, k))
	}
	return errors.Join(failed...)
}

// followCatalog takes new and grown updates. The caller holds x.grow.
func (x *Index) followCatalog(rows []store.CatalogRow) {
	change := Change{Devices: roaring.New()}
	news := false
	x.mu.Lock()
	x.software.tick++
	for _, u := range rows {
		if e, ok := x.updates.byID[u.ID]; !ok || e.version < u.Version {
			x.enlarge(u.Update, u.Version, &change)
			news = true
		}
	}
	x.mu.Unlock()
	if news {
		x.changes.publish(change)
	}
}

// followRollouts takes states of rollouts.
func (x *Index) followRollouts(rows []store.RolloutRow) {
	change := Change{Devices: roaring.New()}
	news := false
	x.mu.Lock()
	x.software.tick++
	for _, r := range rows {
		k := rolloutKey{r.Task, r.Update}
		if was, ok := x.tasks.rollouts[k]; ok && was.Version >= r.Version || !x.hasTask(r.Task) {
			continue
		}
		x.tasks.rollouts[k] = r
		news = true
		if e, ok := x.updates.byID[r.Update]; ok {
			x.software.touch(e.Software)
			x.concerned(change.Devices, e.Software)
		}
	}
	x.mu.Unlock()
	if news {
		x.changes.publish(change)
	}
}

// followInstalls takes installation states.
func (x *Index) followInstalls(rows []store.InstallRow) {
	of := map[fleet.DeviceID][]store.InstallRow{}
	for _, r := range rows {
		of[r.Device] = append(of[r.Device], r)
	}
	changed := roaring.New()
	for id, rows := range of {
		rec := x.record(id)
		if rec == nil {
			continue
		}
		rec.rows.Lock()
		if x.takeRows(rec, rows) {
			changed.Add(rec.number)
		}
		rec.rows.Unlock()
	}
	if !changed.IsEmpty() {
		x.changes.publish(Change{Devices: changed})
	}
}

// takeRows takes those rows of a device that are newer than what is known. The caller holds rec.rows.
func (x *Index) takeRows(rec *device, rows []store.InstallRow) (news bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, row := range rows {
		if was, ok := rec.installs[row.Update]; !ok || was.Version < row.Version {
			rec.putInstall(&row)
			news = true
		}
	}
	return news
}

// rereadInstalls takes the installation states of a device as the store has them. The caller holds rec.rows.
func (x *Index) rereadInstalls(ctx context.Context, rec *device) error {
	rows, err := x.store.DeviceInstalls(ctx, rec.id)
	if err != nil {
		return fmt.Errorf("read the installation states of %s again: %w", rec.id, err)
	}
	known := map[catalog.UpdateID]bool{}
	x.mu.Lock()
	for _, row := range rows {
		known[row.Update] = true
		rec.putInstall(&row)
	}
	for id := range rec.installs {
		if !known[id] {
			delete(rec.installs, id) // it was shown before it was durable, and never came to be
		}
	}
	x.mu.Unlock()
	x.changes.publish(Change{Devices: roaring.BitmapOf(rec.number)})
	return nil
}

// followEvents remembers what devices reported of themselves.
func (x *Index) followEvents(events []store.Event) {
	changed := roaring.New()
	x.mu.Lock()
	for _, e := range events {
		n, ok := x.numbers[e.Device]
		if !ok {
			continue
		}
		rec := x.devices[n]
		switch e.Event {
		case EventIllegal:
			raise(&rec.illegal, e.At)
		case EventRefused:
			raise(&rec.refused, e.At)
		case EventRollbackDone:
			if act, err := strconv.ParseInt(e.Detail, 10, 64); err == nil && x.rollbacks[n][act] {
				x.rollbacks[n][act] = false
				changed.Add(n)
			}
		}
	}
	x.mu.Unlock()
	if !changed.IsEmpty() {
		x.changes.publish(Change{Devices: changed})
	}
}

// followRehearsals takes what devices found when they rehearsed their plans.
func (x *Index) followRehearsals(all []store.Rehearsal) {
	changed := roaring.New()
	for _, r := range all {
		rec := x.record(r.Device)
		if rec == nil {
			continue
		}
		rec.rehearsing.Lock()
		if was := rec.rehearsal.Load(); was == nil || r.Rehearsal.At.After(was.At) {
			rec.rehearsal.Store(&r.Rehearsal)
			changed.Add(rec.number)
		}
		rec.rehearsing.Unlock()
	}
	if !changed.IsEmpty() {
		x.changes.publish(Change{Devices: changed})
	}
}

// followContact takes what a device last said, if it said it to another server and later than what is known.
func (x *Index) followContact(ctx context.Context, c store.Contact) error {
	rec := x.record(c.Device)
	if rec == nil {
		return nil // its enrolment was read before this: it is none of this ledger
	}
	for {
		was := rec.contact.Load()
		if heard(was, c) {
			return nil
		}
		x.mu.RLock()
		same := rec.holds(c.Digests)
		x.mu.RUnlock()
		if !same {
			return x.followDocuments(ctx, rec, c)
		}
		if rec.contact.CompareAndSwap(was, &c) {
			return nil
		}
	}
}

// heard reports whether a contact says nothing new: of those of one moment only how long its long poll is held may differ.
func heard(was *store.Contact, c store.Contact) bool {
	return was != nil && !c.After(*was) && (was.After(c) || c.Held.Equal(was.Held))
}

// followDocuments takes the documents that a device announced to another server, which has them all.
func (x *Index) followDocuments(ctx context.Context, rec *device, c store.Contact) error {
	x.grow.Lock()
	defer x.grow.Unlock()
	if heard(rec.contact.Load(), c) {
		return nil // the device came here meanwhile
	}
	_, err := x.renew(ctx, rec, c)
	return err
}
