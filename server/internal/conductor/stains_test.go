package conductor

import (
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/server/internal/index"
)

// A device enrols between the moment at which the devices were counted and the one at which the changes are taken.
func TestStains_ADeviceThatCameAfterTheyWereCountedHasItsPlaceAndIsLookedAt(t *testing.T) {
	for name, all := range map[string]bool{"after a change of all": true, "after its own": false} {
		var s stains
		s.init()
		s.all = all
		s.add(index.Change{Devices: roaring.BitmapOf(5)})
		todo, devices := s.take(3)
		if !todo.Contains(5) || todo.Contains(0) != all || todo.Contains(3) || devices != 6 {
			t.Errorf("%s: to do is %v of %d devices", name, todo, devices)
		}
		if todo, devices := s.take(3); !todo.IsEmpty() || devices != 3 {
			t.Errorf("%s: it is to be done twice: %v of %d", name, todo, devices)
		}
	}
}
