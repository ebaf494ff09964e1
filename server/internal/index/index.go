// Package index holds one moment's truth of the whole installation in memory: what people decided (the
// ledger's state), what devices reported (documents, states) and what updates there are (the catalog).
//
// Documents are parsed once per digest and shared by all devices that have them. For each update a
// bitmap says which devices need it and which have it, so lists, counts and previews are bitmap
// operations.
//
// Guarantees: nothing is visible before it is durable in the store; a View is one consistent moment;
// everything a person decides goes through Act, one act after another; a hostile document can neither
// crash the server nor put anything into the catalog but validated names, versions and digests. Several servers may
// have an index on one database: what one writes, the others take in (Follow), and nobody writes over what it
// has not seen.
//
// It decides nothing: what should happen on a device is plan.Compute's answer (package planner).
package index

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/approval"
	"assent/catalog"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/store"
	"assent/wire"
)

// Config is what Open needs besides the store. The zero value is usable.
type Config struct {
	Now     func() time.Time
	Log     *slog.Logger
	Version string // of the running server, for A6
}

// Index is the server's memory. It is safe for concurrent use.
type Index struct {
	store Store
	now   func() time.Time
	log   *slog.Logger

	following sync.Mutex // held while what others wrote is taken in; guards mark
	mark      store.Mark // up to which it was
	shared    bool       // other servers may be at work on the store

	acts sync.Mutex // held while one act is made
	grow sync.Mutex // held while facts change: documents, catalog

	mu        sync.RWMutex // guards everything below
	state     *ledger.State
	tree      fleet.Tree
	grown     int64     // tick of the last change of the tree
	devices   []*device // by number
	numbers   map[fleet.DeviceID]uint32
	groups    map[fleet.GroupID]*roaring.Bitmap // devices in the very group, retired ones left out
	roll      roll
	documents map[documentKey]*document
	kept      interned
	software  softwareTable
	updates   updateTable
	decisions decisionTable
	tasks     taskTable
	rollbacks map[uint32]map[int64]bool // device number -> act -> still to be done
	standings int64                     // how often devices stopped being active or were active again
	managed   int64                     // tick of the last change of feeds, agreements, deployments or content
	feeds     []wire.PlanFeed           // what the server follows, as its mirror says; replaced, never changed

	changes notifier
	version string
}

// Open loads everything from the store.
func Open(ctx context.Context, s Store, cfg Config) (*Index, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	x := &Index{store: s, now: cfg.Now, log: cfg.Log, version: cfg.Version,
		numbers: map[fleet.DeviceID]uint32{}, groups: map[fleet.GroupID]*roaring.Bitmap{}, roll: newRoll(),
		documents: map[documentKey]*document{}, rollbacks: map[uint32]map[int64]bool{},
		kept: newInterned(), software: newSoftwareTable(), updates: newUpdateTable(), decisions: newDecisionTable()}
	x.changes.init()
	if err := x.load(ctx); err != nil {
		return nil, err
	}
	return x, nil
}

// View calls f with one consistent moment. f must be short, must not call methods of the Index that
// change anything, and must not keep v, its iterators or its bitmaps.
func (x *Index) View(f func(v *View)) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	f(&View{x: x})
}

// Now is the server's clock.
func (x *Index) Now() time.Time { return x.now() }

// View is one consistent moment of the index. It must not be kept.
type View struct{ x *Index }

// State is what people decided. It must not be changed, nor kept: devices are put into it in place.
func (v *View) State() *ledger.State { return v.x.state }

// Tree is the tree of groups.
func (v *View) Tree() fleet.Tree { return v.x.tree }

// decisionTable holds decisions in the orders in which they are asked for.
type decisionTable struct {
	bySoftware map[catalog.Software][]approval.Decision  // sorted by act, update, scope; replaced, never changed
	declines   list                                      // all with status declined
	approvals  list                                      // all with status approved
	exceptions map[catalog.UpdateID][]approval.Exception // sorted by act; replaced, never changed
	walls      map[fleet.GroupID]int64                   // tick of the last change of a decline in the very scope
	granted    int64                                     // tick of the last change of an approval
	expiring   []expiry                                  // what ends by itself, the first first
}

// list is a set of decisions that can be read as a slice.
type list struct {
	items []approval.Decision
	at    map[ledger.DecisionKey]int
}

func newDecisionTable() decisionTable {
	return decisionTable{bySoftware: map[catalog.Software][]approval.Decision{}, exceptions: map[catalog.UpdateID][]approval.Exception{},
		declines: list{at: map[ledger.DecisionKey]int{}}, approvals: list{at: map[ledger.DecisionKey]int{}}, walls: map[fleet.GroupID]int64{}}
}

func (l *list) put(d approval.Decision) {
	key := ledger.DecisionKey{Update: d.Update, Scope: d.Scope}
	if i, ok := l.at[key]; ok {
		l.items[i] = d
		return
	}
	l.at[key] = len(l.items)
	l.items = append(l.items, d)
}

func (l *list) drop(key ledger.DecisionKey) {
	i, ok := l.at[key]
	if !ok {
		return
	}
	last := len(l.items) - 1
	moved := l.items[last]
	l.items[i] = moved
	l.at[ledger.DecisionKey{Update: moved.Update, Scope: moved.Scope}] = i
	delete(l.at, key)
	l.items[last] = approval.Decision{}
	l.items = l.items[:last]
}

// documentKey names a document.
type documentKey struct {
	kind   wire.Kind
	digest string
}
