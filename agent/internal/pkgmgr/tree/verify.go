package tree

import (
	"context"
	"errors"
	"fmt"

	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

// Statuses of a version, in dpkg's letters.
const (
	whole   = "ii"
	damaged = "iiR" // installed, and has to be installed again
	waiting = "iF"  // in force, and its services are not back
)

// Verify implements pkgmgr.Verifier. An item is there ("ii") when exactly its version is in force, came from exactly its payload, and
// no file of it was changed since: compared by size, mode and owner, and by content where a file was touched.
func (t *Tree) Verify(ctx context.Context, items []catalog.Item) ([]wire.ProofItem, pkgmgr.Health, error) {
	out := make([]wire.ProofItem, 0, len(items))
	_, broken, err := t.known()
	if err != nil {
		return nil, pkgmgr.Health{}, fmt.Errorf("verify: %w", err)
	}
	for _, it := range items {
		r, err := t.owner(it)
		if refusal := (*pkgmgr.Refusal)(nil); err != nil && !(errors.As(err, &refusal) && refusal.Cause == installation.ManagerBroken) {
			return nil, pkgmgr.Health{}, fmt.Errorf("verify %.80q: %w", it.Name, err)
		}
		p := wire.ProofItem{Name: it.Name, Arch: it.Arch}
		if cur := r.Current; cur != nil {
			p.Version, p.SHA256, p.Status = cur.Version, cur.SHA256, whole
			if cur.Version == it.Version && it.SHA256 != "" && cur.SHA256 != it.SHA256 || t.damage(ctx, r.key(), *cur, false) != "" {
				p.Status = damaged
			} else if len(cur.Units) > 0 {
				p.Status = waiting
			}
		}
		out = append(out, p)
	}
	if err := ctx.Err(); err != nil {
		return nil, pkgmgr.Health{}, fmt.Errorf("verify: %w", err)
	}
	return out, pkgmgr.Health{Broken: broken}, nil
}

// Damage is an application whose files are not those that were installed.
type Damage struct {
	Feed, Application, Version string
	Detail                     string // the first file, and what is wrong with it
}

// Audit compares every file of all current versions with the digest it was installed with.
func (t *Tree) Audit(ctx context.Context) ([]Damage, error) {
	records, _, err := t.known()
	if err != nil {
		return nil, fmt.Errorf("audit applications: %w", err)
	}
	var out []Damage
	for _, r := range records {
		if r.Current == nil {
			continue
		}
		if d := t.damage(ctx, r.key(), *r.Current, true); d != "" {
			out = append(out, Damage{r.Feed, r.App, r.Current.Version, d})
		}
	}
	return out, ctx.Err()
}

// Remember implements pkgmgr.Historian: what is in force now, however it came, is in the record when it returns, and the
// switch keeps it there.
func (t *Tree) Remember(_ context.Context, update catalog.UpdateID, changes []wire.Change) error {
	release, err := t.hold()
	if err != nil {
		return fmt.Errorf("remember: %w", err)
	}
	defer release()
	for _, c := range changes {
		id, ok := catalog.FeedOf(c.Space)
		if !ok || !application.MatchString(c.Name) {
			continue
		}
		r, err := t.owner(catalog.Item{Name: c.Name})
		if err == nil && r.Feed == id {
			err = t.save(r)
		}
		if err != nil {
			return fmt.Errorf("remember what %s replaces: %w", update, err)
		}
	}
	return nil
}
