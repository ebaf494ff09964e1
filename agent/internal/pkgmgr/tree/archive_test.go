package tree

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"pgregory.net/rapid"

	"assent/catalog"
	"assent/installation"
)

func entryOf(name string, kind byte, target string, mode int64) file {
	return file{Header: tar.Header{Name: name, Typeflag: kind, Linkname: target, Mode: mode}}
}

func regular(name string) file { return file{Header: tar.Header{Name: name, Mode: 0o644}, body: "x"} }

// hostile are archives of which nothing may ever be unpacked.
func hostile() map[string][]file {
	link := func(name, target string) file { return entryOf(name, tar.TypeSymlink, target, 0o777) }
	hard := func(name, target string) file { return entryOf(name, tar.TypeLink, target, 0o644) }
	privileged := regular("caps")
	privileged.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "\x01"}
	return map[string][]file{
		"absolute path":                        {regular("/etc/cron.d/x")},
		"dot dot":                              {regular("../x")},
		"dot dot inside":                       {regular("a/../../x")},
		"dot dot that stays":                   {regular("a/../x")},
		"dot dot alone":                        {entryOf("..", tar.TypeDir, "", 0o755)},
		"no name":                              {regular(".")},
		"control characters":                   {regular("a\nb")},
		"endless name":                         {regular(strings.Repeat("a/", 600) + "a")},
		"link to an absolute path":             {link("a", "/etc")},
		"link out":                             {link("a/b", "../../etc")},
		"link out by way of another":           {entryOf("d", tar.TypeDir, "", 0o755), link("d/s", ".."), link("l", "d/s/../etc")},
		"link out from deep by way of another": {link("x/y/s", "../.."), link("x/y/l", "s/../../etc")},
		"link nowhere":                         {link("a", "")},
		"file through a link":                  {link("a", "b"), regular("a/x")},
		"file through a link to a directory":   {entryOf("b", tar.TypeDir, "", 0o755), link("a", "b"), regular("a/x")},
		"file over a link":                     {link("a", "b"), regular("a")},
		"directory over a link":                {link("a", "b"), entryOf("a", tar.TypeDir, "", 0o755)},
		"file below a file":                    {regular("a"), regular("a/b")},
		"hard link out":                        {hard("a", "/etc/shadow")},
		"hard link up":                         {hard("a", "../../../etc/shadow")},
		"hard link to a link":                  {link("l", "f"), hard("a", "l")},
		"hard link to nothing":                 {hard("a", "b")},
		"character device":                     {entryOf("null", tar.TypeChar, "", 0o666)},
		"block device":                         {entryOf("sda", tar.TypeBlock, "", 0o666)},
		"pipe":                                 {entryOf("pipe", tar.TypeFifo, "", 0o666)},
		"unknown kind":                         {entryOf("odd", 'Z', "", 0o666)},
		"setuid":                               {entryOf("su", tar.TypeReg, "", 0o4755)},
		"setgid directory":                     {entryOf("d", tar.TypeDir, "", 0o2755)},
		"sticky":                               {entryOf("d", tar.TypeDir, "", 0o1777)},
		"capabilities":                         {privileged},
		"the same name twice":                  {regular("a"), regular("a")},
		"the same name in other words":         {regular("a"), regular("./a")},
		"the same directory twice":             {entryOf("d", tar.TypeDir, "", 0o755), entryOf("d/", tar.TypeDir, "", 0o700)},
		"nothing at all":                       {},
	}
}

func TestN11_HostileArchivesAreRefusedBeforeAnythingIsUnpacked(t *testing.T) {
	for name, list := range hostile() {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, t.TempDir())
			v1 := w.release("1.0")
			w.ok(install(v1))
			evil := w.publish("2.0", archive(t, append([]file{regular("first")}, list...)...))
			if len(list) == 0 {
				evil = w.publish("2.1", archive(t))
			}
			r := w.refused(install(evil), installation.UnknownData)
			if !strings.Contains(r.Detail, "app") {
				t.Errorf("%s", r.Detail)
			}
			w.force(evil) // and should it get past the fetch, Apply refuses it
			if _, err := w.tree.Apply(t.Context(), w.blind(evil), nil); err == nil {
				t.Error("applied")
			}
			w.there(v1)
			if got := w.onDisk(); len(got) != 1 {
				t.Errorf("on disk %v", got)
			}
		})
	}
}

func bomb(t *testing.T, list func(a *tar.Writer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	a := tar.NewWriter(z)
	if err := list(a); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil { // without the archive's end, which a bomb need not have
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestN11_BombsAreRefused(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.limits = Limits{Free: 4 << 20}
	w.start()
	zeros := bomb(t, func(a *tar.Writer) error {
		if err := a.WriteHeader(&tar.Header{Name: "zeros", Mode: 0o644, Size: 8 << 20}); err != nil {
			return err
		}
		_, err := io.CopyN(a, zero{}, 8<<20)
		return err
	})
	w.refused(install(w.publish("1.0", zeros)), installation.UnknownData)
	many := bomb(t, func(a *tar.Writer) error {
		for i := range 250_000 { // beyond the limit of 200,000: what would follow is not read any more
			name := hex.EncodeToString([]byte{byte(i >> 16), byte(i >> 8), byte(i)})
			if err := a.WriteHeader(&tar.Header{Name: name[:2] + "/" + name, Mode: 0o644}); err != nil {
				return err
			}
		}
		return nil
	})
	w.limits = Limits{} // the limits of every device
	w.start()
	w.refused(install(w.publish("2.0", many)), installation.UnknownData)
}

type zero struct{}

func (zero) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestXZThatAsksForAllMemoryIsRefused(t *testing.T) {
	w := newWorld(t, t.TempDir())
	head := append([]byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46"), 0x02, 0x00, 0x21, 0x01, 40) // a dictionary of 4 GiB
	r := w.refused(install(w.publish("1.0", append(head, make([]byte, 100)...))), installation.UnknownData)
	if !strings.Contains(r.Detail, "memory") {
		t.Error(r.Detail)
	}
}

// TestNoArchiveReachesOutside unpacks archives of random names and links: whatever is accepted stays inside, and what
// is on disk is what the list of files says.
func TestNoArchiveReachesOutside(t *testing.T) {
	name := rapid.SampledFrom([]string{"a", "b", "a/b", "a/b/c", "b/a", "../a", "/a", "a/..", "./a", "a//b", ".", "..", "c/../../d"})
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		var list []file
		for range rapid.IntRange(1, 6).Draw(r, "entries") {
			kind := rapid.SampledFrom([]byte{tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink}).Draw(r, "kind")
			f := entryOf(name.Draw(r, "name"), kind, "", 0o644)
			switch kind {
			case tar.TypeReg:
				f.body = "inside"
			case tar.TypeSymlink, tar.TypeLink:
				f.Linkname = rapid.OneOf(name, rapid.SampledFrom([]string{"../..", "../b", "../../a", "b/..", "a/../.."})).Draw(r, "target")
			}
			list = append(list, f)
		}
		n++
		outside := filepath.Join(dir, hex.EncodeToString([]byte{byte(n >> 8), byte(n)}))
		inside := filepath.Join(outside, "1", "2", "3", "home")
		if err := os.MkdirAll(filepath.Join(inside, versions), 0o755); err != nil {
			r.Fatal(err)
		}
		home, err := os.OpenRoot(inside)
		if err != nil {
			r.Fatal(err)
		}
		defer home.Close()
		payload := filepath.Join(dir, "payload")
		body := archive(t, list...)
		if err := os.WriteFile(payload, body, 0o600); err != nil {
			r.Fatal(err)
		}
		f, err := os.Open(payload)
		if err != nil {
			r.Fatal(err)
		}
		defer f.Close()
		tree := New(Config{Root: outside})
		_, err = tree.unpack(t.Context(), home, key{"acme", "app", catalog.Tar}, f, int64(len(body)))
		top := filepath.Join(inside, versions, staging)
		if err != nil {
			if _, err := os.Lstat(top); err == nil {
				r.Fatal("a refused archive left something")
			}
			top = ""
		}
		_ = filepath.WalkDir(outside, func(path string, d fs.DirEntry, err error) error {
			if d.Type()&fs.ModeSymlink != 0 {
				real, err := filepath.EvalSymlinks(path)
				if err == nil && real != top && !strings.HasPrefix(real, top+"/") {
					r.Errorf("%s leads to %s", path, real)
				}
			}
			if d.Type().IsRegular() && !strings.HasPrefix(path, top+"/") {
				r.Errorf("%s is outside of the tree", path)
			}
			return nil
		})
	})
}

// FuzzWalk shows that no payload makes the reader fail in any way but its own.
func FuzzWalk(f *testing.F) {
	for _, list := range hostile() {
		var b bytes.Buffer
		a := tar.NewWriter(&b)
		for _, e := range list {
			e.Size = int64(len(e.body))
			if a.WriteHeader(&e.Header) == nil {
				_, _ = io.WriteString(a, e.body)
			}
		}
		_ = a.Close()
		f.Add(b.Bytes(), true)
	}
	f.Add([]byte("\xfd7zXZ\x00"), true)
	f.Add([]byte("\x28\xb5\x2f\xfd"), false)
	f.Fuzz(func(t *testing.T, b []byte, isTree bool) {
		k := key{"acme", "app", catalog.ContentFile}
		if isTree {
			k.format = catalog.Tar
		}
		limits := Limits{Free: 1 << 20, Entries: 100, Ratio: 1, Bytes: 1 << 20}
		total := int64(0)
		_ = walk(t.Context(), bytes.NewReader(b), int64(len(b)), k, limits, func(e entry, r io.Reader) error {
			n, err := io.Copy(io.Discard, r)
			total += n
			if !filepath.IsLocal(e.Name) || err == nil && n != e.Size {
				t.Errorf("%+v with %d bytes", e, n)
			}
			return err
		})
		if total > limits.total(int64(len(b))) {
			t.Errorf("%d bytes", total)
		}
	})
}

// force puts a payload into the cache as if it had been fetched.
func (w *world) force(it catalog.Item) {
	w.Helper()
	b, err := os.ReadFile(filepath.Join(w.feed.dir, "payloads", it.SHA256))
	w.must(err)
	sum := sha256.Sum256(b)
	w.must(os.MkdirAll(filepath.Join(w.state, "tree/payloads"), 0o700))
	w.must(os.WriteFile(filepath.Join(w.state, "tree/payloads", hex.EncodeToString(sum[:])), b, 0o600))
}
