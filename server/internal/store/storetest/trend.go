package storetest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"assent/client"
	"assent/fleet"
	"assent/ledger"
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

func personalViews(t *testing.T, fresh func(testing.TB) store.Config) {
	cfg := fresh(t)
	db := open(t, cfg)
	s := begin(t, db)
	odd := "o\x00\ufffd" // as the ledger keeps it
	for _, name := range []string{"ada", "eve", odd} {
		must(t, act(t.Context(), db, s, "admin", ledger.OperatorSet{Operator: ledger.Operator{Name: name, Role: ledger.Administrator, Scope: fleet.Root}}))
	}
	view := func(id, query string) ledger.View {
		return ledger.View{ID: id, List: "queue", Name: id, Query: query, At: at(0)}
	}
	of := func(db *store.DB, name string) []ledger.View {
		t.Helper()
		got, err := db.Views(t.Context(), name)
		must(t, err)
		slices.SortFunc(got, func(a, b ledger.View) int { return strings.Compare(a.ID, b.ID) })
		return got
	}
	for _, name := range []string{"ada", "eve", odd} {
		must(t, db.SaveView(t.Context(), name, view("v1", "a="+strings.Repeat("x", 5000))))
		must(t, db.SaveView(t.Context(), name, view("v2", "b")))
		must(t, db.SaveView(t.Context(), name, view("v1", "c")))
	}
	if err := db.SaveView(t.Context(), "nobody", view("v1", "")); err == nil {
		t.Fatal("somebody who is no operator has a view")
	}
	for name, found := range map[string]bool{"eve": true, "nobody": false} {
		got, err := db.DeleteView(t.Context(), name, "v1")
		must(t, err)
		same(t, "found", got, found)
	}
	must(t, act(t.Context(), db, s, "admin", ledger.OperatorRemove{Name: "ada"}))
	again := open(t, cfg)
	same(t, "of who was removed", of(again, "ada"), []ledger.View(nil))
	same(t, "of who deleted one", of(again, "eve"), []ledger.View{view("v2", "b")})
	same(t, "of an odd name", of(again, odd), []ledger.View{view("v1", "c"), view("v2", "b")})
}
