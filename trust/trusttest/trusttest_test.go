package trusttest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"assent/feed"
	"assent/trust"
	"assent/trust/publish"
	"assent/trust/trusttest"
)

func TestFeed_AClientFollowsItThroughReleasesRecallsRotationsAndTime(t *testing.T) {
	f := trusttest.NewFeed(t, "acme")
	src, err := trust.HTTP(f.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c := f.Client()
	refresh := func() {
		t.Helper()
		if err := c.Refresh(t.Context(), src, f.Now()); err != nil {
			t.Fatal(err)
		}
	}
	refresh()
	payload := []byte("a tree")
	id := f.Add(trusttest.Manifest("ledger", "1.0.0"), payload)
	f.Publish()
	refresh()
	b, err := c.Target(t.Context(), src, feed.ReleaseTarget(id))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := feed.Parse("acme", b); err != nil || r.ID() != id || r.Manifest.Released != f.Now() {
		t.Errorf("%+v %v", r, err)
	}
	for _, r := range publish.Roles() {
		f.Rotate(r)
		refresh()
	}
	f.Revoke("ledger", "1.0.0", "leaks")
	f.Publish()
	refresh()
	if _, ok := c.Lookup(feed.RevocationTarget(id)); !ok {
		t.Error("no recall")
	}
	f.Advance(13 * 24 * time.Hour)
	refresh()
	f.Advance(2 * 24 * time.Hour)
	if err := c.Refresh(t.Context(), src, f.Now()); !errors.Is(err, trust.ErrExpired) {
		t.Errorf("a feed whose publisher stopped: %v", err)
	}
	f.Refresh()
	refresh()
	f.Corrupt(trusttest.Payload(payload), func(b []byte) []byte { return append(b, '!') })
	if _, err := c.Target(context.Background(), src, feed.PayloadTarget(strings.Split(strings.TrimPrefix(trusttest.Payload(payload), "targets/payloads/"), ".")[0])); !errors.Is(err, trust.ErrTooLarge) {
		t.Errorf("%v", err)
	}
	if s := c.State(); s.RootVersion != 5 || s.Refreshed != f.Now() {
		t.Errorf("%+v", s)
	}
}

func TestSave_AReplayIsARollback(t *testing.T) {
	f := trusttest.NewFeed(t, "acme")
	c := f.Client()
	replay := f.Save()
	f.Add(trusttest.Manifest("ledger", "1.0.0"), []byte("a tree"))
	f.Publish()
	if err := c.Refresh(t.Context(), f.Source(), f.Now()); err != nil {
		t.Fatal(err)
	}
	replay()
	if err := c.Refresh(t.Context(), f.Source(), f.Now()); !errors.Is(err, trust.ErrRolledBack) || len(c.Targets()) != 2 {
		t.Errorf("%v %v", err, c.Targets())
	}
}
