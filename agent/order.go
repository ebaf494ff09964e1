package agent

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"assent/agent/internal/journal"
	"assent/agent/internal/pkgmgr"
	"assent/agent/internal/terms"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

// kind is what an order asks for.
type kind int

const (
	toInstall  kind = iota
	toStepBack      // what was there before comes back
	toRemove        // it goes, and nothing comes in its place
)

// order is one line of the plan that is to become true on the device.
type order struct {
	journal.Part
	kind      kind
	exclusive bool           // in a transaction of its own
	closure   []string       // updates that it needs with it or before it
	after     []string       // those of closure that must be installed before it
	left      []catalog.Item // of a removal: what is still there
	key       string         // what its attempts count for: the plan's digest, or the act that takes it back and what it then makes of the device
	by        string         // the statement that orders it
	terms     *terms.Terms   // when it may begin; nil: at any time
	later     bool           // it is only fetched in this pass
	lost      bool           // the plan has not the terms that it names
}

// back reports whether the order takes something back.
func (o order) back() bool { return o.kind != toInstall }

// side reports whether the order is for what is installed beside the packages.
func (o order) side() bool { return len(o.Items) > 0 && o.Items[0].Format.Side() }

// removable names the packages that may go along with the order.
func (o order) removable() []string {
	if o.terms == nil || o.lost || o.back() || o.side() {
		return nil
	}
	return o.terms.Removable
}

// name is the order in words.
func (o order) name() string {
	if o.Release.Name != "" {
		return o.Release.Name + " " + o.Release.Version
	}
	return o.Items[0].Name + " " + o.Items[0].Version
}

// running is the state while the order is carried out, and broken the one after it failed.
func (o order) running() installation.State {
	if o.back() {
		return installation.Removing
	}
	return installation.Installing
}

func (o order) broken() installation.State {
	if o.back() {
		return installation.RemoveFailed
	}
	return installation.Failed
}

// met reports whether the device is as the order wants it, probes apart.
func (o order) met(there presence) bool {
	if o.kind == toRemove {
		return len(there.remaining(o.Items)) == 0
	}
	return there.hold(o.Items)
}

// done reports whether the order was carried out and, where it stands for longer than one act, is still true.
func (o order) done(e journal.Entry, there presence) bool {
	switch o.kind {
	case toStepBack:
		return e.State == installation.Removed && e.Try.Act == o.Act
	case toRemove:
		return e.State == installation.Removed && o.met(there)
	}
	return (e.State == installation.Installed || e.State == installation.RestartRequired) && o.met(there)
}

// strange is why this agent cannot carry out the order whatever it asks the package managers; nil if it can.
func (o order) strange() *pkgmgr.Refusal {
	if o.lost {
		return &pkgmgr.Refusal{Cause: installation.UnknownData, Detail: "the plan does not have the terms that it names for this: unknown holds"}
	}
	for _, it := range slices.Concat(o.Items, o.Extras) {
		if it.Format != "" && it.Format != catalog.Deb && !it.Format.Side() {
			return &pkgmgr.Refusal{Cause: installation.AgentTooOld, Detail: fmt.Sprintf("%s is in the format %q, which this agent does not know", it.Key(), clip(string(it.Format), 40))}
		}
		if it.Format.Side() != o.side() {
			return &pkgmgr.Refusal{Cause: installation.UnknownData, Detail: it.Key() + " is of another kind than the rest of its update: unknown holds"}
		}
	}
	return nil
}

// ordersOf lists what the plan orders: steps back, then removals, then installs.
func ordersOf(h *held) []order {
	var out []order
	for _, rb := range h.plan.Rollback {
		o := order{kind: toStepBack, by: statement(h.body.Plan, h.body.Counter), Part: journal.Part{Update: rb.Update, Act: rb.Act, Cause: installation.Cause(clip(rb.Cause, 40))}}
		for _, it := range rb.Items {
			o.Items = append(o.Items, catalog.Item{Name: it.Name, Arch: it.Arch, Version: it.Version, Size: it.Size, SHA256: it.SHA256, Format: it.Format})
		}
		out = append(out, o.keyed())
	}
	for _, rm := range h.plan.Remove {
		o := order{kind: toRemove, by: statement(h.body.Plan, h.body.Counter), Part: journal.Part{Update: rm.Update, Act: rm.Act, Cause: installation.Cause(clip(rm.Cause, 40)), Items: rm.Items}}
		out = append(out, o.keyed())
	}
	for _, in := range h.plan.Install {
		o := order{key: h.body.Plan, by: statement(h.body.Plan, h.body.Counter), closure: in.Closure, after: in.After, exclusive: in.Exclusive || slices.ContainsFunc(in.Items, own),
			Part: journal.Part{Update: in.Update, Release: in.Release, Items: in.Items, Extras: in.Extras, Probe: in.Probe}}
		if o.lost = in.Terms < 0 || in.Terms > len(h.terms); in.Terms > 0 && !o.lost {
			o.terms = &h.terms[in.Terms-1]
			o.Probes, o.Retries = o.terms.Probes, o.terms.Retries
		}
		out = append(out, o)
	}
	return out
}

// statement names an accepted statement: a plan that comes back after another one is asked about anew.
func statement(plan string, counter int64) string {
	return plan + " " + strconv.FormatInt(counter, 10)
}

// keyed names what the attempts of an order that takes something back count for. A new plan does not begin them anew, but another
// aim of the same act does: that the way back to one version is shut says nothing about the way to another one.
func (o order) keyed() order {
	var aim strings.Builder
	for _, it := range o.Items {
		fmt.Fprintln(&aim, o.kind, it.Key(), it.SHA256)
	}
	o.key = "act " + strconv.FormatInt(o.Act, 10) + " " + wire.Digest([]byte(aim.String()))[:16]
	return o
}

// partKind is what a transaction in the air was to do.
func partKind(f journal.Flight) kind {
	switch {
	case f.Removal:
		return toRemove
	case f.Rollback:
		return toStepBack
	}
	return toInstall
}

// wantOf is what the package manager is asked for.
func wantOf(orders []order) pkgmgr.Want {
	var w pkgmgr.Want
	seen := map[catalog.Item]bool{}
	add := func(to *[]catalog.Item, items []catalog.Item) {
		for _, it := range items {
			if !seen[it] {
				seen[it] = true
				*to = append(*to, it)
			}
		}
	}
	for _, o := range orders {
		if o.kind == toRemove {
			add(&w.Remove, o.left)
			continue
		}
		add(&w.Items, o.Items)
		w.Downgrade = w.Downgrade || o.kind == toStepBack
	}
	for _, o := range orders {
		if o.kind != toRemove {
			add(&w.Extras, o.Extras)
		}
		w.Removable = append(w.Removable, o.removable()...)
	}
	slices.Sort(w.Removable)
	w.Removable = slices.Compact(w.Removable)
	return w
}

// presence is what was found on the device, by the item that was looked for.
type presence map[catalog.Item]wire.ProofItem

// has reports whether an item is there at exactly its version and fully configured (V3).
func (p presence) has(it catalog.Item) bool {
	f, ok := p[it]
	return ok && f.Version == it.Version && (f.Status == "ii" || f.Status == "hi")
}

func (p presence) hold(items []catalog.Item) bool {
	for _, it := range items {
		if !p.has(it) {
			return false
		}
	}
	return true
}

// remaining lists the items that are there at their version, even if only half. What is at another version is none of
// them, and a package of which only the configuration is left is gone.
func (p presence) remaining(items []catalog.Item) []catalog.Item {
	var out []catalog.Item
	for _, it := range items {
		f := p[it]
		if f.Version == it.Version && f.Status != "rc" && f.Status != "un" && f.Status != "pn" {
			out = append(out, it)
		}
	}
	return out
}

// of makes the proof of items and of those extras that came in. before has the changes that were made.
func (p presence) of(items, extras []catalog.Item, before []wire.Change) []wire.ProofItem {
	var out []wire.ProofItem
	add := func(it catalog.Item, extra bool) {
		f := p[it]
		f.Name, f.Arch, f.Extra = it.Name, it.Arch, extra
		if f.Version == it.Version {
			f.SHA256 = it.SHA256
		}
		for _, c := range before {
			if c.Name == it.Name && c.Arch == it.Arch {
				f.Previous = c.From
			}
		}
		out = append(out, f)
	}
	for _, it := range items {
		add(it, false)
	}
	for _, it := range extras {
		if p.has(it) {
			add(it, true)
		}
	}
	return out
}
