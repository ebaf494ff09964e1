package apt

import (
	"archive/tar"
	"context"
	"crypto/md5" //nolint:gosec // it is what dpkg keeps of configuration files
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"assent/agent/internal/command"
	"assent/agent/internal/pkgmgr"
	"assent/wire"
)

const (
	// unpackDeadline bounds reading one package file.
	unpackDeadline = 2 * time.Minute
	// maxConffile caps what is read of a configuration file; larger ones are not looked at.
	maxConffile = 16 << 20
)

// conffile is a configuration file as dpkg remembers it of the installed version.
type conffile struct {
	Path string
	MD5  string // as the package brought it
}

// parseConffile reads a line of the field Conffiles: PATH MD5, and perhaps words after it. What a package no longer owns is none.
func parseConffile(line string) (conffile, bool) {
	f := strings.Fields(line)
	if len(f) != 2 || !filepath.IsAbs(f[0]) || len(f[1]) != 2*md5.Size {
		return conffile{}, false
	}
	return conffile{Path: f[0], MD5: f[1]}, true
}

// keptFiles lists the configuration files that were changed on the device and that the changes would meet. Where the new version's file
// is here, only those that it changes as well: dpkg leaves the others alone without a word.
func (a *Apt) keptFiles(ctx context.Context, s *status, changes []wire.Change) ([]pkgmgr.Kept, error) {
	var out []pkgmgr.Kept
	for _, c := range changes {
		p := s.find(c.Name, c.Arch)
		if c.Op == wire.OpRemove || p == nil {
			continue
		}
		changed := a.changedFiles(p)
		if len(changed) == 0 {
			continue
		}
		brought, known, err := a.brought(ctx, c, changed)
		if err != nil {
			return nil, err
		}
		for _, f := range changed {
			sum, there := brought[f.Path]
			if known && (!there || sum == f.MD5 || sum == a.sumOf(f.Path)) {
				continue
			}
			out = append(out, pkgmgr.Kept{Name: c.Name, Arch: c.Arch, Path: plain(f.Path, 500), Unsure: !known})
		}
	}
	return out, nil
}

// changedFiles are the configuration files of a package that somebody changed. One that was deleted stays deleted, and is no
// question to anybody.
func (a *Apt) changedFiles(p *installed) []conffile {
	var out []conffile
	for _, f := range p.Conffiles {
		if sum := a.sumOf(f.Path); sum != "" && sum != f.MD5 {
			out = append(out, f)
		}
	}
	return out
}

// sumOf is the MD5 of a file of the device; empty where it cannot be had.
func (a *Apt) sumOf(path string) string {
	f, err := a.fsys.Open(strings.TrimPrefix(filepath.Clean(path), "/"))
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > maxConffile {
		return ""
	}
	sum, err := md5Of(f)
	if err != nil {
		return ""
	}
	return sum
}

func md5Of(r io.Reader) (string, error) {
	h := md5.New() //nolint:gosec // as above
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// brought reads what a new version has as these configuration files, by path. known is false where its file is not here.
func (a *Apt) brought(ctx context.Context, c wire.Change, files []conffile) (sums map[string]string, known bool, err error) {
	if !a.isThere(c) {
		return nil, false, nil
	}
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		res, err := a.cfg.Command.Run(ctx, command.Call{Tool: command.DpkgDeb, Deadline: unpackDeadline, Stdout: w,
			Args: []string{"--fsys-tarfile", filepath.Join(a.archives(), archiveName(c.Name, c.Arch, c.Version))}})
		if err == nil && res.Code != 0 {
			err = fmt.Errorf("dpkg-deb ended with code %d: %s", res.Code, plain(string(res.Stderr), 300))
		}
		_ = w.CloseWithError(err) // nil is the end of the file
		done <- err
	}()
	sums, err = pickSums(r, files)
	_ = r.Close() // the rest is of no interest
	ended := <-done
	switch {
	case ctx.Err() != nil:
		return nil, false, ctx.Err()
	case err != nil:
		return nil, false, fmt.Errorf("read the configuration files of %s: %w", c.Name, errors.Join(err, ended))
	}
	return sums, true, nil
}

// pickSums reads a package's files as a tar until all that are asked for were seen, or to its end.
func pickSums(r io.Reader, files []conffile) (map[string]string, error) {
	sums := map[string]string{}
	t := tar.NewReader(r)
	for len(sums) < len(files) {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		path := filepath.Clean("/" + h.Name)
		if h.Typeflag != tar.TypeReg || h.Size > maxConffile || !slices.ContainsFunc(files, func(f conffile) bool { return f.Path == path }) {
			continue
		}
		if sums[path], err = md5Of(t); err != nil {
			return nil, err
		}
	}
	return sums, nil
}
