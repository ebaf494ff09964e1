package agent

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"assent/agent/internal/journal"
	"assent/agent/internal/terms"
	"assent/catalog"
	"assent/fault"
	"assent/installation"
	"assent/wire"
)

// Answer is why an update is, or is not, on this device: the last plan's verdict and what came of it here.
type Answer struct {
	Update  catalog.UpdateID   `json:"update"`
	Release catalog.Release    `json:"release"`
	PURL    string             `json:"purl"`
	Verdict string             `json:"verdict"`
	Cause   installation.Cause `json:"cause,omitempty"`
	Reasons []string           `json:"reasons"`
	Order   string             `json:"order,omitempty"` // what the plan orders about it, in words
	Deny    []Wall             `json:"deny,omitempty"`
	State   installation.State `json:"state,omitempty"` // as this device journaled it
	Why     installation.Cause `json:"state_cause,omitempty"`
	Detail  string             `json:"detail,omitempty"`
	Needs   []string           `json:"needs,omitempty"` // what to approve so that it can go on
	Task    string             `json:"task,omitempty"`  // whose terms the plan gives it
	Terms   []string           `json:"terms,omitempty"` // when and how carefully it is installed, in words
	Opens   time.Time          `json:"opens,omitzero"`  // when the window opens that it waits for
}

// Wall is a decline that keeps an update out.
type Wall struct {
	Version string `json:"version"`
	Later   bool   `json:"later,omitempty"`
	Through string `json:"through,omitempty"`
	Reason  string `json:"reason"`
	By      string `json:"by"`
	Act     int64  `json:"act"`
}

// errNothingKnown is the answer for what the plan does not mention.
var errNothingKnown = fault.New(fault.NotFound, "not_in_plan", "The last plan says nothing about this. It may be up to date, not installed, or not known to the server yet.")

// Why answers for everything in the plan that the words name: an update id, a package URL, a source package, or one of its
// binary packages, each perhaps with "=version".
func Why(plan wire.Plan, updates map[catalog.UpdateID]journal.Entry, words string) ([]Answer, error) {
	name, version, _ := strings.Cut(words, "=")
	var out []Answer
	add := func(id catalog.UpdateID, rel catalog.Release, verdict string) {
		if !slices.ContainsFunc(out, func(a Answer) bool { return a.Update == id }) {
			out = append(out, Answer{Update: id, Release: rel, PURL: rel.PURL(), Verdict: verdict, Reasons: []string{}})
		}
	}
	meant := func(id catalog.UpdateID, rel catalog.Release, items []catalog.Item) bool {
		if string(id) == words || rel.PURL() == words {
			return true
		}
		if name == rel.Name {
			return version == "" || version == rel.Version
		}
		return slices.ContainsFunc(items, func(it catalog.Item) bool {
			return (it.Name == name || it.Name+":"+it.Arch == name) && (version == "" || version == it.Version)
		})
	}
	items := itemsOf(plan)
	for _, v := range plan.Verdicts {
		if meant(v.Update, v.Release, items[v.Update]) {
			out = append(out, Answer{Update: v.Update, Release: v.Release, PURL: v.Release.PURL(), Verdict: v.Verdict, Cause: installation.Cause(v.Cause), Reasons: v.Reasons})
		}
	}
	for _, in := range plan.Install {
		if meant(in.Update, in.Release, in.Items) {
			add(in.Update, in.Release, "install")
		}
	}
	for _, d := range plan.Deny {
		if rel := (catalog.Release{Software: d.Software, Version: d.Version}); meant(d.Update, rel, d.Items) {
			add(d.Update, rel, "hold")
		}
	}
	for i := range out {
		out[i].complete(plan, updates[out[i].Update])
	}
	if len(out) == 0 {
		return nil, errNothingKnown
	}
	return out, nil
}

// itemsOf collects which binary packages belong to which update.
func itemsOf(p wire.Plan) map[catalog.UpdateID][]catalog.Item {
	out := map[catalog.UpdateID][]catalog.Item{}
	for _, in := range p.Install {
		out[in.Update] = append(out[in.Update], in.Items...)
	}
	for _, al := range p.Allow {
		out[al.Update] = append(out[al.Update], al.Items...)
	}
	for _, d := range p.Deny {
		out[d.Update] = append(out[d.Update], d.Items...)
	}
	for _, rm := range p.Remove {
		out[rm.Update] = append(out[rm.Update], rm.Items...)
	}
	for _, rb := range p.Rollback {
		for _, it := range rb.Items {
			out[rb.Update] = append(out[rb.Update], catalog.Item{Name: it.Name, Arch: it.Arch, Version: it.Version})
		}
	}
	return out
}

// complete adds the walls in the way and what this device journaled.
func (a *Answer) complete(p wire.Plan, e journal.Entry) {
	a.State, a.Why, a.Detail, a.Needs = e.State, e.Cause, e.Detail, e.Needs
	a.Order, a.Opens = ordered(p, a.Update), opens(e)
	for _, in := range p.Install {
		if in.Update == a.Update && in.Terms > 0 && in.Terms <= len(p.Terms) {
			t := terms.Read(p.Terms[in.Terms-1])
			a.Task, a.Terms = t.Task, t.Describe()
		}
	}
	for _, d := range p.Deny {
		if d.Update == a.Update || d.Software == a.Release.Software && d.Later && d.Update != a.Update && a.Verdict != "install" {
			a.Deny = append(a.Deny, Wall{Version: d.Version, Later: d.Later, Through: d.Through, Reason: d.Reason, By: d.By, Act: d.Act})
		}
	}
}

// ordered says what the plan orders about an update; empty when nothing.
func ordered(p wire.Plan, id catalog.UpdateID) string {
	for _, rb := range p.Rollback {
		if rb.Update == id && len(rb.Items) > 0 {
			return fmt.Sprintf("it goes back to %s %s (act %d)", rb.Items[0].Name, rb.Items[0].Version, rb.Act)
		}
	}
	for _, rm := range p.Remove {
		if rm.Update == id {
			return fmt.Sprintf("it is taken off this device; its data and configuration stay (act %d)", rm.Act)
		}
	}
	for _, in := range p.Install {
		var more []catalog.Probe
		if in.Terms > 0 && in.Terms <= len(p.Terms) {
			more = p.Terms[in.Terms-1].Probes
		}
		if in.Update == id && in.Probe != nil && len(more) == 0 {
			return fmt.Sprintf("it is installed, and counts as such once its health probe (%s) passes", in.Probe.Type)
		}
		if in.Update == id && len(more) > 0 {
			return "it is installed, and counts as such once all of its health probes pass"
		}
	}
	return ""
}

// Print writes the answer for a person.
func (a Answer) Print(w io.Writer) {
	fmt.Fprintf(w, "%s %s (%s)\n  verdict: %s", a.Release.Name, a.Release.Version, a.Update, a.Verdict)
	if a.Cause != "" {
		fmt.Fprintf(w, " (%s)", a.Cause)
	}
	fmt.Fprintln(w)
	for _, r := range a.Reasons {
		fmt.Fprintf(w, "    %s\n", r)
	}
	if a.Order != "" {
		fmt.Fprintf(w, "  ordered: %s\n", a.Order)
	}
	if a.Task != "" {
		fmt.Fprintf(w, "  task: %s\n", a.Task)
	}
	for _, s := range a.Terms {
		fmt.Fprintf(w, "  terms: %s\n", s)
	}
	if !a.Opens.IsZero() {
		fmt.Fprintf(w, "  it %s\n", waitsUntil(a.Opens))
	}
	for _, d := range a.Deny {
		fmt.Fprintf(w, "  declined: %s%s by %s: %s (act %d)\n", d.Version, reach(d), d.By, d.Reason, d.Act)
	}
	if a.State != "" {
		fmt.Fprintf(w, "  on this device: %s", a.State)
		if a.Why != "" {
			fmt.Fprintf(w, " (%s)", a.Why)
		}
		if a.Detail != "" {
			fmt.Fprintf(w, ": %s", a.Detail)
		}
		fmt.Fprintln(w)
	}
	for _, n := range a.Needs {
		fmt.Fprintf(w, "  needs: %s\n", n)
	}
}

func reach(w Wall) string {
	switch {
	case w.Later && w.Through != "":
		return " and later ones up to " + w.Through
	case w.Later:
		return " and all later ones"
	}
	return ""
}

// expiry says how a plan's validity stands.
func expiry(h wire.StatementBody, now time.Time) string {
	if !now.Before(h.Expires) {
		return "expired at " + h.Expires.UTC().Format(time.RFC3339) + ": nothing is installed until the server gives a new one"
	}
	return "valid until " + h.Expires.UTC().Format(time.RFC3339)
}
