package publish

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"assent/catalog"
	"assent/fault"
	"assent/feed"
	"assent/pkgver"
	"assent/trust"
	"assent/trust/internal/durable"
)

// Progress is told of bytes as they are copied.
type Progress func(file string, done, size int64)

// Addition is a release to be added.
type Addition struct {
	Manifest feed.Manifest     // Released may be zero: now
	Files    map[string]string // by SHA-256: where each payload and agreement text lies
	Progress Progress          // may be nil
	Now      time.Time
}

// Added says what an addition did.
type Added struct {
	ID      catalog.UpdateID `json:"id"`
	Release catalog.Release  `json:"release"`
	Again   bool             `json:"again"` // it was there already, the same in all
}

// Add puts a release into the draft. A release that is there already with the same content changes nothing; with other
// content it is refused, for what one version is must never change.
func (t *Tree) Add(ctx context.Context, a Addition) (Added, error) {
	files, err := t.readDraft()
	if err != nil {
		return Added{}, err
	}
	m := a.Manifest
	unset := m.Released.IsZero()
	if unset {
		m.Released = a.Now.UTC().Truncate(time.Second)
	}
	b, r, err := feed.Encode(t.config.ID, m)
	if err != nil {
		return Added{}, err
	}
	added := Added{ID: r.ID(), Release: r.Release}
	releases, err := t.Releases()
	if err != nil {
		return Added{}, err
	}
	if added.Again, err = again(releases, r, unset); err != nil || added.Again {
		return added, err
	}
	if err := check(append(releases, r), r); err != nil {
		return Added{}, err
	}
	if err := t.store(ctx, m, a, files); err != nil {
		return Added{}, err
	}
	if err := t.put(feed.ReleaseTarget(added.ID), b, files); err != nil {
		return Added{}, err
	}
	return added, t.writeDraft(files)
}

// again reports whether a release is there already, and refuses another one of its version.
func again(releases []feed.Release, r feed.Release, anyTime bool) (bool, error) {
	for _, have := range releases {
		if have.ID() != r.ID() {
			continue
		}
		old, now := have.Manifest, r.Manifest
		if anyTime {
			now.Released = old.Released
		}
		x, err := json.Marshal(old)
		if err != nil {
			return false, fmt.Errorf("compare releases: %w", err)
		}
		y, err := json.Marshal(now)
		if err != nil {
			return false, fmt.Errorf("compare releases: %w", err)
		}
		if bytes.Equal(x, y) {
			return true, nil
		}
		return false, fault.New(fault.Conflict, "feed_version_taken", "%s %s is in the feed already with other content; what a version is cannot change, so give the new one a new version.", r.Name, r.Version).On("version")
	}
	return false, nil
}

// check refuses a new release whose prerequisites can never be met, and an application that changes its ecosystem.
func check(all []feed.Release, r feed.Release) error {
	for _, other := range all {
		if other.Name == r.Name && other.Ecosystem != r.Ecosystem {
			return fault.New(fault.Invalid, "feed_format_changed", "%s is published as %s already; an application keeps its format.", r.Name, other.Ecosystem).On("payload")
		}
	}
	if !slices.ContainsFunc(stuck(all), func(x feed.Release) bool { return x.ID() == r.ID() }) {
		return nil
	}
	for _, q := range r.Manifest.Requires {
		if !slices.ContainsFunc(all, func(x feed.Release) bool { return meets(x, q) }) {
			return fault.New(fault.Invalid, "feed_prerequisite_missing", "The feed has no %s of version %s or newer; add that release first.", q.Application, q.Version).On("requires")
		}
	}
	return fault.New(fault.Invalid, "feed_prerequisite_cycle", "%s %s and its prerequisites require each other, so none of them could ever install.", r.Name, r.Version).On("requires")
}

// stuck are the releases that could never install: their prerequisites are missing, or require them in turn.
func stuck(all []feed.Release) []feed.Release {
	rest, installable := slices.Clone(all), []feed.Release{}
	for grown := true; grown; {
		grown = false
		rest = slices.DeleteFunc(rest, func(x feed.Release) bool {
			for _, q := range x.Manifest.Requires {
				if !slices.ContainsFunc(installable, func(y feed.Release) bool { return meets(y, q) }) {
					return false
				}
			}
			installable, grown = append(installable, x), true
			return true
		})
	}
	return rest
}

func meets(x feed.Release, q catalog.Requirement) bool {
	if x.Name != q.Application {
		return false
	}
	order, err := pkgver.Compare(x.Ecosystem, x.Version, q.Version)
	return err == nil && order >= 0
}

// store copies payloads and agreement texts into the tree.
func (t *Tree) store(ctx context.Context, m feed.Manifest, a Addition, files draft) error {
	put := func(path, sum string, size int64) error {
		if _, there := files[path]; there {
			return nil
		}
		from, ok := a.Files[sum]
		if !ok {
			return fault.New(fault.Invalid, "feed_file_missing", "No file was given with the SHA-256 %s that the release names.", sum).On("files")
		}
		files[path] = draftFile{size, sum}
		return copyTarget(ctx, from, t.dir, files[path].target(path), a.Progress)
	}
	for _, it := range m.Items {
		if err := put(feed.PayloadTarget(it.SHA256), it.SHA256, it.Size); err != nil {
			return err
		}
	}
	for _, agreement := range m.Agreements {
		for _, text := range agreement.Texts {
			if err := put(feed.AgreementTarget(text.SHA256), text.SHA256, text.Size); err != nil {
				return err
			}
		}
	}
	return nil
}

// put writes a small target into the tree and the draft.
func (t *Tree) put(path string, b []byte, files draft) error {
	sum := sha256.Sum256(b)
	f := draftFile{int64(len(b)), hex.EncodeToString(sum[:])}
	name := t.path(filepath.FromSlash(trust.TargetFile(f.target(path))))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	files[path] = f
	return durable.Write(name, b, 0o644)
}

// copyTarget copies a file to where a target lies below a folder, and checks it on the way. One that is there already
// with its size is left alone: its name is its digest.
func copyTarget(ctx context.Context, from, below string, to trust.Target, progress Progress) (err error) {
	name := filepath.Join(below, filepath.FromSlash(trust.TargetFile(to)))
	if info, err := os.Stat(name); err == nil && info.Size() == to.Size {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("copy %s: %w", to.Path, err)
	}
	f, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copy %s: %w", to.Path, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return durable.Fill(name, 0o644, func(w io.Writer) error {
		v := trust.NewVerifier(to)
		if _, err := io.Copy(io.MultiWriter(w, v), &counted{ctx: ctx, r: f, progress: progress, name: to.Path, size: to.Size}); err != nil {
			return err
		}
		return v.Verify()
	})
}

// counted tells of progress and stops when its context does.
type counted struct {
	ctx      context.Context
	r        io.Reader
	progress Progress
	name     string
	n, size  int64
}

func (c *counted) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(b)
	c.n += int64(n)
	if c.progress != nil {
		c.progress(c.name, c.n, c.size)
	}
	return n, err
}

// Releases lists the draft's releases with their revocations, by application and version.
func (t *Tree) Releases() ([]feed.Release, error) {
	files, err := t.readDraft()
	if err != nil {
		return nil, err
	}
	out := []feed.Release{}
	for path, f := range files {
		if !strings.HasPrefix(path, feed.ReleasePrefix) {
			continue
		}
		b, err := t.readTarget(path, f)
		if err != nil {
			return nil, err
		}
		r, err := feed.Parse(t.config.ID, b)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		if rf, ok := files[feed.RevocationTarget(r.ID())]; ok {
			if r.Revoked, err = t.revocation(r.ID(), rf); err != nil {
				return nil, err
			}
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b feed.Release) int {
		if c := cmp.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		c, err := pkgver.Compare(a.Ecosystem, a.Version, b.Version)
		if err != nil || c == 0 {
			return cmp.Compare(a.Version, b.Version)
		}
		return c
	})
	return out, nil
}

func (t *Tree) revocation(id catalog.UpdateID, f draftFile) (*catalog.Revocation, error) {
	b, err := t.readTarget(feed.RevocationTarget(id), f)
	if err != nil {
		return nil, err
	}
	r, err := feed.ParseRevoked(b)
	return &catalog.Revocation{At: r.At, Reason: r.Reason}, err
}

func (t *Tree) readTarget(path string, f draftFile) ([]byte, error) {
	b, err := os.ReadFile(t.path(filepath.FromSlash(trust.TargetFile(f.target(path)))))
	if err == nil {
		err = trust.Verify(bytes.NewReader(b), f.target(path))
	}
	if err != nil {
		return nil, fmt.Errorf("read %s of the tree: %w", path, err)
	}
	return b, nil
}

// find is a release of the draft by application and version.
func (t *Tree) find(application, version string) (feed.Release, error) {
	releases, err := t.Releases()
	if err != nil {
		return feed.Release{}, err
	}
	for _, r := range releases {
		if r.Name == application && r.Version == version {
			return r, nil
		}
	}
	return feed.Release{}, fault.New(fault.NotFound, "feed_release_unknown", "The feed has no release %s %s; see assent feed list.", application, version)
}

// Revoke recalls a release (A8): it stays in the feed, marked, so that devices that have it are found. Again with the same
// reason changes nothing.
func (t *Tree) Revoke(application, version, reason string, now time.Time) (feed.Release, error) {
	r, err := t.find(application, version)
	if err != nil {
		return r, err
	}
	if r.Revoked != nil && r.Revoked.Reason == reason {
		return r, nil
	}
	recall := feed.Revoked{Application: application, Version: version, At: now.UTC().Truncate(time.Second), Reason: reason}
	if r.Revoked != nil {
		recall.At = r.Revoked.At
	}
	b, err := json.MarshalIndent(recall, "", "  ")
	if err != nil {
		return r, fmt.Errorf("encode the revocation: %w", err)
	}
	if _, err := feed.ParseRevoked(b); err != nil {
		return r, fault.New(fault.Invalid, "feed_reason", "The reason is too long or has control characters.").On("reason").Because(err)
	}
	files, err := t.readDraft()
	if err != nil {
		return r, err
	}
	if err := t.put(feed.RevocationTarget(r.ID()), append(b, '\n'), files); err != nil {
		return r, err
	}
	r.Revoked = &catalog.Revocation{At: recall.At, Reason: recall.Reason}
	return r, t.writeDraft(files)
}

// Remove drops a release from the draft that was never signed; one that was may be on devices, so it is revoked instead.
func (t *Tree) Remove(application, version string) error {
	r, err := t.find(application, version)
	if err != nil {
		return err
	}
	cur, err := t.current()
	if err != nil {
		return err
	}
	if cur.targets != nil && cur.targets.Signed.Targets[feed.ReleaseTarget(r.ID())] != nil {
		return fault.New(fault.Conflict, "feed_release_signed", "%s %s was signed, so devices may have it; recall it with assent feed revoke.", application, version)
	}
	all, err := t.Releases()
	if err != nil {
		return err
	}
	if left := stuck(slices.DeleteFunc(all, func(x feed.Release) bool { return x.ID() == r.ID() })); len(left) > 0 {
		return fault.New(fault.Conflict, "feed_release_required", "%s %s requires it; remove that first.", left[0].Name, left[0].Version)
	}
	files, err := t.readDraft()
	if err != nil {
		return err
	}
	delete(files, feed.ReleaseTarget(r.ID()))
	delete(files, feed.RevocationTarget(r.ID()))
	if err := t.writeDraft(files); err != nil {
		return err
	}
	return t.tidy(files)
}

// tidy drops payloads and texts from the draft that no release names.
func (t *Tree) tidy(files draft) error {
	releases, err := t.Releases()
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, r := range releases {
		for _, it := range r.Manifest.Items {
			used[feed.PayloadTarget(it.SHA256)] = true
		}
		for _, a := range r.Manifest.Agreements {
			for _, x := range a.Texts {
				used[feed.AgreementTarget(x.SHA256)] = true
			}
		}
	}
	for path, f := range files {
		if used[path] || !strings.HasPrefix(path, feed.PayloadPrefix) && !strings.HasPrefix(path, feed.AgreementPrefix) {
			continue
		}
		delete(files, path)
		if err := os.Remove(t.path(filepath.FromSlash(trust.TargetFile(f.target(path))))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("drop %s: %w", path, err)
		}
	}
	return t.writeDraft(files)
}

// Signed reports whether a release, as the draft has it, is part of the newest signed targets.
func (t *Tree) Signed(id catalog.UpdateID) (bool, error) {
	files, err := t.readDraft()
	if err != nil {
		return false, err
	}
	cur, err := t.current()
	if err != nil || cur.targets == nil {
		return false, err
	}
	same := func(path string) bool {
		mine, ok := files[path]
		f := cur.targets.Signed.Targets[path]
		return ok == (f != nil) && (f == nil || hex.EncodeToString(f.Hashes["sha256"]) == mine.SHA256)
	}
	return same(feed.ReleaseTarget(id)) && same(feed.RevocationTarget(id)), nil
}
