package seed_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"assent/catalog"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/index"
	"assent/server/internal/store"
	"assent/server/seed"
	"assent/wire"
)

// small is a fleet of 45 devices of 4 kinds.
type small struct{}

func (small) Devices() int      { return 45 }
func (small) Kinds() int        { return 4 }
func (small) Kind(i int) int    { return i % 4 }
func (small) Name(i int) string { return fmt.Sprint("host", i) }
func (small) Facts(i int) wire.Facts {
	return wire.Facts{Hostname: fmt.Sprint("host", i), OS: "debian"}
}

func (small) Packages(k int) wire.Inventory {
	return wire.Inventory{Ecosystem: "deb", Packages: []wire.Package{{Name: "bash", Arch: "amd64", Version: fmt.Sprint("1.", k), Status: "ii", Source: "bash", SourceVersion: fmt.Sprint("1.", k)}}}
}

func (small) Offers(k int) wire.Available {
	it := catalog.Item{Name: "bash", Arch: "amd64", Version: "2.0", Size: 1, SHA256: wire.Digest([]byte("bash"))}
	return wire.Available{Closed: true, Ecosystem: "deb", Updates: []wire.Offer{{Namespace: "debian", Name: "bash", Version: "2.0", Items: []wire.OfferItem{{Item: it, Installed: fmt.Sprint("1.", k)}}}}}
}

func TestFill_IsWhatAServerHasThatEnrolledTheseDevices(t *testing.T) {
	dsn := filepath.Join(t.TempDir(), "assent.db")
	db, err := store.Open(t.Context(), store.Config{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	first, err := ledger.Make(1, time.Now(), "server", ledger.ServerInit{Org: "test"})
	if err != nil {
		t.Fatal(err)
	}
	state := ledger.NewState()
	if err := state.Apply(first); err != nil {
		t.Fatal(err)
	}
	if err := db.Append(t.Context(), first, state); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := seed.Fill(t.Context(), seed.Database{Engine: seed.SQLite, DSN: dsn}, small{}); err != nil {
		t.Fatal(err)
	}
	if db, err = store.Open(t.Context(), store.Config{DSN: dsn}); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	x, err := index.Open(t.Context(), db, index.Config{})
	if err != nil {
		t.Fatal(err)
	}
	x.View(func(v *index.View) {
		d, ok := v.Device(seed.DeviceID(7))
		if !ok || d.Name != "host7" || d.Facts == nil || d.Facts.Hostname != "host7" || d.Inventory().Packages[0].Version != "1.3" || d.Group != seed.Group(7) {
			t.Errorf("device 7: %v %+v", ok, d)
		}
		if n := v.In(fleet.Root).GetCardinality(); n != 45 || v.NumberOfUpdates() != 1 || v.UpdateNumbered(0).Needs.GetCardinality() != 45 {
			t.Errorf("%d devices, %d updates", n, v.NumberOfUpdates())
		}
	})
}
