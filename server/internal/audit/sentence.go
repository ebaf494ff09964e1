package audit

import (
	"fmt"
	"strings"
	"time"

	"assent/approval"
	"assent/fleet"
	"assent/ledger"
	"assent/rollout"
)

// sentence says what an entry records. Names and texts that people wrote stand in quotes, with control
// characters escaped.
func sentence(e ledger.Entry, n Names) string {
	body, err := e.Decode()
	if err != nil {
		return fmt.Sprintf("an entry of the kind %q that this server cannot read", e.Kind)
	}
	switch b := body.(type) {
	case ledger.ServerInit:
		return fmt.Sprintf("started this ledger for the installation %q", b.Org)
	case ledger.UpdateDecide:
		return decided(b, n)
	case ledger.ExceptionAdd:
		return fmt.Sprintf("made an exception from the decline of act %d: %q may be installed in %q until %s%s", b.Decline, n.Update(b.Update), n.Group(b.Scope), day(b.Expires), because(b.Reason))
	case ledger.ExceptionRemove:
		return fmt.Sprintf("ended the exception of act %d", b.Exception)
	case ledger.UpdateRollback:
		return fmt.Sprintf("ordered the versions before %q back on %s%s", n.Update(b.Update), devices(b.Devices, n), because(b.Reason))
	}
	if text, ok := aboutFleet(body, n); ok {
		return text
	}
	if text, ok := aboutFeeds(body, n); ok {
		return text
	}
	return aboutPeople(body, n)
}

func aboutFleet(body ledger.Body, n Names) (string, bool) {
	switch b := body.(type) {
	case ledger.GroupCreate:
		return fmt.Sprintf("created the group %q in %q%s", b.Group.Name, n.Group(b.Group.Parent), trial(b.Group)), true
	case ledger.GroupChange:
		return fmt.Sprintf("changed the group %q: now %q in %q, guard %s%s", n.Group(b.Group.ID), b.Group.Name, n.Group(b.Group.Parent), guard(b.Group.Guard), trial(b.Group)), true
	case ledger.GroupDelete:
		return fmt.Sprintf("deleted the group %q", n.Group(b.ID)), true
	case ledger.DeviceEnrol:
		return fmt.Sprintf("enrolled the device %q into %q with the token %s", b.Device.Name, n.Group(b.Device.Group), b.Token), true
	case ledger.DeviceRenew:
		return fmt.Sprintf("renewed the key of the device %q", n.Device(b.ID)), true
	case ledger.DeviceMove:
		return fmt.Sprintf("moved %s to %q", devices(b.IDs, n), n.Group(b.Group)), true
	case ledger.DeviceState:
		return fmt.Sprintf("set %s to %s%s", devices(b.IDs, n), b.State, because(b.Reason)), true
	}
	return "", false
}

func aboutFeeds(body ledger.Body, n Names) (string, bool) {
	switch b := body.(type) {
	case ledger.FeedSubscribe:
		return fmt.Sprintf("subscribed to the feed %q at %q", b.Feed.ID, b.Feed.URL), true
	case ledger.FeedUnsubscribe:
		return fmt.Sprintf("unsubscribed from the feed %q", b.ID), true
	case ledger.AgreementAccept:
		return fmt.Sprintf("accepted %s for %q", accepted(b.Accepts), n.Update(b.Update)), true
	case ledger.AgreementWithdraw:
		return fmt.Sprintf("withdrew the acceptance of the agreement %.12s%s", b.Digest, because(b.Reason)), true
	case ledger.UpdateDeploy:
		target := devices(b.Devices, n)
		if b.Scope != "" {
			target = fmt.Sprintf("%q", n.Group(b.Scope))
		}
		return fmt.Sprintf("deployed %q to %s%s", b.Release.Name+" "+b.Release.Version, target, because(b.Reason)), true
	case ledger.DeployEnd:
		return fmt.Sprintf("ended the deployment of act %d", b.Deploy), true
	case ledger.PackageCreate:
		return fmt.Sprintf("made the installation package %q from %q", b.Package.Name, b.Package.Release.Name+" "+b.Package.Release.Version), true
	case ledger.ChannelSet:
		return channel(b, n), true
	case ledger.ChannelRemove:
		return fmt.Sprintf("removed the channel %q", b.Name), true
	case ledger.ChannelTest:
		return fmt.Sprintf("sent a test to the channel %q", b.Name), true
	case ledger.PackageDelete:
		return fmt.Sprintf("deleted the installation package %s", b.ID), true
	case ledger.TaskSet:
		return fmt.Sprintf("set the task %q", b.Task.Name), true
	case ledger.TaskRemove:
		return fmt.Sprintf("removed the task %q", b.ID), true
	case ledger.RolloutStep:
		return stepped(b), true
	case ledger.ContentVerify:
		verb := "refused"
		if b.Passed {
			verb = "released"
		}
		return fmt.Sprintf("%s the content %q after %s tried it%s", verb, b.Release.Name+" "+b.Release.Version, devices(b.Devices, n), because(b.Reason)), true
	}
	return "", false
}

// stepped says how a rollout went on.
func stepped(b ledger.RolloutStep) string {
	what := fmt.Sprintf("%q by the task %q", b.Release.Name+" "+b.Release.Version, b.Task)
	var went []string
	for _, t := range b.Transitions {
		if t.Ring != "" {
			went = append(went, fmt.Sprintf("ring %q is %s (%s)", t.Ring, t.To, t.Reason.Text))
		}
	}
	steps := ""
	if len(went) > 0 {
		steps = ": " + enumerate(went[:min(len(went), named)], len(went), "change")
	}
	switch b.Verb {
	case "":
		return "took the rollout of " + what + " further" + steps
	case rollout.VerbSkip, rollout.VerbOpen:
		return fmt.Sprintf("acted on the rollout of %s (%s ring %q)%s%s", what, b.Verb, b.Ring, because(b.Why), steps)
	}
	return fmt.Sprintf("acted on the rollout of %s (%s)%s%s", what, b.Verb, because(b.Why), steps)
}

// accepted names agreements.
func accepted(all []ledger.Accepted) string {
	var names []string
	for _, a := range all[:min(len(all), named)] {
		names = append(names, fmt.Sprintf("%q", a.Title))
	}
	return enumerate(names, len(all), "agreement")
}

func aboutPeople(body ledger.Body, n Names) string {
	switch b := body.(type) {
	case ledger.TokenCreate:
		return fmt.Sprintf("made the enrolment token %s for %q: %s until %s", b.ID, n.Group(b.Group), count(b.Uses, "device"), day(b.Expires))
	case ledger.TokenRevoke:
		return fmt.Sprintf("revoked the enrolment token %s", b.ID)
	case ledger.OperatorSet:
		return fmt.Sprintf("made %q %s in %q", b.Operator.Name, b.Operator.Role, n.Group(b.Operator.Scope))
	case ledger.OperatorRemove:
		return fmt.Sprintf("removed the operator %q with all access", b.Name)
	case ledger.AccessCreate:
		kind := "access"
		if b.Access.OneTime {
			kind = "one-time sign-in"
		}
		return fmt.Sprintf("made the %s token %s for %q until %s", kind, b.Access.ID, b.Access.Operator, day(b.Access.Expires))
	case ledger.AccessRevoke:
		return fmt.Sprintf("ended the access token %s", b.ID)
	case ledger.ViewShare:
		return fmt.Sprintf("shared the view %q of %s: %q", b.View.Name, b.View.List, b.View.Query)
	case ledger.ViewRemove:
		return fmt.Sprintf("removed the shared view %s", b.ID)
	case ledger.PasswordSet:
		return fmt.Sprintf("set the password of %q", b.Operator)
	case ledger.PasswordRemove:
		return fmt.Sprintf("removed the password of %q", b.Operator)
	case ledger.PasskeyAdd:
		return fmt.Sprintf("registered the passkey %s, %q, for %q", b.ID, b.Name, b.Operator)
	case ledger.PasskeyRemove:
		return fmt.Sprintf("removed the passkey %s of %q%s", b.ID, b.Operator, because(b.Reason))
	case ledger.SessionEnd:
		return fmt.Sprintf("signed %q out everywhere", b.Operator)
	}
	return fmt.Sprintf("recorded %s", body.Kind())
}

func decided(b ledger.UpdateDecide, n Names) string {
	verb := map[approval.Status]string{approval.Approved: "approved", approval.Declined: "declined", approval.Undefined: "set back to undefined"}[b.Status]
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s in %q", verb, updates(b.Updates), n.Group(b.Scope))
	switch {
	case b.Reach.Through != "":
		fmt.Fprintf(&text, ", with all later versions through %s", b.Reach.Through)
	case b.Reach.Later:
		text.WriteString(", with all later versions")
	}
	if !b.Expires.IsZero() {
		fmt.Fprintf(&text, ", until %s", day(b.Expires))
	}
	text.WriteString(because(b.Reason))
	if len(b.Accepts) > 0 {
		fmt.Fprintf(&text, ", accepting %s", accepted(b.Accepts))
	}
	return text.String()
}

// named is how many things a sentence names before it only counts.
const named = 3

func updates(all []ledger.Decided) string {
	var names []string
	for _, d := range all[:min(len(all), named)] {
		names = append(names, fmt.Sprintf("%q", d.Release.Name+" "+d.Release.Version))
	}
	return enumerate(names, len(all), "update")
}

func devices(all []fleet.DeviceID, n Names) string {
	var names []string
	for _, id := range all[:min(len(all), named)] {
		names = append(names, fmt.Sprintf("%q", n.Device(id)))
	}
	return enumerate(names, len(all), "device")
}

// enumerate names the first few and counts all when there are more.
func enumerate(names []string, total int, what string) string {
	switch {
	case total == 0:
		return "no " + what
	case total == 1:
		return names[0]
	case total > len(names):
		return fmt.Sprintf("%d %ss (%s, …)", total, what, strings.Join(names, ", "))
	}
	return strings.Join(names[:total-1], ", ") + " and " + names[total-1]
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return fmt.Sprintf(": %q", reason)
}

func trial(g fleet.Group) string {
	if g.Test {
		return ", its devices try things out first"
	}
	return ""
}

func guard(m fleet.GuardMode) string {
	if m == fleet.Inherit {
		return "inherited"
	}
	return string(m)
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }
