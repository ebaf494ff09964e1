package apt

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"assent/agent/internal/feeds/aptrepo"
	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/wire"

	"github.com/google/go-cmp/cmp"
)

const feedLists = "var/lib/apt/lists/_var_lib_assent-feeds_vendor_._"

// publish writes what the agent and apt leave of a feed on a device.
func (d *device) publish(entries string) {
	d.t.Helper()
	d.write(aptrepo.SourceFile, "Types: deb\nURIs: copy:/var/lib/assent-feeds/vendor/\nSuites: ./\nTrusted: yes\nCheck-Date: no\n")
	d.write(aptrepo.PinFile, "Package: *\nPin: release o=feed.vendor\nPin-Priority: -1\n")
	d.write(feedLists+"Release", "Origin: feed.vendor\nSuite: vendor\nNotAutomatic: yes\nDate: "+d.now.Format(time.RFC1123)+"\n")
	d.write(feedLists+"Packages", entries)
}

func (d *device) scan() *pkgmgr.Snapshot {
	d.t.Helper()
	s, err := d.apt().Scan(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

// summary is one line for each offer.
func summary(offers []wire.Offer) (out []string) {
	for _, o := range offers {
		line := fmt.Sprintf("%s %s %s fresh=%v new=%v", o.Namespace, o.Name, o.Version, o.Fresh, o.New)
		for _, it := range o.Items {
			line += fmt.Sprintf(" %s=%s(%s)%d", it.Name, it.Version, it.Installed, it.Pin)
		}
		out = append(out, line)
	}
	return out
}

func TestFeedsNewestReleasesOfAbsentApplicationsAreOfferedWhole(t *testing.T) {
	d := newDevice(t)
	d.status(installedEntry("here", "1.0", ""))
	var entries strings.Builder
	for _, v := range []string{"1.0", "1.9", "1.10", "2.0~rc1"} {
		entries.WriteString(listEntry("absent", v, "Source: suite ("+v+")\n") + listEntry("absent-doc", v, "Source: suite ("+v+")\n"))
	}
	d.publish(entries.String() + listEntry("here", "0.9", "") + listEntry("here", "1.1", ""))
	s := d.scan()
	if diff := cmp.Diff([]string{
		"feed.vendor here 1.1 fresh=false new=false here=1.1(1.0)-1",
		"feed.vendor suite 1.10 fresh=true new=true absent=1.10()-1 absent-doc=1.10()-1",
		"feed.vendor suite 1.9 fresh=true new=true absent=1.9()-1 absent-doc=1.9()-1",
		"feed.vendor suite 2.0~rc1 fresh=true new=true absent=2.0~rc1()-1 absent-doc=2.0~rc1()-1",
	}, summary(s.Available.Updates)); diff != "" {
		t.Error(diff)
	}
	if len(s.Posture) != 0 || len(s.Origins) != 1 {
		t.Errorf("the agent's own source: posture %v, origins %v", s.Posture, s.Origins)
	}
	// One package of an application that is there makes it present.
	d.status(installedEntry("absent-doc", "1.9", "Source: suite\n"))
	for _, o := range d.scan().Available.Updates {
		if o.Name == "suite" && o.Fresh {
			t.Errorf("offered as absent: %+v", o)
		}
	}
}

// TestNoSourceOfTheDeviceGetsTheNamespaceOfAFeed: nor can a feed take over what an archive publishes, by publishing the same.
func TestNoSourceOfTheDeviceGetsTheNamespaceOfAFeed(t *testing.T) {
	d := newDevice(t)
	d.status(installedEntry("here", "1.0", "") + installedEntry("theirs", "1.0", ""))
	d.release("Origin: F E E D.vendor\nSuite: s\n", d.now.Add(-time.Hour), d.now.Add(time.Hour))
	d.write(packages, listEntry("here", "1.1", "Origin: feed.vendor\n")+listEntry("theirs", "1.1", "Origin: feed.vendor\nNamespace: feed.vendor\n"))
	d.publish(listEntry("here", "1.1", ""))
	s := d.scan()
	if diff := cmp.Diff([]string{
		"feed.vendor here 1.1 fresh=false new=false here=1.1(1.0)500",
		"not-feed-vendor here 1.1 fresh=false new=false here=1.1(1.0)500",
		"not-feed-vendor theirs 1.1 fresh=false new=false theirs=1.1(1.0)500",
	}, summary(s.Available.Updates)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"feed_name_claimed"}, codes(s.Posture)); diff != "" {
		t.Error(diff)
	}
	// The same words in another file are not the agent's own source.
	d.write("etc/apt/sources.list.d/mine.sources", "Types: deb\nURIs: copy:/var/lib/assent-feeds/vendor/\nSuites: ./\nTrusted: yes\n")
	if err := os.Remove(d.dir + "/" + aptrepo.SourceFile); err != nil {
		t.Fatal(err)
	}
	for _, line := range summary(d.scan().Available.Updates) {
		if strings.HasPrefix(line, "feed.") {
			t.Errorf("%s", line)
		}
	}
}

// TestHistoryOfAnApplicationSurvivesSeveralSteps without any tool: 1.0, 1.1, 2.0, back to 1.1, and on to 3.0.
func TestHistoryOfAnApplicationSurvivesSeveralSteps(t *testing.T) {
	d := newDevice(t)
	var entries strings.Builder
	for _, v := range []string{"1.0", "1.1", "2.0", "3.0"} {
		entries.WriteString(listEntry("app", v, ""))
	}
	d.publish(entries.String())
	step := func(from, to string) {
		t.Helper()
		if from == "" {
			d.status("")
		} else {
			d.status(installedEntry("app", from, ""))
		}
		c := wire.Change{Op: wire.OpInstall, Name: "app", Arch: "amd64", Version: to, From: from, Space: "feed.vendor", Source: "app", SrcVer: to, SHA256: fmt.Sprintf("%064x", 7)}
		if err := d.apt().Remember(t.Context(), "u1", []wire.Change{c}); err != nil {
			t.Fatal(err)
		}
		d.status(installedEntry("app", to, ""))
	}
	expect := func(current string, versions ...string) {
		t.Helper()
		var want []wire.RestoreItem
		id := catalog.Release{Software: catalog.Software{Ecosystem: "deb", Namespace: "feed.vendor", Name: "app"}, Version: current}.ID()
		for _, v := range versions {
			want = append(want, wire.RestoreItem{Update: id, Name: "app", Arch: "amd64", Version: v, Current: current, Release: v, From: "repository", SHA256: fmt.Sprintf("%064x", 7), Size: 9})
		}
		got, err := d.apt().restorable(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	step("", "1.0")
	expect("1.0")
	step("1.0", "1.1")
	expect("1.1", "1.0")
	step("1.1", "2.0")
	expect("2.0", "1.1", "1.0")
	step("2.0", "1.1")
	expect("1.1", "1.0")
	step("1.1", "3.0")
	expect("3.0", "2.0", "1.1", "1.0")
	// Its file is offered no more and was never kept: it is listed, and cannot be had.
	d.publish(listEntry("app", "3.0", ""))
	got, err := d.apt().restorable(t.Context())
	if err != nil || len(got) != 3 || got[0].From != "" {
		t.Errorf("%+v %v", got, err)
	}
	d.publish(entries.String())
	step("", "2.0") // removed and installed anew
	expect("2.0")
}

func TestHistoryIsCappedAndKeepsTheNewest(t *testing.T) {
	h := had{}
	for i := range 3 * maxHad {
		h.note(fmt.Sprintf("1.%d", i), time.Time{}, pastItem{Name: "app", Arch: "amd64", Version: fmt.Sprintf("1.%d", i)})
	}
	if len(h.Releases) != maxHad || h.Releases[0].Version != fmt.Sprintf("1.%d", 3*maxHad-1) {
		t.Errorf("%d releases, first %s", len(h.Releases), h.Releases[0].Version)
	}
	if kept := lastItems([]had{h}); len(kept) != keptHad {
		t.Errorf("%d files kept", len(kept))
	}
}
