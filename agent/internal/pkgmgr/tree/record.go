package tree

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"assent/catalog"
	"assent/feed"
	"assent/pkgver"
)

// How a version came onto the device (V4).
const (
	howAssent = "assent"
	howByHand = "by hand"
)

// Limits of records.
const (
	recordFormat = 1
	maxRecord    = 1 << 20
	maxPast      = 20
	unknown      = "unknown" // the version of what somebody put there under no version's name
)

// record is what Assent knows of an application on this device. It is written before and after the switch; between the
// two the link says what is true (settled).
type record struct {
	Format  int            `json:"format"`
	Feed    string         `json:"feed"`
	App     string         `json:"application"`
	Payload catalog.Format `json:"payload"`
	Current *version       `json:"current,omitempty"`
	Past    []version      `json:"past,omitempty"`  // the versions before, the latest first, each once
	Step    *step          `json:"step,omitempty"`  // begun, and its end not recorded
	Trash   []string       `json:"trash,omitempty"` // directories below versions that are to be deleted
}

// version is one version of an application that is or was in force here.
type version struct {
	Version  string    `json:"version"`
	Arch     string    `json:"arch"`
	SHA256   string    `json:"sha256,omitempty"` // of the payload; empty: not Assent's
	Size     int64     `json:"size,omitempty"`   // of the payload, bytes
	Dir      string    `json:"dir,omitempty"`    // below versions; empty: not on disk any more
	Manifest string    `json:"manifest,omitempty"`
	At       time.Time `json:"at"`
	How      string    `json:"how"`
	Boot     string    `json:"boot,omitempty"`   // the boot after which it asks for a restart
	Serves   bool      `json:"serves,omitempty"` // its services are restarted when it comes or goes
	Units    []string  `json:"units,omitempty"`  // those that still have to be, and to be active again
}

// step is a switch that was begun.
type step struct {
	To *version `json:"to,omitempty"` // nil: taking the application off
}

func (r record) key() key { return key{r.Feed, r.App, r.Payload} }

// link is where an application's link leads.
type link struct {
	dir     string // below versions; empty when it leads elsewhere or is none
	missing bool
	at      time.Time
}

func readLink(home *os.Root) (link, error) {
	info, err := home.Lstat(current)
	if errors.Is(err, fs.ErrNotExist) {
		return link{missing: true}, nil
	}
	if err != nil {
		return link{}, err
	}
	l := link{at: info.ModTime().UTC()}
	target, err := home.Readlink(current)
	if err != nil {
		return l, nil //nolint:nilerr // it is no link at all
	}
	if dir, ok := strings.CutPrefix(target, versions+"/"); ok && filepath.IsLocal(dir) && !strings.Contains(dir, "/") {
		l.dir = dir
	}
	return l, nil
}

// settled is the record with what is true on the device worked in: a step that came to its end, or not; and what
// somebody did by hand (V4). It is pure, and settling twice is settling once.
func (r record) settled(l link) record {
	begun := r.Step
	r.Step = nil
	switch {
	case begun == nil:
	case begun.To == nil && l.missing:
		return r.emptied()
	case begun.To != nil && l.dir == begun.To.Dir:
		return r.moved(begun.To)
	} // else it did not come to its end; the tree that it was to lead to is an orphan
	return r.observed(l)
}

// observed is the record with what somebody did by hand worked in.
func (r record) observed(l link) record {
	switch {
	case l.missing && r.Current == nil, !l.missing && r.Current != nil && l.dir == r.Current.Dir:
		return r
	case l.missing:
		return r.moved(nil)
	}
	for _, v := range r.Past {
		if v.Dir != "" && v.Dir == l.dir {
			v.At, v.How, v.Boot, v.Units = l.at, howByHand, "", nil
			return r.moved(&v)
		}
	}
	name, _, _ := strings.Cut(l.dir, "~")
	if pkgver.Check(catalog.Generic, name) != nil {
		name = unknown
	}
	return r.moved(&version{Version: name, Arch: "all", Dir: l.dir, At: l.at, How: howByHand})
}

// moved is the record after another version, or none, came into force.
func (r record) moved(to *version) record {
	past := slices.Clone(r.Past)
	if r.Current != nil {
		past = slices.Insert(past, 0, *r.Current)
	}
	same := func(a, b version) bool { return a.Version == b.Version && a.SHA256 == b.SHA256 }
	before := r
	r.Current, r.Past = to, nil
	for _, v := range past {
		if to != nil && same(v, *to) || slices.ContainsFunc(r.Past, func(p version) bool { return same(p, v) }) {
			continue
		}
		r.Past = append(r.Past, v)
	}
	r.Past = r.Past[:min(len(r.Past), maxPast)]
	return r.trashing(before)
}

// trashed is the record with one more directory to delete, unless it names it otherwise.
func (r record) trashed(dir string) record {
	if dir == "" || slices.Contains(r.Trash, dir) || r.names(dir) {
		return r
	}
	r.Trash = append(slices.Clone(r.Trash), dir)
	return r
}

// trashing is the record with everything to delete that before named and r does not. What came by hand stays.
func (r record) trashing(before record) record {
	for _, v := range before.all() {
		if v.Manifest != "" {
			r = r.trashed(v.Dir)
		}
	}
	return r
}

// all lists the versions of the record, the current one first.
func (r record) all() []version {
	if r.Current == nil {
		return r.Past
	}
	return slices.Insert(slices.Clone(r.Past), 0, *r.Current)
}

func (r record) names(dir string) bool {
	return slices.ContainsFunc(r.all(), func(v version) bool { return v.Dir == dir })
}

// emptied is the record of an application that was taken off: its history stays, its trees go.
func (r record) emptied() record {
	before := r
	r = r.moved(nil)
	r.Past = slices.Clone(r.Past)
	for i := range r.Past {
		if r.Past[i].Manifest != "" {
			r.Past[i].Dir, r.Past[i].Manifest = "", ""
		}
	}
	return r.trashing(before)
}

// pruned keeps the current version on disk and those of the versions before that a decline would need: the newest that are older
// than the current one, and then the latest of the others; all in all as many as keep says.
func (r record) pruned() record {
	if r.Current == nil {
		return r
	}
	before := r
	var kept []int
	for _, older := range []bool{true, false} {
		var some []int
		for i, v := range r.Past {
			if v.Dir != "" && v.Manifest != "" && r.older(v) == older {
				some = append(some, i)
			}
		}
		if older {
			slices.SortStableFunc(some, func(a, b int) int { return compare(r.Past[b].Version, r.Past[a].Version) })
		}
		kept = append(kept, some...)
	}
	kept = kept[:min(len(kept), keep-1)]
	r.Past = slices.Clone(r.Past)
	for i := range r.Past {
		if r.Past[i].Manifest != "" && !slices.Contains(kept, i) {
			r.Past[i].Dir, r.Past[i].Manifest = "", ""
		}
	}
	return r.trashing(before)
}

// older reports whether a version can be stepped back to.
func (r record) older(v version) bool {
	order, err := pkgver.Compare(catalog.Generic, v.Version, r.Current.Version)
	return err == nil && order < 0
}

// compare orders versions; what cannot be ordered is oldest.
func compare(a, b string) int {
	if order, err := pkgver.Compare(catalog.Generic, a, b); err == nil {
		return order
	}
	known := func(s string) int {
		if pkgver.Check(catalog.Generic, s) == nil {
			return 1
		}
		return 0
	}
	return known(a) - known(b)
}

// freeDir finds a name below versions for a version that has none yet.
func (r record) freeDir(home *os.Root, v string) (string, error) {
	for n := 1; n < 1000; n++ {
		dir := v
		if n > 1 {
			dir = fmt.Sprintf("%s~%d", v, n)
		}
		if r.names(dir) || slices.Contains(r.Trash, dir) {
			continue
		}
		if _, err := home.Lstat(versions + "/" + dir); errors.Is(err, fs.ErrNotExist) {
			return dir, nil
		} else if err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("there are too many directories of version %s", v)
}

func recordName(k key) string { return k.feed + ":" + k.app + ".json" }

// application is the syntax of names that feed.Parse lets pass.
var application = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]{1,62}$`)

// load reads the record of an application and settles it; one without any is empty.
func (t *Tree) load(k key) (record, error) {
	r, err := t.read(k)
	if err != nil {
		return r, err
	}
	return t.settle(r)
}

func (t *Tree) read(k key) (record, error) {
	r := record{Format: recordFormat, Feed: k.feed, App: k.app, Payload: k.format}
	d, err := t.store("apps")
	if err != nil {
		return r, err
	}
	defer d.Close()
	b, err := d.Read(recordName(k), maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err == nil && (r.Format != recordFormat || r.Feed != k.feed || r.App != k.app || !r.Payload.Side()) {
		err = errors.New("it is another's, or of a later agent")
	}
	if err != nil {
		return r, fmt.Errorf("%w of %s: %w", errRecord, k, err)
	}
	return r, nil
}

// errRecord says that a record is there and is of no use.
var errRecord = errors.New("cannot read the record")

// setAside puts a record out of the way that cannot be read. What is in force is then found out by looking, as if
// somebody had put it there by hand.
func (t *Tree) setAside(k key) error {
	d, err := t.store("apps")
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Root().Rename(recordName(k), recordName(k)+".unreadable"); err != nil {
		return err
	}
	return d.Sync()
}

func (t *Tree) settle(r record) (record, error) {
	home, err := t.home(r.key())
	if errors.Is(err, fs.ErrNotExist) {
		return r.settled(link{missing: true}), nil
	}
	if err != nil {
		return r, fmt.Errorf("look at %s: %w", r.key(), err)
	}
	defer home.Close()
	l, err := readLink(home)
	if err != nil {
		return r, fmt.Errorf("look at %s: %w", r.key(), err)
	}
	return r.settled(l), nil
}

// save writes a record durably.
func (t *Tree) save(r record) error {
	d, err := t.store("apps")
	if err != nil {
		return err
	}
	defer d.Close()
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return d.Write(recordName(r.key()), append(b, '\n'))
}

// known lists the applications that have a record or a directory, sorted. What cannot be read is named in broken.
func (t *Tree) known() (records []record, broken string, err error) {
	keys, err := t.keys()
	if err != nil {
		return nil, "", err
	}
	for _, k := range keys {
		r, err := t.load(k)
		if err != nil {
			broken = err.Error()
			continue
		}
		records = append(records, r)
	}
	return records, broken, nil
}

// keys lists the applications that have a record or a directory, sorted by name.
func (t *Tree) keys() ([]key, error) {
	keys := map[string]key{}
	for _, f := range []catalog.Format{catalog.Tar, catalog.ContentFile} {
		found, err := filepath.Glob(filepath.Join(t.cfg.Root, base(f), "*", "*"))
		if err != nil {
			return nil, err
		}
		for _, dir := range found {
			k := key{filepath.Base(filepath.Dir(dir)), filepath.Base(dir), f}
			if feed.CheckID(k.feed) == nil && application.MatchString(k.app) {
				keys[k.String()] = k
			}
		}
	}
	names, err := filepath.Glob(filepath.Join(t.cfg.StateDir, "tree", "apps", "*.json"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		f, app, ok := strings.Cut(strings.TrimSuffix(filepath.Base(name), ".json"), ":")
		if ok && feed.CheckID(f) == nil && application.MatchString(app) {
			keys[f+"/"+app] = key{f, app, keys[f+"/"+app].format}
		}
	}
	var out []key
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		out = append(out, keys[name])
	}
	return out, nil
}
