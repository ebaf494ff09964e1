package payload_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"strings"
	"testing"

	"assent/archive/archivetest"
	"assent/catalog"
	"assent/fault"
	"assent/lab/debrepo"
	"assent/trust/payload"
)

func deb(t *testing.T, p debrepo.Package) []byte {
	t.Helper()
	b, err := debrepo.Deb(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReadDeb_SaysNameSourceVersionAndTheFieldsOfOneStanza(t *testing.T) {
	b := deb(t, debrepo.Package{Name: "libledger1", Version: "2.0-1+b1", Source: "ledger", SourceVersion: "2.0-1", Depends: "libc6"})
	got, err := payload.ReadDeb(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if got.Package != "libledger1" || got.Version != "2.0-1+b1" || got.Source != "ledger" || got.SourceVersion != "2.0-1" || got.Arch == "" {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(got.Control, "Source: ledger (2.0-1)\n") || !strings.Contains(got.Control, "Depends: libc6\n") || strings.Contains(got.Control, "\n\n") {
		t.Errorf("control %q", got.Control)
	}
}

// ar packs members as Debian packages have them.
func ar(members ...string) []byte {
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for i := 0; i < len(members); i += 2 {
		body := members[i+1]
		h := []byte(strings.Repeat(" ", 60))
		copy(h, members[i])
		copy(h[16:], "0")
		copy(h[28:], "0")
		copy(h[34:], "0")
		copy(h[40:], "100644")
		copy(h[48:], itoa(len(body)))
		copy(h[58:], "`\n")
		b.Write(h)
		b.WriteString(body)
		if len(body)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

func itoa(n int) string {
	s := ""
	for ; n > 0; n /= 10 {
		s = string(rune('0'+n%10)) + s
	}
	return s
}

func TestReadDeb_EveryCompressionOfTheControlArchive(t *testing.T) {
	control := archivetest.Pack(t, archivetest.File{Header: tar.Header{Name: "./control", Mode: 0o644}, Body: "Package: ledger\nVersion: 1.0\nArchitecture: all\nEssential: yes\nDescription: books\n more of\n .\n them\n"})
	for _, how := range archivetest.Compressions() {
		got, err := payload.ReadDeb(bytes.NewReader(ar("debian-binary", "2.0\n", strings.TrimSuffix("control.tar."+how, "."), string(archivetest.Compress(t, how, control)))))
		if err != nil || got.Summary != "books" || strings.Contains(got.Control, "Essential") {
			t.Errorf("%q: %+v %v", how, got, err)
		}
	}
}

func TestReadDeb_WhatIsUnsoundIsRefused(t *testing.T) {
	member := func(text string) []byte {
		return ar("debian-binary", "2.0\n", "control.tar", string(archivetest.Pack(t, archivetest.File{Header: tar.Header{Name: "control", Mode: 0o644}, Body: text})))
	}
	for name, b := range map[string][]byte{
		"empty":              nil,
		"no package":         []byte("hello"),
		"cut off":            deb(t, debrepo.Package{Name: "ledger", Version: "1"})[:100],
		"no control":         ar("debian-binary", "2.0\n", "data.tar", "x"),
		"two stanzas":        member("Package: a1\nVersion: 1\nArchitecture: all\n\nPackage: b\n"),
		"twice":              member("Package: a1\nVersion: 1\nArchitecture: all\nVersion: 2\n"),
		"no version":         member("Package: a1\nArchitecture: all\n"),
		"escape":             member("Package: a1\nVersion: 1\nArchitecture: all\nDescription: \x1b[2J\n"),
		"source":             member("Package: a1\nVersion: 1\nArchitecture: all\nSource: ../x\n"),
		"begins in a middle": member(" x\nPackage: a1\n"),
	} {
		if _, err := payload.ReadDeb(bytes.NewReader(b)); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckTree_AcceptsTreesInEveryCompression(t *testing.T) {
	b := archivetest.Pack(t, archivetest.Entry("./", tar.TypeDir, "", 0o755),
		archivetest.File{Header: tar.Header{Name: "./bin/ledger", Mode: 0o755}, Body: "#!"}, archivetest.Entry("bin/", tar.TypeDir, "", 0o755),
		archivetest.Entry("bin/l", tar.TypeSymlink, "../lib/x", 0o777), archivetest.Entry("bin/again", tar.TypeLink, "bin/ledger", 0o644))
	for _, how := range archivetest.Compressions() {
		p := archivetest.Compress(t, how, b)
		if err := payload.CheckTree(t.Context(), bytes.NewReader(p), int64(len(p))); err != nil {
			t.Errorf("%q: %v", how, err)
		}
		if f, ok, err := payload.Detect(bufio.NewReader(bytes.NewReader(p))); f != catalog.Tar || !ok || err != nil {
			t.Errorf("%q is %q", how, f)
		}
	}
}

func TestCheckTree_WhatDevicesWouldRefuseIsRefused(t *testing.T) {
	for name, list := range archivetest.Hostile() {
		b := archivetest.Pack(t, list...)
		if err := payload.CheckTree(t.Context(), bytes.NewReader(b), int64(len(b))); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckTree_ABombIsRefused(t *testing.T) {
	b := archivetest.Compress(t, "zst", archivetest.Pack(t, archivetest.File{Header: tar.Header{Name: "zeros", Mode: 0o644}, Body: strings.Repeat("\x00", 65<<20)}))
	if err := payload.CheckTree(t.Context(), bytes.NewReader(b), int64(len(b))); !errors.Is(err, fault.Invalid) {
		t.Errorf("%d bytes: %v", len(b), err)
	}
}

func TestCheckTree_ACompressionThatAsksForMuchMemoryIsRefused(t *testing.T) {
	b := archivetest.Compress(t, "xz", archivetest.Pack(t, archivetest.File{Header: tar.Header{Name: "a", Mode: 0o644}, Body: "x"}))
	at := bytes.Index(b[12:], []byte{0x21, 1}) + 12
	b[at+2] = 37 // 1.5 GiB
	if err := payload.CheckTree(t.Context(), bytes.NewReader(b), int64(len(b))); err == nil || !strings.Contains(err.Error(), "memory") {
		t.Errorf("%v", err)
	}
}

func TestCheckTree_AnEndlessHeaderIsRefusedWithoutAPanic(t *testing.T) {
	b := append([]byte("\xfd7zXZ\x00\x00\x04\x00\x00\x00\x00\x02\xc0"), bytes.Repeat([]byte{0x80}, 100)...)
	if err := payload.CheckTree(t.Context(), bytes.NewReader(b), int64(len(b))); !errors.Is(err, fault.Invalid) {
		t.Errorf("%v", err)
	}
}

func FuzzReadDeb(f *testing.F) {
	b, err := debrepo.Deb(debrepo.Package{Name: "ledger", Version: "1"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := payload.ReadDeb(bytes.NewReader(b)); err == nil && (d.Package == "" || strings.Contains(d.Control, "\n\n")) {
			t.Errorf("%+v", d)
		}
	})
}

func FuzzCheckTree(f *testing.F) {
	f.Add([]byte("\x1f\x8b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = payload.CheckTree(t.Context(), bytes.NewReader(b), int64(len(b)))
	})
}
