package debrepo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Repo is a repository in a directory. Its served tree and its secrets lie side by side; only the first is served.
// All methods may be called from several goroutines and several processes at once.
type Repo struct {
	dir   string
	name  string
	key   *Key
	other *Key // signs where the wrong key is asked for
}

// Open opens the repository called name in dir, and creates it with a fresh signing key if it does not exist.
func Open(dir, name string) (*Repo, error) {
	if !nameSyntax.MatchString(name) {
		return nil, fmt.Errorf("repository name %q is not valid", name)
	}
	r := &Repo{dir: dir, name: name}
	for _, sub := range []string{"public", "private"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("create repository: %w", err)
		}
	}
	err := r.locked(func() (err error) {
		if r.key, err = loadKey(r.private("signing.asc"), name); err != nil {
			return err
		}
		r.other, err = loadKey(r.private("stranger.asc"), name+"-stranger")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open repository %s: %w", name, err)
	}
	return r, nil
}

// Name is the name given to Open.
func (r *Repo) Name() string { return r.name }

// Dir is the directory given to Open.
func (r *Repo) Dir() string { return r.dir }

// Key is the key that devices should trust.
func (r *Repo) Key() *Key { return r.key }

// KeyPath is where SourcesEntry says that the key lies on a device.
func (r *Repo) KeyPath() string { return "/etc/apt/keyrings/" + r.name + ".asc" }

// SourcesEntry is a deb822 source for the repository served at uri. The device needs Key().Public() at KeyPath().
func (r *Repo) SourcesEntry(uri string, suites ...string) string {
	return fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n",
		uri, strings.Join(suites, " "), r.KeyPath())
}

// Pool finds the published file of a package version of any architecture, as a path below the served tree.
func (r *Repo) Pool(name, version string) (string, error) {
	if _, after, ok := strings.Cut(version, ":"); ok {
		version = after
	}
	found, err := filepath.Glob(r.public("pool/main/*/*/" + name + "_" + version + "_*.deb"))
	if err != nil {
		return "", fmt.Errorf("find %s %s: %w", name, version, err)
	}
	if len(found) != 1 {
		return "", fmt.Errorf("find %s %s: %d files in the pool", name, version, len(found))
	}
	return filepath.Rel(r.public(""), found[0])
}

func (r *Repo) public(name string) string  { return filepath.Join(r.dir, "public", name) }
func (r *Repo) private(name string) string { return filepath.Join(r.dir, "private", name) }

// locked runs fn while no other goroutine or process changes the repository.
func (r *Repo) locked(fn func() error) error {
	lock, err := os.OpenFile(r.private("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock repository: %w", err)
	}
	defer lock.Close()
	for {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("lock repository: %w", err)
	}
	return fn()
}

// tick gives the modification time for the next change: now, but at least a second after the one before, since
// apt's If-Modified-Since cannot see less. The last time is kept on disk because published files may be gone.
func (r *Repo) tick() (time.Time, error) {
	text, err := os.ReadFile(r.private("clock"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, fmt.Errorf("read repository clock: %w", err)
	}
	last, _ := strconv.ParseInt(string(text), 10, 64) // a missing clock starts at zero
	next := max(time.Now().Unix(), last+1)
	if err := writeFile(r.private("clock"), strconv.AppendInt(nil, next, 10), 0o600); err != nil {
		return time.Time{}, fmt.Errorf("write repository clock: %w", err)
	}
	return time.Unix(next, 0), nil
}

// change is one set of writes to the served tree that all carry the same modification time.
type change struct {
	repo *Repo
	when time.Time
}

// write puts data at the served path name, whole or not at all.
func (c change) write(name string, data []byte) error {
	full := c.repo.public(name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	if err := writeFileAt(full, data, 0o644, c.when); err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	return nil
}

func (c change) remove(name string) error {
	if err := os.Remove(c.repo.public(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("withdraw %s: %w", name, err)
	}
	return nil
}

func writeFile(name string, data []byte, mode fs.FileMode) error {
	return writeFileAt(name, data, mode, time.Time{})
}

// writeFileAt writes to a temporary file and renames it, so that readers never see half a file.
func writeFileAt(name string, data []byte, mode fs.FileMode, when time.Time) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails once renamed, as it should
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Chmod(mode), tmp.Close()); err != nil {
		return err
	}
	if !when.IsZero() {
		if err := os.Chtimes(tmp.Name(), when, when); err != nil {
			return err
		}
	}
	return os.Rename(tmp.Name(), name)
}
