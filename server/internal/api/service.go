package api

import (
	"context"
	"io"

	"assent/client"
	"assent/server/internal/auth"
)

// The services behind the routes, one small interface for each resource. All methods are safe for
// concurrent use, check that who may see or do it to the objects at hand, and return a *fault.Error for
// what the caller can act on. Acts are durable when they return nil.

// Decide is everything about updates.
type Decide interface {
	Updates
	Decisions
	Exceptions
	Agreements
	Deployments
	Standing
}

// Updates lists and shows updates as seen from a group.
type Updates interface {
	List(ctx context.Context, who auth.Actor, f client.Filter, p client.Page) (client.List[client.UpdateRow], error)
	Get(ctx context.Context, who auth.Actor, ref, group string) (client.UpdateDetail, error)
}

// Decisions are acts on updates.
type Decisions interface {
	Decide(ctx context.Context, who auth.Actor, d client.Decide) (client.Outcome, error)
	Rollback(ctx context.Context, who auth.Actor, r client.RollbackRequest) (client.RollbackOutcome, error)
}

// Exceptions let updates pass declines (A3).
type Exceptions interface {
	Exceptions(ctx context.Context, who auth.Actor) (client.List[client.ExceptionRow], error)
	Except(ctx context.Context, who auth.Actor, e client.ExceptionRequest) (client.Act, error)
	Unexcept(ctx context.Context, who auth.Actor, id int64) (client.Act, error)
}

// Standing says where things stand.
type Standing interface {
	Why(ctx context.Context, who auth.Actor, device, update string) (client.Why, error)
	Queue(ctx context.Context, who auth.Actor, q client.QueueQuery, p client.Page) (client.List[client.QueueRow], error)
	Rehearsals(ctx context.Context, who auth.Actor, q client.RehearsalQuery, p client.Page) (client.List[client.RehearsalRow], error)
	Status(ctx context.Context, who auth.Actor) (client.Status, error)
}

// Trends say how groups did over time.
type Trends interface {
	Trend(ctx context.Context, who auth.Actor, q client.TrendQuery) (client.Trend, error)
}

// Views are saved views of lists.
type Views interface {
	Views(ctx context.Context, who auth.Actor, list string) (client.List[client.ViewRow], error)
	SaveView(ctx context.Context, who auth.Actor, r client.ViewRequest) (client.ViewRow, error)
	DeleteView(ctx context.Context, who auth.Actor, id string) (client.Act, error)
}

// Roster is everything about devices, groups and people.
type Roster interface {
	Devices
	Groups
	Tokens
	Operators
	Accesses
}

// Devices lists, shows and changes devices.
type Devices interface {
	Devices(ctx context.Context, who auth.Actor, q client.DeviceQuery, p client.Page) (client.List[client.DeviceRow], error)
	Device(ctx context.Context, who auth.Actor, ref string) (client.DeviceDetail, error)
	Inventory(ctx context.Context, who auth.Actor, ref string, q client.InventoryQuery, p client.Page) (client.List[client.PackageInfo], error)
	ChangeDevices(ctx context.Context, who auth.Actor, c client.DeviceChange) (client.Act, error)
	RefreshDevices(ctx context.Context, who auth.Actor, r client.RefreshRequest) (client.Refreshed, error)
	RehearseDevices(ctx context.Context, who auth.Actor, r client.RefreshRequest) (client.Refreshed, error)
}

// Groups is the device tree.
type Groups interface {
	Groups(ctx context.Context, who auth.Actor) (client.List[client.GroupRow], error)
	CreateGroup(ctx context.Context, who auth.Actor, g client.GroupRequest) (client.GroupRow, error)
	ChangeGroup(ctx context.Context, who auth.Actor, ref string, g client.GroupRequest) (client.GroupRow, error)
	DeleteGroup(ctx context.Context, who auth.Actor, ref string) (client.Act, error)
}

// Tokens are enrolment tokens.
type Tokens interface {
	Tokens(ctx context.Context, who auth.Actor) (client.List[client.TokenRow], error)
	CreateToken(ctx context.Context, who auth.Actor, t client.TokenRequest) (client.TokenRow, error)
	RevokeToken(ctx context.Context, who auth.Actor, id string) (client.Act, error)
}

// Operators are the people and programs that may use the API.
type Operators interface {
	Operators(ctx context.Context, who auth.Actor) (client.List[client.OperatorRow], error)
	SetOperator(ctx context.Context, who auth.Actor, o client.OperatorRequest) (client.OperatorRow, error)
	RemoveOperator(ctx context.Context, who auth.Actor, name string) (client.Act, error)
}

// Accesses are access tokens. Operators see and make their own; administrators of the root group those of all.
type Accesses interface {
	Accesses(ctx context.Context, who auth.Actor) (client.List[client.AccessRow], error)
	CreateAccess(ctx context.Context, who auth.Actor, a client.AccessRequest) (client.AccessRow, error)
	RevokeAccess(ctx context.Context, who auth.Actor, id string) (client.Act, error)
}

// Audit is what happened: decisions and what devices reported.
type Audit interface {
	Ledger
	Events
}

// Events are what devices reported and is not a state.
type Events interface {
	Events(ctx context.Context, who auth.Actor, q client.EventQuery) (client.List[client.Event], error)
}

// Ledger reads the ledger.
type Ledger interface {
	Entries(ctx context.Context, q client.LedgerQuery) (client.List[client.LedgerRow], error)
	Checkpoint(ctx context.Context) (client.Checkpoint, error)
	// Export writes everything up to now in the export format. It stops with the error of live, which it
	// asks now and then: a caller whose access ends must not read on.
	Export(ctx context.Context, w io.Writer, live func() error) error
}

// Changes tells when decisions or facts changed.
type Changes interface {
	// Seq is the number of the last change.
	Seq() uint64
	// WaitChange returns the number of the last change once it is higher than seen, or ctx's error.
	WaitChange(ctx context.Context, seen uint64) (uint64, error)
}
