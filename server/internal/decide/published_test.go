package decide_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index/indextest"
)

// feedShop is an office with a device that has ledger 1.0 of the feed acme and could take what is published.
func feedShop(t testing.TB, releases ...catalog.Update) *office {
	o := newOffice(t)
	o.Publish(append(releases, indextest.Published("ledger", "1.0"))...)
	o.Device("d1", fleet.Root)
	o.Has("d1", "ledger 1.0")
	for _, u := range releases {
		installed := ""
		if u.Name == "ledger" {
			installed = "1.0"
		}
		o.Machine("d1", func(s *indextest.Said) {
			s.Offers = append(s.Offers, indextest.FeedOffer(u.Name, u.Version, installed))
		})
	}
	o.Scan("d1")
	return o
}

func changed(name, version string, change func(*catalog.Publication)) catalog.Update {
	u := indextest.Published(name, version)
	change(u.Published)
	return u
}

func (o *office) refusal(d client.Decide) *fault.Error {
	o.T.Helper()
	_, err := o.decide.Decide(o.T.Context(), o.admin, d)
	if err == nil {
		o.T.Fatalf("%+v was not refused", d)
	}
	return fault.From(err)
}

func approve(ref string) client.Decide {
	return client.Decide{Updates: []string{ref}, Status: approval.Approved}
}

func TestA6_AGatedUpdateIsListedAndCannotBeApprovedAloneOrInBulk(t *testing.T) {
	o := feedShop(t, changed("ledger", "2.0", func(p *catalog.Publication) { p.MinServer = "2.0.0" }), indextest.Published("ledger", "1.5"))
	row := o.list(client.Filter{Gated: new(true)}, client.Page{}).Items
	if len(row) != 1 || row[0].Gated != "2.0.0" || row[0].Needed != 1 {
		t.Fatalf("%+v", row)
	}
	f := o.refusal(approve("ledger@2.0"))
	if f.Code != "server_too_old" || !strings.Contains(f.Message, "2.0.0") || !strings.Contains(f.Message, indextest.Version) {
		t.Errorf("the refusal does not name both versions: %v", f)
	}
	before := o.seq()
	out := o.act(client.Decide{Matching: &client.Filter{View: client.Seamless}, Status: approval.Approved, AllowSuperseded: true})
	skipped := slices.ContainsFunc(out.Skipped, func(s client.Skipped) bool { return s.Version == "2.0" && s.Code == "server_too_old" })
	if !skipped || len(out.Changed) != 2 || o.seq() != before+1 {
		t.Errorf("%+v", out)
	}
	status, err := o.decide.Status(t.Context(), o.admin)
	if err != nil || !strings.Contains(strings.Join(status.Attention, "\n"), "1 update waits for server 2.0.0 or newer") {
		t.Errorf("%v %v", status.Attention, err)
	}
	if f := o.refusal(client.Decide{Updates: []string{"ledger@2.0"}, Status: approval.Approved, DryRun: true}); f.Code != "server_too_old" {
		t.Errorf("a dry run: %v", f)
	}
	o.act(client.Decide{Updates: []string{"ledger@2.0"}, Status: approval.Declined}) // declining is always possible
}

func licence(text string) []catalog.Agreement {
	return []catalog.Agreement{{ID: "eula", Title: "Licence", Texts: []catalog.AgreementText{{Language: "en", SHA256: strings.Repeat(text, 64), Size: 9}}}}
}

func TestA7_AgreementsAreAcceptedInTheApproveActAndWithdrawn(t *testing.T) {
	o := feedShop(t, changed("ledger", "2.0", func(p *catalog.Publication) { p.Agreements = licence("a") }))
	if f := o.refusal(approve("ledger@2.0")); f.Code != "agreements_pending" || f.Field != "accept_agreements" {
		t.Fatalf("%v", f)
	}
	list, err := o.decide.Agreements(t.Context(), o.viewer, "ledger@2.0")
	if err != nil || list.Total != 1 || list.Items[0].Accepted {
		t.Fatalf("%+v %v", list, err)
	}
	d := approve("ledger@2.0")
	d.AcceptAgreements = []string{list.Items[0].Digest}
	before := o.seq()
	o.act(d)
	if o.seq() != before+1 {
		t.Errorf("%d entries for one act", o.seq()-before)
	}
	if got := o.installs("d1"); len(got) != 1 {
		t.Fatalf("%v", got)
	}
	accepted, err := o.decide.Accepted(t.Context(), o.viewer)
	if err != nil || accepted.Total != 1 || accepted.Items[0].By != "ada" {
		t.Fatalf("%+v %v", accepted, err)
	}
	if _, err := o.decide.Withdraw(t.Context(), o.viewer, client.WithdrawRequest{Digest: accepted.Items[0].Digest}); !errors.Is(err, fault.Forbidden) {
		t.Errorf("a viewer withdraws: %v", err)
	}
	if _, err := o.decide.Withdraw(t.Context(), o.admin, client.WithdrawRequest{Digest: accepted.Items[0].Digest[:12], Reason: "legal"}); err != nil {
		t.Fatal(err)
	}
	if got := o.installs("d1"); len(got) != 0 {
		t.Errorf("after the withdrawal the plan still has %v", got)
	}
}

func TestA7_WhoApprovesForOneGroupAcceptsNoAgreementForAll(t *testing.T) {
	o := feedShop(t, changed("ledger", "2.0", func(p *catalog.Publication) { p.Agreements = licence("a") }))
	o.Group("web", fleet.Root)
	d := approve("ledger@2.0")
	d.Scope, d.AcceptAgreements = "web", []string{licence("a")[0].Digest()}
	local := auth.Actor{Name: "wes", Role: ledger.Approver, Scope: "web"}
	if _, err := o.decide.Decide(t.Context(), local, d); !errors.Is(err, fault.Forbidden) {
		t.Errorf("%v", err)
	}
}

func TestA7_AChangedTextAsksAgain(t *testing.T) {
	old := changed("ledger", "2.0", func(p *catalog.Publication) { p.Agreements = licence("a") })
	o := feedShop(t, old)
	digest := old.Published.Agreements[0].Digest()
	d := approve("ledger@2.0")
	d.AcceptAgreements = []string{digest}
	o.act(d)
	o.Publish(changed("ledger", "2.0", func(p *catalog.Publication) { p.Agreements = licence("b") }))
	if got := o.installs("d1"); len(got) != 0 {
		t.Errorf("another text counts as accepted: %v", got)
	}
	if _, err := o.decide.Accept(t.Context(), o.admin, client.AcceptRequest{Update: "ledger@2.0", Digests: []string{digest}}); fault.From(err).Code != "agreement_changed" {
		t.Errorf("accepting the old text: %v", err)
	}
}

func TestA7_AgreementsOfPrerequisitesAreShownAndAcceptedWithIt(t *testing.T) {
	o := feedShop(t, changed("ledger", "2.0", func(p *catalog.Publication) {
		p.Requires = []catalog.Requirement{{Application: "runtime", Version: "3.0"}}
	}), changed("runtime", "3.0", func(p *catalog.Publication) { p.Agreements = licence("a") }))
	list, err := o.decide.Agreements(t.Context(), o.viewer, "ledger@2.0")
	if err != nil || list.Total != 1 || list.Items[0].Update.Name != "runtime" {
		t.Fatalf("%+v %v", list, err)
	}
	if f := o.refusal(approve("ledger@2.0")); f.Code != "agreements_pending" {
		t.Errorf("%v", f)
	}
	o.act(client.Decide{Updates: []string{"ledger@2.0", "runtime@3.0"}, Status: approval.Approved, AcceptAgreements: []string{list.Items[0].Digest}})
	if got := o.installs("d1"); len(got) != 2 {
		t.Errorf("%v", got)
	}
}

func TestA8_ARecalledReleaseRaisesTheAlarmAndCannotBeApproved(t *testing.T) {
	o := feedShop(t, indextest.Published("ledger", "2.0"))
	o.Publish(changed("ledger", "1.0", func(p *catalog.Publication) {
		p.Revoked = &catalog.Revocation{At: o.Now(), Reason: "eats data"}
	}))
	status, err := o.decide.Status(t.Context(), o.admin)
	if err != nil || !strings.Contains(strings.Join(status.Attention, "\n"), "recalled ledger 1.0 (1 device)") {
		t.Fatalf("%v %v", status.Attention, err)
	}
	if f := o.refusal(approve("ledger@1.0")); f.Code != "revoked" {
		t.Errorf("%v", f)
	}
	o.act(client.Decide{Updates: []string{"ledger@1.0"}, Status: approval.Declined})
	if status, _ = o.decide.Status(t.Context(), o.admin); strings.Contains(strings.Join(status.Attention, "\n"), "recalled") {
		t.Errorf("the alarm goes on after the decline: %v", status.Attention)
	}
	if p := o.plan("d1"); len(p.Remove) != 1 {
		t.Errorf("nothing is taken back: %+v", p)
	}
}

func TestC6_ContentIsNotApproved(t *testing.T) {
	set := indextest.Published("signatures", "1.0")
	set.Class = catalog.Content
	o := feedShop(t, set)
	if f := o.refusal(approve("signatures@1.0")); f.Code != "content_class" {
		t.Errorf("%v", f)
	}
}

func TestWhy_SaysWhatThePublisherAsksFor(t *testing.T) {
	o := feedShop(t, changed("ledger", "2.0", func(p *catalog.Publication) { p.Agreements = licence("a") }))
	digest := licence("a")[0].Digest()
	d := approve("ledger@2.0")
	d.AcceptAgreements = []string{digest}
	o.act(d)
	if _, err := o.decide.Withdraw(t.Context(), o.admin, client.WithdrawRequest{Digest: digest}); err != nil {
		t.Fatal(err)
	}
	why, err := o.decide.Why(t.Context(), o.admin, "d1", "ledger@2.0")
	if err != nil || !strings.Contains(why.Sentence, "assent update agreements") {
		t.Errorf("%q %v", why.Sentence, err)
	}
}

func TestSeamless_IsTheViewOfManagedAndComponents(t *testing.T) {
	component := indextest.Published("assent-agent", "9")
	component.Class = catalog.Component
	o := feedShop(t, indextest.Published("ledger", "2.0"), component)
	o.Device("d2", fleet.Root)
	o.Has("d2", "tool 1.0")
	o.Offered("d2", indextest.Offer("tool", "1.1", "1.0"))
	if got := o.list(client.Filter{View: client.Seamless}, client.Page{}).Total; got != 3 {
		t.Errorf("%d updates", got)
	}
	if got := o.list(client.Filter{}, client.Page{}).Total; got != 4 {
		t.Errorf("%d updates in all", got)
	}
}
