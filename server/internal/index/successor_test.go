package index_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/index"
	"assent/server/internal/index/indextest"
	"assent/server/internal/store"
)

// unsure is a store that may refuse an act, having written nothing.
type unsure struct {
	*indextest.Big
	refuses bool
}

func (u *unsure) AppendBeside(ctx context.Context, e ledger.Entry, after *ledger.State, beside ...store.Beside) error {
	if u.refuses {
		return errors.New("refused")
	}
	return u.Big.AppendBeside(ctx, e, after, beside...)
}

// The index does not copy all devices for an act on a few. What it has must be what all acts that were written amount to.
func TestA2_ActsOnDevicesAmountToWhatTheLedgerSaysAndThoseThatWereNotWrittenToNothing(t *testing.T) {
	began := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		s := &unsure{Big: indextest.NewBig(indextest.Size{Devices: 4, Updates: 4, Each: 2, Packages: 4, Kinds: 2})}
		first, err := s.LoadState(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := first.Clone()
		x, err := index.Open(t.Context(), s, index.Config{Now: func() time.Time { return began }})
		if err != nil {
			t.Fatal(err)
		}
		act := func(body ledger.Body) {
			entry, err := x.Act(t.Context(), "ada", func(*index.View) (ledger.Body, error) { return body, nil })
			if err != nil {
				return
			}
			if s.refuses {
				t.Fatalf("%T succeeded though the store refused it", body)
			}
			if err := want.Apply(entry); err != nil {
				t.Fatal(err)
			}
		}
		act(ledger.TokenCreate{ID: "t", Group: fleet.Root, Uses: 5, Expires: began.Add(time.Hour)})
		act(ledger.GroupCreate{Group: fleet.Group{ID: "g", Name: "g", Parent: fleet.Root}})
		for range rapid.IntRange(1, 25).Draw(t, "acts") {
			s.refuses = rapid.IntRange(0, 3).Draw(t, "refuses") == 0
			act(drawAct(t, want, began))
			x.View(func(v *index.View) { sameDevices(t, v, want) })
		}
	})
}

func TestStandings_GrowWithEachDeviceThatStopsBeingActiveOrIsAgainAndWithNothingElse(t *testing.T) {
	w := indextest.New(t)
	standings := func() (n int64) {
		w.Index.View(func(v *index.View) { n = v.Standings() })
		return n
	}
	before := standings()
	w.Group("g", fleet.Root)
	w.Device("a", fleet.Root)
	w.Device("b", fleet.Root)
	w.Act("ada", ledger.DeviceMove{IDs: []fleet.DeviceID{"a", "b"}, Group: "g"})
	w.Act("ada", ledger.DeviceState{IDs: []fleet.DeviceID{"a"}, State: fleet.Active})
	if n := standings(); n != before {
		t.Errorf("%d after devices came and were moved, want %d", n, before)
	}
	for _, state := range []fleet.DeviceState{fleet.Quarantined, fleet.Active, fleet.Retired} {
		w.Act("ada", ledger.DeviceState{IDs: []fleet.DeviceID{"a"}, State: state, Reason: "test"})
		if n := standings(); n != before+1 {
			t.Errorf("%d after a device was made %s, want %d", n, state, before+1)
		}
		before = standings()
	}
}

// drawAct draws an act on devices, some of which are not there.
func drawAct(t *rapid.T, s *ledger.State, now time.Time) ledger.Body {
	known := slices.Sorted(maps.Keys(s.Devices))
	one := func() fleet.DeviceID {
		return rapid.SampledFrom(append(known, "nobody")).Draw(t, "device")
	}
	some := func() []fleet.DeviceID {
		ids := rapid.SliceOfNDistinct(rapid.SampledFrom(known), 1, 3, func(id fleet.DeviceID) fleet.DeviceID { return id }).Draw(t, "devices")
		if rapid.IntRange(0, 9).Draw(t, "strange") == 0 {
			ids = append(ids, "nobody")
		}
		return ids
	}
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		id := fleet.DeviceID(fmt.Sprint("new", rapid.IntRange(0, 6).Draw(t, "number"))) // may be there already
		return ledger.DeviceEnrol{Token: "t", Device: fleet.Device{ID: id, Name: string(id), Group: "g", State: fleet.Active, Key: "k", EnrolledAt: now}}
	case 1:
		return ledger.DeviceRenew{ID: one(), Key: rapid.StringMatching("[a-z]{3}").Draw(t, "key")}
	case 2:
		return ledger.DeviceMove{IDs: some(), Group: rapid.SampledFrom([]fleet.GroupID{fleet.Root, "g", "nowhere"}).Draw(t, "group")}
	}
	return ledger.DeviceState{IDs: some(), State: rapid.SampledFrom([]fleet.DeviceState{fleet.Active, fleet.Quarantined, fleet.Retired}).Draw(t, "state"), Reason: "drawn"}
}

// sameDevices compares devices, tokens and groups of devices with a state that was made by applying entries one by one.
func sameDevices(t *rapid.T, v *index.View, want *ledger.State) {
	got := v.State()
	if diff := cmp.Diff(want.Devices, got.Devices); diff != "" || got.Seq != want.Seq {
		t.Fatalf("after %d of %d acts: -ledger +index\n%s", got.Seq, want.Seq, diff)
	}
	if diff := cmp.Diff(want.Tokens, got.Tokens); diff != "" {
		t.Fatalf("-ledger +index\n%s", diff)
	}
	if v.NumberOfDevices() != len(want.Devices) {
		t.Fatalf("%d devices, want %d", v.NumberOfDevices(), len(want.Devices))
	}
	for id, d := range want.Devices {
		if rec, ok := v.Device(id); !ok || rec.Device != d {
			t.Fatalf("device %s is %+v, want %+v", id, rec.Device, d)
		}
	}
}

// BenchmarkEnrol is one enrolment without the disk. It must not grow with the fleet (P6).
func BenchmarkEnrol(b *testing.B) {
	for _, devices := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(devices, "Devices"), func(b *testing.B) {
			x, err := index.Open(b.Context(), indextest.NewBig(indextest.Size{Devices: devices, Updates: 100, Each: 10, Packages: 20, Kinds: 10}), index.Config{})
			if err != nil {
				b.Fatal(err)
			}
			act := func(body ledger.Body) {
				if _, err := x.Act(b.Context(), "ada", func(*index.View) (ledger.Body, error) { return body, nil }); err != nil {
					b.Fatal(err)
				}
			}
			act(ledger.TokenCreate{ID: "t", Group: fleet.Root, Uses: 1 << 30, Expires: time.Now().Add(time.Hour)})
			for i := 0; b.Loop(); i++ {
				id := fleet.DeviceID(fmt.Sprint("new", i))
				act(ledger.DeviceEnrol{Token: "t", Device: fleet.Device{ID: id, Name: string(id), Group: fleet.Root, State: fleet.Active, Key: string(id), EnrolledAt: time.Now()}})
			}
		})
	}
}
