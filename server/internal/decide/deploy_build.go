package decide

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"assent/catalog"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/index"
)

// withheld says why a package can be neither deployed nor downloaded now: what it was made from, or what that needs, may
// have been recalled or declined since.
func (s *Service) withheld(v *index.View, p ledger.Package, u index.Update) *fault.Error {
	now := s.index.Now().UTC()
	group := cmp.Or(p.Group, fleet.Root)
	for _, w := range withPrerequisites(v, u) {
		refusal := firstRefusal(func() *fault.Error { return ungiven(v, w) }, func() *fault.Error { return kept(v, w, fleet.Root, now) },
			func() *fault.Error { return kept(v, w, group, now) }, func() *fault.Error { return lacking(v, w) }, func() *fault.Error { return unverified(v, w) })
		if refusal != nil {
			return refusal
		}
	}
	return unagreed(v, u)
}

// lacking says which prerequisite no release of the feed meets.
func lacking(v *index.View, u index.Update) *fault.Error {
	if u.Published == nil {
		return nil
	}
	for _, req := range u.Published.Requires {
		if _, ok := prerequisite(v, u, req); !ok {
			return fault.New(fault.Conflict, "prerequisite_missing", "%s needs %s %s or newer first, and its feed has no such release.", title(u), req.Application, req.Version)
		}
	}
	return nil
}

// unverified keeps content in that the test devices have not verified, or have refused (C6).
func unverified(v *index.View, u index.Update) *fault.Error {
	if u.Class != catalog.Content {
		return nil
	}
	switch answer, known := v.State().Contents[u.ID]; {
	case !known:
		return fault.New(fault.Conflict, "not_released", "%s is staged: no test device has verified it yet.", title(u))
	case !answer.Passed:
		return fault.New(fault.Conflict, "not_released", "The test devices refused %s (act %d): %s. It never leaves staging.", title(u), answer.Act, shorten(answer.Reason))
	}
	return nil
}

// builds lists what downloads of an update consist of, by platform. Prerequisites come first; a platform for which one of
// them has no file has no download.
func builds(v *index.View, u index.Update) []client.PackageBuild {
	needs := withPrerequisites(v, u)
	slices.Reverse(needs)
	out := []client.PackageBuild{}
	if f := u.Published.Format; f != catalog.Deb && !f.Side() {
		return out // nothing here installs it offline
	}
	for _, arch := range platforms(u) {
		b := client.PackageBuild{Arch: arch}
		whole := true
		for _, w := range needs {
			files := filesFor(w, arch)
			whole = whole && len(files) > 0
			b.Files = append(b.Files, files...)
		}
		for _, f := range b.Files {
			b.Size += f.Size
		}
		if b.File = fileName(u, b); whole {
			out = append(out, b)
		}
	}
	return out
}

// platforms are what an update has builds for: the architectures of its files, or "all" where they fit every one.
func platforms(u index.Update) []string {
	var out []string
	for _, it := range own(u) {
		if it.Arch != "all" && !slices.Contains(out, it.Arch) {
			out = append(out, it.Arch)
		}
	}
	if len(out) == 0 {
		return []string{"all"}
	}
	slices.Sort(out)
	return out
}

// filesFor are the files of an update for a platform.
func filesFor(u index.Update, arch string) []client.PackageFile {
	var out []client.PackageFile
	for _, it := range own(u) {
		// A prerequisite may say less of what it fits: "amd64" or "debian" fits "debian-12-amd64" too.
		if it.Arch == "all" || it.Arch == arch || strings.HasSuffix(arch, "-"+it.Arch) || it.Format.Side() && strings.HasPrefix(arch, it.Arch+"-") {
			out = append(out, client.PackageFile{Update: ref(u), Item: it})
		}
	}
	return out
}

// fileName is what a download is called: the vendor's own package under its usual name, else a script.
func fileName(u index.Update, b client.PackageBuild) string {
	if len(b.Files) == 1 && bare(b.Files[0]) && !isAgent(u) {
		it := b.Files[0]
		return fmt.Sprintf("%s_%s_%s.deb", it.Name, strings.ReplaceAll(it.Version, ":", "%3a"), it.Arch)
	}
	return fmt.Sprintf("%s-%s-%s.sh", u.Name, strings.ReplaceAll(u.Version, ":", "%3a"), b.Arch)
}

// bare reports whether a file can be given as it is: the package manager of the device knows how to check and install it.
func bare(f client.PackageFile) bool { return !f.Format.Side() }
