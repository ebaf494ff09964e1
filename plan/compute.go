package plan

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"assent/approval"
	"assent/catalog"
	"assent/fleet"
	"assent/installation"
	"assent/pkgver"
	"assent/task"
	"assent/wire"
)

// Compute decides every update of a device. See the package comment for what it guarantees.
func Compute(in Input) Result {
	c := &computation{in: in, here: in.On(in.Tasks),
		statuses: map[catalog.Release]approval.Result{}, byRelease: map[catalog.Release]*candidate{}}
	c.judgeOffers()
	c.chooseNewest()
	c.callIn()
	c.settle()
	c.takeTurns()
	c.dropUncalled()
	c.tellRemovals()
	c.judgeInstalled()
	c.judgeRollbacks()
	return c.result()
}

// computation is the working state of one Compute.
type computation struct {
	in         Input
	here       task.Here // the tasks, as they stand for the device
	candidates []*candidate
	byRelease  map[catalog.Release]*candidate
	statuses   map[catalog.Release]approval.Result
	rollbacks  []wire.PlanRollback
	removals   []wire.PlanRemove
	ends       time.Time // when a turn is over on which the plan rests; zero: none is
	next       time.Time // when a task may answer differently by itself; zero: never
}

// candidate is an update under judgement with what the device said of it.
type candidate struct {
	Verdict
	offer   wire.Offer
	update  catalog.Update
	covered map[string][]string // item key -> digests that the approval binds
	called  bool                // a prerequisite that another update called in
	after   []catalog.UpdateID  // prerequisites among With
	terms   task.Terms          // of the tasks that admit it
}

func (v *Verdict) say(rule, format string, args ...any) {
	v.Reasons = append(v.Reasons, approval.Step{Rule: rule, Text: fmt.Sprintf(format, args...)})
}

// hold stops an update with a cause and its reason.
func (v *Verdict) hold(cause installation.Cause, format string, args ...any) {
	v.Action, v.Cause = Hold, cause
	v.say("V2", format, args...)
}

// status is approval.Evaluate for this device, once per release.
func (c *computation) status(r catalog.Release) approval.Result {
	if res, ok := c.statuses[r]; ok {
		return res
	}
	return c.evaluate(r, r.ID())
}

// evaluate is status for a release whose id is known already: making it costs as much as all the rest.
func (c *computation) evaluate(r catalog.Release, id catalog.UpdateID) approval.Result {
	res := approval.Evaluate(approval.Input{Release: r, ID: id, Path: c.in.Path, Decisions: c.in.Known.Decisions(r.Software),
		Exceptions: c.in.Known.Exceptions(id), Now: c.in.Now})
	c.statuses[r] = res
	return res
}

// ecosystem of the device; empty while it is not known.
func (c *computation) ecosystem() string {
	switch {
	case c.in.Available != nil:
		return c.in.Available.Ecosystem
	case c.in.Inventory != nil:
		return c.in.Inventory.Ecosystem
	}
	return ""
}

// release names an offer.
func (c *computation) release(o wire.Offer) catalog.Release {
	return o.In(c.ecosystem())
}

// open starts the verdict on a release with its approval status and the trace of it.
func (c *computation) open(r catalog.Release) *candidate {
	id := r.ID()
	res, ok := c.statuses[r]
	if !ok {
		res = c.evaluate(r, id)
	}
	cand := &candidate{Verdict: Verdict{Update: id, Release: r, Action: None, Status: res.Status, Approval: res, Reasons: slices.Clone(res.Trace)}}
	c.candidates = append(c.candidates, cand)
	c.byRelease[r] = cand
	return cand
}

// judgeOffers gives each offer its first verdict, looking at it alone.
func (c *computation) judgeOffers() {
	if c.in.Available == nil {
		return
	}
	for _, o := range c.in.Available.Updates {
		cand := c.open(c.release(o))
		cand.offer = o
		c.judge(cand)
	}
}

// judge looks at one offer alone: status, task, coverage, holds.
func (c *computation) judge(v *candidate) {
	update, known := c.in.Known.Update(v.Update)
	v.update = update
	switch {
	case v.Status == approval.Declined && !c.tried(v):
		v.Cause = installation.Declined
		v.say(classRule(update), "it is declined and not installed: it stays out")
	case v.offer.New && !c.asked(v):
		v.say("V1", "not applicable: nothing of it is installed%s", beside(v.offer))
	case update.Class == catalog.Content:
		if c.content(v) {
			c.order(v)
		}
	case !c.admitted(v):
	case !known:
		v.hold(installation.UnknownData, "the server does not know this release yet")
	case !c.ringsOpen(v):
	case !c.fit(v):
	default:
		v.say("T7", "the task %q installs it", v.Task)
		c.order(v)
	}
}

// tried reports whether a task tries declined updates on this device, which only rules for test groups can ask for (T1), and
// never brings it onto a device that lacks it.
func (c *computation) tried(v *candidate) bool {
	if !c.in.Test || v.offer.New || v.update.Class == catalog.Content {
		return false
	}
	if !c.admission(v).Admitted {
		return false
	}
	v.say("T1", "it is declined, and this is a test device on which a task tries declined updates too")
	return true
}

// order makes v an install if the device and the publisher let it be one.
func (c *computation) order(v *candidate) {
	switch {
	case c.in.Device.State != fleet.Active:
		v.hold(installation.UnknownData, "the device is %s: it gets nothing until it is released", c.in.Device.State)
	case c.in.Inventory == nil:
		v.hold(installation.UnknownData, "the device has not yet said what is installed")
	case c.gate(v):
		v.Action = Install
		c.cover(v)
	}
}

// asked reports whether a release of which nothing is installed is to be put onto the device all the same.
func (c *computation) asked(v *candidate) bool {
	if !v.offer.Fresh {
		return false
	}
	if d, ok := c.deployed(v.Release); ok && !v.called {
		v.say("T3", "%s deployed it to this device (act %d)", d.By, d.Act)
		return true
	}
	return v.called
}

func beside(o wire.Offer) string {
	if o.Fresh {
		return "; `assent package deploy` puts it onto devices that lack it"
	}
	return "; it could only come in with another update"
}

// classRule names the rule that keeps a declined update out, by its class.
func classRule(u catalog.Update) string {
	switch u.Class {
	case catalog.Managed:
		return "C1"
	case catalog.Component:
		return "C5"
	case catalog.Content:
		return "C6"
	}
	return "C3"
}

// admission asks the tasks about v.
func (c *computation) admission(v *candidate) task.Admission {
	asked := c.in.Asked(v.update, v.Release)
	c.turns(c.here.Turns(asked))
	return c.here.Admit(asked, v.Status)
}

// admitted finds the tasks that install updates of this status here. If there is none, it says why; if it is not known, it
// holds.
func (c *computation) admitted(v *candidate) bool {
	a := c.admission(v)
	if lead, ok := a.Terms.Lead(); ok && a.Admitted {
		v.under(lead.Name, a.Terms)
		return true
	}
	if !c.in.Tasks.OnlyDefault() {
		v.Reasons = append(v.Reasons, a.Trace()...)
	}
	switch {
	case a.Held != "":
		v.hold(installation.UnknownData, "%s: unknown holds", a.Held)
	case v.Status == approval.Undefined:
		v.say("T7", "no task installs updates that nobody decided on")
	default:
		v.say("T1", "no task covers this device for it")
	}
	return false
}

// cover checks that the files the device would take are the files that were approved (promise 1).
// An update that a task admits without a decision is bound to what the catalog knows now.
func (c *computation) cover(v *candidate) {
	rev := v.update.Rev()
	if d := v.Approval.Decision; d != nil {
		rev = d.Rev
	}
	v.covered = map[string][]string{}
	for _, it := range v.update.Covered(rev) {
		v.covered[it.Key()] = append(v.covered[it.Key()], it.SHA256)
	}
	for _, it := range v.offer.Items {
		if it.Installed == "" && !v.offer.Fresh {
			continue
		}
		if cause, text := v.mismatch(it.Item); cause != "" {
			v.hold(cause, "%s", text)
			return
		}
		if it.Hold {
			v.hold(installation.HeldPackage, "%s is on hold on the device (apt-mark hold); release it there or exclude the device", it.Name)
			return
		}
		v.Items = append(v.Items, it.Item)
		v.Download += it.Size
	}
	if len(v.Items) == 0 {
		v.Action = None
		v.say("V1", "not applicable: nothing of it is installed")
	}
	if v.offer.Problem != "" {
		v.say("V2", "apt says that it cannot be installed alone: %s; the device tries it together with the rest of its plan", v.offer.Problem)
	}
}

// mismatch compares one file with what the approval binds.
func (v *candidate) mismatch(it catalog.Item) (installation.Cause, string) {
	digests := v.covered[it.Key()]
	switch {
	case it.SHA256 == "":
		return installation.UnknownData, fmt.Sprintf("the device does not say which content %s has", it.Key())
	case len(digests) == 0:
		return installation.NotCovered, fmt.Sprintf("%s was first seen after the approval; approve again to cover it", it.Key())
	case len(digests) > 1:
		return installation.DigestMismatch, fmt.Sprintf("%s exists with %d contents: %v", it.Key(), len(digests), digests)
	case digests[0] != it.SHA256:
		return installation.DigestMismatch, fmt.Sprintf("%s was approved as %s, but the device is offered %s under the same version", it.Key(), digests[0], it.SHA256)
	}
	return "", ""
}

// chooseNewest leaves at most one release of each software to install: the one that all others give way to. That is the
// newest that was admitted, unless a publisher says of two which one replaces the other.
func (c *computation) chooseNewest() {
	rivals := map[catalog.Software][]*candidate{}
	for _, v := range c.candidates {
		if v.Action == Install {
			rivals[v.Release.Software] = append(rivals[v.Release.Software], v)
		}
	}
	for _, list := range rivals {
		best := foremost(list)
		if best.terms.Options().EarlierFirst {
			best = earliest(list)
		}
		for _, v := range list {
			if v == best {
				continue
			}
			if _, err := pkgver.Compare(v.Release.Ecosystem, v.Release.Version, best.Release.Version); err != nil {
				v.hold(installation.UnknownData, "its version cannot be compared with %s: %v", best.Release.Version, err)
				continue
			}
			if newer(v, best) && !best.update.Names(v.update) {
				v.waitsFor(best)
				continue
			}
			v.supersededBy(best)
		}
	}
}

// earliest is the release that comes first where a task installs earlier ones first (T3); what cannot be compared comes later.
func earliest(list []*candidate) *candidate {
	best := list[0]
	for _, v := range list[1:] {
		if newer(best, v) {
			best = v
		}
	}
	return best
}

// foremost is the release that no other supersedes; where publishers name each other in a circle, the newest.
func foremost(list []*candidate) *candidate {
	best := list[0]
	for _, v := range list[1:] {
		if newer(v, best) {
			best = v
		}
	}
	for _, v := range list {
		if !slices.ContainsFunc(list, func(w *candidate) bool { return w.update.Supersedes(v.update, newer(w, v)) }) {
			return v
		}
	}
	return best
}

func (v *candidate) supersededBy(w *candidate) {
	v.Action, v.Superseded, v.Items, v.Download = None, w.Update, nil, 0
	if w.update.Names(v.update) {
		v.say("A5", "superseded here by %s, which is approved too: its publisher says that it replaces this one", w.Release.Version)
		return
	}
	v.say("A5", "superseded here by %s, which is approved too", w.Release.Version)
}

// waitsFor leaves v for after an earlier release of it.
func (v *candidate) waitsFor(w *candidate) {
	v.Action, v.Items, v.Download = None, nil, 0
	v.say("T3", "it comes after %s: the task %q installs earlier releases first", w.Release.Version, w.Task)
}

// result puts verdicts and plan in their promised order.
func (c *computation) result() Result {
	slices.SortStableFunc(c.candidates, func(a, b *candidate) int {
		return cmp.Or(cmp.Compare(a.Release.Name, b.Release.Name), cmp.Compare(a.Release.Version, b.Release.Version), cmp.Compare(a.Release.Namespace, b.Release.Namespace))
	})
	res := Result{Plan: c.plan(), Turns: c.next, Ends: c.ends}
	for _, v := range c.candidates {
		res.Verdicts = append(res.Verdicts, v.Verdict)
	}
	return res
}
