package plan

import (
	"cmp"
	"slices"

	"assent/approval"
	"assent/catalog"
	"assent/fleet"
	"assent/wire"
)

// plan writes down what the agent needs. It holds nothing that differs between devices with the same
// facts and scope, so that they share it.
func (c *computation) plan() wire.Plan {
	p := draft{Plan: wire.Plan{Format: 1, Guard: c.in.Guard, Rollback: c.rollbacks, Remove: c.removals, Feeds: c.in.Feeds, Deny: c.denies()}}
	for _, v := range c.candidates {
		switch {
		case v.Action == Install:
			in := wire.PlanInstall{Update: v.Update, Release: v.Release, Items: v.Items, Extras: v.Extras, Closure: ids(v.With), After: ids(v.after)}
			in.Terms = p.termsOf(v)
			if pub := v.update.Published; pub != nil {
				in.Exclusive, in.Probe = pub.Exclusive, pub.Probe
			}
			p.Install = append(p.Install, in)
		case v.Status == approval.Approved && c.in.Guard != fleet.ApprovedOnly:
			p.Allow = appendAllow(p.Allow, v.update, v.Approval.Decision)
		}
		p.Verdicts = append(p.Verdicts, wire.PlanVerdict{Update: v.Update, Release: v.Release, Verdict: string(v.Action), Cause: string(v.Cause), Reasons: texts(v.Reasons)})
	}
	if c.in.Guard == fleet.ApprovedOnly {
		p.Allow = c.allApproved()
	}
	p.Restart = c.restart()
	return p.Plan
}

// speaks reports whether the device can have software of an ecosystem at all.
func (c *computation) speaks(ecosystem string) bool {
	return ecosystem == c.ecosystem() || ecosystem == catalog.Generic
}

// appendAllow adds the files that a decision binds.
func appendAllow(list []wire.PlanAllow, u catalog.Update, d *approval.Decision) []wire.PlanAllow {
	if d == nil {
		return list
	}
	items := items(u.Covered(d.Rev))
	if len(items) == 0 {
		return list
	}
	return append(list, wire.PlanAllow{Update: u.ID, Items: items})
}

// allApproved lists the content of every approval that counts on this device, also for software that
// is not installed: in approved_only mode a person may install just that.
func (c *computation) allApproved() []wire.PlanAllow {
	var out []wire.PlanAllow
	seen := map[catalog.UpdateID]bool{}
	for _, d := range c.in.Known.Approvals() {
		if seen[d.Update] || !c.speaks(d.Release.Ecosystem) || !slices.Contains(c.in.Path, d.Scope) {
			continue
		}
		seen[d.Update] = true
		if res := c.status(d.Release); res.Status == approval.Approved {
			if u, ok := c.in.Known.Update(d.Update); ok {
				out = appendAllow(out, u, res.Decision)
			}
		}
	}
	slices.SortFunc(out, func(a, b wire.PlanAllow) int { return cmp.Compare(a.Update, b.Update) })
	return out
}

// denies builds the walls: for every live decline in the device's path, all known files of the releases
// it covers and that no exception lets pass.
func (c *computation) denies() []wire.PlanDeny {
	var out []wire.PlanDeny
	for _, d := range c.in.Known.Declines() {
		if !slices.Contains(c.in.Path, d.Scope) || !c.speaks(d.Release.Ecosystem) || !d.Expires.IsZero() && !c.in.Now.Before(d.Expires) {
			continue
		}
		if deny, ok := c.deny(d); ok {
			out = append(out, deny)
		}
	}
	slices.SortFunc(out, func(a, b wire.PlanDeny) int {
		return cmp.Or(cmp.Compare(a.Software.Key(), b.Software.Key()), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Act, b.Act))
	})
	return out
}

// deny builds the wall of one decline; false when an exception opens all of it for this device.
func (c *computation) deny(d approval.Decision) (wire.PlanDeny, bool) {
	deny := wire.PlanDeny{Update: d.Update, Software: d.Release.Software, Version: d.Release.Version,
		Later: d.Reach.Later, Through: d.Reach.Through, Reason: d.Reason, By: d.By, Act: d.Act}
	for _, u := range c.in.Known.Releases(d.Release.Software) {
		tried := c.byRelease[u.Release]
		if tried != nil && tried.Action == Install {
			continue // on a test device, by a rule that says so (T1)
		}
		if approval.Covers(d, u.Release) && c.status(u.Release).Status == approval.Declined {
			for _, it := range u.Items {
				if it.Role == catalog.Own {
					deny.Items = append(deny.Items, it.Item)
				}
			}
		}
	}
	slices.SortFunc(deny.Items, func(a, b catalog.Item) int {
		return cmp.Or(cmp.Compare(a.Key(), b.Key()), cmp.Compare(a.SHA256, b.SHA256))
	})
	return deny, deny.Later || c.status(d.Release).Status == approval.Declined
}

func items(bound []catalog.Bound) []catalog.Item {
	var out []catalog.Item
	for _, b := range bound {
		out = append(out, b.Item)
	}
	slices.SortFunc(out, func(a, b catalog.Item) int {
		return cmp.Or(cmp.Compare(a.Key(), b.Key()), cmp.Compare(a.SHA256, b.SHA256))
	})
	return slices.Compact(out)
}

func ids(list []catalog.UpdateID) []string {
	var out []string
	for _, id := range list {
		out = append(out, string(id))
	}
	return out
}

func texts(steps []approval.Step) []string {
	var out []string
	for _, s := range steps {
		out = append(out, s.Rule+": "+s.Text)
	}
	return out
}
