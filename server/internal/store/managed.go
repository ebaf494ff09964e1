package store

import (
	"context"
	"fmt"

	"assent/catalog"
	"assent/ledger"
)

// The tables of what is decided about feeds and what they publish.

func feeds() table[string, ledger.Feed] {
	return table[string, ledger.Feed]{
		name:   "feeds",
		of:     func(s *ledger.State) map[string]ledger.Feed { return s.Feeds },
		id:     func(f ledger.Feed) string { return f.ID },
		put:    `INSERT INTO feeds (id, body) VALUES :rows ON CONFLICT (id) DO UPDATE SET body = excluded.body`,
		row:    func(id string, _ ledger.Feed) []any { return []any{key(id)} },
		remove: `DELETE FROM feeds WHERE id IN (:rows)`,
		key:    func(id string) []any { return []any{key(id)} },
	}
}

func agreements() table[string, ledger.Acceptance] {
	return table[string, ledger.Acceptance]{
		name:   "agreements",
		of:     func(s *ledger.State) map[string]ledger.Acceptance { return s.Agreements },
		id:     func(a ledger.Acceptance) string { return a.Digest },
		put:    `INSERT INTO agreements (digest, body) VALUES :rows ON CONFLICT (digest) DO UPDATE SET body = excluded.body`,
		row:    func(digest string, _ ledger.Acceptance) []any { return []any{key(digest)} },
		remove: `DELETE FROM agreements WHERE digest IN (:rows)`,
		key:    func(digest string) []any { return []any{key(digest)} },
	}
}

func deploys() table[int64, ledger.Deploy] {
	return table[int64, ledger.Deploy]{
		name:   "deploys",
		of:     func(s *ledger.State) map[int64]ledger.Deploy { return s.Deploys },
		id:     func(d ledger.Deploy) int64 { return d.Act },
		put:    `INSERT INTO deploys (act, body) VALUES :rows ON CONFLICT (act) DO UPDATE SET body = excluded.body`,
		row:    func(act int64, _ ledger.Deploy) []any { return []any{act} },
		remove: `DELETE FROM deploys WHERE act IN (:rows)`,
		key:    func(act int64) []any { return []any{act} },
	}
}

func packages() table[string, ledger.Package] {
	return table[string, ledger.Package]{
		name:   "packages",
		of:     func(s *ledger.State) map[string]ledger.Package { return s.Packages },
		id:     func(p ledger.Package) string { return p.ID },
		put:    `INSERT INTO packages (id, body) VALUES :rows ON CONFLICT (id) DO UPDATE SET body = excluded.body`,
		row:    func(id string, _ ledger.Package) []any { return []any{key(id)} },
		remove: `DELETE FROM packages WHERE id IN (:rows)`,
		key:    func(id string) []any { return []any{key(id)} },
	}
}

func contents() table[catalog.UpdateID, ledger.Content] {
	return table[catalog.UpdateID, ledger.Content]{
		name:   "contents",
		of:     func(s *ledger.State) map[catalog.UpdateID]ledger.Content { return s.Contents },
		id:     func(c ledger.Content) catalog.UpdateID { return c.Update },
		put:    `INSERT INTO contents (update_id, body) VALUES :rows ON CONFLICT (update_id) DO UPDATE SET body = excluded.body`,
		row:    func(id catalog.UpdateID, _ ledger.Content) []any { return []any{key(string(id))} },
		remove: `DELETE FROM contents WHERE update_id IN (:rows)`,
		key:    func(id catalog.UpdateID) []any { return []any{key(string(id))} },
	}
}

// putManaged is putState for the acts on feeds and what they publish.
func (t tx) putManaged(ctx context.Context, seq int64, act ledger.Body, after *ledger.State) error {
	switch b := act.(type) {
	case ledger.FeedSubscribe:
		return feeds().write(ctx, t, after, b.Feed.ID)
	case ledger.FeedUnsubscribe:
		return feeds().write(ctx, t, after, b.ID)
	case ledger.AgreementAccept:
		return agreements().write(ctx, t, after, digests(b.Accepts)...)
	case ledger.AgreementWithdraw:
		return agreements().write(ctx, t, after, b.Digest)
	case ledger.UpdateDeploy:
		return deploys().write(ctx, t, after, seq)
	case ledger.DeployEnd:
		return deploys().write(ctx, t, after, b.Deploy)
	case ledger.PackageCreate:
		return packages().write(ctx, t, after, b.Package.ID)
	case ledger.PackageDelete:
		return packages().write(ctx, t, after, b.ID)
	case ledger.ContentVerify:
		return contents().write(ctx, t, after, b.Update)
	}
	return fmt.Errorf("the store has no table for acts of kind %q", act.Kind())
}

// digests names accepted agreements.
func digests(list []ledger.Accepted) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.Digest
	}
	return out
}
