package population

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"assent/fleet"
	"assent/wire"
)

// Size says how large a fleet is and how different its devices are.
type Size struct {
	Devices  int
	Updates  int // distinct ones in the whole fleet
	Each     int // updates that one device could take
	Packages int // installed sources on each device, those with updates included
	Kinds    int // different sets of packages; devices share them evenly. Each device has facts of its own
}

// Fleet is the make-up of a fleet.
type Fleet struct {
	Size    Size
	updates []Source // those with an update
	others  []Source
}

// New makes up a fleet from an archive. Where the archive has fewer sources than the fleet has updates, further
// releases of the same ones are made up.
func New(archive []Source, s Size) (*Fleet, error) {
	if s.Devices < 1 || s.Each < 1 || s.Each > s.Updates || s.Packages < s.Each || s.Kinds < 1 || len(archive) < 100 {
		return nil, fmt.Errorf("no such fleet can be made up: %+v from %d sources", s, len(archive))
	}
	mixed := slices.Clone(archive)
	random := rand.New(rand.NewPCG(1, 2)) // the same fleet each time
	random.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
	half := max(len(mixed)-2*s.Packages, len(mixed)/2)
	f := &Fleet{Size: s, others: mixed[half:]}
	for i := range s.Updates {
		f.updates = append(f.updates, release(mixed[i%half], i/half))
	}
	return f, nil
}

// release is a source, or one made up after it.
func release(s Source, n int) Source {
	if n == 0 {
		return s
	}
	out := Source{Name: fmt.Sprintf("%s-%d", s.Name, n), Version: s.Version, Items: slices.Clone(s.Items)}
	for i := range out.Items {
		it := &out.Items[i]
		it.Name = fmt.Sprintf("%s-%d", it.Name, n)
		it.SHA256 = wire.Digest([]byte(it.Name + it.Version))
	}
	return out
}

// before is a version that dpkg orders below another one: a tilde sorts before the end.
func before(version string) string { return version + "~0" }

// KindOf is the kind of the device with a number.
func (f *Fleet) KindOf(device int) int { return device % f.Size.Kinds }

// Hostname is the name of the device with a number.
func Hostname(device int) string { return fmt.Sprintf("host%07d", device) }

// Facts is what the device with a number says of itself.
func (f *Fleet) Facts(device int) wire.Facts {
	return wire.Facts{Hostname: Hostname(device), MachineID: wire.Digest([]byte(Hostname(device)))[:32], OS: "debian", OSVersion: "12", Codename: "bookworm",
		Arch: "amd64", Kernel: "6.1.0-28-amd64", TimeZone: "Europe/Berlin", Agent: "bench", Guard: fleet.BlockDeclined}
}

// Inventory is what is installed on devices of a kind once they took so many of their updates, the first ones first.
func (f *Fleet) Inventory(kind, taken int) wire.Inventory {
	inv := wire.Inventory{Ecosystem: "deb"}
	for i, n := range f.numbers(kind) {
		inv.Packages = append(inv.Packages, installed(f.updates[n], i >= taken)...)
	}
	random := rand.New(rand.NewPCG(3, uint64(kind)))
	rest := f.Size.Packages - f.Size.Each
	for i := range rest {
		s := f.others[i%len(f.others)]
		if random.IntN(10) == 0 { // most of a base is the same everywhere
			s = f.others[(rest+random.IntN(len(f.others)))%len(f.others)]
		}
		inv.Packages = append(inv.Packages, installed(s, false)...)
	}
	slices.SortFunc(inv.Packages, comparePackages)
	inv.Packages = slices.CompactFunc(inv.Packages, func(a, b wire.Package) bool { return comparePackages(a, b) == 0 })
	return inv
}

func comparePackages(a, b wire.Package) int {
	if c := strings.Compare(a.Name, b.Name); c != 0 {
		return c
	}
	return strings.Compare(a.Arch, b.Arch)
}

func installed(s Source, old bool) []wire.Package {
	version := func(v string) string {
		if old {
			return before(v)
		}
		return v
	}
	out := make([]wire.Package, len(s.Items))
	for i, it := range s.Items {
		out[i] = wire.Package{Name: it.Name, Arch: it.Arch, Version: version(it.Version), Status: "ii", Source: s.Name, SourceVersion: version(s.Version)}
	}
	return out
}

// Available is what devices of a kind could take once they took so many of their updates.
func (f *Fleet) Available(kind, taken int) wire.Available {
	a := wire.Available{Closed: true, Ecosystem: "deb"}
	for _, n := range f.numbers(kind)[taken:] {
		a.Updates = append(a.Updates, offer(f.updates[n], n%4 == 0))
	}
	slices.SortFunc(a.Updates, func(x, y wire.Offer) int { return strings.Compare(x.Name, y.Name) })
	return a
}

func offer(s Source, security bool) wire.Offer {
	o := wire.Offer{Namespace: "debian", Name: s.Name, Version: s.Version}
	for _, it := range s.Items {
		o.Items = append(o.Items, wire.OfferItem{Item: it.Item, Installed: before(it.Version), Origin: "Debian:bookworm", Security: security,
			Pin: 500, Candidate: true, Summary: it.Summary})
	}
	return o
}

// Order names the sources with updates for devices of a kind in the order in which devices take them.
func (f *Fleet) Order(kind int) []string {
	var out []string
	for _, n := range f.numbers(kind) {
		out = append(out, f.updates[n].Name)
	}
	return out
}

// numbers are the updates that concern devices of a kind, spread evenly: all updates concern somebody where there are
// enough kinds.
func (f *Fleet) numbers(kind int) []int {
	s := f.Size
	out, step := make([]int, s.Each), s.Updates/s.Each
	for i := range out {
		out[i] = (kind*7 + kind/step*13 + i*step) % s.Updates
	}
	return out
}

// Release names the update with a number as `assent why` takes it.
func (f *Fleet) Release(n int) string { return f.updates[n].Name + "@" + f.updates[n].Version }

// Update is the number of one update that concerns devices of a kind.
func (f *Fleet) Update(kind int) int { return f.numbers(kind)[0] }
