// Package multi makes one package manager out of two: the device's own (apt), and the manager of what the agent
// installs side by side (trees and content files of feeds). The agent sees one of each thing: one snapshot, one
// available set, one door for transactions.
//
// It guarantees: what one of the two is asked for never reaches the other; a Want that mixes both is refused
// loudly, since one transaction cannot be two; the order that package wire promises for documents is kept;
// a rescan without changes gives the same Snapshot value again; and a side manager or a feed that does not work
// never keeps the device's own package manager from working. It does not decide, it holds no rule of any one
// manager, and it orders nothing: which of them acts first is the agent's question.
package multi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/wire"
)

// Native is the device's own package manager.
type Native interface {
	pkgmgr.Scanner
	pkgmgr.Refresher
	pkgmgr.Transactor
	pkgmgr.Verifier
	pkgmgr.Closer
	pkgmgr.Fencer
	pkgmgr.Historian
}

// Side is the manager of items whose format is installed side by side (catalog.Format.Side). If it is also a
// pkgmgr.Closer, it is asked for closures and previous versions; else those of its snapshots count.
type Side interface {
	pkgmgr.Scanner
	pkgmgr.Transactor
	pkgmgr.Verifier
	pkgmgr.Historian
}

// Feeds says how the device's feeds are. Refresh looks at all of them, within deadlines of its own; a feed that
// cannot be reached or trusted says so in its health.
type Feeds interface {
	Refresh(ctx context.Context) []wire.OriginHealth
}

// Manager is both managers as one. It is safe for concurrent use where they are.
type Manager struct {
	native Native
	side   Side
	feeds  Feeds

	mu     sync.Mutex
	last   merged           // the snapshot given out last
	before merged           // and the one before: its closures may still be asked for
	good   *pkgmgr.Snapshot // the last of the side manager; empty before the first
}

// New makes one manager. feeds may be nil.
func New(native Native, side Side, feeds Feeds) *Manager {
	return &Manager{native: native, side: side, feeds: feeds,
		good: &pkgmgr.Snapshot{Inventory: wire.Inventory{Ecosystem: catalog.Generic}, Available: wire.Available{Ecosystem: catalog.Generic}}}
}

// Refresh implements pkgmgr.Refresher: the package lists of the device's own sources, then the feeds. The feeds are
// looked at even when the package lists cannot be.
func (m *Manager) Refresh(ctx context.Context) ([]wire.OriginHealth, error) {
	health, err := m.native.Refresh(ctx)
	if m.feeds != nil && ctx.Err() == nil {
		health = slices.Concat(health, m.feeds.Refresh(ctx))
	}
	return health, err
}

// Simulate implements pkgmgr.Transactor. Changes of the side manager carry the format of their items.
func (m *Manager) Simulate(ctx context.Context, want pkgmgr.Want) (pkgmgr.Transaction, error) {
	t, err := m.of(want)
	if err != nil {
		return pkgmgr.Transaction{Want: want}, err
	}
	tx, err := t.Simulate(ctx, want)
	tx.Changes = mark(tx.Changes, want)
	if refusal := (*pkgmgr.Refusal)(nil); errors.As(err, &refusal) {
		refusal.Changes = mark(refusal.Changes, want)
	}
	return tx, err
}

// mark gives the changes of a want of side formats the format of their items.
func mark(changes []wire.Change, want pkgmgr.Want) []wire.Change {
	items := itemsOf(want)
	if len(items) == 0 || !items[0].Format.Side() {
		return changes
	}
	out := slices.Clone(changes)
	for i, c := range out {
		at := slices.IndexFunc(items, func(it catalog.Item) bool { return it.Name == c.Name && it.Arch == c.Arch })
		out[i].Format = items[max(at, 0)].Format
	}
	return out
}

// Fetch implements pkgmgr.Transactor.
func (m *Manager) Fetch(ctx context.Context, tx pkgmgr.Transaction, progress func(pkgmgr.Progress)) error {
	t, err := m.of(tx.Want)
	if err != nil {
		return err
	}
	return t.Fetch(ctx, tx, progress)
}

// Apply implements pkgmgr.Transactor.
func (m *Manager) Apply(ctx context.Context, tx pkgmgr.Transaction, progress func(pkgmgr.Progress)) (pkgmgr.Outcome, error) {
	t, err := m.of(tx.Want)
	if err != nil {
		return pkgmgr.Outcome{}, err
	}
	return t.Apply(ctx, tx, progress)
}

// Recover implements pkgmgr.Transactor: both are brought back to work. A side manager that cannot be is what is
// broken then, and not a reason to leave the device's own unrepaired.
func (m *Manager) Recover(ctx context.Context) (pkgmgr.Health, error) {
	native, err := m.native.Recover(ctx)
	side, sideErr := m.side.Recover(ctx)
	if sideErr != nil && ctx.Err() == nil {
		side.Broken = "applications of feeds: " + sideErr.Error()
		sideErr = nil
	}
	return join(native, side), errors.Join(err, sideErr)
}

// Verify implements pkgmgr.Verifier: one answer for each item, in their order. The health is that of the managers
// that were asked.
func (m *Manager) Verify(ctx context.Context, items []catalog.Item) ([]wire.ProofItem, pkgmgr.Health, error) {
	found := make([]wire.ProofItem, len(items))
	var health pkgmgr.Health
	for _, part := range []struct {
		who  pkgmgr.Verifier
		side bool
	}{{m.native, false}, {m.side, true}} {
		var ask []catalog.Item
		var at []int
		for i, it := range items {
			if it.Format.Side() == part.side {
				ask, at = append(ask, it), append(at, i)
			}
		}
		if len(ask) == 0 && (part.side || len(items) > 0) {
			continue // without any item, the health of the device's own package manager is asked for
		}
		got, h, err := part.who.Verify(ctx, ask)
		if err == nil && len(got) != len(ask) {
			err = fmt.Errorf("%d answers about %d items", len(got), len(ask))
		}
		if err != nil {
			return nil, pkgmgr.Health{}, err
		}
		health = join(health, h)
		for i, p := range got {
			found[at[i]] = p
		}
	}
	return found, health, nil
}

// Remember implements pkgmgr.Historian. The format of the changes says who made them; Simulate set it.
func (m *Manager) Remember(ctx context.Context, update catalog.UpdateID, changes []wire.Change) error {
	side := slices.ContainsFunc(changes, func(c wire.Change) bool { return c.Format.Side() })
	if !side {
		return m.native.Remember(ctx, update, changes)
	}
	if slices.ContainsFunc(changes, func(c wire.Change) bool { return !c.Format.Side() }) {
		return fmt.Errorf("remember what %s replaces: %w", update, errMixed)
	}
	return m.side.Remember(ctx, update, changes)
}

// Fence implements pkgmgr.Fencer. Walls stand in the device's own package manager; trees and content files come in
// by the agent only. A package that merely has the name of an application is none of their business, so the device's
// package manager is not told of those.
func (m *Manager) Fence(ctx context.Context, plan wire.Plan) error {
	return m.native.Fence(ctx, packages(plan))
}

// Unfence implements pkgmgr.Fencer.
func (m *Manager) Unfence(ctx context.Context) error { return m.native.Unfence(ctx) }

// packages is a plan without what is installed side by side.
func packages(p wire.Plan) wire.Plan {
	side := func(items []catalog.Item) bool { return len(items) > 0 && items[0].Format.Side() }
	p.Install = slices.DeleteFunc(slices.Clone(p.Install), func(x wire.PlanInstall) bool { return side(x.Items) })
	p.Remove = slices.DeleteFunc(slices.Clone(p.Remove), func(x wire.PlanRemove) bool { return side(x.Items) })
	p.Allow = slices.DeleteFunc(slices.Clone(p.Allow), func(x wire.PlanAllow) bool { return side(x.Items) })
	p.Deny = slices.DeleteFunc(slices.Clone(p.Deny), func(x wire.PlanDeny) bool { return side(x.Items) || x.Software.Ecosystem == catalog.Generic })
	p.Rollback = slices.DeleteFunc(slices.Clone(p.Rollback), func(x wire.PlanRollback) bool { return len(x.Items) > 0 && x.Items[0].Format.Side() })
	return p
}

// errMixed says that one transaction was asked to be two.
var errMixed = errors.New("packages and what is installed beside them cannot be one transaction")

// of finds the manager of everything that is wanted.
func (m *Manager) of(want pkgmgr.Want) (pkgmgr.Transactor, error) {
	side, native := 0, 0
	for _, it := range itemsOf(want) {
		if it.Format.Side() {
			side++
		} else {
			native++
		}
	}
	switch {
	case side > 0 && native > 0:
		return nil, fmt.Errorf("%d packages and %d others wanted at once: %w", native, side, errMixed)
	case side > 0:
		return m.side, nil
	}
	return m.native, nil
}

func itemsOf(want pkgmgr.Want) []catalog.Item {
	return slices.Concat(want.Items, want.Remove, want.Extras)
}

// join is the health of two managers as one.
func join(a, b pkgmgr.Health) pkgmgr.Health {
	text := func(x, y string) string {
		if x == "" || y == "" {
			return x + y
		}
		return x + "; " + y
	}
	return pkgmgr.Health{Broken: text(a.Broken, b.Broken), Holder: text(a.Holder, b.Holder)}
}

// Room implements pkgmgr.Foreseer. A manager that does not look ahead finds room enough.
func (m *Manager) Room(tx pkgmgr.Transaction) error {
	f, err := m.foreseer(tx.Want)
	if err != nil || f == nil {
		return err
	}
	return f.Room(tx)
}

// Foresee implements pkgmgr.Foreseer. A manager that does not look ahead foresees nothing.
func (m *Manager) Foresee(ctx context.Context, tx pkgmgr.Transaction) (pkgmgr.Foresight, error) {
	f, err := m.foreseer(tx.Want)
	if err != nil || f == nil {
		return pkgmgr.Foresight{}, err
	}
	return f.Foresee(ctx, tx)
}

// foreseer finds who looks ahead for everything that is wanted; nil where nobody does.
func (m *Manager) foreseer(want pkgmgr.Want) (pkgmgr.Foreseer, error) {
	t, err := m.of(want)
	if err != nil {
		return nil, err
	}
	f, ok := t.(pkgmgr.Foreseer)
	if !ok {
		return nil, nil
	}
	return f, nil
}
