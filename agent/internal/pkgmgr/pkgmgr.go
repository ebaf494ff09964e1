// Package pkgmgr says what the agent needs of a device's package manager, in words no single tool
// owns. Each tool has a package of its own below it (apt), and all pass the suite in pkgmgrtest.
//
// Guarantees asked of every implementation: a scan never changes the device and never needs the
// tool's lock; a transaction runs only as exactly the files it was asked for; success is judged by
// what is on the device afterwards and never by an exit code (V3); nothing kills a package manager
// half way (C7) or removes its locks; no argument ever comes from unchecked text.
package pkgmgr

import (
	"context"
	"time"

	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

// Scanner reads what is installed and what could be.
type Scanner interface {
	// Scan reads the device's state as it is now, from files, without network and locks. A scan
	// whose inputs did not change since the last one returns the same Snapshot value again, quickly.
	Scan(ctx context.Context) (*Snapshot, error)
}

// Refresher fetches the repositories' metadata.
type Refresher interface {
	// Refresh updates the package lists. It has a deadline of its own (a hung repository ends it),
	// detects expired, unsigned, tampered and rolled back sources, and leaves the last good lists in place.
	// Problems of single sources are in the result; the error is for not being able to try at all.
	Refresh(ctx context.Context) ([]wire.OriginHealth, error)
}

// Transactor changes what is installed.
type Transactor interface {
	// Simulate asks the package manager what it would really do for want. It changes nothing.
	Simulate(ctx context.Context, want Want) (Transaction, error)
	// Fetch downloads the files of tx and checks size and SHA-256 of each against tx. It changes nothing
	// but the archive cache; progress may be nil.
	Fetch(ctx context.Context, tx Transaction, progress func(Progress)) error
	// Apply runs tx, which Simulate returned and Fetch completed, as one package manager run. Cancelling ctx
	// before the package manager started stops it; after that it is waited for. The error says how the run
	// itself went and is not the verdict: call Verify.
	Apply(ctx context.Context, tx Transaction, progress func(Progress)) (Outcome, error)
	// Recover brings an interrupted package manager back to a state in which it works, if it can be done
	// without removing anything. Calling it on a healthy device does nothing.
	Recover(ctx context.Context) (Health, error)
}

// Snapshot is the device's state at one moment.
type Snapshot struct {
	Inventory wire.Inventory
	Available wire.Available // without closures; see Closer
	Restart   []string       // packages that ask for a restart, "kernel" among them; empty when none
	Posture   []wire.Finding
	Origins   []wire.OriginHealth
	Health    Health
	Stamp     string // changes whenever any input of the scan changed
}

// Health is the state of the package manager itself.
type Health struct {
	Broken string // what is wrong, in words; empty when well (dpkg --audit is clean, nothing interrupted)
	Holder string // who holds its lock now ("apt-get (pid 123)"); empty when free
}

// Want is what a transaction should bring about.
type Want struct {
	Items  []catalog.Item // to be at exactly these versions, with these digests
	Extras []catalog.Item // may come in as new packages when needed, only these; they are marked as automatically installed
	// Removable names packages that may go along with Items where the package manager needs that: only these, and never one that
	// is essential, on hold, or the agent's own.
	Removable []string
	// Downgrade allows Items to be older than what is installed: a rollback of recorded versions (C3). Never set otherwise.
	Downgrade bool
	// Remove is to be taken off the device, and nothing else with it; data and configuration stay (C1). Such a Want has
	// no Items.
	Remove []catalog.Item
}

// Transaction is what the package manager said it would do for a Want.
type Transaction struct {
	ID      string // set by the agent's journal
	Want    Want
	Changes []wire.Change // the whole closure, sorted by Name, Arch
	Fetch   int64         // bytes still to be downloaded
	Space   int64         // bytes the installation will take on disk; negative when it frees some
}

// Refusal is why a Want cannot be carried out as it stands. It implements error.
type Refusal struct {
	Cause   installation.Cause
	Detail  string        // one sentence for people
	Changes []wire.Change // what stands outside the Want: unapproved upgrades and installs, removals, downgrades
}

// Error makes a Refusal an error.
func (r *Refusal) Error() string { return string(r.Cause) + ": " + r.Detail }

// Progress is one step of a running fetch or apply.
type Progress struct {
	Phase   string // "download", "unpack", "configure"
	Package string
	Percent float64 // 0 to 100 of the whole run
	Text    string
}

// Outcome is how a package manager run went, apart from its verdict.
type Outcome struct {
	ExitCode  int
	Started   time.Time
	Finished  time.Time
	Log       string   // the end of the output, at most 16 KiB, control characters removed
	Errors    []string // the package manager's own error lines
	Conffiles []string // configuration files kept as the administrator had them
}

// Verifier tells what is true of packages now.
type Verifier interface {
	// Verify reads the packages named by items from the package manager's database. A package that is not there has
	// an empty Version.
	Verify(ctx context.Context, items []catalog.Item) ([]wire.ProofItem, Health, error)
}

// Closer computes for each offer what would come with it (wire.Offer.Closure and Problem), with results cached by
// what they depend on, so a second call for unchanged inputs is free.
type Closer interface {
	Close(ctx context.Context, s *Snapshot) (wire.Available, error)
}

// Fencer puts up and takes down the device's own walls: pins that keep the package manager from choosing what is
// declined, and the hook that checks every transaction whoever started it.
type Fencer interface {
	// Fence makes the device's pins and hook say exactly what plan says. It is idempotent and atomic per file.
	Fence(ctx context.Context, plan wire.Plan) error
	// Unfence removes every trace of Fence.
	Unfence(ctx context.Context) error
}

// Historian records what was there before a transaction of ours, so that it can be put back.
type Historian interface {
	// Remember notes the versions that tx replaces for update, before tx is applied. Durable when it returns.
	Remember(ctx context.Context, update catalog.UpdateID, changes []wire.Change) error
}

// Foreseer looks at what would stand in the way of a transaction though Simulate allows it. It changes nothing and takes no
// lock, so it may run beside anything.
type Foreseer interface {
	// Room refuses a transaction for which there is no room on the device, as Fetch would; nil where there is.
	Room(tx Transaction) error
	// Foresee asks the package sources for the files of tx that are not here yet, without fetching them, and looks at the
	// configuration files that would meet a changed one. What it cannot find out it does not tell of.
	Foresee(ctx context.Context, tx Transaction) (Foresight, error)
}

// Foresight is what a transaction would meet.
type Foresight struct {
	Gone []Refusal // each for the files of its Changes, which could not be had as approved
	Kept []Kept
}

// Kept is a configuration file that was changed on the device and stays as it is there.
type Kept struct {
	Name, Arch string // of the package
	Path       string
	Unsure     bool // whether the new version changes it too is not known
}
