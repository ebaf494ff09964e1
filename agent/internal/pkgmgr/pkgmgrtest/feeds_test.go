package pkgmgrtest

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/feed"
	"assent/installation"
	"assent/lab"
	"assent/lab/debrepo"
	"assent/trust/trusttest"
	"assent/wire"

	"github.com/google/go-cmp/cmp"
)

// holdScript says that it runs and waits as long as its file in /etc is there.
func holdScript(stage string) string {
	return "#!/bin/sh\necho $$ > /run/feed-slow." + stage + "\nwhile [ -e /etc/feed-slow." + stage + " ]; do sleep 0.05; done\nrm -f /run/feed-slow." + stage + "\n"
}

// vendorPackages are what the vendor's feed publishes, one release each.
func vendorPackages() []debrepo.Package {
	app := func(version, depends string) debrepo.Package {
		p := debrepo.Package{Name: "feed-app", Version: version, Arch: debrepo.HostArch(), Depends: depends, Description: "an application",
			Files: map[string]string{"/usr/bin/feed-app": "#!/bin/sh\necho " + version + "\n", "/etc/feed-app.conf": "level=1\n"}, Conffiles: []string{"/etc/feed-app.conf"}}
		return p
	}
	return []debrepo.Package{
		app("0.9", ""), app("1.0", ""), app("1.1", "acme-lib (>= 1.0)"), app("2.0", "acme-lib (>= 2.0)"),
		{Name: "feed-user", Version: "1.0", Arch: "all", Depends: "feed-app"},
		{Name: "feed-ess", Version: "1.0", Arch: "all", Essential: true},
		{Name: "feed-slow", Version: "1.0", Arch: "all", PreRm: holdScript("prerm"), PostRm: holdScript("postrm"), Files: map[string]string{"/usr/share/feed-slow/x": "x"}},
	}
}

// vendor publishes a feed, each package as a release of its own.
func vendor(t *testing.T) (*trusttest.Feed, map[string]catalog.Item) {
	t.Helper()
	f := trusttest.NewFeed(t, "vendor")
	items := map[string]catalog.Item{}
	for _, p := range vendorPackages() {
		deb, err := debrepo.Deb(p)
		if err != nil {
			t.Fatal(err)
		}
		file := t.TempDir() + "/x.deb"
		if err := os.WriteFile(file, deb, 0o600); err != nil {
			t.Fatal(err)
		}
		control, err := exec.CommandContext(t.Context(), "dpkg-deb", "-f", file).Output()
		if err != nil {
			t.Fatal(err)
		}
		m := trusttest.Manifest(p.Name, p.Version)
		m.Payload = catalog.Deb
		it := feed.Item{Name: p.Name, Arch: p.Arch, Version: p.Version, Control: strings.TrimSpace(string(control))}
		if it.Arch != "all" {
			it.Platform.Arch = it.Arch
		}
		m.Items = []feed.Item{it}
		f.Add(m, deb)
		items[p.Name+"="+p.Version] = catalog.Item{Name: p.Name, Arch: p.Arch, Version: p.Version, Size: int64(len(deb)), SHA256: wire.Digest(deb)}
	}
	f.Publish()
	return f, items
}

// feedDevice is a device that follows the vendor's feed.
type feedDevice struct {
	*Device
	feed  *trusttest.Feed
	items map[string]catalog.Item
}

// following puts the feed's published folder onto the device and has the device follow it.
func following(t *testing.T, d *Device) feedDevice {
	t.Helper()
	f, items := vendor(t)
	d2 := feedDevice{d, f, items}
	d2.publish()
	d2.follow(wire.PlanFeed{ID: "vendor", Root: wire.Digest(f.Root()), Timestamp: 1000})
	return d2
}

func (d feedDevice) publish() {
	d.t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	d.must(w.AddFS(os.DirFS(d.feed.Dir)))
	d.must(w.Close())
	d.must(d.WriteFile("/srv/feed.tar", b.Bytes(), 0o600))
	d.Sh("mkdir -p /srv/feeds/vendor && tar -C /srv/feeds/vendor -xf /srv/feed.tar && rm /srv/feed.tar")
}

func (d feedDevice) follow(plan ...wire.PlanFeed) []wire.OriginHealth {
	d.t.Helper()
	body, err := json.Marshal(plan)
	d.must(err)
	d.must(d.WriteFile("/srv/plan", body, 0o600))
	var out []wire.OriginHealth
	d.must(json.Unmarshal([]byte(d.Sh("/usr/bin/assent-agent follow < /srv/plan")), &out))
	return out
}

func (d feedDevice) want(names ...string) (w pkgmgr.Want) {
	d.t.Helper()
	for _, name := range names {
		it, ok := d.items[name]
		if !ok {
			n, v, _ := strings.Cut(name, "=")
			it = d.Item(n, v)
		}
		w.Items = append(w.Items, it)
	}
	return w
}

// update installs as the agent does, remembering what was there.
func (d feedDevice) update(id string, w pkgmgr.Want) {
	d.t.Helper()
	tx := d.Simulate(w)
	d.must(d.Call(request{Method: "Remember", Update: "u" + catalog.UpdateID(id), Changes: tx.Changes}).err())
	if rep := d.Install(id, w); rep.err() != nil {
		d.t.Fatalf("%v\n%s", rep.err(), rep.Outcome.Log)
	}
}

// remove orders and carries out a removal; only the last may go wrong.
func (d feedDevice) remove(id string, names ...string) reply {
	d.t.Helper()
	w := d.leaving(names...)
	tx := d.Simulate(w)
	tx.ID = id
	d.must(d.Call(request{Method: "Fetch", Tx: tx}).err())
	return d.Call(request{Method: "Apply", Tx: tx})
}

// leaving orders a removal and gives its Want.
func (d feedDevice) leaving(names ...string) pkgmgr.Want {
	d.t.Helper()
	items := d.want(names...).Items
	d.Fence(wire.Plan{Format: 1, Guard: "block_declined", Remove: []wire.PlanRemove{{Act: 1, Update: "u1", Items: items}}})
	return pkgmgr.Want{Remove: items}
}

func (d feedDevice) offers() (out []wire.Offer, all wire.Available) {
	d.t.Helper()
	rep := d.Call(request{Method: "Close", Snapshot: d.scan()})
	d.must(rep.err())
	for _, o := range rep.Available.Updates {
		if o.Namespace == "feed.vendor" {
			out = append(out, o)
		}
	}
	return out, rep.Available
}

func feedCore() []behaviour {
	return []behaviour{
		{"FeedIsOfferedAndTakenByNobodyUndecided", 0, feedOffered},
		{"C1_FeedReleaseInstallsExactlyAndGoesBackSeveralSteps", 0, feedChain},
		{"C1_RemovalTakesExactlyWhatIsOrderedAndKeepsData", 0, feedRemoval},
		{"C1_RemovalKilledHalfWayIsEnded", 0, feedRemovalKilled},
	}
}

func TestAptFeeds(t *testing.T) {
	b := NewBench(t, aptDriver, agentPath)
	t.Run("bookworm", func(t *testing.T) {
		Run(t, b, lab.MinimalBase("bookworm"), feedCore(), []behaviour{
			{"A3_DeclinedFeedReleaseStaysOutEvenWithItsFileInPlace", 0, feedDeclined},
			{"SourceThatClaimsAFeedsNameGetsAnother", 0, feedClaimed},
			{"LeavingTakesEveryTraceOfFeedsAway", 0, feedLeft},
		})
	})
	t.Run("trixie", func(t *testing.T) { Run(t, b, lab.MinimalBase("trixie"), feedCore()) })
	t.Run("bullseye", func(t *testing.T) { Run(t, b, lab.MinimalBase("bullseye"), feedCore()) })
}

func feedOffered(t *testing.T, raw *Device) {
	d := following(t, raw)
	offers, _ := d.offers()
	got := map[string][]wire.Change{}
	for _, o := range offers {
		if !o.New || !o.Fresh || o.Problem != "" || len(o.Items) != 1 || o.Items[0].Installed != "" || o.Items[0].Origin != "feed:vendor" ||
			o.Items[0].Item != d.items[o.Name+"="+o.Version] {
			t.Errorf("offer %+v", o)
		}
		got[o.Name+" "+o.Version] = brief(o.Closure)
	}
	want := map[string][]wire.Change{"feed-app 1.0": {}, "feed-app 1.1": {}, "feed-ess 1.0": {}, "feed-slow 1.0": {},
		"feed-app 2.0":  {{Op: wire.OpUpgrade, Name: "acme-lib", Version: "2.0", From: "1.0"}},
		"feed-user 1.0": nil,
	}
	for _, c := range got["feed-user 1.0"] { // which version comes in with it is apt's choice, that one does is not
		if c.Name != "feed-app" && c.Name != "acme-lib" {
			t.Errorf("feed-user would bring in %+v", c)
		}
	}
	if len(got["feed-user 1.0"]) == 0 {
		t.Error("feed-user would come alone, without what it needs")
	}
	got["feed-user 1.0"] = nil
	if diff := cmp.Diff(want, got, cmp.Transformer("empty", func(c []wire.Change) int { return len(c) })); diff != "" {
		t.Error(diff)
	}
	s := d.scan()
	for _, o := range s.Origins {
		if strings.HasPrefix(o.Origin, "feed") {
			t.Errorf("the local repository counts as a package source: %+v", o)
		}
	}
	for _, f := range s.Posture {
		if strings.Contains(f.Detail, "feed") {
			t.Errorf("posture %+v", f)
		}
	}
	if rep := d.Call(request{Method: "Refresh"}); rep.err() != nil || len(rep.Origins) != 2 {
		t.Errorf("refresh: %v, %+v", rep.err(), rep.Origins)
	}
	// By hand: nobody takes it unasked, not even what calls itself essential, and its missing file breaks nothing.
	for _, verb := range []string{"upgrade", "dist-upgrade", "install acme-tool"} {
		if out := d.Sh("apt-get -s -q " + verb); strings.Contains(out, "Inst feed-") {
			t.Errorf("%s takes a feed's release:\n%s", verb, out)
		}
	}
	if out, code := d.Try("apt-get -y -q install feed-app"); code == 0 || !strings.Contains(out, "no installation candidate") {
		t.Errorf("install without a version: exit code %d\n%s", code, out)
	}
	if out, code := d.Try("apt-get -y -q install feed-app=1.0"); code == 0 || !strings.Contains(out, "Failed to fetch copy:") || d.Version("feed-app") != "" {
		t.Errorf("install of what is not here: exit code %d\n%s", code, out)
	}
	d.update("t1", d.want("feed-app=1.0"))
	d.Sh("apt-mark hold acme-svc >/dev/null; apt-get -y -q upgrade")
	if v := d.Version("feed-app"); v != "ii 1.0" {
		t.Errorf("feed-app is %s after an upgrade by hand", v)
	}
	offers, _ = d.offers()
	var versions []string
	for _, o := range offers {
		if o.Name == "feed-app" {
			versions = append(versions, o.Version)
			if o.New || o.Fresh || o.Items[0].Installed != "1.0" || o.Items[0].Candidate {
				t.Errorf("offer %+v", o)
			}
		}
	}
	if diff := cmp.Diff([]string{"1.1", "2.0"}, versions); diff != "" {
		t.Error(diff)
	}
}

// feedChain: 1.0, 1.1, 2.0 with a dependency of another origin, then back to 1.0 when both later ones are declined; data and
// configuration stay; without the feed the kept files do it.
func feedChain(t *testing.T, raw *Device) {
	d := following(t, raw)
	d.update("t1", d.want("feed-app=1.0"))
	d.Sh("echo level=mine > /etc/feed-app.conf; mkdir -p /var/lib/feed-app; echo data > /var/lib/feed-app/db")
	d.update("t2", d.want("feed-app=1.1"))
	d.Refused(d.want("feed-app=2.0"), installation.UnapprovedDependency)
	two := d.want("feed-app=2.0", "acme-lib=2.0")
	d.update("t3", two)
	proof := d.Call(request{Method: "Verify", Items: two.Items})
	for i, p := range proof.Proof {
		if p.Version != two.Items[i].Version || p.Status != "ii" || p.SHA256 != two.Items[i].SHA256 {
			t.Errorf("proof %+v", p)
		}
	}
	current := catalog.Release{Software: catalog.Software{Ecosystem: "deb", Namespace: "feed.vendor", Name: "feed-app"}, Version: "2.0"}.ID()
	chain := func(from string) {
		t.Helper()
		_, available := d.offers()
		var got []wire.RestoreItem
		for _, r := range available.Restore {
			if r.Name == "feed-app" {
				got = append(got, r)
			}
		}
		var want []wire.RestoreItem
		for _, v := range []string{"1.1", "1.0"} {
			it := d.items["feed-app="+v]
			want = append(want, wire.RestoreItem{Update: current, Name: it.Name, Arch: it.Arch, Version: v, Current: "2.0", SHA256: it.SHA256, Size: it.Size, From: from, Release: v})
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		others := slices.DeleteFunc(available.Restore, func(r wire.RestoreItem) bool { return r.Name == "feed-app" })
		if len(others) != 1 || others[0].Name != "acme-lib" || others[0].Release != "" || others[0].Update != "ut3" {
			t.Errorf("restore of the other origin: %+v", others)
		}
	}
	chain("repository")
	d.follow() // the plan does not name the feed any more
	if d.Has("/etc/apt/sources.list.d/assent-feeds.sources") || d.Has("/var/lib/assent-feeds") {
		t.Error("apt is still told of a feed that is not followed")
	}
	chain("cache")
	back := d.want("feed-app=1.0")
	back.Downgrade = true
	if rep := d.Install("t4", back); rep.err() != nil {
		t.Fatalf("%v\n%s", rep.err(), rep.Outcome.Log)
	}
	if app, lib := d.Version("feed-app"), d.Version("acme-lib"); app != "ii 1.0" || lib != "ii 2.0" {
		t.Errorf("feed-app %s, acme-lib %s", app, lib)
	}
	if out := d.Sh("cat /etc/feed-app.conf /var/lib/feed-app/db; feed-app"); out != "level=mine\ndata\n1.0\n" {
		t.Errorf("after going back: %q", out)
	}
	_, available := d.offers()
	for _, r := range available.Restore {
		if r.Name == "feed-app" {
			t.Errorf("still something to go back to: %+v", r)
		}
	}
	// Removed and installed anew, it has no past.
	d.follow(wire.PlanFeed{ID: "vendor", Root: wire.Digest(d.feed.Root()), Timestamp: 1000})
	d.must(d.remove("t5", "feed-app=1.0").err())
	d.update("t6", d.want("feed-app=2.0"))
	if _, available = d.offers(); slices.ContainsFunc(available.Restore, func(r wire.RestoreItem) bool { return r.Name == "feed-app" }) {
		t.Errorf("restore %+v", available.Restore)
	}
}

func feedRemoval(t *testing.T, raw *Device) {
	d := following(t, raw)
	d.Sh("echo 'APT::Get::Purge \"true\"; APT::Get::AutomaticRemove \"true\";' > /etc/apt/apt.conf.d/99purge")
	d.update("t1", d.want("feed-app=1.0", "feed-user=1.0", "feed-ess=1.0"))
	d.Sh("echo level=mine > /etc/feed-app.conf; apt-mark auto feed-user acme-lib >/dev/null")
	r := d.Refused(d.leaving("feed-app=1.0"), installation.RemovalNeeded)
	if diff := cmp.Diff([]wire.Change{{Op: wire.OpRemove, Name: "feed-user", From: "1.0"}}, brief(r.Changes)); diff != "" || !strings.Contains(r.Detail, "feed-user") {
		t.Errorf("%s %s", r.Detail, diff)
	}
	d.Refused(d.leaving("feed-ess=1.0"), installation.NotRemovable)
	d.Refused(d.leaving("feed-app=1.1"), installation.Unresolvable)
	both := d.leaving("feed-app=1.0", "feed-user=1.0")
	mixed := both
	mixed.Items = d.want("feed-slow=1.0").Items
	d.Refused(mixed, installation.UnknownData)
	d.Sh("apt-mark hold feed-user >/dev/null")
	d.Refused(both, installation.HeldPackage)
	d.Sh("apt-mark unhold feed-user >/dev/null")
	// The guard admits what the plan orders, and nothing beyond.
	tx := d.Simulate(both)
	if tx.Space >= 0 || len(tx.Changes) != 2 {
		t.Errorf("transaction %+v", tx)
	}
	tx.ID = "t2"
	d.leaving("feed-user=1.0")
	if rep := d.Call(request{Method: "Apply", Tx: tx}); rep.err() == nil || d.Version("feed-app") != "ii 1.0" {
		t.Errorf("a removal that the plan does not order: %v, feed-app %s", rep.err(), d.Version("feed-app"))
	}
	rep := d.remove("t3", "feed-app=1.0", "feed-user=1.0")
	if rep.err() != nil {
		t.Fatalf("%v\n%s", rep.err(), rep.Outcome.Log)
	}
	proof := d.Call(request{Method: "Verify", Items: both.Remove})
	for _, p := range proof.Proof {
		if p.Version != "" || p.Status != "" {
			t.Errorf("proof %+v", p)
		}
	}
	if v, conf := d.Version("feed-app"), d.Sh("cat /etc/feed-app.conf"); v != "rc 1.0" || conf != "level=mine\n" {
		t.Errorf("feed-app is %q, its configuration %q", v, conf)
	}
	if v := d.Version("acme-lib"); v != "ii 1.0" {
		t.Errorf("acme-lib is %q: something else went with it", v)
	}
	if again := d.Simulate(d.leaving("feed-app=1.0")); len(again.Changes) != 0 {
		t.Errorf("gone, and still changes: %+v", again.Changes)
	}
}

// feedRemovalKilled: whichever script is killed, what has begun to go is gone afterwards, and the manager works.
func feedRemovalKilled(t *testing.T, raw *Device) {
	d := following(t, raw)
	for _, stage := range []string{"prerm", "postrm"} {
		d.update("t1"+stage, d.want("feed-slow=1.0"))
		d.Sh("touch /etc/feed-slow." + stage)
		tx := d.Simulate(d.leaving("feed-slow=1.0"))
		tx.ID = "t2" + stage
		done := make(chan error, 1)
		go func() {
			_, err := d.call(t.Context(), request{Method: "Apply", Tx: tx})
			done <- err
		}()
		d.Eventually("the script to wait", func() bool { return d.Has("/run/feed-slow." + stage) })
		killed := slices.Concat(d.PIDs("run-transaction"), d.PIDs("apt-get -y"), d.PIDs("/usr/bin/dpkg --"), d.PIDs("feed-slow."+stage))
		if len(killed) < 3 {
			t.Fatalf("found only %v to kill", killed)
		}
		d.Sh("kill -9 " + strings.Join(killed, " "))
		d.must(<-done)
		if v := d.Version("feed-slow"); strings.HasPrefix(v, "ii") || strings.HasPrefix(v, "rc") || v == "" {
			t.Fatalf("feed-slow is %q, so this shows nothing", v)
		}
		d.Sh("rm /etc/feed-slow." + stage)
		rep := d.Call(request{Method: "Recover"})
		if rep.err() != nil || rep.Health != (pkgmgr.Health{}) {
			t.Errorf("recover: %+v, %v", rep.Health, rep.err())
		}
		proof := d.Call(request{Method: "Verify", Items: tx.Want.Remove})
		if p := proof.Proof[0]; p.Version != "" || proof.Health != (pkgmgr.Health{}) {
			t.Errorf("proof %+v, health %+v", p, proof.Health)
		}
	}
}

func feedDeclined(t *testing.T, raw *Device) {
	d := following(t, raw)
	d.update("t1", d.want("feed-app=1.0"))
	tx := d.Simulate(d.want("feed-app=1.1"))
	tx.ID = "t2"
	d.must(d.Call(request{Method: "Fetch", Tx: tx}).err()) // its file is in place now
	d.Fence(wire.Plan{Format: 1, Guard: "block_declined", Deny: []wire.PlanDeny{{Update: "udeclined", Version: "1.1", Act: 17, By: "alice", Reason: "no",
		Software: catalog.Software{Ecosystem: "deb", Namespace: "feed.vendor", Name: "feed-app"}, Items: d.want("feed-app=1.1").Items}}})
	out, code := d.Try("apt-get -y -q install feed-app=1.1")
	if code == 0 || !strings.Contains(out, "was declined") || d.Version("feed-app") != "ii 1.0" {
		t.Errorf("by hand: exit code %d, feed-app %s\n%s", code, d.Version("feed-app"), out)
	}
	// Even where an administrator's pin lets apt choose from the feed.
	d.Sh("printf 'Package: *\\nPin: release o=feed.vendor\\nPin-Priority: 900\\n' > /etc/apt/preferences")
	if out := d.Sh("apt-get -s -q upgrade"); strings.Contains(out, "Inst feed-app [1.0] (1.1") {
		t.Errorf("upgrade chooses what is declined:\n%s", out)
	}
	if rep := d.Call(request{Method: "Apply", Tx: tx}); rep.err() == nil {
		t.Error("a transaction of before the decline went through")
	}
}

func feedClaimed(t *testing.T, raw *Device) {
	d := following(t, raw)
	main, _ := lab.AcmeSuites(1)
	main.Origin = "Feed.Vendor"
	main.Packages = append(main.Packages, debrepo.Package{Name: "feed-app", Version: "9.9", Arch: debrepo.HostArch()})
	d.must(d.Repo.Publish(main))
	d.Sh("apt-get -q --error-on=any update || apt-get -q --allow-releaseinfo-change update")
	d.update("t1", d.want("feed-app=1.0"))
	s := d.scan()
	spaces := map[string]bool{}
	for _, o := range s.Available.Updates {
		if o.Name == "feed-app" {
			spaces[o.Namespace+" "+o.Version] = true
		}
	}
	if diff := cmp.Diff(map[string]bool{"feed.vendor 1.1": true, "feed.vendor 2.0": true, "not-feed-vendor 9.9": true}, spaces); diff != "" {
		t.Error(diff)
	}
	if !slices.ContainsFunc(s.Posture, func(f wire.Finding) bool { return f.Code == "feed_name_claimed" }) {
		t.Errorf("posture %+v", s.Posture)
	}
}

func feedLeft(t *testing.T, raw *Device) {
	traces := "find /etc/apt /var/lib/apt/lists /var/lib/assent* /srv/feeds -not -name lock 2>/dev/null | grep -v -e /srv/feeds/ -e auxfiles | sort"
	raw.Sh("mkdir -p /srv/feeds")
	before := raw.Sh(traces)
	d := following(t, raw)
	if d.Sh(traces) == before {
		t.Fatal("following left no trace, so this shows nothing")
	}
	d.Sh("/usr/bin/assent-agent unfollow && rmdir /var/lib/assent-agent")
	if diff := cmp.Diff(before, d.Sh(traces)); diff != "" {
		t.Error(diff)
	}
	d.Sh("apt-get -q --error-on=any update")
}
