package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"

	"assent/catalog"
	"assent/feed"
	"assent/ledger"
	"assent/server/internal/index"
)

// IndexBook is the Book of the running server: the index's state, changed through acts.
type IndexBook struct{ Index *index.Index }

// Feeds implements Book.
func (b IndexBook) Feeds() (feeds map[string]ledger.Feed) {
	b.Index.View(func(v *index.View) { feeds = v.State().Feeds })
	return feeds
}

// WaitChange implements Book.
func (b IndexBook) WaitChange(ctx context.Context, seen uint64) (uint64, error) {
	return b.Index.WaitChange(ctx, seen)
}

// Act implements Book.
func (b IndexBook) Act(ctx context.Context, by string, build func(map[string]ledger.Feed) (ledger.Body, error)) (ledger.Entry, error) {
	return b.Index.Act(ctx, by, func(v *index.View) (ledger.Body, error) { return build(v.State().Feeds) })
}

// IndexCatalog is the Catalog of the running server.
type IndexCatalog struct{ Index *index.Index }

// Put implements Catalog.
func (c IndexCatalog) Put(ctx context.Context, updates []catalog.Update) error {
	return c.Index.PutReleases(ctx, updates)
}

// Update implements Catalog.
func (c IndexCatalog) Update(id catalog.UpdateID) (u catalog.Update, ok bool) {
	c.Index.View(func(v *index.View) { u, ok = v.Known().Update(id) })
	return u, ok
}

// AgreementText reads the text of an agreement of a feed, which is fetched when it is not here.
func (m *Mirror) AgreementText(ctx context.Context, name, sha256 string) (b []byte, err error) {
	f := m.follower(name)
	if f == nil {
		return nil, errUnknownFeed
	}
	t, ok := f.edition().text(sha256)
	if !ok {
		return nil, errNoFile
	}
	file, err := m.target(ctx, f, t)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	b, err = io.ReadAll(io.LimitReader(file, feed.MaxAgreement+1))
	if err != nil {
		return nil, fmt.Errorf("read the text of an agreement: %w", err)
	}
	return b, nil
}
