package plan

import (
	"slices"

	"assent/approval"
	"assent/catalog"
	"assent/installation"
	"assent/ledger"
	"assent/wire"
)

// judgeInstalled gives the releases that are on the device, and that the catalog knows, their verdict:
// nothing is to be done, but what is declined and there all the same says so (C3).
func (c *computation) judgeInstalled() {
	if c.in.Inventory == nil {
		return
	}
	for _, p := range c.in.Inventory.Packages {
		for _, u := range c.releasesOf(p) {
			c.judgeOneInstalled(u, p)
		}
	}
}

// releasesOf finds the known updates that an installed package comes from. dpkg does not record who
// published a package, so the file's name and version must fit an item.
func (c *computation) releasesOf(p wire.Package) []catalog.Update {
	var out []catalog.Update
	for _, u := range c.in.Known.Releases(catalog.Software{Ecosystem: p.In(c.in.Inventory.Ecosystem), Name: p.Source}) {
		known := c.byRelease[u.Release]
		if u.Version == p.SourceVersion && (known == nil || known.Installed) && hasItem(u, p.Name, p.Version) {
			out = append(out, u)
		}
	}
	return out
}

func (c *computation) judgeOneInstalled(u catalog.Update, p wire.Package) {
	v := c.byRelease[u.Release]
	again := v != nil // another package of it was looked at before
	if !again {
		v = c.open(u.Release)
		v.update, v.Installed = u, true
	}
	if !complete(p) {
		v.hold(installation.InstallFailed, "%s %s is on the device but not fully installed (dpkg status %s): see what its maintainer script said, or roll it back", p.Name, p.Version, p.Status)
		return
	}
	if again {
		return
	}
	if v.Status == approval.Declined {
		c.judgeDeclined(v, p)
		return
	}
	if c.refused(u) {
		answer, _ := c.in.Known.Content(u.ID)
		v.say("C6", "the test devices refused it (act %d): %s", answer.Act, answer.Reason)
		c.takeBack(v, answer.Act, "")
		return
	}
	if u.Recalled() {
		v.Cause = installation.Revoked
		v.say("A8", "installed, but its publisher recalled it (%q): decline it to take it back", u.Published.Revoked.Reason)
		return
	}
	if c.misfit(v) {
		c.takeBack(v, actOf(v.Approval.Decision), string(installation.ProbeFailed))
		return
	}
	v.say("V3", "it is installed (how it came: %s)", how(p))
}

// misfit reports whether v is installed, its probes failed here, and a task takes such updates back (on_failure).
func (c *computation) misfit(v *candidate) bool {
	if _, unfit := c.in.Unfit[v.Update]; !unfit || !v.update.Removable() {
		return false
	}
	if a := c.admission(v); a.Admitted {
		lead, _ := a.Terms.Lead()
		v.under(lead.Name, a.Terms)
		return !c.fit(v)
	}
	return false
}

func actOf(d *approval.Decision) int64 {
	if d == nil {
		return 0
	}
	return d.Act
}

// complete reads dpkg's status: the second letter is what a package is, "i" for fully installed.
func complete(p wire.Package) bool { return len(p.Status) == 2 && p.Status[1] == 'i' }

func how(p wire.Package) string {
	if p.How == "" {
		return "not known"
	}
	return p.How
}

// judgeRollbacks turns ordered rollbacks into removals of what is still there (C3).
func (c *computation) judgeRollbacks() {
	for _, rb := range c.in.Rollbacks {
		for _, v := range c.candidates {
			if v.Update == rb.Update && v.Installed && slices.Contains(rb.Devices, c.in.Device.ID) {
				c.judgeRollback(v, rb)
			}
		}
	}
}

func (c *computation) judgeRollback(v *candidate, rb ledger.Rollback) {
	if v.Status == approval.Approved {
		v.say("C3", "%s ordered a rollback (act %d), but it was approved since: it stays", rb.By, rb.Act)
		return
	}
	if v.Action == Remove {
		v.say("C3", "%s ordered a rollback too (act %d)", rb.By, rb.Act)
		return // it is taken back already, because it is declined
	}
	items := c.recorded(v)
	v.say("C3", "%s ordered a rollback (act %d)", rb.By, rb.Act)
	if cause, text := c.restorable(v, items); cause != "" {
		v.hold(cause, "%s", text)
		return
	}
	v.Action, v.Cause = Remove, ""
	c.rollbacks = append(c.rollbacks, wire.PlanRollback{Act: rb.Act, Update: v.Update, Items: items})
}

// recorded lists what would put the version before v back: of a feed's application the newest one that may come back.
func (c *computation) recorded(v *candidate) []wire.RestoreItem {
	if c.in.Available == nil {
		return nil
	}
	steps := c.steps(v)
	for _, s := range steps {
		if s.usable {
			return s.items
		}
	}
	if len(steps) > 0 {
		return steps[0].items // restorable says what is wrong with it
	}
	return nil
}

// restorable checks that the recorded previous versions can be had and are not declined themselves.
func (c *computation) restorable(v *candidate, items []wire.RestoreItem) (installation.Cause, string) {
	if len(items) == 0 && (c.in.Available == nil || !c.in.Available.Closed) {
		return installation.UnknownData, "the device is still working out whether it can go back; ask again in a moment"
	}
	if len(items) == 0 {
		return installation.ContentUnavailable, "the device has no record of what was there before"
	}
	for _, it := range items {
		if it.From == "" || it.SHA256 == "" {
			return installation.ContentUnavailable, "the file of " + it.Name + " " + it.Version + " cannot be had any more"
		}
		for _, u := range c.in.Known.Releases(v.Release.Software) {
			if c.status(u.Release).Status == approval.Declined && u.Release != v.Release && hasItem(u, it.Name, it.Version) {
				return installation.Declined, "the previous version " + u.Version + " is declined too"
			}
		}
	}
	return "", ""
}

func hasItem(u catalog.Update, name, version string) bool {
	return slices.ContainsFunc(u.Items, func(b catalog.Bound) bool {
		return b.Role == catalog.Own && b.Name == name && b.Version == version
	})
}
