package audit_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"assent/client"
	"assent/fleet"
	"assent/ledger"
)

// TestEntriesOfOneKindAreThoseThatTheWholeLedgerHas asks for pages of all sizes from all places, in any order, while
// the ledger grows.
func TestEntriesOfOneKindAreThoseThatTheWholeLedgerHas(t *testing.T) {
	w := newWorld(t)
	n := 0
	grow := func(decides bool) {
		n++
		if decides {
			w.act(t, "ada", decision(n, ""))
			return
		}
		w.act(t, "ada", ledger.GroupCreate{Group: fleet.Group{ID: fleet.GroupID(fmt.Sprint("g", n)), Name: fmt.Sprint("Group ", n), Parent: fleet.Root}})
	}
	rapid.Check(t, func(r *rapid.T) {
		for _, decides := range rapid.SliceOfN(rapid.Bool(), 0, 8).Draw(r, "acts") {
			grow(decides)
		}
		q := client.LedgerQuery{Kind: rapid.SampledFrom([]ledger.Kind{"update.decide", "group.create", "no.such"}).Draw(r, "kind"),
			Before: int64(rapid.IntRange(0, n+3).Draw(r, "before")), Limit: rapid.IntRange(1, 9).Draw(r, "limit")}
		got, err := w.Entries(t.Context(), q)
		must(t, err)
		all, err := w.Entries(t.Context(), client.LedgerQuery{Before: q.Before, Limit: 1000})
		must(t, err)
		var want []int64
		for _, e := range all.Items {
			if e.Kind == q.Kind && len(want) < q.Limit {
				want = append(want, e.Seq)
			}
		}
		var seqs []int64
		for _, e := range got.Items {
			seqs = append(seqs, e.Seq)
		}
		if fmt.Sprint(seqs) != fmt.Sprint(want) || got.Total != all.Total {
			r.Fatalf("%+v gives %v, want %v", q, seqs, want)
		}
		if full := len(want) == q.Limit; full && want[len(want)-1] > 1 != (got.Next == fmt.Sprint(want[len(want)-1])) || !full && got.Next != "" {
			r.Fatalf("%+v goes on at %q after %v", q, got.Next, seqs)
		}
	})
}
