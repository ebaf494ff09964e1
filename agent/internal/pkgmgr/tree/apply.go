package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"assent/agent/internal/journal"
	"assent/agent/internal/pkgmgr"
	"assent/installation"
	"assent/wire"
)

const maxLog = 16 << 10

// Apply implements pkgmgr.Transactor. Each application is switched by itself: one that fails does not undo or stop the
// others. Cancelling ends an unpacking, which changes nothing, but no switch.
func (t *Tree) Apply(ctx context.Context, tx pkgmgr.Transaction, progress func(pkgmgr.Progress)) (pkgmgr.Outcome, error) {
	out := pkgmgr.Outcome{Started: t.cfg.Now()}
	release, err := t.hold()
	if err != nil {
		return out, refusalOf("applications", err)
	}
	defer release()
	aims, err := t.aims(ctx, tx.Want)
	if err != nil {
		return out, err
	}
	if progress == nil {
		progress = func(pkgmgr.Progress) {}
	}
	var log strings.Builder
	var failed []error
	for i, a := range aims {
		progress(pkgmgr.Progress{Phase: "unpack", Package: a.item.Name, Percent: 100 * float64(i) / float64(len(aims)), Text: describe(a)})
		fmt.Fprintln(&log, describe(a))
		if err := t.carry(ctx, a); err != nil {
			err = refusalOf(a.item.Name, err)
			fmt.Fprintf(&log, "%s failed: %v\n", a.item.Name, err)
			out.Errors = append(out.Errors, fmt.Sprintf("%s: %v", a.item.Name, err))
			failed = append(failed, err)
			out.ExitCode = 1
		}
	}
	out.Finished = t.cfg.Now()
	out.Log = log.String()[max(0, log.Len()-maxLog):]
	if len(failed) == 0 {
		progress(pkgmgr.Progress{Phase: "configure", Percent: 100})
		return out, nil
	}
	return out, ended(failed)
}

// ended is the error of a run in which some applications failed: the one refusal, or a failure that is ours.
func ended(failed []error) error {
	var r *pkgmgr.Refusal
	if errors.As(failed[0], &r) {
		return r
	}
	return refuse(installation.InstallFailed, "%v", errors.Join(failed...))
}

func describe(a aim) string {
	c := a.change()
	return strings.TrimSpace(fmt.Sprintf("%s %s %s -> %s", c.Op, c.Name, c.From, c.Version))
}

// carry brings one application to where it should be.
func (t *Tree) carry(ctx context.Context, a aim) error {
	if a.op == wire.OpRemove {
		return t.takeOff(a.rec)
	}
	if a.again {
		return t.serve(ctx, a.rec)
	}
	home, err := t.makeHome(a.rec.key())
	if err != nil {
		return err
	}
	defer home.Close()
	if a.rec, err = t.sweep(home, a.rec); err != nil {
		return err
	}
	units, err := t.served(ctx, a)
	if err != nil {
		return err
	}
	v, err := t.place(ctx, home, a)
	if err != nil {
		return err
	}
	v.At, v.How = t.cfg.Now().UTC(), howAssent
	if a.restart {
		v.Boot = t.cfg.BootID()
	}
	v.Serves, v.Units = a.serves || v.Serves, units
	if err := t.enter(home, a.rec, v); err != nil {
		return err
	}
	r, err := t.load(a.rec.key())
	if err != nil {
		return err
	}
	return t.serve(ctx, r)
}

// place has the wanted version on disk under a name of its own, whole and durable.
func (t *Tree) place(ctx context.Context, home *os.Root, a aim) (version, error) {
	if a.kept != nil && t.damage(ctx, a.rec.key(), *a.kept, true) == "" {
		return *a.kept, nil
	}
	v := version{Version: a.item.Version, Arch: a.item.Arch, SHA256: a.item.SHA256, Size: a.item.Size}
	cache, err := t.store("payloads")
	if err != nil {
		return v, err
	}
	defer cache.Close()
	payload, err := t.payload(cache, a.item)
	if errors.Is(err, fs.ErrNotExist) {
		return v, refuse(installation.ContentUnavailable, "The payload of %s is not there.", a.item.Key())
	}
	if err != nil {
		return v, err
	}
	defer payload.Close()
	if v.Dir, err = a.rec.freeDir(home, v.Version); err != nil {
		return v, err
	}
	files, err := t.unpack(ctx, home, a.rec.key(), payload, a.item.Size)
	if err != nil {
		return v, err
	}
	journal.CrashPoint(unpacked)
	v.Manifest, err = t.saveManifest(a.rec.key(), v.Dir, manifest{Format: recordFormat, Files: files})
	if err == nil {
		err = home.Rename(versions+"/"+staging, versions+"/"+v.Dir)
	}
	if err == nil {
		err = syncDir(home, versions)
	}
	if err != nil {
		return v, errors.Join(err, home.RemoveAll(versions+"/"+staging), t.dropManifest(a.rec.key(), v.Dir))
	}
	journal.CrashPoint(placed)
	return v, nil
}

// enter switches an application to a version that is on disk.
func (t *Tree) enter(home *os.Root, r record, v version) error {
	begun := r
	begun.Step = &step{To: &v}
	if err := t.save(begun); err != nil {
		return errors.Join(err, t.undo(home, r, v))
	}
	journal.CrashPoint(announced)
	if err := point(home, v.Dir); err != nil {
		if l, unsure := readLink(home); unsure != nil || l.dir == v.Dir {
			return errors.Join(err, unsure) // it is in force, though maybe not for good: both versions stay
		}
		return errors.Join(err, t.undo(home, r, v))
	}
	journal.CrashPoint(switched)
	// From here on the new version is in force, whatever becomes of our notes.
	return t.note(home, r.moved(&v).pruned(), v.SHA256)
}

// undo takes back a version that did not come into force. The record is settled again by itself.
func (t *Tree) undo(home *os.Root, r record, v version) error {
	if r.names(v.Dir) {
		return nil
	}
	err := home.RemoveAll(versions + "/" + v.Dir)
	return errors.Join(err, t.dropManifest(r.key(), v.Dir), home.RemoveAll(newLink))
}

// point makes the link lead to a version.
func point(home *os.Root, dir string) error {
	if err := home.RemoveAll(newLink); err != nil { // left by a crash
		return err
	}
	if err := home.Symlink(versions+"/"+dir, newLink); err != nil {
		return err
	}
	journal.CrashPoint(linkMade)
	if err := home.Rename(newLink, current); err != nil {
		return err
	}
	return syncDir(home, ".")
}

// takeOff ends an application on this device. Its data and configuration lie elsewhere and stay.
func (t *Tree) takeOff(r record) error {
	home, err := t.home(r.key())
	if err != nil {
		return err
	}
	defer home.Close()
	begun := r
	begun.Step = &step{}
	if err := t.save(begun); err != nil {
		return err
	}
	journal.CrashPoint(removeAnnounced)
	if err := home.Remove(current); err != nil {
		return err
	}
	if err := syncDir(home, "."); err != nil {
		return err
	}
	journal.CrashPoint(unlinked)
	if err := t.note(home, r.emptied(), ""); err != nil {
		return err
	}
	return t.vacate(r.key())
}

// vacate removes the directories of an application that was taken off, as far as they are empty.
func (t *Tree) vacate(k key) error {
	root, err := os.OpenRoot(filepath.Join(t.cfg.Root, base(k.format)))
	if err != nil {
		return err
	}
	defer root.Close()
	for _, dir := range []string{k.feed + "/" + k.app + "/" + versions, k.feed + "/" + k.app, k.feed} {
		if err := root.Remove(dir); err != nil {
			return nil // something else lies there
		}
	}
	return nil
}

// note records what is in force now and deletes what is not needed any more. What cannot be written now is found out
// again by looking, so it is no failure of the transaction.
func (t *Tree) note(home *os.Root, r record, payload string) error {
	err := t.save(r)
	if err == nil {
		journal.CrashPoint(recorded)
		_, err = t.sweep(home, r)
	}
	if err == nil {
		err = t.dropPayloads(payload)
	}
	if err != nil {
		t.cfg.Log.Warn("the new version is in force, but not all is tidied up", "application", r.key().String(), "error", err)
	}
	return nil
}

// sweep deletes what a record gives up, and says so in it.
func (t *Tree) sweep(home *os.Root, r record) (record, error) {
	for _, name := range []string{versions + "/" + staging, newLink} {
		if err := home.RemoveAll(name); err != nil {
			return r, fmt.Errorf("tidy up: %w", err)
		}
	}
	if len(r.Trash) == 0 {
		return r, nil
	}
	for _, dir := range r.Trash {
		if r.names(dir) || strings.Contains(dir, "/") {
			continue
		}
		if err := home.RemoveAll(versions + "/" + dir); err != nil {
			return r, fmt.Errorf("delete version %s: %w", dir, err)
		}
		if err := t.dropManifest(r.key(), dir); err != nil {
			return r, err
		}
		journal.CrashPoint(trashHalf)
	}
	if err := syncDir(home, versions); err != nil {
		return r, err
	}
	journal.CrashPoint(swept)
	r.Trash = nil
	return r, t.save(r)
}

// Recover implements pkgmgr.Transactor: what was begun is found to be done or not, from the link, and what is left over is
// deleted.
func (t *Tree) Recover(ctx context.Context) (pkgmgr.Health, error) {
	release, err := t.hold()
	if err != nil {
		return pkgmgr.Health{}, refusalOf("applications", err)
	}
	defer release()
	keys, err := t.keys()
	if err != nil {
		return pkgmgr.Health{}, fmt.Errorf("recover applications: %w", err)
	}
	var health pkgmgr.Health
	for _, k := range keys {
		if ctx.Err() != nil {
			return health, ctx.Err()
		}
		if err := t.recover(k); err != nil {
			health.Broken = fmt.Sprintf("%s: %v", k, err)
		} else if err := t.serveAgain(ctx, k); err != nil {
			t.cfg.Log.Warn("the services of an application are not back", "application", k.String(), "error", err)
		}
	}
	return health, t.dropPayloads("")
}

// recover settles one application and tidies up after it.
func (t *Tree) recover(k key) error {
	r, err := t.load(k)
	if errors.Is(err, errRecord) {
		t.cfg.Log.Error("the record of an application is set aside", "application", k.String(), "error", err)
		if err = t.setAside(k); err == nil {
			r, err = t.load(k)
		}
	}
	if err != nil {
		return err
	}
	home, err := t.home(r.key())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer home.Close()
	r = r.pruned()
	if len(r.all())+len(r.Trash) > 0 {
		if err := t.save(r); err != nil {
			return err
		}
	}
	if r, err = t.sweep(home, r); err != nil {
		return err
	}
	if err := t.orphans(home, r); err != nil || r.Current != nil {
		return err
	}
	return t.vacate(k) // taking it off may have been cut short before this
}

// orphans deletes trees that Assent unpacked and never recorded: those with a list of files that no version has. What
// somebody put there by hand has no such list and stays.
func (t *Tree) orphans(home *os.Root, r record) error {
	d, err := t.store("manifests")
	if err != nil {
		return err
	}
	defer d.Close()
	entries, err := fs.ReadDir(d.Root().FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		dir, ok := strings.CutPrefix(strings.TrimSuffix(e.Name(), ".json"), manifestPrefix(r.key()))
		if !ok || r.names(dir) || !filepath.IsLocal(dir) {
			continue
		}
		if err := home.RemoveAll(versions + "/" + dir); err != nil {
			return err
		}
		if err := d.Remove(e.Name()); err != nil {
			return err
		}
	}
	return nil
}
