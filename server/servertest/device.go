package servertest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"assent/catalog"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/server/internal/index"
	"assent/server/internal/store"
	"assent/wire"
)

// Device is a simulated device: it has packages, could take others, and reports what it is told to.
type Device struct {
	ID   fleet.DeviceID
	Name string

	w         *World
	sequence  int64
	reports   int
	installed map[string]string // package -> version
	offers    map[string]wire.Offer
	closePoll func()
}

// Device enrols a device. It is connected, has nothing installed and could take nothing, until told.
func (w *World) Device(name string, group fleet.GroupID) *Device {
	w.t.Helper()
	d := w.enrol(name, group, w.token("tok-"+name, group, 1))
	d.CheckIn()
	return d
}

// Fleet enrols many devices with one token. Each has what tell says of it when it first checks in.
func (w *World) Fleet(n int, group fleet.GroupID, name func(i int) string, tell func(i int, d *Device)) []*Device {
	w.t.Helper()
	out, token := make([]*Device, n), w.token("tok-all-"+string(group), group, n)
	for i := range n {
		out[i] = w.enrol(name(i), group, token)
		tell(i, out[i])
		out[i].CheckIn()
	}
	return out
}

func (w *World) token(id string, group fleet.GroupID, uses int) string {
	w.t.Helper()
	w.Act("server", ledger.TokenCreate{ID: id, Group: group, Uses: uses, Expires: time.Now().Add(time.Hour)})
	return id
}

func (w *World) enrol(name string, group fleet.GroupID, token string) *Device {
	w.t.Helper()
	id := fleet.DeviceID("d" + wire.Digest([]byte(name))[:12]) // as long as a real one
	w.Act("device:"+string(id), ledger.DeviceEnrol{Token: token, Device: fleet.Device{ID: id, Name: name, Group: group, State: fleet.Active,
		Key: strings.Repeat("0", 64), EnrolledAt: time.Now().UTC()}})
	d := &Device{ID: id, Name: name, w: w, installed: map[string]string{}, offers: map[string]wire.Offer{}}
	d.Connect()
	w.t.Cleanup(d.Disconnect)
	return d
}

// Forget drops what the device has and could take: it can only report from then on. A large fleet needs the memory.
func (d *Device) Forget() { d.installed, d.offers = nil, nil }

// Connect opens the device's long poll; Disconnect closes it.
func (d *Device) Connect() { d.closePoll = d.w.index.PollOpened(d.ID) }

// Disconnect closes the device's long poll, and makes it look as if that was a while ago.
func (d *Device) Disconnect() {
	if d.closePoll != nil {
		d.closePoll()
		d.closePoll = nil
	}
}

// Has puts a package of the source of the same name onto the device.
func (d *Device) Has(name, version string) { d.installed[name] = version }

// Offer is an update that the device could take: one source package with one package of the same name.
func (d *Device) Offer(name, version string, change func(*wire.Offer)) catalog.UpdateID {
	o := wire.Offer{Namespace: "debian", Name: name, Version: version, Items: []wire.OfferItem{{
		Item:      catalog.Item{Name: name, Arch: "amd64", Version: version, Size: 1000 * int64(len(name)), SHA256: wire.Digest([]byte(name + version))},
		Installed: d.installed[name], Origin: "Debian:bookworm", Candidate: true, Pin: 500, Summary: "The " + name + " program"}}}
	if change != nil {
		change(&o)
	}
	d.offers[name] = o
	return d.release(o).ID()
}

func (d *Device) release(o wire.Offer) catalog.Release {
	return catalog.Release{Software: catalog.Software{Ecosystem: "deb", Namespace: o.Namespace, Name: o.Name}, Version: o.Version}
}

// Install does what an agent would: the offer becomes the installed version, and is reported.
func (d *Device) Install(name string) {
	d.w.t.Helper()
	o := d.offers[name]
	delete(d.offers, name)
	d.installed[name] = o.Version
	d.Report(d.release(o).ID(), installation.Installing, "", "")
	d.Report(d.release(o).ID(), installation.Installed, "", "")
	d.CheckIn()
}

// Report sends one state.
func (d *Device) Report(update catalog.UpdateID, state installation.State, cause installation.Cause, detail string) {
	d.w.t.Helper()
	d.send(wire.Report{Update: update, State: state, Cause: cause, Detail: detail})
}

// Event sends one event.
func (d *Device) Event(event, detail string) {
	d.w.t.Helper()
	d.send(wire.Report{Event: event, Detail: detail})
}

// Rehearse tells what the device found when it rehearsed its present plan.
func (d *Device) Rehearse(found ...wire.Rehearsed) {
	d.w.t.Helper()
	_, plan, err := d.w.plans.For(d.ID)
	d.w.must(err)
	inventory := ""
	d.w.index.View(func(v *index.View) {
		if dev, ok := v.Device(d.ID); ok {
			inventory = dev.Contact.Digests[wire.KindInventory]
		}
	})
	d.w.must(d.w.index.Rehearsed(d.w.t.Context(), d.ID, wire.Rehearsal{At: time.Now().UTC(), Plan: plan, Inventory: inventory, Updates: found}))
}

func (d *Device) send(r wire.Report) {
	d.w.t.Helper()
	d.reports++
	r.ID, r.At = fmt.Sprintf("%s-%d", d.ID, d.reports), time.Now().UTC()
	_, err := d.w.index.ApplyReports(d.w.t.Context(), d.ID, []wire.Report{r})
	d.w.must(err)
}

// CheckIn uploads what the device has and could take.
func (d *Device) CheckIn() {
	d.w.t.Helper()
	facts := wire.Facts{Hostname: d.Name, OS: "debian", OSVersion: "12", Codename: "bookworm", Arch: "amd64", Kernel: "6.1.0", TimeZone: "UTC", Agent: "test", Guard: fleet.BlockDeclined}
	inventory := wire.Inventory{Ecosystem: "deb"}
	for _, name := range sorted(d.installed) {
		v := d.installed[name]
		inventory.Packages = append(inventory.Packages, wire.Package{Name: name, Arch: "amd64", Version: v, Status: "ii", Source: name, SourceVersion: v})
	}
	available := wire.Available{Closed: true, Ecosystem: "deb"}
	for _, name := range sorted(d.offers) {
		available.Updates = append(available.Updates, d.offers[name])
	}
	digests := map[wire.Kind]string{}
	for kind, doc := range map[wire.Kind]any{wire.KindFacts: facts, wire.KindInventory: inventory, wire.KindAvailable: available} {
		body, err := json.Marshal(doc)
		d.w.must(err)
		digests[kind] = wire.Digest(body)
		d.w.must(d.w.index.ObserveDocument(d.w.t.Context(), d.ID, kind, digests[kind], body))
	}
	d.sequence++
	now := time.Now().UTC()
	need, err := d.w.index.Contact(d.w.t.Context(), store.Contact{Device: d.ID, Digests: digests, BootID: "boot", Run: "run", Sequence: d.sequence,
		LastSeen: now, Progress: wire.Progress{LastScan: now, LastRefresh: now}, Capability: wire.Capability})
	d.w.must(err)
	if len(need) > 0 {
		d.w.t.Fatalf("the server wants %v again", need)
	}
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
