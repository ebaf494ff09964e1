package servertest

import (
	"context"
	"os"
	"path/filepath"
	"sync"

	"assent/content/dir"
	"assent/server/internal/mirror"
)

// mirror is the service behind the feeds, following until the test ends.
func (w *World) mirror() *mirror.Mirror {
	w.t.Helper()
	at := w.t.TempDir()
	root, err := os.OpenRoot(at)
	w.must(err)
	files, err := dir.Open(root, 0)
	w.must(err)
	m, err := mirror.New(mirror.Config{Book: mirror.IndexBook{Index: w.index}, Catalog: mirror.IndexCatalog{Index: w.index}, Content: files,
		Dir: filepath.Join(at, "feeds"), Changed: w.index.SetFeeds})
	w.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = m.Run(ctx) }) // it ends with nil
	w.t.Cleanup(func() {
		cancel()
		running.Wait()
		_ = root.Close()
	})
	return m
}
