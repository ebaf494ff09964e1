package aptrepo

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"assent/agent/internal/durable"
	"assent/catalog"
	"assent/feed"
)

// Write makes the repositories on the device below root exactly these. Empty ones are taken away; without any, apt is not
// told of feeds at all. now becomes the Date of what changed, or the next second after its last Date. The order is such
// that a crash in between leaves sources that apt can read. Payloads of remaining feeds are left alone.
func Write(root string, repositories []Repository, now time.Time) error {
	repositories = slices.DeleteFunc(slices.Clone(repositories), Repository.Empty)
	if len(repositories) == 0 {
		return Remove(root)
	}
	slices.SortFunc(repositories, func(a, b Repository) int { return strings.Compare(a.Feed, b.Feed) })
	if err := openDir(filepath.Join(root, Dir)); err != nil {
		return fmt.Errorf("write repositories of feeds: %w", err)
	}
	for _, r := range repositories {
		if err := r.write(filepath.Join(root, Dir, r.Feed), now); err != nil {
			return fmt.Errorf("write repository of feed %s: %w", r.Feed, err)
		}
	}
	err := put(filepath.Join(root, PinFile), pins(repositories))
	if err == nil {
		err = put(filepath.Join(root, SourceFile), sources(repositories))
	}
	if err == nil {
		err = dropOthers(root, repositories)
	}
	if err != nil {
		return fmt.Errorf("write repositories of feeds: %w", err)
	}
	return nil
}

// Remove takes away everything that Write ever wrote, payloads and apt's lists of the repositories among it.
func Remove(root string) error {
	var errs []error
	for _, name := range []string{SourceFile, PinFile} { // first, so that apt never looks for what is gone
		if err := os.Remove(filepath.Join(root, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	errs = append(errs, os.RemoveAll(filepath.Join(root, Dir)), removeLists(root, ""))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove repositories of feeds: %w", err)
	}
	return nil
}

// Listed reports whether apt's lists say what the repositories on the device do.
func Listed(root string) bool {
	entries, err := os.ReadDir(filepath.Join(root, Dir))
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	for _, e := range entries {
		want, err := os.ReadFile(filepath.Join(root, Dir, e.Name(), "Release"))
		if err != nil {
			return false
		}
		have, err := os.ReadFile(filepath.Join(root, listsDir, listPrefix(e.Name())+"Release"))
		if err != nil || !bytes.Equal(want, have) {
			return false
		}
	}
	return true
}

// listPrefix is how the names of apt's lists of a feed's repository begin; without a feed, those of all.
func listPrefix(feedID string) string {
	prefix := "_" + strings.ReplaceAll(Dir, "/", "_") + "_"
	if feedID == "" {
		return prefix
	}
	return prefix + feedID + "_._"
}

func removeLists(root, feedID string) error {
	var errs []error
	for _, dir := range []string{listsDir, listsDir + "/partial"} {
		found, err := filepath.Glob(filepath.Join(root, dir, listPrefix(feedID)+"*"))
		errs = append(errs, err)
		for _, name := range found {
			errs = append(errs, os.Remove(name))
		}
	}
	return errors.Join(errs...)
}

// dropOthers removes the directories and lists of feeds that are not there any more.
func dropOthers(root string, repositories []Repository) error {
	entries, err := os.ReadDir(filepath.Join(root, Dir))
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if slices.ContainsFunc(repositories, func(r Repository) bool { return r.Feed == e.Name() }) {
			continue
		}
		errs = append(errs, os.RemoveAll(filepath.Join(root, Dir, e.Name())))
		if feed.CheckID(e.Name()) == nil {
			errs = append(errs, removeLists(root, e.Name()))
		}
	}
	return errors.Join(errs...)
}

// write puts Packages and Release of one repository in place, if they do not say so already.
func (r Repository) write(dir string, now time.Time) error {
	for _, d := range []string{dir, filepath.Join(dir, PoolDir)} {
		if err := openDir(d); err != nil {
			return err
		}
	}
	release := filepath.Join(dir, "Release")
	before, err := os.ReadFile(release)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	last := dateOf(before)
	packages := filepath.Join(dir, "Packages")
	have, err := os.ReadFile(packages)
	if err == nil && bytes.Equal(have, r.packages) && bytes.Equal(before, r.release(last)) {
		return nil
	}
	date := now.UTC().Truncate(time.Second)
	if !date.After(last) {
		date = last.Add(time.Second)
	}
	// Between the two apt sees a Packages that its Release does not know, says so, and keeps its lists.
	if err := put(packages, r.packages); err != nil {
		return err
	}
	return put(release, r.release(date))
}

func (r Repository) release(date time.Time) []byte {
	return fmt.Appendf(nil, "Origin: %s\nLabel: Assent feed %s\nSuite: %s\nDate: %s\nNotAutomatic: yes\n"+
		"Description: applications of the feed %s, verified by assent-agent\nSHA256:\n %x %d Packages\n",
		catalog.FeedNamespace(r.Feed), r.Feed, r.Feed, date.Format(time.RFC1123), r.Feed, sha256.Sum256(r.packages), len(r.packages))
}

// dateOf reads the Date of a Release file of ours; zero if it has none.
func dateOf(release []byte) time.Time {
	for line := range strings.Lines(string(release)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "Date: "); ok {
			if t, err := time.Parse(time.RFC1123, value); err == nil {
				return t.UTC()
			}
		}
	}
	return time.Time{}
}

func sources(repositories []Repository) []byte {
	var b bytes.Buffer
	b.WriteString("# Written by assent-agent; changes are lost. `assent-agent leave` removes it.\n" +
		"# The repositories are made on this device out of what the agent verified, and only root can write them: that is why they\n" +
		"# need no signature for apt.\n")
	for i, r := range repositories {
		if i > 0 {
			b.WriteByte('\n')
		}
		// Check-Date: a clock that was once wrong must not keep apt from reading a local file.
		fmt.Fprintf(&b, "Types: deb\nURIs: %s%s/\nSuites: ./\nTrusted: yes\nCheck-Date: no\n", uriPrefix, r.Feed)
	}
	return b.Bytes()
}

func pins(repositories []Repository) []byte {
	var b bytes.Buffer
	b.WriteString("# Written by assent-agent; changes are lost. `assent-agent leave` removes it.\n")
	for _, r := range repositories {
		fmt.Fprintf(&b, "\nExplanation: what the feed %s offers is installed by decisions in Assent, or by naming a version\n"+
			"Package: *\nPin: release o=%s\nPin-Priority: -1\n", r.Feed, catalog.FeedNamespace(r.Feed))
	}
	return b.Bytes()
}

// openDir makes a directory that everybody may read.
func openDir(path string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return &fs.PathError{Op: "use", Path: path, Err: errors.New("not a directory")}
	case info.Mode().Perm() != 0o755:
		return os.Chmod(path, 0o755)
	}
	return nil
}

// put replaces a file as a whole and durably, if it does not say so already. The temporary name is one that apt ignores.
func put(path string, body []byte) error {
	if info, err := os.Lstat(path); err == nil && info.Mode() == 0o644 {
		if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, body) {
			return nil
		}
	}
	return durable.Write(path, body, 0o644, 0o755)
}
