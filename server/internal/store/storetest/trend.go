package storetest

import (
	"testing"
	"time"

	"assent/client"
	"assent/fleet"
	"assent/server/internal/store"
)

func sample(group fleet.GroupID, day string, approved int) store.Sample {
	return store.Sample{Group: group, Day: client.TrendDay{Day: day, At: at(0), Compliance: client.Compliance{Approved: approved}, Undecided: map[string]int{"high": 2},
		Decision: client.TrendTime{Cases: 1, Median: time.Hour, P90: 2 * time.Hour}}}
}

func samples(t *testing.T, fresh func(testing.TB) store.Config) {
	cfg := fresh(t)
	db := open(t, cfg)
	must(t, db.SaveSamples(t.Context(), nil))
	odd := fleet.GroupID("g\x00\xff")
	must(t, db.SaveSamples(t.Context(), []store.Sample{sample("a", "2026-11-23", 1), sample("b", "2026-11-23", 7), sample("a", "2026-11-23", 2), sample(odd, "2026-11-23", 5)}))
	must(t, db.SaveSamples(t.Context(), []store.Sample{sample("a", "2026-11-25", 4), sample("a", "2026-11-22", 9), sample("a", "2026-11-23", 3)}))
	read := func(db *store.DB, group fleet.GroupID, from string) []store.Sample {
		t.Helper()
		day, err := time.Parse(time.DateOnly, from)
		must(t, err)
		got, err := db.Samples(t.Context(), group, day)
		must(t, err)
		return got
	}
	same(t, "the samples of a group, each day once, the gap left", read(db, "a", "2026-11-23"), []store.Sample{sample("a", "2026-11-23", 3), sample("a", "2026-11-25", 4)})
	same(t, "those of another server on the database", read(open(t, cfg), "b", "2026-01-01"), []store.Sample{sample("b", "2026-11-23", 7)})
	if got := read(db, odd, "2026-01-01"); len(got) != 1 || got[0].Day.Compliance.Approved != 5 {
		t.Fatalf("of an odd group: %+v", got)
	}
	n, err := db.PruneSamples(t.Context(), time.Date(2026, 11, 23, 23, 0, 0, 0, time.UTC))
	must(t, err)
	same(t, "how many were forgotten", n, int64(1))
	same(t, "what is left", read(db, "a", "2026-01-01"), []store.Sample{sample("a", "2026-11-23", 3), sample("a", "2026-11-25", 4)})
}
