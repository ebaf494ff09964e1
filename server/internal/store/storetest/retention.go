package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"assent/fleet"
	"assent/server/internal/store"
	"assent/wire"
)

// retention lets years pass: each month devices report, and what is older than a year is forgotten.
func retention(t *testing.T, fresh func(testing.TB) store.Config) {
	const months, keep, each = 48, 12, 1500
	month := 30 * 24 * time.Hour
	cfg, now := fresh(t), at(0)
	cfg.Now = func() time.Time { return now }
	db := open(t, cfg)
	report := func(device fleet.DeviceID, id string, at time.Time) int {
		t.Helper()
		fresh, err := db.ApplyReports(t.Context(), device, []store.AppliedReport{{Report: wire.Report{ID: id, Event: "e", At: at, Detail: strings.Repeat("x", 200)}}})
		must(t, err)
		return len(fresh)
	}
	var early int64
	var forgotten int64
	for m := range months {
		now = at(0).Add(time.Duration(m) * month)
		var rows []store.AppliedReport
		for i := range each {
			rows = append(rows, store.AppliedReport{Report: wire.Report{ID: fmt.Sprint(m, "-", i), Event: "e", At: now, Detail: strings.Repeat("x", 200)}})
		}
		if _, err := db.ApplyReports(t.Context(), "d1", rows); err != nil {
			t.Fatal(err)
		}
		report("clock", fmt.Sprint(m), time.Unix(0, 0)) // its clock stands still
		n, err := db.PruneReports(t.Context(), now.Add(-keep*month))
		must(t, err)
		forgotten += n
		if m == keep+2 {
			early, _, err = db.Size(t.Context())
			must(t, err)
		}
	}
	// The month of keep itself stays, and so does the report with the wrong time that came before its first one went.
	if want := int64((months - keep - 1) * (each + 1)); forgotten < want-1 || forgotten > want+1 {
		t.Errorf("%d reports were forgotten, want about %d", forgotten, want)
	}
	if report("d1", fmt.Sprint(months-1, "-", 0), now) != 0 || report("clock", fmt.Sprint(months-1), now) != 0 {
		t.Error("a report of this month was forgotten")
	}
	left, err := db.Events(t.Context(), store.EventQuery{Limit: 10 * each * months})
	must(t, err)
	if want := (keep + 1) * (each + 1); len(left) < want-1 || len(left) > want+1 {
		t.Errorf("%d events are left, want about %d", len(left), want)
	}
	late, free, err := db.Size(t.Context())
	must(t, err)
	t.Logf("%s: %d kB after the first year, %d kB after %d years, %d kB of these free", db.Engine(), early>>10, late>>10, months/12, free>>10)
	if db.Engine() == store.SQLite && late > early+early/5 { // PostgreSQL's autovacuum comes when it comes
		t.Errorf("the database grows: %d bytes after %d, with as much in it", late, early)
	}
}
