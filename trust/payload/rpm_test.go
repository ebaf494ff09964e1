package payload_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"assent/fault"
	"assent/lab"
	"assent/trust/payload"
)

func rpm(t testing.TB, p lab.RPM) []byte {
	t.Helper()
	b, err := lab.BuildRPM(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReadRPM_SaysOfARealPackageWhatRpmbuildPutIn(t *testing.T) {
	got, err := payload.ReadRPM(bytes.NewReader(rpm(t, lab.RPM{Name: "libledger", Version: "2.0~rc1", Release: "3.fc40", Epoch: 2, Summary: "Books",
		Requires: []string{"ledger-data >= 1.0", "/bin/sh", "(a if b)"}, Provides: []string{"books(api) = 4"}, Post: "true"})))
	if err != nil {
		t.Fatal(err)
	}
	if got.Package != "libledger" || got.Version != "2:2.0~rc1-3.fc40" || got.Arch != "noarch" || got.Summary != "Books" {
		t.Errorf("%+v", got)
	}
	if got.Source != "libledger" || got.SourceVersion != "2:2.0~rc1-3.fc40" {
		t.Errorf("source %s %s", got.Source, got.SourceVersion)
	}
	if got.Control != "Provides: books(api), libledger\nRequires: /bin/sh, ledger-data\n" {
		t.Errorf("control %q", got.Control)
	}
}

func TestSourceOf_TakesOnlyNamesOfSourcePackages(t *testing.T) {
	if name, version, ok := payload.SourceOf("my-ledger-1.0-1.fc40.src.rpm"); name != "my-ledger" || version != "1.0-1.fc40" || !ok {
		t.Errorf("%q %q %v", name, version, ok)
	}
	for _, s := range []string{"", "(none)", "ledger", "ledger-1.0-1.rpm", "1.0-1.src.rpm", "-1.0-1.src.rpm", "ledger-1.0-.src.rpm", "ledger- -1.src.rpm"} {
		if name, version, ok := payload.SourceOf(s); ok {
			t.Errorf("%q was read as %q %q", s, name, version)
		}
	}
}

// value is one value of a header that a test makes.
type value struct {
	tag, kind uint32
	texts     []string
	count     uint32 // other than there are texts
	at        uint32 // elsewhere than they are
}

func text(tag uint32, s string) value { return value{tag: tag, kind: 6, texts: []string{s}} }

// header is a header as it stands in a file.
func header(values ...value) []byte {
	var index, store []byte
	for _, v := range values {
		at, count := v.at, v.count
		if at == 0 {
			at = uint32(len(store))
		}
		if count == 0 {
			count = uint32(len(v.texts))
		}
		for _, n := range []uint32{v.tag, v.kind, at, count} {
			index = binary.BigEndian.AppendUint32(index, n)
		}
		for _, s := range v.texts {
			store = append(append(store, s...), 0)
		}
	}
	out := append([]byte("\x8e\xad\xe8\x01"), 0, 0, 0, 0)
	out = binary.BigEndian.AppendUint32(out, uint32(len(values)))
	out = binary.BigEndian.AppendUint32(out, uint32(len(store)))
	return append(append(out, index...), store...)
}

// made is a package of a header, with an empty one for signatures.
func made(values ...value) []byte {
	lead := make([]byte, 96)
	copy(lead, "\xed\xab\xee\xdb\x03\x00\x00\x00")
	return append(append(lead, header()...), header(values...)...)
}

func sound() []value {
	return []value{text(1000, "ledger"), text(1001, "1.0"), text(1002, "1"), text(1022, "x86_64"), text(1044, "ledger-1.0-1.src.rpm")}
}

func TestReadRPM_WhatIsUnsoundIsRefused(t *testing.T) {
	if got, err := payload.ReadRPM(bytes.NewReader(made(sound()...))); err != nil || got.Version != "1.0-1" || got.Arch != "x86_64" {
		t.Fatalf("the sound one: %+v %v", got, err)
	}
	source := made(sound()...)
	source[7] = 1
	claims := func(entries, store uint32) []byte {
		b := made()
		b = b[:len(b)-8]
		return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, entries), store)
	}
	with := func(v value) []byte { return made(append(sound()[:4:4], v)...) }
	for name, b := range map[string][]byte{
		"empty":            nil,
		"no package":       []byte("hello"),
		"source package":   source,
		"cut off":          made(sound()...)[:150],
		"no header":        made(sound()...)[:112],
		"many entries":     claims(1<<20, 0),
		"large store":      claims(0, 1<<30),
		"claims more":      claims(0, 1<<20),
		"no name":          made(sound()[1:]...),
		"no release":       made(append(sound()[:2:2], sound()[3:]...)...),
		"twice":            made(append(sound(), text(1000, "other"))...),
		"version":          made(text(1000, "ledger"), text(1001, "1.0-2"), text(1002, "1"), text(1022, "noarch")),
		"bad source":       with(text(1044, "../x")),
		"beyond the store": with(value{tag: 1044, kind: 6, texts: []string{"x"}, at: 1 << 20}),
		"does not end":     with(value{tag: 1047, kind: 8, texts: []string{"x"}, count: 9}),
		"absurd count":     with(value{tag: 1047, kind: 8, texts: []string{"x"}, count: 1 << 31}),
		"other type":       with(value{tag: 1047, kind: 4, texts: []string{"xxxx"}}),
		"epoch":            with(value{tag: 1003, kind: 4, texts: []string{"x"}, count: 1}),
	} {
		if got, err := payload.ReadRPM(bytes.NewReader(b)); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
}

func FuzzReadRPM(f *testing.F) {
	f.Add(made(sound()...))
	f.Add(made(append(sound(), value{tag: 1049, kind: 8, texts: []string{"a", "b"}})...))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := payload.ReadRPM(bytes.NewReader(b))
		if err == nil && (p.Package == "" || p.Version == "" || strings.Contains(p.Control, "\n\n") || strings.ContainsAny(p.Summary, "\n\x00")) {
			t.Errorf("%+v", p)
		}
	})
}
