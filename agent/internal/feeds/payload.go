package feeds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"assent/agent/internal/feeds/aptrepo"
	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/feed"
	"assent/installation"
	"assent/trust"
	"assent/wire"
)

// Open opens a payload that a followed feed signed, by its digest and from an offset on. The bytes are not verified yet:
// what reads them compares size and digest. The caller closes.
func (f *Feeds) Open(ctx context.Context, sha256 string, offset int64) (io.ReadCloser, error) {
	one, t, err := f.payload(sha256)
	if err != nil {
		return nil, err
	}
	body, size, err := f.cfg.Source.Feed(ctx, one.id, trust.TargetFile(t), offset)
	if err != nil {
		return nil, trust.ErrUnreachable.Because(err)
	}
	if size >= 0 && size != t.Size {
		err := trust.ErrMismatch.Because(fmt.Errorf("%s has %d bytes on the server, signed were %d", t.Path, size, t.Size))
		return nil, errors.Join(err, body.Close())
	}
	return body, nil
}

// payload finds which followed feed signed a payload.
func (f *Feeds) payload(sha256 string) (*follower, trust.Target, error) {
	for _, one := range f.followed() {
		if t, ok := one.client.Lookup(feed.PayloadTarget(sha256)); ok && t.SHA256 == sha256 {
			return one, t, nil
		}
	}
	return nil, trust.Target{}, trust.ErrNoTarget.Because(fmt.Errorf("no followed feed has a payload with the digest %s", short(sha256)))
}

// Prepare puts the files of those changes that come from feeds where apt looks for them, fetched and verified. Files that
// are there already are not fetched again, and partial ones are continued. A failure is a *pkgmgr.Refusal; progress may
// be nil.
func (f *Feeds) Prepare(ctx context.Context, changes []wire.Change, progress func(pkgmgr.Progress)) error {
	for _, c := range changes {
		id, ok := catalog.FeedOf(c.Space)
		if !ok || c.Op == wire.OpRemove || c.Format.Side() || feed.CheckID(id) != nil {
			continue
		}
		report := func(done, size int64) {
			if progress != nil {
				progress(pkgmgr.Progress{Phase: "download", Package: c.Name, Percent: min(100, 100*float64(done)/float64(max(1, size)))})
			}
		}
		if err := f.place(ctx, id, c.SHA256, report); err != nil {
			return refusal(c, err)
		}
	}
	return nil
}

// refusal names the cause of a payload that could not be had.
func refusal(c wire.Change, err error) *pkgmgr.Refusal {
	r := &pkgmgr.Refusal{Cause: installation.ContentUnavailable, Detail: fmt.Sprintf("The file of %s %s cannot be had from its feed: %s", c.Name, c.Version, sentence(err))}
	switch {
	case full(err):
		r.Cause = installation.NoSpace
	case errors.Is(err, trust.ErrMismatch):
		r.Cause = installation.DigestMismatch
	}
	return r
}

// full reports whether there is no room.
func full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// place makes sure that a payload lies in the pool of a feed's repository.
func (f *Feeds) place(ctx context.Context, id, sha256 string, report func(done, size int64)) error {
	one, t, err := f.payload(sha256)
	if err != nil {
		return err
	}
	if one.id != id {
		return trust.ErrNoTarget.Because(fmt.Errorf("the feed %s has no payload with the digest %s", id, short(sha256)))
	}
	final := filepath.Join(f.cfg.Root, aptrepo.PoolFile(id, sha256))
	if have, err := os.Open(final); err == nil {
		err = errors.Join(trust.Verify(have, t), have.Close())
		if err == nil {
			return nil
		}
	}
	return f.download(ctx, t, final, report)
}

// partialName keeps what is not verified from being taken for a package, by people too.
const partialName = ".partial-"

// pauses between attempts of a download that does not get on; one that does may be interrupted as often as it likes.
var pauses = []time.Duration{time.Second, 5 * time.Second, 15 * time.Second}

// download fetches a payload into a partial file beside final and gives it its name once it is the signed one. What was
// fetched stays when it fails, unless it is wrong or there is no room.
func (f *Feeds) download(ctx context.Context, t trust.Target, final string, report func(done, size int64)) error {
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		return err
	}
	partial := filepath.Join(filepath.Dir(final), partialName+t.SHA256)
	file, err := os.OpenFile(partial, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	d := partialFile{feeds: f, file: file, target: t, report: report}
	err = d.finish(ctx)
	if errors.Is(err, trust.ErrMismatch) || full(err) {
		return errors.Join(err, os.Remove(partial)) // a full disk must get its bytes back
	}
	if err == nil {
		err = errors.Join(file.Chmod(0o644), file.Sync())
	}
	if err == nil {
		err = os.Rename(partial, final)
	}
	return err
}

// partialFile is a download under way.
type partialFile struct {
	feeds  *Feeds
	file   *os.File
	target trust.Target
	report func(done, size int64)
	sum    *trust.Verifier
	done   int64
}

// finish continues the file until it is whole, and verifies it.
func (d *partialFile) finish(ctx context.Context) error {
	d.sum = trust.NewVerifier(d.target)
	n, err := io.Copy(d.sum, d.file)
	if err != nil {
		return err
	}
	d.done = n
	for failed := 0; d.done < d.target.Size; {
		before := d.done
		err := d.more(ctx)
		switch {
		case d.done >= d.target.Size && err == nil: // whole
		case errors.Is(err, trust.ErrMismatch), full(err), errors.Is(err, fs.ErrNotExist):
			return err
		case d.done > before:
			failed = 0
		case failed == len(pauses):
			return err
		default:
			if err := pause(ctx, pauses[failed]); err != nil {
				return err
			}
			failed++
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return d.sum.Verify()
}

// more takes what one connection gives.
func (d *partialFile) more(ctx context.Context) (err error) {
	body, err := d.feeds.Open(ctx, d.target.SHA256, d.done)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	buf := make([]byte, 256<<10)
	for {
		n, readErr := body.Read(buf)
		if _, err := d.sum.Write(buf[:n]); err != nil {
			return err
		}
		if _, err := d.file.WriteAt(buf[:n], d.done); err != nil {
			return err
		}
		d.done += int64(n)
		d.report(d.done, d.target.Size)
		switch {
		case errors.Is(readErr, io.EOF) && d.done < d.target.Size:
			return trust.ErrUnreachable.Because(io.ErrUnexpectedEOF)
		case errors.Is(readErr, io.EOF):
			return nil
		case readErr != nil:
			return trust.ErrUnreachable.Because(readErr)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Keep removes all payloads and partial ones from before apt but those with these digests: what is installed, and what
// may be gone back to.
func (f *Feeds) Keep(digests map[string]bool) {
	found, err := filepath.Glob(filepath.Join(f.cfg.Root, aptrepo.Dir, "*", aptrepo.PoolDir, "*"))
	if err != nil {
		return
	}
	partial, _ := filepath.Glob(filepath.Join(f.cfg.Root, aptrepo.Dir, "*", aptrepo.PoolDir, partialName+"*"))
	for _, name := range append(found, partial...) {
		base := filepath.Base(name)
		if digest := strings.TrimSuffix(strings.TrimPrefix(base, partialName), ".deb"); digests[digest] {
			continue
		}
		if err := os.Remove(name); err != nil {
			f.cfg.Log.Warn("a payload that is not needed any more stays", "file", name, "error", err)
		}
	}
}
