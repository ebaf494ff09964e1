package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"

	"assent/archive"
	"assent/archive/archivetest"
)

func walk(t testing.TB, payload []byte, to archive.Sink) error {
	t.Helper()
	return archive.Walk(t.Context(), bytes.NewReader(payload), int64(len(payload)), archive.Limits{}, to)
}

func nowhere(archive.Entry, io.Reader) error { return nil }

func refused(err error) bool {
	var r *archive.Refusal
	return errors.As(err, &r)
}

func sound() []archivetest.File {
	return []archivetest.File{
		archivetest.Entry("./", tar.TypeDir, "", 0o755),
		{Header: tar.Header{Name: "./bin/app", Mode: 0o777}, Body: "#!"},
		archivetest.Entry("bin/", tar.TypeDir, "", 0o700),
		archivetest.Entry("bin/l", tar.TypeSymlink, "../lib/x", 0o777),
		archivetest.Entry("bin/again", tar.TypeLink, "bin/app", 0o644),
	}
}

func TestWalk_HandsOutParentsFirstInEveryCompression(t *testing.T) {
	for _, how := range archivetest.Compressions() {
		var got []string
		err := walk(t, archivetest.Compress(t, how, archivetest.Pack(t, sound()...)), func(e archive.Entry, r io.Reader) error {
			b, err := io.ReadAll(r)
			got = append(got, strings.Join([]string{e.Type, e.Name, e.Perm.String(), e.Target, e.Same, string(b)}, "|"))
			return err
		})
		want := []string{"dir|bin|-rwxr-xr-x|||", "file|bin/app|-rwxr-xr-x|||#!", "link|bin/l|----------|../lib/x||", "file|bin/again|-rw-r--r--||bin/app|"}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v\n got %q\nwant %q", how, err, got, want)
		}
	}
}

func TestN11_HostileArchivesAreRefused(t *testing.T) {
	for name, list := range archivetest.Hostile() {
		if err := walk(t, archivetest.Pack(t, list...), nowhere); !refused(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWalk_WhatIsCutOffIsRefused(t *testing.T) {
	whole := archivetest.Pack(t, archivetest.File{Header: tar.Header{Name: "a", Mode: 0o644}, Body: strings.Repeat("x", 5000)})
	for _, how := range archivetest.Compressions() {
		b := archivetest.Compress(t, how, whole)
		if err := walk(t, b[:len(b)/2], nowhere); !refused(err) {
			t.Errorf("%q: %v", how, err)
		}
	}
}

func TestWalk_FailuresOfTheSinkAndTheContextAreNoRefusals(t *testing.T) {
	full := errors.New("disk full")
	b := archivetest.Pack(t, sound()...)
	if err := walk(t, b, func(archive.Entry, io.Reader) error { return full }); !errors.Is(err, full) || refused(err) {
		t.Errorf("sink: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := archive.Walk(ctx, bytes.NewReader(b), int64(len(b)), archive.Limits{}, nowhere); !errors.Is(err, context.Canceled) || refused(err) {
		t.Errorf("context: %v", err)
	}
}

func TestWalk_LimitsAreKept(t *testing.T) {
	b := archivetest.Pack(t, archivetest.Regular("a"), archivetest.Regular("d/b"))
	limit := func(l archive.Limits) error {
		return archive.Walk(t.Context(), bytes.NewReader(b), int64(len(b)), l, nowhere)
	}
	if err := errors.Join(limit(archive.Limits{Entries: 3}), limit(archive.Limits{Bytes: 2})); err != nil {
		t.Errorf("what just fits: %v", err)
	}
	if err := limit(archive.Limits{Entries: 2}); !refused(err) {
		t.Errorf("three entries, one of them implied: %v", err)
	}
	if err := limit(archive.Limits{Bytes: 1}); !refused(err) {
		t.Errorf("two bytes: %v", err)
	}
	bomb := archivetest.Compress(t, "zst", archivetest.Pack(t, archivetest.File{Header: tar.Header{Name: "zeros", Mode: 0o644}, Body: strings.Repeat("\x00", 65<<20)}))
	if err := walk(t, bomb, nowhere); !refused(err) {
		t.Errorf("%d bytes of a bomb: %v", len(bomb), err)
	}
}

func TestWalkContent_WhatIsNoArchiveIsOneFile(t *testing.T) {
	for name, b := range map[string][]byte{"text": []byte("hello"), "nothing": nil, "gzip of no tar": archivetest.Compress(t, "gz", []byte("hello")), "looks like xz": []byte("\xfd7zXZ\x00")} {
		var got []byte
		err := archive.WalkContent(t.Context(), bytes.NewReader(b), int64(len(b)), "app", archive.Limits{}, func(e archive.Entry, r io.Reader) (err error) {
			if e.Name != "app" || e.Type != archive.File || e.Size != int64(len(b)) {
				t.Errorf("%s: %+v", name, e)
			}
			got, err = io.ReadAll(r)
			return err
		})
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	n := 0
	b := archivetest.Compress(t, "gz", archivetest.Pack(t, sound()...))
	err := archive.WalkContent(t.Context(), bytes.NewReader(b), int64(len(b)), "app", archive.Limits{}, func(archive.Entry, io.Reader) error { n++; return nil })
	if err != nil || n != 4 {
		t.Errorf("an archive: %d entries, %v", n, err)
	}
}

// xzBlock is an xz stream that ends in its first block's header.
func xzBlock(header ...byte) []byte {
	return append([]byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46"), header...)
}

func TestXZ_HeadersThatAskForTooMuchOrNeverEndAreRefusedWithoutAPanic(t *testing.T) {
	pad := make([]byte, 100)
	ones := bytes.Repeat([]byte{0x80}, 1100)
	for name, c := range map[string]struct {
		payload []byte
		says    string
	}{
		"a dictionary of 4 GiB":             {append(xzBlock(2, 0, 0x21, 1, 40), pad...), "memory"},
		"the same in a short stream":        {xzBlock(2, 0, 0x21, 1, 40, 0, 0, 0, 0, 0, 0, 0), "memory"},
		"192 MiB":                           {append(xzBlock(2, 0, 0x21, 1, 31), pad...), "memory"},
		"no size of a dictionary":           {append(xzBlock(2, 0, 0x21, 1, 41), pad...), "memory"},
		"behind both sizes":                 {append(xzBlock(3, 0xc0, 0x81, 1, 0x81, 1, 0x21, 1, 40), pad...), "memory"},
		"another filter":                    {append(xzBlock(2, 0, 0x03, 1, 0), pad...), "no sound header"},
		"one size that never ends":          {append(xzBlock(2, 0x40), ones...), "no sound header"},
		"two sizes that never end":          {append(xzBlock(2, 0xc0), ones...), "no sound header"},
		"a size that fills a small header":  {append(xzBlock(2, 0xc0, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 1), pad...), "no sound header"},
		"a size that fills a long header":   {append(xzBlock(0xff, 0xc0), ones...), "no sound header"},
		"a header cut off":                  {xzBlock(2, 0xc0, 0x80), ""},
		"a header cut off behind its flags": {xzBlock(0xff, 0), ""},
		"no block":                          {xzBlock(0), ""},
		"no stream":                         {[]byte("\xfd7zXZ\x00"), ""},
	} {
		if err := walk(t, c.payload, nowhere); !refused(err) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestXZ_ADictionaryOf128MiBIsTaken(t *testing.T) {
	var out bytes.Buffer
	w, err := xz.WriterConfig{DictCap: 128 << 20}.NewWriter(&out)
	if err == nil {
		_, err = w.Write(archivetest.Pack(t, archivetest.Regular("a")))
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	if err := walk(t, out.Bytes(), nowhere); err != nil {
		t.Error(err)
	}
}

// FuzzWalk shows that no payload makes the reader fail in any way but its own, and what it hands out is inside and whole.
func FuzzWalk(f *testing.F) {
	for _, list := range archivetest.Hostile() {
		f.Add(archivetest.Pack(f, list...), true)
	}
	for _, how := range archivetest.Compressions() {
		f.Add(archivetest.Compress(f, how, archivetest.Pack(f, sound()...)), how != "xz")
	}
	f.Add(append(xzBlock(2, 0xc0), bytes.Repeat([]byte{0x80}, 100)...), true)
	f.Add([]byte("\x28\xb5\x2f\xfd"), false)
	f.Fuzz(func(t *testing.T, b []byte, isTree bool) {
		limits := archive.Limits{Free: 1 << 20, Entries: 100, Ratio: 1, Bytes: 1 << 20}
		total := int64(0)
		sink := func(e archive.Entry, r io.Reader) error {
			n, err := io.Copy(io.Discard, r)
			total += n
			if !filepath.IsLocal(e.Name) || err == nil && n != e.Size {
				t.Errorf("%+v with %d bytes", e, n)
			}
			return err
		}
		var err error
		if isTree {
			err = archive.Walk(t.Context(), bytes.NewReader(b), int64(len(b)), limits, sink)
		} else {
			err = archive.WalkContent(t.Context(), bytes.NewReader(b), int64(len(b)), "app", limits, sink)
		}
		if err != nil && !refused(err) {
			t.Errorf("%v is no refusal", err)
		}
		if total > limits.Total(int64(len(b))) {
			t.Errorf("%d bytes", total)
		}
	})
}
