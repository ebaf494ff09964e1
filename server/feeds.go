package server

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"assent/server/internal/mirror"
)

// feedsDir is the place in the data directory of what is verified of feeds.
const feedsDir = "feeds"

const (
	sweepEvery = 6 * time.Hour
	sweepAge   = 24 * time.Hour // a file that no feed has any more is kept for so long after it was put
)

// openMirror takes up the copies of feeds. What is verified of them each server has for itself; their files may be in a
// bucket that all servers share.
func (r *running) openMirror(ctx context.Context) error {
	files, err := r.openContent(ctx, r.Content.Kind, r.dir)
	if err != nil {
		return fmt.Errorf("open the store of files: %w", err)
	}
	r.content = files
	r.onClose(files.Close)
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
