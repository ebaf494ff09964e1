package tree

import (
	"archive/tar"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"assent/archive/archivetest"
	"assent/catalog"
	"assent/feed"
	"assent/wire"
)

// component publishes a version of the program that asks.
func (w *world) component(version string, change ...func(*feed.Manifest)) catalog.Item {
	w.Helper()
	body := "#!/bin/sh\necho " + version + "\n"
	return w.publish(version, archivetest.Pack(w.T, archivetest.File{Header: tar.Header{Name: "app", Mode: 0o755}, Body: body}),
		append([]func(*feed.Manifest){func(m *feed.Manifest) { m.Class = catalog.Component }}, change...)...)
}

// self makes the tree know the program that asks.
func (w *world) self(version string) {
	w.start()
	w.tree.cfg.Own = Own{Name: "app", Version: version, Arch: "amd64"}
}

func TestC5_TheProgramThatAsksCountsAsInstalledWhereAFeedHasItAsAComponent(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.self("1.0")
	if s := w.scan(); len(s.Inventory.Packages) != 0 {
		t.Errorf("without a feed that has it: %+v", s.Inventory.Packages)
	}
	w.component("0.9")
	w.component("1.0")
	newer := w.component("2.0")
	s := w.scan()
	if p := s.Inventory.Packages; len(p) != 1 || p[0].Name != "app" || p[0].SourceVersion != "1.0" || p[0].Ecosystem != catalog.Generic {
		t.Errorf("inventory: %+v", p)
	}
	offers := s.Available.Updates
	if len(offers) != 1 || offers[0].Version != "2.0" || offers[0].Fresh || offers[0].New || offers[0].Problem != "" || offers[0].Items[0].Installed != "1.0" {
		t.Errorf("offers: %+v; want the newer one alone, as an update", offers)
	}
	w.must(errorOf(w.run(install(newer))))
	w.self("2.0") // it runs now
	if s := w.scan(); len(s.Inventory.Packages) != 1 || s.Inventory.Packages[0].How != howAssent || len(s.Available.Updates) != 0 {
		t.Errorf("after the update: %+v, %+v", s.Inventory.Packages, s.Available.Updates)
	}
	w.self("3.0") // upgraded by a package
	if s := w.scan(); len(s.Inventory.Packages) != 1 || s.Inventory.Packages[0].SourceVersion != "3.0" {
		t.Errorf("with a newer program: %+v", s.Inventory.Packages)
	}
}

func TestC5_NothingButAComponentIsOfferedInThePlaceOfTheProgramThatAsks(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.self("1.0")
	w.release("2.0")
	if s := w.scan(); len(s.Available.Updates) != 0 || len(s.Inventory.Packages) != 0 {
		t.Errorf("a managed application of the same name: %+v, %+v", s.Available.Updates, s.Inventory.Packages)
	}
}

func TestN36_TheProgramOfAVersionIsFoundOnlyWhereAllOfItIsAsItWasUnpacked(t *testing.T) {
	w := newWorld(t, t.TempDir())
	if _, err := w.tree.Program(t.Context(), "app"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without any: %v", err)
	}
	it := w.component("1.0")
	w.must(errorOf(w.run(install(it))))
	p, err := w.tree.Program(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(p.Path)
	if err != nil || p.SHA256 != wire.Digest(b) || p.Payload != it.SHA256 || p.Version != "1.0" || !strings.HasSuffix(p.Path, "/opt/assent/acme/app/versions/1.0/app") {
		t.Errorf("program: %+v, %v", p, err)
	}
	if err := os.WriteFile(p.Path, []byte("#!/bin/sh\necho 9.9\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := w.tree.Program(t.Context(), "app"); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a changed program: %v", err)
	}
}

func TestN36_AVersionWithoutTheProgramHasNone(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.must(errorOf(w.run(install(w.release("1.0")))))
	if _, err := w.tree.Program(t.Context(), "app"); err == nil || !strings.Contains(err.Error(), "no program") {
		t.Errorf("program: %v", err)
	}
}

func TestN36_ARetreatPutsTheVersionBackThatRunsOrTakesTheApplicationOff(t *testing.T) {
	w := newWorld(t, t.TempDir())
	one, two := w.component("1.0"), w.component("2.0")
	w.must(errorOf(w.run(install(one))))
	w.must(errorOf(w.run(install(two))))
	w.must(w.tree.Retreat(t.Context(), "app", one.SHA256, "")) // not in force: nothing happens
	w.must(w.tree.Retreat(t.Context(), "app", two.SHA256, one.SHA256))
	if p, err := w.tree.Program(t.Context(), "app"); err != nil || p.Payload != one.SHA256 {
		t.Errorf("after going back: %+v, %v", p, err)
	}
	w.must(w.tree.Retreat(t.Context(), "app", one.SHA256, ""))
	if _, err := w.tree.Program(t.Context(), "app"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after taking it off: %v", err)
	}
	if left := w.onDisk(); len(slices.Compact(left)) != 0 {
		t.Errorf("left on disk: %q", left)
	}
}

func errorOf[T any](_ T, err error) error { return err }
