package storetest

import (
	"testing"

	"assent/fleet"
	"assent/installation"
	"assent/server/internal/store"
	"assent/wire"
)

func rehearsals(t *testing.T, fresh func(testing.TB) store.Config) {
	db := open(t, fresh(t))
	one := store.Rehearsal{Device: "d1", Rehearsal: wire.Rehearsal{At: at(1), Plan: "p1", Inventory: "i1",
		Updates: []wire.Rehearsed{{Update: "u1", Cause: installation.NoSpace, Detail: "full \x00 'quoted'", Kept: []string{"/etc/x"}, Opens: at(5)}}}}
	two, next := store.Rehearsal{Device: "d2", Rehearsal: wire.Rehearsal{At: at(2)}}, one
	next.Rehearsal = wire.Rehearsal{At: at(3), Plan: "p2", Inventory: "i1", Left: 4}
	for _, r := range []store.Rehearsal{one, two} {
		must(t, db.SaveRehearsal(t.Context(), r))
	}
	loaded := func() map[fleet.DeviceID]store.Rehearsal {
		out := map[fleet.DeviceID]store.Rehearsal{}
		must(t, db.LoadRehearsals(t.Context(), func(r store.Rehearsal) error { out[r.Device] = r; return nil }))
		return out
	}
	same(t, "rehearsals", loaded(), map[fleet.DeviceID]store.Rehearsal{"d1": one, "d2": two})
	must(t, db.SaveRehearsal(t.Context(), next))
	same(t, "after another", loaded(), map[fleet.DeviceID]store.Rehearsal{"d1": next, "d2": two})
}
