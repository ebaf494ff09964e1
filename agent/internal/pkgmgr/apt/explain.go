package apt

import (
	"context"
	"errors"
	"os"
	"slices"

	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

// explain finds out what it would take where apt says no to a Want. It asks twice more: as the device is (its own
// preferences, Assent's declines among them), and without any preferences. The first answer within reach names the
// smallest set that apt would add; only the second shows what a decline, or an administrator's own pin, is in the way of.
func (a *Apt) explain(ctx context.Context, want pkgmgr.Want, missing []catalog.Item, no error) error {
	taken, err := a.whatItTakes(ctx, want, missing, preferences{})
	if err != nil || taken != nil {
		return firstOf(err, taken)
	}
	dir, err := a.scratch()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	prefs, err := writePreferences(dir, "")
	if err != nil {
		return err
	}
	taken, err = a.whatItTakes(ctx, want, missing, prefs)
	if err != nil {
		return err
	}
	if taken == nil {
		return refuse(installation.Unresolvable, nil, "apt cannot do it: %s", no)
	}
	if denied := a.declinedAmong(taken.Changes); len(denied) > 0 {
		return refuse(installation.DeclinedDependency, taken.Changes, "It needs what was declined: %s.", names(denied))
	}
	return taken
}

// whatItTakes simulates the wanted items without the wall. The result is nil where apt cannot do it even so.
func (a *Apt) whatItTakes(ctx context.Context, want pkgmgr.Want, missing []catalog.Item, prefs preferences) (*pkgmgr.Refusal, error) {
	w, err := a.world(ctx, wantedNames(want))
	if err != nil {
		return nil, err
	}
	steps, no, err := a.ask(ctx, prefs, verbInstall, a.arguments(w, want, missing))
	if err != nil || no != nil && len(steps) == 0 {
		return nil, err
	}
	changes, err := a.changes(ctx, w, steps)
	if err != nil {
		return nil, err
	}
	var refusal *pkgmgr.Refusal
	errors.As(w.outside(want, changes), &refusal)
	return refusal, nil
}

// declinedAmong lists the changes that bring in a version which Fence has pinned away.
func (a *Apt) declinedAmong(changes []wire.Change) []wire.Change {
	denied := a.fencedVersions()
	return slices.DeleteFunc(slices.Clone(changes), func(c wire.Change) bool { return !denied[[2]string{c.Name, c.Version}] })
}

// firstOf gives err if there is one, else the refusal; never a typed nil.
func firstOf(err error, r *pkgmgr.Refusal) error {
	if err != nil {
		return err
	}
	return r
}
