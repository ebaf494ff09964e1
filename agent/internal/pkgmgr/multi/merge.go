package multi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/wire"
)

// merged is a snapshot and what it was made of.
type merged struct {
	whole, native, side *pkgmgr.Snapshot
	trouble             string // why side is not as new as native
}

// errOld is the answer for closures of a snapshot that is long gone.
var errOld = errors.New("the snapshot is not one of the last two")

// Scan implements pkgmgr.Scanner. While the side manager cannot be read its last snapshot stands, and the health
// says so.
func (m *Manager) Scan(ctx context.Context) (*pkgmgr.Snapshot, error) {
	native, err := m.native.Scan(ctx)
	if err != nil {
		return nil, err
	}
	side, sideErr := m.side.Scan(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	next := merged{native: native, side: m.good}
	if sideErr != nil {
		next.trouble = "applications of feeds: " + sideErr.Error()
	} else {
		next.side, m.good = side, side
	}
	if m.last.whole != nil && m.last.native == next.native && m.last.side == next.side && m.last.trouble == next.trouble {
		return m.last.whole, nil
	}
	next.whole = mergeSnapshots(next)
	m.before, m.last = m.last, next
	return next.whole, nil
}

// Close implements pkgmgr.Closer for a snapshot of this manager.
func (m *Manager) Close(ctx context.Context, s *pkgmgr.Snapshot) (wire.Available, error) {
	m.mu.Lock()
	of := m.last
	if of.whole != s {
		of = m.before
	}
	m.mu.Unlock()
	if s == nil || of.whole != s {
		return wire.Available{}, errOld
	}
	native, err := m.native.Close(ctx, of.native)
	if err != nil {
		return wire.Available{}, err
	}
	side := of.side.Available
	if closer, ok := m.side.(pkgmgr.Closer); ok && of.trouble == "" {
		if side, err = closer.Close(ctx, of.side); err != nil {
			return wire.Available{}, fmt.Errorf("applications of feeds: %w", err)
		}
	}
	return mergeAvailable(native, side), nil
}

func mergeSnapshots(of merged) *pkgmgr.Snapshot {
	n, s := of.native, of.side
	out := &pkgmgr.Snapshot{
		Inventory: wire.Inventory{Ecosystem: n.Inventory.Ecosystem, Packages: slices.Clone(n.Inventory.Packages)},
		Available: mergeAvailable(n.Available, s.Available),
		Restart:   union(n.Restart, s.Restart),
		Posture:   slices.Concat(n.Posture, s.Posture),
		Origins:   slices.Concat(n.Origins, s.Origins),
		Health:    join(join(n.Health, s.Health), pkgmgr.Health{Broken: of.trouble}),
		Stamp:     n.Stamp + " " + s.Stamp,
	}
	if of.trouble != "" {
		out.Stamp += " " + wire.Digest([]byte(of.trouble))
	}
	for _, p := range s.Inventory.Packages {
		p.Ecosystem = within(p.Ecosystem, s.Inventory.Ecosystem, n.Inventory.Ecosystem)
		out.Inventory.Packages = append(out.Inventory.Packages, p)
	}
	slices.SortStableFunc(out.Inventory.Packages, func(a, b wire.Package) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.Ecosystem, b.Ecosystem))
	})
	return out
}

// mergeAvailable is what both could take, in the order that wire.Available promises.
func mergeAvailable(n, s wire.Available) wire.Available {
	out := n
	out.Updates = slices.Clone(n.Updates)
	for _, o := range s.Updates {
		o.Ecosystem = within(o.Ecosystem, s.Ecosystem, n.Ecosystem)
		out.Updates = append(out.Updates, o)
	}
	slices.SortStableFunc(out.Updates, func(a, b wire.Offer) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Ecosystem, b.Ecosystem))
	})
	out.Restore = slices.Concat(n.Restore, s.Restore)
	return out
}

// within is what an entry of a document of its own says as its ecosystem in the whole one.
func within(entry, own, whole string) string {
	if eco := cmp.Or(entry, own, catalog.Generic); eco != whole {
		return eco
	}
	return ""
}

// union is both lists, sorted, each word once.
func union(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}
