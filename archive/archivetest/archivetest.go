// Package archivetest makes archives for tests, among them the hostile ones that nothing of Assent may accept: the publisher's
// command, the reader of archives and the device's manager of trees are all tested with the same.
package archivetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// File is an entry of an archive.
type File struct {
	tar.Header // without a Typeflag it is a regular file; the Size is that of Body

	Body string
}

// Pack makes a tar of the files. What cannot be written as one ends the test.
func Pack(t testing.TB, list ...File) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range list {
		f.Size = int64(len(f.Body))
		if f.Typeflag == 0 {
			f.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(&f.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.Body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Compressions are what an archive can be compressed with; the first is nothing.
func Compressions() []string { return []string{"", "gz", "zst", "xz"} }

// Compress compresses bytes with one of Compressions.
func Compress(t testing.TB, how string, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch how {
	case "gz":
		w = gzip.NewWriter(&out)
	case "zst":
		w, err = zstd.NewWriter(&out)
	case "xz":
		w, err = xz.NewWriter(&out)
	default:
		return b
	}
	if err == nil {
		_, err = w.Write(b)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Entry is a File without content.
func Entry(name string, kind byte, target string, mode int64) File {
	return File{Header: tar.Header{Name: name, Typeflag: kind, Linkname: target, Mode: mode}}
}

// Regular is a small file.
func Regular(name string) File {
	return File{Header: tar.Header{Name: name, Mode: 0o644}, Body: "x"}
}

// Hostile are archives of which nothing may ever be unpacked, by what is wrong with them.
func Hostile() map[string][]File {
	link := func(name, target string) File { return Entry(name, tar.TypeSymlink, target, 0o777) }
	hard := func(name, target string) File { return Entry(name, tar.TypeLink, target, 0o644) }
	privileged, libarchive := Regular("caps"), Regular("caps")
	privileged.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "\x01"}
	libarchive.PAXRecords = map[string]string{"LIBARCHIVE.xattr.security.capability": "\x01"}
	return map[string][]File{
		"absolute path":                        {Regular("/etc/cron.d/x")},
		"dot dot":                              {Regular("../x")},
		"dot dot inside":                       {Regular("a/../../x")},
		"dot dot that stays":                   {Regular("a/../x")},
		"dot dot alone":                        {Entry("..", tar.TypeDir, "", 0o755)},
		"no name":                              {Regular(".")},
		"control characters":                   {Regular("a\nb")},
		"endless name":                         {Regular(strings.Repeat("a/", 600) + "a")},
		"link to an absolute path":             {link("a", "/etc")},
		"link out":                             {link("a/b", "../../etc")},
		"link out of the top":                  {link("a", "../b")},
		"link down and up":                     {link("d/a", "x/../../..")},
		"link out by way of another":           {Entry("d", tar.TypeDir, "", 0o755), link("d/s", ".."), link("l", "d/s/../etc")},
		"link out from deep by way of another": {link("x/y/s", "../.."), link("x/y/l", "s/../../etc")},
		"link nowhere":                         {link("a", "")},
		"file through a link":                  {link("a", "b"), Regular("a/x")},
		"file through a link to a directory":   {Entry("b", tar.TypeDir, "", 0o755), link("a", "b"), Regular("a/x")},
		"file over a link":                     {link("a", "b"), Regular("a")},
		"directory over a link":                {link("a", "b"), Entry("a", tar.TypeDir, "", 0o755)},
		"file below a file":                    {Regular("a"), Regular("a/b")},
		"hard link out":                        {hard("a", "/etc/shadow")},
		"hard link up":                         {hard("a", "../../../etc/shadow")},
		"hard link to a link":                  {link("l", "f"), hard("a", "l")},
		"hard link to nothing":                 {hard("a", "b")},
		"character device":                     {Entry("null", tar.TypeChar, "", 0o666)},
		"block device":                         {Entry("sda", tar.TypeBlock, "", 0o666)},
		"pipe":                                 {Entry("pipe", tar.TypeFifo, "", 0o666)},
		"unknown kind":                         {Entry("odd", 'Z', "", 0o666)},
		"setuid":                               {Entry("su", tar.TypeReg, "", 0o4755)},
		"setgid directory":                     {Entry("d", tar.TypeDir, "", 0o2755)},
		"sticky":                               {Entry("d", tar.TypeDir, "", 0o1777)},
		"capabilities":                         {privileged},
		"capabilities in libarchive's words":   {libarchive},
		"the same name twice":                  {Regular("a"), Regular("a")},
		"the same name in other words":         {Regular("a"), Regular("./a")},
		"the same directory twice":             {Entry("d", tar.TypeDir, "", 0o755), Entry("d/", tar.TypeDir, "", 0o700)},
		"nothing at all":                       {},
	}
}
