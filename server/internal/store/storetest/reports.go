package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/catalog"
	"assent/fleet"
	"assent/installation"
	"assent/ledger/ledgertest"
	"assent/server/internal/store"
	"assent/wire"
)

func at(minutes int) time.Time { return ledgertest.Start().Add(time.Duration(minutes) * time.Minute) }

// installed is a report with the row it leads to.
func installed(id string, device fleet.DeviceID, update catalog.UpdateID, state installation.State) store.AppliedReport {
	proof := &wire.Proof{Transaction: id, Finished: at(1), Items: []wire.ProofItem{{Name: "openssl", Version: "3.0", Status: "ii"}}}
	r := wire.Report{ID: id, At: at(0), Update: update, State: state, Detail: "from " + id, Proof: proof}
	return store.AppliedReport{Report: r, Row: &store.InstallRow{Device: device, Update: update, State: state, Detail: r.Detail,
		Needs: []string{"pkg:deb/debian/a@1"}, Since: at(0), Deadline: at(60), Proof: proof}}
}

func event(id, name string, minutes int) store.AppliedReport {
	return store.AppliedReport{Report: wire.Report{ID: id, At: at(minutes), Event: name, Update: "u1", Detail: "detail of " + id}}
}

// written is a row as it is read after it was written so often.
func written(r store.InstallRow, times int64) store.InstallRow {
	r.Version = times
	return r
}

// rows loads all install rows by device and update.
func rows(t testing.TB, db *store.DB) map[string]store.InstallRow {
	t.Helper()
	out := map[string]store.InstallRow{}
	must(t, db.LoadInstalls(t.Context(), func(r store.InstallRow) error {
		out[string(r.Device)+" "+string(r.Update)] = r
		return nil
	}))
	return out
}

func reportsOnce(t *testing.T, fresh func(testing.TB) store.Config) {
	db := open(t, fresh(t))
	apply := func(device fleet.DeviceID, want []string, reports ...store.AppliedReport) {
		t.Helper()
		got, err := db.ApplyReports(t.Context(), device, reports)
		must(t, err)
		same(t, "new ids", got, want)
	}
	first, second := installed("r1", "d1", "u1", installation.Installing), installed("r2", "d1", "u1", installation.Installed)
	again := installed("r1", "d1", "u1", installation.Failed)
	apply("d1", []string{"r1", "r2"}, first, again, second, second)
	same(t, "rows", rows(t, db), map[string]store.InstallRow{"d1 u1": written(*second.Row, 1)})
	apply("d1", nil, first, again)
	same(t, "rows after a repeat", rows(t, db), map[string]store.InstallRow{"d1 u1": written(*second.Row, 1)})
	apply("d1", []string{"r3"}, first, event("r3", "guard_refused", 0), second)
	other := installed("r1", "d2", "u1", installation.Failed) // ids are unique per device only
	apply("d2", []string{"r1"}, other)
	apply("d2", nil)
	same(t, "rows of both", rows(t, db), map[string]store.InstallRow{"d1 u1": written(*second.Row, 1), "d2 u1": written(*other.Row, 1)})
	late := installed("r4", "d1", "u1", installation.Failed) // by a server that has not seen the row
	if _, err := db.ApplyReports(t.Context(), "d1", []store.AppliedReport{late}); !errors.Is(err, store.ErrMoved) {
		t.Errorf("a row that follows an earlier one: %v, want ErrMoved", err)
	}
	late.Row.Version = 1
	apply("d1", []string{"r4"}, late)
}

func reportsRace(t *testing.T, fresh func(testing.TB) store.Config) {
	cfg := fresh(t)
	servers := []*store.DB{open(t, cfg), open(t, cfg)}
	const reports = 60
	var all []store.AppliedReport
	for i := range reports {
		all = append(all, installed(fmt.Sprint("r", i), "d", catalog.UpdateID(fmt.Sprint("u", i%7)), installation.Installed))
	}
	var mu sync.Mutex
	applied := map[string]int{}
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			for i := range reports {
				from := (i*7 + w*11) % reports
				some := append(all[from:reports:reports], all[:from]...)[:20:20]
				if w%2 == 1 {
					slices.Reverse(some)
				}
				got, err := applyAtLast(t.Context(), servers[w/3], "d", some)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, id := range got {
					applied[id]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for i := range reports {
		if n := applied[fmt.Sprint("r", i)]; n != 1 {
			t.Errorf("report r%d was applied %d times", i, n)
		}
	}
}

// applyAtLast applies reports whatever other servers write meanwhile.
func applyAtLast(ctx context.Context, db *store.DB, device fleet.DeviceID, reports []store.AppliedReport) ([]string, error) {
	for {
		got, err := db.ApplyReports(ctx, device, reports)
		if !errors.Is(err, store.ErrMoved) {
			return got, err
		}
		rows, err := db.DeviceInstalls(ctx, device)
		if err != nil {
			return nil, err
		}
		for i, r := range reports {
			for _, row := range rows {
				if row.Update == r.Row.Update {
					reports[i].Row = new(written(*r.Row, row.Version))
				}
			}
		}
	}
}

// long is text of n characters that no index can compress below its limit.
func long(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%x", sha256.Sum256([]byte{byte(i), byte(i >> 8)}))
	}
	return b.String()[:n]
}

func reportsHostile(t *testing.T, fresh func(testing.TB) store.Config) {
	cfg := fresh(t)
	db := open(t, cfg)
	var reports []store.AppliedReport
	texts := []string{"\x00", "a\x00b", "a\x00c", `\`, `\x00`, "\xff", "\xfe", "'); DROP TABLE reports; --", "\u202e\r\n\x1b[2J", long(100_000), long(100_001), ""}
	for _, s := range texts {
		r := event(s, s, 0)
		r.Report.Event += "event"
		r.Report.Update, r.Report.Detail, r.Report.Needs, r.Report.Cause = catalog.UpdateID(s), s, []string{s}, installation.Cause(s)
		r.Row = &store.InstallRow{Device: fleet.DeviceID("d" + s), Update: catalog.UpdateID(s), Detail: s, Needs: []string{s}}
		reports = append(reports, r)
	}
	got, err := db.ApplyReports(t.Context(), "d\x00", reports)
	must(t, err)
	same(t, "new ids", got, texts)
	evs, err := db.Events(t.Context(), store.EventQuery{Device: "d\x00"})
	must(t, err)
	if len(evs) != len(texts) {
		t.Fatalf("%d events of %d", len(evs), len(texts))
	}
	for _, s := range texts {
		found, err := db.Events(t.Context(), store.EventQuery{Event: s + "event"})
		must(t, err)
		if len(found) != 1 {
			t.Errorf("%d events are found by the name %.40q, want one", len(found), s+"event")
			continue
		}
		want, e := strings.ToValidUTF8(s, "\uFFFD"), found[0]
		if e.Detail != want || e.Event != want+"event" || string(e.Update) != want || e.Device != "d\x00" {
			t.Errorf("the event %.40q came back as %.200q", s, e.Detail)
		}
	}
	n := 0
	must(t, db.LoadInstalls(t.Context(), func(store.InstallRow) error { n++; return nil }))
	if n != len(texts) {
		t.Errorf("%d rows, want %d", n, len(texts))
	}
}

func events(t *testing.T, fresh func(testing.TB) store.Config) {
	cfg := fresh(t)
	cfg.Now = func() time.Time { return at(100) }
	db := open(t, cfg)
	var d1, d2 []store.AppliedReport
	for i := range 10 {
		d1 = append(d1, event(fmt.Sprint("r", i), "guard_refused", i/3)) // three share a time
	}
	d1 = append(d1, installed("state", "d1", "u1", installation.Installed)) // no event
	d2 = append(d2, event("future", "origin_rollback", 1_000_000))
	for device, reports := range map[fleet.DeviceID][]store.AppliedReport{"d1": d1, "d2": d2} {
		_, err := db.ApplyReports(t.Context(), device, reports)
		must(t, err)
	}
	query := func(q store.EventQuery) (out []string) {
		t.Helper()
		evs, err := db.Events(t.Context(), q)
		must(t, err)
		for _, e := range evs {
			out = append(out, strings.TrimPrefix(e.Detail, "detail of "))
		}
		return out
	}
	same(t, "all", query(store.EventQuery{}), []string{"future", "r9", "r8", "r7", "r6", "r5", "r4", "r3", "r2", "r1", "r0"})
	same(t, "of a device", query(store.EventQuery{Device: "d2"}), []string{"future"})
	same(t, "of an unknown device", query(store.EventQuery{Device: "d3"}), []string(nil))
	same(t, "by name", query(store.EventQuery{Event: "origin_rollback"}), []string{"future"})
	same(t, "by update", query(store.EventQuery{Update: "u2"}), []string(nil))
	same(t, "by update, two", query(store.EventQuery{Update: "u1", Device: "d1", Limit: 2}), []string{"r9", "r8"})
	same(t, "before a time", query(store.EventQuery{Before: at(1)}), []string{"r2", "r1", "r0"})
	newest, err := db.Events(t.Context(), store.EventQuery{Limit: 1})
	must(t, err)
	same(t, "time of an event from the future", newest[0].At, at(100))

	var paged []int64
	for q := (store.EventQuery{Limit: 4}); ; {
		page, err := db.Events(t.Context(), q)
		must(t, err)
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			paged = append(paged, e.ID)
		}
		last := page[len(page)-1]
		q.Before, q.BeforeID = last.At, last.ID
	}
	if len(paged) != 11 {
		t.Errorf("pages hold %d events, want each of 11 once: %v", len(paged), paged)
	}
}

func installs(t *testing.T, fresh func(testing.TB) store.Config) {
	db := open(t, fresh(t))
	a, b := *installed("r1", "d1", "u1", installation.Assigned).Row, *installed("r2", "d1", "u1", installation.Failed).Row
	c := *installed("r3", "d1", "u2", installation.Blocked).Row
	c.Proof, c.Needs, c.Deadline = nil, nil, time.Time{}
	must(t, db.SaveInstalls(t.Context(), nil))
	must(t, db.SaveInstalls(t.Context(), []store.InstallRow{c, b, a}))
	same(t, "rows", rows(t, db), map[string]store.InstallRow{"d1 u1": written(a, 1), "d1 u2": written(c, 1)})
	if err := db.SaveInstalls(t.Context(), []store.InstallRow{b, written(c, 1)}); !errors.Is(err, store.ErrMoved) {
		t.Errorf("a row that another server wrote first: %v, want ErrMoved", err)
	}
	must(t, db.SaveInstalls(t.Context(), []store.InstallRow{written(b, 1)}))
	same(t, "rows", rows(t, db), map[string]store.InstallRow{"d1 u1": written(b, 2), "d1 u2": written(c, 1)})
	got, err := db.DeviceInstalls(t.Context(), "d2")
	must(t, err)
	same(t, "rows of another device", got, []store.InstallRow(nil))
}
