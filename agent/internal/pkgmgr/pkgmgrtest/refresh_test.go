package pkgmgrtest

import (
	"strings"
	"testing"
	"time"

	"assent/installation"
	"assent/lab"
	"assent/lab/debrepo"
)

// badSources drives apt into every state that a bad source can show.
func badSources(t *testing.T, d *Device) {
	d.Sh("echo 'Acquire::Check-Valid-Until \"true\";' > /etc/apt/apt.conf.d/99valid")
	expect := func(what, want string) {
		t.Helper()
		rep := d.Call(request{Method: "Refresh"})
		if rep.err() != nil {
			t.Fatalf("%s: %v", what, rep.err())
		}
		for _, o := range rep.Origins {
			problem := ""
			if strings.HasSuffix(o.Label, "Security") || o.Suite == lab.AcmeSecurity {
				problem = want
			}
			if o.Problem != problem {
				t.Errorf("%s: %s is %q (%s), want %q", what, o.Suite, o.Problem, o.Detail, problem)
			}
		}
		if len(rep.Origins) != 2 {
			t.Errorf("%s: %d origins", what, len(rep.Origins))
		}
	}
	publish := func(change func(*debrepo.Suite)) {
		t.Helper()
		_, security := lab.AcmeSuites(1)
		change(&security)
		d.must(d.Repo.Publish(security))
	}
	good := func(*debrepo.Suite) {}
	expect("well", "")
	publish(func(s *debrepo.Suite) { s.Seal = debrepo.WrongKey })
	expect("wrong key", "bad_signature")
	publish(func(s *debrepo.Suite) { s.Seal = debrepo.BadSignature })
	expect("changed after signing", "bad_signature")
	publish(func(s *debrepo.Suite) { s.Seal = debrepo.Unsigned })
	expect("unsigned", "bad_signature")
	publish(func(s *debrepo.Suite) { s.ValidFor = -time.Hour })
	expect("expired", "expired")
	publish(func(s *debrepo.Suite) {
		s.Packages = append(s.Packages, debrepo.Package{Name: "acme-more", Version: "1"})
	})
	d.must(d.Repo.TamperPackages(lab.AcmeSecurity))
	expect("index tampered with", "tampered")
	d.must(d.Repo.SetFaults(debrepo.Fault{Match: "dists/" + lab.AcmeSecurity, Kind: debrepo.Status, Code: 503}))
	expect("server error", "unreachable")
	d.must(d.Repo.SetFaults())
	publish(good)
	expect("well again", "")
	// A validly signed older state, first with lists, where apt drops it silently.
	publish(func(s *debrepo.Suite) { s.Date = time.Now().Add(-100 * time.Hour) })
	expect("rolled back", "rolled_back")
	// Then without lists, where apt takes it.
	d.Sh("rm -rf /var/lib/apt/lists/*")
	expect("rolled back with wiped lists", "rolled_back")
	d.Refused(d.Want("acme-sec=1.1"), installation.ContentUnavailable)
	publish(good)
	expect("recovered", "")
	if tx := d.Simulate(d.Want("acme-sec=1.1")); len(tx.Changes) != 1 {
		t.Errorf("changes %+v", tx.Changes)
	}
}

func lastGoodLists(t *testing.T, d *Device) {
	want := d.Want("acme-sec=1.1")
	d.must(d.Repo.SetFaults(debrepo.Fault{Kind: debrepo.Cut}))
	d.Publish(2)
	if rep := d.Call(request{Method: "Refresh"}); rep.err() != nil || rep.Origins[0].Problem != "unreachable" {
		t.Errorf("origins %+v, %v", rep.Origins, rep.err())
	}
	if tx := d.Simulate(want); len(tx.Changes) != 1 {
		t.Errorf("changes %+v", tx.Changes)
	}
}
