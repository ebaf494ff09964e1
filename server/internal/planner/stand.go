package planner

import (
	"time"

	"assent/approval"
	"assent/installation"
	"assent/plan"
	"assent/server/internal/index"
	"assent/server/internal/store"
	"assent/wire"
)

// Stand is where an update stands on a device: what the device reported, read together with the verdict.
type Stand struct {
	State    installation.State
	Cause    installation.Cause
	Detail   string
	Needs    []string // package URLs to approve
	Since    time.Time
	Deadline time.Time // when the state is overdue; zero: never
	Proof    *wire.Proof
}

// Overdue reports whether a state lasts longer than it may (V1).
func (s Stand) Overdue(now time.Time) bool { return !s.Deadline.IsZero() && !now.Before(s.Deadline) }

// Against reports whether the update is installed though declined (C3).
func Against(v plan.Verdict) bool { return v.Installed && v.Status == approval.Declined }

// Standing reads a device's report of an update together with the verdict. What is under way on the
// device counts as reported (C7); what is no longer wanted has not failed and is not blocked; what is
// wanted and not reported yet is assigned.
func Standing(d index.Device, u index.Update, v plan.Verdict) Stand {
	row, reported := d.Install(u.ID)
	return standing(row, reported, d, u, v)
}

// standing is Standing of what was reported, which may be nothing.
func standing(row store.InstallRow, reported bool, d index.Device, u index.Update, v plan.Verdict) Stand {
	there := u.Has.Contains(d.Number)
	s := Stand{State: row.State, Cause: row.Cause, Detail: row.Detail, Needs: row.Needs, Since: row.Since, Deadline: row.Deadline, Proof: row.Proof}
	switch {
	case reported && underWay(row.State):
		return s
	case reported && row.State == installation.Failed && v.Cause == installation.InstallFailed:
		return s // what the device said of its failure tells more than that it is half installed
	case there && reported && row.State == installation.Failed && row.Cause == installation.ProbeFailed:
		return s // it is there, and it is not well (V3)
	case v.Action == plan.Hold:
		return held(s, v)
	case v.Action == plan.Install && !there:
		if !reported || !counts(row.State) {
			return assigned(s, d, u, v)
		}
		if s.State.Rests(v.DownloadOnly) {
			s.Deadline = time.Time{}
		}
		return s
	case v.Action == plan.Remove && reported && (row.State == installation.RemoveFailed || row.State == installation.Blocked):
		return s
	}
	return fact(s, d, u, there)
}

// underWay are the states in which something goes on, or went wrong, on the device that a decision cannot
// take back.
func underWay(s installation.State) bool {
	switch s {
	case installation.Installing, installation.Removing, installation.ResultUnknown, installation.RestartRequired:
		return true
	}
	return false
}

// counts are the reported states that say how far a wanted install is. Installed is one: the report comes
// before the scan that shows it, and a scan that does not show it overtakes it.
func counts(s installation.State) bool {
	switch s {
	case installation.Assigned, installation.Downloading, installation.Downloaded, installation.Failed, installation.Blocked, installation.Installed:
		return true
	}
	return false
}

// held is an update that the verdict holds.
func held(s Stand, v plan.Verdict) Stand {
	h := Stand{State: installation.Blocked, Cause: v.Cause, Since: s.Since, Proof: s.Proof}
	if s.State != installation.Blocked {
		h.Since = time.Time{}
	}
	if n := len(v.Reasons); n > 0 {
		h.Detail = v.Reasons[n-1].Text
	}
	for _, r := range v.Needs {
		h.Needs = append(h.Needs, r.PURL())
	}
	return h
}

// assigned is an update that the device has not spoken of since it was wanted.
func assigned(s Stand, d index.Device, u index.Update, v plan.Verdict) Stand {
	a := Stand{State: installation.Assigned, Detail: "the device has not taken it up yet", Since: u.FirstSeen, Proof: s.Proof}
	if dec := v.Approval.Decision; dec != nil && dec.At.After(a.Since) {
		a.Since = dec.At
	}
	if d.EnrolledAt.After(a.Since) {
		a.Since = d.EnrolledAt
	}
	a.Deadline = a.Since.Add(installation.Assigned.Deadline())
	return a
}

// fact is what the device's scan shows.
func fact(s Stand, d index.Device, u index.Update, there bool) Stand {
	f := Stand{State: installation.NotApplicable, Proof: s.Proof}
	switch {
	case there:
		f.State = installation.Installed
	case s.State == installation.Removed:
		f.State = installation.Removed
	case u.Needs.Contains(d.Number):
		f.State = installation.Applicable
	case !d.Scanned():
		f.State = installation.Unknown
	}
	if f.State == s.State {
		return s
	}
	if s.State != installation.Installed {
		f.Proof = nil // it proves something else, such as that the update was taken off
	}
	return f
}
