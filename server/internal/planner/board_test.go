package planner

import (
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/server/internal/index"
)

// A device enrols between the moment at which the devices were counted and the one at which the changes are taken.
func TestBoard_ADeviceThatCameAfterTheyWereCountedHasItsPlaceAndIsLookedAt(t *testing.T) {
	for name, all := range map[string]bool{"after a change of all": true, "after its own": false} {
		var b board
		b.init()
		b.all = all
		b.stain(index.Change{Devices: roaring.BitmapOf(5)})
		todo := b.todo(3, time.Now())
		if !todo.Contains(5) || todo.Contains(0) != all || todo.Contains(3) {
			t.Errorf("%s: to do is %v", name, todo)
		}
		if len(b.devices) != 6 {
			t.Errorf("%s: places for %d devices, want 6", name, len(b.devices))
		}
		if !b.todo(3, time.Now()).IsEmpty() {
			t.Errorf("%s: it is to be done twice", name)
		}
	}
}
