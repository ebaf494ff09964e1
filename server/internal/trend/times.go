package trend

import (
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/approval"
	"assent/client"
	"assent/fleet"
	"assent/installation"
	"assent/server/internal/index"
)

// took is how long things took in one group with all below it.
type took struct{ decision, install []time.Duration }

func (t *took) figures() (decision, install client.TrendTime) {
	if t == nil {
		return client.TrendTime{}, client.TrendTime{}
	}
	return figure(t.decision), figure(t.install)
}

// figure is the median and the ninth decile by the nearest rank: times that really occurred.
func figure(list []time.Duration) client.TrendTime {
	n := len(list)
	if n == 0 {
		return client.TrendTime{}
	}
	slices.Sort(list)
	rank := func(permille int) time.Duration { return list[(n*permille+999)/1000-1] }
	return client.TrendTime{Cases: n, Median: rank(500), P90: rank(900)}
}

// How many devices or updates are looked at in one View, so that nobody waits for it.
const (
	devicesAtOnce = 500
	updatesAtOnce = 100
)

// times looks how long decisions and installs took, for all groups.
func (s *Service) times(now time.Time) map[fleet.GroupID]*took {
	c := &collector{now: now, since: now.Add(-window), groups: map[fleet.GroupID]*took{}, decided: map[decidedKey]time.Time{}}
	var devices, updates int
	s.Index.View(func(v *index.View) { devices, updates = v.NumberOfDevices(), v.NumberOfUpdates() })
	for from := 0; from < updates; from += updatesAtOnce {
		s.Index.View(func(v *index.View) { c.decisions(v, from, min(from+updatesAtOnce, updates)) })
	}
	for from := 0; from < devices; from += devicesAtOnce {
		s.Index.View(func(v *index.View) { c.installs(v, from, min(from+devicesAtOnce, devices)) })
	}
	return c.groups
}

// collector gathers how long things took.
type collector struct {
	now, since time.Time
	groups     map[fleet.GroupID]*took
	decided    map[decidedKey]time.Time // when it was approved; zero: it is not
}

type decidedKey struct {
	update uint32
	group  fleet.GroupID
}

func (c *collector) of(g fleet.GroupID) *took {
	if c.groups[g] == nil {
		c.groups[g] = &took{}
	}
	return c.groups[g]
}

// decisions looks at updates: how long each waited for the decision that counts in a group, where a device has to do
// with it.
func (c *collector) decisions(v *index.View, from, to int) {
	inside := map[fleet.GroupID]*roaring.Bitmap{}
	for _, g := range v.Tree().Subtree(fleet.Root) {
		inside[g] = v.In(g)
	}
	for n := from; n < to; n++ {
		u := v.UpdateNumbered(uint32(n))
		if !c.recent(v.Decisions(u.Software)) {
			continue
		}
		concerned := roaring.Or(u.Needs, u.Has)
		for g, devices := range inside {
			if !concerned.Intersects(devices) {
				continue
			}
			if res := v.Status(u.Release, g, c.now); res.Decision != nil && !res.Decision.At.Before(c.since) {
				t := c.of(g)
				t.decision = append(t.decision, max(0, res.Decision.At.Sub(released(u))))
			}
		}
	}
}

// recent tells whether somebody decided lately.
func (c *collector) recent(all []approval.Decision) bool {
	return slices.ContainsFunc(all, func(d approval.Decision) bool { return !d.At.Before(c.since) })
}

// released is when an update was there to be decided on.
func released(u index.Update) time.Time {
	if p := u.Published; p != nil && !p.Released.IsZero() && p.Released.Before(u.FirstSeen) {
		return p.Released
	}
	return u.FirstSeen
}

// installs looks at devices: how long each approved update took to be installed.
func (c *collector) installs(v *index.View, from, to int) {
	for n := from; n < to; n++ {
		d := v.Numbered(uint32(n))
		if d.Retired() {
			continue
		}
		var foreign map[string]bool // made when there is something to look up
		for row := range d.Installs() {
			if row.State != installation.Installed || row.Since.Before(c.since) {
				continue
			}
			u, ok := v.Update(row.Update)
			if !ok {
				continue
			}
			at := c.approved(v, u, d.Group)
			if at.IsZero() || row.Since.Before(at) {
				continue
			}
			if foreign == nil {
				foreign = foreigners(d)
			}
			if foreign[u.Name+" "+u.Version] {
				continue
			}
			for _, g := range v.Tree().Path(d.Group) {
				t := c.of(g)
				t.install = append(t.install, row.Since.Sub(at))
			}
		}
	}
}

// byAssent is how a version came that the agent installed.
const byAssent = "assent"

// foreigners are the releases that came onto a device by other means (V4).
func foreigners(d index.Device) map[string]bool {
	out := map[string]bool{}
	for p := range d.Packages() {
		if p.How != "" && p.How != byAssent {
			out[p.Source+" "+p.SourceVersion] = true
		}
	}
	return out
}

// approved is when an update was approved for the devices of a very group; zero if it is not.
func (c *collector) approved(v *index.View, u index.Update, group fleet.GroupID) time.Time {
	key := decidedKey{u.Number, group}
	at, known := c.decided[key]
	if !known {
		if res := v.Status(u.Release, group, c.now); res.Status == approval.Approved {
			at = res.Decision.At
		}
		c.decided[key] = at
	}
	return at
}
