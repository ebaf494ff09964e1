package payload

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"strconv"
	"strings"

	"assent/pkgver"
)

// Caps on an RPM package's headers: real ones stay below a tenth of this.
const (
	maxRPMIndex = 1 << 16  // entries
	maxRPMStore = 32 << 20 // bytes
	maxCapables = 64 << 10 // bytes of one list of names that is published
)

// RPM is what an RPM package says of itself. Versions are [epoch:]version-release, without an epoch of zero.
type RPM struct {
	Package, Version, Arch string
	Source, SourceVersion  string // of the source package it was built from
	Summary                string // one line
	Control                string // what it provides and requires, by name: a stanza of Provides and Requires
}

// The tags of a header that are read, and the types of their values.
const (
	tagName           = 1000
	tagVersion        = 1001
	tagRelease        = 1002
	tagEpoch          = 1003
	tagSummary        = 1004
	tagArch           = 1022
	tagSourceRPM      = 1044
	tagProvideName    = 1047
	tagRequireName    = 1049
	typeInt32         = 4
	typeString        = 6
	typeStrings       = 8
	typeI18N          = 9
	leadSize          = 96
	headerMagic       = "\x8e\xad\xe8\x01"
	rpmMagic          = "\xed\xab\xee\xdb"
	sourceRPMType     = 1
	sourceRPMSuffix   = ".src.rpm"
	noSourceRPMSuffix = ".nosrc.rpm"
)

// ReadRPM reads an RPM package up to its header. The content is not looked at: what binds it is the digest of the file.
func ReadRPM(r io.Reader) (RPM, error) {
	lead := make([]byte, leadSize)
	if _, err := io.ReadFull(r, lead); err != nil || !bytes.HasPrefix(lead, []byte(rpmMagic)) {
		return RPM{}, bad("it is no RPM package")
	}
	if binary.BigEndian.Uint16(lead[6:]) == sourceRPMType {
		return RPM{}, bad("it is a source package, which no device installs")
	}
	// The first header holds signatures, and is padded.
	signatures, err := readRPMHeader(r)
	if err == nil {
		_, err = io.CopyN(io.Discard, r, int64(-len(signatures.store)&7))
	}
	var h rpmHeader
	if err == nil {
		h, err = readRPMHeader(r)
	}
	if err != nil {
		return RPM{}, refuseRead("the RPM package", err)
	}
	return h.describe()
}

// rpmHeader is an index of tags, and the values that it points to.
type rpmHeader struct {
	index map[uint32]rpmEntry
	store []byte
}

type rpmEntry struct{ kind, offset, count uint32 }

func readRPMHeader(r io.Reader) (h rpmHeader, err error) {
	intro := make([]byte, 16)
	if _, err := io.ReadFull(r, intro); err != nil {
		return h, err
	}
	entries, size := binary.BigEndian.Uint32(intro[8:]), binary.BigEndian.Uint32(intro[12:])
	if string(intro[:4]) != headerMagic || entries > maxRPMIndex || size > maxRPMStore {
		return h, bad("it is no sound RPM package")
	}
	index := make([]byte, 16*entries)
	if _, err := io.ReadFull(r, index); err != nil {
		return h, err
	}
	// A copy that grows with what is really there: a header that only claims to be large costs nothing.
	var store bytes.Buffer
	if _, err := io.CopyN(&store, r, int64(size)); err != nil {
		return h, err
	}
	h = rpmHeader{index: map[uint32]rpmEntry{}, store: store.Bytes()}
	for e := range slices.Chunk(index, 16) {
		tag := binary.BigEndian.Uint32(e)
		if _, twice := h.index[tag]; twice {
			return h, bad("its header says something twice (tag %d)", tag)
		}
		h.index[tag] = rpmEntry{binary.BigEndian.Uint32(e[4:]), binary.BigEndian.Uint32(e[8:]), binary.BigEndian.Uint32(e[12:])}
	}
	return h, nil
}

// strings are the values of a tag that holds texts; none where the tag is missing. A value that does not end is an error.
func (h rpmHeader) strings(tag uint32) ([]string, error) {
	e, ok := h.index[tag]
	if !ok {
		return nil, nil
	}
	if e.kind != typeString && e.kind != typeStrings && e.kind != typeI18N || uint64(e.offset) > uint64(len(h.store)) || uint64(e.count) > uint64(len(h.store)) {
		return nil, bad("its header is not sound (tag %d)", tag)
	}
	rest := h.store[e.offset:]
	var out []string
	for range e.count {
		value, after, ended := bytes.Cut(rest, []byte{0})
		if !ended {
			return nil, bad("its header is not sound (tag %d)", tag)
		}
		out, rest = append(out, string(value)), after
	}
	return out, nil
}

// text is the first value of a tag; empty where it is missing.
func (h rpmHeader) text(tag uint32) (string, error) {
	all, err := h.strings(tag)
	if err != nil || len(all) == 0 {
		return "", err
	}
	return all[0], nil
}

// epoch is the number before a version; zero where there is none.
func (h rpmHeader) epoch() (uint32, error) {
	e, ok := h.index[tagEpoch]
	if !ok {
		return 0, nil
	}
	if e.kind != typeInt32 || e.count != 1 || uint64(e.offset)+4 > uint64(len(h.store)) {
		return 0, bad("its header is not sound (epoch)")
	}
	return binary.BigEndian.Uint32(h.store[e.offset:]), nil
}

// describe takes from a header what Assent needs.
func (h rpmHeader) describe() (RPM, error) {
	var p RPM
	var version, release, source string
	for tag, to := range map[uint32]*string{tagName: &p.Package, tagVersion: &version, tagRelease: &release, tagArch: &p.Arch, tagSourceRPM: &source, tagSummary: &p.Summary} {
		var err error
		if *to, err = h.text(tag); err != nil {
			return RPM{}, err
		}
	}
	epoch, err := h.epoch()
	if err != nil {
		return RPM{}, err
	}
	if p.Package == "" || version == "" || release == "" || p.Arch == "" {
		return RPM{}, bad("its header lacks a name, a version, a release or an architecture")
	}
	p.Version = withEpoch(epoch, version+"-"+release)
	if _, err := pkgver.ParseRPM(p.Version); err != nil {
		return RPM{}, bad("its %v", err)
	}
	p.Source, p.SourceVersion = p.Package, p.Version
	if source != "" {
		name, built, ok := SourceOf(source)
		if !ok {
			return RPM{}, bad("its header names no sound source package: %.80q", source)
		}
		p.Source, p.SourceVersion = name, withEpoch(epoch, built)
	}
	p.Summary = flat(p.Summary)
	p.Control, err = h.control()
	return p, err
}

func withEpoch(epoch uint32, version string) string {
	if epoch == 0 {
		return version
	}
	return strconv.FormatUint(uint64(epoch), 10) + ":" + version
}

// SourceOf takes the name of a source package file ("ledger-1.0-1.src.rpm") apart; ok is false for what is none. Such names
// hold no epoch.
func SourceOf(file string) (name, version string, ok bool) {
	base, found := strings.CutSuffix(file, sourceRPMSuffix)
	if !found {
		base, found = strings.CutSuffix(file, noSourceRPMSuffix)
	}
	release := strings.LastIndexByte(base, '-')
	if !found || release <= 0 {
		return "", "", false
	}
	at := strings.LastIndexByte(base[:release], '-')
	if at <= 0 || pkgver.Check("rpm", base[at+1:]) != nil {
		return "", "", false
	}
	return base[:at], base[at+1:], true
}

// control lists what the package provides and requires, by name. It is only for telling which packages of one release
// need each other; dnf judges by the packages themselves. Lists that are too long to be published are left out.
func (h rpmHeader) control() (string, error) {
	var b strings.Builder
	for _, list := range []struct {
		field string
		tag   uint32
	}{{"Provides", tagProvideName}, {"Requires", tagRequireName}} {
		names, err := h.strings(list.tag)
		if err != nil {
			return "", err
		}
		names = slices.DeleteFunc(names, func(s string) bool {
			return s == "" || strings.HasPrefix(s, "rpmlib(") || s[0] == '(' || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' })
		})
		slices.Sort(names)
		if text := strings.Join(slices.Compact(names), ", "); text != "" && len(text) <= maxCapables {
			b.WriteString(list.field + ": " + text + "\n")
		}
	}
	return b.String(), nil
}
