package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"pgregory.net/rapid"

	"assent/agent/internal/pkgmgr"
	"assent/archive/archivetest"
	"assent/catalog"
	"assent/feed"
	"assent/installation"
	"assent/wire"
)

func TestC1_GoesForwardBackAndOffAndDataAndConfigurationStay(t *testing.T) {
	w := newWorld(t, t.TempDir())
	own := []string{filepath.Join(w.root, "etc/app.conf"), filepath.Join(w.root, "var/lib/app/data")}
	for _, name := range own {
		w.must(os.MkdirAll(filepath.Dir(name), 0o755))
		w.must(os.WriteFile(name, []byte("mine"), 0o600))
	}
	v1, v2 := w.release("1.0"), w.release("2.0")
	w.ok(install(v1))
	w.ok(install(v2))
	if got, want := w.onDisk(), []string{"1.0", "2.0"}; !slices.Equal(got, want) {
		t.Errorf("on disk %v, want %v", got, want)
	}
	opens := *w.feed.opens
	w.ok(back(v1))
	if *w.feed.opens != opens {
		t.Error("going back needed a download")
	}
	if _, err := w.run(remove(v1)); err != nil {
		t.Fatal(err)
	}
	if p := w.proof(v1); p.Version != "" || p.Status != "" {
		t.Errorf("after the removal: %+v", p)
	}
	if left, err := os.ReadDir(filepath.Join(w.root, "opt/assent")); err != nil || len(left) != 0 {
		t.Errorf("the removal left %v, %v", left, err)
	}
	for _, name := range own {
		if b, err := os.ReadFile(name); err != nil || string(b) != "mine" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	w.ok(install(v2)) // and it can come again
}

func TestWhatIsTrueAlreadyIsNoChange(t *testing.T) {
	w := newWorld(t, t.TempDir())
	v1 := w.release("1.0")
	w.ok(install(v1))
	for _, want := range []pkgmgr.Want{install(v1), remove(w.release("9.0"))} {
		tx, err := w.tree.Simulate(t.Context(), want)
		if err != nil || len(tx.Changes) != 0 {
			t.Errorf("%+v, %v", tx.Changes, err)
		}
	}
}

func TestSimulateNamesTheChangeWholly(t *testing.T) {
	w := newWorld(t, t.TempDir())
	v1, v2 := w.release("1.0"), w.release("2.0")
	line := func(op wire.Op, it catalog.Item, from string) wire.Change {
		return wire.Change{Op: op, Name: "app", Arch: "amd64", Version: it.Version, From: from, SHA256: it.SHA256, Size: it.Size, Source: "app", SrcVer: it.Version, Space: "feed.acme", Format: catalog.Tar}
	}
	check := func(want pkgmgr.Want, change wire.Change, fetch int64) {
		t.Helper()
		tx, err := w.tree.Simulate(t.Context(), want)
		if diff := cmp.Diff([]wire.Change{change}, tx.Changes); diff != "" || err != nil || tx.Fetch != fetch {
			t.Errorf("%v, fetch %d\n%s", err, tx.Fetch, diff)
		}
	}
	check(install(v1), line(wire.OpInstall, v1, ""), v1.Size)
	w.ok(install(v1))
	check(install(v2), line(wire.OpUpgrade, v2, "1.0"), v2.Size)
	w.ok(install(v2))
	check(back(v1), line(wire.OpDowngrade, v1, "2.0"), 0)
	check(remove(v2), wire.Change{Op: wire.OpRemove, Name: "app", Arch: "amd64", From: "2.0", Source: "app", SrcVer: "2.0", Space: "feed.acme", Format: catalog.Tar}, 0)
	w.must(os.Remove(w.path("bin/app")))
	check(install(v2), line(wire.OpReinstall, v2, "2.0"), v2.Size)
	if r := w.refused(install(v1), installation.DowngradeNeeded); len(r.Changes) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestV2_WhatCannotBeIsRefusedWithItsCause(t *testing.T) {
	w := newWorld(t, t.TempDir())
	v1 := w.release("1.0")
	w.ok(install(v1))
	v2 := w.release("2.0")
	other := w.publishIn("other", "3.0", archivetest.Pack(t, files("3.0")...))
	arm := w.release("4.0", func(m *feed.Manifest) { m.Items[0].Platform.Arch, m.Items[0].Arch = "arm64", "arm64" })
	revoked := w.release("5.0")
	r := catalog.Release{Software: catalog.Software{Ecosystem: "generic", Namespace: "feed.acme", Name: "app"}, Version: "5.0"}
	w.must(os.WriteFile(filepath.Join(w.feed.dir, "acme/releases", string(r.ID())+".json.revoked"), []byte("it eats files"), 0o644))
	turned := w.publish("6.0", []byte("just bytes"), content)
	with := func(it catalog.Item, f func(*catalog.Item)) catalog.Item { f(&it); return it }
	for name, c := range map[string]struct {
		want  pkgmgr.Want
		cause installation.Cause
	}{
		"in no feed":       {install(with(v2, func(i *catalog.Item) { i.Version = "2.1" })), installation.ContentUnavailable},
		"other digest":     {install(with(v2, func(i *catalog.Item) { i.SHA256 = v1.SHA256 })), installation.DigestMismatch},
		"other size":       {install(with(v2, func(i *catalog.Item) { i.Size++ })), installation.ContentUnavailable},
		"other feed":       {install(other), installation.Unresolvable},
		"other platform":   {install(arm), installation.Unresolvable},
		"recalled":         {install(revoked), installation.Revoked},
		"other kind":       {install(turned), installation.Unresolvable},
		"two at once":      {install(v2, turned), installation.Unresolvable},
		"and off at once":  {pkgmgr.Want{Items: []catalog.Item{v2}, Remove: []catalog.Item{v1}}, installation.Unresolvable},
		"as content":       {install(with(v2, func(i *catalog.Item) { i.Format = catalog.ContentFile })), installation.UnknownData},
		"a package":        {install(with(v2, func(i *catalog.Item) { i.Format = catalog.Deb })), installation.UnknownData},
		"no version":       {install(with(v2, func(i *catalog.Item) { i.Version = "../../etc" })), installation.UnknownData},
		"no name":          {install(with(v2, func(i *catalog.Item) { i.Name = "../app" })), installation.UnknownData},
		"no name, removal": {remove(with(v2, func(i *catalog.Item) { i.Name = ".." })), installation.UnknownData},
	} {
		t.Run(name, func(t *testing.T) {
			w.T = t
			w.refused(c.want, c.cause)
			w.there(v1)
		})
	}
}

func TestUnknownHolds_AReleaseThatThisBuildCannotReadIsOfferedAndRefused(t *testing.T) {
	w := newWorld(t, t.TempDir())
	it := w.release("1.0")
	name, err := filepath.Glob(filepath.Join(w.feed.dir, "acme/releases/*.json"))
	w.must(err)
	b, err := os.ReadFile(name[0])
	w.must(err)
	w.must(os.WriteFile(name[0], bytes.Replace(b, []byte(`"kind": "full"`), []byte(`"kind": "quantum"`), 1), 0o644))
	if got := w.scan().Available.Updates; len(got) != 1 || !got[0].New || !got[0].Fresh {
		t.Errorf("offers %+v", got)
	}
	w.refused(install(it), installation.UnknownData)
}

func TestCompressionsAndContentFormsAllUnpack(t *testing.T) {
	plain := archivetest.Pack(t, files("1.0")...)
	pack := map[string]func(io.Writer) (io.WriteCloser, error){
		"gz":  func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
		"zst": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
		"xz":  func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) },
	}
	packed := func(t *testing.T, f func(io.Writer) (io.WriteCloser, error), b []byte) []byte {
		var out bytes.Buffer
		z, err := f(&out)
		if err == nil {
			_, err = z.Write(b)
		}
		if err = errors.Join(err, z.Close()); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	for name, f := range pack {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, t.TempDir())
			w.ok(install(w.publish("1.0", packed(t, f, plain))))
			w.refused(install(w.publish("2.0", packed(t, f, []byte("no archive at all")))), installation.UnknownData)
			cut := packed(t, f, plain)
			w.refused(install(w.publish("3.0", cut[:len(cut)/2])), installation.UnknownData)
		})
		t.Run("content set "+name, func(t *testing.T) {
			w := newWorld(t, t.TempDir())
			it := w.publish("1.0", packed(t, f, plain), content)
			w.ok(install(it))
			if b, err := os.ReadFile(filepath.Join(w.root, "var/lib/assent-content/acme/app/current/bin/app")); err != nil || len(b) == 0 {
				t.Error(err)
			}
		})
		t.Run("content file "+name, func(t *testing.T) {
			w := newWorld(t, t.TempDir())
			raw := packed(t, f, []byte("signatures"))
			w.ok(install(w.publish("2026.11.23", raw, content)))
			if b, err := os.ReadFile(filepath.Join(w.root, "var/lib/assent-content/acme/app/current/app")); err != nil || !bytes.Equal(b, raw) {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
	t.Run("plain", func(t *testing.T) {
		w := newWorld(t, t.TempDir())
		w.ok(install(w.publish("1.0", plain)))
	})
}

func TestKeepsTheNewestThreeAndNeverPrunesWhatCouldBeSteppedBackTo(t *testing.T) {
	w := newWorld(t, t.TempDir())
	var all []catalog.Item
	for n := range 5 {
		it := w.release(fmt.Sprintf("%d.0", n+1))
		w.ok(install(it))
		all = append(all, it)
	}
	if got, want := w.onDisk(), []string{"3.0", "4.0", "5.0"}; !slices.Equal(got, want) {
		t.Errorf("on disk %v, want %v", got, want)
	}
	w.ok(back(all[3]))
	if got, want := w.onDisk(), []string{"3.0", "4.0", "5.0"}; !slices.Equal(got, want) {
		t.Errorf("on disk %v, want %v", got, want)
	}
	w.ok(back(all[1])) // from the feed again: the one before the current one goes first, the newer ones stay as far as there is room
	if got, want := w.onDisk(), []string{"2.0", "4.0", "5.0"}; len(got) != 3 || !slices.Contains(got, "2.0") {
		t.Errorf("on disk %v, want %v", got, want)
	}
	if left, err := filepath.Glob(filepath.Join(w.state, "tree/manifests/*")); err != nil || len(left) != 3 {
		t.Errorf("lists of files: %v, %v", left, err)
	}
	if left, err := filepath.Glob(filepath.Join(w.state, "tree/payloads/*")); err != nil || len(left) != 0 {
		t.Errorf("payloads: %v, %v", left, err)
	}
}

func TestRestoreListsEachOlderVersionTheNewestFirst(t *testing.T) {
	w := newWorld(t, t.TempDir())
	var all []catalog.Item
	for n := range 5 {
		all = append(all, w.release(fmt.Sprintf("%d.0", n+1)))
		w.ok(install(all[n]))
	}
	release := func(v string) catalog.UpdateID {
		return catalog.Release{Software: catalog.Software{Ecosystem: "generic", Namespace: "feed.acme", Name: "app"}, Version: v}.ID()
	}
	line := func(current string, it catalog.Item, from string) wire.RestoreItem {
		return wire.RestoreItem{Update: release(current), Name: "app", Arch: "amd64", Version: it.Version, Current: current, SHA256: it.SHA256, Size: it.Size, From: from, Release: it.Version, Format: catalog.Tar}
	}
	want := []wire.RestoreItem{line("5.0", all[3], "cache"), line("5.0", all[2], "cache"), line("5.0", all[1], "repository"), line("5.0", all[0], "repository")}
	if diff := cmp.Diff(want, w.scan().Available.Restore); diff != "" {
		t.Error(diff)
	}
	w.ok(back(all[3]))
	names, err := filepath.Glob(filepath.Join(w.feed.dir, "acme/releases/*.json"))
	w.must(err)
	for _, n := range names {
		w.must(os.Remove(n))
	}
	want = []wire.RestoreItem{line("4.0", all[2], "cache"), line("4.0", all[1], ""), line("4.0", all[0], "")}
	if diff := cmp.Diff(want, w.scan().Available.Restore); diff != "" {
		t.Error(diff)
	}
	w.must(os.RemoveAll(filepath.Join(w.feed.dir, "payloads")))
	w.ok(back(all[2])) // no feed has it any more
	plain := all[3]
	plain.Format = "" // as a rollback names it
	w.refused(back(all[1]), installation.ContentUnavailable)
	w.ok(install(plain))
}

func TestV4_WhatSomebodyDoesByHandIsRecordedAsSuch(t *testing.T) {
	w := newWorld(t, t.TempDir())
	v1, v2 := w.release("1.0"), w.release("2.0")
	w.ok(install(v1))
	w.ok(install(v2))
	how := func() string {
		var out []string
		for _, p := range w.scan().Inventory.Packages {
			out = append(out, p.Version+" "+p.Status+" "+p.How)
		}
		return strings.Join(out, ",")
	}
	if got := how(); got != "2.0 ii assent" {
		t.Error(got)
	}
	link := w.tree.Current("acme", "app", catalog.Tar)
	relink := func(target string) {
		w.must(os.Remove(link))
		w.must(os.Symlink(target, link))
	}
	relink("versions/1.0")
	if got := how(); got != "1.0 ii by hand" {
		t.Error(got)
	}
	w.there(v1)
	w.ok(install(v2))
	w.must(os.MkdirAll(filepath.Join(filepath.Dir(link), "versions/3.0"), 0o755))
	relink("versions/3.0")
	if got := how(); got != "3.0 ii by hand" {
		t.Error(got)
	}
	if p := w.proof(w.release("3.0")); p.Status == whole {
		t.Errorf("nobody knows what it is: %+v", p)
	}
	w.must(os.Remove(link))
	if got := how(); got != "" {
		t.Error(got)
	}
	w.ok(install(v1))
	w.must(os.RemoveAll(w.state)) // a new agent on an old device
	w.start()
	if got := how(); got != "1.0 ii by hand" {
		t.Error(got)
	}
	w.ok(install(v2))
	if _, err := os.Stat(filepath.Join(filepath.Dir(link), "versions/3.0")); err != nil {
		t.Errorf("what somebody put there was deleted: %v", err)
	}
}

func TestOffersNewerReleasesOfWhatIsThereAndTheNewestFewOfTheRest(t *testing.T) {
	w := newWorld(t, t.TempDir())
	named := func(name string) func(*feed.Manifest) {
		return func(m *feed.Manifest) { m.Application, m.Items[0].Name = name, name }
	}
	w.ok(install(w.release("2.0")))
	for _, v := range []string{"1.0", "3.0", "10.0"} {
		w.release(v)
	}
	w.release("11.0", func(m *feed.Manifest) { // made for two platforms, both of which fit
		closer := m.Items[0]
		closer.Platform = catalog.Platform{Distribution: "debian", Version: "12", Arch: "amd64"}
		closer.Arch = closer.Platform.String()
		m.Items = append(m.Items, closer)
	})
	w.release("12.0", func(m *feed.Manifest) { m.Items[0].Platform.Arch, m.Items[0].Arch = "arm64", "arm64" })
	for _, v := range []string{"1.0", "2.0", "3.0", "4.0", "5.0"} {
		w.publish(v, archivetest.Pack(t, files(v)...), named("new"))
	}
	w.publishIn("other", "7.0", archivetest.Pack(t, files("7.0")...))
	var got []string
	for _, o := range w.scan().Available.Updates {
		got = append(got, fmt.Sprintf("%s %s %s %s from %q new %v %v %s", o.Namespace, o.Name, o.Version, o.Items[0].Arch, o.Items[0].Installed, o.New, o.Fresh, o.Problem))
		if len(o.Items) != 1 || o.Ecosystem != "generic" {
			t.Errorf("%+v", o)
		}
	}
	want := []string{
		`feed.acme app 10.0 amd64 from "2.0" new false false `,
		`feed.acme app 11.0 debian-12-amd64 from "2.0" new false false `,
		`feed.acme app 3.0 amd64 from "2.0" new false false `,
		`feed.acme new 3.0 amd64 from "" new true true `,
		`feed.acme new 4.0 amd64 from "" new true true `,
		`feed.acme new 5.0 amd64 from "" new true true `,
		`feed.other app 7.0 amd64 from "" new true false app is installed from the feed acme`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if s := w.scan(); s != w.scan() {
		t.Error("an unchanged device gives another snapshot")
	}
	closed, err := w.tree.Close(t.Context(), w.scan())
	if err != nil || !closed.Closed || len(closed.Updates) != len(want) {
		t.Errorf("%+v, %v", closed, err)
	}
}

func TestRestartOfTheDeviceIsAskedForUntilItHappened(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.ok(install(w.release("1.0", func(m *feed.Manifest) { m.Restart = catalog.RestartDevice })))
	if got := w.scan().Restart; !slices.Equal(got, []string{"app"}) {
		t.Errorf("restart %v", got)
	}
	w.boot = "boot-2"
	if got := w.scan().Restart; len(got) != 0 {
		t.Errorf("restart %v", got)
	}
}

func TestRecordThatCannotBeReadIsSaidAndHealed(t *testing.T) {
	w := newWorld(t, t.TempDir())
	v1 := w.release("1.0")
	w.ok(install(v1))
	w.must(os.WriteFile(filepath.Join(w.state, "tree/apps/acme:app.json"), []byte("{"), 0o600))
	if s := w.scan(); s.Health.Broken == "" {
		t.Error("nobody is told")
	}
	if _, health, err := w.tree.Verify(t.Context(), []catalog.Item{v1}); err != nil || health.Broken == "" {
		t.Errorf("%+v, %v", health, err)
	}
	if h, err := w.tree.Recover(t.Context()); err != nil || h.Broken != "" {
		t.Fatalf("%+v, %v", h, err)
	}
	if p := w.scan().Inventory.Packages; len(p) != 1 || p[0].Version != "1.0" || p[0].How != howByHand {
		t.Errorf("%+v", p)
	}
	w.ok(install(v1))
}

func TestSettlingTwiceIsSettlingOnce(t *testing.T) {
	dirs := []string{"", "1.0", "1.0~2", "2.0", "3.0"}
	gen := rapid.Custom(func(t *rapid.T) version {
		return version{Version: rapid.SampledFrom([]string{"1.0", "2.0", "3.0"}).Draw(t, "version"), SHA256: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "sum"),
			Dir: rapid.SampledFrom(dirs).Draw(t, "dir"), Manifest: rapid.SampledFrom([]string{"", "m"}).Draw(t, "manifest")}
	})
	rapid.Check(t, func(t *rapid.T) {
		r := record{Past: rapid.SliceOfN(gen, 0, 4).Draw(t, "past")}
		if rapid.Bool().Draw(t, "current") {
			v := gen.Draw(t, "is")
			r.Current = &v
		}
		switch rapid.IntRange(0, 2).Draw(t, "step") {
		case 1:
			r.Step = &step{}
		case 2:
			v := gen.Filter(func(v version) bool { return v.Dir != "" }).Draw(t, "to")
			r.Step = &step{To: &v}
		}
		l := link{missing: rapid.Bool().Draw(t, "missing")}
		if !l.missing {
			l.dir = rapid.SampledFrom(dirs).Draw(t, "link")
		}
		once := r.settled(l)
		if diff := cmp.Diff(once, once.settled(l)); diff != "" {
			t.Fatal(diff)
		}
		if once.Step != nil || l.missing != (once.Current == nil) || once.Current != nil && once.Current.Dir != l.dir {
			t.Fatalf("%+v does not say where the link leads: %+v", once, l)
		}
		for _, r := range []record{once, once.pruned(), once.emptied()} {
			for _, dir := range r.Trash {
				if once.Current != nil && r.Current != nil && r.Current.Dir == dir {
					t.Fatalf("%s is in force and is to be deleted", dir)
				}
			}
		}
	})
}

func TestTwoAgentsCannotChangeTreesAtOnce(t *testing.T) {
	w := newWorld(t, t.TempDir())
	v1 := w.release("1.0")
	release, err := w.tree.hold()
	w.must(err)
	w.start()
	_, err = w.tree.Apply(context.Background(), pkgmgr.Transaction{Want: install(v1)}, nil)
	var r *pkgmgr.Refusal
	if !errors.As(err, &r) || r.Cause != installation.ManagerBusy {
		t.Errorf("%v", err)
	}
	release()
	w.ok(install(v1))
}

func TestN39_ADirectoryThatOthersCanWriteIsNotUsed(t *testing.T) {
	w := newWorld(t, t.TempDir())
	v1 := w.release("1.0")
	w.must(os.MkdirAll(filepath.Join(w.root, "opt/assent"), 0o755))
	for _, hurt := range []func() error{
		func() error { return os.Chmod(filepath.Join(w.root, "opt/assent"), 0o777) },
		func() error {
			return errors.Join(os.Chmod(filepath.Join(w.root, "opt/assent"), 0o755), os.Chown(filepath.Join(w.root, "opt/assent"), 65534, 65534))
		},
		func() error {
			return errors.Join(os.Remove(filepath.Join(w.root, "opt/assent")), os.Symlink(t.TempDir(), filepath.Join(w.root, "opt/assent")))
		},
	} {
		w.must(hurt())
		if _, err := w.run(install(v1)); err == nil {
			t.Error("installed into a directory that belongs to somebody else")
		}
	}
}
