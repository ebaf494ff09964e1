package plan

import (
	"slices"
	"time"

	"assent/approval"
	"assent/catalog"
	"assent/feed"
	"assent/installation"
	"assent/ledger"
	"assent/pkgver"
	"assent/wire"
)

// gate stops an update at what its publisher asks for, apart from any approval (A6–A8, C6). It returns false when the
// verdict is reached.
func (c *computation) gate(v *candidate) bool {
	p := v.update.Published
	if p == nil {
		if _, ok := catalog.FeedOf(v.Release.Namespace); ok {
			v.hold(installation.UnknownData, "the server does not follow the feed that publishes it")
			return false
		}
		return true
	}
	switch {
	case p.Revoked != nil:
		v.Action, v.Cause = Hold, installation.Revoked
		v.say("A8", "its publisher recalled it on %s (%q): no new installs anywhere", p.Revoked.At.UTC().Format(time.DateOnly), p.Revoked.Reason)
	case len(p.Unknown) > 0:
		v.hold(installation.UnknownData, "this server cannot read all that its publisher says of it (%s): unknown holds", p.Unknown[0])
	case !c.atLeast(v, p.MinServer, c.in.Server, installation.ServerTooOld, "A6", "server"):
	case !c.atLeast(v, p.MinAgent, c.agent(), installation.AgentTooOld, "V2", "agent"):
	case !c.agreed(v):
	case !c.applies(v):
	default:
		return true
	}
	return false
}

func (c *computation) agent() string {
	if c.in.Available == nil {
		return ""
	}
	return c.in.Available.Agent
}

// atLeast compares a program's version with the least that is asked for. What cannot be compared holds.
func (c *computation) atLeast(v *candidate, least, have string, cause installation.Cause, rule, program string) bool {
	if least == "" {
		return true
	}
	order, err := pkgver.Compare(catalog.Generic, have, least)
	switch {
	case err != nil:
		v.hold(installation.UnknownData, "it asks for %s %s, and that cannot be compared with %q: unknown holds", program, least, have)
	case order < 0:
		v.Action, v.Cause = Hold, cause
		v.say(rule, "it needs %s %s or newer, and this one is %s: upgrade the %s", program, least, have, program)
	default:
		return true
	}
	return false
}

// agreed checks the update's own agreements; those of its prerequisites hold the prerequisites (A7).
func (c *computation) agreed(v *candidate) bool {
	if a, ok := c.pending(v.update); ok {
		v.Action, v.Cause = Hold, installation.AgreementPending
		v.say("A7", "its agreement %q has not been accepted, or not with this text", title(a))
		return false
	}
	return true
}

// pending finds an agreement of an update that is not accepted.
func (c *computation) pending(u catalog.Update) (catalog.Agreement, bool) {
	if u.Published == nil {
		return catalog.Agreement{}, false
	}
	i := slices.IndexFunc(u.Published.Agreements, func(a catalog.Agreement) bool { return !c.in.Known.Accepted(a.Digest()) })
	if i < 0 {
		return catalog.Agreement{}, false
	}
	return u.Published.Agreements[i], true
}

func title(a catalog.Agreement) string {
	if a.Title != "" {
		return a.Title
	}
	return a.ID
}

// applies checks the versions that the release may be installed over.
func (c *computation) applies(v *candidate) bool {
	have := c.in.Installed(v.Release.Software)
	if have == "" && v.update.Published.Kind == catalog.Patch {
		v.Action = None
		v.say("T3", "it is a patch: it needs a full version to be there already")
		return false
	}
	if len(v.update.Published.AppliesTo) == 0 || have == "" {
		return true
	}
	ok, err := feed.Applies(v.Release.Ecosystem, v.update.Published.AppliesTo, have)
	if err != nil {
		v.hold(installation.UnknownData, "whether it can be installed over %s cannot be judged: %v", have, err)
		return false
	}
	if !ok {
		v.Action = None
		v.say("T3", "it can only be installed over %v, and the device has %s", v.update.Published.AppliesTo, have)
	}
	return ok
}

// content decides on data files (C6): no approval is asked for. A set that is not verified goes to test devices only.
// It returns whether to install.
func (c *computation) content(v *candidate) bool {
	answer, known := c.in.Known.Content(v.Update)
	switch {
	case known && answer.Passed:
		v.say("C6", "the test devices verified it (act %d): content installs without approval", answer.Act)
	case known:
		v.Cause = installation.NotReleased
		v.say("C6", "the test devices refused it (act %d): %s. It never leaves staging", answer.Act, answer.Reason)
		return false
	case c.in.Test:
		v.say("C6", "staged: test devices verify it first, and this is one")
	default:
		v.hold(installation.NotReleased, "staged: no test device has verified it yet")
		return false
	}
	return true
}

// deployed finds the deployment that puts a release onto this device.
func (c *computation) deployed(r catalog.Release) (ledger.Deploy, bool) {
	i := slices.IndexFunc(c.in.Deploys, func(d ledger.Deploy) bool { return d.Release == r })
	if i < 0 {
		return ledger.Deploy{}, false
	}
	return c.in.Deploys[i], true
}

// callIn adds approved prerequisites that the device lacks to what is installed.
func (c *computation) callIn() {
	for changed := true; changed; {
		changed = false
		for _, v := range slices.Clone(c.candidates) {
			if v.Action != Install || v.update.Published == nil || v.terms.Options().HoldPrerequisites {
				continue // also what was superseded in this round
			}
			for _, req := range v.update.Published.Requires {
				if c.met(v, req) == nil && c.call(v, req) {
					changed = true
				}
			}
		}
		if changed {
			c.chooseNewest() // an older release of what was called in may have been on its way
		}
	}
}

// call gives the foremost fresh offer that meets a requirement its verdict as if it were asked for. It is called in at
// most once.
func (c *computation) call(v *candidate, req catalog.Requirement) bool {
	var fit []*candidate
	for _, o := range c.candidates {
		patch := o.update.Published != nil && o.update.Published.Kind == catalog.Patch
		if o.offer.Fresh && !o.called && !patch && o.Status == approval.Approved && c.meets(o.Release, v, req) {
			fit = append(fit, o)
		}
	}
	if len(fit) == 0 {
		return false
	}
	best := foremost(fit)
	best.called = true
	best.Reasons = slices.Clone(best.Approval.Trace)
	best.say("T3", "%s %s needs it first", v.Release.Name, v.Release.Version)
	c.judge(best)
	return best.Action == Install
}

func newer(a, b *candidate) bool {
	order, err := pkgver.Compare(a.Release.Ecosystem, a.Release.Version, b.Release.Version)
	return err == nil && order > 0
}

// meets reports whether a release is what a requirement of v asks for.
func (c *computation) meets(r catalog.Release, v *candidate, req catalog.Requirement) bool {
	if r.Namespace != v.Release.Namespace || r.Name != req.Application {
		return false
	}
	order, err := pkgver.Compare(r.Ecosystem, r.Version, req.Version)
	return err == nil && order >= 0
}

// met says what meets a requirement of v: an installed version (an empty candidate), or a candidate that is to be
// installed. nil: nothing does.
func (c *computation) met(v *candidate, req catalog.Requirement) *candidate {
	for _, o := range c.candidates {
		if o.Action == Install && o != v && c.meets(o.Release, v, req) {
			return o
		}
	}
	for _, ecosystem := range []string{v.Release.Ecosystem, catalog.Generic, "deb", "rpm"} {
		r := catalog.Release{Software: catalog.Software{Ecosystem: ecosystem, Namespace: v.Release.Namespace, Name: req.Application}}
		if r.Version = c.in.Installed(r.Software); r.Version != "" && c.meets(r, v, req) {
			return &candidate{Verdict: Verdict{Release: r}}
		}
	}
	return nil
}

// admitRequirements checks the prerequisites of v. What only lacks an approval is added to needs. It returns false when v
// is held by one of them.
func (c *computation) admitRequirements(v *candidate, needs *[]catalog.Release) bool {
	if v.update.Published == nil {
		return true
	}
	for _, req := range v.update.Published.Requires {
		m := c.met(v, req)
		switch {
		case m == nil:
			if !c.lacks(v, req, needs) {
				return false
			}
		case m.Update == "": // it is installed
			u, known := c.in.Known.Update(m.Release.ID())
			if a, ok := c.pending(u); known && ok {
				v.hold(installation.AgreementPending, "the agreement %q of its prerequisite %s %s has not been accepted", title(a), u.Name, u.Version)
				return false
			}
		case c.circle(m, v, nil):
			v.hold(installation.UnknownData, "its prerequisites form a circle with %s %s", m.Release.Name, m.Release.Version)
			return false
		default:
			v.With, v.after = append(v.With, m.Update), append(v.after, m.Update)
		}
	}
	return true
}

// circle reports whether from needs to before it.
func (c *computation) circle(from, to *candidate, seen []*candidate) bool {
	if from == to {
		return true
	}
	if from.update.Published == nil || slices.Contains(seen, from) {
		return false
	}
	for _, req := range from.update.Published.Requires {
		if m := c.met(from, req); m != nil && m.Update != "" && c.circle(m, to, append(seen, from)) {
			return true
		}
	}
	return false
}

// lacks says what it would take to meet a requirement that nothing meets.
func (c *computation) lacks(v *candidate, req catalog.Requirement, needs *[]catalog.Release) bool {
	for _, o := range c.candidates {
		if o.Action == Hold && c.meets(o.Release, v, req) {
			v.hold(o.Cause, "its prerequisite %s %s is held: %s", o.Release.Name, o.Release.Version, o.Reasons[len(o.Reasons)-1].Text)
			return false
		}
	}
	var best catalog.Release
	declined := false
	for _, eco := range []string{v.Release.Ecosystem, catalog.Generic, "deb", "rpm"} {
		for _, u := range c.in.Known.Releases(catalog.Software{Ecosystem: eco, Namespace: v.Release.Namespace, Name: req.Application}) {
			if !c.meets(u.Release, v, req) || u.Recalled() {
				continue
			}
			if c.status(u.Release).Status == approval.Declined {
				declined = true
				continue
			}
			if order, err := pkgver.Compare(eco, u.Version, best.Version); best.Name == "" || err == nil && order > 0 {
				best = u.Release
			}
		}
	}
	switch {
	case best.Name != "" && v.terms.Options().HoldPrerequisites && c.status(best).Status == approval.Approved:
		v.hold(installation.Unresolvable, "the task %q waits until its prerequisite %s %s is there, and nothing puts it onto this device", v.Task, best.Name, best.Version)
		return false
	case best.Name != "" && c.byRelease[best] != nil && c.byRelease[best].Status == approval.Approved:
		v.hold(installation.Unresolvable, "its prerequisite %s %s is approved, but cannot be installed on this device", best.Name, best.Version)
		return false
	case best.Name != "":
		if !slices.Contains(*needs, best) {
			*needs = append(*needs, best)
		}
		return true
	case declined:
		v.hold(installation.DeclinedDependency, "it needs %s %s or newer first, and that is declined", req.Application, req.Version)
	default:
		v.hold(installation.Unresolvable, "it needs %s %s or newer first, and its feed has no such release", req.Application, req.Version)
	}
	return false
}

// dropUncalled takes back prerequisites that nobody needs after all.
func (c *computation) dropUncalled() {
	for changed := true; changed; {
		changed = false
		for _, v := range c.candidates {
			wanted := slices.ContainsFunc(c.candidates, func(o *candidate) bool { return o.Action == Install && slices.Contains(o.With, v.Update) })
			if v.called && v.Action == Install && !wanted {
				v.Action, v.Items, v.Extras, v.Download = None, nil, nil, 0
				v.say("T3", "nothing that is to be installed needs it now")
				changed = true
			}
		}
	}
}

// judgeDeclined decides on an installed release that is declined, by its class (C1–C3, C5).
func (c *computation) judgeDeclined(v *candidate, p wire.Package) {
	v.Cause = installation.Declined
	switch {
	case v.update.Published == nil:
		v.say("C3", "installed though declined (how it came: %s): it stays until it is rolled back by an act", how(p))
	case v.update.Class == catalog.Component:
		v.say("C5", "installed though declined: a component of Assent is blocked, but never uninstalled")
	case !v.update.Removable():
		v.Cause = installation.NotRemovable
		v.say("C2", "installed though declined: it cannot be uninstalled%s", why(v.update.Published.Removal.Reason))
	default:
		if d := v.Approval.Decision; d != nil {
			c.takeBack(v, d.Act, "")
		}
	}
}

func why(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}

// takeBack brings the newest version that the device had before and that is not declined back, or removes the
// application if it had none: because an act declined it (C1) or found its content bad (C6).
func (c *computation) takeBack(v *candidate, act int64, cause string) {
	if c.in.Available == nil || !c.in.Available.Closed {
		v.hold(installation.UnknownData, "it is to be taken back; the device is still working out how")
		return
	}
	steps := c.steps(v)
	for _, step := range steps {
		v.say("C1", "%s %s", v.Release.Name, step.text)
		if step.usable {
			v.Action, v.Cause = Remove, ""
			v.say("C1", "%s %s comes back", v.Release.Name, step.version)
			c.rollbacks = append(c.rollbacks, wire.PlanRollback{Act: act, Update: v.Update, Items: step.items, Cause: cause})
			return
		}
	}
	if slices.ContainsFunc(steps, func(s step) bool { return s.missing }) {
		v.hold(installation.ContentUnavailable, "it is to go, but no version that it had before can be had any more")
		return
	}
	v.Action, v.Cause = Remove, ""
	v.say("C1", "there is no version before it to go back to: it is removed; its data and configuration stay")
	c.removals = append(c.removals, wire.PlanRemove{Act: act, Update: v.Update, Items: c.parts(v), Cause: cause})
}

// step is one version that the device had before.
type step struct {
	version string
	items   []wire.RestoreItem
	text    string
	usable  bool
	missing bool // it would do, but its files cannot be had
}

// steps lists the versions that the device had before v, the newest first.
func (c *computation) steps(v *candidate) []step {
	var out []step
	for _, it := range c.in.Available.Restore {
		if it.Update != v.Update {
			continue
		}
		if n := len(out); n == 0 || out[n-1].version != it.Release {
			out = append(out, step{version: it.Release})
		}
		last := &out[len(out)-1]
		last.items = append(last.items, it)
	}
	for i := range out {
		s := &out[i]
		r := catalog.Release{Software: v.Release.Software, Version: s.version}
		u, _ := c.in.Known.Update(r.ID())
		switch {
		case c.refused(u):
			s.text = s.version + ", which was there before, was refused by the test devices"
		case c.status(r).Status == approval.Declined:
			s.text = s.version + ", which was there before, is declined too"
		case u.Recalled():
			s.text = s.version + ", which was there before, was recalled by its publisher"
		case slices.ContainsFunc(s.items, func(it wire.RestoreItem) bool { return it.From == "" || it.SHA256 == "" }):
			s.text, s.missing = "files of "+s.version+", which was there before, cannot be had any more", true
		default:
			s.text, s.usable = s.version+" was there before", true
		}
	}
	return out
}

// refused reports whether the test devices found a content set bad.
func (c *computation) refused(u catalog.Update) bool {
	answer, known := c.in.Known.Content(u.ID)
	return u.Class == catalog.Content && known && !answer.Passed
}

// parts lists what of v is installed.
func (c *computation) parts(v *candidate) []catalog.Item {
	var out []catalog.Item
	for _, p := range c.in.Inventory.Packages {
		if p.Source != v.Release.Name || p.SourceVersion != v.Release.Version || p.In(c.in.Inventory.Ecosystem) != v.Release.Ecosystem {
			continue
		}
		for _, b := range v.update.Items {
			if b.Role == catalog.Own && b.Name == p.Name && b.Item.Version == p.Version && (b.Arch == p.Arch || b.Arch == "all") {
				it := b.Item
				it.Arch = p.Arch
				out = append(out, it)
				break
			}
		}
	}
	return out
}
