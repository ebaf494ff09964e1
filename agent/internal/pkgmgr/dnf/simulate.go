package dnf

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"assent/agent/internal/command"
	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/feed"
	"assent/installation"
	"assent/pkgver"
	"assent/wire"
)

// simulateDeadline bounds one question to dnf.
const simulateDeadline = 5 * time.Minute

// options are those of every run: no repository, nothing that was not asked for by name, no going on without what is wanted, and
// no waiting for another dnf. Signatures of files are not asked for: that they are the publisher's was proven by the feed's own
// keys, and their digests are compared before each run and by the guard.
func options() []string {
	return []string{"--disablerepo=*", "--color=never", "--setopt=install_weak_deps=0", "--setopt=clean_requirements_on_remove=0",
		"--setopt=best=1", "--setopt=skip_if_unavailable=0", "--setopt=exit_on_lock=1", "--setopt=localpkg_gpgcheck=0", "--setopt=debuglevel=2",
		"--setopt=errorlevel=3", "--setopt=keepcache=1"}
}

// source is a release of a feed that has an item.
type source struct {
	release feed.Release
	item    catalog.Item
}

// published finds the releases that have a package under this name and version, whatever its content.
func (d *Dnf) published(name, arch, version string) []source {
	var out []source
	for _, r := range d.cfg.Payloads.Releases() {
		for _, it := range r.Manifest.Items {
			if r.Ecosystem == Ecosystem && it.Name == name && it.Arch == arch && it.Version == version && checkItem(it) == nil {
				out = append(out, source{r, itemOf(it)})
			}
		}
	}
	return out
}

// sources are the releases that have exactly an item.
func (d *Dnf) sources(it catalog.Item) []source {
	return slices.DeleteFunc(d.published(it.Name, it.Arch, it.Version), func(s source) bool { return s.item.SHA256 != it.SHA256 })
}

// checkWant refuses an order that does not say exactly what is meant.
func checkWant(want pkgmgr.Want) error {
	if len(want.Remove) > 0 && len(want.Items)+len(want.Extras) > 0 {
		return refuse(installation.UnknownData, nil, "The order cannot be carried out: it installs and removes at once.")
	}
	for _, it := range slices.Concat(want.Items, want.Extras, want.Remove) {
		if err := checkName(it.Name, it.Arch, it.Version); err != nil {
			return refuse(installation.UnknownData, nil, "The order cannot be carried out: %v.", err)
		}
	}
	for _, it := range slices.Concat(want.Items, want.Extras) {
		if !digest.MatchString(it.SHA256) {
			return refuse(installation.UnknownData, nil, "The order cannot be carried out: %s has no digest.", it.Key())
		}
	}
	return nil
}

// Simulate implements pkgmgr.Transactor. While files are still to be fetched it says what the order itself means; Fetch asks dnf
// as soon as it has them, and so does Apply.
func (d *Dnf) Simulate(ctx context.Context, want pkgmgr.Want) (pkgmgr.Transaction, error) {
	tx := pkgmgr.Transaction{Want: want}
	if err := checkWant(want); err != nil {
		return tx, err
	}
	db, err := d.query(ctx)
	if err != nil {
		return tx, err
	}
	if len(want.Remove) > 0 {
		tx.Changes, err = d.simulateRemoval(ctx, db, want.Remove)
		return tx, err
	}
	aims, err := d.aims(db, want)
	if err != nil {
		return tx, err
	}
	for _, a := range aims {
		tx.Changes = append(tx.Changes, a.change)
		tx.Space += a.item.Size
		if !d.have(a.item) {
			tx.Fetch += a.item.Size
		}
	}
	sortChanges(tx.Changes)
	if tx.Fetch == 0 {
		_, err = d.exact(ctx, db, want, aims)
	}
	return tx, err
}

// aim is one item that is not there as it should be.
type aim struct {
	item   catalog.Item
	change wire.Change
	anew   bool // exactly it is there, but not as it should be: failed, or beside another version
}

// aims finds what an order means for the device, and what cannot be.
func (d *Dnf) aims(db database, want pkgmgr.Want) ([]aim, error) {
	known, err := d.readContents()
	if err != nil {
		return nil, err
	}
	var out []aim
	for _, it := range want.Items {
		if p, ok := db.newest(it.Name); ok && p.Arch == it.Arch && p.Version == it.Version && db.status(known, p) == whole {
			continue
		}
		a := aim{item: it, change: changeTo(db, it), anew: db.has(it)}
		if a.change.Op == wire.OpDowngrade && !want.Downgrade {
			return nil, refuse(installation.DowngradeNeeded, []wire.Change{a.change}, "%s %s is installed, which is newer than %s.", it.Name, a.change.From, it.Version)
		}
		if err := d.admit(&a, want.Downgrade); err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// changeTo describes putting an item onto the device.
func changeTo(db database, it catalog.Item) wire.Change {
	c := wire.Change{Op: wire.OpInstall, Name: it.Name, Arch: it.Arch, Version: it.Version, SHA256: it.SHA256, Size: it.Size}
	p, ok := db.newest(it.Name)
	if !ok {
		return c
	}
	c.From = p.Version
	switch n, err := pkgver.Compare(Ecosystem, it.Version, p.Version); {
	case err != nil || n < 0: // what cannot be compared is not taken for an upgrade
		c.Op = wire.OpDowngrade
	case n == 0:
		c.Op = wire.OpReinstall
	default:
		c.Op = wire.OpUpgrade
	}
	return c
}

// admit finds where an item comes from: a verified release, or a kept file of what the device had.
func (d *Dnf) admit(a *aim, back bool) error {
	it := a.item
	all := d.published(it.Name, it.Arch, it.Version)
	same := slices.DeleteFunc(slices.Clone(all), func(s source) bool { return s.item.SHA256 != it.SHA256 })
	switch {
	case len(same) > 0:
	case back && d.have(it):
		return d.fromHad(a)
	case len(all) > 0:
		return refuse(installation.DigestMismatch, nil, "%s has other content in its feed than was approved: found SHA-256 %s, approved %s.", it.Key(), all[0].item.SHA256, it.SHA256)
	default:
		return refuse(installation.ContentUnavailable, nil, "No feed of this device has %s.", it.Key())
	}
	r := same[0].release
	a.item.Size, a.change.Size = same[0].item.Size, same[0].item.Size
	a.change.Source, a.change.SrcVer, a.change.Space = r.Name, r.Version, r.Namespace
	switch {
	case len(r.Unknown) > 0:
		return refuse(installation.UnknownData, nil, "The release says something that this agent does not know: %s.", r.Unknown[0])
	case r.Revoked != nil && !back:
		return refuse(installation.Revoked, nil, "Its publisher took %s back: %.200s", it.Key(), plain(r.Revoked.Reason, 200))
	}
	return nil
}

// fromHad fills in what is remembered of a version that no feed has any more.
func (d *Dnf) fromHad(a *aim) error {
	all, err := d.readHad()
	if err != nil {
		return err
	}
	for _, h := range all {
		for _, r := range h.Releases {
			for _, it := range r.Items {
				if it.Name == a.item.Name && it.Arch == a.item.Arch && it.Version == a.item.Version && it.SHA256 == a.item.SHA256 {
					a.change.Source, a.change.SrcVer, a.change.Space = h.Software.Name, r.Version, h.Software.Namespace
					return nil
				}
			}
		}
	}
	return refuse(installation.ContentUnavailable, nil, "No feed of this device has %s, and it is not a version that the device had.", a.item.Key())
}

// call is one run of dnf that a transaction needs: an order can need two, since dnf installs anew by a word of its own.
type call struct {
	verb  string
	files []string
}

// exact asks dnf what it would do with the files, and compares it with the order line by line. It returns the runs that
// do exactly that. Extras come along only where dnf needs them.
func (d *Dnf) exact(ctx context.Context, db database, want pkgmgr.Want, aims []aim) ([]call, error) {
	var anew, others []catalog.Item
	for _, a := range aims {
		if a.anew {
			anew = append(anew, a.item)
		} else {
			others = append(others, a.item)
		}
	}
	var out []call
	if len(anew) > 0 {
		c, err := d.ask(ctx, want, "reinstall", anew)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	if len(others) == 0 {
		return out, nil
	}
	c, err := d.ask(ctx, want, "install", others)
	if no := (*pkgmgr.Refusal)(nil); errors.As(err, &no) && no.Cause == installation.Unresolvable {
		if extras := d.usable(db, want); len(extras) > 0 {
			c, err = d.ask(ctx, want, "install", append(slices.Clone(others), extras...))
		}
	}
	return append(out, c), err
}

// usable are the extras of an order that are not on the device and whose files are here.
func (d *Dnf) usable(db database, want pkgmgr.Want) []catalog.Item {
	return slices.DeleteFunc(slices.Clone(want.Extras), func(it catalog.Item) bool { return len(db.named(it.Name)) > 0 || !d.have(it) })
}

// ask has dnf say what it would do with files, and judges it.
func (d *Dnf) ask(ctx context.Context, want pkgmgr.Want, verb string, items []catalog.Item) (call, error) {
	c := call{verb: verb}
	for _, it := range items {
		c.files = append(c.files, d.poolFile(it.SHA256))
	}
	steps, err := d.assume(ctx, append([]string{c.verb}, c.files...))
	if err != nil {
		return c, err
	}
	return c, judge(want, items, steps)
}

// assume asks dnf for its table. dnf's own "no" is a Refusal.
func (d *Dnf) assume(ctx context.Context, what []string) ([]step, error) {
	res, err := d.cfg.Command.Run(ctx, command.Call{Tool: command.DNF, Deadline: simulateDeadline, Limit: 16 << 20,
		Args: append(append(options(), "--assumeno"), what...)})
	if err == nil && res.Truncated {
		err = errors.New("its output is too long")
	}
	if err != nil {
		return nil, fmt.Errorf("simulate with dnf: %w", err)
	}
	steps, err := parseTable(string(res.Stdout))
	if errors.Is(err, errNoTable) {
		return nil, refuse(installation.Unresolvable, nil, "dnf cannot do it: %s", words(string(res.Stdout)+"\n"+string(res.Stderr)))
	}
	if err != nil {
		return nil, refuse(installation.UnknownData, nil, "What dnf would do cannot be judged: %v.", err)
	}
	return steps, nil
}

// judge compares what dnf would do with what is wanted: each item is reached, and nothing else happens.
func judge(want pkgmgr.Want, items []catalog.Item, steps []step) error {
	has := func(list []catalog.Item, s step) bool {
		return slices.ContainsFunc(list, func(it catalog.Item) bool { return it.Name == s.Name && it.Arch == s.Arch && it.Version == s.Version })
	}
	var removed, others []wire.Change
	for _, s := range steps {
		for _, r := range s.Replaces {
			if r.Name != s.Name { // another version of the same package goes in any case
				removed = append(removed, wire.Change{Op: wire.OpRemove, Name: r.Name, Arch: r.Arch, From: r.Version})
			}
		}
		c := wire.Change{Op: s.Op, Name: s.Name, Arch: s.Arch, Version: s.Version}
		switch {
		case s.Op == wire.OpRemove:
			c.Version, c.From = "", s.Version
			removed = append(removed, c)
		case s.Op == wire.OpDowngrade && !want.Downgrade:
			return refuse(installation.DowngradeNeeded, []wire.Change{c}, "dnf would have to go back to an older version: %s.", names([]wire.Change{c}))
		case !has(items, s) || !has(want.Items, s) && s.Op != wire.OpInstall:
			others = append(others, c)
		}
	}
	if i := slices.IndexFunc(removed, func(c wire.Change) bool { return slices.Contains(want.Removable, c.Name) }); i >= 0 {
		return refuse(installation.RemovalNeeded, append(removed, others...), "dnf would have to remove %s; Assent removes packages along with an update only where apt is the package manager, so remove %s by hand.",
			names(removed), removed[i].Name)
	}
	if len(removed) > 0 {
		return refuse(installation.RemovalNeeded, append(removed, others...), "dnf would have to remove %s.", names(removed))
	}
	if len(others) > 0 {
		return refuse(installation.UnapprovedDependency, others, "dnf needs more than was approved: %s.", names(others))
	}
	for _, it := range items {
		if !slices.ContainsFunc(steps, func(s step) bool { return s.Name == it.Name && s.Arch == it.Arch && s.Version == it.Version }) {
			return refuse(installation.Unresolvable, nil, "dnf would not install %s, and does not say why.", it.Key())
		}
	}
	return nil
}

// simulateRemoval finds what a removal means: exactly that may go, and nothing else. What is not there any more is left out; what
// is there in another version is refused, for nobody decided about that.
func (d *Dnf) simulateRemoval(ctx context.Context, db database, items []catalog.Item) ([]wire.Change, error) {
	var changes []wire.Change
	for _, it := range items {
		copies := db.copies(it.Name, it.Arch)
		if len(copies) == 0 {
			continue
		}
		p := copies[len(copies)-1]
		c := wire.Change{Op: wire.OpRemove, Name: p.Name, Arch: p.Arch, From: p.Version, Source: p.Source, SrcVer: p.SourceVersion}
		if !slices.ContainsFunc(copies, func(p installed) bool { return p.Version == it.Version }) {
			return nil, refuse(installation.Unresolvable, []wire.Change{c}, "%s is here in version %s; the order is to remove %s.", it.Name, p.Version, it.Version)
		}
		c.From = it.Version
		changes = append(changes, c)
	}
	if len(changes) == 0 {
		return nil, nil
	}
	steps, err := d.assume(ctx, removal(changes))
	if err != nil {
		return nil, err
	}
	var others []wire.Change
	for _, s := range steps {
		if !slices.ContainsFunc(changes, func(c wire.Change) bool {
			return s.Op == wire.OpRemove && c.Name == s.Name && c.Arch == s.Arch && c.From == s.Version
		}) {
			others = append(others, wire.Change{Op: s.Op, Name: s.Name, Arch: s.Arch, From: s.Version})
		}
	}
	if len(others) > 0 {
		return nil, refuse(installation.RemovalNeeded, others, "It cannot be removed alone, because of what needs it: %s.", names(others))
	}
	if len(steps) != len(changes) {
		return nil, refuse(installation.Unresolvable, nil, "dnf would not remove all of it, and does not say why.")
	}
	sortChanges(changes)
	return changes, nil
}

// removal is what dnf is asked for to take packages off.
func removal(changes []wire.Change) []string {
	out := []string{"remove"}
	for _, c := range changes {
		out = append(out, nevra(c.Name, c.Arch, c.From))
	}
	return out
}

// have reports whether the file of an item is in the pool, going by its size; before each run its content is compared.
func (d *Dnf) have(it catalog.Item) bool {
	if !digest.MatchString(it.SHA256) {
		return false
	}
	info, err := os.Lstat(d.poolFile(it.SHA256))
	return err == nil && info.Mode().IsRegular() && (it.Size == 0 || info.Size() == it.Size)
}
