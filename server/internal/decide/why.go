package decide

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/plan"
	"assent/server/internal/auth"
	"assent/server/internal/index"
)

// Why answers what should happen to an update on a device, and why, from the same function that decides
// (promise 3). It also answers for updates that the device cannot take.
func (s *Service) Why(_ context.Context, who auth.Actor, device, update string) (client.Why, error) {
	var out client.Why
	err := s.look(func(m *moment) error {
		if _, err := scope(m.View, who, ledger.Viewer, "", who.Scope); err != nil {
			return err
		}
		d, err := m.FindDevice(device, who.Scope)
		if err != nil {
			return err
		}
		u, err := m.Resolve(update)
		if err != nil {
			return err
		}
		verdict := m.verdict(d, u)
		out = client.Why{Device: m.deviceRow(d), Update: ref(u), Verdict: verdict, State: m.standing(d, u, verdict)}
		out.Sentence = m.sentence(d, u, verdict, out.State)
		return nil
	})
	return out, err
}

// verdict is plan.Compute's on one update. An update that the device neither has nor is offered is not
// among its verdicts: then nothing is to be done, and that is said.
func (m *moment) verdict(d index.Device, u index.Update) plan.Verdict {
	all := m.planner.Verdicts(m.View, d)
	if i := slices.IndexFunc(all, func(v plan.Verdict) bool { return v.Update == u.ID }); i >= 0 {
		return all[i]
	}
	res := m.Status(u.Release, d.Group, m.now)
	return plan.Verdict{Update: u.ID, Release: u.Release, Action: plan.None, Status: res.Status, Approval: res,
		Reasons: append(slices.Clone(res.Trace), approval.Step{Rule: "V1", Text: m.notApplicable(d, u)})}
}

// notApplicable says why an update is none for a device.
func (m *moment) notApplicable(d index.Device, u index.Update) string {
	if !d.Scanned() {
		return "not known yet: the device has not reported what is installed and what it could take"
	}
	have, _ := installedSource(d, u)
	switch {
	case u.Published != nil && len(u.Published.Unknown) > 0:
		return fmt.Sprintf("this server cannot read all that its publisher says of it (%s), and the device does not offer to take it", u.Published.Unknown[0])
	case have == "":
		return fmt.Sprintf("not applicable: nothing of %s is installed on the device", u.Name)
	case have == u.Version:
		return fmt.Sprintf("not applicable: the device has %s %s, but not as one of the files that are known of this update", u.Name, have)
	}
	return fmt.Sprintf("not applicable: the device has %s %s, and its package sources do not offer it %s", u.Name, have, u.Version)
}

// sentence says in plain English what is the case and what to do next.
func (m *moment) sentence(d index.Device, u index.Update, v plan.Verdict, st client.DeviceUpdate) string {
	what, device := title(u), d.Name
	if notice := m.deviceNotice(d); notice != "" {
		return fmt.Sprintf("%s on %s: %s", what, device, notice)
	}
	switch {
	case st.State == installation.RestartRequired:
		return fmt.Sprintf("%s is installed on %s and takes effect when the device restarts; restart it.", what, device)
	case v.Action == plan.Remove && u.Published != nil:
		return fmt.Sprintf("%s is being taken back from %s: %s, and %s. Nothing more to do.", what, device, last(v), m.progress(d, st))
	case st.Against && v.Action == plan.Remove:
		return fmt.Sprintf("%s is declined and on %s; a rollback is ordered and %s. Nothing more to do.", what, device, m.progress(d, st))
	case v.Action == plan.Remove:
		return fmt.Sprintf("A rollback of %s is ordered on %s and %s. Nothing more to do.", what, device, m.progress(d, st))
	case v.Action == plan.Hold:
		return fmt.Sprintf("%s will not install on %s: %s. %s", what, device, last(v), m.remedy(v, st))
	case v.Cause == installation.NotRemovable || u.Class == catalog.Component && st.Against:
		return fmt.Sprintf("%s stays on %s although %s: %s. It goes to no other device.", what, device, m.decidedBy(v), last(v))
	case v.Cause == installation.Revoked && v.Installed:
		return fmt.Sprintf("%s is on %s, and its publisher recalled it (%q). Decline it to take it back: `assent update decline %s`.", what, device, u.Published.Revoked.Reason, u.ID)
	case v.Cause == installation.NotReleased:
		return fmt.Sprintf("%s does not go to %s: %s.", what, device, last(v))
	case st.Against:
		return fmt.Sprintf("%s is installed on %s although %s. It stays until you order a rollback: `assent update rollback %s --device %s`.", what, device, m.decidedBy(v), u.ID, d.ID)
	case v.Status == approval.Declined:
		return fmt.Sprintf("%s stays out of %s: %s. To let it in, lift that decline or make an exception from it.", what, device, m.decidedBy(v))
	case v.Action == plan.Install && st.State == installation.Failed, v.Action == plan.Install && st.State == installation.Blocked:
		return fmt.Sprintf("%s is approved, but %s on %s: %s. Mend that on the device; it tries again by itself.", what, st.State, device, orUnknown(st.Detail))
	case v.Action == plan.Install:
		return fmt.Sprintf("%s will install on %s: %s, and %s. Nothing more to do.", what, device, m.decidedBy(v), m.progress(d, st))
	case v.Installed || st.State == installation.Installed:
		return fmt.Sprintf("%s is installed on %s%s. Nothing to do.", what, device, came(st.How))
	case v.Superseded != "":
		return fmt.Sprintf("%s is not installed on %s because a newer approved release goes there instead: %s. Nothing to do.", what, device, last(v))
	case st.State == installation.Applicable && v.Status == approval.Undefined:
		return fmt.Sprintf("%s would fit %s, but nobody has decided on it. Approve it (`assent update approve %s`) or decline it.", what, device, u.ID)
	}
	return fmt.Sprintf("%s does not concern %s: %s. Nothing to do.", what, device, last(v))
}

// deviceNotice says what keeps every update from the device.
func (m *moment) deviceNotice(d index.Device) string {
	switch d.State {
	case fleet.Quarantined:
		return fmt.Sprintf("the device is quarantined (%s) and gets nothing. Find out why, then release it: `assent device release %s`.", orUnknown(d.Reason), d.ID)
	case fleet.Retired:
		return "the device is retired and gets nothing. Enrol it again if it is to come back."
	}
	return ""
}

// progress says how far an ordered install or rollback is.
func (m *moment) progress(d index.Device, st client.DeviceUpdate) string {
	var how string
	switch st.State {
	case installation.Assigned, installation.Installed, installation.Applicable, installation.Unknown:
		how = "it waits for the device to take it up"
		if st.State == installation.Assigned && st.Detail == "" {
			how = "the device has it in its plan"
		}
	default:
		how = fmt.Sprintf("the device is at %q since %s", st.State, day(st.Since))
	}
	if !d.Connected {
		how += ", which " + m.silence(d)
	}
	if st.Overdue {
		how += "; that is overdue, look at the device"
	}
	return how
}

// silence says since when nothing was heard of a device.
func (m *moment) silence(d index.Device) string {
	if d.Contact.LastSeen.IsZero() {
		return "has never checked in"
	}
	return fmt.Sprintf("was last heard of %s ago", roughly(m.now.Sub(d.Contact.LastSeen)))
}

// roughly tells a duration as people do.
func roughly(d time.Duration) string {
	unit := func(n int, name string) string {
		if n == 1 {
			return "1 " + name
		}
		return fmt.Sprintf("%d %ss", n, name)
	}
	switch {
	case d < time.Minute:
		return unit(max(int(d/time.Second), 1), "second")
	case d < time.Hour:
		return unit(int(d/time.Minute), "minute")
	case d < 48*time.Hour:
		return unit(int(d/time.Hour), "hour")
	}
	return unit(int(d/(24*time.Hour)), "day")
}

// remedy says what to do about a hold.
func (m *moment) remedy(v plan.Verdict, st client.DeviceUpdate) string {
	if len(v.Needs) > 0 {
		ids := make([]string, len(v.Needs))
		for i, r := range v.Needs {
			ids[i] = string(r.ID())
		}
		return fmt.Sprintf("Approve what it needs: `assent update approve %s`.", strings.Join(ids, " "))
	}
	switch v.Cause {
	case installation.NotCovered:
		return fmt.Sprintf("Look at what was added, then approve it again: `assent update approve %s`.", v.Update)
	case installation.DigestMismatch:
		return "Find out which content is right before anything else; until then it stays out."
	case installation.HeldPackage:
		return "Release the package on the device (`apt-mark unhold`) if it should take it."
	case installation.DeclinedDependency:
		return "Lift that decline or make an exception from it if the update should come in."
	case installation.RemovalNeeded:
		return "If it may go, name it in every task that admits the update (`assent task edit TASK --may-remove PACKAGE`), or remove it on the device by hand."
	case installation.DowngradeNeeded:
		return "Do that on the device by hand if it is wanted; it is never implied by an approval."
	case installation.ContentUnavailable:
		return "Give the device a package source that has the earlier version, or install it by hand."
	case installation.ServerTooOld:
		return "Upgrade the server; nothing else is needed then."
	case installation.AgentTooOld:
		return "Upgrade the agent on the device: its component is an update like any other."
	case installation.AgreementPending:
		return fmt.Sprintf("Read and accept it: `assent update agreements %s`, then `assent agreement accept %s`.", v.Update, v.Update)
	case installation.Revoked:
		return "Decline it, or wait for the publisher's next release."
	case installation.NotReleased:
		return "Nothing to do: the test devices decide, and `assent update show` says where it stands."
	case installation.Declined:
		return "Lift that decline if the earlier version should come back."
	case installation.UnknownData:
		return "Wait for the device's next report; if this stays, look at the device."
	}
	return "Look at the reasons: `assent why` shows them all."
}

// decidedBy names the decision.
func (m *moment) decidedBy(v plan.Verdict) string {
	d := v.Approval.Decision
	if d == nil {
		return "nobody decided on it"
	}
	text := fmt.Sprintf("%s %s it in %s on %s (act %d)", d.By, d.Status, groupName(m.View, d.Scope), day(d.At), d.Act)
	if d.Update != v.Update {
		text = fmt.Sprintf("%s declined %s and later versions in %s on %s (act %d)", d.By, d.Release.Version, groupName(m.View, d.Scope), day(d.At), d.Act)
	}
	if d.Reason != "" {
		text += fmt.Sprintf(": %q", d.Reason)
	}
	return text
}

func last(v plan.Verdict) string {
	if n := len(v.Reasons); n > 0 {
		return v.Reasons[n-1].Text
	}
	return "no reason is recorded"
}

func orUnknown(s string) string {
	if s == "" {
		return "the device gave no reason"
	}
	return s
}

func came(how string) string {
	if how == "" {
		return ""
	}
	return " (how it came: " + how + ")"
}
