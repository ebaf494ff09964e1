package pkgmgrtest

import (
	"errors"
	"os"
	"slices"
	"testing"

	"assent/agent/internal/pkgmgr"
	"assent/installation"

	"github.com/google/go-cmp/cmp"
)

// untouched is what a look ahead must not change: dpkg's database, apt's own state and the files that were fetched.
func (d *Device) untouched() string {
	d.t.Helper()
	return d.Sh(`sha256sum /var/lib/dpkg/status /var/lib/apt/extended_states 2>/dev/null; cd / && find var/lib/dpkg var/lib/apt/lists var/cache/apt/archives var/cache/assent-agent/archives etc usr -type f -newer /tmp/mark 2>/dev/null | sort`)
}

func (d *Device) foresee(tx pkgmgr.Transaction) pkgmgr.Foresight {
	d.t.Helper()
	rep := d.Call(request{Method: "Foresee", Tx: tx})
	d.must(rep.err())
	return rep.Foresight
}

// foresees takes a file out of the repository behind its lists and changes another.
func foresees(t *testing.T, d *Device) {
	tx := d.Simulate(d.Want("acme-suite-a=1.1", "acme-suite-b=1.1", "acme-app=1.1"))
	d.Sh("touch /tmp/mark")
	before := d.untouched()
	if f := d.foresee(tx); len(f.Gone) > 0 || len(f.Kept) > 0 {
		t.Fatalf("all is well, and foreseen is %+v", f)
	}
	d.must(d.Repo.RemoveDeb("acme-suite-a", "1.1"))
	file, err := d.Repo.Pool("acme-suite-b", "1.1")
	d.must(err)
	d.must(os.WriteFile(d.Repo.Dir()+"/public/"+file, []byte("short"), 0o644))
	got := map[string]installation.Cause{}
	for _, r := range d.foresee(tx).Gone {
		for _, c := range r.Changes {
			got[c.Name] = r.Cause
		}
	}
	if diff := cmp.Diff(map[string]installation.Cause{"acme-suite-a": installation.ContentUnavailable, "acme-suite-b": installation.DigestMismatch}, got); diff != "" {
		t.Error(diff)
	}
	d.Sh("touch /var/lib/dpkg/updates/0001")
	if f := d.foresee(tx); len(f.Gone) != 1 || f.Gone[0].Cause != installation.ManagerBroken || len(f.Gone[0].Changes) != len(tx.Changes) {
		t.Errorf("dpkg was interrupted, and foreseen is %+v", f)
	}
	d.Sh("rm /var/lib/dpkg/updates/0001")
	if after := d.untouched(); before != after {
		t.Errorf("looking ahead changed the device:\n%s\nwas\n%s", after, before)
	}
}

func foreseesNoRoom(t *testing.T, d *Device) {
	tx := d.Simulate(d.Want("acme-app=1.1"))
	d.must(d.Call(request{Method: "Room", Tx: tx}).err())
	d.Sh("head -c $(( ($(df -k --output=avail / | tail -1) - 20000) * 1024 )) /dev/zero > /filler")
	var r *pkgmgr.Refusal
	if err := d.Call(request{Method: "Room", Tx: tx}).err(); !errors.As(err, &r) || r.Cause != installation.NoSpace {
		t.Errorf("on a full disk: %v", err)
	}
	if err := d.Call(request{Method: "Fetch", Tx: tx}).err(); !errors.As(err, &r) || r.Cause != installation.NoSpace {
		t.Errorf("the real fetch says something else: %v", err)
	}
}

// foreseesKept compares what is foreseen, before and after the file was fetched, with what dpkg then does.
func foreseesKept(t *testing.T, d *Device) {
	want := d.Want("acme-conf=1.1")
	tx := d.Simulate(want)
	if f := d.foresee(tx); len(f.Kept) > 0 {
		t.Errorf("nobody changed anything: %+v", f.Kept)
	}
	d.Sh("echo mine >>/etc/acme-conf.conf")
	kept := func() []pkgmgr.Kept { return d.foresee(tx).Kept }
	if got := kept(); len(got) != 1 || got[0].Path != "/etc/acme-conf.conf" || !got[0].Unsure || got[0].Name != "acme-conf" {
		t.Errorf("before it is fetched: %+v", got)
	}
	d.must(d.Call(request{Method: "Fetch", Tx: tx}).err())
	if got := kept(); len(got) != 1 || got[0].Unsure {
		t.Errorf("after it was fetched: %+v", got)
	}
	rep := d.Install("t1", want)
	d.must(rep.err())
	if !slices.Contains(rep.Outcome.Conffiles, "/etc/acme-conf.conf") {
		t.Errorf("dpkg kept %q", rep.Outcome.Conffiles)
	}
}
