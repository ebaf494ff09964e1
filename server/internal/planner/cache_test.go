package planner

import (
	"crypto/ed25519"
	"testing"
	"time"

	"pgregory.net/rapid"

	"assent/approval"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/index"
	"assent/server/internal/index/indextest"
)

// What is counted beside a plan comes from the plan's verdicts; asked one by one, the updates must say the same.
func TestAnswer_CountsTheUpdatesThatNobodyDecidedOnAsTheyAreOneByOne(t *testing.T) {
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		x, err := index.Open(t.Context(), indextest.NewBig(indextest.Size{Devices: 6, Updates: 12, Each: 4, Packages: 6, Kinds: 3}), index.Config{Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		p, err := New(Config{Index: x, Signer: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		for range rapid.IntRange(0, 4).Draw(t, "acts") {
			decideSome(t, x)
			now = now.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "hours")) * time.Hour)
			x.View(func(v *index.View) {
				for d := range v.All() {
					countsAsOneByOne(t, p, v, d, now)
				}
			})
		}
	})
}

// decideSome makes an act on some updates; some of the decisions end.
func decideSome(t *rapid.T, x *index.Index) {
	_, err := x.Act(t.Context(), "ada", func(v *index.View) (ledger.Body, error) {
		act := ledger.UpdateDecide{Scope: fleet.Root, Reason: "drawn", Status: rapid.SampledFrom([]approval.Status{approval.Approved, approval.Declined, approval.Undefined}).Draw(t, "status")}
		if act.Status != approval.Undefined && rapid.Bool().Draw(t, "ends") {
			act.Expires = x.Now().Add(90 * time.Minute)
		}
		for u := range v.Updates() {
			if rapid.Bool().Draw(t, "decided") {
				act.Updates = append(act.Updates, ledger.Decided{Update: u.ID, Release: u.Release, Rev: u.Rev(), Digest: u.Digest(u.Rev())})
			}
		}
		if len(act.Updates) == 0 {
			return nil, nil
		}
		return act, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func countsAsOneByOne(t *rapid.T, p *Planner, v *index.View, d index.Device, now time.Time) {
	a, err := p.answer(v, d.Number)
	if err != nil {
		t.Fatal(err)
	}
	want, offered := 0, 0
	for u := range v.Offered(d) {
		offered++
		if v.Status(u.Release, d.Group, now).Status == approval.Undefined {
			want++
		}
	}
	if offered == 0 || a.pending != want {
		t.Fatalf("%s: %d of %d are undecided, the answer says %d", d.ID, want, offered, a.pending)
	}
}
