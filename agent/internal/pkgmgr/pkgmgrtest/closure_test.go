package pkgmgrtest

import (
	"testing"

	"assent/lab"
	"assent/wire"

	"github.com/google/go-cmp/cmp"
)

func TestCloseNamesWhatAptWouldAddForEachOfferAloneOnThreeReleases(t *testing.T) {
	b := aptBench(t)
	for _, suite := range []string{"bookworm", "trixie", "bullseye"} {
		t.Run(suite, func(t *testing.T) {
			d := b.New(t, lab.MinimalBase(suite), 0)
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
		})
	}
}
