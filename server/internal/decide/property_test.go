package decide_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"assent/approval"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/plan"
	"assent/server/internal/index"
	"assent/server/internal/index/indextest"
)

// TestPromise2_WhateverTheOrderOfActsADeclinedUpdateIsNeverInAPlan makes random acts through the service
// (approvals, declines with and without reach and end, bulk acts, exceptions, moves of devices and groups,
// scans, time) and checks after each that no plan orders what approval.Evaluate declines, that what
// Compute says afresh is what devices are given, and that a restart changes nothing.
func TestPromise2_WhateverTheOrderOfActsADeclinedUpdateIsNeverInAPlan(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		o := newOffice(t)
		h := &chaos{office: o, r: r, devices: []fleet.DeviceID{"d1", "d2", "d3"}, groups: []string{"root", "a", "b", "c"}}
		h.found()
		for range rapid.IntRange(1, 15).Draw(r, "steps") {
			h.step()
			h.check()
		}
		h.checkList()
		before := h.plans()
		o.planner.Close()
		o.Restart()
		o.serve()
		h.check()
		if after := h.plans(); fmt.Sprint(before) != fmt.Sprint(after) {
			r.Fatalf("a restart changed the plans:\n%v\n%v", before, after)
		}
		if err := o.Store.Close(); err != nil {
			r.Fatal(err)
		}
	})
}

// chaos makes random acts.
type chaos struct {
	*office
	r         *rapid.T
	devices   []fleet.DeviceID // that report the software the acts are about
	strangers []fleet.DeviceID
	groups    []string
}

func (h *chaos) found() {
	h.Group("a", fleet.Root)
	h.Group("b", "a")
	h.Group("c", fleet.Root)
	for i, id := range h.devices {
		h.Device(id, fleet.GroupID(h.groups[i+1]))
		h.Has(id, "tool 1", "lib 1")
		h.scan(id)
	}
	h.Device("d4", "b") // knows nothing of the software, but stands behind its walls
	h.Has("d4", "other 1")
	h.Offered("d4")
	h.strangers = []fleet.DeviceID{"d4"}
}

// all are the devices of the world.
func (h *chaos) all() []fleet.DeviceID { return slices.Concat(h.devices, h.strangers) }

// scan reports a random set of offers.
func (h *chaos) scan(id fleet.DeviceID) {
	all := []string{"tool 2", "tool 3", "lib 2", "lib 3"}
	o := h.World
	o.Machine(id, func(says *indextest.Said) {
		says.Offers = nil
		for _, name := range all {
			if !rapid.Bool().Draw(h.r, "offered "+name) {
				continue
			}
			var n, v string
			fmt.Sscan(name, &n, &v)
			offer := indextest.Offer(n, v, "1")
			if n == "tool" && rapid.Bool().Draw(h.r, "needs lib") {
				offer = indextest.Upgrades(offer, "lib", "1", v)
			}
			says.Offers = append(says.Offers, offer)
		}
	})
	o.Scan(id)
}

func (h *chaos) step() {
	pick := func(label string, list ...string) string { return rapid.SampledFrom(list).Draw(h.r, label) }
	update := pick("update", "tool@2", "tool@3", "lib@2", "lib@3")
	scope := pick("scope", h.groups...)
	var err error
	switch pick("kind", "approve", "approve", "decline", "undefine", "bulk", "except", "move", "scan", "time", "group") {
	case "approve":
		_, err = h.decide.Decide(context.Background(), h.admin, client.Decide{Updates: []string{update}, Scope: scope, Status: approval.Approved,
			Lift: rapid.Bool().Draw(h.r, "lift"), AllowSuperseded: true, Expires: h.end()})
	case "decline":
		d := client.Decide{Updates: []string{update}, Scope: scope, Status: approval.Declined, Expires: h.end(), Lift: rapid.Bool().Draw(h.r, "lift")}
		d.Reach.Later = rapid.Bool().Draw(h.r, "later")
		_, err = h.decide.Decide(context.Background(), h.admin, d)
	case "undefine":
		_, err = h.decide.Decide(context.Background(), h.admin, client.Decide{Updates: []string{update}, Scope: scope, Status: approval.Undefined})
	case "bulk":
		h.bulk(scope)
	case "except":
		_, err = h.decide.Except(context.Background(), h.admin, client.ExceptionRequest{Update: update, Scope: scope, Reason: "trial", Expires: h.Now().Add(time.Hour)})
	case "move":
		h.Act("ada", ledger.DeviceMove{IDs: []fleet.DeviceID{rapid.SampledFrom(h.all()).Draw(h.r, "device")}, Group: fleet.GroupID(scope)})
	case "scan":
		h.scan(rapid.SampledFrom(h.devices).Draw(h.r, "device"))
	case "time":
		h.Advance(30 * time.Minute)
	case "group":
		h.Act("ada", ledger.GroupChange{Group: fleet.Group{ID: "b", Name: "b", Parent: fleet.GroupID(pick("parent", "root", "a", "c"))}})
	}
	var refusal *fault.Error
	if err != nil && !errors.As(err, &refusal) {
		h.r.Fatalf("not a refusal but a failure: %v", err)
	}
}

func (h *chaos) end() time.Time {
	if rapid.Bool().Draw(h.r, "ends") {
		return h.Now().Add(time.Duration(rapid.IntRange(1, 90).Draw(h.r, "minutes")) * time.Minute)
	}
	return time.Time{}
}

// bulk makes a bulk act and checks that it lifted nothing.
func (h *chaos) bulk(scope string) {
	before := h.declines()
	_, err := h.decide.Decide(context.Background(), h.admin, client.Decide{Matching: &client.Filter{}, Scope: scope,
		Status: rapid.SampledFrom([]approval.Status{approval.Approved, approval.Declined, approval.Undefined}).Draw(h.r, "status")})
	if err != nil {
		h.r.Fatalf("bulk act: %v", err)
	}
	after := h.declines()
	for key, d := range before {
		if now, ok := after[key]; !ok || d.Reach.Later && !now.Reach.Later {
			h.r.Fatalf("a bulk act lifted or narrowed the decline of act %d", d.Act)
		}
	}
}

// declines are the declines that stand now.
func (h *chaos) declines() map[ledger.DecisionKey]approval.Decision {
	out := map[ledger.DecisionKey]approval.Decision{}
	h.Index.View(func(v *index.View) {
		for key, d := range v.State().Decisions {
			if d.Status == approval.Declined && (d.Expires.IsZero() || h.Now().Before(d.Expires)) {
				out[key] = d
			}
		}
	})
	return out
}

func (h *chaos) plans() (out []string) {
	for _, id := range h.all() {
		_, digest, err := h.planner.For(id)
		if err != nil {
			h.r.Fatal(err)
		}
		out = append(out, digest)
	}
	return out
}

func (h *chaos) check() {
	for _, id := range h.all() {
		given := h.plan(id)
		h.Index.View(func(v *index.View) {
			d, _ := v.Device(id)
			for _, in := range given.Install {
				if st := v.Status(in.Release, d.Group, h.Now()); st.Status != approval.Approved {
					h.r.Fatalf("%s is ordered to install %s %s, which is %s", id, in.Release.Name, in.Release.Version, st.Status)
				}
			}
			fresh := plan.Compute(v.PlanInput(d, h.Now())).Plan
			if fmt.Sprintf("%+v", fresh) != fmt.Sprintf("%+v", given) {
				h.r.Fatalf("%s was given an old plan:\n%+v\n%+v", id, given, fresh)
			}
		})
	}
}

// checkList compares the board's counts, which are kept up to date bit by bit, with a count from scratch.
func (h *chaos) checkList() {
	list := h.list(client.Filter{}, client.Page{})
	for _, row := range list.Items {
		blocked := 0
		h.Index.View(func(v *index.View) {
			for d := range v.Devices(fleet.Root) {
				for _, verdict := range plan.Compute(v.PlanInput(d, h.Now())).Verdicts {
					if verdict.Update == row.ID && verdict.Action == plan.Hold {
						blocked++
					}
				}
			}
		})
		if row.Blocked != blocked {
			h.r.Fatalf("%s %s: the list says blocked on %d devices, the verdicts on %d", row.Name, row.Version, row.Blocked, blocked)
		}
	}
}
