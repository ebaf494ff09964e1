package apt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"assent/agent/internal/command"
	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/installation"
	"assent/pkgver"
	"assent/wire"
)

// simulateDeadline bounds one simulation; a slow device with everything pending needs tens of seconds.
const simulateDeadline = 5 * time.Minute

var _ pkgmgr.Transactor = (*Apt)(nil)

// Simulate implements pkgmgr.Transactor. What apt says is compared with the Want line by line; where apt cannot do it
// within the Want, the Refusal names what it would take.
func (a *Apt) Simulate(ctx context.Context, want pkgmgr.Want) (pkgmgr.Transaction, error) {
	tx := pkgmgr.Transaction{Want: want}
	if err := checkWant(want); err != nil {
		return tx, err
	}
	if len(want.Remove) > 0 {
		return a.simulateRemoval(ctx, want)
	}
	w, err := a.world(ctx, wantedNames(want))
	if err != nil {
		return tx, err
	}
	missing := w.unsatisfied(want.Items)
	if len(missing) == 0 {
		return tx, nil
	}
	if err := a.checkItems(w, want, missing); err != nil {
		return tx, err
	}
	dir, err := a.scratch()
	if err != nil {
		return tx, err
	}
	defer os.RemoveAll(dir)
	prefs, err := writePreferences(dir, wall(want))
	if err != nil {
		return tx, err
	}
	steps, refusal, err := a.ask(ctx, prefs, verbInstall, a.arguments(w, want, missing))
	if err != nil {
		return tx, err
	}
	if refusal != nil {
		return tx, a.explain(ctx, want, missing, refusal)
	}
	if tx.Changes, err = a.changes(ctx, w, steps); err != nil {
		return tx, err
	}
	a.fillLocal(w, want, tx.Changes)
	if err := w.judge(want, missing, tx.Changes); err != nil {
		return tx, err
	}
	tx.Fetch = a.bytesToFetch(tx.Changes)
	tx.Space, err = a.growth(ctx, w.native, tx.Changes)
	return tx, err
}

func wantedNames(want pkgmgr.Want) []string {
	var out []string
	for _, it := range slices.Concat(want.Items, want.Extras) {
		out = append(out, it.Name)
	}
	return out
}

// checkItems finds, without asking apt, what cannot be: held packages, files that no source has any more, files
// whose content is not the wanted one.
func (a *Apt) checkItems(w *world, want pkgmgr.Want, missing []catalog.Item) error {
	var held []wire.Change
	for _, it := range missing {
		if u, ok := w.find(it.Name, it.Arch); ok && u.held() {
			held = append(held, w.change(it.Name, it.Arch, it.Version))
		}
	}
	if len(held) > 0 {
		return refuse(installation.HeldPackage, held, "On hold on this device: %s.", names(held))
	}
	for _, it := range missing {
		if _, ok := a.localFile(w, want, it); ok {
			continue
		}
		if err := w.checkContent(it); err != nil {
			return err
		}
	}
	return nil
}

// checkContent compares an item with what the package sources have under its name, architecture and version. Every
// source must have the same content, since it is apt that chooses among them.
func (w *world) checkContent(it catalog.Item) error {
	found := w.offered(it.Name, it.Arch, it.Version)
	if len(found) == 0 {
		return refuse(installation.ContentUnavailable, nil, "No package source of this device has %s any more.", it.Key())
	}
	for _, o := range found {
		if o.SHA256 != it.SHA256 {
			return refuse(installation.DigestMismatch, nil, "%s has other content in %s than was approved: found SHA-256 %s, approved %s.",
				it.Key(), cmp.Or(o.Origin, "a package source"), o.SHA256, it.SHA256)
		}
	}
	return nil
}

// What apt is asked to do.
const (
	verbInstall = "install"
	verbRemove  = "remove"
)

// ask has apt simulate what its arguments say. The second result is apt's own "no", in its words. Without -y a
// simulation shows removals of essential packages, downgrades and changes of held ones instead of giving up on them.
func (a *Apt) ask(ctx context.Context, prefs preferences, verb string, arguments []string) ([]step, error, error) {
	args := append([]string{"-s", "-q", "-o", "Debug::NoLocking=1"}, common()...)
	args = append(args, prefs.options()...)
	args = append(args, verb)
	res, err := a.cfg.Command.Run(ctx, command.Call{Tool: command.AptGet, Args: append(args, arguments...),
		Deadline: simulateDeadline, Limit: 32 << 20})
	if err == nil && res.Truncated {
		err = errors.New("its output is too long")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("simulate with apt: %w", err)
	}
	out := string(res.Stdout) + "\n" + string(res.Stderr)
	steps, err := parseSimulation(out)
	if err != nil {
		return nil, nil, fmt.Errorf("simulate with apt: %w", err)
	}
	if res.Code != 0 {
		return steps, errors.New(aptWords(out)), nil
	}
	return steps, nil, nil
}

// changes turns apt's steps into the closure of a transaction, with what the lists know of each new version.
func (a *Apt) changes(ctx context.Context, w *world, steps []step) ([]wire.Change, error) {
	var unknown []string
	for _, s := range steps {
		if !w.looked[s.Name] {
			unknown = append(unknown, s.Name)
		}
	}
	if err := a.look(ctx, w, unknown); err != nil {
		return nil, err
	}
	installs := map[string]bool{}
	for _, s := range steps {
		if !s.Remove {
			installs[s.Name] = true
		}
	}
	var out []wire.Change
	for _, s := range steps {
		switch {
		case !s.Remove:
			out = append(out, w.change(s.Name, s.Arch, s.Version))
		case !installs[s.Name]: // else it is removed for a moment only, to break a circle
			out = append(out, w.removal(s))
		}
	}
	sortChanges(out)
	return out, nil
}

func sortChanges(changes []wire.Change) {
	slices.SortFunc(changes, func(a, b wire.Change) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Arch, b.Arch), strings.Compare(a.Version, b.Version))
	})
}

// change describes putting a version onto the device.
func (w *world) change(name, arch, version string) wire.Change {
	c := wire.Change{Op: wire.OpInstall, Name: name, Arch: arch, Version: version}
	if found := w.offered(name, arch, version); len(found) > 0 {
		o := found[0]
		c.SHA256, c.Size, c.Source, c.SrcVer, c.Space = o.SHA256, o.Size, o.Source, o.SourceVersion, o.Space
	}
	u, ok := w.find(name, arch)
	if !ok {
		return c
	}
	c.From = u.Version
	switch order, err := pkgver.Compare("deb", version, u.Version); {
	case err != nil || order < 0: // what cannot be compared is not taken for an upgrade
		c.Op = wire.OpDowngrade
	case order == 0:
		c.Op = wire.OpReinstall
	default:
		c.Op = wire.OpUpgrade
	}
	return c
}

func (w *world) removal(s step) wire.Change {
	c := wire.Change{Op: wire.OpRemove, Name: s.Name, Arch: s.Arch, From: s.From}
	if u, ok := w.find(s.Name, cmp.Or(s.Arch, w.native)); ok {
		c.Arch, c.From, c.Source, c.SrcVer, c.Essent = u.Arch, u.Version, u.Source, u.SourceVersion, u.Essential || u.Protected
	}
	return c
}

// fillLocal notes the content of files that come from the kept ones and not from a package source.
func (a *Apt) fillLocal(w *world, want pkgmgr.Want, changes []wire.Change) {
	for i, c := range changes {
		if it, ok := wantedAs(want, c); ok && c.SHA256 == "" {
			if _, ok := a.localFile(w, want, it); ok {
				changes[i].SHA256, changes[i].Size = it.SHA256, it.Size
			}
		}
	}
}

// judge compares what apt would do with what is wanted. Everything must fit: each wanted item is reached, and
// nothing else happens.
func (w *world) judge(want pkgmgr.Want, missing []catalog.Item, changes []wire.Change) error {
	if err := w.outside(want, changes); err != nil {
		return err
	}
	for _, it := range missing {
		if !slices.ContainsFunc(changes, func(c wire.Change) bool {
			return c.Name == it.Name && c.Arch == it.Arch && c.Version == it.Version
		}) {
			return refuse(installation.Unresolvable, nil, "apt would not install %s, and does not say why.", it.Key())
		}
	}
	for _, c := range changes {
		if it, ok := wantedAs(want, c); ok && c.SHA256 != it.SHA256 {
			return refuse(installation.DigestMismatch, nil, "%s has other content than was approved: found SHA-256 %s, approved %s.",
				it.Key(), cmp.Or(c.SHA256, "none"), it.SHA256)
		}
	}
	return nil
}

// wantedAs finds the item that a change fulfils.
func wantedAs(want pkgmgr.Want, c wire.Change) (catalog.Item, bool) {
	for _, it := range slices.Concat(want.Items, want.Extras) {
		if it.Name == c.Name && it.Arch == c.Arch && it.Version == c.Version {
			return it, true
		}
	}
	return catalog.Item{}, false
}

// outside refuses changes that stand outside the Want. Of several kinds the gravest names the cause; the changes are all there.
func (w *world) outside(want pkgmgr.Want, changes []wire.Change) error {
	var out []wire.Change
	kinds := map[installation.Cause][]wire.Change{}
	for _, c := range changes {
		if cause := w.fault(want, c); cause != "" {
			out = append(out, c)
			kinds[cause] = append(kinds[cause], c)
		}
	}
	for _, k := range []struct {
		cause installation.Cause
		text  string
	}{
		{installation.RemovalNeeded, "apt would have to remove %s."},
		{installation.HeldPackage, "apt would have to change what is on hold on this device: %s."},
		{installation.DowngradeNeeded, "apt would have to go back to an older version: %s."},
		{installation.UnapprovedDependency, "apt needs more than was approved: %s."},
	} {
		if some := kinds[k.cause]; len(some) > 0 {
			return refuse(k.cause, out, k.text, names(some))
		}
	}
	return nil
}

// faultOfRemoval says what is wrong with a package's going along with what is wanted, or nothing: only what is named may go, and
// never what the device cannot do without.
func (w *world) faultOfRemoval(want pkgmgr.Want, c wire.Change) installation.Cause {
	if !slices.Contains(want.Removable, c.Name) || c.Essent || c.Name == wire.AgentPackage {
		return installation.RemovalNeeded
	}
	if u, ok := w.find(c.Name, c.Arch); ok && u.held() {
		return installation.HeldPackage
	}
	return ""
}

// removes reports whether something goes with a transaction that installs.
func removes(tx pkgmgr.Transaction) bool {
	return len(tx.Want.Items) > 0 && slices.ContainsFunc(tx.Changes, func(c wire.Change) bool { return c.Op == wire.OpRemove })
}

// fault says what is wrong with one change, or nothing.
func (w *world) fault(want pkgmgr.Want, c wire.Change) installation.Cause {
	if c.Op == wire.OpRemove {
		return w.faultOfRemoval(want, c)
	}
	item, extra := has(want.Items, c.Name, c.Arch, c.Version), has(want.Extras, c.Name, c.Arch, c.Version)
	if u, ok := w.find(c.Name, c.Arch); ok && u.held() {
		return installation.HeldPackage
	}
	switch {
	case c.Op == wire.OpDowngrade && !(want.Downgrade && item):
		return installation.DowngradeNeeded
	case item, extra && c.Op == wire.OpInstall:
		return ""
	}
	return installation.UnapprovedDependency
}
