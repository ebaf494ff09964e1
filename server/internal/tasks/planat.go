package tasks

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/catalog"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/plan"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/window"
	"assent/wire"
)

// PlanAt says what a device would do at a moment, by the facts, decisions and tasks of now: plan.Compute with the clock of that moment,
// and the windows of its terms asked as the device asks them. at is RFC 3339, or local to the device; empty: now.
func (s *Service) PlanAt(_ context.Context, who auth.Actor, device, at string) (out client.PlanAt, err error) {
	s.index.View(func(v *index.View) {
		if err = who.Can(ledger.Viewer, v.Tree(), who.Scope); err != nil {
			return
		}
		var d index.Device
		if d, err = v.FindDevice(device, who.Scope); err != nil {
			return
		}
		out = client.PlanAt{Device: d.ID, Name: d.Name}
		if d.Facts != nil {
			out.Zone = d.Facts.TimeZone
		}
		if out.At, err = moment(at, out.Zone, s.index.Now().UTC()); err == nil {
			planAt(v, d, &out)
		}
	})
	return out, err
}

// moment reads a time; without a zone of its own it is on the device's clock.
func moment(at, zone string, now time.Time) (time.Time, error) {
	if at == "" {
		return now, nil
	}
	if t, err := time.Parse(time.RFC3339, at); err == nil {
		return t.UTC(), nil
	}
	loc, err := time.LoadLocation(zone)
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"} {
		if _, bad := time.Parse(layout, at); bad != nil {
			continue
		}
		if err != nil || zone == "" {
			return time.Time{}, fault.New(fault.Invalid, "zone_unknown", "The device's time zone is not known; give the moment with its offset, like 2027-01-05T02:00:00+01:00.").On("at")
		}
		t, err := time.ParseInLocation(layout, at, loc)
		return t.UTC(), err
	}
	return time.Time{}, fault.New(fault.Invalid, "time_invalid", "%.40q is not a moment like 2027-01-05T02:00.", at).On("at")
}

func planAt(v *index.View, d index.Device, out *client.PlanAt) {
	out.Local = local(out.At, out.Zone).Format("Mon 2 Jan 2006 15:04 MST")
	out.Installs, out.Waits, out.Rollbacks, out.Verdicts = []client.PlanStep{}, []client.PlanStep{}, []client.PlanStep{}, []plan.Verdict{}
	if d.State != fleet.Active { // it gets no plan
		out.Sentence = planned(d, *out)
		return
	}
	result := plan.Compute(v.PlanInput(d, out.At))
	out.Verdicts = append(out.Verdicts, result.Verdicts...)
	foreseen := d.WouldFail()
	zone, _ := window.LoadZone(out.Zone) // one that is not known holds
	for _, in := range result.Plan.Install {
		step := client.PlanStep{UpdateRef: client.UpdateOf(in.Release), Task: taskOf(result.Verdicts, in.Update)}
		open, a := true, answer{text: "any time"}
		if n := in.Terms; n > 0 && n <= len(result.Plan.Terms) {
			open, a = may(result.Plan.Terms[n-1], out.At, zone, d.ID)
		}
		if i := slices.IndexFunc(foreseen, func(u wire.Rehearsed) bool { return u.Update == in.Update }); i >= 0 {
			step.WouldFail = strings.ReplaceAll(string(foreseen[i].Cause), "_", " ") + ": " + foreseen[i].Detail
		}
		if step.Why, step.Opens = a.text, a.opens; open {
			step.Opens = time.Time{}
			out.Installs = append(out.Installs, step)
		} else {
			out.Waits = append(out.Waits, step)
		}
	}
	for _, r := range result.Plan.Rollback {
		out.Rollbacks = append(out.Rollbacks, client.PlanStep{UpdateRef: client.UpdateRef{ID: r.Update}, Why: fmt.Sprintf("ordered by act %d", r.Act)})
	}
	for i, r := range out.Rollbacks {
		if u, ok := v.Update(r.ID); ok {
			out.Rollbacks[i].UpdateRef = client.UpdateOf(u.Release)
		}
	}
	out.Sentence = planned(d, *out)
}

func taskOf(all []plan.Verdict, id catalog.UpdateID) string {
	if i := slices.IndexFunc(all, func(v plan.Verdict) bool { return v.Update == id }); i >= 0 {
		return all[i].Task
	}
	return ""
}

// answer is what terms say of a moment.
type answer struct {
	text  string
	opens time.Time
}

// may asks all schedules of terms, as the device does: every one has to be open. What cannot be read never is.
func may(t wire.PlanTerms, at time.Time, zone window.Zone, device fleet.DeviceID) (bool, answer) {
	switch {
	case t.DownloadOnly:
		return false, answer{text: fmt.Sprintf("the task %q only downloads", t.Task)}
	case t.AtShutdown:
		return false, answer{text: "it installs when the device shuts down"}
	}
	open, out := true, answer{}
	var texts []string
	for _, raw := range t.Schedules {
		s, err := window.Decode(raw)
		if err != nil {
			return false, answer{text: "a schedule cannot be read, so it never opens"}
		}
		w, err := window.Parse(s)
		if err != nil {
			return false, answer{text: "a schedule cannot be used, so it never opens"}
		}
		a := w.At(at, zone, string(device))
		if texts = append(texts, a.Text); !a.Open {
			open = false
			if a.Opens.After(out.opens) {
				out.opens = a.Opens // all have to be open: not before the last of them
			}
		}
	}
	out.text = cmp.Or(strings.Join(texts, "; "), "any time")
	return open, out
}

// planned is what it comes to.
func planned(d index.Device, p client.PlanAt) string {
	switch {
	case d.State != fleet.Active:
		return fmt.Sprintf("%s is %s and gets nothing.", d.Name, d.State)
	case !d.Scanned():
		return fmt.Sprintf("Nothing would happen on %s: it has not reported yet what it has and what it could take.", d.Name)
	}
	held := 0
	for _, v := range p.Verdicts {
		if v.Action == plan.Hold {
			held++
		}
	}
	parts := []string{fmt.Sprintf("On %s %s would install %s", p.Local, d.Name, many(len(p.Installs), "update"))}
	for _, part := range []struct {
		n    int
		what string
	}{{len(p.Waits), "wait for a window"}, {len(p.Rollbacks), "go back"}, {held, "are held"}} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	fail := 0
	for _, step := range slices.Concat(p.Installs, p.Waits) {
		if step.WouldFail != "" {
			fail++
		}
	}
	if fail > 0 {
		parts = append(parts, fmt.Sprintf("%d would fail as the device found beforehand", fail))
	}
	return strings.Join(parts, ", ") + ", as facts, decisions and tasks stand now."
}
