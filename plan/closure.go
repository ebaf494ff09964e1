package plan

import (
	"fmt"
	"slices"
	"strings"

	"assent/approval"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

// settle holds every update whose closure is not admitted, until nothing changes: holding one update
// can take away what another one needs. It only ever turns installs into holds, so it ends.
func (c *computation) settle() {
	for changed := true; changed; {
		changed = false
		for _, v := range c.candidates {
			if v.Action == Install && !c.admitClosure(v) {
				changed = true
			}
		}
	}
}

// admitClosure checks everything that apt would change with v, and fills Extras, With and Download.
func (c *computation) admitClosure(v *candidate) bool {
	v.Extras, v.Removes, v.With, v.after = nil, nil, nil, nil
	var needs []catalog.Release
	if !c.admitRequirements(v, &needs) {
		return false
	}
	for _, ch := range v.offer.Closure {
		if v.owns(ch) {
			continue
		}
		if !c.admitChange(v, ch, &needs) {
			return false
		}
	}
	if len(needs) > 0 {
		v.Needs = needs
		v.hold(installation.UnapprovedDependency, "it would also bring %s, which nobody approved: approve it too", names(needs))
		return false
	}
	slices.Sort(v.With)
	v.With = slices.Compact(v.With)
	v.Download = 0
	for _, it := range slices.Concat(v.Items, v.Extras) {
		v.Download += it.Size
	}
	return true
}

// owns reports whether a change is one of the items that v installs anyway.
func (v *candidate) owns(ch wire.Change) bool {
	return slices.ContainsFunc(v.Items, func(it catalog.Item) bool {
		return it.Name == ch.Name && it.Version == ch.Version && (it.Arch == ch.Arch || it.Arch == "all")
	})
}

// admitChange judges one change outside v's own items. It returns false when v is held by it; what only
// lacks an approval is added to needs, so that the answer names the whole set.
func (c *computation) admitChange(v *candidate, ch wire.Change, needs *[]catalog.Release) bool {
	switch ch.Op {
	case wire.OpRemove:
		return c.admitRemoval(v, ch)
	case wire.OpDowngrade:
		v.hold(installation.DowngradeNeeded, "apt would downgrade %s from %s to %s", ch.Name, ch.From, ch.Version)
		return false
	case wire.OpInstall, wire.OpUpgrade, wire.OpReinstall:
	default:
		v.hold(installation.UnknownData, "the device reports the unknown change %q of %s", ch.Op, ch.Name)
		return false
	}
	release := catalog.Release{Software: catalog.Software{Ecosystem: v.Release.Ecosystem, Namespace: ch.Space, Name: ch.Source}, Version: ch.SrcVer}
	if other := c.installOf(release.Software); other != nil && other != v {
		v.With = append(v.With, other.Update)
		return true
	}
	if res := c.status(release); res.Status == approval.Declined {
		d := res.Decision
		v.hold(installation.DeclinedDependency, "apt would also install %s %s, which %s declined (act %d)", ch.Name, ch.Version, d.By, d.Act)
		return false
	}
	if ch.Op == wire.OpInstall && c.newDependencies(v) && v.extra(ch) {
		return true
	}
	return c.need(v, release, needs)
}

// need records that release must be approved too, or says why its approval does not help.
func (c *computation) need(v *candidate, release catalog.Release, needs *[]catalog.Release) bool {
	if other := c.byRelease[release]; other != nil && other.Action == Hold {
		v.hold(other.Cause, "it needs %s %s, which is held: %s", release.Name, release.Version, other.Reasons[len(other.Reasons)-1].Text)
		v.Needs = slices.Clone(other.Needs)
		return false
	}
	if release == v.Release {
		v.hold(installation.NotCovered, "apt would add a file of this release that the approval does not cover; approve again to cover it")
		return false
	}
	if !slices.Contains(*needs, release) {
		*needs = append(*needs, release)
	}
	return true
}

// installOf finds the update of this software that is being installed. Another release than the closure
// names is good enough here: apt named its own candidate, and the device checks the real transaction.
func (c *computation) installOf(s catalog.Software) *candidate {
	i := slices.IndexFunc(c.candidates, func(v *candidate) bool { return v.Action == Install && v.Release.Software == s })
	if i < 0 {
		return nil
	}
	return c.candidates[i]
}

// extra admits a new package if the approval binds exactly this file.
func (v *candidate) extra(ch wire.Change) bool {
	it := catalog.Item{Name: ch.Name, Arch: ch.Arch, Version: ch.Version, Size: ch.Size, SHA256: ch.SHA256}
	if cause, _ := v.mismatch(it); cause != "" {
		return false
	}
	v.Extras = append(v.Extras, it)
	return true
}

// newDependencies is the T3 option of the tasks that admit v; of those that cover the device where no rule had to (C6).
func (c *computation) newDependencies(v *candidate) bool {
	if v.terms.None() {
		return c.here.NewDependencies()
	}
	return v.terms.Options().NewDependencies
}

func names(rs []catalog.Release) string {
	var out []string
	for _, r := range rs {
		out = append(out, fmt.Sprintf("%s %s", r.Name, r.Version))
	}
	return strings.Join(out, ", ")
}
