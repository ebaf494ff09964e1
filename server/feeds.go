package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"assent/content/dir"
	"assent/server/internal/mirror"
)

// Places in the data directory: what is verified of feeds, and their files.
const (
	feedsDir   = "feeds"
	contentDir = "content"
)

const (
	sweepEvery = 6 * time.Hour
	sweepAge   = 24 * time.Hour // a file that no feed has any more is kept for so long after it was put
)

// openMirror takes up the copies of feeds. Each server has its own.
func (r *running) openMirror(context.Context) error {
	if err := r.dir.Mkdir(contentDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the directory of files: %w", err)
	}
	root, err := r.dir.OpenRoot(contentDir)
	if err != nil {
		return fmt.Errorf("open the directory of files: %w", err)
	}
	r.onClose(root.Close)
	if r.content, err = dir.Open(root, dir.DefaultReserve); err != nil {
		return fmt.Errorf("open the store of files: %w", err)
	}
	data, err := filepath.Abs(r.Data)
	if err != nil {
		return fmt.Errorf("find the data directory: %w", err)
	}
	r.mirror, err = mirror.New(mirror.Config{Book: mirror.IndexBook{Index: r.index}, Catalog: mirror.IndexCatalog{Index: r.index}, Content: r.content,
		Dir: filepath.Join(data, feedsDir), Log: r.Log, Changed: r.index.SetFeeds})
	if err != nil {
		return err
	}
	r.index.SetFeeds(r.mirror.Followed())
	return nil
}

// sweep removes files that no feed has any more.
func (r *running) sweep(ctx context.Context) error {
	freed, err := r.content.Sweep(ctx, time.Now().Add(-sweepAge), r.mirror.Keeps)
	if err == nil && freed > 0 {
		r.Log.Info("removed files that no feed has any more", "bytes", freed)
	}
	return err
}
