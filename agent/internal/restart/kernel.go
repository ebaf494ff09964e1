package restart

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"assent/pkgver"
	"assent/wire"
)

// Kernels are what is known of a device's kernels.
type Kernels struct {
	Running   string   // release, as uname -r gives it
	Build     string   // as uname -v gives it
	Installed []string // releases that have an image on disk
	Package   string   // version of the running release's package where dpkg has it, else empty
}

var (
	releaseName = regexp.MustCompile(`^[0-9][0-9A-Za-z._+~-]{0,120}$`)
	debianBuild = regexp.MustCompile(`\bDebian ([0-9][0-9A-Za-z.+~:-]*)`)
	dashedTail  = regexp.MustCompile(`-([A-Za-z].*)$`)
	// distribution is the part of an rpm's release that changes with the distribution's own version.
	distribution = regexp.MustCompile(`^(el|fc|amzn|azl|cm)[0-9].*$`)
	rebuild      = regexp.MustCompile(`\+b[0-9]+$`)
)

// flavour is what of a release stays the same from one of its versions to the next: "cloud-amd64" of 6.1.0-9-cloud-amd64,
// "el.x86_64" of 5.14.0-362.8.1.el9_3.x86_64.
func flavour(release string) string {
	if tail := dashedTail.FindStringSubmatch(release); tail != nil {
		return tail[1]
	}
	var words []string
	for w := range strings.SplitSeq(release, ".") {
		if w != "" && (w[0] < '0' || w[0] > '9') {
			words = append(words, distribution.ReplaceAllString(w, "$1"))
		}
	}
	return strings.Join(words, ".")
}

// Newest is the newest installed kernel of the kind that runs; the one that runs where none is newer, and empty where that
// cannot be said: a container's kernel is none of its own.
func (k Kernels) Newest() string {
	if !releaseName.MatchString(k.Running) {
		return ""
	}
	newest := ""
	for _, r := range k.Installed {
		if !releaseName.MatchString(r) || flavour(r) != flavour(k.Running) {
			continue
		}
		if newest == "" || newer(r, newest) {
			newest = r
		}
	}
	if newest == "" || newer(k.Running, newest) {
		return k.Running
	}
	return newest
}

// newer orders releases as their packages are ordered. The order of rpm reads every release, and agrees with dpkg's in what
// names of kernels have.
func newer(a, b string) bool {
	order, err := pkgver.Compare("rpm", rpmVersion(a), rpmVersion(b))
	return err == nil && order > 0
}

// rpmVersion makes a release a version: a dash would split it.
func rpmVersion(release string) string { return strings.ReplaceAll(release, "-", ".") }

// Stale is the reason to restart for another kernel; false if there is none.
func (k Kernels) Stale() (wire.RestartReason, bool) {
	why := wire.RestartReason{Kind: wire.StaleKernel, Name: "kernel"}
	if newest := k.Newest(); newest != "" && newest != k.Running {
		why.Detail = fmt.Sprintf("The kernel %s is installed, and %s runs.", newest, k.Running)
		return why, true
	}
	build := debianBuild.FindStringSubmatch(k.Build)
	if build == nil || k.Package == "" || !slices.Contains(k.Installed, k.Running) {
		return why, false
	}
	if order, err := pkgver.Compare("deb", rebuild.ReplaceAllString(k.Package, ""), build[1]); err != nil || order <= 0 {
		return why, false
	}
	why.Detail = fmt.Sprintf("The kernel %s is installed in version %s, and version %s of it runs.", k.Running, k.Package, build[1])
	return why, true
}

// Wants is what should run after a restart, to compare with Runs after it; empty for whatever comes.
func (k Kernels) Wants() string {
	if _, stale := k.Stale(); !stale {
		return ""
	}
	if newest := k.Newest(); newest != k.Running {
		return newest
	}
	return k.Running + " " + rebuild.ReplaceAllString(k.Package, "")
}

// Runs reports whether the kernel that Wants named runs.
func (k Kernels) Runs(want string) bool {
	release, version, exact := strings.Cut(want, " ")
	if want == "" || !exact {
		return want == "" || k.Running == release || newer(k.Running, release)
	}
	build := debianBuild.FindStringSubmatch(k.Build)
	if k.Running != release || build == nil {
		return newer(k.Running, release)
	}
	order, err := pkgver.Compare("deb", build[1], version)
	return err == nil && order >= 0
}
