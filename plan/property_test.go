package plan_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"assent/approval"
	"assent/catalog"
	"assent/fleet"
	"assent/plan"
	"assent/wire"
)

// drawWorld makes any small world: a chain of groups, software in several versions with closures that
// point anywhere, and any decisions in any order, expiries, reaches and exceptions among them.
func drawWorld(t *rapid.T) *world {
	w := newWorld()
	w.path = []fleet.GroupID{"leaf", "mid", fleet.Root}
	w.guard = rapid.SampledFrom([]fleet.GuardMode{fleet.BlockDeclined, fleet.ApprovedOnly, fleet.Observe}).Draw(t, "guard")
	var releases []catalog.Release
	for i := range rapid.IntRange(1, 4).Draw(t, "software") {
		for v := range rapid.IntRange(1, 3).Draw(t, "versions") {
			from := rapid.SampledFrom([]string{"1.0", "1.0", ""}).Draw(t, "from")
			releases = append(releases, w.offer(fmt.Sprintf("s%d", i), fmt.Sprintf("2.%d", v), from))
		}
	}
	for i := range w.offers {
		for range rapid.IntRange(0, 2).Draw(t, "closure") {
			r := rapid.SampledFrom(releases).Draw(t, "needs")
			ch := rapid.SampledFrom([]wire.Change{upgrade(r.Name, r.Version), install(r.Name, r.Version)}).Draw(t, "change")
			w.offers[i].Closure = append(w.offers[i].Closure, ch)
		}
	}
	scopes := []fleet.GroupID{"leaf", "mid", fleet.Root, "other"}
	for range rapid.IntRange(0, 12).Draw(t, "acts") {
		r := rapid.SampledFrom(releases).Draw(t, "update")
		scope := rapid.SampledFrom(scopes).Draw(t, "scope")
		w.decisions = slices.DeleteFunc(w.decisions, func(d approval.Decision) bool { return d.Update == r.ID() && d.Scope == scope })
		d := w.decide(r, scope, rapid.SampledFrom([]approval.Status{approval.Approved, approval.Declined}).Draw(t, "status"))
		d.Act = int64(1000 + rapid.IntRange(0, 1<<20).Draw(t, "act"))
		if rapid.Bool().Draw(t, "expires") {
			d.Expires = now.Add(time.Duration(rapid.IntRange(-2, 2).Draw(t, "hours")) * time.Hour)
		}
		if d.Status == approval.Declined {
			d.Reach.Later = rapid.Bool().Draw(t, "later")
		}
		if rapid.IntRange(0, 4).Draw(t, "except") == 0 && d.Status == approval.Declined {
			w.exceptions = append(w.exceptions, approval.Exception{Act: 1, Decline: d.Act, Update: r.ID(), Scope: rapid.SampledFrom(scopes).Draw(t, "xscope"),
				Reason: "r", By: "bob", Expires: now.Add(time.Duration(rapid.IntRange(-1, 1).Draw(t, "xhours")) * time.Hour)})
		}
	}
	return w
}

// declinedHere is the precedence of A3 written a second time, as plainly as it can be: the reference.
func declinedHere(w *world, r catalog.Release) bool {
	for _, d := range w.decisions {
		inPath := slices.Contains(w.path, d.Scope)
		live := d.Expires.IsZero() || now.Before(d.Expires)
		same := d.Release.Software == r.Software && (d.Release.Version == r.Version || d.Reach.Later && r.Version > d.Release.Version) // one-digit versions: text order is version order
		excepted := slices.ContainsFunc(w.exceptions, func(e approval.Exception) bool {
			return e.Decline == d.Act && e.Update == r.ID() && slices.Contains(w.path, e.Scope) && now.Before(e.Expires)
		})
		if d.Status == approval.Declined && inPath && live && same && !excepted {
			return true
		}
	}
	return false
}

func approvedHere(w *world, r catalog.Release) bool {
	return slices.ContainsFunc(w.decisions, func(d approval.Decision) bool {
		return d.Update == r.ID() && d.Status == approval.Approved && slices.Contains(w.path, d.Scope) && (d.Expires.IsZero() || now.Before(d.Expires))
	})
}

func TestPromise2_ADeclinedUpdateIsNeverInAnInstallPlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		res := w.compute()
		for _, in := range res.Plan.Install {
			if declinedHere(w, in.Release) {
				t.Fatalf("%s is declined and in the plan", in.Release.PURL())
			}
			if !approvedHere(w, in.Release) {
				t.Fatalf("%s is not approved and in the plan", in.Release.PURL())
			}
			for _, x := range in.Extras {
				if declinedHere(w, release(x.Name, x.Version)) {
					t.Fatalf("%s brings in %s, which is declined", in.Release.PURL(), x.Key())
				}
			}
		}
		for _, a := range res.Plan.Allow {
			if declinedHere(w, w.updates[a.Update].Release) {
				t.Fatalf("%s is declined and allowed", a.Update)
			}
		}
	})
}

func TestV2_EveryClosureOfAnInstallIsAdmitted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		res := w.compute()
		for _, v := range res.Verdicts {
			if v.Action != plan.Install {
				continue
			}
			for _, o := range w.offers {
				if o.Name != v.Release.Name || o.Version != v.Release.Version {
					continue
				}
				for _, ch := range o.Closure {
					here := slices.ContainsFunc(res.Plan.Install, func(in wire.PlanInstall) bool { return in.Release.Name == ch.Source })
					extra := slices.ContainsFunc(v.Extras, func(it catalog.Item) bool { return it.Name == ch.Name })
					if !here && !extra {
						t.Fatalf("%s is to be installed, but %s, which it needs, is not", v.Release.PURL(), ch.Name)
					}
				}
			}
		}
	})
}

func TestPlan_EveryDeclinedOfferIsBehindAWall(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		res := w.compute()
		for _, o := range w.offers {
			r := release(o.Name, o.Version)
			walled := slices.ContainsFunc(res.Plan.Deny, func(d wire.PlanDeny) bool { return slices.Contains(d.Items, item(o.Name, o.Version)) })
			if declinedHere(w, r) != walled {
				t.Fatalf("%s: declined %v, behind a wall %v", r.PURL(), declinedHere(w, r), walled)
			}
		}
	})
}

func TestPlan_AtMostOneReleaseOfASoftwareIsInstalled(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seen := map[string]bool{}
		for _, in := range drawWorld(t).compute().Plan.Install {
			if seen[in.Release.Name] {
				t.Fatalf("%s stands twice", in.Release.Name)
			}
			seen[in.Release.Name] = true
		}
	})
}

func TestPlan_SameInputSamePlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		_, a, _ := wire.Encode(w.compute().Plan)
		_, b, _ := wire.Encode(w.compute().Plan)
		if a != b {
			t.Fatal("two computations of the same input differ")
		}
	})
}
