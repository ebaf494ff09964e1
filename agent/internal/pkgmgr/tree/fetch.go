package tree

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"regexp"
	"time"

	"assent/agent/internal/journal"
	"assent/agent/internal/pkgmgr"
	"assent/agent/internal/statedir"
	"assent/archive"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

const (
	partSuffix = ".part"
	// staleAfter is the age from which a download that nobody came back for is given up.
	staleAfter = 7 * 24 * time.Hour
)

var digest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Fetch implements pkgmgr.Transactor. A download that broke off is taken up where it ended. What is fetched is
// judged whole, and measured, before anything of it is unpacked.
func (t *Tree) Fetch(ctx context.Context, tx pkgmgr.Transaction, progress func(pkgmgr.Progress)) error {
	release, err := t.hold()
	if err != nil {
		return refusalOf("applications", err)
	}
	defer release()
	aims, err := t.aims(ctx, tx.Want)
	if err != nil {
		return err
	}
	meter := newMeter(aims, progress)
	for _, a := range aims {
		if a.op == wire.OpRemove || a.kept != nil && t.damage(ctx, a.rec.key(), *a.kept, true) == "" {
			continue
		}
		if err := t.fetch(ctx, a, meter); err != nil {
			return refusalOf(a.item.Name, err)
		}
	}
	return nil
}

// fetch brings one payload into the cache and judges it.
func (t *Tree) fetch(ctx context.Context, a aim, m *meter) error {
	if !digest.MatchString(a.item.SHA256) {
		return refuse(installation.UnknownData, "%s has no digest.", a.item.Key())
	}
	cache, err := t.store("payloads")
	if err != nil {
		return err
	}
	defer cache.Close()
	f, err := t.payload(cache, a.item)
	if errors.Is(err, fs.ErrNotExist) {
		if err := t.checkRoom(t.cfg.StateDir, measure{bytes: a.item.Size}); err != nil {
			return err
		}
		if err := t.download(ctx, cache, a.item, m); err != nil {
			return err
		}
		f, err = t.payload(cache, a.item)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	need, err := t.judgePayload(ctx, a.rec.key(), f, a.item.Size)
	if err != nil {
		return err
	}
	return t.checkRoom(t.cfg.Root+"/"+base(a.rec.Payload), need)
}

// cached reports whether a payload is there, going by its size alone.
func (t *Tree) cached(it catalog.Item) bool {
	cache, err := t.store("payloads")
	if err != nil || !digest.MatchString(it.SHA256) {
		return false
	}
	defer cache.Close()
	info, err := cache.Root().Lstat(it.SHA256)
	return err == nil && info.Mode().IsRegular() && info.Size() == it.Size
}

// payload opens a payload of the cache after comparing its content with what was approved. One with other content is
// removed. fs.ErrNotExist means that it has to be fetched.
func (t *Tree) payload(cache *statedir.Dir, it catalog.Item) (*os.File, error) {
	f, err := cache.Root().Open(it.SHA256)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err == nil && (n != it.Size && it.Size != 0 || hex.EncodeToString(h.Sum(nil)) != it.SHA256) {
		err = errors.Join(fs.ErrNotExist, cache.Remove(it.SHA256))
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// download streams a payload into the cache. What a broken download left is only a hint: should the whole not be what was
// approved, it is fetched once more from its beginning.
func (t *Tree) download(ctx context.Context, cache *statedir.Dir, it catalog.Item, m *meter) error {
	resumed, err := t.stream(ctx, cache, it, m)
	var r *pkgmgr.Refusal
	if resumed && errors.As(err, &r) && r.Cause == installation.DigestMismatch {
		_, err = t.stream(ctx, cache, it, m)
	}
	return err
}

// stream is one attempt of download. It reports whether it went on where another ended.
func (t *Tree) stream(ctx context.Context, cache *statedir.Dir, it catalog.Item, m *meter) (resumed bool, err error) {
	part := it.SHA256 + partSuffix
	f, err := cache.Root().OpenFile(part, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return false, err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		var r *pkgmgr.Refusal
		if err != nil && ctx.Err() == nil && !(errors.As(err, &r) && r.Cause == installation.ContentUnavailable) {
			err = errors.Join(err, cache.Remove(part)) // of no use, or a full disk must get its bytes back
		}
	}()
	h := sha256.New()
	have, err := io.Copy(h, f)
	if err != nil {
		return false, err
	}
	if err := t.rest(ctx, it, have, io.MultiWriter(f, h), h, m); err != nil {
		return have > 0, err
	}
	if err := f.Sync(); err != nil {
		return have > 0, err
	}
	journal.CrashPoint(payloadPart)
	if err := cache.Root().Rename(part, it.SHA256); err != nil {
		return have > 0, err
	}
	defer journal.CrashPoint(payloadFetched)
	return have > 0, cache.Sync()
}

// rest reads what is missing of a payload and compares the whole with what was approved.
func (t *Tree) rest(ctx context.Context, it catalog.Item, have int64, to io.Writer, h hash.Hash, m *meter) error {
	n := have
	if have < it.Size {
		body, err := t.cfg.Payloads.Open(ctx, it.SHA256, have)
		if err != nil {
			return unavailable(ctx, it, err)
		}
		defer body.Close()
		src := archive.NewWhole(&attentive{ctx, body}, it.Size-have)
		more, err := io.Copy(to, m.reader(src, it.Name))
		if n += more; src.Err() != nil {
			return unavailable(ctx, it, src.Err())
		}
		if err != nil {
			return err
		}
		if extra, _ := io.ReadFull(&attentive{ctx, body}, make([]byte, 1)); extra > 0 {
			n++
		}
	}
	if sum := hex.EncodeToString(h.Sum(nil)); n != it.Size || sum != it.SHA256 {
		return refuse(installation.DigestMismatch, "The feed sends other content for %s than was approved: found SHA-256 %s (%d bytes or more), approved %s (%d bytes).",
			it.Key(), sum, n, it.SHA256, it.Size)
	}
	return nil
}

func unavailable(ctx context.Context, it catalog.Item, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return refuse(installation.ContentUnavailable, "The download of %s failed: %v.", it.Key(), err)
}

// attentive is a reader that ends with its context.
type attentive struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (a *attentive) Read(p []byte) (int, error) {
	if err := a.ctx.Err(); err != nil {
		return 0, err
	}
	return a.r.Read(p)
}

// meter turns bytes into progress.
type meter struct {
	report      func(pkgmgr.Progress)
	total, done int64
	said        float64
}

func newMeter(aims []aim, report func(pkgmgr.Progress)) *meter {
	m := &meter{report: report}
	if report == nil {
		m.report = func(pkgmgr.Progress) {}
	}
	for _, a := range aims {
		if a.op != wire.OpRemove && a.kept == nil {
			m.total += a.item.Size
		}
	}
	return m
}

func (m *meter) reader(r io.Reader, name string) io.Reader { return &metered{m, r, name} }

type metered struct {
	m    *meter
	r    io.Reader
	name string
}

// Read implements io.Reader.
func (r *metered) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.m.done += int64(n)
	percent := min(100, 100*float64(r.m.done)/float64(max(1, r.m.total)))
	if percent >= r.m.said+1 {
		r.m.said = percent
		r.m.report(pkgmgr.Progress{Phase: "download", Package: r.name, Percent: percent, Text: fmt.Sprintf("%s: %d bytes", r.name, r.m.done)})
	}
	return n, err
}

// dropPayloads removes a payload that is unpacked, and downloads that nobody came back for.
func (t *Tree) dropPayloads(done string) error {
	cache, err := t.store("payloads")
	if err != nil {
		return err
	}
	defer cache.Close()
	entries, err := fs.ReadDir(cache.Root().FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue
		}
		if e.Name() == done || t.cfg.Now().Sub(info.ModTime()) > staleAfter {
			if err := cache.Remove(e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}
