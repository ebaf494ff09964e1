package packages

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"assent/catalog"
	"assent/client"
	"assent/fault"
	"assent/pkgver"
	"assent/trust/payload"
)

// AgentName is the Debian package, and the application of a feed, that is Assent's own agent.
const AgentName = "assent-agent"

// localNamespace is the publisher of what an administrator put onto the server.
const localNamespace = "assent"

// maxLocal bounds the agent's package, bytes; it has less than 10 MiB.
const maxLocal = 256 << 20

// local is one build of the agent that lies on the server.
type local struct {
	item catalog.Item
	path string
}

// locals lists the builds of the agent in the server's directory of packages. What cannot be read as a Debian package of the
// agent is an error that names the file: an administrator put it there.
func (s *Service) locals() ([]local, error) {
	paths, err := filepath.Glob(filepath.Join(s.dir, AgentName+"_*.deb"))
	if err != nil {
		return nil, fmt.Errorf("list the agent's packages: %w", err)
	}
	var out []local
	for _, path := range paths {
		l, err := readLocal(path)
		if err != nil {
			return nil, fault.New(fault.Conflict, "agent_unreadable", "The file %s in the server's directory of packages is no Debian package of the agent.", filepath.Base(path)).Because(err)
		}
		out = append(out, l)
	}
	return out, nil
}

func readLocal(path string) (local, error) {
	f, err := os.Open(path)
	if err != nil {
		return local{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return local{}, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxLocal {
		return local{}, errors.New("it is no file of a sensible size")
	}
	deb, err := payload.ReadDeb(f)
	if err != nil {
		return local{}, err
	}
	if deb.Package != AgentName {
		return local{}, fmt.Errorf("it is the package %q", deb.Package)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return local{}, err
	}
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(f, maxLocal))
	return local{path: path, item: catalog.Item{Name: deb.Package, Arch: deb.Arch, Version: deb.Version, Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}}, err
}

// newest is the release of the agent that lies on the server.
func newest(all []local) (catalog.Release, error) {
	r := catalog.Release{Software: catalog.Software{Ecosystem: string(catalog.Deb), Namespace: localNamespace, Name: AgentName}}
	for _, l := range all {
		if order, err := pkgver.Compare(r.Ecosystem, l.item.Version, r.Version); r.Version == "" || err == nil && order > 0 {
			r.Version = l.item.Version
		}
	}
	if r.Version == "" {
		return r, fault.New(fault.Conflict, "agent_missing", "There is no package of the agent on the server; put %s_VERSION_ARCH.deb into the directory \"packages\" of its data, or use an update of a feed.", AgentName)
	}
	return r, nil
}

// isLocal reports whether a package is made from what lies on the server.
func isLocal(row client.PackageRow) bool { return row.Feed == "" && row.Update.Name == AgentName }

// withLocal says of a package of the agent on the server what is in it now.
func (s *Service) withLocal(row client.PackageRow) client.PackageRow {
	if !isLocal(row) {
		return row
	}
	row.Class, row.Format, row.Enrols = catalog.Component, catalog.Deb, true
	all, err := s.locals()
	for _, l := range all {
		if l.item.Version != row.Update.Version {
			continue
		}
		row.Builds = append(row.Builds, client.PackageBuild{Arch: l.item.Arch, Size: l.item.Size, Files: []client.PackageFile{{Update: row.Update, Item: l.item}},
			File: fmt.Sprintf("%s-%s-%s.sh", AgentName, strings.ReplaceAll(l.item.Version, ":", "%3a"), l.item.Arch)})
	}
	slices.SortFunc(row.Builds, func(a, b client.PackageBuild) int { return strings.Compare(a.Arch, b.Arch) })
	switch {
	case err != nil:
		row.Refused = &client.Refusal{Code: fault.From(err).Code, Message: fault.From(err).Message}
	case len(row.Builds) == 0:
		row.Refused = &client.Refusal{Code: "agent_missing", Message: fmt.Sprintf("The agent's package %s does not lie on the server any more.", row.Update.Version)}
	}
	return row
}

// file is a file of the disk as content.File.
type file struct {
	*os.File
	size int64
}

// Size implements content.File.
func (f file) Size() int64 { return f.size }

// openLocal opens the build of the agent with a digest.
func (s *Service) openLocal(want catalog.Item) (file, error) {
	all, err := s.locals()
	if err != nil {
		return file{}, err
	}
	i := slices.IndexFunc(all, func(l local) bool { return l.item == want })
	if i < 0 {
		return file{}, fs.ErrNotExist
	}
	f, err := os.Open(all[i].path)
	return file{File: f, size: want.Size}, err
}
