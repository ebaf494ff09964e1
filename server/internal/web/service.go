package web

import (
	"context"
	"io"

	"assent/client"
	"assent/fleet"
	"assent/server/internal/auth"
	"assent/server/internal/signin"
)

// The services behind the pages, one small interface for each subject. All methods are safe for concurrent use,
// check that who may see or do it to the objects at hand, and return a *fault.Error for what the person can act on.
// Acts are durable when they return nil. The REST API stands on the very same services.

// SignIn lets people in, keeps who is signed in and asks for proof anew; *signin.Service is one.
type SignIn interface {
	Doors
	Sessions
	Endings
	Passwords
	Passkeys
	Confirmations
}

// Doors are the ways in. Refusals do not tell what was wrong, nor whether there is such an operator.
type Doors interface {
	WithToken(ctx context.Context, text, remote string) (signin.Proof, error)
	WithPassword(ctx context.Context, name, password, remote string) (signin.Proof, error)
	// BeginPasskey makes a challenge for anybody; WithPasskey takes its answer.
	BeginPasskey(ctx context.Context, remote string) (signin.Challenge, error)
	WithPasskey(ctx context.Context, id string, answer []byte, remote string) (signin.Proof, error)
}

// Sessions are who is signed in.
type Sessions interface {
	// Start makes a session and returns the cookie's value.
	Start(ctx context.Context, p signin.Proof, from signin.From) (cookie string, err error)
	// Find returns the session of a cookie's value and who it belongs to now, and notes that it was used.
	Find(ctx context.Context, cookie string) (signin.Session, auth.Session, error)
	// Check is Find by the session's key, and notes nothing.
	Check(ctx context.Context, key string) (signin.Session, auth.Session, error)
	List(ctx context.Context, operator string) ([]signin.Session, error)
	Choose(ctx context.Context, key, group string) error
}

// Endings end sessions at once; keep is the key of one that goes on.
type Endings interface {
	End(ctx context.Context, key string) error
	EndOne(ctx context.Context, operator, id string) error
	EndOthers(ctx context.Context, operator, keep string) (int, error)
	EndAll(ctx context.Context, who auth.Actor, operator, keep string) (client.Act, error)
}

// Passwords are set and removed as acts, which end the operator's sessions but the one with the key keep.
type Passwords interface {
	SetPassword(ctx context.Context, who auth.Actor, operator, password, keep string) (client.Act, error)
	RemovePassword(ctx context.Context, who auth.Actor, operator, keep string) (client.Act, error)
}

// Passkeys are registered by a challenge and its answer.
type Passkeys interface {
	// PasskeyOrigin is where browsers offer passkeys; empty: nowhere.
	PasskeyOrigin() string
	BeginRegister(ctx context.Context, one signin.Session, name string) (signin.Challenge, error)
	Register(ctx context.Context, who auth.Actor, one signin.Session, id, name string, answer []byte) (client.Act, error)
	Rename(ctx context.Context, operator, id, name string) error
	RemovePasskey(ctx context.Context, who auth.Actor, operator, id, keep string) (client.Act, error)
}

// Confirmations are proofs that the person who is signed in is still the one who acts.
type Confirmations interface {
	// Fresh reports whether the last proof is good for privileged acts.
	Fresh(one signin.Session) bool
	Ways(ctx context.Context, operator string) (signin.Ways, error)
	ConfirmPassword(ctx context.Context, one signin.Session, password, remote string) error
	ConfirmToken(ctx context.Context, one signin.Session, text, remote string) error
	BeginConfirm(ctx context.Context, one signin.Session, remote string) (signin.Challenge, error)
	ConfirmPasskey(ctx context.Context, one signin.Session, id string, answer []byte, remote string) error
}

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

// Agreements are the licences that must be accepted before updates may install (A7).
type Agreements interface {
	Agreements(ctx context.Context, who auth.Actor, update string) (client.List[client.AgreementRow], error)
	AgreementText(ctx context.Context, who auth.Actor, update, sha256 string) (client.AgreementText, error)
	Accepted(ctx context.Context, who auth.Actor) (client.List[client.AgreementRow], error)
	Accept(ctx context.Context, who auth.Actor, r client.AcceptRequest) (client.Act, error)
	Withdraw(ctx context.Context, who auth.Actor, r client.WithdrawRequest) (client.Act, error)
}

// Deployments put applications on devices that lack them.
type Deployments interface {
	Deploy(ctx context.Context, who auth.Actor, r client.DeployRequest) (client.DeployOutcome, error)
	Deployments(ctx context.Context, who auth.Actor) (client.List[client.DeployRow], error)
	Undeploy(ctx context.Context, who auth.Actor, act int64) (client.Act, error)
}

// Standing says where things stand.
type Standing interface {
	Why(ctx context.Context, who auth.Actor, device, update string) (client.Why, error)
	Queue(ctx context.Context, who auth.Actor, q client.QueueQuery, p client.Page) (client.List[client.QueueRow], error)
	Rehearsals(ctx context.Context, who auth.Actor, q client.RehearsalQuery, p client.Page) (client.List[client.RehearsalRow], error)
	Status(ctx context.Context, who auth.Actor) (client.Status, error)
	// DevicesNamed are devices by id or unambiguous name, all looked up at once; one that is not there is a refusal.
	DevicesNamed(ctx context.Context, who auth.Actor, refs []string) ([]client.DeviceRow, error)
	Coverage(ctx context.Context, who auth.Actor, groups []fleet.GroupID) ([]client.Compliance, error)
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

// Groups is the device tree. Groups lists the actor's part of it, parents before children.
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

// Operators are the people and programs that may use Assent.
type Operators interface {
	Operators(ctx context.Context, who auth.Actor) (client.List[client.OperatorRow], error)
	SetOperator(ctx context.Context, who auth.Actor, o client.OperatorRequest) (client.OperatorRow, error)
	RemoveOperator(ctx context.Context, who auth.Actor, name string) (client.Act, error)
}

// Accesses are access tokens. Operators see and make their own; administrators those of the operators below them.
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
	// Export writes everything up to now. It stops with the error of live, which it asks now and then: a person
	// whose access ends must not read on.
	Export(ctx context.Context, w io.Writer, live func() error) error
}

// Changes tells when decisions or facts changed.
type Changes interface {
	// Seq is the number of the last change.
	Seq() uint64
	// WaitChange returns the number of the last change once it is higher than seen, or ctx's error.
	WaitChange(ctx context.Context, seen uint64) (uint64, error)
}

// Feeds are the subscribed feeds of managed applications.
type Feeds interface {
	Feeds(ctx context.Context, who auth.Actor) (client.List[client.FeedRow], error)
	Feed(ctx context.Context, who auth.Actor, name string) (client.FeedRow, error)
	// Subscribe verifies the feed first, which takes as long as the feed's server does.
	Subscribe(ctx context.Context, who auth.Actor, r client.FeedRequest) (client.FeedAct, error)
	Unsubscribe(ctx context.Context, who auth.Actor, name string) (client.Act, error)
	Refresh(ctx context.Context, who auth.Actor, name string, r client.FeedRefresh) (client.FeedRow, error)
}

// Packages are installation packages.
type Packages interface {
	Packages(ctx context.Context, who auth.Actor) (client.List[client.PackageRow], error)
	Package(ctx context.Context, who auth.Actor, ref string) (client.PackageRow, error)
	CreatePackage(ctx context.Context, who auth.Actor, r client.PackageRequest) (client.PackageRow, error)
	DeletePackage(ctx context.Context, who auth.Actor, ref string) (client.Act, error)
	// Download builds the file of a package. The caller closes Body.
	Download(ctx context.Context, who auth.Actor, ref string, r client.PackageDownload) (client.Download, error)
}
