package index_test

import (
	"testing"

	"assent/fleet"
	"assent/installation"
	"assent/server/internal/index"
	"assent/server/internal/index/indextest"
	"assent/wire"
)

func TestV1_AScanLeavesAnApplicationThatIsOnItsWayToADeviceThatLacksIt(t *testing.T) {
	w := indextest.New(t)
	w.Device("d1", fleet.Root)
	u := indextest.Published("ledger", "1.0")
	w.Publish(u)
	w.Offered("d1", indextest.FeedOffer("ledger", "1.0", ""))
	state := func() (s installation.State) {
		w.Index.View(func(v *index.View) {
			d, _ := v.Device("d1")
			row, _ := d.Install(u.ID)
			s = row.State
		})
		return s
	}
	for i, step := range []installation.State{installation.Assigned, installation.Downloading, installation.Downloaded, installation.Failed, installation.Blocked} {
		w.Report("d1", wire.Report{ID: string(step), Update: u.ID, State: step})
		w.Has("d1", "other "+string(rune('1'+i))) // a scan that is about something else
		w.Scan("d1")
		if got := state(); got != step {
			t.Fatalf("after a scan %s became %s", step, got)
		}
	}
	w.Has("d1", "ledger 1.0")
	w.Scan("d1")
	if got := state(); got != installation.Installed {
		t.Errorf("it is there, and its state is %s", got)
	}
}
