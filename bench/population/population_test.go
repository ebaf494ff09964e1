package population

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"assent/catalog"
	"assent/pkgver"
	"assent/wire"
)

func archive() []Source {
	out := make([]Source, 1000)
	for i := range out {
		name := fmt.Sprintf("tool%04d", i)
		out[i] = Source{Name: name, Version: "1.0-1", Items: []Item{{Item: catalog.Item{Name: name, Arch: "amd64", Version: "1.0-1", Size: 10, SHA256: wire.Digest([]byte(name))}}}}
	}
	return out
}

func TestReadPackages_GroupsBinariesByTheirSourceAndLeavesOutWhatHasNoDigest(t *testing.T) {
	text := "Package: libc6\nSource: glibc (2.36-9)\nVersion: 2.36-9+b1\nArchitecture: amd64\nSize: 7\nSHA256: aa\nDescription: C library\n\n" +
		"Package: glibc-doc\nSource: glibc\nVersion: 2.36-9\nArchitecture: all\nSize: 8\nSHA256: bb\n\n" +
		"Package: bash\nVersion: 5.2\nArchitecture: amd64\nSize: 9\nSHA256: cc\n\nPackage: broken\nVersion: 1\n"
	found := map[string]*Source{}
	if err := readPackages(strings.NewReader(text), found); err != nil {
		t.Fatal(err)
	}
	if len(found) != 2 || len(found["glibc"].Items) != 2 || found["glibc"].Version != "2.36-9" || found["glibc"].Items[0].Version != "2.36-9+b1" || found["bash"].Items[0].Size != 9 {
		t.Errorf("%+v", found)
	}
}

func TestFleet_EveryUpdateConcernsSomebodyAndIsNewerThanWhatIsThere(t *testing.T) {
	f, err := New(archive(), Size{Devices: 1000, Updates: 400, Each: 40, Packages: 80, Kinds: 100})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for kind := range f.Size.Kinds {
		have := map[string]string{}
		for _, p := range f.Inventory(kind, 0).Packages {
			have[p.Name] = p.Version
		}
		offers := f.Available(kind, 0).Updates
		if len(offers) != 40 {
			t.Fatalf("kind %d could take %d updates", kind, len(offers))
		}
		for _, o := range offers {
			seen[o.Name] = true
			if order, err := pkgver.Compare("deb", o.Items[0].Item.Version, have[o.Items[0].Name]); err != nil || order <= 0 || o.Items[0].Installed != have[o.Items[0].Name] {
				t.Fatalf("%s %s is offered over %q: %v", o.Name, o.Version, have[o.Items[0].Name], err)
			}
		}
		if left := len(f.Available(kind, 15).Updates); left != 25 {
			t.Errorf("after 15 updates %d are left", left)
		}
	}
	if len(seen) != 400 {
		t.Errorf("%d of 400 updates concern somebody", len(seen))
	}
	again, err := New(archive(), f.Size)
	if err != nil || !reflect.DeepEqual(f.Inventory(3, 1), again.Inventory(3, 1)) {
		t.Error("the same size gives another fleet")
	}
}

func TestFleet_MoreUpdatesThanTheArchiveHasAreMadeUpWithFilesOfTheirOwn(t *testing.T) {
	f, err := New(archive(), Size{Devices: 10, Updates: 3000, Each: 1000, Packages: 1000, Kinds: 3})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, u := range f.updates {
		if key := u.Name + " " + u.Items[0].SHA256; seen[key] {
			t.Fatalf("%s stands twice", key)
		} else {
			seen[key] = true
		}
	}
}

func TestNew_RefusesAFleetThatCannotBe(t *testing.T) {
	for _, s := range []Size{{}, {Devices: 1, Updates: 5, Each: 10, Packages: 10, Kinds: 1}, {Devices: 1, Updates: 10, Each: 10, Packages: 5, Kinds: 1}} {
		if _, err := New(archive(), s); err == nil {
			t.Errorf("%+v was made up", s)
		}
	}
}
