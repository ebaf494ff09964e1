package apt

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/installation"
	"assent/pkgver"
	"assent/wire"
)

// What may reach a command line or a preferences file. Anything else is refused before a process starts: a name such
// as "foo-", "fo*", "~nfoo", "./x.deb" or "foo/suite" means something else to apt. "foo-" is a legal name all
// the same, and harmless in the one form that is ever used: name:arch=version.
var (
	itemName   = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]*$`)
	itemArch   = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)
	itemDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// maxItemText caps names, architectures and versions, in bytes.
const maxItemText = 256

// checkName refuses what is not a name, architecture and version.
func checkName(name, arch, version string) error {
	switch {
	case len(name) > maxItemText || !itemName.MatchString(name):
		return fmt.Errorf("%.80q is not a package name", name)
	case len(arch) > maxItemText || !itemArch.MatchString(arch):
		return fmt.Errorf("%.80q is not an architecture", arch)
	case len(version) > maxItemText:
		return fmt.Errorf("%.80q is not a version", version)
	}
	if _, err := pkgver.ParseDeb(version); err != nil {
		return fmt.Errorf("%.80q is not a version: %w", version, err)
	}
	return nil
}

// checkWant refuses a Want that does not say exactly what is meant.
func checkWant(want pkgmgr.Want) error {
	if len(want.Remove) > 0 {
		return checkRemoval(want)
	}
	seen := map[string]bool{}
	for _, it := range slices.Concat(want.Items, want.Extras) {
		err := checkName(it.Name, it.Arch, it.Version)
		if err == nil && !itemDigest.MatchString(it.SHA256) {
			err = fmt.Errorf("%s has no SHA-256", it.Key())
		}
		if err == nil && it.Size < 0 {
			err = fmt.Errorf("%s has a negative size", it.Key())
		}
		if err != nil {
			return &pkgmgr.Refusal{Cause: installation.UnknownData, Detail: "The order cannot be carried out: " + err.Error() + "."}
		}
	}
	for _, it := range want.Items {
		if id := it.Name + ":" + it.Arch; seen[id] {
			return &pkgmgr.Refusal{Cause: installation.Unresolvable, Detail: "Two versions of " + id + " are wanted at once."}
		}
		seen[it.Name+":"+it.Arch] = true
	}
	return nil
}

// refuse makes a refusal with what stands outside the Want.
func refuse(cause installation.Cause, changes []wire.Change, format string, args ...any) *pkgmgr.Refusal {
	return &pkgmgr.Refusal{Cause: cause, Changes: changes, Detail: fmt.Sprintf(format, args...)}
}

// names puts changes in words, a few of them.
func names(changes []wire.Change) string {
	const most = 8
	var out []string
	for _, c := range changes[:min(len(changes), most)] {
		switch c.Op {
		case wire.OpRemove:
			out = append(out, c.Name)
		default:
			out = append(out, c.Name+" "+c.Version)
		}
	}
	s := strings.Join(out, ", ")
	if more := len(changes) - most; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// has reports whether items hold this very version, whatever its content.
func has(items []catalog.Item, name, arch, version string) bool {
	return slices.ContainsFunc(items, func(it catalog.Item) bool {
		return it.Name == name && it.Arch == arch && it.Version == version
	})
}
