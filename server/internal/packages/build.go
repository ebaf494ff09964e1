package packages

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"

	"assent/catalog"
	"assent/client"
	"assent/content"
)

// kit is a file in the making: a shell script with an archive behind it.
type kit struct {
	Title string
	Feed  string
	Build client.PackageBuild
	Enrol *enrolment // nil: it does not enrol
}

// enrolment is what brings a machine in.
type enrolment struct {
	Server string // https://host:port
	CA     string // SHA-256 of the server's certificate authority: the token carries it, this is for people
	Group  string
	ID     string // of the token
	Token  string // its text, a secret
	Until  time.Time
}

//go:embed install.sh
var installer string

// mark is the second line of every script: it tells that what runs is the file itself.
const mark = "Assent installation package, format 1"

// head is the script. It ends with a line feed, and the archive begins behind it.
func (k kit) head() string {
	skip := 0
	for { // the script says its own length, which depends on how many digits that has
		text := k.script(skip)
		if len(text) == skip {
			return text
		}
		skip = len(text)
	}
}

func (k kit) script(skip int) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("#!/bin/sh\n# %s", mark)
	line("set -eu\numask 022")
	line("kit_mark=%s", word(mark))
	line("kit_title=%s", word(k.Title))
	line("kit_platform=%s", word(k.Build.Arch))
	line("kit_skip=%d", skip)
	if e := k.Enrol; e != nil {
		line("kit_server=%s\nkit_ca=%s\nkit_group=%s\nkit_until=%s\nkit_token=%s", word(e.Server), word(e.CA), word(e.Group), word(e.Until.UTC().Format("2006-01-02 15:04 UTC")), word(e.Token))
	} else {
		line("kit_token=''")
	}
	line("\nkit_sums() {\n\tcat <<'SUMS'")
	for i, f := range k.Build.Files {
		line("%s  %s", f.SHA256, member(i, f))
	}
	line("SUMS\n}\n\nkit_list() {")
	for _, f := range k.Build.Files {
		line("\techo %s", word("  "+f.Name+" "+f.Version+" "+f.Arch+"  SHA-256 "+f.SHA256))
	}
	if e := k.Enrol; e != nil {
		line("\techo %s", word(fmt.Sprintf("  It enrols one machine into %q with %s (CA %s), with the token %s until %s.", e.Group, e.Server, e.CA, e.ID, e.Until.UTC().Format("2006-01-02 15:04 UTC"))))
	}
	line("}\n\nkit_install() {\n%s}\n", k.steps())
	b.WriteString(installer)
	return b.String()
}

// steps installs the files in their order; packages that follow each other go into one transaction.
func (k kit) steps() string {
	var b, debs, have strings.Builder
	flush := func() {
		if debs.Len() > 0 {
			fmt.Fprintf(&b, "\tdebs%s\n%s", debs.String(), have.String())
			debs.Reset()
			have.Reset()
		}
	}
	for i, f := range k.Build.Files {
		if !f.Format.Side() {
			fmt.Fprintf(&debs, " ./%s", member(i, f))
			fmt.Fprintf(&have, "\thave %s %s\n", word(f.Name), word(f.Version))
			continue
		}
		flush()
		verb := "tree"
		if f.Format == catalog.ContentFile {
			verb = "data"
		}
		fmt.Fprintf(&b, "\t%s %s %s %s %s\n", verb, word(k.Feed), word(f.Name), word(f.Version), member(i, f))
	}
	flush()
	return b.String()
}

// member is the name of a file in the archive. It is made of nothing that anybody else chose.
func member(i int, f client.PackageFile) string {
	if f.Format.Side() {
		return fmt.Sprintf("%d.payload", i+1)
	}
	return fmt.Sprintf("%d.deb", i+1)
}

// word makes any text one word of a shell.
func word(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

const block = 512 // bytes of a block of tar

// part is a piece of the file: bytes, or an open payload.
type part struct {
	bytes []byte
	file  content.File
	want  string // SHA-256 of file
}

// assemble puts a kit and its open payloads, in the order of its files, together. The reader fails at the end of a payload
// that is not the one it should be; closing it closes the payloads.
func assemble(k kit, payloads []content.File) (io.ReadCloser, int64, error) {
	a := &assembly{parts: []part{{bytes: []byte(k.head())}}}
	for i, f := range k.Build.Files {
		header, err := header(member(i, f), f.Size)
		if err != nil {
			return nil, 0, err
		}
		padding := make([]byte, -f.Size&(block-1))
		a.parts = append(a.parts, part{bytes: header}, part{file: payloads[i], want: f.SHA256}, part{bytes: padding})
		a.size += f.Size
	}
	a.parts = append(a.parts, part{bytes: make([]byte, 2*block)})
	for _, p := range a.parts {
		a.size += int64(len(p.bytes))
	}
	return a, a.size, nil
}

// header is what stands before a file in the archive. It holds no time and no owner: the same files make the same bytes.
func header(name string, size int64) ([]byte, error) {
	var b bytes.Buffer
	err := tar.NewWriter(&b).WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, Typeflag: tar.TypeReg})
	if err != nil {
		return nil, fmt.Errorf("make the archive of a package: %w", err)
	}
	return b.Bytes(), nil
}

// assembly reads its parts one after another.
type assembly struct {
	parts []part
	size  int64
	at    int
	from  io.Reader
	sum   hash.Hash
}

// Read implements io.Reader.
func (a *assembly) Read(p []byte) (int, error) {
	for a.at < len(a.parts) {
		if a.from == nil {
			a.open()
		}
		n, err := a.from.Read(p)
		if n > 0 && a.parts[a.at].file != nil {
			a.sum.Write(p[:n])
		}
		if err == io.EOF { //nolint:errorlint // io.Reader's own contract
			err = a.end()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.EOF
}

func (a *assembly) open() {
	if f := a.parts[a.at].file; f != nil {
		a.from, a.sum = f, sha256.New()
		return
	}
	a.from = bytes.NewReader(a.parts[a.at].bytes)
}

// end goes to the next part.
func (a *assembly) end() error {
	if p := a.parts[a.at]; p.file != nil && hex.EncodeToString(a.sum.Sum(nil)) != p.want {
		return fmt.Errorf("the server's copy of the file %s: %w", p.want, content.ErrMismatch)
	}
	a.at, a.from = a.at+1, nil
	return nil
}

// Close implements io.Closer.
func (a *assembly) Close() error {
	var first error
	for _, p := range a.parts {
		if p.file == nil {
			continue
		}
		if err := p.file.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}
