package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// RPMBase is a Debian system with dnf 4 and rpm, for devices that BecomeRPM.
func RPMBase() BaseSpec {
	return BaseSpec{Suite: "bookworm", Include: []string{"ca-certificates", "dnf", "rpm"}}
}

// BecomeRPM makes a device on RPMBase one whose packages are RPM packages: dpkg and apt are gone, os-release names another
// distribution, rpm's database is the system's, and a package provides what the system itself gives. Freeze it then, and
// make devices on top.
func (d *Device) BecomeRPM(ctx context.Context) error {
	release, err := BuildRPM(ctx, RPM{Name: "acme-release", Version: "1", Summary: "Acme Linux",
		Provides: []string{"system-release", "/bin/sh", "/bin/bash", "/usr/bin/sh"}})
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"/etc/rpm/macros":             "%_dbpath /var/lib/rpm\n", // Debian's default lies in the home directory
		"/etc/dnf/plugins/local.conf": "[main]\nenabled = 0\n",
		"/etc/dnf/vars/releasever":    "1\n",
		"/etc/dnf/dnf.conf":           "[main]\ngpgcheck=True\ninstallonly_limit=3\nclean_requirements_on_remove=True\nbest=True\n",
		"/usr/lib/os-release":         "ID=acme\nID_LIKE=\"rhel fedora\"\nNAME=\"Acme Linux\"\nVERSION_ID=1\n",
		"/root/acme-release.rpm":      string(release),
	} {
		if err := d.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if _, err := d.Output(ctx, "rpm", "--initdb"); err != nil {
		return err
	}
	if _, err := d.Output(ctx, "rpm", "--install", "/root/acme-release.rpm"); err != nil {
		return err
	}
	_, err = d.Output(ctx, "sh", "-c", "rm -rf /root/acme-release.rpm /var/lib/dpkg /var/lib/apt /etc/apt /usr/bin/dpkg* /usr/bin/apt*")
	return err
}

// RPM is a small package for BuildRPM. Name and Version are required.
type RPM struct {
	Name, Version      string
	Release            string // "1" when empty
	Epoch              int
	Summary            string
	Requires, Provides []string
	Files              map[string]string // by absolute path; contents that begin with "#!" become executable
	Conffiles          []string          // of Files: %config(noreplace)
	Post               string            // shell
}

// BuildRPM builds a package for all architectures with the machine's own rpmbuild.
func BuildRPM(ctx context.Context, p RPM) (_ []byte, err error) {
	if err := EnsurePackages(ctx, slog.Default(), "rpm"); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "assent-rpm-")
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", p.Name, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	files := filepath.Join(dir, "files")
	if err := p.lay(files); err != nil {
		return nil, fmt.Errorf("build %s: %w", p.Name, err)
	}
	spec := filepath.Join(dir, "package.spec")
	if err := os.WriteFile(spec, []byte(p.spec(files)), 0o644); err != nil {
		return nil, fmt.Errorf("build %s: %w", p.Name, err)
	}
	if _, err := output(ctx, "", "rpmbuild", "-bb", "--quiet", "--define", "_topdir "+dir, "--define", "_dbpath "+dir+"/db",
		"--define", "__os_install_post %{nil}", spec); err != nil {
		return nil, fmt.Errorf("build %s: %w", p.Name, err)
	}
	found, err := filepath.Glob(filepath.Join(dir, "RPMS", "noarch", "*.rpm"))
	if err != nil || len(found) != 1 {
		return nil, fmt.Errorf("build %s: %d packages were made: %w", p.Name, len(found), err)
	}
	return os.ReadFile(found[0])
}

// lay writes the package's files.
func (p RPM) lay(dir string) error {
	for name, text := range p.Files {
		mode := os.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			return err
		}
	}
	return os.MkdirAll(dir, 0o755)
}

func (p RPM) spec(files string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("Name: %s\nVersion: %s\nRelease: %s\nSummary: %s\nLicense: none\nBuildArch: noarch", p.Name, p.Version, cmp.Or(p.Release, "1"), cmp.Or(p.Summary, p.Name))
	if p.Epoch > 0 {
		line("Epoch: %d", p.Epoch)
	}
	for _, s := range p.Requires {
		line("Requires: %s", s)
	}
	for _, s := range p.Provides {
		line("Provides: %s", s)
	}
	line("%%description\nA package of the lab.\n%%install\nmkdir -p %%{buildroot}\ncp -a %s/. %%{buildroot}/\n%%files", files)
	for _, name := range slices.Sorted(maps.Keys(p.Files)) {
		if slices.Contains(p.Conffiles, name) {
			name = "%config(noreplace) " + name
		}
		line("%s", name)
	}
	if p.Post != "" {
		line("%%post\n%s", p.Post)
	}
	return b.String()
}
