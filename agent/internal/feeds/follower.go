package feeds

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"assent/agent/internal/statedir"
	"assent/catalog"
	"assent/fault"
	"assent/feed"
	"assent/trust"
	"assent/wire"
)

// Files of a feed's state directory, besides one for each manifest and revocation, named by its digest.
const (
	pinnedFile   = "pinned.root.json"
	verifiedFile = "verified.json"
	tufDir       = "tuf"
	documentName = "document-"
)

// follower is one pinned feed.
type follower struct {
	id     string
	dir    *statedir.Dir
	root   []byte // as pinned
	client *trust.Client
	wanted bool // guarded by Feeds.mu

	mu       sync.Mutex
	releases []feed.Release
	verified verified
	named    int64  // the freshness statement that the last plan named; 0: none did since the start
	wrong    error  // what was wrong at the last look
	lacking  string // what of the verified state is not there or cannot be used, in words
	leftOut  string // packages that are not put before apt, in words
	disputed string // that the server names another root, in words
}

// verified is the state in which the feed was last found in order, and when.
type verified struct {
	At        time.Time `json:"at"`
	Timestamp int64     `json:"timestamp"` // versions
	Targets   int64     `json:"targets"`
}

// newFollower pins a root: it is the last that is written, so a feed with a pinned root is whole.
func newFollower(path, id string, root []byte) (*follower, error) {
	if _, err := trust.Open(root, trust.DirStore(filepath.Join(path, tufDir))); err != nil {
		return nil, err
	}
	dir, err := statedir.Open(path)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(dir.Write(pinnedFile, root), dir.Close()); err != nil {
		return nil, err
	}
	return openFollower(path, id)
}

// openFollower takes up a pinned feed; nil if it has no pinned root.
func openFollower(path, id string) (*follower, error) {
	dir, err := statedir.Open(path)
	if err != nil {
		return nil, err
	}
	one := &follower{id: id, dir: dir}
	if one.root, err = dir.Read(pinnedFile, trust.MaxRoot); err != nil {
		if err = errors.Join(dir.Close(), notMissing(err)); err != nil {
			return nil, err
		}
		return nil, nil //nolint:nilnil // there is no such feed, which is no error
	}
	if one.client, err = trust.Open(one.root, trust.DirStore(filepath.Join(path, tufDir))); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	if b, err := dir.Read(verifiedFile, 1<<10); err == nil {
		_ = json.Unmarshal(b, &one.verified) // without it, the feed counts as not verified yet
	}
	one.take()
	return one, nil
}

func notMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// hasRoot reports whether a digest is that of the pinned root or of the newest one of its chain.
func (one *follower) hasRoot(digest string) bool {
	return digest == wire.Digest(one.root) || digest == wire.Digest(one.client.Root())
}

func (one *follower) dispute(text string) {
	one.mu.Lock()
	defer one.mu.Unlock()
	one.disputed = text
}

// leaveOut notes packages that cannot be put before apt, and why.
func (one *follower) leaveOut(refused map[string]string) {
	one.mu.Lock()
	defer one.mu.Unlock()
	one.leftOut = ""
	for _, item := range slices.Sorted(maps.Keys(refused))[:min(len(refused), 1)] {
		one.leftOut = fmt.Sprintf("%d packages are left out, among them %s: %s", len(refused), item, refused[item])
	}
}

// behind notes which freshness statement a plan names, and reports whether there is something to look at: a newer one than the
// device has, or what the last look found wrong.
func (one *follower) behind(named int64) bool {
	one.mu.Lock()
	one.named = named
	one.mu.Unlock()
	return one.outdated() || one.trouble() != nil
}

// outdated reports whether the server says that it has something newer, or nobody knows. A server that is behind the device says
// so in its plans: its older files are no attempt to roll the feed back, and need not be looked at.
func (one *follower) outdated() bool {
	one.mu.Lock()
	defer one.mu.Unlock()
	is, v := one.client.State(), one.verified
	whole := !v.At.IsZero() && v.Timestamp == is.TimestampVersion && v.Targets == is.TargetsVersion
	return !whole || one.named == 0 || one.named > v.Timestamp
}

func (one *follower) trouble() error {
	one.mu.Lock()
	defer one.mu.Unlock()
	return one.wrong
}

func (one *follower) known() []feed.Release {
	one.mu.Lock()
	defer one.mu.Unlock()
	return one.releases
}

// syncDeadline ends a look at a feed that does not come to an end. What was fetched of its documents stays, so the next
// look goes on from there.
const syncDeadline = 5 * time.Minute

// sync follows the feed to the newest state that the server names and fetches its documents. The manifests are small; payloads are fetched
// when they are needed.
func (one *follower) sync(ctx context.Context, src Source, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, syncDeadline)
	defer cancel()
	from := files{src, one.id}
	var err error
	looks := one.outdated()
	if looks {
		err = one.client.Refresh(ctx, from, now)
	}
	if err == nil {
		err = one.fetchDocuments(ctx, from)
	}
	one.take() // also after a failure: what was verified before it counts
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.wrong = err; err != nil || !looks {
		return err
	}
	is := one.client.State()
	one.verified = verified{now.UTC(), is.TimestampVersion, is.TargetsVersion}
	b, err := json.Marshal(one.verified)
	if err == nil {
		err = one.dir.Write(verifiedFile, b)
	}
	if err != nil {
		return fmt.Errorf("note that the feed is verified: %w", err)
	}
	return nil
}

// documents are the manifests and revocations of the verified state, sorted by path.
func (one *follower) documents() (out []trust.Target) {
	for path, t := range one.client.Targets() {
		if strings.HasPrefix(path, feed.ReleasePrefix) || strings.HasPrefix(path, feed.RevocationPrefix) {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b trust.Target) int { return cmp.Compare(a.Path, b.Path) })
	return out[:min(len(out), 2*feed.MaxReleases)]
}

// fetchDocuments fetches what is not there yet and drops what the feed has no more.
func (one *follower) fetchDocuments(ctx context.Context, from trust.Source) error {
	wanted := map[string]bool{}
	for _, t := range one.documents() {
		wanted[documentName+t.SHA256] = true
		if t.Size > feed.MaxManifest || one.document(t) != nil {
			continue
		}
		b, err := one.client.Target(ctx, from, t.Path)
		if err == nil {
			err = one.dir.WriteSoft(documentName+t.SHA256, b) // checked by its digest whenever it is read
		}
		if err != nil {
			return fmt.Errorf("fetch %s: %w", t.Path, err)
		}
	}
	entries, err := fs.ReadDir(one.dir.Root().FS(), ".")
	if err != nil {
		return fmt.Errorf("look through the feed's documents: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), documentName) && !wanted[e.Name()] {
			if err := one.dir.Remove(e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

// document reads a kept document; nil if it is not there as it was signed.
func (one *follower) document(t trust.Target) []byte {
	b, err := one.dir.Read(documentName+t.SHA256, feed.MaxManifest)
	if err != nil || trust.Verify(bytes.NewReader(b), t) != nil {
		return nil
	}
	return b
}

// take makes the releases out of the verified state and the kept documents. What cannot be used is left out and named; a
// release whose revocation cannot be read counts as recalled: that there is one is signed.
func (one *follower) take() {
	revoked := map[string]*catalog.Revocation{}
	var releases []feed.Release
	var lacking []string
	for _, t := range one.documents() {
		b := one.document(t)
		if id, ok := strings.CutPrefix(t.Path, feed.RevocationPrefix); ok {
			revoked[strings.TrimSuffix(id, ".json")] = revocation(b)
			continue
		}
		r, err := one.release(t, b)
		if err != nil {
			lacking = append(lacking, fmt.Sprintf("%s: %v", t.Path, err))
			continue
		}
		releases = append(releases, r)
	}
	for i, r := range releases {
		releases[i].Revoked = revoked[string(r.ID())]
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	one.releases, one.lacking = releases, ""
	if len(lacking) > 0 {
		one.lacking = fmt.Sprintf("%d releases cannot be used, among them %s", len(lacking), lacking[0])
	}
}

// release reads a manifest, which must lie under the name of the release that it describes.
func (one *follower) release(t trust.Target, b []byte) (feed.Release, error) {
	if b == nil {
		return feed.Release{}, errors.New("its manifest is not there")
	}
	r, err := feed.Parse(one.id, b)
	if err == nil && feed.ReleaseTarget(r.ID()) != t.Path {
		err = fmt.Errorf("it describes %s %s, whose name is %s", r.Name, r.Version, feed.ReleaseTarget(r.ID()))
	}
	return r, err
}

func revocation(b []byte) *catalog.Revocation {
	r, err := feed.ParseRevoked(b)
	if err != nil {
		return &catalog.Revocation{Reason: "recalled by its publisher, for a reason that cannot be read"}
	}
	return &catalog.Revocation{At: r.At, Reason: r.Reason}
}

// health says how the feed is at a time.
func (one *follower) health(now time.Time) wire.OriginHealth {
	one.mu.Lock()
	defer one.mu.Unlock()
	state := one.client.State()
	h := wire.OriginHealth{Origin: "feed:" + one.id, Label: one.id, Date: one.verified.At, Highest: one.verified.At}
	if !one.verified.At.IsZero() {
		h.ExpiresAt = state.Expires
	}
	switch {
	case one.disputed != "":
		h.Problem, h.Detail = "bad_signature", one.disputed
	case one.wrong != nil && problemOf(one.wrong) != "unreachable":
		h.Problem, h.Detail = problemOf(one.wrong), sentence(one.wrong)
	case !one.verified.At.IsZero() && !now.Before(state.Expires):
		h.Problem, h.Detail = "expired", "it was valid until "+state.Expires.UTC().Format(time.RFC3339)+"; what was verified last stays"
	case one.wrong != nil:
		h.Problem, h.Detail = "unreachable", sentence(one.wrong)
	case one.verified.At.IsZero():
		h.Problem, h.Detail = "unreachable", "it was not fetched yet"
	default:
		h.Detail = strings.Trim(one.lacking+"; "+one.leftOut, "; ")
	}
	return h
}

// problemOf puts a refusal into the words of wire.OriginHealth.
func problemOf(err error) string {
	for _, p := range []struct {
		refusal error
		problem string
	}{{trust.ErrExpired, "expired"}, {trust.ErrRolledBack, "rolled_back"}, {trust.ErrMismatch, "tampered"}, {trust.ErrSignature, "bad_signature"},
		{trust.ErrMalformed, "bad_signature"}, {trust.ErrTooLarge, "bad_signature"}} {
		if errors.Is(err, p.refusal) {
			return p.problem
		}
	}
	return "unreachable"
}

// sentence is an error for people, with its cause for those who look closer.
func sentence(err error) string {
	text := err.Error()
	var f *fault.Error
	if errors.As(err, &f) {
		text = f.Message
		if f.Cause != nil {
			text += " (" + f.Cause.Error() + ")"
		}
	}
	return fmt.Sprintf("%.500s", text)
}

// files reads a feed's files whole: trust.Source.
type files struct {
	src Source
	id  string
}

// Read implements trust.Source.
func (s files) Read(ctx context.Context, path string, limit int64) (b []byte, err error) {
	body, _, err := s.src.Feed(ctx, s.id, path, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	b, err = io.ReadAll(io.LimitReader(body, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = trust.ErrTooLarge.Because(fmt.Errorf("%s has more than %d bytes", path, limit))
	}
	return b, err
}
