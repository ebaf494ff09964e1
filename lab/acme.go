package lab

import (
	"context"
	"fmt"

	"assent/lab/debrepo"
)

// The suites of the Acme repository.
const (
	AcmeSuite    = "acme"
	AcmeSecurity = "acme-security"
)

// AcmeSteps is the number of states that PublishAcme knows.
const AcmeSteps = 3

// acmeSlow takes two seconds to configure. If /etc/acme-slow.hold exists it says so in /run/acme-slow.started and
// waits until the file is gone, so that a test can act in the middle of an installation without guessing times.
const acmeSlow = `#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
echo $$ > /run/acme-slow.started
[ -e /etc/acme-slow.hold ] || sleep 2
while [ -e /etc/acme-slow.hold ]; do sleep 0.05; done
rm -f /run/acme-slow.started
`

// AcmePackages are the packages of the Acme repository, by suite, as they are out at a step:
//
//   - step 0: version 1.0 of everything, to be installed on devices;
//   - step 1: all updates as well, old versions staying available;
//   - step 2: newer versions of some that step 1 updated (acme-app 2.1, acme-lib 2.1, acme-tool 2.1, acme-sec 1.2),
//     to see what becomes of decisions about their predecessors.
//
// What each is for:
//
//	acme-app      1.1 needs acme-lib >= 1.0, 2.0 needs acme-lib >= 2.0
//	acme-lib      1.1, 2.0
//	acme-tool     1.1; 2.0 conflicts with acme-old, which is installed
//	acme-db       1.1 needs acme-newdep, which is new
//	acme-conf     1.1 changes a conffile
//	acme-svc      1.1 fails in postinst
//	acme-slow     1.1 configures slowly, see acmeSlow
//	acme-sec      1.1 comes from the security suite
//	acme-suite-a, acme-suite-b   two packages of the source acme-suite
//	acme-data     architecture all
//	acme-phased   1.1 is phased at 10 %
//	acme-removes  2.0 removes acme-removed
//	acme-big      1.1 is a download of four million bytes
func AcmePackages(step int) (main, security []debrepo.Package) {
	main = acmeOld()
	if step >= 1 {
		main = append(main, acmeNew()...)
		security = append(security, acme("acme-sec", "1.1"))
	}
	if step >= 2 {
		app := acme("acme-app", "2.1")
		app.Depends = "acme-lib (>= 2.0)"
		tool := acme("acme-tool", "2.1")
		tool.Conflicts = "acme-old"
		main = append(main, app, acme("acme-lib", "2.1"), tool)
		security = append(security, acme("acme-sec", "1.2"))
	}
	return main, security
}

func acmeOld() []debrepo.Package {
	var out []debrepo.Package
	for _, name := range AcmeInstalled() {
		p := acme(name, "1.0")
		switch name {
		case "acme-app":
			p.Depends = "acme-lib (>= 1.0)"
		case "acme-conf":
			withConffile(&p, "level=1\n")
		case "acme-suite-a", "acme-suite-b":
			p.Source = "acme-suite"
		case "acme-data":
			p.Arch = "all"
		}
		out = append(out, p)
	}
	return out
}

func acmeNew() []debrepo.Package {
	app, app2 := acme("acme-app", "1.1"), acme("acme-app", "2.0")
	app.Depends, app2.Depends = "acme-lib (>= 1.0)", "acme-lib (>= 2.0)"
	tool2 := acme("acme-tool", "2.0")
	tool2.Conflicts = "acme-old"
	db := acme("acme-db", "1.1")
	db.Depends = "acme-newdep"
	conf := acme("acme-conf", "1.1")
	withConffile(&conf, "level=2\nnew=yes\n")
	svc := acme("acme-svc", "1.1")
	svc.PostInst = "#!/bin/sh\necho acme-svc: cannot start >&2\nexit 7\n"
	slow := acme("acme-slow", "1.1")
	slow.PostInst = acmeSlow
	a, b := acme("acme-suite-a", "1.1"), acme("acme-suite-b", "1.1")
	a.Source, b.Source = "acme-suite", "acme-suite"
	data := acme("acme-data", "1.1")
	data.Arch = "all"
	phased := acme("acme-phased", "1.1")
	phased.Phased = 10
	removes := acme("acme-removes", "2.0")
	removes.Conflicts = "acme-removed"
	big := acme("acme-big", "1.1")
	big.Pad = 4_000_000
	return []debrepo.Package{
		app, app2, acme("acme-lib", "1.1"), acme("acme-lib", "2.0"), acme("acme-tool", "1.1"), tool2,
		db, acme("acme-newdep", "1.0"), conf, svc, slow, a, b, data, phased, removes, big,
	}
}

func acme(name, version string) debrepo.Package {
	return debrepo.Package{
		Name: name, Version: version, Arch: debrepo.HostArch(), Section: "utils",
		Description: name + ", made by Acme",
		Files:       map[string]string{"/usr/bin/" + name: "#!/bin/sh\necho " + name + " " + version + "\n"},
	}
}

func withConffile(p *debrepo.Package, text string) {
	name := "/etc/" + p.Name + ".conf"
	p.Files[name] = text
	p.Conffiles = []string{name}
}

// AcmeInstalled are the packages that InstallAcme installs.
func AcmeInstalled() []string {
	return []string{
		"acme-app", "acme-lib", "acme-tool", "acme-old", "acme-db", "acme-conf", "acme-svc", "acme-slow", "acme-sec",
		"acme-suite-a", "acme-suite-b", "acme-data", "acme-phased", "acme-removes", "acme-removed", "acme-big",
	}
}

// AcmeSuites are both suites at a step, for tests that publish them with a fault.
func AcmeSuites(step int) (main, security debrepo.Suite) {
	m, s := AcmePackages(step)
	return debrepo.Suite{Name: AcmeSuite, Origin: "Acme", Label: "Acme", Packages: m},
		debrepo.Suite{Name: AcmeSecurity, Origin: "Acme", Label: "Acme-Security", Packages: s}
}

// PublishAcme makes a step the state of both suites of the repository.
func PublishAcme(r *debrepo.Repo, step int) error {
	if step < 0 || step >= AcmeSteps {
		return fmt.Errorf("publish Acme: no step %d", step)
	}
	main, security := AcmeSuites(step)
	if err := r.Publish(main); err != nil {
		return err
	}
	return r.Publish(security)
}

// AcmeRepo opens the lab's Acme repository, publishes step 0 in it if it is new, and gives the source for devices.
func (l *Lab) AcmeRepo() (*debrepo.Repo, Source, error) {
	r, err := l.Repo("acme")
	if err != nil {
		return nil, Source{}, err
	}
	if _, err := r.Pool("acme-app", "1.0"); err != nil {
		if err := PublishAcme(r, 0); err != nil {
			return nil, Source{}, err
		}
	}
	s, err := l.RepoSource(r, AcmeSuite, AcmeSecurity)
	return r, s, err
}

// InstallAcme installs version 1.0 of every Acme package on a device that has the source.
func (d *Device) InstallAcme(ctx context.Context) error {
	if _, err := d.Output(ctx, "apt-get", "-q", "--error-on=any", "update"); err != nil {
		return err
	}
	args := []string{"apt-get", "-y", "-q", "install", "--"}
	for _, name := range AcmeInstalled() {
		args = append(args, name+"=1.0")
	}
	_, err := d.Output(ctx, args...)
	return err
}
