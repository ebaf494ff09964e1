package index

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/catalog"
	"assent/fleet"
	"assent/installation"
	"assent/server/internal/store"
	"assent/wire"
)

// The events that the server itself records of devices.
const (
	EventIllegal      = store.EventIllegal
	EventUnknown      = "unknown_update" // a report about an update that the catalog does not have
	EventRefused      = store.EventRefused
	EventRollbackDone = store.EventRollbackDone
)

const (
	maxReports  = 5_000 // of one message; the rest is applied when it comes again
	rememberIDs = 256   // report ids remembered per device, so that repeats are seen as what they are
	maxNeeds    = 200
	maxID       = 128
)

// ApplyReports applies what a device journaled and returns the ids of all reports that are durable now,
// repeated ones too. A report that V1 does not allow changes no state: it is recorded as an event.
func (x *Index) ApplyReports(ctx context.Context, id fleet.DeviceID, reports []wire.Report) (applied []string, err error) {
	rec := x.record(id)
	if rec == nil {
		return nil, fmt.Errorf("apply reports of %s: no such device", id)
	}
	if err := x.acquaint(ctx, reports); err != nil {
		return nil, err
	}
	rec.rows.Lock()
	defer rec.rows.Unlock()
	for try := range maxTries {
		batch := x.batch(rec, reports)
		if x.shared && try == 0 && batch.refused > 0 { // perhaps the device told another server what comes before
			if err := x.rereadInstalls(ctx, rec); err != nil {
				return nil, err
			}
			continue
		}
		fresh, err := x.store.ApplyReports(ctx, id, batch.out)
		switch {
		case err == nil:
			return batch.ids, x.publishReports(ctx, rec, batch.out, fresh)
		case !errors.Is(err, store.ErrMoved):
			return nil, fmt.Errorf("apply %d reports of %s: %w", len(batch.out), id, err)
		}
		// The device told another server something that this one has not heard of yet.
		if err := x.rereadInstalls(ctx, rec); err != nil {
			return nil, err
		}
	}
	return nil, ErrBusy
}

// maxStrange bounds how many updates are looked for that a message of reports names and nobody told this server of.
const maxStrange = 100

// acquaint reads updates that only another server knows yet.
func (x *Index) acquaint(ctx context.Context, reports []wire.Report) error {
	if !x.shared {
		return nil
	}
	var strange []catalog.UpdateID
	x.mu.RLock()
	for _, r := range reports[:min(len(reports), maxReports)] {
		if _, known := x.updates.byID[r.Update]; r.Update != "" && !known && len(strange) < maxStrange && !slices.Contains(strange, r.Update) {
			strange = append(strange, r.Update)
		}
	}
	x.mu.RUnlock()
	if len(strange) == 0 {
		return nil
	}
	x.grow.Lock()
	defer x.grow.Unlock()
	rows, err := x.store.CatalogRows(ctx, strange)
	if err != nil {
		return fmt.Errorf("look for updates that were reported: %w", err)
	}
	x.followCatalog(rows)
	return nil
}

// batch judges reports by what is known of the device. The caller holds rec.rows.
func (x *Index) batch(rec *device, reports []wire.Report) *reportBatch {
	b := &reportBatch{x: x, rec: rec, rows: map[catalog.UpdateID]*store.InstallRow{}}
	for _, r := range reports[:min(len(reports), maxReports)] {
		if r.ID == "" || len(r.ID) > maxID || r.ID != text(r.ID) {
			continue // cannot be acknowledged: it names nothing
		}
		b.ids = append(b.ids, r.ID)
		if !slices.Contains(rec.recent, r.ID) {
			b.add(r)
		}
	}
	return b
}

// record returns the record of a device.
func (x *Index) record(id fleet.DeviceID) *device {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n, ok := x.numbers[id]
	if !ok {
		return nil
	}
	return x.devices[n]
}

// publishReports makes what was new visible. The caller holds rec.rows.
func (x *Index) publishReports(ctx context.Context, rec *device, reports []store.AppliedReport, fresh []string) error {
	var rows []store.InstallRow
	for _, r := range reports {
		if r.Row != nil && slices.Contains(fresh, r.Report.ID) {
			rows = append(rows, *r.Row)
		}
		if r.Report.Event == EventIllegal && slices.Contains(fresh, r.Report.ID) {
			raise(&rec.illegal, x.when(r.Report))
			x.log.Warn("a device reported a step that V1 does not allow", "device", rec.id, "update", r.Report.Update, "detail", r.Report.Detail)
		}
		if r.Report.Event == EventRefused && slices.Contains(fresh, r.Report.ID) {
			raise(&rec.refused, x.when(r.Report))
			x.log.Warn("a device refused its plan", "device", rec.id, "detail", r.Report.Detail)
		}
		rec.recent = append(rec.recent, r.Report.ID)
	}
	rec.recent = slices.Delete(rec.recent, 0, max(0, len(rec.recent)-rememberIDs)) // in place: a new list for each report would be most of its garbage
	if len(fresh) == 0 {
		return nil
	}
	x.mu.Lock()
	x.setRows(rec, rows)
	done := x.settleRollbacks(rec)
	x.mu.Unlock()
	x.changes.publish(Change{Devices: roaring.BitmapOf(rec.number)})
	return x.saveDone(ctx, rec, done)
}

// reportBatch turns reports into rows and events, one after the other.
type reportBatch struct {
	x    *Index
	rec  *device
	rows map[catalog.UpdateID]*store.InstallRow // as of the last report
	ids  []string                               // of all reports that can be acknowledged
	out  []store.AppliedReport

	refused int // reports that cannot be
}

func (b *reportBatch) add(r wire.Report) {
	clean(&r)
	if r.Update == "" || r.State == "" {
		b.out = append(b.out, store.AppliedReport{Report: r})
		return
	}
	b.x.mu.RLock()
	_, known := b.x.updates.byID[r.Update]
	b.x.mu.RUnlock()
	if !known {
		b.refuse(r, EventUnknown, fmt.Sprintf("it reported %q for an update that this server does not know", r.State))
		return
	}
	row := b.row(r.Update)
	if err := installation.Check(row.State, r.State); err != nil {
		b.refuse(r, EventIllegal, err.Error())
		return
	}
	next := advance(row, r, b.x.now().UTC())
	b.rows[r.Update] = &next
	b.out = append(b.out, store.AppliedReport{Report: r, Row: &next})
}

func (b *reportBatch) refuse(r wire.Report, event, detail string) {
	b.refused++
	r.Event, r.Detail, r.State, r.Proof = event, text(detail), "", nil
	b.out = append(b.out, store.AppliedReport{Report: r})
}

func (b *reportBatch) row(id catalog.UpdateID) store.InstallRow {
	if row, ok := b.rows[id]; ok {
		return *row
	}
	b.x.mu.RLock()
	defer b.x.mu.RUnlock()
	if row, ok := b.rec.installs[id]; ok {
		return *row
	}
	return store.InstallRow{Device: b.rec.id, Update: id}
}

// advance is the row after a report. Deadlines run by the server's clock.
func advance(row store.InstallRow, r wire.Report, now time.Time) store.InstallRow {
	if row.State != r.State {
		row.State, row.Since = r.State, now
		if r.At.After(now.Add(-maxReportAge)) && r.At.Before(now) {
			row.Since = r.At.UTC()
		}
	}
	row.Cause, row.Detail, row.Needs = r.Cause, r.Detail, r.Needs
	row.Deadline = time.Time{}
	if d := r.State.Deadline(); d > 0 {
		row.Deadline = now.Add(d)
	}
	if r.Proof != nil {
		row.Proof = r.Proof
	}
	return row
}

// maxReportAge is how far back a device's own clock is believed.
const maxReportAge = 30 * 24 * time.Hour

// clean makes a report harmless to keep and to show.
func clean(r *wire.Report) {
	r.Event, r.Detail = text(r.Event), text(r.Detail)
	r.Cause, r.State = installation.Cause(text(string(r.Cause))), installation.State(text(string(r.State)))
	r.Update = catalog.UpdateID(text(string(r.Update)))
	r.Needs = slices.Clone(r.Needs[:min(len(r.Needs), maxNeeds)])
	for i := range r.Needs {
		r.Needs[i] = text(r.Needs[i])
	}
	if r.Proof == nil {
		return
	}
	p := *r.Proof
	p.Transaction, p.Plan, p.Log = text(p.Transaction), text(p.Plan), logText(p.Log)
	p.Items = slices.Clone(p.Items[:min(len(p.Items), maxItems)])
	for i := range p.Items {
		it := &p.Items[i]
		for _, s := range []*string{&it.Name, &it.Arch, &it.Version, &it.Status, &it.Previous, &it.SHA256} {
			*s = text(*s)
		}
	}
	for _, list := range []*[]string{&p.Conffiles, &p.Restart} {
		*list = slices.Clone((*list)[:min(len(*list), maxListed)])
		for i := range *list {
			(*list)[i] = text((*list)[i])
		}
	}
	r.Proof = &p
}

// logText keeps the lines of a log, each made harmless, and the end of it when it is long.
func logText(s string) string {
	const most = 64 << 10
	if len(s) > most {
		s = s[len(s)-most:]
	}
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = text(lines[i])
	}
	return strings.Join(lines, "\n")
}

// setRows publishes rows of a device that are written, or will be with the next attempt. The caller holds x.mu and rec.rows.
func (x *Index) setRows(rec *device, rows []store.InstallRow) {
	for _, row := range rows {
		row.Version++
		rec.putInstall(&row)
	}
}

// when is the time of a report as it is kept: the device's, but never after it came.
func (x *Index) when(r wire.Report) time.Time {
	if now := x.now(); r.At.After(now) {
		return now
	}
	return r.At
}

// raise notes the last time of something.
func raise(last *atomic.Int64, at time.Time) {
	for was := last.Load(); at.Unix() > was && !last.CompareAndSwap(was, at.Unix()); was = last.Load() {
	}
}

// factRows says which recorded states a fresh scan has overtaken. The caller holds x.mu and rec.rows.
func (x *Index) factRows(rec *device) []store.InstallRow {
	if rec.inventory == nil {
		return nil
	}
	var out []store.InstallRow
	for id, row := range rec.installs {
		e, ok := x.updates.byID[id]
		if !ok {
			continue
		}
		if row.State == installation.Failed && row.Cause == installation.ProbeFailed && e.has.Contains(rec.number) {
			continue // the scan sees that it is there, not that it is well (V3): only its probe can say that
		}
		to := row.State
		if there := e.has.Contains(rec.number); there || !e.brought.Contains(rec.number) || !underWay(row.State) {
			to = established(row.State, there, e.needs.Contains(rec.number), rec.restartPending())
		}
		if e.half.Contains(rec.number) {
			to = halfEstablished(row.State)
		}
		if to == row.State {
			continue
		}
		next := *row
		next.State, next.Since, next.Deadline = to, x.now().UTC(), time.Time{}
		next.Cause, next.Detail, next.Needs = "", "the device's scan says so", nil
		out = append(out, next)
	}
	return out
}

// halfEstablished is the state of a release that is on the device but not fully installed: what was on
// its way or failed stays so, and what was taken for installed is not (V3).
func halfEstablished(from installation.State) installation.State {
	switch from {
	case installation.Installed, installation.RestartRequired, installation.NotApplicable:
		return installation.ResultUnknown
	}
	return from
}

func (d *device) restartPending() bool { return d.facts != nil && len(d.facts.facts.Restart) > 0 }

// underWay reports whether a state is one of an application on its way to a device that lacks it: that nothing of
// it is there yet says nothing then (a deployment).
func underWay(s installation.State) bool {
	switch s {
	case installation.Assigned, installation.Downloading, installation.Downloaded, installation.Failed, installation.Blocked, installation.ResultUnknown:
		return true
	}
	return false
}

// established is the state that a scan establishes from another one (V1): what is there is installed,
// what is neither there nor offered does not apply. A removal that is under way or failed still shows
// the release as there, so it goes on counting.
func established(from installation.State, there, offered, restart bool) installation.State {
	switch {
	case there:
		switch from {
		case installation.Removing, installation.RemoveFailed, installation.Installing:
			return from
		case installation.RestartRequired:
			if restart {
				return from
			}
		}
		return installation.Installed
	case from == installation.Installing || from == installation.Removing:
		return from // its report is on the way
	case !offered && from == installation.Removed:
		return from
	case !offered:
		return installation.NotApplicable
	case from == installation.Installed || from == installation.RestartRequired || from == installation.NotApplicable || from == installation.ResultUnknown:
		return installation.Applicable
	}
	return from
}

// saveRows makes what facts established durable. What could not be saved is tried again with the device's
// next check-in. The caller holds rec.rows.
func (x *Index) saveRows(ctx context.Context, rec *device, rows []store.InstallRow) error {
	rows = append(rec.unsaved, rows...)
	if len(rows) == 0 {
		return nil
	}
	err := x.store.SaveInstalls(ctx, rows)
	for try := 1; errors.Is(err, store.ErrMoved) && try < maxTries; try++ {
		if rows, err = x.overtaken(ctx, rec); err == nil {
			err = x.store.SaveInstalls(ctx, rows)
		}
	}
	if err != nil {
		rec.unsaved = rows
		rec.owes.Store(true)
		return fmt.Errorf("keep %d installation states: %w", len(rows), err)
	}
	rec.unsaved = nil
	rec.owes.Store(false)
	return nil
}

// overtaken reads what other servers wrote of a device and finds out anew which of it the scan has overtaken. The caller holds
// rec.rows.
func (x *Index) overtaken(ctx context.Context, rec *device) ([]store.InstallRow, error) {
	if err := x.rereadInstalls(ctx, rec); err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	rows := x.factRows(rec)
	x.setRows(rec, rows)
	return rows, nil
}

// settleRollbacks marks the ordered rollbacks that are done: the update is removed, or not there any
// more. Once done, always done: whoever installs the update again is not rolled back again by the old act.
// The caller holds x.mu.
func (x *Index) settleRollbacks(rec *device) (done []int64) {
	for act, pending := range x.rollbacks[rec.number] {
		if !pending || rec.inventory == nil {
			continue
		}
		ordered := x.state.Rollbacks[act]
		e, known := x.updates.byID[ordered.Update]
		row := rec.installs[ordered.Update]
		there := known && (e.has.Contains(rec.number) || e.half.Contains(rec.number))
		if there && (row == nil || row.State != installation.Removed) {
			continue
		}
		x.rollbacks[rec.number][act] = false
		done = append(done, act)
	}
	return done
}

// saveDone records that rollbacks are done, once each.
func (x *Index) saveDone(ctx context.Context, rec *device, done []int64) error {
	var events []store.AppliedReport
	for _, act := range done {
		n := strconv.FormatInt(act, 10)
		events = append(events, store.AppliedReport{Report: wire.Report{ID: EventRollbackDone + "-" + n, At: x.now().UTC(), Event: EventRollbackDone, Detail: n}})
	}
	return x.saveEvents(ctx, rec.id, events)
}

// saveEvents records events of a device.
func (x *Index) saveEvents(ctx context.Context, id fleet.DeviceID, events []store.AppliedReport) error {
	if len(events) == 0 {
		return nil
	}
	if _, err := x.store.ApplyReports(ctx, id, events); err != nil {
		return fmt.Errorf("record events of %s: %w", id, err)
	}
	return nil
}

// Record writes an event that the server itself noticed about a device.
func (x *Index) Record(ctx context.Context, id fleet.DeviceID, event, detail string) error {
	if x.record(id) == nil {
		return errors.New("record an event: no device " + string(id))
	}
	return x.saveEvents(ctx, id, []store.AppliedReport{{Report: wire.Report{ID: "server-" + rand.Text(), At: x.now().UTC(), Event: text(event), Detail: text(detail)}}})
}

// Events reads events, the newest first.
func (x *Index) Events(ctx context.Context, q store.EventQuery) ([]store.Event, error) {
	return x.store.Events(ctx, q)
}
