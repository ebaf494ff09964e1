package stage

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"assent/lab/debrepo"
)

// Vendor is somebody who publishes applications in a signed feed. The folder lies on the lab's web server.
type Vendor struct {
	Name string // of the feed
	Dir  string // its work tree, with its keys
	URL  string // where the server finds the feed
	out  string
	made string

	stage *Stage
}

// NewVendor makes a vendor without a feed; `assent feed init` in Dir makes one.
func (s *Stage) NewVendor(name string) (*Vendor, error) {
	site := name + "-feed"
	r, err := s.Lab.Repo(site) // only for its place on the web server
	if err != nil {
		return nil, err
	}
	v := &Vendor{Name: name, Dir: filepath.Join(s.dir, "vendor-"+name), URL: s.Lab.RepoURL(site), out: filepath.Join(r.Dir(), "public"),
		made: filepath.Join(s.dir, "made-"+name), stage: s}
	if err := os.MkdirAll(v.made, 0o755); err != nil {
		return nil, fmt.Errorf("make a vendor's folder: %w", err)
	}
	return v, nil
}

// Root is the file that subscribers pin.
func (v *Vendor) Root() string { return filepath.Join(v.out, "metadata", "1.root.json") }

// Out is the published folder.
func (v *Vendor) Out() string { return v.out }

// Deb builds a package and returns its file.
func (v *Vendor) Deb(p debrepo.Package) (string, error) {
	b, err := debrepo.Deb(p)
	if err != nil {
		return "", err
	}
	return v.File(p.Name+"_"+p.Version+"_all.deb", b)
}

// File writes something that the vendor made.
func (v *Vendor) File(name string, b []byte) (string, error) {
	path := filepath.Join(v.made, name)
	if err := os.WriteFile(path, b, 0o644); err != nil {
		return "", fmt.Errorf("make %s: %w", name, err)
	}
	return path, nil
}

// Tree packs an archive; contents that start with "#!" or are ELF files become executable.
func (v *Vendor) Tree(name string, files map[string]string) (string, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		mode := int64(0o644)
		if strings.HasPrefix(files[path], "#!") || strings.HasPrefix(files[path], "\x7fELF") {
			mode = 0o755
		}
		if err := w.WriteHeader(&tar.Header{Name: path, Mode: mode, Size: int64(len(files[path])), Typeflag: tar.TypeReg}); err != nil {
			return "", fmt.Errorf("pack %s: %w", name, err)
		}
		if _, err := w.Write([]byte(files[path])); err != nil {
			return "", fmt.Errorf("pack %s: %w", name, err)
		}
	}
	if err := w.Close(); err != nil {
		return "", fmt.Errorf("pack %s: %w", name, err)
	}
	return v.File(name, buf.Bytes())
}

// Publish signs what was added and puts the feed onto the web server.
func (v *Vendor) Publish(ctx context.Context) error {
	if err := v.stage.Must(ctx, "feed", "sign", v.Dir); err != nil {
		return err
	}
	return v.stage.Must(ctx, "feed", "publish", v.Dir, v.out)
}
