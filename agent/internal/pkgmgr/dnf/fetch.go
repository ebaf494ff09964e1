package dnf

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
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"assent/agent/internal/durable"
	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

const (
	suffix = ".rpm" // without which dnf takes a path for a name
	part   = ".part"
	spare  = 32 << 20 // bytes that stay free
)

// poolFile is where a payload lies, by its digest.
func (d *Dnf) poolFile(sha256 string) string { return d.path("pool", sha256+suffix) }

// Fetch implements pkgmgr.Transactor. Once all files are here dnf is asked what it would really do with them; what stands
// outside the order is refused. A download that broke off is taken up where it ended.
func (d *Dnf) Fetch(ctx context.Context, tx pkgmgr.Transaction, progress func(pkgmgr.Progress)) error {
	if err := checkWant(tx.Want); err != nil || len(tx.Want.Remove) > 0 {
		return err
	}
	db, err := d.query(ctx)
	if err != nil {
		return err
	}
	aims, err := d.aims(db, tx.Want)
	if err != nil || len(aims) == 0 {
		return err
	}
	if err := os.MkdirAll(d.path("pool"), 0o700); err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	items := make([]catalog.Item, 0, len(aims))
	for _, a := range aims {
		items = append(items, a.item)
	}
	for _, it := range tx.Want.Extras {
		if len(db.named(it.Name)) == 0 && len(d.sources(it)) > 0 {
			items = append(items, it)
		}
	}
	for _, it := range items {
		if err := d.fetch(ctx, it, progress); err != nil {
			return err
		}
	}
	_, err = d.exact(ctx, db, tx.Want, aims)
	return err
}

// fetch brings one payload into the pool and compares it with what was approved.
func (d *Dnf) fetch(ctx context.Context, it catalog.Item, progress func(pkgmgr.Progress)) error {
	err := d.checkFile(it)
	if err == nil {
		return nil
	}
	if err := d.room(it.Size); err != nil {
		return err
	}
	report := func(done int64) {
		if progress != nil {
			progress(pkgmgr.Progress{Phase: "download", Package: it.Name, Percent: min(100, 100*float64(done)/float64(max(1, it.Size)))})
		}
	}
	resumed, err := d.stream(ctx, it, report)
	if resumed && errors.Is(err, errContent) { // what the broken download left was only a hint
		_, err = d.stream(ctx, it, report)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errContent):
		return refuse(installation.DigestMismatch, nil, "The feed sends other content for %s than was approved: %v.", it.Key(), err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return refuse(installation.NoSpace, nil, "There is no room for the download of %s.", it.Key())
	}
	return refuse(installation.ContentUnavailable, nil, "The download of %s failed: %v.", it.Key(), err)
}

// errContent says that a payload is not what was approved.
var errContent = errors.New("size or SHA-256 differ")

// stream is one attempt. It reports whether it went on where another one ended.
func (d *Dnf) stream(ctx context.Context, it catalog.Item, report func(int64)) (resumed bool, err error) {
	path := d.path("pool", it.SHA256+part)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return false, err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if errors.Is(err, errContent) || errors.Is(err, syscall.ENOSPC) {
			err = errors.Join(err, os.Remove(path)) // of no use, or the disk must get its bytes back
		}
	}()
	sum := sha256.New()
	have, err := io.Copy(sum, io.LimitReader(f, it.Size+1))
	if err != nil {
		return false, err
	}
	if have < it.Size {
		more, err := d.rest(ctx, it, have, f, sum, report)
		if have += more; err != nil {
			return have > more, err
		}
		resumed = have > more
	}
	if found := hex.EncodeToString(sum.Sum(nil)); have != it.Size || found != it.SHA256 {
		return resumed, fmt.Errorf("%w: found SHA-256 %s, approved %s", errContent, found, it.SHA256)
	}
	if err := f.Sync(); err != nil {
		return resumed, err
	}
	if err := os.Rename(path, d.poolFile(it.SHA256)); err != nil {
		return resumed, err
	}
	return resumed, durable.Sync(d.path("pool"))
}

// rest reads what is missing, and one byte more than there should be if there is one.
func (d *Dnf) rest(ctx context.Context, it catalog.Item, from int64, f *os.File, sum hash.Hash, report func(int64)) (int64, error) {
	body, err := d.cfg.Payloads.Open(ctx, it.SHA256, from)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	left := it.Size - from
	n, err := io.Copy(io.MultiWriter(f, sum, &counter{ctx, from, report}), io.LimitReader(body, left+1))
	if err == nil && n < left {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// counter tells how far a download is, and ends it with its context.
type counter struct {
	ctx    context.Context
	done   int64
	report func(int64)
}

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	c.done += int64(len(p))
	c.report(c.done)
	return len(p), c.ctx.Err()
}

// checkFile compares a file of the pool with what was approved.
func (d *Dnf) checkFile(it catalog.Item) error {
	f, err := os.OpenFile(d.poolFile(it.SHA256), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return refuse(installation.ContentUnavailable, nil, "The file of %s is not there: %v.", it.Key(), err)
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	if err != nil {
		return refuse(installation.ContentUnavailable, nil, "The file of %s cannot be read: %v.", it.Key(), err)
	}
	if found := hex.EncodeToString(sum.Sum(nil)); found != it.SHA256 || it.Size > 0 && n != it.Size {
		return refuse(installation.DigestMismatch, nil, "The file of %s has other content than was approved: found SHA-256 %s, approved %s.", it.Key(), found, it.SHA256)
	}
	return nil
}

// room refuses a download that does not fit.
func (d *Dnf) room(size int64) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(d.path("pool"), &st); err != nil {
		return fmt.Errorf("look at the free space: %w", err)
	}
	if missing := size + spare - int64(st.Bavail)*st.Bsize; missing > 0 {
		return refuse(installation.NoSpace, nil, "The file system of %s is too small: %d KiB more must be free.", d.cfg.StateDir, missing>>10+1)
	}
	return nil
}

// keep drops the files of the pool but those of what is installed, of what may be gone back to, and of changes.
func (d *Dnf) keep(changes []wire.Change) {
	known, err := d.readContents()
	earlier, err2 := d.readHad()
	entries, err3 := os.ReadDir(d.path("pool"))
	if err := errors.Join(err, err2, err3); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			d.cfg.Log.Warn("files that are not needed any more stay", "error", err)
		}
		return
	}
	var wanted []string
	for _, c := range known {
		wanted = append(wanted, c.SHA256)
	}
	for _, h := range earlier {
		for _, r := range h.Releases[:min(len(h.Releases), keptHad)] {
			for _, it := range r.Items {
				wanted = append(wanted, it.SHA256)
			}
		}
	}
	for _, c := range changes {
		wanted = append(wanted, c.SHA256)
	}
	for _, e := range entries {
		if sum := strings.TrimSuffix(strings.TrimSuffix(e.Name(), suffix), part); slices.Contains(wanted, sum) {
			continue
		}
		if err := os.Remove(filepath.Join(d.path("pool"), e.Name())); err != nil {
			d.cfg.Log.Warn("a file that is not needed any more stays", "file", e.Name(), "error", err)
		}
	}
}
