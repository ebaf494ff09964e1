package apt

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"assent/agent/internal/feeds/aptrepo"
	"assent/catalog"
	"assent/wire"
)

// archives is Assent's own archive cache. Other runs of apt neither clean it nor write to it, and it can be read by the
// unprivileged user that apt downloads as. What was installed from it stays for a while, so that it can be put back.
func (a *Apt) archives() string { return "/var/cache/assent-agent/archives" }

// shared is the archive cache of the device's own apt.
const sharedArchives = "/var/cache/apt/archives"

// archiveName is the name under which apt stores a file in its cache. It escapes the colon of an epoch.
func archiveName(name, arch, version string) string {
	return name + "_" + strings.ReplaceAll(version, ":", "%3a") + "_" + arch + ".deb"
}

// ensureArchives makes the cache, as apt expects it, owned by root and writable by nobody else.
func (a *Apt) ensureArchives() error {
	if err := os.MkdirAll(filepath.Join(a.archives(), "partial"), 0o755); err != nil {
		return fmt.Errorf("make the archive cache: %w", err)
	}
	return nil
}

// fileDigest is the SHA-256 of a regular file.
func fileDigest(path string) (string, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", 0, errors.Join(fmt.Errorf("%s is not a regular file", path), err)
	}
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return "", 0, fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), n, nil
}

// isThere reports whether the cache holds the file of a change with the right content.
func (a *Apt) isThere(c wire.Change) bool {
	sum, _, err := fileDigest(filepath.Join(a.archives(), archiveName(c.Name, c.Arch, c.Version)))
	return err == nil && sum == c.SHA256
}

// bytesToFetch is how much is still to be downloaded for changes. Presence is judged by size here; Fetch looks at digests.
func (a *Apt) bytesToFetch(changes []wire.Change) int64 {
	var n int64
	for _, c := range changes {
		if c.Op == wire.OpRemove {
			continue
		}
		info, err := os.Stat(filepath.Join(a.archives(), archiveName(c.Name, c.Arch, c.Version)))
		if err != nil || info.Size() != c.Size {
			n += c.Size
		}
	}
	return n
}

// adopt takes files that the device's own apt has downloaded already, where their content is the wanted one, and
// removes from our cache what has the right name and other content.
func (a *Apt) adopt(changes []wire.Change) error {
	for _, c := range changes {
		if c.Op == wire.OpRemove || a.isThere(c) {
			continue
		}
		name := archiveName(c.Name, c.Arch, c.Version)
		target := filepath.Join(a.archives(), name)
		if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove a file of other content: %w", err)
		}
		files := []string{filepath.Join(a.kept(), name), filepath.Join(sharedArchives, name)}
		if id, ok := catalog.FeedOf(c.Space); ok {
			files = append(files, filepath.Join(a.cfg.Root, aptrepo.PoolFile(id, c.SHA256)))
		}
		for _, file := range files {
			if sum, _, err := fileDigest(file); err == nil && sum == c.SHA256 {
				// Where a link is not possible the file is downloaded.
				_ = os.Link(file, target)
			}
		}
	}
	return nil
}

// prune removes the files of a directory whose names wanted does not hold.
func prune(dir string, wanted map[string]bool) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".deb") && !wanted[e.Name()] {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// pruneArchives keeps the files of what is installed, which are the previous versions of tomorrow, and of changes.
func (a *Apt) pruneArchives(changes []wire.Change) {
	installed, err := a.readContents()
	if err != nil {
		return
	}
	wanted := map[string]bool{}
	for key, c := range installed {
		name, arch, _ := strings.Cut(key, ":")
		wanted[archiveName(name, arch, c.Version)] = true
	}
	for _, c := range changes {
		wanted[archiveName(c.Name, c.Arch, c.Version)] = true
	}
	prune(a.archives(), wanted)
}
