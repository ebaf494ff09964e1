// Package population makes up fleets for measurements: what each device is, has and could take, drawn from the
// package lists of a real Debian archive, those of this machine.
//
// Guarantees: the same archive and the same Size give the same fleet; names, versions, sizes and digests of files are
// the archive's, and what is installed below an update is a version that dpkg orders below it. It opens no network
// connection. It does not resolve dependencies: which packages stand together on a device is by chance.
package population

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"assent/catalog"
)

// Source is a source package of the archive with the binary packages that are built from it.
type Source struct {
	Name, Version string
	Items         []Item
}

// Item is one binary package.
type Item struct {
	catalog.Item
	Summary string
}

// catFile is apt's own reader of its lists, whatever they are compressed with.
const catFile = "/usr/lib/apt/apt-helper"

// maxItems bounds what one source brings: a device seldom has more packages of one source.
const maxItems = 4

// ReadArchive reads the package lists that this machine's apt has, sorted by name.
func ReadArchive(ctx context.Context) ([]Source, error) {
	files, err := filepath.Glob("/var/lib/apt/lists/*_Packages*")
	if err != nil {
		return nil, fmt.Errorf("look for package lists: %w", err)
	}
	if len(files) == 0 {
		return nil, errors.New("apt has no package lists here; run `apt-get update` once")
	}
	found := map[string]*Source{}
	for _, f := range files {
		text, err := exec.CommandContext(ctx, catFile, "cat-file", f).Output()
		if err != nil {
			return nil, fmt.Errorf("read the package list %s: %w", filepath.Base(f), err)
		}
		if err := readPackages(bytes.NewReader(text), found); err != nil {
			return nil, fmt.Errorf("read the package list %s: %w", filepath.Base(f), err)
		}
	}
	out := make([]Source, 0, len(found))
	for _, s := range found {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b Source) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// readPackages adds the binary packages of one list to their sources. Of several versions of a source the first seen stays.
func readPackages(r io.Reader, into map[string]*Source) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), 4<<20)
	stanza := map[string]string{}
	for lines.Scan() {
		line := lines.Text()
		if line == "" {
			add(stanza, into)
			clear(stanza)
			continue
		}
		if name, value, ok := strings.Cut(line, ": "); ok && line[0] != ' ' {
			stanza[name] = value
		}
	}
	add(stanza, into)
	return lines.Err()
}

func add(f map[string]string, into map[string]*Source) {
	size, err := strconv.ParseInt(f["Size"], 10, 64)
	if f["Package"] == "" || f["SHA256"] == "" || err != nil {
		return
	}
	name, version := f["Package"], f["Version"]
	if source := f["Source"]; source != "" { // "glibc" or "glibc (2.36-9)" where the versions differ
		var in string
		name, in, _ = strings.Cut(source, " ")
		if in = strings.Trim(in, "()"); in != "" {
			version = in
		}
	}
	s := into[name]
	if s == nil {
		s = &Source{Name: name, Version: version}
		into[name] = s
	}
	if s.Version != version || len(s.Items) == maxItems {
		return
	}
	s.Items = append(s.Items, Item{Summary: f["Description"],
		Item: catalog.Item{Name: f["Package"], Arch: f["Architecture"], Version: f["Version"], Size: size, SHA256: f["SHA256"]}})
}
