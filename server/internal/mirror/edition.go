package mirror

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"assent/fault"
	"assent/feed"
	"assent/trust"
)

// edition is one verified state of a feed, whole: what devices are served. It never changes.
type edition struct {
	state   trust.State
	targets map[string]trust.Target // by path as the publisher names it
	digests map[string]trust.Target // one for each digest
	files   map[string]file         // by path below the feed's root
	// before is the edition that was served until this one came: a device that is in the middle of it may go on.
	before *edition
}

// file is a file that devices are served: metadata from memory, or a target from the content store.
type file struct {
	body   []byte
	target trust.Target
}

// kept is an edition as it is kept on disk: one file, so that it is whole or the one before.
type kept struct {
	Roots     map[int64][]byte `json:"roots"` // after the pinned one
	Timestamp []byte           `json:"timestamp"`
	Snapshot  []byte           `json:"snapshot"`
	Targets   []byte           `json:"targets"`
}

// Names of the files of a feed's directory besides those of package trust.
const (
	editionFile = "edition.json"
	checkedFile = "checked.json"
)

// rootFile is where devices find the first root, which they pin.
const rootFile = "root.json"

var errEdition = fault.New(fault.Internal, "feed_edition", "The server's copy of the feed is damaged; it is made anew.")

// Read implements trust.Store: an edition is verified like any other state.
func (k kept) Read(name string) ([]byte, error) {
	for version, b := range k.Roots {
		if name == fmt.Sprintf("%d.root.json", version) {
			return b, nil
		}
	}
	if b := map[string][]byte{"timestamp.json": k.Timestamp, "snapshot.json": k.Snapshot, "targets.json": k.Targets}[name]; b != nil {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

// Write implements trust.Store; nothing writes to an edition.
func (k kept) Write(string, []byte) error { return fs.ErrPermission }

// collect takes the state of the last successful refresh out of the verified files.
func collect(store trust.Store, first, last int64) (kept, error) {
	k := kept{Roots: map[int64][]byte{}}
	var errs []error
	read := func(name string) []byte {
		b, err := store.Read(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("read the verified %s: %w", name, err))
		}
		return b
	}
	for v := first + 1; v <= last; v++ {
		k.Roots[v] = read(fmt.Sprintf("%d.root.json", v))
	}
	k.Timestamp, k.Snapshot, k.Targets = read("timestamp.json"), read("snapshot.json"), read("targets.json")
	return k, errors.Join(errs...)
}

// open verifies the edition from the pinned root on and lays out its files.
func (k kept) open(pinned []byte) (*edition, error) {
	first, err := versionOf(pinned)
	if err != nil {
		return nil, err
	}
	c, err := trust.Open(pinned, k)
	if err != nil {
		return nil, fmt.Errorf("verify the copy of the feed: %w", err)
	}
	e := &edition{state: c.State(), targets: c.Targets(), digests: map[string]trust.Target{}, files: map[string]file{}}
	if e.state.TargetsVersion == 0 || e.state.SnapshotVersion == 0 || e.state.TimestampVersion == 0 {
		return nil, errEdition
	}
	put := func(name string, b []byte) { e.files[path.Join(trust.MetadataDir, name)] = file{body: b} }
	put(fmt.Sprintf("%d.root.json", first), pinned)
	for v := first + 1; v <= e.state.RootVersion; v++ {
		put(fmt.Sprintf("%d.root.json", v), k.Roots[v])
	}
	put("timestamp.json", k.Timestamp)
	put(fmt.Sprintf("%d.snapshot.json", e.state.SnapshotVersion), k.Snapshot)
	put(fmt.Sprintf("%d.targets.json", e.state.TargetsVersion), k.Targets)
	e.files[rootFile] = file{body: pinned}
	for _, t := range e.targets {
		e.digests[t.SHA256] = t
		e.files[trust.TargetFile(t)] = file{target: t}
	}
	return e, nil
}

// versionOf is the version of a root.
func versionOf(root []byte) (int64, error) {
	c, err := trust.Open(root, kept{})
	if err != nil {
		return 0, err
	}
	return c.State().RootVersion, nil
}

// find finds a file of this edition, or of the one before.
func (e *edition) find(name string) (file, bool) {
	f, ok := e.files[name]
	if !ok && e.before != nil {
		f, ok = e.before.files[name]
	}
	return f, ok
}

// has reports whether a digest is that of a target.
func (e *edition) has(digest string) (trust.Target, bool) {
	for ; e != nil; e = e.before {
		if t, ok := e.digests[digest]; ok {
			return t, true
		}
	}
	return trust.Target{}, false
}

// text finds the text of an agreement.
func (e *edition) text(digest string) (trust.Target, bool) {
	if e == nil {
		return trust.Target{}, false
	}
	t, ok := e.targets[feed.AgreementTarget(digest)]
	return t, ok && t.SHA256 == digest && t.Size <= feed.MaxAgreement
}

// follows is this edition with the one before it.
func (e *edition) follows(before *edition) *edition {
	next := *e
	if before != nil {
		old := *before
		old.before = nil
		next.before = &old
	}
	return &next
}

// same reports whether a refresh led to nothing but this edition.
func (e *edition) same(s trust.State) bool {
	return e != nil && e.state.RootVersion == s.RootVersion && e.state.TimestampVersion == s.TimestampVersion &&
		e.state.SnapshotVersion == s.SnapshotVersion && e.state.TargetsVersion == s.TargetsVersion
}

// load reads the edition that the last run kept; nil when there is none that can be used.
func load(store trust.Store, pinned []byte) (*edition, error) {
	b, err := store.Read(editionFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the copy of the feed: %w", err)
	}
	var k kept
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&k); err != nil {
		return nil, errEdition.Because(err)
	}
	return k.open(pinned)
}

// save keeps the edition for the next run.
func (k kept) save(store trust.Store) error {
	b, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("encode the copy of the feed: %w", err)
	}
	return store.Write(editionFile, b)
}
