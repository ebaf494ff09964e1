package decide

import (
	"context"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
)

// maxTargets is the most that one deployment names.
const maxTargets = 1000

// Deploy puts an application onto devices that lack it, through the same verdicts as any update: each device gets it as
// soon as it is approved there and nothing holds it. It is refused where that can never be: what is gated, recalled,
// declined in the target's path or not readable here, has agreements that nobody accepted, is no full version, or has no
// file for any of the devices. A deployment that stands already is not made twice.
//
// With DryRun nothing is written; the answer for each device is what plan.Compute says to the deployment.
func (s *Service) Deploy(ctx context.Context, who auth.Actor, r client.DeployRequest) (client.DeployOutcome, error) {
	if err := checkDeploy(r); err != nil {
		return client.DeployOutcome{}, err
	}
	var d *deployment
	var err error
	if r.DryRun {
		s.index.View(func(v *index.View) { d, err = s.deployment(v, who, r) })
	} else {
		err = s.deploy(ctx, who, r, &d)
	}
	if err != nil {
		return client.DeployOutcome{}, err
	}
	out := client.DeployOutcome{Act: d.act, DryRun: r.DryRun, Unchanged: d.stands, Update: ref(d.update), Group: d.group, Devices: []client.DeployDevice{}}
	if err := s.foresee(ctx, d, &out); err != nil {
		if r.DryRun {
			return client.DeployOutcome{}, err
		}
		s.log.Warn("the preview of a deployment failed", "act", d.act.Act, "error", err) // the act is durable
	}
	return out, nil
}

// deploy records a deployment.
func (s *Service) deploy(ctx context.Context, who auth.Actor, r client.DeployRequest, to **deployment) error {
	entry, err := s.index.Act(ctx, who.Name, func(v *index.View) (ledger.Body, error) {
		d, err := s.deployment(v, who, r)
		*to = d
		if err != nil || d.stands {
			return nil, err
		}
		return d.body, nil
	})
	if err != nil || entry.Seq == 0 {
		return err
	}
	d := *to
	d.act = client.Act{Act: entry.Seq, At: entry.At}
	s.log.Info("deployed", "act", entry.Seq, "by", who.Name, "update", d.update.ID, "scope", d.body.Scope, "devices", d.devices.GetCardinality())
	return nil
}

// checkDeploy refuses what is wrong by itself.
func checkDeploy(r client.DeployRequest) error {
	if err := checkText(r.Reason, "reason", maxReason); err != nil {
		return err
	}
	switch {
	case r.Package == "" && r.Update == "":
		return fault.New(fault.Invalid, "deploy_what", "Say what to deploy: an installation package, or an update.").On("package")
	case r.Package != "" && r.Update != "":
		return fault.New(fault.Invalid, "deploy_twice", "Name an installation package or an update, not both.").On("update")
	case len(r.To) == 0 || slices.Contains(r.To, ""):
		return fault.New(fault.Invalid, "deploy_target", "Say where to: one group, or some devices.").On("to")
	case len(r.To) > maxTargets:
		return fault.New(fault.TooLarge, "deploy_targets", "A deployment names %d devices at most; deploy to a group.", maxTargets).On("to")
	}
	return nil
}

// deployment is one on its way.
type deployment struct {
	update  index.Update
	group   string // the name of the group it goes to; empty: to named devices
	devices *roaring.Bitmap
	body    ledger.UpdateDeploy
	act     client.Act
	stands  bool // there is the same already
}

// deployment resolves a request at one moment.
func (s *Service) deployment(v *index.View, who auth.Actor, r client.DeployRequest) (*deployment, error) {
	d := &deployment{}
	if err := d.find(v, who, r); err != nil {
		return nil, err
	}
	if refusal := ungiven(v, d.update); refusal != nil {
		return nil, refusal
	}
	if err := d.target(v, who, r.To); err != nil {
		return nil, err
	}
	if refusal := firstRefusal(func() *fault.Error { return s.keptOut(v, d) }, func() *fault.Error { return unagreed(v, d.update) }, func() *fault.Error { return d.unfit(v) }); refusal != nil {
		return nil, refusal
	}
	d.body.Update, d.body.Release, d.body.Reason = d.update.ID, d.update.Release, r.Reason
	for _, old := range v.Deploys() {
		if old.Update == d.update.ID && old.Scope == d.body.Scope && slices.Equal(old.Devices, d.body.Devices) {
			d.stands, d.act = true, client.Act{Act: old.Act, At: old.At}
		}
	}
	return d, nil
}

// find finds what is to be deployed.
func (d *deployment) find(v *index.View, who auth.Actor, r client.DeployRequest) (err error) {
	reference := r.Update
	if r.Package != "" {
		p, err := findPackage(v, who, r.Package)
		if err != nil {
			return err
		}
		if _, known := v.Update(p.Update); !known {
			return fault.New(fault.Conflict, codeNotManaged, "%q is made from the agent's package on the server, not from an update: it brings the agent onto machines that have none. Download it.", p.Name).On("package")
		}
		reference, d.body.Package = string(p.Update), p.ID
	}
	d.update, err = v.Resolve(reference)
	return err
}

// target finds where to: one group, or some devices.
func (d *deployment) target(v *index.View, who auth.Actor, to []string) error {
	d.devices = roaring.New()
	for _, name := range to {
		g, isGroup := v.Tree().Find(name)
		if !isGroup {
			if err := d.device(v, who, name); err != nil {
				return err
			}
			continue
		}
		if len(to) > 1 {
			return fault.New(fault.Invalid, "deploy_mixed", "%q is a group; a deployment goes to one group, or to some devices. Deploy to each group apart.", g.Name).On("to")
		}
		if err := who.Can(ledger.Approver, v.Tree(), g.ID); err != nil {
			return err
		}
		d.group, d.body.Scope, d.devices = g.Name, g.ID, v.In(g.ID)
	}
	slices.Sort(d.body.Devices)
	return nil
}

// device adds a device that is named itself.
func (d *deployment) device(v *index.View, who auth.Actor, name string) error {
	dev, err := v.FindDevice(name, who.Scope)
	if f := fault.From(err); f != nil && f.Kind == fault.NotFound {
		return fault.New(fault.NotFound, "target_unknown", "There is no group and no device %q; `assent group list` and `assent device list` show all.", shorten(name)).On("to")
	}
	if err != nil {
		return err
	}
	if err := who.Can(ledger.Approver, v.Tree(), dev.Group); err != nil {
		return err
	}
	if dev.State == fleet.Retired {
		return fault.New(fault.Conflict, "device_retired", "%s is retired and gets nothing; enrol it again if it is to come back.", dev.Name).On("to")
	}
	if !d.devices.Contains(dev.Number) {
		d.devices.Add(dev.Number)
		d.body.Devices = append(d.body.Devices, dev.ID)
	}
	return nil
}

// keptOut says which decline keeps the update from the target.
func (s *Service) keptOut(v *index.View, d *deployment) *fault.Error {
	now := s.index.Now().UTC()
	if d.group != "" {
		return kept(v, d.update, d.body.Scope, now)
	}
	for _, id := range d.body.Devices {
		dev, _ := v.Device(id)
		if refusal := kept(v, d.update, dev.Group, now); refusal != nil {
			return refusal
		}
	}
	return nil
}

// unfit refuses what has no file for any of the devices. A device that has not said what it is may fit, and so may those
// that come into a group without devices.
func (d *deployment) unfit(v *index.View) *fault.Error {
	seen := map[string]bool{}
	for it := d.devices.Iterator(); it.HasNext(); {
		dev := v.Numbered(it.Next())
		fit, known := fits(dev, d.update)
		if fit || !known {
			return nil
		}
		p, _ := platform(dev)
		seen[p.String()] = true
	}
	if len(seen) == 0 {
		return nil
	}
	return fault.New(fault.Conflict, codeNoPayload, "%s has no file for any device there: it has %s, and they are %s.", title(d.update), archs(d.update), words(seen)).On("to")
}

// Undeploy ends a deployment. Devices that have the application keep it; those that still lack it do not get it any more.
func (s *Service) Undeploy(ctx context.Context, who auth.Actor, id int64) (client.Act, error) {
	entry, err := s.index.Act(ctx, who.Name, func(v *index.View) (ledger.Body, error) {
		d, ok := v.State().Deploys[id]
		if !ok || len(concern(v, who, d)) == 0 {
			return nil, fault.New(fault.NotFound, "deployment_unknown", "There is no deployment %d; `assent package deployments` lists those that stand.", id).On("id")
		}
		for _, g := range groupsOf(v, d) {
			if err := who.Can(ledger.Approver, v.Tree(), g); err != nil {
				return nil, err
			}
		}
		return ledger.DeployEnd{Deploy: id}, nil
	})
	if err != nil {
		return client.Act{}, err
	}
	s.log.Info("deployment ended", "act", entry.Seq, "by", who.Name, "deployment", id)
	return client.Act{Act: entry.Seq, At: entry.At}, nil
}
