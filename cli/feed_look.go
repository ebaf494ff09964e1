package cli

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"assent/catalog"
	"assent/fault"
	"assent/feed"
	"assent/trust"
	"assent/trust/publish"
)

// feedRow is a release as feed list and feed verify show it.
type feedRow struct {
	ID       catalog.UpdateID    `json:"id"`
	State    string              `json:"state"` // published: "signed" or "draft"; in either case "recalled"
	Manifest feed.Manifest       `json:"manifest"`
	Unknown  []string            `json:"unknown,omitempty"`
	Revoked  *catalog.Revocation `json:"revoked,omitempty"`
}

func row(r feed.Release) feedRow {
	out := feedRow{ID: r.ID(), State: "signed", Manifest: r.Manifest, Unknown: r.Unknown, Revoked: r.Revoked}
	if r.Revoked != nil {
		out.State = "recalled"
	}
	return out
}

func (r feedRow) size() (n int64) {
	for _, it := range r.Manifest.Items {
		n += it.Size
	}
	return n
}

func (a *app) showReleases(p *printer, rows []feedRow) {
	t := newTable(flex("APPLICATION", 12), flex("VERSION", 8), col("CLASS"), col("PAYLOAD"), num("FILES"), num("SIZE"), col("RELEASED"), col("STATE"), flex("NOTE", 12))
	for _, r := range rows {
		note := strings.Join(r.Unknown, ", ")
		if r.Revoked != nil {
			note = r.Revoked.Reason
		}
		tone := map[string]tone{"recalled": bad, "draft": warn}[r.State]
		m := r.Manifest
		t.add(toned(m.Application, strong), text(m.Version), text(string(m.Class)), text(string(m.Payload)), text(count(len(m.Items))), text(size(r.size())), text(a.when(m.Released)), toned(r.State, tone), text(note))
	}
	p.table(t)
}

// listed is the answer of feed list.
type listed struct {
	Name     string             `json:"name"`
	SHA256   string             `json:"root_sha256"` // of the first root
	Roles    []publish.Standing `json:"roles"`
	Releases []feedRow          `json:"releases"`
}

func (a *app) feedReleases() *cobra.Command {
	return &cobra.Command{
		Use: "list DIR", Aliases: []string{"ls"}, Short: "List a feed's releases, and who signs it until when", Args: args(1, 1, "a feed's folder"),
		Example: "  assent feed list acme-feed", ValidArgsFunction: inFolder,
		RunE: func(_ *cobra.Command, names []string) error {
			return a.inTree(names[0], func(t *publish.Tree) error {
				out, err := look(t)
				if err != nil {
					return err
				}
				return a.answer(out, func(p *printer) { a.showTree(p, out) })
			})
		},
	}
}

func look(t *publish.Tree) (listed, error) {
	_, sum, err := t.Root(1)
	if err != nil {
		return listed{}, err
	}
	out := listed{Name: t.ID(), SHA256: sum, Releases: []feedRow{}}
	if out.Roles, err = t.Standing(); err != nil {
		return out, err
	}
	releases, err := t.Releases()
	if err != nil {
		return out, err
	}
	for _, r := range releases {
		shown := row(r)
		signed, err := t.Signed(r.ID())
		if err != nil {
			return out, err
		}
		if !signed {
			shown.State = "draft"
		}
		out.Releases = append(out.Releases, shown)
	}
	return out, nil
}

func (a *app) showTree(p *printer, out listed) {
	p.line("Feed:  %s", out.Name)
	p.line("Root:  SHA-256 %s", out.SHA256)
	t := newTable(col("ROLE"), num("VERSION"), col("EXPIRES"), num("KEYS"), num("NEEDED"), col(""))
	for _, s := range out.Roles {
		expires, state := text(""), text("")
		if s.Version > 0 {
			expires = text(a.exactly(s.Expires))
			if s.Expires.Before(a.Now()) {
				state = toned("expired", bad)
			}
		}
		if s.Pending {
			state = toned("a new version waits for signatures", warn)
		}
		t.add(text(string(s.Role)), text(fmt.Sprint(s.Version)), expires, text(count(len(s.Keys))), text(count(s.Threshold)), state)
	}
	p.table(t)
	if len(out.Releases) == 0 {
		p.line("No releases yet; add one with assent feed add.")
		return
	}
	a.showReleases(p, out.Releases)
}

// feedVerified is the answer of feed verify.
type feedVerified struct {
	Root     string      `json:"root_sha256"` // of the root that it was verified from
	Pinned   bool        `json:"pinned"`      // the root was given, not taken from the feed
	State    trust.State `json:"state"`
	Files    int         `json:"files"`   // signed
	Checked  int         `json:"checked"` // read whole and compared
	Releases []feedRow   `json:"releases"`
}

func (a *app) feedVerify() *cobra.Command {
	var root, name string
	var payloads bool
	c := &cobra.Command{
		Use: "verify DIR|URL", Short: "Verify a published feed as a client does", Args: args(1, 1, "a published feed: a folder or an address"),
		Long: `Verify a feed from its root on, as servers and devices do: signatures, versions, expiry, every release's description and
every file's digest. Without --root the feed's own first root is believed: then compare its digest with the publisher's.

The payloads of an address are only read with --payloads.`,
		Example: `  assent feed verify /srv/www/feed
  assent feed verify https://updates.example.com/feed --root acme.root.json --payloads`,
		ValidArgsFunction: inFolder,
		RunE: func(cmd *cobra.Command, names []string) error {
			src, local, err := feedSource(names[0])
			if err != nil {
				return err
			}
			v := &verification{app: a, src: src, name: name, payloads: payloads || local}
			out, err := v.run(cmd.Context(), root)
			a.progressDone()
			if err != nil {
				return told(err)
			}
			return a.answer(out, func(p *printer) { a.showVerified(p, out) })
		},
	}
	c.Flags().StringVar(&root, "root", "", "file with the root to begin with")
	c.Flags().StringVar(&name, "name", "", "the feed's name: its releases must be that feed's")
	c.Flags().BoolVar(&payloads, "payloads", false, "read all payloads too")
	return c
}

func feedSource(where string) (src trust.Source, local bool, err error) {
	if strings.Contains(where, "://") {
		src, err = trust.HTTP(where, nil)
		return src, false, err
	}
	if info, err := os.Stat(where); err != nil || !info.IsDir() {
		return nil, false, fault.New(fault.NotFound, "feed_missing", "There is no folder %s.", where)
	}
	return trust.Dir(where), true, nil
}

// verification is one run of feed verify.
type verification struct {
	*app
	src      trust.Source
	name     string
	payloads bool
	client   *trust.Client
}

// nowhere is a store that keeps nothing: verify begins at the root each time.
type nowhere struct{}

func (nowhere) Read(name string) ([]byte, error) {
	return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
}
func (nowhere) Write(string, []byte) error { return nil }

func (v *verification) run(ctx context.Context, rootFile string) (feedVerified, error) {
	root, err := v.root(ctx, rootFile)
	if err != nil {
		return feedVerified{}, err
	}
	sum := sha256.Sum256(root)
	out := feedVerified{Root: hex.EncodeToString(sum[:]), Pinned: rootFile != "", Releases: []feedRow{}}
	if v.client, err = trust.Open(root, nowhere{}); err != nil {
		return out, err
	}
	if err := v.client.Refresh(ctx, v.src, v.Now()); err != nil {
		return out, err
	}
	out.State = v.client.State()
	targets := v.client.Targets()
	out.Files = len(targets)
	for _, path := range slices.Sorted(maps.Keys(targets)) {
		switch {
		case strings.HasPrefix(path, feed.ReleasePrefix):
			r, err := v.release(ctx, path)
			if err != nil {
				return out, err
			}
			out.Releases = append(out.Releases, row(r))
		case strings.HasPrefix(path, feed.PayloadPrefix) && !v.payloads:
			continue
		default:
			if err := v.whole(ctx, targets[path]); err != nil {
				return out, err
			}
		}
		out.Checked++
	}
	slices.SortStableFunc(out.Releases, func(x, y feedRow) int { return cmp.Compare(x.Manifest.Application, y.Manifest.Application) })
	return out, nil
}

func (v *verification) root(ctx context.Context, file string) ([]byte, error) {
	if file == "" {
		b, err := v.src.Read(ctx, trust.MetadataDir+"/1.root.json", trust.MaxRoot)
		if err != nil {
			return nil, trust.ErrUnreachable.Because(err)
		}
		return b, nil
	}
	b, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return nil, fault.New(fault.Invalid, "file_unreadable", "The root cannot be read: %v.", err).On("root")
	}
	return b, nil
}

// release reads a manifest and its recall, and demands that what it names is signed too.
func (v *verification) release(ctx context.Context, path string) (feed.Release, error) {
	b, err := v.client.Target(ctx, v.src, path)
	if err != nil {
		return feed.Release{}, err
	}
	r, err := feed.Parse(cmp.Or(v.name, "feed"), b)
	if err != nil {
		return r, fmt.Errorf("%s: %w", path, err)
	}
	if want := feed.ReleaseTarget(r.ID()); v.name != "" && path != want {
		return r, trust.ErrMalformed.Because(fmt.Errorf("%s %s lies at %s; in a feed named %s it would be %s", r.Name, r.Version, path, v.name, want))
	}
	for _, it := range r.Manifest.Items {
		if t, ok := v.client.Lookup(feed.PayloadTarget(it.SHA256)); !ok || t.SHA256 != it.SHA256 || t.Size != it.Size {
			return r, trust.ErrMalformed.Because(fmt.Errorf("%s %s names a file that is not signed: %s", r.Name, r.Version, it.SHA256))
		}
	}
	id := strings.TrimSuffix(strings.TrimPrefix(path, feed.ReleasePrefix), ".json")
	recall := feed.RevocationTarget(catalog.UpdateID(id))
	if _, ok := v.client.Lookup(recall); !ok {
		return r, nil
	}
	if b, err = v.client.Target(ctx, v.src, recall); err != nil {
		return r, err
	}
	revoked, err := feed.ParseRevoked(b)
	r.Revoked = &catalog.Revocation{At: revoked.At, Reason: revoked.Reason}
	return r, err
}

// whole reads a file of any size and compares it.
func (v *verification) whole(ctx context.Context, t trust.Target) (err error) {
	body, err := trust.Stream(ctx, v.src, t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	check := trust.NewVerifier(t)
	progress := v.progress()
	buf := make([]byte, 1<<20)
	for done := int64(0); ; {
		n, err := body.Read(buf)
		if _, bad := check.Write(buf[:n]); bad != nil {
			return bad
		}
		if done += int64(n); progress != nil {
			progress(t.Path, done, t.Size)
		}
		if errors.Is(err, io.EOF) {
			return check.Verify()
		}
		if err != nil {
			return trust.ErrUnreachable.Because(fmt.Errorf("%s: %w", t.Path, err))
		}
	}
}

func (a *app) showVerified(p *printer, out feedVerified) {
	p.line("Verified: %d of %s, each against its signed digest.", out.Checked, many(out.Files, "signed file"))
	p.line("Root:     SHA-256 %s", out.Root)
	if !out.Pinned {
		p.line("          This root came from the feed itself; compare the digest with the publisher's.")
	}
	p.line("Versions: root %d, targets %d, snapshot %d, timestamp %d", out.State.RootVersion, out.State.TargetsVersion, out.State.SnapshotVersion, out.State.TimestampVersion)
	left := out.State.Expires.Sub(a.Now())
	p.line("Fresh:    until %s (%d hours)", a.exactly(out.State.Expires), int(left/time.Hour))
	if len(out.Releases) > 0 {
		a.showReleases(p, out.Releases)
	}
}
