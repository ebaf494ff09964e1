package servertest

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"assent/content/dir"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
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

// AwaitFeed waits until the server has looked at a feed, with its releases listed and its files here.
func (w *World) AwaitFeed(name string) {
	w.t.Helper()
	for range 1000 {
		row, err := w.feeds.Feed(w.t.Context(), auth.Actor{Name: "test", Role: ledger.Administrator, Scope: fleet.Root}, name)
		w.must(err)
		if !row.LastSuccess.IsZero() && row.Releases > 0 && !row.Fetching && row.FilesHere == row.Files {
			return
		}
		time.Sleep(5 * time.Millisecond) // there is no signal for it: people look again, too
	}
	w.t.Fatalf("the feed %s does not come", name)
}
