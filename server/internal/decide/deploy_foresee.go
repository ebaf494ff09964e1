package decide

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/plan"
	"assent/server/internal/index"
)

// foresee says for each device what a deployment means: what plan.Compute says with it. Devices with the same facts are
// computed once; those that are not reached in time are counted as unseen.
func (s *Service) foresee(ctx context.Context, d *deployment, out *client.DeployOutcome) error {
	byKey := map[index.PlanKey]*roaring.Bitmap{}
	var order []*roaring.Bitmap
	s.index.View(func(v *index.View) {
		for it := d.devices.Iterator(); it.HasNext(); {
			n := it.Next()
			key, _ := v.PlanKey(n)
			if byKey[key] == nil {
				byKey[key] = roaring.New()
				order = append(order, byKey[key])
			}
			byKey[key].Add(n)
		}
	})
	out.Counts.Devices = int(d.devices.GetCardinality())
	deadline := time.Now().Add(previewBudget)
	for _, class := range order {
		if err := alive(ctx); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			out.Counts.Unseen += int(class.GetCardinality())
			continue
		}
		s.index.View(func(v *index.View) { s.foreseeClass(v, d, class, out) })
	}
	slices.SortFunc(out.Devices, func(a, b client.DeployDevice) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Device, b.Device))
	})
	return nil
}

// foreseeClass adds the devices with one set of facts.
func (s *Service) foreseeClass(v *index.View, d *deployment, class *roaring.Bitmap, out *client.DeployOutcome) {
	in := v.PlanInput(v.Numbered(class.Minimum()), s.index.Now().UTC())
	in.Deploys = append(slices.Clone(in.Deploys), ledger.Deploy{Act: v.State().Seq + 1, UpdateDeploy: d.body})
	verdicts := plan.Compute(in).Verdicts
	i := slices.IndexFunc(verdicts, func(verdict plan.Verdict) bool { return verdict.Update == d.update.ID })
	for it := class.Iterator(); it.HasNext(); {
		row := (&outlook{View: v, update: d.update, group: d.group, now: in.Now}).device(v.Numbered(it.Next()), verdicts, i)
		count(&out.Counts, row.Answer)
		if len(out.Devices) < maxNames {
			out.Devices = append(out.Devices, row)
		}
	}
}

// count counts one more device with an answer.
func count(c *client.DeployCounts, a client.DeployAnswer) {
	switch a {
	case client.DeployInstalls:
		c.Install++
	case client.DeployThere:
		c.There++
	case client.DeployOther:
		c.Other++
	case client.DeployHeld:
		c.Held++
	case client.DeployWaits:
		c.Waits++
	}
}

// outlook says what a deployment of an update means for devices.
type outlook struct {
	*index.View
	update index.Update
	group  string // where it was deployed to a group
	now    time.Time
}

// device says what it means for one, whose verdict is all[i]; i is negative when there is none.
func (o *outlook) device(d index.Device, all []plan.Verdict, i int) client.DeployDevice {
	row := client.DeployDevice{Device: d.ID, Name: d.Name, Group: strings.Trim(groupName(o.View, d.Group), `"`), Offline: !d.Connected}
	row.Version = o.has(d)
	held := func(cause installation.Cause, why string) client.DeployDevice {
		row.Answer, row.Cause, row.Why = client.DeployHeld, cause, why
		return row
	}
	switch {
	case o.update.Has.Contains(d.Number):
		row.Answer = client.DeployThere
		return row
	case row.Version != "":
		row.Answer, row.Why = client.DeployOther, "it has "+row.Version+": other versions come as updates, not by a deployment"
		return row
	case d.State != fleet.Active:
		return held(installation.UnknownData, fmt.Sprintf("the device is %s: it gets nothing until it is released", d.State))
	}
	if refusal := kept(o.View, o.update, d.Group, o.now); refusal != nil {
		return held(installation.Declined, refusal.Message)
	}
	if fit, known := fits(d, o.update); known && !fit {
		p, _ := platform(d)
		return held(installation.ContentUnavailable, fmt.Sprintf("there is no file for %s: it has %s", p, archs(o.update)))
	}
	if o.undecided(d) && (i < 0 || all[i].Action != plan.Install) {
		row.Next = fmt.Sprintf("assent update approve %s --group %s", o.update.ID, quoted(cmp.Or(o.group, row.Group)))
		return held("", "nobody has approved it there")
	}
	if i < 0 {
		row.Answer, row.Why = client.DeployWaits, "the device has not said yet that it could take it"
		return row
	}
	return o.judged(row, all[i])
}

// undecided reports whether an update still needs an approval on a device (content needs none, C6).
func (o *outlook) undecided(d index.Device) bool {
	return o.update.Class != catalog.Content && o.Status(o.update.Release, d.Group, o.now).Status != approval.Approved
}

// judged is what a verdict means.
func (o *outlook) judged(row client.DeployDevice, v plan.Verdict) client.DeployDevice {
	row.Why = last(v)
	switch {
	case v.Action == plan.Install:
		row.Answer, row.Why, row.Download = client.DeployInstalls, "", v.Download
	case v.Action == plan.Hold:
		row.Answer, row.Cause = client.DeployHeld, v.Cause
		if len(v.Needs) > 0 {
			row.Next = "assent update approve " + needIDs(v.Needs)
		}
	case v.Superseded != "":
		row.Answer = client.DeployHeld
	default:
		row.Answer = client.DeployWaits
	}
	return row
}

func needIDs(needs []catalog.Release) string {
	ids := make([]string, len(needs))
	for i, r := range needs {
		ids[i] = string(r.ID())
	}
	return strings.Join(ids, " ")
}

// has is the version of the application that a device has; empty when it lacks it.
func (o *outlook) has(d index.Device) string {
	if o.update.Has.Contains(d.Number) {
		return o.update.Version
	}
	for _, u := range o.Releases(o.update.Software) {
		if u.Has.Contains(d.Number) {
			return u.Version
		}
	}
	version, _ := installedSource(d, o.update)
	return version
}

// quoted is a word as a shell reads it.
func quoted(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r))
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// archs names the platforms that an update has files for.
func archs(u index.Update) string {
	seen := map[string]bool{}
	for _, it := range own(u) {
		seen[it.Arch] = true
	}
	return words(seen)
}

func words(set map[string]bool) string {
	return strings.Join(slices.Sorted(maps.Keys(set)), ", ")
}
