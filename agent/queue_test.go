package agent

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"assent/catalog"
	"assent/installation"
)

func TestQueueGivesEachOrderOutAtMostOnceInPureTransactionsAndNothingBeforeWhatItNeeds(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var open []order
		n := rapid.IntRange(1, 8).Draw(r, "orders")
		for i := range n {
			f := file(fmt.Sprint("p", i), "2")
			if rapid.Bool().Draw(r, "side") {
				f = treeFile(f.Name, "2")
			}
			o := order{Part: partOf(f), kind: rapid.SampledFrom([]kind{toInstall, toInstall, toInstall, toStepBack, toRemove}).Draw(r, "kind"), exclusive: rapid.IntRange(0, 3).Draw(r, "exclusive") == 0}
			open = append(open, o)
		}
		for i := range open {
			for _, j := range rapid.SliceOfN(rapid.IntRange(0, n-1), 0, 2).Draw(r, "closure") {
				if open[i].kind == toInstall && i != j {
					open[i].closure = append(open[i].closure, string(open[j].Update))
					if rapid.Bool().Draw(r, "prerequisite") {
						open[i].after = append(open[i].after, string(open[j].Update))
					}
				}
			}
		}
		bad := map[catalog.UpdateID]bool{}
		for _, o := range open {
			bad[o.Update] = rapid.IntRange(0, 4).Draw(r, "fails") == 0
		}
		q := &queue{open: slices.Clone(open), missing: map[string]order{}, shut: map[bool]bool{}, due: func(order) bool { return true }, waits: func(order) bool { return false }}
		for _, o := range open {
			if o.kind == toInstall {
				q.missing[string(o.Update)] = o
			}
		}
		given := map[catalog.UpdateID]bool{}
		for batch := q.next(); len(batch) > 0; batch = q.next() {
			for _, o := range batch {
				if given[o.Update] {
					r.Fatalf("%s was given out twice", o.name())
				}
				given[o.Update] = true
				if o.kind != batch[0].kind || o.side() != batch[0].side() || o.exclusive && len(batch) > 1 {
					r.Fatalf("%s and %s are one transaction", o.name(), batch[0].name())
				}
				for _, id := range o.after {
					if _, missing := q.missing[id]; missing {
						r.Fatalf("%s goes before its prerequisite is installed", o.name())
					}
				}
				for _, id := range o.closure {
					if need, missing := q.missing[id]; missing && !contains(batch, need) && (!together(o, need) || !given[need.Update]) {
						r.Fatalf("%s goes before %s", o.name(), need.name())
					}
				}
			}
			for _, o := range batch {
				if !bad[o.Update] {
					delete(q.missing, string(o.Update))
				}
			}
		}
		for _, o := range q.open { // whoever stays behind has a reason
			if q.holdup(o) == nil {
				r.Fatalf("%s was forgotten", o.name())
			}
		}
	})
}

func TestWayLeadsFromEachStateToEachThatCanBeReportedByLegalSteps(t *testing.T) {
	for _, from := range installation.States() {
		for _, to := range []installation.State{installation.Assigned, installation.Installed, installation.Removing, installation.Removed, installation.Failed, installation.Blocked} {
			at := from
			for _, s := range append(way(from, to), to) {
				if err := installation.Check(at, s); err != nil {
					t.Errorf("from %s to %s: %v", from, to, err)
				}
				at = s
			}
		}
	}
}
