package pkgmgrtest

import (
	"slices"
	"strings"
	"testing"

	"assent/lab"
	"assent/wire"

	"github.com/google/go-cmp/cmp"
)

func closures(t *testing.T, d *Device) {
	rep := d.Call(request{Method: "Close", Snapshot: d.scan()})
	d.must(rep.err())
	got := map[string][]wire.Change{}
	for _, o := range rep.Available.Updates {
		if o.Namespace != "acme" {
			continue
		}
		if o.Problem != "" {
			t.Errorf("%s %s: %s", o.Name, o.Version, o.Problem)
		}
		if len(o.Closure) > 0 {
			got[o.Name+" "+o.Version] = brief(o.Closure)
		}
		if o.New != (o.Name == "acme-newdep") {
			t.Errorf("%s %s: new %v", o.Name, o.Version, o.New)
		}
		if o.New && (len(o.Items) != 1 || o.Items[0].SHA256 != d.Item("acme-newdep", "1.0").SHA256 || o.Items[0].Installed != "") {
			t.Errorf("new offer %+v", o)
		}
	}
	want := map[string][]wire.Change{
		"acme-app 2.0":     {{Op: wire.OpUpgrade, Name: "acme-lib", Version: "2.0", From: "1.0"}},
		"acme-db 1.1":      {{Op: wire.OpInstall, Name: "acme-newdep", Version: "1.0"}},
		"acme-tool 2.0":    {{Op: wire.OpRemove, Name: "acme-old", From: "1.0"}},
		"acme-removes 2.0": {{Op: wire.OpRemove, Name: "acme-removed", From: "1.0"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// What apt says is remembered: a second look starts no apt.
	d.Sh("mv /usr/bin/apt-get /usr/bin/apt-get.real")
	again := d.Call(request{Method: "Close", Snapshot: d.scan()})
	if diff := cmp.Diff(rep.Available, again.Available); diff != "" || again.err() != nil {
		t.Errorf("%v %s", again.err(), diff)
	}
}

// closuresOfRealUpdates asks apt about every single update that is pending on a real system, which
// Close does only where it has a doubt.
func closuresOfRealUpdates(t *testing.T, b *Bench) {
	if err := b.lab.StartMirror(t.Context()); err != nil {
		t.Fatal(err)
	}
	base, err := lab.Base(t.Context(), lab.StandardBase())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.lab.NewDevice(t.Context(), lab.DeviceSpec{Name: "real", Base: base})
	if err != nil {
		t.Fatal(err)
	}
	d := &Device{Device: raw, t: t, bench: b}
	d.must(raw.Install(b.driver, b.agent))
	d.must(d.SetSources(b.lab.DebianSource("bookworm", "bookworm-updates", "bookworm-security")))
	d.Sh("apt-get -q -o Acquire::Check-Valid-Until=false update")
	rep := d.Call(request{Method: "Close", Snapshot: d.scan()})
	d.must(rep.err())
	asked, closures := 0, 0
	for _, o := range rep.Available.Updates {
		if o.New || o.Problem != "" {
			continue
		}
		var args []string
		var want []string
		newest := map[string]string{}
		for _, it := range o.Items {
			newest[it.Name+":"+it.Arch] = it.Version // items are sorted by version text, and a release has one version of each here
		}
		for key, version := range newest {
			args = append(args, key+"="+version)
			want = append(want, strings.Split(key, ":")[0])
		}
		for _, c := range o.Closure {
			want = append(want, c.Name)
		}
		out := d.Sh("apt-get -s -q -o APT::Solver=internal -o APT::Install-Recommends=false -o Debug::NoLocking=1 install -- " +
			strings.Join(args, " ") + " | awk '$1==\"Inst\"||$1==\"Remv\"{sub(/:.*/,\"\",$2); print $2}'")
		got := strings.Fields(out)
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(slices.Compact(want), slices.Compact(got)); diff != "" {
			t.Errorf("%s %s: %s", o.Name, o.Version, diff)
		}
		asked++
		if len(o.Closure) > 0 {
			closures++
		}
	}
	if asked < 5 {
		t.Errorf("only %d updates are pending, so this shows little", asked)
	}
	t.Logf("%d updates, %d with a closure", asked, closures)
}
