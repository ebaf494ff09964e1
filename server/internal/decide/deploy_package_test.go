package decide_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index/indextest"
)

func (o *office) pack(r client.PackageRequest) client.PackageRow {
	o.T.Helper()
	row, err := o.decide.CreatePackage(o.T.Context(), o.admin, r)
	if err != nil {
		o.T.Fatalf("make a package of %+v: %v", r, err)
	}
	return row
}

func TestA6_AnUpdateThatMayNotComeInYieldsNoInstallationPackage(t *testing.T) {
	for code, change := range map[string]func(*catalog.Update){
		"server_too_old": func(u *catalog.Update) { u.Published.MinServer = "9.0.0" },
		"revoked":        func(u *catalog.Update) { u.Published.Revoked = &catalog.Revocation{Reason: "loses data"} },
		"unreadable":     func(u *catalog.Update) { u.Published.Unknown = []string{"payload format \"zip\""} },
		"not_full":       func(u *catalog.Update) { u.Published.Kind = catalog.Patch },
		"not_managed":    func(u *catalog.Update) { u.Namespace, u.Published = "acme", nil; u.ID = u.Release.ID() },
	} {
		t.Run(code, func(t *testing.T) {
			o, u := stockedAt(t, "1.4.0", change)
			before := o.seq()
			_, err := o.decide.CreatePackage(t.Context(), o.admin, client.PackageRequest{Update: string(u.ID)})
			wantCode(t, err, code)
			if code == "server_too_old" {
				wantCode(t, err, code, "9.0.0", "1.4.0")
			}
			if o.seq() != before {
				t.Error("it wrote something")
			}
		})
	}
}

func TestA6_AfterTheServersUpgradeThePackageCanBeMadeWithNoFurtherAct(t *testing.T) {
	o, u := stockedAt(t, "1.4.0", func(u *catalog.Update) { u.Published.MinServer = "1.5.0" })
	_, err := o.decide.CreatePackage(t.Context(), o.admin, client.PackageRequest{Update: string(u.ID)})
	wantCode(t, err, "server_too_old")
	o.upgrade("1.5.0+g123")
	o.pack(client.PackageRequest{Update: string(u.ID)})
}

func TestPackage_WhatItWasMadeFromIsWithheldOnceItIsDeclinedOrRecalled(t *testing.T) {
	o, u := stocked(t, nil)
	row := o.pack(client.PackageRequest{Update: "ledger@1.0"})
	if row.Name != "Acme ledger 1.0" || row.Refused != nil || row.By != "ada" || len(row.Builds) != 1 || row.Builds[0].File != "ledger_1.0_amd64.deb" || row.Builds[0].Arch != "amd64" {
		t.Errorf("%+v", row)
	}
	if diff := cmp.Diff([]client.PackageFile{{Update: row.Update, Item: u.Items[0].Item}}, row.Builds[0].Files); diff != "" {
		t.Error(diff)
	}
	refused := func(code string) {
		t.Helper()
		got, err := o.decide.Package(t.Context(), o.admin, "ACME LEDGER 1.0")
		if err != nil || got.Refused == nil || got.Refused.Code != code {
			t.Fatalf("%+v, %v; want %s", got.Refused, err, code)
		}
		_, err = o.decide.Deploy(t.Context(), o.admin, client.DeployRequest{Package: row.ID, To: []string{"web"}})
		wantCode(t, err, code)
	}
	o.act(client.Decide{Updates: []string{"ledger@1.0"}, Status: approval.Declined, Reason: "too dear"})
	refused("declined")
	_, err := o.decide.CreatePackage(t.Context(), o.admin, client.PackageRequest{Update: "ledger@1.0", Name: "again"})
	wantCode(t, err, "declined", "too dear")
	o.act(client.Decide{Updates: []string{"ledger@1.0"}, Status: approval.Undefined})
	if got, err := o.decide.Package(t.Context(), o.admin, row.ID); err != nil || got.Refused != nil {
		t.Fatalf("the decline is gone: %+v, %v", got.Refused, err)
	}
	recalled := *u.Published
	recalled.Revoked = &catalog.Revocation{Reason: "loses data"}
	u.Published = &recalled
	o.publish(u)
	refused("revoked")
}

func TestPackage_PrerequisitesComeAlongAndCount(t *testing.T) {
	o, u := stocked(t, func(u *catalog.Update) {
		u.Published.Requires = []catalog.Requirement{{Application: "runtime", Version: "3.0"}}
	})
	row := o.pack(client.PackageRequest{Update: string(u.ID), Name: "Ledger"})
	if row.Refused == nil || row.Refused.Code != "prerequisite_missing" {
		t.Fatalf("without its prerequisite: %+v", row.Refused)
	}
	agreed := vended("runtime", "3.1", func(r *catalog.Update) {
		r.Items[0].Arch = "all"
		r.Published.Agreements = []catalog.Agreement{eula}
	})
	o.publish(agreed)
	show := func() client.PackageRow {
		row, err := o.decide.Package(t.Context(), o.admin, "ledger")
		if err != nil {
			t.Fatal(err)
		}
		return row
	}
	if row = show(); row.Refused == nil || row.Refused.Code != "agreements_pending" {
		t.Fatalf("its prerequisite has an agreement: %+v", row.Refused)
	}
	o.Act("ada", ledger.AgreementAccept{Update: agreed.ID, Accepts: []ledger.Accepted{{ID: "eula", Digest: eula.Digest()}}})
	row = show()
	var names []string
	for _, f := range row.Builds[0].Files {
		names = append(names, f.Name+" "+f.Version)
	}
	if row.Refused != nil || !slices.Equal(names, []string{"runtime 3.1", "ledger 1.0"}) || row.Builds[0].File != "ledger-1.0-amd64.sh" || row.Builds[0].Size != 2000 {
		t.Errorf("%+v", row)
	}
	o.act(client.Decide{Updates: []string{"runtime@3.1"}, Status: approval.Declined})
	if row = show(); row.Refused == nil || row.Refused.Code != "declined" || !strings.Contains(row.Refused.Message, "runtime 3.1") {
		t.Errorf("its prerequisite is declined: %+v", row.Refused)
	}
}

func TestC6_ContentIsHandedOutOnlyAfterTheTestDevicesVerifiedIt(t *testing.T) {
	for _, passed := range []bool{true, false} {
		o, u := stocked(t, func(u *catalog.Update) { u.Class, u.Published.Kind = catalog.Content, catalog.Data })
		if row := o.pack(client.PackageRequest{Update: "ledger@1.0"}); row.Refused == nil || row.Refused.Code != "not_released" {
			t.Fatalf("staged: %+v", row.Refused)
		}
		o.Act("server", ledger.ContentVerify{Update: u.ID, Release: u.Release, Passed: passed, Devices: []fleet.DeviceID{"web1"}})
		row, err := o.decide.Package(t.Context(), o.admin, "acme ledger 1.0")
		if err != nil || (row.Refused == nil) != passed {
			t.Errorf("passed %v: %+v, %v", passed, row.Refused, err)
		}
	}
}

// agentApp makes a release the agent's own.
func agentApp(u *catalog.Update) {
	u.Class, u.Name = catalog.Component, "assent-agent"
	u.ID, u.Items[0].Item = u.Release.ID(), indextest.Item("assent-agent", "1.0")
}

func TestPackage_TheAgentsEnrolsIntoItsGroupAndIsAnAdministratorsToHandOut(t *testing.T) {
	o, u := stocked(t, agentApp)
	row := o.pack(client.PackageRequest{Update: string(u.ID), Group: "web"})
	if !row.Enrols || row.GroupID != "web" || row.Builds[0].File != "assent-agent-1.0-amd64.sh" {
		t.Fatalf("%+v", row)
	}
	anywhere := o.pack(client.PackageRequest{Update: string(u.ID), Name: "anywhere"})
	_, err := o.decide.CreatePackage(t.Context(), o.admin, client.PackageRequest{Update: string(u.ID), Name: "x", Group: "nowhere"})
	if f := fault.From(err); f == nil || f.Code != "group_unknown" || f.Field != "group_on_install" {
		t.Errorf("an unknown group: %v", err)
	}
	for _, c := range []struct {
		role         ledger.Role
		scope        fleet.GroupID
		web, allOver bool
	}{{ledger.Administrator, fleet.Root, true, true}, {ledger.Administrator, "web", true, false}, {ledger.Approver, fleet.Root, false, false}} {
		who := auth.Actor{Name: "x", Role: c.role, Scope: c.scope}
		for row, may := range map[*client.PackageRow]bool{&row: c.web, &anywhere: c.allOver} {
			if err := o.decide.MayHandOut(t.Context(), who, *row); (err == nil) != may {
				t.Errorf("%s of %s and the package for %q: %v", c.role, c.scope, row.GroupID, err)
			}
		}
	}
	o.act(client.Decide{Updates: []string{string(u.ID)}, Status: approval.Declined, Scope: "web"})
	if row, err := o.decide.Package(t.Context(), o.admin, row.ID); err != nil || row.Refused == nil || row.Refused.Code != "declined" {
		t.Errorf("declined in its group: %+v, %v", row.Refused, err)
	}
	_, err = o.decide.CreatePackage(t.Context(), o.admin, client.PackageRequest{Update: string(u.ID), Name: "y", Group: "web"})
	wantCode(t, err, "declined")
	o.Group("other", fleet.Root)
	outside := auth.Actor{Name: "out", Role: ledger.Administrator, Scope: "other"}
	if _, err := o.decide.Package(t.Context(), outside, row.ID); !errors.Is(err, fault.NotFound) {
		t.Errorf("from another group it is there: %v", err)
	}
	if list, err := o.decide.Packages(t.Context(), outside); err != nil || list.Total != 1 || list.Items[0].Name != "anywhere" {
		t.Errorf("from another group: %+v, %v", list, err)
	}
}

func TestPackage_TheAgentThatLiesOnTheServerIsNoUpdateToDeploy(t *testing.T) {
	o, _ := stocked(t, nil)
	r := catalog.Release{Software: catalog.Software{Ecosystem: "deb", Namespace: "assent", Name: "assent-agent"}, Version: "1.0"}
	row, err := o.decide.CreateAgentPackage(t.Context(), o.admin, client.PackageRequest{Agent: true, Group: "web"}, r)
	if err != nil || row.Name != "Agent 1.0" || row.GroupID != "web" {
		t.Fatalf("%+v, %v", row, err)
	}
	_, err = o.decide.Deploy(t.Context(), o.admin, client.DeployRequest{Package: row.ID, To: []string{"web"}})
	wantCode(t, err, "not_managed", "Download it")
}

func TestPackage_BadInputIsRefusedAndNamesTheField(t *testing.T) {
	o, _ := stocked(t, nil)
	o.pack(client.PackageRequest{Update: "ledger@1.0", Name: "Taken"})
	for _, c := range []struct {
		r           client.PackageRequest
		code, field string
	}{
		{client.PackageRequest{}, "package_what", "update"},
		{client.PackageRequest{Update: "ledger@9"}, "update_unknown", "update"},
		{client.PackageRequest{Update: "ledger@1.0", Name: strings.Repeat("ä", 101)}, "name_too_long", "name"},
		{client.PackageRequest{Update: "ledger@1.0", Name: "a\x07b"}, "name_invalid", "name"},
		{client.PackageRequest{Update: "ledger@1.0", Name: "a\u202eb"}, "name_invalid", "name"},
		{client.PackageRequest{Update: "ledger@1.0", Name: " a"}, "name_invalid", "name"},
		{client.PackageRequest{Update: "ledger@1.0", Name: "a/b"}, "name_invalid", "name"},
		{client.PackageRequest{Update: "ledger@1.0", Name: "TAKEN"}, "package_exists", "name"},
		{client.PackageRequest{Update: "ledger@1.0", Group: "web"}, "group_useless", "group_on_install"},
	} {
		_, err := o.decide.CreatePackage(t.Context(), o.admin, c.r)
		if f := fault.From(err); f == nil || f.Code != c.code || f.Field != c.field {
			t.Errorf("%+v: %v, want %s on %s", c.r, err, c.code, c.field)
		}
	}
	o.pack(client.PackageRequest{Update: "ledger@1.0", Name: strings.Repeat("ä", 100)})
}

func TestPackage_DeletingItTwiceIsRefusedAndTouchesNothingElse(t *testing.T) {
	o, _ := stocked(t, nil)
	o.approve("ledger@1.0")
	row := o.pack(client.PackageRequest{Update: "ledger@1.0", Name: "Ledger"})
	o.deploy(client.DeployRequest{Package: "ledger", To: []string{"web"}})
	for _, who := range []auth.Actor{o.viewer, {Name: "wes", Role: ledger.Approver, Scope: "web"}} {
		if _, err := o.decide.DeletePackage(t.Context(), who, row.ID); !errors.Is(err, fault.Forbidden) {
			t.Errorf("%s deleted it: %v", who.Name, err)
		}
		if _, err := o.decide.CreatePackage(t.Context(), who, client.PackageRequest{Update: "ledger@1.0", Name: "x"}); !errors.Is(err, fault.Forbidden) {
			t.Errorf("%s made one: %v", who.Name, err)
		}
	}
	if _, err := o.decide.DeletePackage(t.Context(), o.admin, "LEDGER"); err != nil {
		t.Fatal(err)
	}
	_, err := o.decide.DeletePackage(t.Context(), o.admin, "Ledger")
	wantCode(t, err, "package_unknown")
	if len(o.installs("web1")) != 1 {
		t.Error("the deployment ended with its package")
	}
	if list, err := o.decide.Deployments(t.Context(), o.admin); err != nil || list.Total != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestPackage_OnePlatformOneBuild(t *testing.T) {
	o, u := stocked(t, func(u *catalog.Update) {
		u.Ecosystem, u.Published.Format = catalog.Generic, catalog.Tar
		u.ID, u.Items = u.Release.ID(), nil
		for _, arch := range []string{"debian-12-amd64", "arm64"} {
			it := indextest.Item("ledger", "1.0")
			it.Arch, it.Format, it.SHA256 = arch, catalog.Tar, indextest.Digest(arch)
			u.Items = append(u.Items, catalog.Bound{Item: it, Role: catalog.Own, Rev: 1})
		}
	})
	row := o.pack(client.PackageRequest{Update: string(u.ID)})
	var got []string
	for _, b := range row.Builds {
		got = append(got, b.Arch+": "+b.File)
	}
	if diff := cmp.Diff([]string{"arm64: ledger-1.0-arm64.sh", "debian-12-amd64: ledger-1.0-debian-12-amd64.sh"}, got); diff != "" {
		t.Error(diff)
	}
}
