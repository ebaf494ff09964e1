package decide_test

import (
	"errors"
	"strings"
	"testing"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/server/internal/index/indextest"
	"assent/wire"
)

// vended is a release of a feed's application with one package for amd64.
func vended(name, version string, change func(*catalog.Update)) catalog.Update {
	r := catalog.Release{Software: catalog.Software{Ecosystem: "deb", Namespace: catalog.FeedNamespace("acme"), Name: name}, Version: version}
	u := catalog.Update{ID: r.ID(), Release: r, Class: catalog.Managed, Severity: catalog.Unrated, Origins: []string{"feed:acme"}, Phased: 100,
		Items:     []catalog.Bound{{Item: indextest.Item(name, version), Role: catalog.Own, Rev: 1, Origin: "feed:acme"}},
		Published: &catalog.Publication{Feed: "acme", Title: "Acme " + name, Kind: catalog.Full, Format: catalog.Deb, Restart: catalog.RestartNone, Removal: catalog.Removal{Removable: true}}}
	if change != nil {
		change(&u)
	}
	return u
}

// publish puts releases into the catalog.
func (o *office) publish(list ...catalog.Update) {
	o.T.Helper()
	if err := o.Index.PutReleases(o.T.Context(), list); err != nil {
		o.T.Fatal(err)
	}
}

// lacks has a device say that it could take applications that it lacks.
func (o *office) lacks(id fleet.DeviceID, list ...catalog.Update) {
	o.T.Helper()
	var offers []wire.Offer
	for _, u := range list {
		offers = append(offers, wire.Offer{Namespace: u.Namespace, Name: u.Name, Version: u.Version, New: true, Fresh: true,
			Items: []wire.OfferItem{{Item: u.Items[0].Item, Origin: "feed:acme", Candidate: true}}})
	}
	o.Offered(id, offers...)
}

// stocked is an office with web1 and web2 in the group web, db1 in the root, and the application ledger, which all lack.
func stocked(t testing.TB, change func(*catalog.Update)) (*office, catalog.Update) {
	return stockedAt(t, "1.4.0", change)
}

var eula = catalog.Agreement{ID: "eula", Title: "Licence", Texts: []catalog.AgreementText{{Language: "en", SHA256: strings.Repeat("b", 64), Size: 10}}}

// stockedAt is stocked with a server of a version.
func stockedAt(t testing.TB, version string, change func(*catalog.Update)) (*office, catalog.Update) {
	o := newOffice(t)
	o.upgrade(version)
	o.Group("web", fleet.Root)
	u := vended("ledger", "1.0", change)
	o.publish(u)
	for id, g := range map[fleet.DeviceID]fleet.GroupID{"web1": "web", "web2": "web", "db1": fleet.Root} {
		o.Device(id, g)
		o.lacks(id, u)
	}
	return o, u
}

// upgrade starts the services anew as a server of another version on the same data.
func (o *office) upgrade(version string) {
	o.T.Helper()
	x, err := index.Open(o.T.Context(), o.Store, index.Config{Now: o.Now, Version: version})
	if err != nil {
		o.T.Fatal(err)
	}
	o.Index = x
	o.serve()
}

func (o *office) deploy(r client.DeployRequest) client.DeployOutcome {
	o.T.Helper()
	out, err := o.decide.Deploy(o.T.Context(), o.admin, r)
	if err != nil {
		o.T.Fatalf("deploy %+v: %v", r, err)
	}
	return out
}

func answersOf(out client.DeployOutcome) map[string]client.DeployAnswer {
	m := map[string]client.DeployAnswer{}
	for _, d := range out.Devices {
		m[d.Name] = d.Answer
	}
	return m
}

func wantCode(t testing.TB, err error, code string, words ...string) {
	t.Helper()
	f := fault.From(err)
	if f == nil || f.Code != code {
		t.Fatalf("got %v, want the refusal %s", err, code)
	}
	for _, w := range words {
		if !strings.Contains(f.Message, w) {
			t.Errorf("the refusal %s does not say %q: %s", code, w, f.Message)
		}
	}
}

func TestDeploy_PutsAnApprovedApplicationOntoExactlyTheDevicesOfItsTarget(t *testing.T) {
	o, u := stocked(t, nil)
	o.approve("ledger@1.0")
	before := o.seq()
	dry := o.deploy(client.DeployRequest{Update: string(u.ID), To: []string{"web"}, DryRun: true})
	if o.seq() != before || dry.Act.Act != 0 || !dry.DryRun || dry.Counts.Install != 2 || dry.Group != "web" {
		t.Fatalf("the dry run wrote or says %+v", dry)
	}
	if len(o.installs("web1")) != 0 {
		t.Fatal("the dry run ordered something")
	}
	done := o.deploy(client.DeployRequest{Update: string(u.ID), To: []string{"web"}, Reason: "bought"})
	if o.seq() != before+1 || done.Act.Act != before+1 || done.Counts != dry.Counts {
		t.Fatalf("the deployment says %+v", done)
	}
	for id, n := range map[fleet.DeviceID]int{"web1": 1, "web2": 1, "db1": 0} {
		if got := len(o.installs(id)); got != n {
			t.Errorf("%s is to install %d things, want %d", id, got, n)
		}
	}
	again := o.deploy(client.DeployRequest{Update: string(u.ID), To: []string{"web"}})
	if !again.Unchanged || again.Act.Act != done.Act.Act || o.seq() != before+1 {
		t.Errorf("doing it again: %+v", again)
	}
	o.Device("web3", "web")
	o.lacks("web3", u)
	if len(o.installs("web3")) != 1 {
		t.Error("a device that came later does not get it")
	}
}

func TestDeploy_WhyOfAnApplicationThatADeviceLacksNamesTheCommand(t *testing.T) {
	o, _ := stocked(t, nil)
	for _, approved := range []bool{false, true} {
		if approved {
			o.approve("ledger@1.0")
		}
		why, err := o.decide.Why(t.Context(), o.admin, "web1", "ledger@1.0")
		if err != nil {
			t.Fatal(err)
		}
		last := why.Verdict.Reasons[len(why.Verdict.Reasons)-1].Text
		if !strings.Contains(last, "package deploy") || approved && !strings.Contains(why.Sentence, "package deploy") {
			t.Errorf("approved %v: %q; %q", approved, why.Sentence, last)
		}
	}
}

func TestDeploy_SaysForEachDeviceWhatStandsInTheWayAndWhatToRun(t *testing.T) {
	o, u := stocked(t, nil)
	out := o.deploy(client.DeployRequest{Update: "ledger@1.0", To: []string{"web"}, DryRun: true})
	for _, d := range out.Devices {
		if d.Answer != client.DeployHeld || d.Next != "assent update approve "+string(u.ID)+" --group web" {
			t.Errorf("not approved: %+v", d)
		}
	}
	o.approve("ledger@1.0")
	o.Has("web1", "ledger 1.0")
	o.Offered("web1")
	o.Has("db1", "ledger 0.9")
	o.Offered("db1")
	o.Machine("web2", func(s *indextest.Said) { s.Facts.Arch = "arm64" })
	o.Offered("web2")
	o.Device("web3", "web")
	out = o.deploy(client.DeployRequest{Update: "ledger@1.0", To: []string{string(fleet.Root)}})
	got := answersOf(out)
	for name, want := range map[string]client.DeployAnswer{"web1": client.DeployThere, "db1": client.DeployOther, "web2": client.DeployHeld, "web3": client.DeployWaits} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q (%+v)", name, got[name], want, out.Devices)
		}
	}
	if out.Counts != (client.DeployCounts{Devices: 4, There: 1, Other: 1, Held: 1, Waits: 1}) {
		t.Errorf("counts: %+v", out.Counts)
	}
}

func TestDeploy_IsRefusedWithTheGatesOfAnApproval(t *testing.T) {
	for code, change := range map[string]func(*catalog.Update){
		"server_too_old":     func(u *catalog.Update) { u.Published.MinServer = "9.0.0" },
		"revoked":            func(u *catalog.Update) { u.Published.Revoked = &catalog.Revocation{Reason: "loses data"} },
		"unreadable":         func(u *catalog.Update) { u.Published.Unknown = []string{"payload format \"zip\""} },
		"not_full":           func(u *catalog.Update) { u.Published.Kind = catalog.Patch },
		"no_payload":         func(u *catalog.Update) { u.Items[0].Arch = "riscv64" },
		"agreements_pending": func(u *catalog.Update) { u.Published.Agreements = []catalog.Agreement{eula} },
		"not_managed":        func(u *catalog.Update) { u.Namespace, u.Published = "acme", nil; u.ID = u.Release.ID() },
		"feed_unknown":       func(u *catalog.Update) { u.Published = nil },
	} {
		t.Run(code, func(t *testing.T) {
			o, u := stockedAt(t, "1.4.0", change)
			before := o.seq()
			for _, dry := range []bool{true, false} {
				_, err := o.decide.Deploy(t.Context(), o.admin, client.DeployRequest{Update: string(u.ID), To: []string{"web"}, DryRun: dry})
				wantCode(t, err, code)
				if code == "server_too_old" {
					wantCode(t, err, code, "9.0.0", "1.4.0")
				}
			}
			if o.seq() != before {
				t.Error("it wrote something")
			}
		})
	}
}

func TestA3_ADeclineInTheTargetsPathKeepsADeploymentOut(t *testing.T) {
	for name, scope := range map[string]string{"in the root": "", "in the group": "web"} {
		t.Run(name, func(t *testing.T) {
			o, _ := stocked(t, nil)
			o.act(client.Decide{Updates: []string{"ledger@1.0"}, Status: approval.Declined, Scope: scope, Reason: "too dear"})
			for _, to := range []string{"web", "web1"} {
				_, err := o.decide.Deploy(t.Context(), o.admin, client.DeployRequest{Update: "ledger@1.0", To: []string{to}})
				wantCode(t, err, "declined", "too dear", "ada")
			}
			out, err := o.decide.Deploy(t.Context(), o.admin, client.DeployRequest{Update: "ledger@1.0", To: []string{"db1"}})
			if scope == "" {
				wantCode(t, err, "declined")
			} else if err != nil || len(out.Devices) != 1 {
				t.Errorf("db1, where it is not declined: %+v, %v", out, err)
			}
		})
	}
}

func TestDeploy_ADeclineBelowTheTargetHoldsItThereOnly(t *testing.T) {
	o, _ := stocked(t, nil)
	o.approve("ledger@1.0")
	o.act(client.Decide{Updates: []string{"ledger@1.0"}, Status: approval.Declined, Scope: "web"})
	out := o.deploy(client.DeployRequest{Update: "ledger@1.0", To: []string{"root"}})
	got := answersOf(out)
	if got["db1"] != client.DeployInstalls || got["web1"] != client.DeployHeld || len(o.installs("web1")) != 0 || len(o.installs("db1")) != 1 {
		t.Errorf("answers %v", got)
	}
	for _, d := range out.Devices {
		if d.Name == "web1" && (d.Cause != "declined" || !strings.Contains(d.Why, "stays out of") || d.Next != "") {
			t.Errorf("%+v", d)
		}
	}
}

func TestDeploy_ContentNeedsNoApprovalAndWaitsForTheTestDevices(t *testing.T) {
	o, _ := stocked(t, func(u *catalog.Update) { u.Class, u.Published.Kind = catalog.Content, catalog.Data })
	out := o.deploy(client.DeployRequest{Update: "ledger@1.0", To: []string{"root"}})
	for _, d := range out.Devices {
		if d.Answer != client.DeployHeld || d.Cause != "not_released" || d.Next != "" {
			t.Errorf("%+v", d)
		}
	}
}

func TestDeploy_BadInputIsRefusedAndNamesTheField(t *testing.T) {
	o, _ := stocked(t, nil)
	o.Act("admin", ledger.DeviceState{IDs: []fleet.DeviceID{"db1"}, State: fleet.Retired})
	for _, c := range []struct {
		r           client.DeployRequest
		code, field string
	}{
		{client.DeployRequest{To: []string{"web"}}, "deploy_what", "package"},
		{client.DeployRequest{Update: "ledger@1.0", Package: "p1", To: []string{"web"}}, "deploy_twice", "update"},
		{client.DeployRequest{Update: "ledger@1.0"}, "deploy_target", "to"},
		{client.DeployRequest{Update: "ledger@1.0", To: []string{""}}, "deploy_target", "to"},
		{client.DeployRequest{Update: "ledger@1.0", To: make([]string, 1001)}, "deploy_target", "to"},
		{client.DeployRequest{Update: "ledger@1.0", To: []string{"nowhere"}}, "target_unknown", "to"},
		{client.DeployRequest{Update: "ledger@1.0", To: []string{"web", "db1"}}, "deploy_mixed", "to"},
		{client.DeployRequest{Update: "ledger@1.0", To: []string{"db1"}}, "device_retired", "to"},
		{client.DeployRequest{Update: "ledger@7", To: []string{"web"}}, "update_unknown", "update"},
		{client.DeployRequest{Package: "none", To: []string{"web"}}, "package_unknown", "package"},
		{client.DeployRequest{Update: "ledger@1.0", To: []string{"web"}, Reason: "a\x1b[2J"}, "reason_invalid", "reason"},
	} {
		_, err := o.decide.Deploy(t.Context(), o.admin, c.r)
		if f := fault.From(err); f == nil || f.Code != c.code || f.Field != c.field {
			t.Errorf("%+v: %v, want %s on %s", c.r, err, c.code, c.field)
		}
	}
}

func TestDeploy_NeedsAnApproverOfTheTarget(t *testing.T) {
	o, _ := stocked(t, nil)
	inWeb := auth.Actor{Name: "wes", Role: ledger.Approver, Scope: "web"}
	for _, c := range []struct {
		who auth.Actor
		to  string
		may bool
	}{{o.viewer, "web", false}, {o.viewer, "web1", false}, {inWeb, "web", true}, {inWeb, "web1", true}, {inWeb, "root", false}, {inWeb, "db1", false}} {
		_, err := o.decide.Deploy(t.Context(), c.who, client.DeployRequest{Update: "ledger@1.0", To: []string{c.to}})
		if (err == nil) != c.may {
			t.Errorf("%s to %s: %v", c.who.Name, c.to, err)
		}
	}
}

func TestUndeploy_TakesNothingAwayAndGivesNothingMore(t *testing.T) {
	o, u := stocked(t, nil)
	o.approve("ledger@1.0")
	act := o.deploy(client.DeployRequest{Update: "ledger@1.0", To: []string{"web"}}).Act.Act
	o.Has("web1", "ledger 1.0")
	o.Offered("web1")
	list, err := o.decide.Deployments(t.Context(), o.admin)
	if err != nil || list.Total != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	if r := list.Items[0]; r.Total != 2 || r.Done != 1 || r.Pending != 1 || r.Blocked+r.Waiting != 0 || r.Group != "web" || r.By != "ada" || r.Refused != nil {
		t.Errorf("%+v", r)
	}
	inWeb := auth.Actor{Name: "wes", Role: ledger.Approver, Scope: "web"}
	all := o.deploy(client.DeployRequest{Update: "ledger@1.0", To: []string{"root"}}).Act.Act
	if list, err := o.decide.Deployments(t.Context(), inWeb); err != nil || list.Total != 2 || list.Items[0].Total != 2 {
		t.Errorf("seen from the group: %+v, %v", list, err)
	}
	if _, err := o.decide.Undeploy(t.Context(), inWeb, all); !errors.Is(err, fault.Forbidden) {
		t.Errorf("an approver of a group ended what goes to all: %v", err)
	}
	o.publish(vended("ledger", "0.9", nil))
	o.Has("db1", "ledger 0.9")
	o.Offered("db1")
	if list, err := o.decide.Deployments(t.Context(), o.admin); err != nil || list.Items[0].Total != 3 || list.Items[0].Done != 2 || list.Items[0].Pending != 1 {
		t.Errorf("a device with another version does not lack the application: %+v, %v", list.Items[0], err)
	}
	if _, err := o.decide.Undeploy(t.Context(), o.admin, all); err != nil {
		t.Fatal(err)
	}
	outside := auth.Actor{Name: "out", Role: ledger.Approver, Scope: "other"}
	o.Group("other", fleet.Root)
	if list, err := o.decide.Deployments(t.Context(), outside); err != nil || list.Total != 0 {
		t.Errorf("seen from another group: %+v, %v", list, err)
	}
	_, err = o.decide.Undeploy(t.Context(), outside, act)
	wantCode(t, err, "deployment_unknown")
	if _, err := o.decide.Undeploy(t.Context(), o.viewer, act); !errors.Is(err, fault.Forbidden) {
		t.Errorf("a viewer ended it: %v", err)
	}
	if _, err := o.decide.Undeploy(t.Context(), o.admin, act); err != nil {
		t.Fatal(err)
	}
	if len(o.installs("web2")) != 0 || len(o.plan("web1").Remove) != 0 {
		t.Error("after its end it still orders something")
	}
	_, err = o.decide.Undeploy(t.Context(), o.admin, act)
	wantCode(t, err, "deployment_unknown")
	_ = u
}
