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

// admitRemoval judges a package that the package manager would remove along with v. It goes only if every task that admits v
// names it (T3); what the device cannot do without, what it holds and what is declined stays whatever a task names.
func (c *computation) admitRemoval(v *candidate, ch wire.Change) bool {
	if keeping := v.terms.Keeping(ch.Name); len(keeping) > 0 || v.terms.None() {
		var how []string
		for _, t := range keeping {
			how = append(how, fmt.Sprintf("%q (assent task edit %s --may-remove %s)", t.Name, t.ID, ch.Name))
		}
		text := fmt.Sprintf("apt would remove %s %s; removals are never implied", ch.Name, ch.From)
		if len(how) > 0 {
			text += ": if it may go, name it in the task " + strings.Join(how, " and in ")
		}
		v.hold(installation.RemovalNeeded, "%s", text)
		return false
	}
	there, declined := c.goes(v.Release.Ecosystem, ch)
	switch {
	case v.Release.Ecosystem != catalog.Deb.Ecosystem():
		v.hold(installation.RemovalNeeded, "%s %s would be removed, which Assent does along with an update only where apt is the package manager", ch.Name, ch.From)
	case ch.Essent || ch.Name == wire.AgentPackage:
		v.hold(installation.RemovalNeeded, "apt would remove %s %s, which the device cannot do without: that is never done, whatever a task names", ch.Name, ch.From)
	case there.Hold:
		v.hold(installation.HeldPackage, "apt would remove %s, which is on hold on the device (apt-mark hold)", ch.Name)
	case declined:
		v.hold(installation.RemovalNeeded, "apt would remove %s %s, which is declined and stays as it is until somebody rolls it back or lifts the decline (C3)", ch.Name, ch.From)
	default:
		v.Removes = append(v.Removes, catalog.Item{Name: ch.Name, Arch: ch.Arch, Version: ch.From})
		return true
	}
	return false
}

// goes finds the installed package that a removal means, and whether its release is declined here.
func (c *computation) goes(ecosystem string, ch wire.Change) (p wire.Package, declined bool) {
	i := slices.IndexFunc(c.in.Inventory.Packages, func(p wire.Package) bool {
		return p.Name == ch.Name && p.Arch == ch.Arch && p.In(c.in.Inventory.Ecosystem) == ecosystem
	})
	if i < 0 {
		return p, false
	}
	p = c.in.Inventory.Packages[i]
	return p, slices.ContainsFunc(c.in.Known.Releases(catalog.Software{Ecosystem: ecosystem, Name: p.Source}), func(u catalog.Update) bool {
		return u.Version == p.SourceVersion && hasItem(u, p.Name, p.Version) && c.status(u.Release).Status == approval.Declined
	})
}

// tellRemovals gives what would be removed along with an install its line in the trace.
func (c *computation) tellRemovals() {
	for _, v := range c.candidates {
		if v.Action == Install && len(v.Removes) > 0 {
			var going []string
			for _, it := range v.Removes {
				going = append(going, it.Name+" "+it.Version)
			}
			v.say("T3", "it removes %s: the task %q says that it may", strings.Join(going, ", "), v.Task)
		}
	}
}
