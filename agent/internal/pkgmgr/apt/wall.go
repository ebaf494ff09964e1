package apt

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"assent/agent/internal/pkgmgr"
	"assent/catalog"
)

// The wall is how apt is made to choose nothing but what is wanted. For one run it reads, instead of the device's
// own preferences, a file in which what is installed is legal, the wanted versions are preferred, and every other
// version of every package has a negative priority: no candidate, and no help for a dependency. Only removals get
// past it, so what apt would do is compared with the Want all the same. It means the same to apt 2.2, 2.6 and
// 3.0 under the classic solver, which is asked for by name.
func wall(want pkgmgr.Want) string {
	var b strings.Builder
	b.WriteString("Package: *\nPin: release a=now\nPin-Priority: 100\n\nPackage: *\nPin: release *\nPin-Priority: -1\n\n")
	for _, it := range want.Items {
		pin(&b, it)
	}
	for _, it := range want.Extras {
		pin(&b, it)
	}
	return b.String()
}

// pin writes one specific pin. An architecture-independent package is pinned by its bare name in all
// architectures, since apt files it under the native one.
func pin(b *strings.Builder, it catalog.Item) {
	arch := it.Arch
	if arch == "all" {
		arch = "any"
	}
	fmt.Fprintf(b, "Package: %s:%s\nPin: version %s\nPin-Priority: 990\n\n", it.Name, arch, it.Version)
}

// preferences is whose word on versions counts in a run of apt.
type preferences struct {
	file, parts string // Dir::Etc::Preferences and …Parts; both empty: the device's own
}

// options are the arguments that make apt use them.
func (p preferences) options() []string {
	if p.file == "" {
		return nil
	}
	return []string{"-o", "Dir::Etc::Preferences=" + p.file, "-o", "Dir::Etc::PreferencesParts=" + p.parts}
}

// writePreferences puts a preferences file into dir, with an empty directory for its parts beside it.
func writePreferences(dir, text string) (preferences, error) {
	p := preferences{filepath.Join(dir, "preferences"), filepath.Join(dir, "preferences.d")}
	if err := os.MkdirAll(p.parts, 0o755); err != nil {
		return p, fmt.Errorf("write preferences for one run: %w", err)
	}
	if err := os.WriteFile(p.file, []byte(text), 0o644); err != nil {
		return p, fmt.Errorf("write preferences for one run: %w", err)
	}
	return p, nil
}

// scratch makes a directory for one run of apt, which the caller removes.
func (a *Apt) scratch() (string, error) {
	parent := filepath.Join(a.cfg.StateDir, "apt", "run")
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", fmt.Errorf("make room for a run of apt: %w", err)
	}
	dir, err := os.MkdirTemp(parent, "")
	if err != nil {
		return "", fmt.Errorf("make room for a run of apt: %w", err)
	}
	return dir, nil
}

// common are the options of every run: the classic solver, nothing that was not asked for by name, no phasing
// (who approves a version has seen that it is phased), no automatic removals.
func common() []string {
	return []string{
		"-o", "APT::Solver=internal",
		"-o", "APT::Install-Recommends=false",
		"-o", "APT::Install-Suggests=false",
		"-o", "APT::Get::AutomaticRemove=false",
		"-o", "APT::Get::Purge=false",
		"-o", "APT::Get::Always-Include-Phased-Updates=true",
		"-o", "APT::Get::Show-User-Simulation-Note=false",
		"-o", "APT::Color=false",
		"-o", "Dpkg::Use-Pty=0",
	}
}

// arguments are the wanted items in the form that apt cannot take for anything else. A version to go back to that no
// package source has any more is named by the path of its kept file.
func (a *Apt) arguments(w *world, want pkgmgr.Want, items []catalog.Item) []string {
	out := []string{"--"}
	for _, it := range items {
		if path, ok := a.localFile(w, want, it); ok {
			out = append(out, path)
			continue
		}
		out = append(out, it.Key())
	}
	return out
}

// localFile is the kept file of an item that no package source has any more, for a rollback.
func (a *Apt) localFile(w *world, want pkgmgr.Want, it catalog.Item) (string, bool) {
	if !want.Downgrade || len(w.offered(it.Name, it.Arch, it.Version)) > 0 {
		return "", false
	}
	path := filepath.Join(a.kept(), archiveName(it.Name, it.Arch, it.Version))
	sum, _, err := fileDigest(path)
	return path, err == nil && sum == it.SHA256
}
