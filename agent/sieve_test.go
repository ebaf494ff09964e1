package agent

import (
	"context"
	"fmt"
	"testing"

	"assent/agent/internal/journal"
	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/installation"
)

func TestSieveFindsTheSameLargestSetWhateverTheOrder(t *testing.T) {
	for bad := range 1 << 6 { // all sets of bad ones among six
		var list []order
		for i := range 6 {
			list = append(list, order{Part: partOf(file(fmt.Sprint("p", i), "2"))})
		}
		s := sieve{all: map[catalog.UpdateID]order{}, refused: map[catalog.UpdateID]*pkgmgr.Refusal{}, simulate: func(_ context.Context, w pkgmgr.Want) (pkgmgr.Transaction, error) {
			for _, it := range w.Items {
				if bad&(1<<(it.Name[1]-'0')) != 0 {
					return pkgmgr.Transaction{}, &pkgmgr.Refusal{Cause: installation.Unresolvable}
				}
			}
			return pkgmgr.Transaction{Want: w}, nil
		}}
		good, err := s.sift(t.Context(), nil, list)
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range list {
			want := bad&(1<<i) == 0
			if contains(good, o) != want || (s.refused[o.Update] == nil) != want {
				t.Errorf("bad %06b: %s", bad, o.Items[0].Name)
			}
		}
		if len(good) > 0 && len(s.tx.Want.Items) != len(good) {
			t.Errorf("bad %06b: the transaction has %d items for %d orders", bad, len(s.tx.Want.Items), len(good))
		}
	}
}

func TestSieveTakesAnUpdateTogetherWithItsClosure(t *testing.T) {
	app, lib := order{Part: partOf(file("app", "2"))}, order{Part: partOf(file("lib", "2"))}
	app.closure = []string{string(lib.Update)}
	bad := order{Part: partOf(file("bad", "2"))}
	s := sieve{all: map[catalog.UpdateID]order{app.Update: app, lib.Update: lib, bad.Update: bad}, refused: map[catalog.UpdateID]*pkgmgr.Refusal{}, simulate: func(_ context.Context, w pkgmgr.Want) (pkgmgr.Transaction, error) {
		names := map[string]bool{}
		for _, it := range w.Items {
			names[it.Name] = true
		}
		if names["bad"] || names["app"] && !names["lib"] {
			return pkgmgr.Transaction{}, &pkgmgr.Refusal{Cause: installation.UnapprovedDependency}
		}
		return pkgmgr.Transaction{Want: w}, nil
	}}
	good, err := s.sift(t.Context(), nil, []order{app, bad, lib})
	if err != nil || !contains(good, app) || !contains(good, lib) || contains(good, bad) {
		t.Errorf("%v, %v", good, err)
	}
}

func partOf(f simFile) journal.Part {
	return journal.Part{Update: f.release().ID(), Items: []catalog.Item{f.Item}}
}
