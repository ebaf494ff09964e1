package index

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"assent/catalog"
	"assent/fleet"
	"assent/ledger"
	"assent/wire"
)

// SetFeeds says which feeds the server follows and how far; plans name them. It is kept in memory only: the mirror
// says it anew after a start.
func (x *Index) SetFeeds(feeds []wire.PlanFeed) {
	x.mu.Lock()
	if slices.Equal(x.feeds, feeds) {
		x.mu.Unlock()
		return
	}
	x.software.tick++
	x.feeds, x.managed = slices.Clone(feeds), x.software.tick
	x.mu.Unlock()
	x.changes.publish(Change{All: true})
}

// PutReleases takes what verified feeds say of their releases, durably, before it counts. Updates that say the same as
// before cost nothing.
func (x *Index) PutReleases(ctx context.Context, releases []catalog.Update) error {
	x.grow.Lock()
	defer x.grow.Unlock()
	grown, err := x.save(ctx, func(g *growth) {
		for _, p := range releases {
			if u := g.open(p.Release); !samePublication(u.Update, p) {
				u.publish(p)
			}
		}
	})
	if err != nil {
		return fmt.Errorf("keep what feeds publish: %w", err)
	}
	x.mu.Lock()
	x.software.tick++
	change := x.publishGrowth(grown)
	x.mu.Unlock()
	x.changes.publish(change)
	return nil
}

// samePublication reports whether an update of the catalog says already what its feed says.
func samePublication(u, p catalog.Update) bool {
	a, errA := json.Marshal(u.Published)
	b, errB := json.Marshal(p.Published)
	return errA == nil && errB == nil && bytes.Equal(a, b) && u.Class == p.Class && u.Severity == p.Severity && u.Summary == p.Summary
}

// named lists the deployments that name a device itself.
func (v *View) named(id fleet.DeviceID) string {
	var b strings.Builder
	for _, d := range v.Deploys() {
		if slices.Contains(d.Devices, id) {
			fmt.Fprintf(&b, "%d ", d.Act)
		}
	}
	return b.String()
}

// Deploys lists all deployments, the oldest first.
func (v *View) Deploys() []ledger.Deploy {
	if len(v.x.state.Deploys) == 0 {
		return nil
	}
	out := make([]ledger.Deploy, 0, len(v.x.state.Deploys))
	for _, d := range v.x.state.Deploys {
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b ledger.Deploy) int { return int(a.Act - b.Act) })
	return out
}

// deploys lists the deployments that cover a device.
func (v *View) deploys(d fleet.Device) []ledger.Deploy {
	return slices.DeleteFunc(v.Deploys(), func(dep ledger.Deploy) bool {
		return !slices.Contains(dep.Devices, d.ID) && (dep.Scope == "" || !v.x.tree.Contains(dep.Scope, d.Group))
	})
}

// Version is the running server's version.
func (v *View) Version() string { return v.x.version }

// Feeds is what the server follows.
func (v *View) Feeds() []wire.PlanFeed { return v.x.feeds }
