// Package publish is the publisher's side of a feed: a work tree with what is to be published, the keys that sign it, and
// the static folder that any web server can offer.
//
// A work tree has the layout of the published feed (metadata/ and targets/), and besides: feed.json (its configuration),
// draft.json (which files the next signed state has) and pending/ (metadata that waits for more signatures). Keys lie in a
// folder of their own, which may be on another medium: root and targets keys are needed for changes only, snapshot and
// timestamp keys for freshness.
//
// It guarantees: a release once added is never replaced by another of the same version; metadata versions only go up;
// nothing is published that a client would refuse, for every publication is first read back as a client reads it; files of
// a publication appear in an order that never shows a client half of it; every step may be repeated after a crash.
//
// It does not: keep several people from working in one tree at the same time beyond a lock on one machine, or hold keys in
// hardware.
package publish

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	"assent/fault"
	"assent/feed"
	"assent/trust"
	"assent/trust/internal/durable"
)

// Role is one of TUF's four roles.
type Role string

// The roles, in the order in which they vouch for each other.
const (
	Root      Role = "root"
	Targets   Role = "targets"
	Snapshot  Role = "snapshot"
	Timestamp Role = "timestamp"
)

// Roles are all roles in order.
func Roles() []Role { return []Role{Root, Targets, Snapshot, Timestamp} }

// Policy says who must sign for a role and how long that lasts.
type Policy struct {
	Keys      int           // 1 when zero
	Threshold int           // 1 when zero
	Expires   time.Duration // a default for each role when zero
}

// lifetime is how long signatures last unless told otherwise: what is signed offline lasts long, what a job signs short.
func lifetime(r Role) time.Duration {
	const day = 24 * time.Hour
	return map[Role]time.Duration{Root: 365 * day, Targets: 365 * day, Snapshot: 60 * day, Timestamp: 14 * day}[r]
}

// config is feed.json.
type config struct {
	Format  int               `json:"feed"` // 1
	ID      string            `json:"id"`
	Keys    string            `json:"keys"`    // folder of the private keys; relative to the tree
	Expires map[Role]duration `json:"expires"` // how long new signatures last
}

// duration is a time.Duration in words.
type duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = duration(v)
	return err
}

// Tree is a work tree. Its methods must not run at the same time; Open keeps other processes out until Close.
type Tree struct {
	dir    string
	config config
	lock   *os.File
}

// Options are what Init needs to know.
type Options struct {
	ID     string          // the feed's name
	Keys   string          // folder for the private keys; "keys" in the tree when empty
	Roles  map[Role]Policy // missing roles: one key, threshold one
	Secret Secret          // nil: keys are kept in clear, readable by their owner alone
}

// The refusals of a work tree.
var (
	errNoTree   = fault.New(fault.NotFound, "feed_tree_missing", "There is no feed's work tree; make one with assent feed init.")
	errIsTree   = fault.New(fault.Conflict, "feed_tree_exists", "There is a feed's work tree already.")
	errPolicy   = fault.New(fault.Invalid, "feed_threshold", "A role needs 1 to 16 keys, a threshold that they can meet, and signatures that last from an hour to twenty years.")
	errUnsigned = fault.New(fault.Conflict, "feed_unsigned", "Nothing of the feed is signed yet; run assent feed sign.")
)

// Init makes a work tree with keys and a root, and opens it.
func Init(dir string, o Options, now time.Time) (*Tree, error) {
	if err := feed.CheckID(o.ID); err != nil {
		return nil, err
	}
	c := config{Format: 1, ID: o.ID, Keys: o.Keys, Expires: map[Role]duration{}}
	policies := map[Role]Policy{}
	for _, r := range Roles() {
		p := o.Roles[r]
		p.Keys, p.Threshold = max(p.Keys, p.Threshold, 1), max(p.Threshold, 1)
		if p.Expires == 0 {
			p.Expires = lifetime(r)
		}
		if p.Keys > 16 || p.Expires < time.Hour || p.Expires > 20*365*24*time.Hour {
			return nil, errPolicy.On(string(r))
		}
		policies[r], c.Expires[r] = p, duration(p.Expires)
	}
	if c.Keys == "" {
		c.Keys = "keys"
	}
	for _, d := range []string{trust.MetadataDir, trust.TargetsDir, "pending"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("make the work tree: %w", err)
		}
	}
	t := &Tree{dir: dir, config: c}
	if err := t.take(); err != nil {
		return nil, err
	}
	if err := t.begin(policies, o.Secret, now); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// begin writes the first root and, last, the configuration: a tree without it is none, and Init may run again.
func (t *Tree) begin(policies map[Role]Policy, secret Secret, now time.Time) error {
	if _, err := os.Stat(t.path("feed.json")); err == nil {
		return errIsTree
	}
	keys, err := t.create(policies, secret)
	if err != nil {
		return err
	}
	root := newRoot(policies, keys, now)
	for _, k := range keys[Root] {
		if _, err := root.Sign(k.signer()); err != nil {
			return fmt.Errorf("sign the root: %w", err)
		}
	}
	if err := t.writeSigned(Root, 1, root); err != nil {
		return err
	}
	if err := t.writeDraft(draft{}); err != nil {
		return err
	}
	return t.writeConfig()
}

// create makes keys for all roles.
func (t *Tree) create(policies map[Role]Policy, secret Secret) (map[Role][]key, error) {
	made := map[Role][]key{}
	for _, r := range Roles() {
		for range policies[r].Keys {
			k, err := newKey(r)
			if err != nil {
				return nil, err
			}
			made[r] = append(made[r], k)
		}
	}
	return made, t.keep(made, secret)
}

// keep writes new keys into the tree's folder of keys.
func (t *Tree) keep(made map[Role][]key, secret Secret) error {
	dir := t.KeyDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of keys: %w", err)
	}
	for _, r := range Roles() {
		for _, k := range made[r] {
			if err := k.write(dir, secret); err != nil {
				return err
			}
		}
	}
	return nil
}

// Open opens a work tree and locks it.
func Open(dir string) (*Tree, error) {
	t := &Tree{dir: dir}
	b, err := os.ReadFile(t.path("feed.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoTree.Because(err)
	}
	if err != nil {
		return nil, fmt.Errorf("open the work tree: %w", err)
	}
	if err := json.Unmarshal(b, &t.config); err != nil || t.config.Format != 1 || feed.CheckID(t.config.ID) != nil {
		return nil, fault.New(fault.Invalid, "feed_tree_malformed", "The configuration %s cannot be understood.", t.path("feed.json")).Because(err)
	}
	return t, t.take()
}

// take locks the tree against other processes.
func (t *Tree) take() error {
	f, err := os.OpenFile(t.path(".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("lock the work tree: %w", err)
	}
	if err := lock(f); err != nil {
		return errors.Join(fault.New(fault.Conflict, "feed_tree_busy", "Another command works in this feed's tree; try again when it is done.").Because(err), f.Close())
	}
	t.lock = f
	return nil
}

// Close lets others work in the tree.
func (t *Tree) Close() error { return t.lock.Close() }

// ID is the feed's name.
func (t *Tree) ID() string { return t.config.ID }

// Dir is where the tree lies.
func (t *Tree) Dir() string { return t.dir }

func (t *Tree) path(elements ...string) string {
	return filepath.Join(append([]string{t.dir}, elements...)...)
}

// KeyDir is the folder of the private keys.
func (t *Tree) KeyDir() string {
	if filepath.IsAbs(t.config.Keys) {
		return t.config.Keys
	}
	return t.path(t.config.Keys)
}

func (t *Tree) writeConfig() error { return t.writeJSON("feed.json", t.config) }

func (t *Tree) writeJSON(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return durable.Write(t.path(name), append(b, '\n'), 0o644)
}

// SetExpiry changes how long new signatures of a role last.
func (t *Tree) SetExpiry(r Role, d time.Duration) error {
	if lifetime(r) == 0 || d < time.Hour || d > 20*365*24*time.Hour {
		return errPolicy.On(string(r))
	}
	t.config.Expires = maps.Clone(t.config.Expires)
	t.config.Expires[r] = duration(d)
	return t.writeConfig()
}
