package tree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"assent/agent/internal/pkgmgr"
	"assent/agent/internal/statedir"
	"assent/archive"
	"assent/catalog"
	"assent/feed"
	"assent/installation"
	"assent/pkgver"
	"assent/wire"
)

// aim is what is to become of one application.
type aim struct {
	rec     record
	item    catalog.Item
	op      wire.Op
	kept    *version // the wanted version, still on disk
	restart bool     // its publisher asks for a restart of the device
	serves  bool     // its publisher asks for a restart of its services
	again   bool     // it is in force, and only its services are left
}

func refuse(cause installation.Cause, format string, args ...any) *pkgmgr.Refusal {
	return &pkgmgr.Refusal{Cause: cause, Detail: fmt.Sprintf(format, args...)}
}

// refusalOf is an error as a refusal, where it says something about the device or the payload.
func refusalOf(name string, err error) error {
	var r *pkgmgr.Refusal
	var unsound *archive.Refusal
	switch {
	case err == nil || errors.As(err, &r):
		return err
	case errors.As(err, &unsound):
		return refuse(installation.UnknownData, "The payload of %s cannot be used: %v.", name, err)
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return refuse(installation.NoSpace, "There is no room for %s: %v.", name, err)
	case errors.Is(err, statedir.ErrLocked):
		return refuse(installation.ManagerBusy, "Another agent is changing applications now.")
	}
	return fmt.Errorf("%s: %w", name, err)
}

// aims finds out what a Want comes to, application by application. What is true already is left out.
func (t *Tree) aims(ctx context.Context, want pkgmgr.Want) ([]aim, error) {
	var out []aim
	names := map[string]catalog.Item{}
	for _, it := range want.Items {
		if other, twice := names[it.Name]; twice && other != it {
			return nil, refuse(installation.Unresolvable, "Two releases of %s cannot be in force at once.", it.Name)
		} else if twice {
			continue
		}
		names[it.Name] = it
		a, err := t.aim(ctx, it, want.Downgrade)
		if err != nil {
			return nil, err
		}
		if a != nil {
			out = append(out, *a)
		}
	}
	for _, it := range want.Remove {
		if _, both := names[it.Name]; both {
			return nil, refuse(installation.Unresolvable, "%s cannot be installed and taken off at once.", it.Name)
		}
		r, err := t.owner(it)
		if err != nil {
			return nil, err
		}
		if r.Current != nil && r.Current.Version == it.Version {
			out = append(out, aim{rec: r, item: it, op: wire.OpRemove})
		}
	}
	return out, nil
}

// owner is the record of the application that an item belongs to; without a current version where there is none.
func (t *Tree) owner(it catalog.Item) (record, error) {
	if !application.MatchString(it.Name) {
		return record{}, refuse(installation.UnknownData, "%.80q is no application.", it.Name)
	}
	records, broken, err := t.known()
	if err != nil {
		return record{}, err
	}
	var found record
	for _, r := range records {
		better := found.App == "" || found.Current == nil && r.Current != nil || r.Current != nil && r.Current.SHA256 == it.SHA256
		if r.App == it.Name && better {
			found = r
		}
	}
	if found.App == "" && broken != "" {
		return record{}, refuse(installation.ManagerBroken, "What is installed is not known: %s.", broken)
	}
	return found, nil
}

// aim finds out what it takes to bring one item into force; nil: nothing.
func (t *Tree) aim(ctx context.Context, it catalog.Item, downgrade bool) (*aim, error) {
	r, err := t.owner(it)
	if err != nil {
		return nil, err
	}
	a := &aim{rec: r, item: it}
	if err := t.identify(a, downgrade); err != nil {
		return nil, err
	}
	cur := a.rec.Current
	switch {
	case cur == nil:
		a.op = wire.OpInstall
	case cur.Version == it.Version:
		a.op = wire.OpReinstall
		if cur.SHA256 == it.SHA256 && t.damage(ctx, a.rec.key(), *cur, false) == "" {
			if len(cur.Units) == 0 {
				return nil, nil
			}
			a.again, a.kept = true, cur
			return a, nil
		}
	default:
		a.op = opOf(cur.Version, it.Version)
	}
	if a.op == wire.OpDowngrade && !downgrade {
		refusal := refuse(installation.DowngradeNeeded, "%s %s is installed, which is newer than %s.", it.Name, cur.Version, it.Version)
		refusal.Changes = []wire.Change{a.change()}
		return nil, refusal
	}
	for _, v := range a.rec.Past {
		if v.Dir != "" && v.Version == it.Version && v.SHA256 == it.SHA256 && t.damage(ctx, a.rec.key(), v, false) == "" {
			a.kept = &v
		}
	}
	return a, nil
}

// opOf says what replacing a version by another is; what cannot be compared is not taken for an upgrade, unless nobody knows
// what is there.
func opOf(from, to string) wire.Op {
	order, err := pkgver.Compare(catalog.Generic, to, from)
	switch {
	case from == unknown:
		return wire.OpUpgrade
	case err != nil || order < 0:
		return wire.OpDowngrade
	case order == 0:
		return wire.OpReinstall
	}
	return wire.OpUpgrade
}

// identify finds what an item is: an item of a verified release, or a version that this device had before.
func (t *Tree) identify(a *aim, downgrade bool) error {
	it := a.item
	if it.Format != "" && !it.Format.Side() || pkgver.Check(catalog.Generic, it.Version) != nil {
		return refuse(installation.UnknownData, "%.200q (%.40q) is nothing that is installed side by side.", it.Key(), it.Format)
	}
	had := slices.ContainsFunc(a.rec.Past, func(v version) bool { return v.Version == it.Version && v.SHA256 == it.SHA256 })
	releases := slices.DeleteFunc(t.releases(it.Name), func(r feed.Release) bool { return r.Version != it.Version })
	if a.rec.Current != nil { // an application belongs to the feed that it came from
		mine := slices.DeleteFunc(slices.Clone(releases), func(r feed.Release) bool { return feedOf(r) != a.rec.Feed })
		if len(mine) == 0 && len(releases) > 0 && !had {
			return refuse(installation.Unresolvable, "%s is installed from the feed %s; take that off before it can come from another.", it.Name, a.rec.Feed)
		}
		releases = mine
	}
	fits := func(r feed.Release) bool { return slices.ContainsFunc(r.Manifest.Items, same(it)) }
	i := slices.IndexFunc(releases, fits)
	if i < 0 && had {
		return nil
	}
	if i < 0 {
		return t.missing(it, releases)
	}
	return t.admit(a, releases[i], had && downgrade)
}

// same compares an item as it was ordered with those of a manifest.
func same(it catalog.Item) func(feed.Item) bool {
	return func(f feed.Item) bool {
		return f.Name == it.Name && f.Arch == it.Arch && f.Version == it.Version && f.SHA256 == it.SHA256 && (it.Size == 0 || it.Size == f.Size)
	}
}

// missing says why no release has an item.
func (t *Tree) missing(it catalog.Item, releases []feed.Release) error {
	for _, r := range releases {
		for _, f := range r.Manifest.Items {
			if f.Arch == it.Arch && f.SHA256 != it.SHA256 {
				return refuse(installation.DigestMismatch, "%s has other content in the feed %s than was approved: found SHA-256 %s, approved %s.", it.Key(), feedOf(r), f.SHA256, it.SHA256)
			}
		}
	}
	return refuse(installation.ContentUnavailable, "No feed of this device has %s.", it.Key())
}

// admit takes a release for what is aimed at, if it may be.
func (t *Tree) admit(a *aim, r feed.Release, back bool) error {
	it := r.Manifest.Items[slices.IndexFunc(r.Manifest.Items, same(a.item))]
	switch {
	case !r.Manifest.Payload.Side() || a.item.Format != "" && a.item.Format != r.Manifest.Payload:
		return refuse(installation.UnknownData, "%s is no %s in the feed %s.", a.item.Key(), a.item.Format, feedOf(r))
	case len(r.Unknown) > 0:
		return refuse(installation.UnknownData, "The release says something that this agent does not know: %s.", r.Unknown[0])
	case r.Revoked != nil && !back:
		return refuse(installation.Revoked, "Its publisher took %s back: %.200s", a.item.Key(), r.Revoked.Reason)
	case !it.Platform.Fits(t.cfg.Platform()):
		return refuse(installation.Unresolvable, "%s is not made for this device, which is %s.", a.item.Key(), t.cfg.Platform())
	}
	if a.rec.App == "" || a.rec.Current == nil && a.rec.Feed != feedOf(r) {
		rec, err := t.load(key{feedOf(r), a.item.Name, r.Manifest.Payload})
		if err != nil {
			return refusalOf(a.item.Name, err)
		}
		a.rec = rec
	}
	if a.rec.Payload != r.Manifest.Payload {
		onDisk := slices.ContainsFunc(a.rec.all(), func(v version) bool { return v.Dir != "" }) || len(a.rec.Trash) > 0
		if a.rec.Current != nil || onDisk {
			return refuse(installation.Unresolvable, "%s is installed as %s and cannot become %s.", a.item.Name, a.rec.Payload, r.Manifest.Payload)
		}
		a.rec.Payload = r.Manifest.Payload
	}
	a.item.Size, a.restart, a.serves = it.Size, r.Manifest.Restart == catalog.RestartDevice, r.Manifest.Restart == catalog.RestartService
	return nil
}

// releases lists the releases of an application that are installed side by side or in a way that is not known.
func (t *Tree) releases(app string) []feed.Release {
	var out []feed.Release
	for _, r := range t.cfg.Payloads.Releases() {
		if r.Name == app && r.Ecosystem == catalog.Generic {
			out = append(out, r)
		}
	}
	return out
}

func feedOf(r feed.Release) string {
	id, _ := catalog.FeedOf(r.Namespace)
	return id
}

// change is the aim as a line of the transaction.
func (a aim) change() wire.Change {
	c := wire.Change{Op: a.op, Name: a.item.Name, Arch: a.item.Arch, Source: a.item.Name, SrcVer: a.item.Version,
		Space: catalog.FeedNamespace(a.rec.Feed), Format: a.rec.Payload}
	if a.rec.Current != nil {
		c.From = a.rec.Current.Version
	}
	if a.op != wire.OpRemove {
		c.Version, c.SHA256, c.Size = a.item.Version, a.item.SHA256, a.item.Size
	}
	return c
}

// Simulate implements pkgmgr.Transactor.
func (t *Tree) Simulate(ctx context.Context, want pkgmgr.Want) (pkgmgr.Transaction, error) {
	tx := pkgmgr.Transaction{Want: want}
	aims, err := t.aims(ctx, want)
	if err != nil {
		return tx, err
	}
	for _, a := range aims {
		tx.Changes = append(tx.Changes, a.change())
		if a.op == wire.OpRemove || a.kept != nil {
			continue
		}
		tx.Space += a.item.Size
		if !t.cached(a.item) {
			tx.Fetch += a.item.Size
		}
	}
	slices.SortFunc(tx.Changes, func(a, b wire.Change) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Arch, b.Arch))
	})
	// What is in an archive is at least as large as the archive, as a rule; Fetch knows it exactly.
	if tx.Fetch+tx.Space > 0 {
		err = t.checkRoom(t.cfg.StateDir, measure{bytes: tx.Fetch})
	}
	for _, a := range aims {
		if err == nil && tx.Space > 0 {
			err = t.checkRoom(t.cfg.Root+"/"+base(a.rec.Payload), measure{bytes: tx.Space})
		}
	}
	return tx, err
}

// checkRoom refuses what does not fit into the file system of a directory.
func (t *Tree) checkRoom(dir string, m measure) error {
	bytes, inodes, counts, err := room(dir)
	if err != nil {
		return fmt.Errorf("look at the free space of %s: %w", dir, err)
	}
	if missing := m.bytes + t.cfg.Spare - bytes; missing > 0 {
		return refuse(installation.NoSpace, "The file system of %s is too small: %d KiB more must be free.", dir, missing>>10+1)
	}
	if counts && inodes < m.inodes+16 {
		return refuse(installation.NoSpace, "The file system of %s has only %d inodes left.", dir, inodes)
	}
	return nil
}
