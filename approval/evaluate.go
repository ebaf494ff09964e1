package approval

import (
	"fmt"
	"slices"
	"time"

	"assent/catalog"
	"assent/fleet"
	"assent/pkgver"
)

// Evaluate decides the status of a release for a device in the groups of in.Path (A3), and tells the way to it.
func Evaluate(in Input) Result {
	r := Judge(in)
	r.explain(in)
	return r
}

// Judge is Evaluate without the trace, which takes longer than the judgement: for those who judge very many.
func Judge(in Input) Result {
	r := Result{Status: Undefined}
	if len(in.Decisions) == 0 {
		return r
	}
	if in.ID == "" {
		in.ID = in.Release.ID()
	}
	r.Declines = declines(in)
	standing := r.Declines
	for _, d := range r.Declines {
		if exception, ok := excepts(in, d); ok {
			r.Exception = &exception
			standing = slices.DeleteFunc(slices.Clone(standing), func(s Decision) bool { return s.Act == d.Act && s.Scope == d.Scope && s.Update == d.Update })
		}
	}
	if len(standing) > 0 {
		d := standing[0]
		r.Status, r.Decision = Declined, &d
		return r
	}
	if d, ok := nearestApproval(in); ok {
		r.Status, r.Decision = Approved, &d
	}
	return r
}

// explain adds the trace to a judgement of the same input.
func (r *Result) explain(in Input) {
	if in.ID == "" && len(in.Decisions) > 0 {
		in.ID = in.Release.ID()
	}
	for _, d := range r.Declines {
		if e, ok := excepts(in, d); ok {
			r.add("A3", e.Scope, e.Act, "%s made an exception from the decline of act %d until %s: %q", e.By, d.Act, day(e.Expires), e.Reason)
		}
	}
	switch d := r.Decision; r.Status {
	case Declined:
		r.add("A3.1", d.Scope, d.Act, "%s declined %s%s on %s%s: a decline in the group or above wins", d.By, d.Release.Version, reach(*d), day(d.At), because(*d))
	case Approved:
		r.add("A3.2", d.Scope, d.Act, "%s approved it on %s%s: the approval nearest to the device counts", d.By, day(d.At), because(*d))
	default:
		r.expired(in)
		r.add("A3.3", "", 0, "nobody approved or declined it for this device: undefined")
	}
}

func (r *Result) add(rule string, scope fleet.GroupID, act int64, format string, args ...any) {
	r.Trace = append(r.Trace, Step{Rule: rule, Scope: scope, Act: act, Text: fmt.Sprintf(format, args...)})
}

// expired names the decisions that would have counted, had they not run out: silence would make people wonder.
func (r *Result) expired(in Input) {
	for _, d := range in.Decisions {
		if d.Update == in.ID && slices.Contains(in.Path, d.Scope) && !d.live(in.Now) {
			r.add("A4", d.Scope, d.Act, "the decision %q by %s expired on %s", d.Status, d.By, day(d.Expires))
		}
	}
}

// declines lists the live declines in the path that cover the release, the nearest to the root first:
// the highest wall is the one to talk about.
func declines(in Input) []Decision {
	var out []Decision
	for _, scope := range slices.Backward(in.Path) {
		for _, d := range in.Decisions {
			if d.Scope == scope && d.Status == Declined && d.live(in.Now) && Covers(d, in.Release) {
				out = append(out, d)
			}
		}
	}
	return out
}

// Covers reports whether a decline covers a release: the release it names or, with a reach, later ones
// up to its end (A4). A version that cannot be compared is covered: unknown holds.
func Covers(d Decision, r catalog.Release) bool {
	if d.Release.Software != r.Software {
		return false
	}
	if d.Release.Version == r.Version {
		return true
	}
	if !d.Reach.Later {
		return false
	}
	if order, err := pkgver.Compare(r.Ecosystem, r.Version, d.Release.Version); err == nil && order < 0 {
		return false
	}
	if d.Reach.Through == "" {
		return true
	}
	order, err := pkgver.Compare(r.Ecosystem, r.Version, d.Reach.Through)
	return err != nil || order <= 0
}

// excepts finds a live exception that names the decline d for this device. An exception lets pass what
// is approved for the device; without an approval it has nothing to let pass.
func excepts(in Input, d Decision) (Exception, bool) {
	for _, e := range in.Exceptions {
		if e.Decline == d.Act && e.Update == in.ID && slices.Contains(in.Path, e.Scope) && in.Now.Before(e.Expires) {
			return e, true
		}
	}
	return Exception{}, false
}

// nearestApproval finds the live approval of exactly this release nearest to the device. An approval
// never carries over to another version (A5).
func nearestApproval(in Input) (Decision, bool) {
	for _, scope := range in.Path {
		for _, d := range in.Decisions {
			if d.Scope == scope && d.Status == Approved && d.Update == in.ID && d.live(in.Now) {
				return d, true
			}
		}
	}
	return Decision{}, false
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

func because(d Decision) string {
	if d.Reason == "" {
		return ""
	}
	return fmt.Sprintf(" (%q)", d.Reason)
}

func reach(d Decision) string {
	switch {
	case !d.Reach.Later:
		return ""
	case d.Reach.Through == "":
		return " and all later versions"
	default:
		return " and all later versions through " + d.Reach.Through
	}
}
