package decide_test

import (
	"testing"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fleet"
	"assent/server/internal/index/indextest"

	"github.com/google/go-cmp/cmp"
)

// rehearsed is what an act would mean.
func (o *office) rehearsed(d client.Decide) client.Preview {
	o.T.Helper()
	d.DryRun = true
	return o.act(d).Preview
}

func TestC3_APreviewOfADeclineSaysWhoKeepsItAndCouldNotGoBack(t *testing.T) {
	o := newOffice(t)
	for _, id := range []fleet.DeviceID{"d1", "d2", "d3"} {
		o.Device(id, fleet.Root)
		o.Has(id, "tool 1.0")
		o.Offered(id, indextest.Offer("tool", "1.1", "1.0"))
	}
	o.approve("tool@1.1")
	for _, id := range []fleet.DeviceID{"d1", "d2"} {
		o.Obey(id, o.plan(id))
	}
	o.Machine("d2", func(s *indextest.Said) {
		for i := range s.Restore {
			s.Restore[i].From = "" // the file before is gone from there
		}
	})
	o.Scan("d2")
	got := o.rehearsed(client.Decide{Updates: []string{"tool@1.1"}, Status: approval.Declined})
	if got.CanGoBack != 1 || got.CannotGoBack != 1 || got.Updates[0].CanGoBack != 1 || got.Updates[0].CannotGoBack != 1 || got.Withdrawn != 1 {
		t.Errorf("%+v", got)
	}
	for id, can := range map[string]bool{"d1": true, "d2": false} { // the order itself says the same
		out, err := o.decide.Rollback(t.Context(), o.admin, client.RollbackRequest{Update: "tool@1.1", Devices: []string{id}, Decline: true, DryRun: true})
		if err == nil && (len(out.Devices) != 1 || out.Devices[0].Can != can) || err != nil && can {
			t.Errorf("%s: %+v, %v", id, out, err)
		}
	}
	if got := o.rehearsed(client.Decide{Updates: []string{"tool@1.1"}, Status: approval.Undefined}); got.CanGoBack+got.CannotGoBack != 0 {
		t.Errorf("what is not declined is spoken of: %+v", got)
	}
}

func TestC2_APreviewOfAnApprovalSaysWhatStaysForGoodAndWhatNeedsARestart(t *testing.T) {
	stays := func(p *catalog.Publication) {
		p.Removal, p.Restart = catalog.Removal{Reason: "it converts its data"}, catalog.RestartDevice
	}
	for _, c := range []struct {
		change               func(*catalog.Publication)
		permanent, restarted int
	}{{func(*catalog.Publication) {}, 0, 0}, {stays, 1, 1}} {
		o := feedShop(t, changed("ledger", "2.0", c.change))
		got := o.rehearsed(approve("ledger@2.0"))
		want := []client.PreviewTask{{Task: "Install approved updates", When: "at any time", Devices: 1}}
		if d := cmp.Diff(want, got.Tasks); d != "" || got.Permanent != c.permanent || got.Restarts != c.restarted {
			t.Errorf("%s, %+v", d, got)
		}
	}
}
