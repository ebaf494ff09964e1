package index_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"assent/approval"
	"assent/catalog"
	"assent/fault"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/server/internal/index"
	"assent/server/internal/index/indextest"
	"assent/server/internal/store"
	"assent/wire"
)

func world(t testing.TB) *indextest.World {
	w := indextest.New(t)
	w.Device("d1", fleet.Root)
	return w
}

// update reads one update.
func update(w *indextest.World, id catalog.UpdateID) (u catalog.Update, ok bool) {
	w.Index.View(func(v *index.View) {
		var got index.Update
		if got, ok = v.Update(id); ok {
			u = *got.Update
		}
	})
	return u, ok
}

func TestA1_AnOfferBecomesAnUpdateWithItsFilesAndWhatTheyBringIn(t *testing.T) {
	w := world(t)
	w.Has("d1", "tool 1.0")
	offer := indextest.Brings(indextest.Offer("tool", "1.1", "1.0"), "libtool", "7")
	offer.Items[0].Security, offer.Items[0].Severity = true, catalog.High
	w.Offered("d1", offer)
	got, ok := update(w, indextest.ID("tool", "1.1"))
	want := catalog.Update{ID: indextest.ID("tool", "1.1"), Release: indextest.Release("tool", "1.1"), Class: catalog.ThirdParty, Severity: catalog.High,
		Security: true, Origins: []string{"Acme:stable"}, Phased: 100, Summary: "the tool program", FirstSeen: w.Now(), Items: []catalog.Bound{
			{Item: indextest.Item("libtool", "7"), Role: catalog.Dependency, Rev: 1},
			{Item: indextest.Item("tool", "1.1"), Role: catalog.Own, Rev: 1, Origin: "Acme:stable"},
		}}
	if diff := cmp.Diff(want, got); !ok || diff != "" {
		t.Errorf("update %v, -want +got:\n%s", ok, diff)
	}
	if _, ok := update(w, indextest.ID("libtool", "7")); ok {
		t.Error("a mere dependency became an update of its own")
	}
}

func TestPromise1_WhatIsNewInOneDocumentSharesOneRevision(t *testing.T) {
	w := world(t)
	w.Has("d1", "tool 1.0", "tool-a 1.0", "tool-b 1.0")
	offer := indextest.Offer("tool", "1.1", "1.0")
	w.Offered("d1", offer)
	first, _ := update(w, indextest.ID("tool", "1.1"))
	for _, name := range []string{"tool-a", "tool-b"} {
		offer.Items = append(slices.Clone(offer.Items), wire.OfferItem{Item: indextest.Item(name, "1.1"), Installed: "1.0", Origin: "Acme:extra"})
	}
	w.Offered("d1", offer)
	w.Offered("d1", offer)
	got, _ := update(w, indextest.ID("tool", "1.1"))
	var revs []int
	for _, it := range got.Items {
		revs = append(revs, it.Rev)
	}
	if !slices.Equal(revs, []int{1, 2, 2}) || !slices.Equal(got.Origins, []string{"Acme:extra", "Acme:stable"}) {
		t.Errorf("revisions %v, origins %v", revs, got.Origins)
	}
	if got.Digest(1) != first.Digest(1) {
		t.Error("what revision 1 covers has changed")
	}
}

func TestANewPackageOfTheReleaseItselfIsItsOwnItem(t *testing.T) {
	w := world(t)
	w.Has("d1", "tool 1.0")
	offer := indextest.Offer("tool", "1.1", "1.0")
	it := indextest.Item("tool-data", "1.1")
	offer.Closure = []wire.Change{{Op: wire.OpInstall, Name: it.Name, Arch: it.Arch, Version: it.Version, SHA256: it.SHA256, Size: it.Size, Source: "tool", SrcVer: "1.1", Space: "acme"}}
	w.Offered("d1", offer)
	got, _ := update(w, indextest.ID("tool", "1.1"))
	if len(got.Items) != 2 || got.Items[0].Role != catalog.Own || got.Items[1].Role != catalog.Own {
		t.Errorf("items: %+v", got.Items)
	}
}

// sets reads which devices need and have an update.
func sets(w *indextest.World, id catalog.UpdateID) (needs, has []fleet.DeviceID) {
	w.Index.View(func(v *index.View) {
		u, _ := v.Update(id)
		for _, n := range u.Needs.ToArray() {
			needs = append(needs, v.Numbered(n).ID)
		}
		for _, n := range u.Has.ToArray() {
			has = append(has, v.Numbered(n).ID)
		}
	})
	return needs, has
}

func TestWhoNeedsAndWhoHasFollowsTheDocuments(t *testing.T) {
	w := world(t)
	w.Device("d2", fleet.Root)
	w.Has("d2", "tool 1.1") // before anybody knows the update
	w.Offered("d2")
	w.Has("d1", "tool 1.0")
	w.Offered("d1", indextest.Offer("tool", "1.1", "1.0"))
	id := indextest.ID("tool", "1.1")
	needs, has := sets(w, id)
	if !slices.Equal(needs, []fleet.DeviceID{"d1"}) || !slices.Equal(has, []fleet.DeviceID{"d2"}) {
		t.Errorf("needed by %v, on %v", needs, has)
	}
	w.Has("d1", "tool 1.1")
	w.Offered("d1")
	w.Machine("d2", func(says *indextest.Said) {
		p := says.Packages["tool"]
		p.Status = "iU" // unpacked, not configured
		says.Packages["tool"] = p
	})
	w.Scan("d2")
	if needs, has = sets(w, id); len(needs) != 0 || !slices.Equal(has, []fleet.DeviceID{"d1"}) {
		t.Errorf("afterwards needed by %v, on %v", needs, has)
	}
}

func TestADeviceNeverShowsHalfOfAScan(t *testing.T) {
	w := world(t)
	w.Has("d1", "tool 1.0")
	w.Offered("d1", indextest.Offer("tool", "1.1", "1.0"))
	body, digest, err := wire.Encode(wire.Inventory{Ecosystem: "deb", Packages: []wire.Package{indextest.Package("tool", "1.1")}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Index.ObserveDocument(t.Context(), "d1", wire.KindInventory, digest, body); err != nil {
		t.Fatal(err)
	}
	missing := strings.Repeat("0", 64)
	need, err := w.Index.Contact(t.Context(), store.Contact{Device: "d1", LastSeen: w.Now(), Digests: map[wire.Kind]string{wire.KindInventory: digest, wire.KindAvailable: missing}})
	if err != nil || !slices.Equal(need, []wire.Kind{wire.KindAvailable}) {
		t.Fatalf("needs %v, %v", need, err)
	}
	if needs, has := sets(w, indextest.ID("tool", "1.1")); len(needs) != 1 || len(has) != 0 {
		t.Errorf("needed by %v, on %v", needs, has)
	}
}

func TestDocumentsAreSharedAndForgottenWithTheirLastDevice(t *testing.T) {
	w := world(t)
	w.Device("d2", fleet.Root)
	for _, id := range []fleet.DeviceID{"d1", "d2"} {
		w.Has(id, "tool 1.0")
		w.Offered(id, indextest.Offer("tool", "1.1", "1.0"))
	}
	w.Index.View(func(v *index.View) {
		one, _ := v.Device("d1")
		two, _ := v.Device("d2")
		keyOne, _ := v.PlanKey(one.Number)
		keyTwo, _ := v.PlanKey(two.Number)
		if keyOne != keyTwo {
			t.Error("equal devices have different keys")
		}
	})
	known, err := w.Index.KnowsDocument(t.Context(), wire.KindInventory, strings.Repeat("1", 64))
	if err != nil || known {
		t.Errorf("a document nobody sent: %v, %v", known, err)
	}
}

func TestN26_HostileDocumentsAreCutDownAndReportedAndNeverCrash(t *testing.T) {
	w := world(t)
	w.Has("d1", "tool 1.0")
	good := indextest.Offer("tool", "1.1", "1.0")
	bad := func(change func(*wire.Offer)) wire.Offer {
		o := indextest.Offer("evil", "1.1", "1.0")
		change(&o)
		return o
	}
	for name, offer := range map[string]wire.Offer{
		"name with an option":       bad(func(o *wire.Offer) { o.Name = "-oAPT::x" }),
		"name with a path":          bad(func(o *wire.Offer) { o.Name = "../x" }),
		"name with HTML":            bad(func(o *wire.Offer) { o.Name = "<script>" }),
		"empty name":                bad(func(o *wire.Offer) { o.Name = "" }),
		"endless name":              bad(func(o *wire.Offer) { o.Name = strings.Repeat("x", 10_000) }),
		"version with a newline":    bad(func(o *wire.Offer) { o.Version = "1\n2" }),
		"negative epoch":            bad(func(o *wire.Offer) { o.Version = "-1:1" }),
		"empty version":             bad(func(o *wire.Offer) { o.Version = "" }),
		"publisher with a slash":    bad(func(o *wire.Offer) { o.Namespace = "a/b" }),
		"publisher with characters": bad(func(o *wire.Offer) { o.Namespace = "a\u202eb" }),
	} {
		w.Offered("d1", good, offer)
		w.Index.View(func(v *index.View) {
			d, _ := v.Device("d1")
			if len(d.Available().Updates) != 1 || len(d.Problems) != 1 || v.NumberOfUpdates() != 1 {
				t.Errorf("%s: %d offers, %d updates, problems %q", name, len(d.Available().Updates), v.NumberOfUpdates(), d.Problems)
			}
			for _, p := range d.Problems {
				if strings.ContainsAny(p, "\n\u202e") || len(p) > 2000 {
					t.Errorf("%s: the problem itself is hostile: %q", name, p)
				}
			}
		})
	}
}

func TestN26_AnOfferThatIsWrongInPartCannotBeInstalled(t *testing.T) {
	w := world(t)
	w.Has("d1", "tool 1.0")
	for name, change := range map[string]func(*wire.Offer){
		"digest in capitals":    func(o *wire.Offer) { o.Items[0].SHA256 = strings.ToUpper(o.Items[0].SHA256) },
		"short digest":          func(o *wire.Offer) { o.Items[0].SHA256 = "abcd" },
		"negative size":         func(o *wire.Offer) { o.Items[0].Size = -1 },
		"wrong architecture":    func(o *wire.Offer) { o.Items[0].Arch = "amd64 " },
		"wrong name in closure": func(o *wire.Offer) { *o = indextest.Brings(*o, "lib", "1"); o.Closure[0].Name = "lib*" },
		"wrong source in closure": func(o *wire.Offer) {
			*o = indextest.Brings(*o, "lib", "1")
			o.Closure[0].Source = ""
		},
	} {
		offer := indextest.Offer("tool", "1.1", "1.0")
		change(&offer)
		w.Offered("d1", offer)
		w.Index.View(func(v *index.View) {
			d, _ := v.Device("d1")
			o := d.Available().Updates[0]
			if len(d.Problems) == 0 || o.Problem == "" || !slices.ContainsFunc(o.Closure, func(ch wire.Change) bool { return ch.Op == "invalid" }) {
				t.Errorf("%s: it could be installed: %+v", name, o)
			}
		})
	}
}

func TestN26_TextsLoseWhatCannotBeShown(t *testing.T) {
	w := world(t)
	w.Machine("d1", func(says *indextest.Said) {
		says.Facts.Kernel = "6.1\x1b[31m\u202e\u0000" + strings.Repeat("k", 5000)
		says.Facts.Guard = "wide_open"
		p := indextest.Package("tool", "1.0")
		p.How = "by\nhand\u2028"
		says.Packages["tool"] = p
		o := indextest.Offer("tool", "1.1", "1.0")
		o.Items[0].Summary, o.Items[0].Severity, o.Items[0].Phased = "a\u0007b", "apocalyptic", -5
		says.Offers = []wire.Offer{o}
	})
	w.Scan("d1")
	w.Index.View(func(v *index.View) {
		d, _ := v.Device("d1")
		u, _ := v.Update(indextest.ID("tool", "1.1"))
		if !strings.HasPrefix(d.Facts.Kernel, "6.1[31mkkk") || len(d.Facts.Kernel) > 400 || d.Facts.Guard != "" {
			t.Errorf("facts: %q, guard %q", d.Facts.Kernel, d.Facts.Guard)
		}
		if how := d.Inventory().Packages[0].How; how != "byhand" {
			t.Errorf("how: %q", how)
		}
		if u.Summary != "ab" || u.Severity != catalog.Unrated || u.Phased != 100 {
			t.Errorf("update: %q, %s, phased %d", u.Summary, u.Severity, u.Phased)
		}
	})
}

func TestN26_BytesThatAreNoDocumentAreRefused(t *testing.T) {
	w := world(t)
	for _, body := range []string{"", "null garbage", "[]", `{"updates": 5}`, "{" + strings.Repeat(`"a":{`, 20_000), "\xff"} {
		err := w.Index.ObserveDocument(t.Context(), "d1", wire.KindAvailable, wire.Digest([]byte(body)), []byte(body))
		if !errors.Is(err, fault.Invalid) {
			t.Errorf("%.20q: %v", body, err)
		}
	}
	if err := w.Index.ObserveDocument(t.Context(), "d1", wire.KindFacts, strings.Repeat("0", 64), []byte("{}")); !errors.Is(err, fault.Invalid) {
		t.Errorf("another digest: %v", err)
	}
	if err := w.Index.ObserveDocument(t.Context(), "d1", "secrets", wire.Digest([]byte("{}")), []byte("{}")); !errors.Is(err, fault.Invalid) {
		t.Errorf("another kind: %v", err)
	}
	if _, err := w.Index.Contact(t.Context(), store.Contact{Device: "nobody"}); !errors.Is(err, fault.NotFound) {
		t.Errorf("a contact of nobody: %v", err)
	}
}

func TestReferencesNameExactlyOneOrListTheCandidates(t *testing.T) {
	w := world(t)
	w.Device("d1x", fleet.Root)
	w.Act("ada", ledger.GroupCreate{Group: fleet.Group{ID: "g", Name: "lab", Parent: fleet.Root}})
	w.Device("abcdef1", "g")
	w.Device("abcdef2", "g")
	w.Has("d1", "tool 1.0", "other 1.0")
	w.Offered("d1", indextest.Offer("tool", "1.1", "1.0"), indextest.Offer("tool", "1.2", "1.0"), indextest.Offer("other", "2", "1.0"))
	id := string(indextest.ID("other", "2"))
	w.Index.View(func(v *index.View) {
		for _, ref := range []string{id, id[:6], "other", "other@2", "pkg:deb/acme/other@2?arch=source"} {
			if u, err := v.Resolve(ref); err != nil || string(u.ID) != id {
				t.Errorf("%q: %v", ref, err)
			}
		}
		if _, err := v.Resolve("tool"); fault.From(err).Code != "update_ambiguous" || !strings.Contains(err.Error(), string(indextest.ID("tool", "1.1"))) {
			t.Errorf("two releases: %v", err)
		}
		for _, ref := range []string{"", "u", "nothing", "other@3", "pkg:deb/acme/other@3?arch=source", strings.Repeat("u", 5000)} {
			if _, err := v.Resolve(ref); !errors.Is(err, fault.NotFound) || len(err.Error()) > 500 {
				t.Errorf("%.20q: %v", ref, err)
			}
		}
		if _, err := v.FindDevice("abcdef", fleet.Root); fault.From(err).Code != "device_ambiguous" || !strings.Contains(err.Error(), "abcdef1") {
			t.Errorf("two devices: %v", err)
		}
		if _, err := v.FindDevice("d1", "g"); !errors.Is(err, fault.NotFound) {
			t.Errorf("a device outside the scope: %v", err)
		}
		if d, err := v.FindDevice("ABCDEF1", "g"); err != nil || d.ID != "abcdef1" {
			t.Errorf("by name: %v", err)
		}
	})
}

// picture is all that two indexes of one installation must agree on.
func picture(w *indextest.World) string {
	var b strings.Builder
	w.Index.View(func(v *index.View) {
		state, err := json.Marshal(struct {
			Seq    int64
			Groups map[fleet.GroupID]fleet.Group
			Device map[fleet.DeviceID]fleet.Device
		}{v.State().Seq, v.State().Groups, v.State().Devices})
		fmt.Fprintln(&b, string(state), err)
		var lines []string
		for u := range v.Updates() {
			var line strings.Builder
			fmt.Fprintf(&line, "%+v", *u.Update)
			for _, d := range slices.SortedFunc(v.Devices(fleet.Root), func(a, b index.Device) int { return strings.Compare(string(a.ID), string(b.ID)) }) {
				fmt.Fprintf(&line, " %s:%v%v%v", d.ID, u.Needs.Contains(d.Number), u.Brought.Contains(d.Number), u.Has.Contains(d.Number))
			}
			lines = append(lines, line.String(), fmt.Sprintf("%+v %+v", v.Decisions(u.Software), v.Exceptions(u.ID)))
		}
		for d := range v.All() {
			for row := range d.Installs() {
				lines = append(lines, fmt.Sprintf("%s %s %s", row.Device, row.Update, row.State))
			}
			lines = append(lines, fmt.Sprintf("%s %+v %v", d.ID, slices.Collect(d.Packages()), v.Rollbacks(d)))
		}
		slices.Sort(lines)
		fmt.Fprint(&b, strings.Join(lines, "\n"))
	})
	return b.String()
}

func TestARestartBuildsTheSameIndex(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := indextest.New(t)
		w.Group("g", fleet.Root)
		devices := []fleet.DeviceID{"d1", "d2"}
		for _, id := range devices {
			w.Device(id, fleet.Root)
		}
		for i := range rapid.IntRange(1, 8).Draw(r, "steps") {
			id := rapid.SampledFrom(devices).Draw(r, "device")
			switch rapid.IntRange(0, 4).Draw(r, "kind") {
			case 0, 1:
				w.Has(id, "tool "+rapid.SampledFrom([]string{"1", "2", "3"}).Draw(r, "installed"))
				w.Offered(id, indextest.Brings(indextest.Offer("tool", rapid.SampledFrom([]string{"2", "3"}).Draw(r, "offered"), "1"), "lib", fmt.Sprint(1+i%2)))
			case 2:
				release := indextest.Release("tool", rapid.SampledFrom([]string{"2", "3"}).Draw(r, "version"))
				w.Act("ada", ledger.UpdateDecide{Scope: "g", Status: rapid.SampledFrom([]approval.Status{"approved", "declined", "undefined"}).Draw(r, "status"),
					Updates: []ledger.Decided{{Update: release.ID(), Release: release, Rev: 1}}})
			case 3:
				w.Act("ada", ledger.DeviceMove{IDs: []fleet.DeviceID{id}, Group: rapid.SampledFrom([]fleet.GroupID{"g", fleet.Root}).Draw(r, "group")})
			case 4:
				w.Act("ada", ledger.UpdateRollback{Update: indextest.ID("tool", "2"), Scope: fleet.Root, Devices: []fleet.DeviceID{id}})
				w.Report(id, wire.Report{Update: indextest.ID("tool", "2"), State: installation.Removing}, wire.Report{Update: indextest.ID("tool", "2"), State: installation.Removed})
			}
			w.Advance(time.Minute)
		}
		before := picture(w)
		w.Restart()
		if diff := cmp.Diff(before, picture(w)); diff != "" {
			r.Errorf("-before +after:\n%s", diff)
		}
		if err := w.Store.Close(); err != nil {
			r.Fatal(err)
		}
	})
}

func TestAnActThatLostToAnotherServerIsBuiltAnewOnItsEntries(t *testing.T) {
	w := world(t)
	other, err := index.Open(t.Context(), w.Store, index.Config{Now: w.Now})
	if err != nil {
		t.Fatal(err)
	}
	var seen []int
	_, err = other.Act(context.Background(), "ada", func(v *index.View) (ledger.Body, error) {
		seen = append(seen, len(v.State().Groups))
		if len(seen) == 1 {
			w.Group("first", fleet.Root) // the other server is faster
		}
		return ledger.GroupCreate{Group: fleet.Group{ID: "second", Name: "second", Parent: fleet.Root}}, nil
	})
	if err != nil || !slices.Equal(seen, []int{1, 2}) {
		t.Errorf("built on %v groups, %v", seen, err)
	}
	if err := w.Index.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.Index.View(func(v *index.View) {
		if len(v.State().Groups) != 3 {
			t.Errorf("%d groups on the first server", len(v.State().Groups))
		}
	})
}

func TestARefusedActLeavesNoTrace(t *testing.T) {
	w := world(t)
	before := picture(w)
	for _, body := range []ledger.Body{
		ledger.GroupDelete{ID: fleet.Root}, ledger.GroupCreate{Group: fleet.Group{ID: "x", Name: "x", Parent: "nowhere"}},
		ledger.DeviceMove{IDs: []fleet.DeviceID{"d1", "nobody"}, Group: fleet.Root}, ledger.ExceptionRemove{Exception: 5},
	} {
		if _, err := w.Index.Act(t.Context(), "ada", func(*index.View) (ledger.Body, error) { return body, nil }); err == nil {
			t.Errorf("%+v was accepted", body)
		}
	}
	if diff := cmp.Diff(before, picture(w)); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
}
