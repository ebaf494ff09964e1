package lab

import (
	"strings"
	"testing"
	"time"

	"assent/lab/debrepo"
)

// faultCase is one way in which an archive fails, and what apt says and returns for `update`.
type faultCase struct {
	name string
	make func(t *testing.T, r *debrepo.Repo)
	args []string
	code int
	says string
}

func publishAcmeWith(t *testing.T, r *debrepo.Repo, step int, change func(*debrepo.Suite)) {
	t.Helper()
	main, _ := AcmeSuites(step)
	change(&main)
	must(t, r.Publish(main))
}

func TestFaults_AreSeenByAptAsMeasured(t *testing.T) {
	t.Parallel()
	l := openLab(t)
	d, repo := acmeDevice(t, l, "d1")
	update := []string{"-o", "Acquire::Check-Valid-Until=true", "--error-on=any", "update"}
	for _, c := range []faultCase{
		{"unsigned", func(t *testing.T, r *debrepo.Repo) {
			publishAcmeWith(t, r, 1, func(s *debrepo.Suite) { s.Seal = debrepo.Unsigned })
		}, update, 100, "no longer signed"},
		{"wrong key", func(t *testing.T, r *debrepo.Repo) {
			publishAcmeWith(t, r, 1, func(s *debrepo.Suite) { s.Seal = debrepo.WrongKey })
		}, update, 100, "NO_PUBKEY"},
		{"wrong key without error-on", func(t *testing.T, r *debrepo.Repo) {
			publishAcmeWith(t, r, 1, func(s *debrepo.Suite) { s.Seal = debrepo.WrongKey })
		}, []string{"update"}, 0, "NO_PUBKEY"},
		{"bad signature", func(t *testing.T, r *debrepo.Repo) {
			publishAcmeWith(t, r, 1, func(s *debrepo.Suite) { s.Seal = debrepo.BadSignature })
		}, update, 100, "BADSIG"},
		{"expired", func(t *testing.T, r *debrepo.Repo) {
			publishAcmeWith(t, r, 1, func(s *debrepo.Suite) { s.ValidFor = -time.Hour })
		}, update, 100, "is expired"},
		{"from the future", func(t *testing.T, r *debrepo.Repo) {
			publishAcmeWith(t, r, 1, func(s *debrepo.Suite) { s.Date = time.Now().Add(time.Hour) })
		}, update, 100, "is not valid yet"},
		{"other label", func(t *testing.T, r *debrepo.Repo) {
			publishAcmeWith(t, r, 1, func(s *debrepo.Suite) { s.Label = "Other" })
		}, update, 100, "changed its 'Label' value"},
		{"tampered index", func(t *testing.T, r *debrepo.Repo) {
			publishAcmeWith(t, r, 1, func(*debrepo.Suite) {})
			must(t, r.TamperPackages(AcmeSuite))
		}, update, 100, "Hash Sum mismatch"},
		{"hanging server", func(t *testing.T, r *debrepo.Repo) {
			must(t, PublishAcme(r, 1))
			must(t, r.SetFaults(debrepo.Fault{Match: "acme/InRelease", Kind: debrepo.Hang}))
		}, update, 100, "Connection failed"},
		{"server error", func(t *testing.T, r *debrepo.Repo) {
			must(t, PublishAcme(r, 1))
			must(t, r.SetFaults(debrepo.Fault{Kind: debrepo.Status, Code: 503}))
		}, update, 100, "503"},
		{"all well", func(t *testing.T, r *debrepo.Repo) { must(t, PublishAcme(r, 1)) }, update, 0, "Get:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			must(t, repo.SetFaults())
			c.make(t, repo)
			out, code := apt(t, d, c.args...)
			if code != c.code || !strings.Contains(out, c.says) {
				t.Errorf("code %d, want %d and %q:\n%s", code, c.code, c.says, out)
			}
		})
	}
}

func TestFaults_OfPackagesAreSeenByApt(t *testing.T) {
	t.Parallel()
	l := openLab(t)
	d, repo := acmeDevice(t, l, "d1")
	must(t, PublishAcme(repo, 1))
	if out, code := apt(t, d, "update"); code != 0 {
		t.Fatal(out)
	}
	must(t, repo.TamperDeb("acme-tool", "1.1"))
	if out, code := apt(t, d, "install", "acme-tool=1.1"); code != 100 || !strings.Contains(out, "Hash Sum mismatch") {
		t.Errorf("tampered package: %d\n%s", code, out)
	}
	must(t, repo.RemoveDeb("acme-lib", "1.1"))
	if out, code := apt(t, d, "install", "acme-lib=1.1"); code != 100 || !strings.Contains(out, "404") {
		t.Errorf("missing package: %d\n%s", code, out)
	}
	must(t, repo.SetFaults(debrepo.Fault{Match: "acme-big_1.1", Kind: debrepo.Cut}))
	if out, code := apt(t, d, "install", "acme-big=1.1"); code != 100 {
		t.Errorf("cut download: %d\n%s", code, out)
	}
	must(t, repo.SetFaults())
	if out, code := apt(t, d, "install", "acme-big=1.1"); code != 0 {
		t.Errorf("download after the cut: %d\n%s", code, out)
	}
}

func TestSameVersionWithOtherContent_IsInstalledByAptWithoutAWord(t *testing.T) {
	t.Parallel()
	l := openLab(t)
	d, repo := acmeDevice(t, l, "d1")
	publishAcmeWith(t, repo, 1, func(s *debrepo.Suite) {
		for i, p := range s.Packages {
			if p.Name == "acme-tool" && p.Version == "1.1" {
				s.Packages[i].Files = map[string]string{"/usr/bin/acme-tool": "#!/bin/sh\necho evil\n"}
			}
		}
	})
	if out, code := apt(t, d, "--error-on=any", "update"); code != 0 {
		t.Fatal(out)
	}
	if out, code := apt(t, d, "install", "acme-tool=1.1"); code != 0 {
		t.Fatal(out)
	}
	if got := mustOutput(t, d, "acme-tool"); got != "evil\n" {
		t.Errorf("acme-tool says %q", got)
	}
}

func TestRollback_IsIgnoredWithStateAndAcceptedWithout(t *testing.T) {
	t.Parallel()
	l := openLab(t)
	d, repo := acmeDevice(t, l, "d1")
	must(t, PublishAcme(repo, 1))
	if out, code := apt(t, d, "update"); code != 0 {
		t.Fatal(out)
	}
	publishAcmeWith(t, repo, 0, func(s *debrepo.Suite) { s.Date = time.Now().Add(-24 * time.Hour) })
	if out, code := apt(t, d, "--error-on=any", "update"); code != 0 {
		t.Errorf("rollback with state: %d\n%s", code, out)
	}
	if plan := mustOutput(t, d, "apt-get", "-s", "upgrade"); !strings.Contains(plan, "Inst acme-lib") {
		t.Errorf("the rollback was taken although newer lists were there:\n%s", plan)
	}
	mustOutput(t, d, "sh", "-c", "rm -rf /var/lib/apt/lists/*")
	if out, code := apt(t, d, "--error-on=any", "update"); code != 0 {
		t.Errorf("rollback without state: %d\n%s", code, out)
	}
	if plan := mustOutput(t, d, "apt-get", "-s", "upgrade"); strings.Contains(plan, "Inst acme-lib") {
		t.Errorf("the rollback was not taken although there were no lists:\n%s", plan)
	}
}

func TestAptWithSqv_VerifiesTheSignature(t *testing.T) {
	t.Parallel()
	base, err := Base(t.Context(), MinimalBase("trixie"))
	must(t, err)
	l := openLab(t)
	repo, source, err := l.AcmeRepo()
	must(t, err)
	d, err := l.NewDevice(t.Context(), DeviceSpec{Name: "d1", Base: base})
	must(t, err)
	must(t, d.SetSources(source))
	mustOutput(t, d, "test", "-x", "/usr/bin/sqv")
	must(t, d.InstallAcme(t.Context()))
	publishAcmeWith(t, repo, 1, func(s *debrepo.Suite) { s.Seal = debrepo.WrongKey })
	if out, code := apt(t, d, "--error-on=any", "update"); code != 100 || !strings.Contains(out, "sqv") {
		t.Errorf("wrong key: %d\n%s", code, out)
	}
}
