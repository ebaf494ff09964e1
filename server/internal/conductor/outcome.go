package conductor

import (
	"slices"

	"assent/catalog"
	"assent/fleet"
	"assent/installation"
	"assent/plan"
	"assent/rollout"
	"assent/server/internal/index"
	"assent/server/internal/planner"
	"assent/server/internal/store"
)

// byAssent is how a version came that the agent installed (V4).
const byAssent = "assent"

// probePassed is what an agent says of probes that passed.
const probePassed = "passed"

// outcome is where an update stands on a device, for rollout.Advance.
func (s *sight) outcome(d index.Device, u index.Update, v plan.Verdict) rollout.Outcome {
	row, reported := d.Install(u.ID)
	at := planner.Standing(d, u, v)
	switch {
	case reported && v.Action != plan.Install && row.Cause == installation.ProbeFailed && takenBack(row.State):
		at.State, at.Cause, at.Since = row.State, row.Cause, row.Since // whatever the last scan still shows
	case !reported || at.State != installation.Blocked:
	case row.State == installation.Failed:
		at.State, at.Cause, at.Since = row.State, row.Cause, row.Since // it failed before the ring closed or its window ended
	case at.Since.IsZero():
		at.Since = row.Since
	}
	if v.Action == plan.None && (at.State == installation.Applicable || at.State == installation.Unknown) {
		at.State = installation.NotApplicable // it is not going to get it: something newer is chosen, or nobody admits it
	}
	return rollout.Outcome{Device: d.ID, Path: s.v.Tree().Path(d.Group), Gone: d.State != fleet.Active, State: at.State, Cause: at.Cause,
		Ours: ours(d, u, at.State, row), Probe: probe(at.State, row), Since: at.Since}
}

// takenBack reports whether a state is one of going back.
func takenBack(s installation.State) bool {
	return s == installation.Removing || s == installation.Removed || s == installation.RemoveFailed
}

// ours reports whether Assent brought an update to where it is (V4).
func ours(d index.Device, u index.Update, state installation.State, row store.InstallRow) bool {
	switch {
	case takenBack(state):
		return true // an agent does that by order only
	case state == installation.Installed, state == installation.RestartRequired:
		if how := came(d, u); how != "" {
			return how == byAssent
		}
		return row.Proof != nil && row.Proof.Transaction != ""
	}
	return false
}

// came is how the packages of a release came onto a device: "assent" only if all did; empty if nobody knows.
func came(d index.Device, u index.Update) string {
	how := ""
	for p := range d.Packages() {
		if p.Source != u.Name || p.SourceVersion != u.Version || p.How == "" {
			continue
		}
		own := slices.ContainsFunc(u.Items, func(it catalog.Bound) bool { return it.Role == catalog.Own && it.Name == p.Name })
		if own && (how == "" || how == byAssent) {
			how = p.How
		}
	}
	return how
}

// probe is what the health probes said of the install that the row tells of.
func probe(state installation.State, row store.InstallRow) rollout.Probe {
	switch {
	case row.Cause == installation.ProbeFailed:
		return rollout.ProbeFailed
	case state != installation.Installed && state != installation.RestartRequired || row.Proof == nil:
		return ""
	case row.Proof.Probe == probePassed:
		return rollout.ProbePassed
	case row.Proof.Probe != "":
		return rollout.ProbeFailed
	}
	return ""
}
