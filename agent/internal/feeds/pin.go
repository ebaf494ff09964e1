package feeds

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"assent/agent/internal/statedir"
	"assent/fault"
	"assent/feed"
	"assent/trust"
	"assent/wire"
)

// The refusals of a feed that a server names.
var (
	ErrRoot    = fault.New(fault.Forbidden, "feed_root", "The feed is pinned to another root on this device. Only the feed's own keys can change it.")
	ErrSetting = fault.New(fault.Forbidden, "feed_setting", "This device follows only the feeds that were pinned when it was enrolled.")
	errTooMany = fault.New(fault.TooLarge, "feed_count", "A device follows %d feeds at most.", maxFeeds)
)

// Pin pins the roots that came with the enrolment. One that is pinned already stays as it is: naming it again with a root
// of its own chain changes nothing, with any other it is refused. Feeds that are in order are pinned whatever is wrong
// with the rest. Durable when it returns.
func (f *Feeds) Pin(roots []wire.FeedRoot) error {
	f.turn.Lock()
	defer f.turn.Unlock()
	var errs []error
	for _, r := range roots {
		if err := f.pin(r.ID, r.Root); err != nil {
			errs = append(errs, fmt.Errorf("pin feed %.80q: %w", r.ID, err))
		}
	}
	return errors.Join(errs...)
}

// pin pins a root, or makes sure that it is the pinned one.
func (f *Feeds) pin(id string, root []byte) error {
	if err := feed.CheckID(id); err != nil {
		return err
	}
	if one := f.find(id); one != nil {
		if one.hasRoot(wire.Digest(root)) {
			return nil
		}
		return f.refuseRoot(one, wire.Digest(root))
	}
	f.mu.Lock()
	full := len(f.feeds) >= maxFeeds
	f.mu.Unlock()
	if full {
		return errTooMany
	}
	one, err := newFollower(f.path(id), id, root)
	if err != nil {
		return err
	}
	one.wanted = true
	f.mu.Lock()
	f.feeds[id] = one
	f.mu.Unlock()
	return nil
}

func (f *Feeds) refuseRoot(one *follower, digest string) error {
	one.dispute("the server names another root, " + short(digest) + ", than the one pinned here, " + short(wire.Digest(one.root)))
	f.tell(Event{Kind: EventRootRefused, Feed: one.id, Detail: fmt.Sprintf(
		"The server names the root %s for the feed %s, which is pinned to %s on this device. Only the feed's own keys can change its root.",
		short(digest), one.id, short(wire.Digest(one.root)))})
	return ErrRoot
}

// short is the beginning of a digest, for people.
func short(digest string) string { return fmt.Sprintf("%.16s…", digest) }

// Follow makes the device follow exactly the feeds of an accepted plan: it pins those it did not know from the root whose
// digest the plan has, brings those up to date of which the server has something newer, and takes notice of those that
// are gone. changed says that releases or their recalls are others than before. The error joins what went wrong with
// single feeds; the rest is done all the same.
func (f *Feeds) Follow(ctx context.Context, plan []wire.PlanFeed) (changed bool, err error) {
	f.turn.Lock()
	defer f.turn.Unlock()
	before := f.Stamp()
	var errs []error
	var wanted []string
	for _, p := range plan[:min(len(plan), maxFeeds)] {
		if err := f.admit(ctx, p); err != nil {
			errs = append(errs, fmt.Errorf("follow feed %.80q: %w", p.ID, err))
		}
		if f.find(p.ID) != nil {
			wanted = append(wanted, p.ID)
		}
	}
	if err := f.want(wanted); err != nil {
		return false, errors.Join(append(errs, err)...)
	}
	for _, p := range plan[:min(len(plan), maxFeeds)] {
		one := f.find(p.ID)
		if one == nil || !one.behind(p.Timestamp) {
			continue
		}
		if err := f.sync(ctx, one); err != nil {
			errs = append(errs, fmt.Errorf("follow feed %s: %w", p.ID, err))
		}
	}
	if err := f.publish(ctx); err != nil {
		errs = append(errs, err)
	}
	return f.Stamp() != before, errors.Join(errs...)
}

// admit pins a feed that a signed plan names, or checks that it is the one that is pinned.
func (f *Feeds) admit(ctx context.Context, p wire.PlanFeed) error {
	if err := feed.CheckID(p.ID); err != nil {
		return err
	}
	if one := f.find(p.ID); one != nil {
		if p.Root == "" || one.hasRoot(p.Root) {
			one.dispute("")
			return nil
		}
		return f.refuseRoot(one, p.Root)
	}
	if f.cfg.EnrolmentOnly {
		f.tell(Event{Kind: EventRefused, Feed: p.ID, Detail: "The plan names the feed " + p.ID + ", but this device follows only the feeds that were pinned when it was enrolled."})
		return ErrSetting
	}
	root, err := f.firstRoot(ctx, p)
	if err != nil {
		return err
	}
	return f.pin(p.ID, root)
}

// maxRoots is how many versions of a root are looked through for the one that a plan names.
const maxRoots = 64

// firstRoot fetches the root with the digest that the plan has. The server has it as "root.json"; a plain copy of a feed
// has it among the versions of the root.
func (f *Feeds) firstRoot(ctx context.Context, p wire.PlanFeed) ([]byte, error) {
	src := files{f.cfg.Source, p.ID}
	b, err := src.Read(ctx, "root.json", trust.MaxRoot)
	if err == nil && wire.Digest(b) == p.Root {
		return b, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, trust.ErrUnreachable.Because(err)
	}
	found := false // a copy may begin with a later root than the first, and has no gaps from there on
	for v := range maxRoots {
		b, err := src.Read(ctx, fmt.Sprintf("%s/%d.root.json", trust.MetadataDir, v+1), trust.MaxRoot)
		if errors.Is(err, fs.ErrNotExist) && found {
			break
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, trust.ErrUnreachable.Because(err)
		}
		found = true
		if wire.Digest(b) == p.Root {
			return b, nil
		}
	}
	return nil, trust.ErrMismatch.Because(fmt.Errorf("the server has no root with the digest %s that the plan names", short(p.Root)))
}

const wantedFile = "followed.json"

// readWanted reads which of the pinned feeds the last plan named; all, before there was one.
func (f *Feeds) readWanted() (wanted []string, all bool, err error) {
	b, err := os.ReadFile(filepath.Join(f.dir(), wantedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, true, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &wanted)
	}
	return wanted, false, err
}

// want notes durably which feeds are followed.
func (f *Feeds) want(ids []string) error {
	if ids == nil {
		ids = []string{}
	}
	slices.Sort(ids)
	body, err := json.Marshal(slices.Compact(ids))
	if err != nil {
		return fmt.Errorf("note the followed feeds: %w", err)
	}
	if have, err := os.ReadFile(filepath.Join(f.dir(), wantedFile)); err != nil || !bytes.Equal(have, body) {
		dir, err := statedir.Open(f.dir())
		if err != nil {
			return fmt.Errorf("note the followed feeds: %w", err)
		}
		if err := errors.Join(dir.Write(wantedFile, body), dir.Close()); err != nil {
			return fmt.Errorf("note the followed feeds: %w", err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, one := range f.feeds {
		one.wanted = slices.Contains(ids, id)
	}
	return nil
}
