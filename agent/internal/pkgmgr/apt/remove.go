package apt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"assent/agent/internal/command"
	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

// checkRemoval refuses a removal that does not say exactly what is meant.
func checkRemoval(want pkgmgr.Want) error {
	if len(want.Items)+len(want.Extras) > 0 {
		return refuse(installation.UnknownData, nil, "The order cannot be carried out: it installs and removes at once.")
	}
	for _, it := range want.Remove {
		if err := checkName(it.Name, it.Arch, it.Version); err != nil {
			return refuse(installation.UnknownData, nil, "The order cannot be carried out: %v.", err)
		}
	}
	return nil
}

// simulateRemoval is Simulate for what is to go: exactly that may go, and nothing else may happen. What is not there any
// more is left out; what is there in another version is refused, for nobody decided about that.
func (a *Apt) simulateRemoval(ctx context.Context, want pkgmgr.Want) (pkgmgr.Transaction, error) {
	tx := pkgmgr.Transaction{Want: want}
	w, err := a.world(ctx, nil)
	if err != nil {
		return tx, err
	}
	leaving, err := w.leaving(want.Remove)
	if err != nil || len(leaving) == 0 {
		return tx, err
	}
	dir, err := a.scratch()
	if err != nil {
		return tx, err
	}
	defer os.RemoveAll(dir)
	prefs, err := writePreferences(dir, wall(want)) // nothing is a candidate: apt cannot put anything in its place
	if err != nil {
		return tx, err
	}
	steps, no, err := a.ask(ctx, prefs, verbRemove, w.removeArguments(want.Remove))
	if err != nil {
		return tx, err
	}
	if no != nil {
		return tx, refuse(installation.Unresolvable, nil, "apt cannot do it: %s", no)
	}
	if tx.Changes, err = a.changes(ctx, w, steps); err != nil {
		return tx, err
	}
	if err := judgeRemoval(leaving, tx.Changes); err != nil {
		return tx, err
	}
	tx.Space, err = a.growth(ctx, w.native, tx.Changes)
	return tx, err
}

// leaving are the changes that a removal means.
func (w *world) leaving(items []catalog.Item) ([]wire.Change, error) {
	var out []wire.Change
	for _, it := range items {
		u, ok := w.find(it.Name, it.Arch)
		if !ok {
			continue
		}
		c := w.removal(step{Remove: true, Name: u.Name, Arch: u.Arch, From: u.Version})
		switch {
		case u.Version != it.Version:
			return nil, refuse(installation.Unresolvable, []wire.Change{c}, "%s is here in version %s; the order is to remove %s.", it.Name, u.Version, it.Version)
		case c.Essent:
			return nil, refuse(installation.NotRemovable, []wire.Change{c}, "%s is essential to this device and is never removed.", it.Name)
		case u.held():
			return nil, refuse(installation.HeldPackage, []wire.Change{c}, "On hold on this device: %s.", it.Name)
		}
		out = append(out, c)
	}
	return out, nil
}

// removeArguments names packages as apt cannot take for anything else.
func (w *world) removeArguments(items []catalog.Item) []string {
	out := []string{"--"}
	for _, it := range items {
		if u, ok := w.find(it.Name, it.Arch); ok && u.Version == it.Version {
			out = append(out, it.Name+":"+orNative(it.Arch, w.native))
		}
	}
	return out
}

// judgeRemoval compares what apt would do with what is to go.
func judgeRemoval(leaving, changes []wire.Change) error {
	same := func(list []wire.Change, c wire.Change) bool {
		return slices.ContainsFunc(list, func(o wire.Change) bool { return o.Op == c.Op && o.Name == c.Name && o.Arch == c.Arch })
	}
	var others []wire.Change
	for _, c := range changes {
		if !same(leaving, c) {
			others = append(others, c)
		}
	}
	if len(others) > 0 {
		return refuse(installation.RemovalNeeded, others, "It cannot be removed alone, because of what needs it: %s.", names(others))
	}
	for _, c := range leaving {
		if !same(changes, c) {
			return refuse(installation.Unresolvable, nil, "apt would not remove %s, and does not say why.", c.Name)
		}
	}
	return nil
}

// finishRemoval ends a removal of the last transaction that was interrupted half way: a package whose scripts or files are
// partly gone can only go on. It asks dpkg, which refuses where others need the package, and names the packages.
func (a *Apt) finishRemoval(ctx context.Context, last run, h pkgmgr.Health) (pkgmgr.Health, error) {
	s, err := readStatus(a.fsys)
	if err != nil {
		return h, fmt.Errorf("recover: %w", err)
	}
	args := []string{"--remove", "--"}
	leaving := slices.Clone(last.Transaction.Want.Remove)
	for _, c := range last.Transaction.Changes {
		if c.Op == wire.OpRemove && len(last.Transaction.Want.Remove) == 0 { // it went along with an install
			leaving = append(leaving, catalog.Item{Name: c.Name, Arch: c.Arch, Version: c.From})
		}
	}
	for _, it := range leaving {
		if err := checkName(it.Name, it.Arch, it.Version); err != nil {
			return h, errors.New("recover: the interrupted removal cannot be read")
		}
		if u := s.find(it.Name, it.Arch); u != nil && u.Arch == it.Arch && u.Want == "deinstall" && u.State != "installed" {
			args = append(args, it.Name+":"+it.Arch) // dpkg knows "all", unlike apt
		}
	}
	if len(args) == 2 {
		return h, nil
	}
	if err := a.repair(ctx, "remove", command.Step{Tool: command.Dpkg, Args: args}); err != nil {
		return h, fmt.Errorf("recover: %w", err)
	}
	return a.sound(ctx)
}
