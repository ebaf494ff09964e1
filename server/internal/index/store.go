package index

import (
	"context"

	"assent/catalog"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/store"
	"assent/slot"
	"assent/wire"
)

// Store is where the index's truth is durable. When a method returns nil, what it wrote survives a
// power cut. All methods are safe for concurrent use.
type Store interface {
	Ledger
	Documents
	Catalog
	Devices
	Reports
	Rollouts
	Rehearsals
	Others
}

// Others tells what other servers on the same database wrote.
type Others interface {
	// Changes returns what became visible since a mark, what this server wrote among it; with the zero Mark only what
	// moment it is now.
	Changes(ctx context.Context, from store.Mark) (store.Changes, error)
}

// Ledger keeps decisions: one act, one entry, one transaction.
type Ledger interface {
	// AppendBeside writes e and what it changed, taken from after, with what goes beside it. It returns store.ErrMoved
	// when e does not follow the last entry: somebody else was faster.
	AppendBeside(ctx context.Context, e ledger.Entry, after *ledger.State, beside ...store.Beside) error
	LoadState(ctx context.Context) (*ledger.State, error)
	// Entries lists entries from the sequence on, in order.
	Entries(ctx context.Context, from, limit int64) ([]store.RawEntry, error)
}

// Documents keeps what devices uploaded, by digest.
type Documents interface {
	PutDocument(ctx context.Context, kind wire.Kind, digest string, body []byte) error
	Document(ctx context.Context, kind wire.Kind, digest string) ([]byte, error) // fault.NotFound
	// LoadDocuments calls each with every document, still packed.
	LoadDocuments(ctx context.Context, each func(store.Packed) error) error
}

// Catalog keeps all known updates.
type Catalog interface {
	// SaveCatalog writes rows that follow those that were read; else it returns store.ErrMoved.
	SaveCatalog(ctx context.Context, updates []store.CatalogRow) error
	LoadCatalog(ctx context.Context, each func(store.CatalogRow) error) error
	// CatalogRows returns those of some updates that there are.
	CatalogRows(ctx context.Context, updates []catalog.UpdateID) ([]store.CatalogRow, error)
}

// Devices keeps what is known of devices apart from decisions.
type Devices interface {
	LoadContacts(ctx context.Context, each func(store.Contact) error) error
	LoadInstalls(ctx context.Context, each func(store.InstallRow) error) error
	// SaveInstalls writes rows that follow those that were read; else it returns store.ErrMoved.
	SaveInstalls(ctx context.Context, rows []store.InstallRow) error
	DeviceInstalls(ctx context.Context, device fleet.DeviceID) ([]store.InstallRow, error)
}

// Rehearsals keeps what each device found when it last rehearsed its plan.
type Rehearsals interface {
	LoadRehearsals(ctx context.Context, each func(store.Rehearsal) error) error
	SaveRehearsal(ctx context.Context, r store.Rehearsal) error
}

// Rollouts keeps how far updates are through the rings of tasks.
type Rollouts interface {
	LoadRollouts(ctx context.Context, each func(store.RolloutRow) error) error
	// SaveRollouts writes states that follow those that were read; else it returns store.ErrMoved.
	SaveRollouts(ctx context.Context, states []store.RolloutRow) error
	Rollout(ctx context.Context, task string, update catalog.UpdateID) (store.RolloutRow, bool, error)
	LoadSlots(ctx context.Context, each func(slot.State) error) error
	SaveSlots(ctx context.Context, s slot.State) error
}

// Reports applies what devices journaled, exactly once by device and report id.
type Reports interface {
	// ApplyReports returns the ids that were applied now for the first time. It returns store.ErrMoved when another server
	// wrote a row that one of theirs follows.
	ApplyReports(ctx context.Context, device fleet.DeviceID, reports []store.AppliedReport) (fresh []string, err error)
	Events(ctx context.Context, q store.EventQuery) ([]store.Event, error)
}
