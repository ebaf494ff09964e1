package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"time"

	"assent/client"
	"assent/content"
	"assent/fault"
	"assent/feed"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/trust"
)

// How long people's requests may wait for a feed's server.
const (
	verifyFor = 90 * time.Second // a subscription's first look
	lookFor   = 90 * time.Second // a refresh that is waited for
)

var (
	errUnknownFeed = fault.New(fault.NotFound, "feed_unknown", "There is no such feed; `assent feed subscriptions` lists all.").On("feed")
	errRoot        = fault.New(fault.Invalid, "feed_root_missing", "Say which root is trusted: give the feed's first root.json, or its SHA-256.").On("root")
	errRootDigest  = fault.New(fault.Conflict, "feed_root_other", "No root of the feed has this SHA-256.").On("root_sha256")
	errRootFeed    = fault.New(fault.Conflict, "feed_root_foreign", "The feed is not the one that this root belongs to.").On("root")
	errLooking     = fault.New(fault.Unavailable, "feed_looking", "The server is still looking at the feed; ask again later.")
)

// admit lets administrators of the root group through: a feed concerns all devices.
func admit(who auth.Actor) error { return who.CanAll(ledger.Administrator) }

// Feeds lists the subscribed feeds.
func (m *Mirror) Feeds(_ context.Context, who auth.Actor) (client.List[client.FeedRow], error) {
	if err := admit(who); err != nil {
		return client.List[client.FeedRow]{}, err
	}
	feeds := m.Book.Feeds()
	list := client.List[client.FeedRow]{Items: []client.FeedRow{}, Total: len(feeds)}
	for _, id := range slices.Sorted(maps.Keys(feeds)) {
		list.Items = append(list.Items, m.show(feeds[id]))
	}
	return list, nil
}

// Feed shows a subscribed feed.
func (m *Mirror) Feed(_ context.Context, who auth.Actor, name string) (client.FeedRow, error) {
	if err := admit(who); err != nil {
		return client.FeedRow{}, err
	}
	f, ok := m.Book.Feeds()[name]
	if !ok {
		return client.FeedRow{}, errUnknownFeed
	}
	return m.show(f), nil
}

func (m *Mirror) show(f ledger.Feed) client.FeedRow {
	if follower := m.follower(f.ID); follower != nil && same(follower.feed, f) {
		return follower.row()
	}
	return rowOf(f)
}

// Subscribe follows a feed, or follows it from another address, once it was verified from there.
func (m *Mirror) Subscribe(ctx context.Context, who auth.Actor, r client.FeedRequest) (client.FeedAct, error) {
	if err := admit(who); err != nil {
		return client.FeedAct{}, err
	}
	f, err := m.verify(ctx, r)
	if err != nil {
		return client.FeedAct{}, err
	}
	entry, err := m.Book.Act(ctx, who.Name, func(feeds map[string]ledger.Feed) (ledger.Body, error) {
		if old, ok := feeds[f.ID]; ok && same(old, f) {
			return nil, fault.New(fault.Conflict, "feed_subscribed", "The feed %q is subscribed already, from this address.", f.ID).On("name")
		}
		return ledger.FeedSubscribe{Feed: f}, nil
	})
	if err != nil {
		return client.FeedAct{}, err
	}
	m.Log.Info("act", "act", entry.Seq, "kind", entry.Kind, "by", who.Name, "feed", f.ID, "url", f.URL)
	return client.FeedAct{Act: client.Act{Act: entry.Seq, At: entry.At}, Feed: m.show(f)}, nil
}

// verify looks at a feed as a device would that pins this root. Nothing of it is kept.
func (m *Mirror) verify(ctx context.Context, r client.FeedRequest) (ledger.Feed, error) {
	none := ledger.Feed{}
	if err := feed.CheckID(r.Name); err != nil {
		return none, err
	}
	src, err := newSource(r.URL, m.Client)
	if err != nil {
		return none, err
	}
	ctx, cancel := context.WithTimeout(ctx, verifyFor)
	defer cancel()
	root, err := pinned(ctx, src, r)
	if err != nil {
		return none, err
	}
	c, err := trust.Open(root, scratch{})
	if err != nil {
		return none, onField(err, "root")
	}
	if err := ours(ctx, src, c.State().RootVersion, root); err != nil {
		return none, err
	}
	if err := c.Refresh(ctx, src, m.Now()); err != nil {
		return none, onField(timely(ctx, err), "url")
	}
	if err := m.named(ctx, src, r.Name, c); err != nil {
		return none, onField(timely(ctx, err), "url")
	}
	return ledger.Feed{ID: r.Name, URL: r.URL, Root: root}, nil
}

// timely says that a feed that took too long cannot be read.
func timely(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return trust.ErrUnreachable.Because(err)
	}
	return err
}

// onField names the input at fault in a refusal that names none.
func onField(err error, field string) error {
	if f := fault.From(err); f.Kind != fault.Internal && f.Field == "" {
		return f.On(field)
	}
	return err
}

// pinned is the root that the caller trusts.
func pinned(ctx context.Context, src source, r client.FeedRequest) ([]byte, error) {
	switch {
	case (len(r.Root) == 0) == (r.RootSHA256 == ""):
		return nil, errRoot
	case len(r.Root) > trust.MaxRoot:
		return nil, fault.New(fault.TooLarge, "feed_root_large", "A root has %d bytes at most.", trust.MaxRoot).On("root")
	case len(r.Root) > 0:
		return r.Root, nil
	case content.CheckName(r.RootSHA256) != nil:
		return nil, fault.New(fault.Invalid, "feed_root_digest", "The SHA-256 of a root has 64 lower-case hex digits.").On("root_sha256")
	}
	for version := 1; version <= maxRoots; version++ {
		b, err := src.Read(ctx, path.Join(trust.MetadataDir, fmt.Sprintf("%d.root.json", version)), trust.MaxRoot)
		if errors.Is(err, fs.ErrNotExist) && version > 1 {
			break
		}
		if err != nil {
			return nil, onField(trust.ErrUnreachable.Because(err), "url")
		}
		if content.Digest(b) == r.RootSHA256 {
			return b, nil
		}
	}
	return nil, errRootDigest
}

// maxRoots bounds how many versions of a root are searched for a digest.
const maxRoots = 256

// ours makes sure that the feed at the source has the pinned root as its own: one that merely has no newer root than
// another feed's would fail later, with less clear words.
func ours(ctx context.Context, src source, version int64, root []byte) error {
	b, err := src.Read(ctx, path.Join(trust.MetadataDir, fmt.Sprintf("%d.root.json", version)), trust.MaxRoot)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // an old root that is not published any more; the chain from it on must be
	}
	if err != nil {
		return onField(trust.ErrUnreachable.Because(timely(ctx, err)), "url")
	}
	if string(b) != string(root) {
		return errRootFeed
	}
	return nil
}

// named refuses a feed that its publisher gave another name.
func (m *Mirror) named(ctx context.Context, src source, name string, c *trust.Client) error {
	list, err := documents(c.Targets())
	if err != nil {
		return err
	}
	docs := map[string][]byte{}
	for _, t := range list {
		if len(docs) == 3 || t.Size > feed.MaxManifest { // a few tell
			break
		}
		if docs[t.Path], err = c.Target(ctx, src, t.Path); err != nil {
			return err
		}
	}
	return rightName(name, docs)
}

// scratch is a trust.Store that keeps nothing.
type scratch struct{}

func (scratch) Read(string) ([]byte, error) { return nil, fs.ErrNotExist }
func (scratch) Write(string, []byte) error  { return nil }

// Unsubscribe stops following a feed. What it published stays in the catalog.
func (m *Mirror) Unsubscribe(ctx context.Context, who auth.Actor, name string) (client.Act, error) {
	if err := admit(who); err != nil {
		return client.Act{}, err
	}
	entry, err := m.Book.Act(ctx, who.Name, func(feeds map[string]ledger.Feed) (ledger.Body, error) {
		if _, ok := feeds[name]; !ok {
			return nil, errUnknownFeed
		}
		return ledger.FeedUnsubscribe{ID: name}, nil
	})
	if err != nil {
		return client.Act{}, err
	}
	m.Log.Info("act", "act", entry.Seq, "kind", entry.Kind, "by", who.Name, "feed", name)
	return client.Act{Act: entry.Seq, At: entry.At}, nil
}

// Refresh has this server look at a feed now, and waits for the end of that if asked to.
func (m *Mirror) Refresh(ctx context.Context, who auth.Actor, name string, r client.FeedRefresh) (client.FeedRow, error) {
	if err := admit(who); err != nil {
		return client.FeedRow{}, err
	}
	known, ok := m.Book.Feeds()[name]
	if !ok {
		return client.FeedRow{}, errUnknownFeed
	}
	if !r.Wait {
		if f := m.follower(name); f != nil {
			f.nudge()
		}
		return m.show(known), nil // one that was subscribed a moment ago is looked at anyway
	}
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	f, err := m.present(ctx, known)
	if err != nil {
		return client.FeedRow{}, err
	}
	if err := f.ask(ctx); err != nil {
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
			err = errLooking
		}
		return client.FeedRow{}, err
	}
	return f.row(), nil
}
