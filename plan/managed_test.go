package plan_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"assent/approval"
	"assent/catalog"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/plan"
	"assent/wire"
)

func managedRelease(name, version string) catalog.Release {
	return catalog.Release{Software: catalog.Software{Ecosystem: "deb", Namespace: catalog.FeedNamespace("acme"), Name: name}, Version: version}
}

// publish makes a release of the feed known, a managed one unless change says otherwise.
func (w *world) publish(name, version string, change func(*catalog.Update)) catalog.Release {
	r := managedRelease(name, version)
	u := catalog.Update{ID: r.ID(), Release: r, Class: catalog.Managed, Severity: catalog.Unrated,
		Items:     []catalog.Bound{{Item: item(name, version), Role: catalog.Own, Rev: 1}},
		Published: &catalog.Publication{Feed: "acme", Kind: catalog.Full, Format: catalog.Deb, Restart: catalog.RestartNone, Removal: catalog.Removal{Removable: true}}}
	if change != nil {
		change(&u)
	}
	w.updates[r.ID()] = u
	return r
}

// offered offers a published release to the device, which has version from; none: it lacks the application.
func (w *world) offered(r catalog.Release, from string) catalog.Release {
	w.offers = append(w.offers, wire.Offer{Namespace: r.Namespace, Name: r.Name, Version: r.Version, New: from == "", Fresh: from == "",
		Items: []wire.OfferItem{{Item: item(r.Name, r.Version), Installed: from}}})
	return r
}

// has puts a release onto the device.
func (w *world) has(r catalog.Release) catalog.Release {
	w.installed = append(w.installed, wire.Package{Name: r.Name, Arch: "amd64", Version: r.Version, Status: "ii", Source: r.Name, SourceVersion: r.Version, How: "assent"})
	return r
}

// before records what the device had before r.
func (w *world) before(r catalog.Release, from string, versions ...string) {
	for _, v := range versions {
		it := item(r.Name, v)
		w.restore = append(w.restore, wire.RestoreItem{Update: r.ID(), Name: r.Name, Arch: "amd64", Version: v, Current: r.Version, SHA256: it.SHA256, Size: it.Size, From: from, Release: v})
	}
}

func because(t *testing.T, v plan.Verdict, rule, words string) {
	t.Helper()
	if !slices.ContainsFunc(v.Reasons, func(s approval.Step) bool { return s.Rule == rule && strings.Contains(s.Text, words) }) {
		t.Errorf("%s %s: no reason %s with %q in %v", v.Release.Name, v.Release.Version, rule, words, v.Reasons)
	}
}

func TestA6_AnUpdateWaitsForItsServerAndGoesOnByItself(t *testing.T) {
	w := newWorld()
	r := w.offered(w.publish("ledger", "2.0", func(u *catalog.Update) { u.Published.MinServer = "1.5.0" }), "1.0")
	w.decide(r, fleet.Root, approval.Approved)
	v := verdict(t, w.compute(), r)
	want(t, v, plan.Hold, installation.ServerTooOld)
	because(t, v, "A6", "1.5.0")
	because(t, v, "A6", "1.4.0")
	w.server = "1.5.0+g123"
	want(t, verdict(t, w.compute(), r), plan.Install, "")
}

func TestA6_WhatCannotBeComparedHolds(t *testing.T) {
	for _, server := range []string{"dev", ""} {
		w := newWorld()
		w.server = server
		r := w.offered(w.publish("ledger", "2.0", func(u *catalog.Update) { u.Published.MinServer = "1.5.0" }), "1.0")
		w.decide(r, fleet.Root, approval.Approved)
		want(t, verdict(t, w.compute(), r), plan.Hold, installation.UnknownData)
	}
}

func TestA7_NothingInstallsBeforeItsAgreementIsAccepted(t *testing.T) {
	a := catalog.Agreement{ID: "eula", Title: "Licence", Texts: []catalog.AgreementText{{Language: "en", SHA256: strings.Repeat("b", 64), Size: 10}}}
	w := newWorld()
	r := w.offered(w.publish("ledger", "2.0", func(u *catalog.Update) { u.Published.Agreements = []catalog.Agreement{a} }), "1.0")
	w.decide(r, fleet.Root, approval.Approved)
	want(t, verdict(t, w.compute(), r), plan.Hold, installation.AgreementPending)
	w.accepted[a.Digest()] = true
	want(t, verdict(t, w.compute(), r), plan.Install, "")
	a.Texts[0].SHA256 = strings.Repeat("c", 64) // the text changed: asked again
	want(t, verdict(t, w.compute(), r), plan.Hold, installation.AgreementPending)
}

func TestA7_AgreementsOfPrerequisitesCount(t *testing.T) {
	a := catalog.Agreement{ID: "eula", Texts: []catalog.AgreementText{{Language: "en", SHA256: strings.Repeat("b", 64), Size: 10}}}
	agreed := func(u *catalog.Update) { u.Published.Agreements = []catalog.Agreement{a} }
	requires := func(u *catalog.Update) {
		u.Published.Requires = []catalog.Requirement{{Application: "runtime", Version: "3.0"}}
	}
	for name, have := range map[string]bool{"it is installed": true, "it comes along": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			r := w.offered(w.publish("ledger", "2.0", requires), "1.0")
			pre := w.publish("runtime", "3.0", agreed)
			if have {
				w.has(pre)
			} else {
				w.offered(pre, "2.0")
				w.decide(pre, fleet.Root, approval.Approved)
			}
			w.decide(r, fleet.Root, approval.Approved)
			want(t, verdict(t, w.compute(), r), plan.Hold, installation.AgreementPending)
			w.accepted[a.Digest()] = true
			want(t, verdict(t, w.compute(), r), plan.Install, "")
		})
	}
}

func TestA8_ARecalledReleaseIsInstalledNowhereAndStaysUntilItIsDeclined(t *testing.T) {
	recalled := func(u *catalog.Update) { u.Published.Revoked = &catalog.Revocation{At: now, Reason: "eats data"} }
	w := newWorld()
	offered := w.offered(w.publish("ledger", "2.0", recalled), "1.0")
	w.decide(offered, fleet.Root, approval.Approved)
	v := verdict(t, w.compute(), offered)
	want(t, v, plan.Hold, installation.Revoked)
	because(t, v, "A8", "eats data")

	w = newWorld()
	installed := w.has(w.publish("ledger", "2.0", recalled))
	w.publish("ledger", "1.0", nil)
	w.before(installed, "repository", "1.0")
	v = verdict(t, w.compute(), installed)
	want(t, v, plan.None, installation.Revoked)
	because(t, v, "A8", "decline it")
	w.decide(installed, fleet.Root, approval.Declined)
	want(t, verdict(t, w.compute(), installed), plan.Remove, "")
}

func TestC1_ADeclinedApplicationGoesBackToItsNewestVersionThatIsNotDeclined(t *testing.T) {
	w := newWorld()
	for _, v := range []string{"1.0", "1.1"} {
		w.publish("ledger", v, nil)
	}
	r := w.has(w.publish("ledger", "2.0", nil))
	w.before(r, "repository", "1.1", "1.0")
	d := w.decide(r, fleet.Root, approval.Declined)
	res := w.compute()
	want(t, verdict(t, res, r), plan.Remove, "")
	if len(res.Plan.Rollback) != 1 || res.Plan.Rollback[0].Items[0].Version != "1.1" || res.Plan.Rollback[0].Act != d.Act {
		t.Fatalf("%+v", res.Plan.Rollback)
	}
	w.decide(managedRelease("ledger", "1.1"), fleet.Root, approval.Declined)
	if back := w.compute().Plan.Rollback; len(back) != 1 || back[0].Items[0].Version != "1.0" {
		t.Fatalf("%+v", back)
	}
}

func TestC1_ADeclinedApplicationThatHadNoVersionBeforeIsRemoved(t *testing.T) {
	w := newWorld()
	r := w.has(w.publish("ledger", "2.0", nil))
	w.decide(r, fleet.Root, approval.Declined)
	res := w.compute()
	want(t, verdict(t, res, r), plan.Remove, "")
	if len(res.Plan.Rollback) != 0 || len(res.Plan.Remove) != 1 || res.Plan.Remove[0].Items[0].Key() != "ledger:amd64=2.0" {
		t.Fatalf("%+v %+v", res.Plan.Rollback, res.Plan.Remove)
	}
	w.publish("ledger", "1.0", nil)
	w.before(r, "", "1.0") // there was one, but its file is gone: better the declined one than none, until somebody decides
	res = w.compute()
	want(t, verdict(t, res, r), plan.Hold, installation.ContentUnavailable)
	if len(res.Plan.Remove) != 0 {
		t.Fatalf("%+v", res.Plan.Remove)
	}
}

func TestC1_ADeclinedApplicationNeverComesToADeviceThatLacksIt(t *testing.T) {
	w := newWorld()
	r := w.offered(w.publish("ledger", "2.0", nil), "")
	w.deploys = []ledger.Deploy{{Act: 9, By: "ada", UpdateDeploy: ledger.UpdateDeploy{Update: r.ID(), Release: r, Scope: fleet.Root}}}
	w.decide(r, fleet.Root, approval.Approved)
	want(t, verdict(t, w.compute(), r), plan.Install, "")
	w.decisions[0].Status = approval.Declined
	v := verdict(t, w.compute(), r)
	want(t, v, plan.None, installation.Declined)
	because(t, v, "C1", "stays out")
}

func TestC1_AnApplicationIsPutOnDevicesThatLackItOnlyByADeployment(t *testing.T) {
	w := newWorld()
	r := w.offered(w.publish("ledger", "2.0", nil), "")
	w.decide(r, fleet.Root, approval.Approved)
	want(t, verdict(t, w.compute(), r), plan.None, "")
	w.deploys = []ledger.Deploy{{Act: 9, By: "ada", UpdateDeploy: ledger.UpdateDeploy{Update: r.ID(), Release: r, Scope: fleet.Root}}}
	want(t, verdict(t, w.compute(), r), plan.Install, "")
	w.decisions = nil
	want(t, verdict(t, w.compute(), r), plan.None, "") // a deployment is no approval
}

func TestC2_WhatCannotBeUninstalledStaysAndSaysSo(t *testing.T) {
	w := newWorld()
	r := w.has(w.publish("driver", "2.0", func(u *catalog.Update) { u.Published.Removal = catalog.Removal{Reason: "firmware"} }))
	w.decide(r, fleet.Root, approval.Declined)
	res := w.compute()
	v := verdict(t, res, r)
	want(t, v, plan.None, installation.NotRemovable)
	because(t, v, "C2", "cannot be uninstalled (firmware)")
	if len(res.Plan.Remove)+len(res.Plan.Rollback) != 0 || len(res.Plan.Deny) != 1 {
		t.Fatalf("%+v", res.Plan)
	}
}

func TestC5_AComponentIsBlockedButNeverUninstalled(t *testing.T) {
	component := func(u *catalog.Update) { u.Class = catalog.Component }
	w := newWorld()
	r := w.has(w.publish("assent-agent", "2.0", component))
	next := w.offered(w.publish("assent-agent", "3.0", component), "2.0")
	want(t, verdict(t, w.compute(), next), plan.None, "") // undefined: no task admits it
	w.decide(r, fleet.Root, approval.Declined)
	w.decide(next, fleet.Root, approval.Declined)
	res := w.compute()
	because(t, verdict(t, res, r), "C5", "never uninstalled")
	want(t, verdict(t, res, next), plan.None, installation.Declined)
	if len(res.Plan.Remove)+len(res.Plan.Rollback)+len(res.Plan.Install) != 0 {
		t.Fatalf("%+v", res.Plan)
	}
}

func TestC6_ContentGoesToTestDevicesFirstAndToAllWithoutApproval(t *testing.T) {
	w := newWorld()
	content := func(u *catalog.Update) { u.Class = catalog.Content }
	good := w.offered(w.publish("signatures", "1.1", content), "1.0")
	r := w.offered(w.publish("signatures", "1.2", content), "1.0")
	w.contents[good.ID()] = ledger.Content{Act: 3, ContentVerify: ledger.ContentVerify{Passed: true}}
	want(t, verdict(t, w.compute(), r), plan.Hold, installation.NotReleased)
	want(t, verdict(t, w.compute(), good), plan.Install, "") // the last good set is served meanwhile

	w.test = true
	want(t, verdict(t, w.compute(), r), plan.Install, "")

	w.contents[r.ID()] = ledger.Content{Act: 4, ContentVerify: ledger.ContentVerify{Passed: false, Reason: "its probe failed"}}
	for _, test := range []bool{true, false} {
		w.test = test
		want(t, verdict(t, w.compute(), r), plan.None, installation.NotReleased)
		want(t, verdict(t, w.compute(), good), plan.Install, "")
	}
	w.contents[r.ID()] = ledger.Content{Act: 4, ContentVerify: ledger.ContentVerify{Passed: true}}
	want(t, verdict(t, w.compute(), r), plan.Install, "")
	w.decide(r, fleet.Root, approval.Declined)
	want(t, verdict(t, w.compute(), r), plan.None, installation.Declined)
}

func TestC6_ARefusedSetIsTakenBackFromTheTestDeviceThatTriedIt(t *testing.T) {
	w := newWorld()
	content := func(u *catalog.Update) { u.Class = catalog.Content }
	w.publish("signatures", "1.1", content)
	bad := w.has(w.publish("signatures", "1.2", content))
	w.before(bad, "cache", "1.1")
	w.test = true
	w.contents[bad.ID()] = ledger.Content{Act: 4, ContentVerify: ledger.ContentVerify{Reason: "its probe failed"}}
	res := w.compute()
	want(t, verdict(t, res, bad), plan.Remove, "")
	if len(res.Plan.Rollback) != 1 || res.Plan.Rollback[0].Act != 4 || res.Plan.Rollback[0].Items[0].Version != "1.1" {
		t.Errorf("%+v", res.Plan.Rollback)
	}
}

func TestT3_PrerequisitesComeAlongOrAreNamed(t *testing.T) {
	requires := func(u *catalog.Update) {
		u.Published.Requires = []catalog.Requirement{{Application: "runtime", Version: "3.0"}}
	}
	w := newWorld()
	r := w.offered(w.publish("ledger", "2.0", requires), "1.0")
	pre := w.offered(w.publish("runtime", "3.1", nil), "")
	w.decide(r, fleet.Root, approval.Approved)
	v := verdict(t, w.compute(), r)
	want(t, v, plan.Hold, installation.UnapprovedDependency)
	if !slices.Equal(v.Needs, []catalog.Release{pre}) {
		t.Errorf("needs %v", v.Needs)
	}
	w.decide(pre, fleet.Root, approval.Approved)
	res := w.compute()
	want(t, verdict(t, res, r), plan.Install, "")
	want(t, verdict(t, res, pre), plan.Install, "") // called in, though nobody deployed it
	in := slices.IndexFunc(res.Plan.Install, func(p wire.PlanInstall) bool { return p.Release == r })
	if it := res.Plan.Install[in]; !slices.Contains(it.Closure, string(pre.ID())) || !slices.Equal(it.After, []string{string(pre.ID())}) {
		t.Errorf("%+v", it)
	}
	w.decide(pre, "test", approval.Declined)
	res = w.compute()
	want(t, verdict(t, res, r), plan.Hold, installation.DeclinedDependency)
	if len(res.Plan.Install) != 0 {
		t.Errorf("%+v", res.Plan.Install)
	}
}

func TestT3_APrerequisiteThatIsCalledInTakesThePlaceOfAnOlderOneOnItsWay(t *testing.T) {
	w := newWorld()
	r := w.offered(w.publish("ledger", "2.0", func(u *catalog.Update) {
		u.Published.Requires = []catalog.Requirement{{Application: "runtime", Version: "3.1"}}
	}), "1.0")
	older := w.offered(w.publish("runtime", "3.0", nil), "")
	newer := w.offered(w.publish("runtime", "3.1", nil), "")
	for _, u := range []catalog.Release{r, older, newer} {
		w.decide(u, fleet.Root, approval.Approved)
	}
	w.deploys = []ledger.Deploy{{Act: 9, By: "ada", UpdateDeploy: ledger.UpdateDeploy{Update: older.ID(), Release: older, Scope: fleet.Root}}}
	res := w.compute()
	want(t, verdict(t, res, r), plan.Install, "")
	want(t, verdict(t, res, newer), plan.Install, "")
	want(t, verdict(t, res, older), plan.None, "")
}

func TestT3_PrerequisitesInACircleHold(t *testing.T) {
	needs := func(app string) func(*catalog.Update) {
		return func(u *catalog.Update) {
			u.Published.Requires = []catalog.Requirement{{Application: app, Version: "1.0"}}
		}
	}
	w := newWorld()
	a := w.offered(w.publish("aa", "2.0", needs("bb")), "")
	b := w.offered(w.publish("bb", "2.0", needs("aa")), "")
	w.decide(a, fleet.Root, approval.Approved)
	w.decide(b, fleet.Root, approval.Approved)
	w.deploys = []ledger.Deploy{{Act: 9, UpdateDeploy: ledger.UpdateDeploy{Update: a.ID(), Release: a, Scope: fleet.Root}}}
	res := w.compute()
	if len(res.Plan.Install) != 0 {
		t.Errorf("%+v", res.Plan.Install)
	}
}

func TestPlan_WhatThePublisherSaysAndNobodyCanReadHolds(t *testing.T) {
	w := newWorld()
	r := w.offered(w.publish("ledger", "2.0", func(u *catalog.Update) { u.Published.Unknown = []string{`payload format "msi"`} }), "1.0")
	w.decide(r, fleet.Root, approval.Approved)
	want(t, verdict(t, w.compute(), r), plan.Hold, installation.UnknownData)
	w = newWorld()
	r = w.offered(w.publish("ledger", "2.0", func(u *catalog.Update) { u.Published = nil }), "1.0") // the server does not follow the feed
	w.decide(r, fleet.Root, approval.Approved)
	want(t, verdict(t, w.compute(), r), plan.Hold, installation.UnknownData)
}

func TestPlan_ReleasesSayWhatTheyInstallOver(t *testing.T) {
	w := newWorld()
	r := w.offered(w.publish("ledger", "2.0", func(u *catalog.Update) { u.Published.AppliesTo = []string{">=1.5"} }), "1.0")
	w.has(managedRelease("ledger", "1.0"))
	w.decide(r, fleet.Root, approval.Approved)
	want(t, verdict(t, w.compute(), r), plan.None, "")
	w.installed[0].SourceVersion = "1.6"
	want(t, verdict(t, w.compute(), r), plan.Install, "")
}

func TestA5_WhatAPublisherSaysSupersedesAnotherReleaseTakesItsPlaceWhateverTheirVersions(t *testing.T) {
	replaces := func(versions ...string) func(*catalog.Update) {
		return func(u *catalog.Update) { u.Published.Supersedes = versions }
	}
	w := newWorld()
	w.has(managedRelease("ledger", "1.0"))
	withdrawn := w.offered(w.publish("ledger", "3.0", nil), "1.0")
	fixed := w.offered(w.publish("ledger", "2.9", replaces("3.0")), "1.0")
	for _, r := range []catalog.Release{withdrawn, fixed} {
		w.decide(r, fleet.Root, approval.Approved)
	}
	res := w.compute()
	want(t, verdict(t, res, fixed), plan.Install, "")
	v := verdict(t, res, withdrawn)
	want(t, v, plan.None, "")
	because(t, v, "A5", "its publisher says that it replaces this one")

	// Still newer ones come before both; and a release that was recalled takes nobody's place.
	next := w.offered(w.publish("ledger", "3.1", nil), "1.0")
	w.decide(next, fleet.Root, approval.Approved)
	want(t, verdict(t, w.compute(), next), plan.Install, "")
	for _, r := range []catalog.Release{next, fixed} {
		u := w.updates[r.ID()]
		u.Published.Revoked = &catalog.Revocation{At: now, Reason: "eats files"}
	}
	want(t, verdict(t, w.compute(), withdrawn), plan.Install, "")

	// Publishers who name each other in a circle: the newest.
	w = newWorld()
	w.has(managedRelease("ledger", "1.0"))
	a := w.offered(w.publish("ledger", "2.0", replaces("4.0")), "1.0")
	b := w.offered(w.publish("ledger", "3.0", nil), "1.0")
	c := w.offered(w.publish("ledger", "4.0", nil), "1.0")
	for _, r := range []catalog.Release{a, b, c} {
		w.decide(r, fleet.Root, approval.Approved)
	}
	want(t, verdict(t, w.compute(), c), plan.Install, "")
}

func TestT3_APatchNeedsAFullVersionThatIsThere(t *testing.T) {
	w := newWorld()
	patch := w.offered(w.publish("base", "2.1", func(u *catalog.Update) { u.Published.Kind = catalog.Patch }), "")
	app := w.offered(w.publish("ledger", "2.0", func(u *catalog.Update) {
		u.Published.Requires = []catalog.Requirement{{Application: "base", Version: "2.1"}}
	}), "1.0")
	w.has(managedRelease("ledger", "1.0"))
	w.decide(patch, fleet.Root, approval.Approved)
	w.decide(app, fleet.Root, approval.Approved)
	res := w.compute()
	want(t, verdict(t, res, patch), plan.None, "") // it is not called in to where it has nothing to mend
	want(t, verdict(t, res, app), plan.Hold, installation.Unresolvable)

	w.offers[0].New, w.offers[0].Fresh, w.offers[0].Items[0].Installed = false, false, "2.0"
	w.has(managedRelease("base", "2.0"))
	res = w.compute()
	want(t, verdict(t, res, patch), plan.Install, "")
	want(t, verdict(t, res, app), plan.Install, "")
}

// drawManaged makes a small world of applications with gates, agreements, recalls, prerequisites, deployments and any
// decisions.
func drawManaged(t *rapid.T) *world {
	w := newWorld()
	agreement := catalog.Agreement{ID: "eula", Texts: []catalog.AgreementText{{Language: "en", SHA256: strings.Repeat("b", 64), Size: 1}}}
	w.accepted[agreement.Digest()] = rapid.Bool().Draw(t, "accepted")
	w.test = rapid.Bool().Draw(t, "test")
	names := []string{"aa", "bb", "cc"}
	for _, name := range names {
		has := rapid.SampledFrom([]string{"", "1.0", "1.1"}).Draw(t, "has")
		class := rapid.SampledFrom([]catalog.Class{catalog.Managed, catalog.Managed, catalog.Component, catalog.Content}).Draw(t, "class")
		for _, version := range []string{"1.0", "1.1", "1.2"} {
			r := w.publish(name, version, func(u *catalog.Update) {
				u.Class = class
				p := u.Published
				p.Removal.Removable = rapid.Bool().Draw(t, "removable")
				if rapid.IntRange(0, 4).Draw(t, "gate") == 0 {
					p.MinServer = "9.0"
				}
				if rapid.IntRange(0, 3).Draw(t, "agreement") == 0 {
					p.Agreements = []catalog.Agreement{agreement}
				}
				if rapid.IntRange(0, 4).Draw(t, "revoked") == 0 {
					p.Revoked = &catalog.Revocation{At: now}
				}
				if rapid.IntRange(0, 3).Draw(t, "supersedes") == 0 {
					p.Supersedes = []string{rapid.SampledFrom([]string{"1.0", "1.1", "1.2"}).Draw(t, "superseded")}
				}
				p.Kind = rapid.SampledFrom([]catalog.ReleaseKind{catalog.Full, catalog.Full, catalog.Patch}).Draw(t, "kind")
				if rapid.IntRange(0, 3).Draw(t, "requires") == 0 {
					p.Requires = []catalog.Requirement{{Application: rapid.SampledFrom(names).Draw(t, "pre"), Version: rapid.SampledFrom([]string{"1.0", "1.2"}).Draw(t, "at least")}}
				}
			})
			switch {
			case has == version:
				w.has(r)
			case has < version:
				w.offered(r, has)
			}
			if rapid.IntRange(0, 2).Draw(t, "decided") == 0 {
				w.decide(r, rapid.SampledFrom([]fleet.GroupID{"test", fleet.Root, "other"}).Draw(t, "scope"), rapid.SampledFrom([]approval.Status{approval.Approved, approval.Declined}).Draw(t, "status"))
			}
			if rapid.IntRange(0, 2).Draw(t, "deployed") == 0 {
				w.deploys = append(w.deploys, ledger.Deploy{Act: 7, By: "ada", UpdateDeploy: ledger.UpdateDeploy{Update: r.ID(), Release: r, Scope: fleet.Root}})
			}
			if rapid.IntRange(0, 2).Draw(t, "verified") == 0 {
				w.contents[r.ID()] = ledger.Content{Act: 8, ContentVerify: ledger.ContentVerify{Passed: rapid.Bool().Draw(t, "passed")}}
			}
		}
		if has == "1.1" && rapid.Bool().Draw(t, "had one before") {
			w.before(managedRelease(name, has), rapid.SampledFrom([]string{"", "cache", "repository"}).Draw(t, "from"), "1.0")
		}
	}
	return w
}

func TestPromise2_NoGateAgreementRecallOrDeclineIsPassedByAnInstall(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawManaged(t)
		res := w.compute()
		for _, in := range res.Plan.Install {
			u := w.updates[in.Update]
			p := u.Published
			declined, approved := declinedHere(w, in.Release), approvedHere(w, in.Release)
			switch {
			case declined:
				t.Fatalf("%s is declined and in the plan", in.Release.PURL())
			case u.Class != catalog.Content && !approved:
				t.Fatalf("%s is not approved and in the plan", in.Release.PURL())
			case u.Class == catalog.Content && !w.test && !w.contents[in.Update].Passed:
				t.Fatalf("%s is not verified and in the plan", in.Release.PURL())
			case p.MinServer != "" || p.Revoked != nil:
				t.Fatalf("%s is gated or recalled and in the plan", in.Release.PURL())
			case len(p.Agreements) > 0 && !w.accepted[p.Agreements[0].Digest()]:
				t.Fatalf("%s has an open agreement and is in the plan", in.Release.PURL())
			}
			for _, req := range p.Requires {
				met := slices.ContainsFunc(w.installed, func(i wire.Package) bool { return i.Source == req.Application && i.SourceVersion >= req.Version }) ||
					slices.ContainsFunc(res.Plan.Install, func(o wire.PlanInstall) bool {
						return o.Release.Name == req.Application && o.Release.Version >= req.Version && slices.Contains(in.Closure, string(o.Update))
					})
				if !met {
					t.Fatalf("%s is in the plan without its prerequisite %+v", in.Release.PURL(), req)
				}
			}
		}
	})
}

func TestPlan_AtMostOneReleaseOfAnApplicationIsInstalled(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seen := map[string]string{}
		for _, in := range drawManaged(t).compute().Plan.Install {
			if other := seen[in.Release.Name]; other != "" {
				t.Fatalf("%s %s and %s", in.Release.Name, other, in.Release.Version)
			}
			seen[in.Release.Name] = in.Release.Version
		}
	})
}

func TestC1_OnlyDeclinedRemovableApplicationsAreEverTakenOff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawManaged(t)
		res := w.compute()
		check := func(id catalog.UpdateID) {
			u := w.updates[id]
			answer, known := w.contents[id]
			if u.Class == catalog.Content && known && !answer.Passed {
				return // refused by the test devices
			}
			if !u.Removable() || !declinedHere(w, u.Release) {
				t.Fatalf("%s is taken off: removable %v, declined %v", u.PURL(), u.Removable(), declinedHere(w, u.Release))
			}
		}
		for _, r := range res.Plan.Remove {
			check(r.Update)
		}
		for _, r := range res.Plan.Rollback {
			check(r.Update)
			if declinedHere(w, managedRelease(r.Items[0].Name, r.Items[0].Release)) {
				t.Fatalf("%s goes back to %s, which is declined", r.Update, r.Items[0].Release)
			}
		}
	})
}

func TestPlan_ManagedSameInputSamePlanWithinADay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawManaged(t)
		_, a, _ := wire.Encode(w.compute().Plan)
		_, b, _ := wire.Encode(w.compute().Plan)
		if a != b {
			t.Fatal("two computations of the same input differ")
		}
	})
}
