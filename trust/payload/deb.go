package payload

import (
	"archive/tar"
	"bufio"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"assent/archive"
)

const (
	arMagic    = "!<arch>\n"
	maxControl = 4 << 20 // bytes of a package's control archive, unpacked
)

// Deb is what a Debian package says of itself.
type Deb struct {
	Package, Version, Arch string
	Source, SourceVersion  string // of the source package it was built from
	Summary                string // first line of the description
	Control                string // one stanza of the fields that a local repository needs
}

// fields are the control fields that are published, in this order. Not among them: those that make apt install a package
// unasked or hold on to it (Essential and the like), and those that say where its file lies.
var fields = []string{"Package", "Source", "Version", "Architecture", "Maintainer", "Installed-Size", "Multi-Arch", "Pre-Depends", "Depends",
	"Recommends", "Suggests", "Enhances", "Conflicts", "Breaks", "Replaces", "Provides", "Section", "Priority", "Homepage", "Description"}

var (
	fieldName  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,63}$`)
	sourceText = regexp.MustCompile(`^([a-z0-9][a-z0-9+.-]+)(?: \(([^()\s]+)\))?$`)
)

// ReadDeb reads a Debian package up to its control file.
func ReadDeb(r io.Reader) (Deb, error) {
	text, err := controlFile(r)
	if err != nil {
		return Deb{}, refuseRead("the Debian package", err)
	}
	return parseControl(text)
}

// refuseRead keeps refusals and turns other errors of reading into one.
func refuseRead(what string, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return bad("%s ends too early", what)
	}
	return err
}

// controlFile finds the member control.tar.* and the file control in it.
func controlFile(r io.Reader) (string, error) {
	magic := make([]byte, len(arMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != arMagic {
		return "", bad("it is no Debian package")
	}
	for range 8 {
		head := make([]byte, 60)
		if _, err := io.ReadFull(r, head); err != nil {
			return "", err
		}
		name := strings.TrimRight(string(head[:16]), " /")
		size, err := strconv.ParseInt(strings.TrimSpace(string(head[48:58])), 10, 64)
		if err != nil || size < 0 || string(head[58:]) != "`\n" {
			return "", bad("it is no sound Debian package")
		}
		if strings.HasPrefix(name, "control.tar") {
			return controlMember(io.LimitReader(r, size))
		}
		if strings.HasPrefix(name, "data.tar") {
			break
		}
		if _, err := io.CopyN(io.Discard, r, size+size%2); err != nil {
			return "", err
		}
	}
	return "", bad("it has no control archive")
}

func controlMember(r io.Reader) (string, error) {
	z, done, err := archive.Decompress(bufio.NewReader(r))
	if err != nil {
		return "", bad("its control archive cannot be unpacked (%v)", err)
	}
	defer done()
	members := tar.NewReader(archive.Capped(z, maxControl))
	for {
		h, err := members.Next()
		if errors.Is(err, io.EOF) {
			return "", bad("its control archive has no control file")
		}
		if err != nil {
			return "", bad("its control archive cannot be read (%v)", err)
		}
		if strings.TrimPrefix(h.Name, "./") == "control" && h.Typeflag == tar.TypeReg {
			b, err := io.ReadAll(members)
			if err != nil {
				return "", bad("its control file cannot be read (%v)", err)
			}
			return string(b), nil
		}
	}
}

// parseControl reads one stanza. What could be taken for something else is refused and not repaired.
func parseControl(text string) (Deb, error) {
	values, err := stanza(text)
	if err != nil {
		return Deb{}, err
	}
	d := Deb{Package: values["package"], Version: values["version"], Arch: values["architecture"]}
	if d.Package == "" || d.Version == "" || d.Arch == "" {
		return Deb{}, bad("its control file lacks a package, a version or an architecture")
	}
	d.Source, d.SourceVersion = d.Package, d.Version
	if s := values["source"]; s != "" {
		m := sourceText.FindStringSubmatch(s)
		if m == nil {
			return Deb{}, bad("its control file names no sound source package: %.80q", s)
		}
		d.Source = m[1]
		if m[2] != "" {
			d.SourceVersion = m[2]
		}
	}
	d.Summary, _, _ = strings.Cut(values["description"], "\n")
	var b strings.Builder
	for _, name := range fields {
		if v := values[strings.ToLower(name)]; v != "" {
			b.WriteString(name + ": " + v + "\n")
		}
	}
	d.Control = b.String()
	return d, nil
}

// stanza is one stanza by lower-case field name. Continued lines of a description stay lines; others are joined.
func stanza(text string) (map[string]string, error) {
	out := map[string]string{}
	current := ""
	odd := func(r rune) bool { return r != '\t' && r != ' ' && !unicode.IsPrint(r) }
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		line = strings.TrimSuffix(line, "\n")
		if !utf8.ValidString(line) || strings.ContainsFunc(line, odd) || strings.TrimSpace(line) == "" {
			return nil, bad("its control file is not one stanza of text")
		}
		if line[0] == ' ' || line[0] == '\t' {
			switch current {
			case "":
				return nil, bad("its control file begins in the middle of a field")
			case "description":
				out[current] += "\n" + line
			default:
				out[current] = flat(out[current] + line)
			}
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		key := strings.ToLower(name)
		if _, twice := out[key]; !ok || twice || !fieldName.MatchString(name) {
			return nil, bad("its control file has a line that is no field, or a field twice: %.80q", line)
		}
		current, out[key] = key, flat(value)
	}
	return out, nil
}

func flat(s string) string { return strings.Join(strings.Fields(s), " ") }
