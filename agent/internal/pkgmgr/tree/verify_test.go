package tree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"assent/agent/internal/pkgmgr"
	"assent/archive/archivetest"
	"assent/catalog"
)

func TestV3_AnyChangeOfTheTreeIsDamageAndInstallingAgainHealsIt(t *testing.T) {
	for name, hurt := range map[string]func(w *world) error{
		"content": func(w *world) error {
			return os.WriteFile(w.path("bin/app"), []byte("#!/bin/sh\necho 6.6\n"), 0o755)
		},
		"mode":   func(w *world) error { return os.Chmod(w.path("bin/app"), 0o777) },
		"setuid": func(w *world) error { return os.Chmod(w.path("bin/app"), 0o755|os.ModeSetuid) },
		"gone":   func(w *world) error { return os.Remove(w.path("lib/deep/data")) },
		"link": func(w *world) error {
			return errors.Join(os.Remove(w.path("bin/run")), os.Symlink("/bin/sh", w.path("bin/run")))
		},
		"owner": func(w *world) error { return os.Chown(w.path("bin/app"), 65534, 65534) },
		"all": func(w *world) error {
			p, err := filepath.EvalSymlinks(w.path("."))
			return errors.Join(err, os.RemoveAll(p))
		},
		"dir": func(w *world) error {
			return errors.Join(os.RemoveAll(w.path("bin")), os.Symlink("/usr/bin", w.path("bin")))
		},
		"forgery": func(w *world) error { return forge(w) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, t.TempDir())
			v1 := w.release("1.0")
			w.ok(install(v1))
			w.must(hurt(w))
			if p := w.proof(v1); p.Status != damaged || p.Version != "1.0" {
				t.Errorf("proof %+v", p)
			}
			w.clock = w.clock.Add(2 * lookAgain)
			s := w.scan()
			if p := s.Inventory.Packages[0]; p.Status != damaged {
				t.Errorf("inventory %+v", p)
			}
			if o := s.Available.Updates; len(o) != 1 || o[0].Version != "1.0" || o[0].Items[0].Installed != "1.0" {
				t.Errorf("the release that heals it is not offered: %+v", o)
			}
			if d, err := w.tree.Audit(t.Context()); err != nil || len(d) != 1 {
				t.Errorf("audit %+v, %v", d, err)
			}
			w.ok(install(v1))
			if got := w.onDisk(); len(got) != 1 {
				t.Errorf("on disk %v", got)
			}
		})
	}
}

// forge replaces the list of files by one that fits a changed file.
func forge(w *world) error {
	names, err := filepath.Glob(filepath.Join(w.state, "tree/manifests/*"))
	if err != nil || len(names) != 1 {
		return fmt.Errorf("%v, %w", names, err)
	}
	return os.WriteFile(names[0], []byte(`{"format":1,"files":[]}`), 0o600)
}

func TestPromise1_TheSameVersionWithOtherContentIsNotWhatWasApproved(t *testing.T) {
	w := newWorld(t, t.TempDir())
	v1 := w.release("1.0")
	w.ok(install(v1))
	again := w.publish("1.0", archivetest.Pack(t, files("1.0 again")...))
	if p := w.proof(again); p.Status == whole || p.Version != "1.0" || p.SHA256 != v1.SHA256 {
		t.Errorf("proof %+v", p)
	}
	if _, err := w.run(install(again)); err != nil {
		t.Fatal(err)
	}
	if p := w.proof(again); p.Status != whole || p.SHA256 != again.SHA256 {
		t.Errorf("proof %+v", p)
	}
}

// rot changes a byte of a version as a failing disk does: nothing tells of it but the content.
func (w *world) rot(v string) {
	w.Helper()
	k := key{"acme", "app", catalog.Tar}
	r, err := w.tree.load(k)
	w.must(err)
	at := r.Current
	if at.Version != v {
		at = &r.Past[0]
	}
	name := filepath.Join(w.root, "opt/assent/acme/app/versions", at.Dir, "bin/app")
	b, err := os.ReadFile(name)
	w.must(err)
	b[len(b)-2] ^= 1
	w.must(os.WriteFile(name, b, 0o755))
	m, err := w.tree.readManifest(k, *at)
	w.must(err)
	info, err := os.Stat(name)
	w.must(err)
	for i := range m.Files {
		if m.Files[i].Name == "bin/app" {
			m.Files[i].Ctime = info.Sys().(*syscall.Stat_t).Ctim.Nano()
		}
	}
	at.Manifest, err = w.tree.saveManifest(k, at.Dir, m)
	w.must(err)
	w.must(w.tree.save(r))
}

func TestOldVersionThatRottedOnDiskNeverComesBackIntoForce(t *testing.T) {
	w := newWorld(t, t.TempDir())
	v1, v2 := w.release("1.0"), w.release("2.0")
	w.ok(install(v1))
	w.ok(install(v2))
	w.rot("1.0")
	if _, err := w.tree.Apply(t.Context(), pkgmgr.Transaction{Want: back(v1)}, nil); err == nil {
		t.Error("went back to a rotten version without its payload")
	}
	w.there(v2)
	w.ok(back(v1)) // it is fetched again
	w.rot("1.0")
	if p := w.proof(v1); p.Status != whole {
		t.Errorf("the test rots in a way that a quick look sees: %+v", p)
	}
	if d, err := w.tree.Audit(t.Context()); err != nil || len(d) != 1 || d[0].Version != "1.0" {
		t.Errorf("audit %+v, %v", d, err)
	}
}

func TestFilesThatAnApplicationAddsAndTouchesWithoutChangingAreNoDamage(t *testing.T) {
	w := newWorld(t, t.TempDir())
	v1 := w.release("1.0")
	w.ok(install(v1))
	w.must(os.WriteFile(w.path("lib/cache"), nil, 0o644))
	w.must(os.Chtimes(w.path("bin/app"), time.Now(), time.Now()))
	w.there(v1)
}

func TestDamagedOldVersionIsFetchedAnewWhenItIsGoneBackTo(t *testing.T) {
	w := newWorld(t, t.TempDir())
	v1, v2 := w.release("1.0"), w.release("2.0")
	w.ok(install(v1))
	w.ok(install(v2))
	w.must(os.WriteFile(filepath.Join(w.root, "opt/assent/acme/app/versions/1.0/bin/app"), []byte("evil"), 0o755))
	w.ok(back(v1))
	if got := w.onDisk(); len(got) != 2 {
		t.Errorf("on disk %v: the damaged tree is still there, or the other is not", got)
	}
}
