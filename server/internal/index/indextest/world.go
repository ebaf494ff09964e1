// Package indextest builds small installations for tests: a real store in a temporary directory, an index
// on it, a clock that stands still until it is moved, and devices that report what a test says.
//
// It is a simulator of devices, not of the server: whatever it does goes through the index's own methods.
package indextest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/catalog"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/server/internal/index"
	"assent/server/internal/store"
	"assent/wire"
)

// World is an installation under test.
type World struct {
	T     testing.TB
	Store *store.DB
	Index *index.Index

	config  store.Config
	servers []server // of several; empty: there is one
	mu      sync.Mutex
	now     time.Time
	devices map[fleet.DeviceID]*machine
	reports int // made-up report ids so far
}

// machine is a simulated device.
type machine struct {
	Said
	sequence int64
}

// Start is the time at which worlds begin.
var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// New makes a world with the root group and nothing else.
func New(t testing.TB) *World {
	w := &World{T: t, config: store.Config{DSN: filepath.Join(t.TempDir(), "assent.db")}, now: start, devices: map[fleet.DeviceID]*machine{}}
	w.open()
	t.Cleanup(func() { w.Store.Close() })
	w.begin()
	return w
}

// begin starts the ledger.
func (w *World) begin() {
	w.T.Helper()
	w.Act("server", ledger.ServerInit{Org: "test"})
	w.Act("server", ledger.TokenCreate{ID: "test", Group: fleet.Root, Uses: 1 << 30, Expires: start.Add(100 * 365 * 24 * time.Hour)})
}

func (w *World) open() {
	var err error
	w.config.Now = w.Now
	w.Store, err = store.Open(w.T.Context(), w.config)
	w.must(err)
	w.Index, err = index.Open(w.T.Context(), w.Store, index.Config{Now: w.Now, Version: Version})
	w.must(err)
}

// Restart closes the store and builds a new index from it, as a new process would.
func (w *World) Restart() {
	w.T.Helper()
	var contacts []store.Contact
	w.Index.View(func(v *index.View) {
		for d := range v.All() {
			if d.Contact.Device != "" {
				contacts = append(contacts, d.Contact)
			}
		}
	})
	w.must(w.Store.SaveContacts(w.T.Context(), contacts))
	w.must(w.Store.Close())
	w.open()
}

// Now is the world's clock.
func (w *World) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// Advance moves the clock.
func (w *World) Advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *World) must(err error) {
	w.T.Helper()
	if err != nil {
		w.T.Fatal(err)
	}
}

// Act records an act.
func (w *World) Act(by string, body ledger.Body) ledger.Entry {
	w.T.Helper()
	e, err := w.Index.Act(context.Background(), by, func(*index.View) (ledger.Body, error) { return body, nil })
	w.must(err)
	return e
}

// Group adds a group; its name is its id.
func (w *World) Group(id, parent fleet.GroupID) {
	w.T.Helper()
	w.Act("admin", ledger.GroupCreate{Group: fleet.Group{ID: id, Name: string(id), Parent: parent}})
}

// Device enrols a device; its name is its id.
func (w *World) Device(id fleet.DeviceID, group fleet.GroupID) {
	w.T.Helper()
	w.Named(id, string(id), group)
}

// Named enrols a device with a name of its own.
func (w *World) Named(id fleet.DeviceID, name string, group fleet.GroupID) {
	w.T.Helper()
	w.Act("device:"+string(id), ledger.DeviceEnrol{Token: "test", Device: fleet.Device{ID: id, Name: name, Group: group,
		State: fleet.Active, Key: "key-" + string(id), EnrolledAt: w.Now()}})
	w.devices[id] = &machine{Said: Said{Packages: map[string]wire.Package{}, Facts: wire.Facts{Hostname: string(id), OS: "debian", Arch: "amd64", Agent: "test"}}}
}

// Digest is the made-up SHA-256 of a file.
func Digest(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// Item is a file of a package "name version" with content that depends on both.
func Item(name, version string) catalog.Item {
	return catalog.Item{Name: name, Arch: "amd64", Version: version, Size: 1000, SHA256: Digest(name + "=" + version)}
}

// Package is an installed package whose source has the same name and version.
func Package(name, version string) wire.Package {
	return wire.Package{Name: name, Arch: "amd64", Version: version, Status: "ii", Source: name, SourceVersion: version}
}

// Offer is a release of a source package with one binary package of the same name, installed at a version.
func Offer(name, version, installed string) wire.Offer {
	return wire.Offer{Namespace: "acme", Name: name, Version: version,
		Items: []wire.OfferItem{{Item: Item(name, version), Installed: installed, Origin: "Acme:stable", Candidate: true, Summary: "the " + name + " program"}}}
}

// Brings adds a package to an offer's closure that the device does not have, of the source package from.
func Brings(o wire.Offer, name, version string) wire.Offer {
	it := Item(name, version)
	o.Closure = append(slices.Clone(o.Closure), wire.Change{Op: wire.OpInstall, Name: name, Arch: it.Arch, Version: version, SHA256: it.SHA256, Size: it.Size,
		Source: name, SrcVer: version, Space: o.Namespace})
	return o
}

// Upgrades adds an upgrade of another package to an offer's closure.
func Upgrades(o wire.Offer, name, from, to string) wire.Offer {
	it := Item(name, to)
	o.Closure = append(slices.Clone(o.Closure), wire.Change{Op: wire.OpUpgrade, Name: name, Arch: it.Arch, Version: to, From: from, SHA256: it.SHA256, Size: it.Size,
		Source: name, SrcVer: to, Space: o.Namespace})
	return o
}

// Release is the release that Offer offers.
func Release(name, version string) catalog.Release {
	return catalog.Release{Software: catalog.Software{Ecosystem: "deb", Namespace: "acme", Name: name}, Version: version}
}

// ID is the id of the update that Offer offers.
func ID(name, version string) catalog.UpdateID { return Release(name, version).ID() }

// Has makes packages installed on a device ("name version" each), without telling the server.
func (w *World) Has(id fleet.DeviceID, packages ...string) {
	for _, p := range packages {
		name, version, _ := strings.Cut(p, " ")
		w.devices[id].Packages[name] = Package(name, version)
	}
}

// Said is what a device will say of itself with its next scan.
type Said struct {
	Packages map[string]wire.Package // by name
	Offers   []wire.Offer
	Restore  []wire.RestoreItem
	Facts    wire.Facts
}

// Machine lets a test change what a device will say with its next scan.
func (w *World) Machine(id fleet.DeviceID, change func(*Said)) { change(&w.devices[id].Said) }

// Offered sets what a device is offered and reports a scan.
func (w *World) Offered(id fleet.DeviceID, offers ...wire.Offer) {
	w.T.Helper()
	w.devices[id].Offers = offers
	w.Scan(id)
}

// Scan reports what is on a device and what it is offered, as its agent would.
func (w *World) Scan(id fleet.DeviceID) {
	w.T.Helper()
	m := w.devices[id]
	inventory := wire.Inventory{Ecosystem: "deb"}
	for _, p := range m.Packages {
		inventory.Packages = append(inventory.Packages, p)
	}
	slices.SortFunc(inventory.Packages, func(a, b wire.Package) int { return strings.Compare(a.Name, b.Name) })
	available := wire.Available{Closed: true, Ecosystem: "deb", Updates: m.Offers, Restore: m.Restore}
	w.Upload(id, map[wire.Kind]any{wire.KindFacts: m.Facts, wire.KindInventory: inventory, wire.KindAvailable: available})
}

// Upload gives the server documents and checks in with their digests.
func (w *World) Upload(id fleet.DeviceID, documents map[wire.Kind]any) {
	w.T.Helper()
	digests := map[wire.Kind]string{}
	for kind, doc := range documents {
		body, digest, err := wire.Encode(doc)
		w.must(err)
		w.must(w.Index.ObserveDocument(context.Background(), id, kind, digest, body))
		digests[kind] = digest
	}
	m := w.devices[id]
	m.sequence++
	need, err := w.Index.Contact(context.Background(), store.Contact{Device: id, Digests: digests, BootID: "boot", Run: "run", Sequence: m.sequence, LastSeen: w.Now(),
		Progress: wire.Progress{LastScan: w.Now(), LastRefresh: w.Now()}, Capability: wire.Capability})
	w.must(err)
	if len(need) > 0 {
		w.T.Fatalf("the server still wants %v of %s", need, id)
	}
}

// Obey does what a plan orders: it installs and rolls back, reports each step, and scans.
func (w *World) Obey(id fleet.DeviceID, p wire.Plan) {
	w.T.Helper()
	m := w.devices[id]
	var reports []wire.Report
	say := func(u catalog.UpdateID, states ...string) {
		for _, s := range states {
			reports = append(reports, wire.Report{ID: fmt.Sprintf("%s-%d-%d", id, w.Now().UnixNano(), len(reports)), At: w.Now(), Update: u, State: state(s)})
		}
	}
	for _, in := range p.Install {
		say(in.Update, "assigned", "downloading", "downloaded", "installing", "installed")
		for _, it := range slices.Concat(in.Items, in.Extras) {
			m.install(in.Update, it)
		}
		m.Offers = slices.DeleteFunc(slices.Clone(m.Offers), func(o wire.Offer) bool { return o.Name == in.Release.Name && o.Version == in.Release.Version })
	}
	for _, rb := range p.Rollback {
		say(rb.Update, "removing", "removed")
		for _, it := range rb.Items {
			m.Packages[it.Name] = Package(it.Name, it.Version)
			m.Restore = slices.DeleteFunc(m.Restore, func(r wire.RestoreItem) bool { return r.Update == rb.Update })
			m.Offers = append(m.Offers, Offer(it.Name, it.Current, it.Version))
		}
	}
	w.Report(id, reports...)
	w.Advance(time.Second)
	w.Scan(id)
}

func (m *machine) install(update catalog.UpdateID, it catalog.Item) {
	if old, ok := m.Packages[it.Name]; ok {
		m.Restore = append(m.Restore, wire.RestoreItem{Update: update, Name: it.Name, Arch: it.Arch, Version: old.Version, Current: it.Version,
			SHA256: Digest(it.Name + "=" + old.Version), Size: 1000, From: "repository"})
	}
	p := Package(it.Name, it.Version)
	p.How = "assent"
	m.Packages[it.Name] = p
}

// Report sends reports; their ids are made up where they have none.
func (w *World) Report(id fleet.DeviceID, reports ...wire.Report) {
	w.T.Helper()
	for i := range reports {
		if reports[i].ID == "" {
			w.reports++
			reports[i].ID = fmt.Sprintf("r-%s-%d", id, w.reports)
		}
		if reports[i].At.IsZero() {
			reports[i].At = w.Now()
		}
	}
	applied, err := w.Index.ApplyReports(context.Background(), id, reports)
	w.must(err)
	if len(applied) != len(reports) {
		w.T.Fatalf("%d of %d reports of %s were acknowledged", len(applied), len(reports), id)
	}
}

func state(s string) installation.State { return installation.State(s) }
