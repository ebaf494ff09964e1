package decide

import (
	"fmt"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/approval"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/pkgver"
	"assent/server/internal/index"
)

// The codes of what cannot be decided like this; a bulk act skips with them.
const (
	codeUnchanged  = "unchanged"
	codeConflict   = "content_conflict"
	codeNoContent  = "no_content"
	codeDeclined   = "declined"
	codeSuperseded = "superseded"
	codeAbove      = "declined_above" // one named update
	codeOutranked  = "outranked"      // the same in a bulk act
	codeReach      = "reach_below"
)

// judge says whether an update can be decided as a request asks, at one moment.
type judge struct {
	*index.View
	request client.Decide
	scope   fleet.GroupID
	devices *roaring.Bitmap // of the scope
	now     time.Time
	expires time.Time
}

// current is the decision that stands for the update in the very scope. One that has expired does not
// stand, but can still be cleared away.
func (j *judge) current(u index.Update) (d approval.Decision, there, live bool) {
	d, there = j.State().Decisions[ledger.DecisionKey{Update: u.ID, Scope: j.scope}]
	return d, there, there && (d.Expires.IsZero() || j.now.Before(d.Expires))
}

// refuse returns why an update is left alone, or nil.
func (j *judge) refuse(u index.Update) *fault.Error {
	switch j.request.Status {
	case approval.Approved:
		return j.refuseApproval(u)
	case approval.Declined:
		return j.refuseDecline(u)
	}
	return j.refuseUndefined(u)
}

func (j *judge) refuseUndefined(u index.Update) *fault.Error {
	d, there, live := j.current(u)
	switch {
	case !there:
		return fault.New(fault.Conflict, codeUnchanged, "%s is undefined in %s already.", title(u), j.scopeName())
	case live && d.Status == approval.Declined && j.request.Matching != nil:
		return j.standsDeclined(u, d)
	}
	return nil
}

func (j *judge) refuseDecline(u index.Update) *fault.Error {
	if through := j.request.Reach.Through; through != "" {
		if order, err := pkgver.Compare(u.Ecosystem, through, u.Version); err != nil || order < 0 {
			return fault.New(fault.Invalid, codeReach, "A decline of %s cannot reach through %q: that is not a later version.", title(u), shorten(through)).On("reach")
		}
	}
	d, _, live := j.current(u)
	if !live || d.Status != approval.Declined {
		return nil
	}
	switch {
	case d.Reach == j.request.Reach && d.Expires.Equal(j.expires) && (j.request.Reason == "" || d.Reason == j.request.Reason):
		return fault.New(fault.Conflict, codeUnchanged, "%s is declined in %s already.", title(u), j.scopeName())
	case j.weaker(u, d) && !j.request.Lift:
		return fault.New(fault.Conflict, codeDeclined, "%s is declined in %s further than this (act %d by %s); name it and lift the old decline to narrow it.",
			title(u), j.scopeName(), d.Act, d.By).On("lift")
	}
	return nil
}

// weaker reports whether the requested decline would let pass what the standing one keeps out.
func (j *judge) weaker(u index.Update, d approval.Decision) bool {
	if !j.expires.IsZero() && (d.Expires.IsZero() || j.expires.Before(d.Expires)) {
		return true
	}
	was, is := d.Reach, j.request.Reach
	switch {
	case !was.Later:
		return false
	case !is.Later:
		return true
	case was.Through == "":
		return is.Through != ""
	case is.Through == "":
		return false
	}
	order, err := pkgver.Compare(u.Ecosystem, is.Through, was.Through)
	return err != nil || order < 0
}

func (j *judge) refuseApproval(u index.Update) *fault.Error {
	d, _, live := j.current(u)
	switch {
	case live && d.Status == approval.Declined && !(j.request.Lift && j.request.Matching == nil):
		return j.standsDeclined(u, d)
	case live && d.Status == approval.Approved && d.Rev == u.Rev() && d.Expires.Equal(j.expires) && (j.request.Reason == "" || d.Reason == j.request.Reason):
		return fault.New(fault.Conflict, codeUnchanged, "%s is approved in %s already, with all its files.", title(u), j.scopeName())
	}
	if refusal := j.refusePublished(u); refusal != nil {
		return refusal
	}
	if refusal := j.refuseContent(u); refusal != nil {
		return refusal
	}
	if refusal := j.refuseOutranked(u); refusal != nil {
		return refusal
	}
	if newer, ok := j.Superseded(u, j.devices, j.declinedHere); ok && !j.request.AllowSuperseded && !(live && d.Status == approval.Approved) {
		return fault.New(fault.Conflict, codeSuperseded, "%s is superseded by %s (%s); approve that, or approve the older one on purpose with --allow-superseded.",
			title(u), newer.Version, newer.ID).On("allow_superseded")
	}
	return nil
}

// refuseContent refuses to approve what is not one content (promise 1).
func (j *judge) refuseContent(u index.Update) *fault.Error {
	if len(u.Items) == 0 {
		return fault.New(fault.Conflict, codeNoContent, "No device has said which files %s consists of, so there is nothing that an approval could bind to; wait for the next scan.", title(u))
	}
	conflicts := u.Conflicts()
	if len(conflicts) == 0 {
		return nil
	}
	c := conflicts[0]
	return fault.New(fault.Conflict, codeConflict, "%s exists with different contents: %s is %s. One of them is not what its publisher made; find out which, and decline it until it is gone.",
		title(u), c.Key, strings.Join(c.Digests, " and "))
}

// refuseOutranked refuses an approval that a decline would beat (A3): one of an ancestor, or one whose
// reach covers the update.
func (j *judge) refuseOutranked(u index.Update) *fault.Error {
	var others []approval.Decision
	for _, d := range j.Decisions(u.Software) {
		if d.Update != u.ID || d.Scope != j.scope {
			others = append(others, d)
		}
	}
	others = append(others, approval.Decision{Update: u.ID, Release: u.Release, Scope: j.scope, Status: approval.Approved, Rev: u.Rev(), At: j.now, Expires: j.expires})
	res := approval.Evaluate(approval.Input{Release: u.Release, Path: j.Tree().Path(j.scope), Decisions: others, Exceptions: j.Exceptions(u.ID), Now: j.now})
	if res.Status != approval.Declined {
		return nil
	}
	d := res.Decision
	what := "declined it"
	if d.Update != u.ID {
		what = "declined " + d.Release.Version + " with a reach that covers it"
	}
	return fault.New(fault.Conflict, codeAbove, "%s cannot be approved in %s: %s %s in %s (act %d). Undo that decline, or make an exception from it with a reason and an end: `assent update except %s --decline %d --group %s`.",
		title(u), j.scopeName(), d.By, what, groupName(j.View, d.Scope), d.Act, u.ID, d.Act, j.scopeName())
}

// declinedHere reports whether a newer release is declined in the scope: then it supersedes nothing.
func (j *judge) declinedHere(u index.Update) bool {
	return j.Judged(u, j.scope, j.now).Status == approval.Declined
}

func (j *judge) standsDeclined(u index.Update, d approval.Decision) *fault.Error {
	because := ""
	if d.Reason != "" {
		because = fmt.Sprintf(", %q", d.Reason)
	}
	return fault.New(fault.Conflict, codeDeclined, "%s is declined in %s (act %d by %s%s); only lifting it by name changes that: name it and add --lift.",
		title(u), j.scopeName(), d.Act, d.By, because).On("lift")
}

func (j *judge) scopeName() string { return groupName(j.View, j.scope) }

// title names an update in a sentence.
func title(u index.Update) string { return u.Name + " " + u.Version }
