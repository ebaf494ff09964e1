package decide_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"assent/approval"
	"assent/client"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/plan"
	"assent/server/internal/index"
	"assent/server/internal/index/indextest"
	"assent/server/internal/planner"
	"assent/wire"
)

// TestListsOfDevicesAreThoseThatLookingAtEachDeviceGives makes random fleets and acts, and holds every list, whatever its filter,
// order and pages, against one that looks at all devices, before and after a restart.
func TestListsOfDevicesAreThoseThatLookingAtEachDeviceGives(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		o := newOffice(t)
		c := &crowd{office: o, r: r, groups: []fleet.GroupID{fleet.Root, "g1", "g2", "g3"}}
		o.Group("g1", fleet.Root)
		o.Group("g2", "g1")
		o.Group("g3", fleet.Root)
		for range rapid.IntRange(1, 25).Draw(r, "acts") {
			c.act()
		}
		c.check()
		o.planner.Close()
		o.Restart()
		o.serve()
		c.check()
		if err := o.Store.Close(); err != nil {
			r.Fatal(err)
		}
	})
}

// crowd makes random acts on devices.
type crowd struct {
	*office
	r       *rapid.T
	groups  []fleet.GroupID
	devices []fleet.DeviceID
	gone    map[fleet.DeviceID]bool
}

func (c *crowd) one() fleet.DeviceID { return rapid.SampledFrom(c.devices).Draw(c.r, "device") }

func (c *crowd) group() fleet.GroupID { return rapid.SampledFrom(c.groups).Draw(c.r, "group") }

func (c *crowd) enrol() {
	id := fleet.DeviceID(fmt.Sprintf("d%02d", len(c.devices)))
	c.Named(id, rapid.SampledFrom([]string{"web", "Web", "db1", "DB2", "mail", "zoo"}).Draw(c.r, "name"), c.group())
	c.devices = append(c.devices, id)
}

func (c *crowd) act() {
	if c.gone == nil {
		c.gone = map[fleet.DeviceID]bool{}
	}
	kind := rapid.IntRange(0, 9).Draw(c.r, "kind")
	if len(c.devices) == 0 || kind <= 2 {
		c.enrol()
		return
	}
	id := c.one()
	switch kind {
	case 3, 4, 5:
		c.describe(id)
	case 6:
		c.Act("ada", ledger.DeviceMove{IDs: []fleet.DeviceID{id}, Group: c.group()})
	case 7:
		state := rapid.SampledFrom([]fleet.DeviceState{fleet.Active, fleet.Quarantined, fleet.Retired}).Draw(c.r, "state")
		if !c.gone[id] {
			c.Act("ada", ledger.DeviceState{IDs: []fleet.DeviceID{id}, State: state, Reason: "drawn"})
			c.gone[id] = state == fleet.Retired
		}
	case 8:
		c.Advance(rapid.SampledFrom([]time.Duration{time.Second, time.Hour, 25 * time.Hour}).Draw(c.r, "later"))
	case 9:
		if list := c.list(client.Filter{}, client.Page{}); list.Total > 0 {
			c.act9(list.Items[0], id)
		}
	}
}

// act9 decides on an update, or reports it as failed.
func (c *crowd) act9(u client.UpdateRow, id fleet.DeviceID) {
	switch {
	case rapid.Bool().Draw(c.r, "report"):
		c.Report(id, wire.Report{Update: u.ID, State: installation.Downloading}, wire.Report{Update: u.ID, State: installation.Failed})
	case u.Status == approval.Undefined:
		c.approve(string(u.ID))
	case u.Status == approval.Approved:
		c.decline(string(u.ID))
	}
}

// describe lets a device say something else of itself.
func (c *crowd) describe(id fleet.DeviceID) {
	c.Machine(id, func(s *indextest.Said) {
		s.Facts.OS = rapid.SampledFrom([]string{"debian", "Ubuntu"}).Draw(c.r, "os")
		s.Facts.OSVersion = rapid.SampledFrom([]string{"", "12"}).Draw(c.r, "version")
		s.Facts.Codename = rapid.SampledFrom([]string{"", "bookworm"}).Draw(c.r, "codename")
		s.Facts.Kernel = rapid.SampledFrom([]string{"6.1", "6.12-web"}).Draw(c.r, "kernel")
		s.Facts.Restart = rapid.SampledFrom([][]string{nil, {"kernel"}}).Draw(c.r, "restart")
		s.Facts.ManagerHealth = rapid.SampledFrom([]string{"", "", "half configured"}).Draw(c.r, "manager")
		s.Facts.Origins = []wire.OriginHealth{{Site: "deb.example", Suite: "stable", Problem: rapid.SampledFrom([]string{"", "expired", "unreachable"}).Draw(c.r, "origin")}}
	})
	c.Has(id, "tool 1")
	if rapid.Bool().Draw(c.r, "offered") {
		c.Offered(id, indextest.Offer("tool", "2", "1"))
		return
	}
	c.Offered(id)
}

// check compares lists with random filters and orders.
func (c *crowd) check() {
	rows := c.rows()
	columns := []string{"id", "name", "group", "state", "last_seen", "last_useful", "connected", "os", "arch", "agent", "problem", "pending", "planned", "blocked", "failed", "restart"}
	queries := []client.DeviceQuery{{}, {Search: "web"}, {Search: "e 6.1 G"}, {Search: "BOOKWORM"}, {Search: "d0"}, {Search: "12"}, {State: fleet.Retired}, {State: fleet.Active}, {State: fleet.Quarantined},
		{Only: client.OnlyConnected}, {Only: client.OnlySilent}, {Only: client.OnlyRestart}, {Only: client.OnlyStale}, {Group: "g1"}, {Group: "g1", Here: true}, {Group: "g1", State: fleet.Active, Only: client.OnlyRestart, Search: "ubuntu"}}
	for _, q := range queries {
		p := client.Page{Limit: rapid.IntRange(1, 5).Draw(c.r, "limit"), Sort: rapid.SampledFrom(append(columns, "name", "name")).Draw(c.r, "column")}
		if rapid.Bool().Draw(c.r, "descending") {
			p.Sort = "-" + p.Sort
		}
		if diff := gocmp.Diff(c.plainly(rows, q, p.Sort), c.paged(q, p)); diff != "" {
			c.r.Fatalf("%+v by %s, %d a page: -plain +listed\n%s", q, p.Sort, p.Limit, diff)
		}
	}
}

// paged reads a list page by page.
func (c *crowd) paged(q client.DeviceQuery, p client.Page) (out []fleet.DeviceID) {
	for {
		list, err := c.decide.Devices(c.T.Context(), c.admin, q, p)
		if err != nil {
			c.r.Fatal(err)
		}
		for _, d := range list.Items {
			out = append(out, d.ID)
		}
		if p.Cursor = list.Next; p.Cursor == "" {
			if list.Total != len(out) {
				c.r.Fatalf("%+v: %d devices, and a total of %d", q, len(out), list.Total)
			}
			return out
		}
	}
}

// seenRow is a device as a row shows it, with what only filters look at.
type seenRow struct {
	client.DeviceRow
	silent, stale bool
	text          string
}

// rows are all devices, each looked at by itself.
func (c *crowd) rows() (out []seenRow) {
	for _, id := range c.devices {
		rows, err := c.decide.DevicesNamed(c.T.Context(), c.admin, []string{string(id)})
		if err != nil {
			c.r.Fatal(err)
		}
		row := seenRow{DeviceRow: rows[0]}
		c.Index.View(func(v *index.View) {
			d, _ := v.Device(id)
			seen := d.Contact.LastSeen
			if seen.IsZero() {
				seen = d.EnrolledAt
			}
			row.silent = !d.Connected && c.Now().Sub(seen) >= 24*time.Hour
			row.text = strings.ToLower(strings.Join([]string{string(d.ID), d.Name, row.Group}, "\n"))
			if f := d.Facts; f != nil {
				row.stale = slices.ContainsFunc(f.Origins, func(o wire.OriginHealth) bool { return o.Problem == "expired" })
				row.text += strings.ToLower(strings.Join([]string{"", f.OS, f.OSVersion, f.Codename, f.Arch, f.Kernel}, "\n"))
			}
			c.planner.Read(func(b planner.Board) { c.countPlainly(row.DeviceRow, b.Lines(d.Number)) })
		})
		out = append(out, row)
	}
	return out
}

// countPlainly counts a device's lines one by one and compares them with its row.
func (c *crowd) countPlainly(row client.DeviceRow, lines []planner.Line) {
	var blocked, failed, planned int
	for _, l := range lines {
		switch {
		case l.State == installation.Blocked:
			blocked++
		case l.State == installation.Failed || l.State == installation.RemoveFailed:
			failed++
		case l.Action == plan.Install:
			planned++
		}
	}
	if row.Blocked != blocked || row.Failed != failed || row.Planned != planned {
		c.r.Fatalf("%s: %d blocked, %d failed, %d planned; its lines are %+v", row.ID, row.Blocked, row.Failed, row.Planned, lines)
	}
}

// plainly selects and sorts rows, looking at each.
func (c *crowd) plainly(rows []seenRow, q client.DeviceQuery, sort string) (out []fleet.DeviceID) {
	below := map[string][]fleet.GroupID{"": c.groups, "g1": {"g1", "g2"}}[q.Group]
	rows = slices.DeleteFunc(slices.Clone(rows), func(d seenRow) bool {
		inside := slices.Contains(below, d.GroupID) && (!q.Here || d.GroupID == fleet.GroupID(q.Group))
		only := map[client.DeviceOnly]bool{"": true, client.OnlyConnected: d.Connected, client.OnlySilent: d.silent, client.OnlyRestart: d.Restart, client.OnlyStale: d.stale}[q.Only]
		words := !slices.ContainsFunc(strings.Fields(strings.ToLower(q.Search)), func(w string) bool { return !strings.Contains(d.text, w) })
		return !(inside && only && words && (q.State == "" || d.State == q.State) && (q.Only == "" || d.State == fleet.Active))
	})
	column, sign := sort, 1
	if name, ok := strings.CutPrefix(sort, "-"); ok {
		column, sign = name, -1
	}
	slices.SortFunc(rows, func(a, b seenRow) int {
		return cmp.Or(sign*compareRows(a.DeviceRow, b.DeviceRow, column), strings.Compare(string(a.ID), string(b.ID)))
	})
	for _, d := range rows {
		out = append(out, d.ID)
	}
	return out
}

func compareRows(a, b client.DeviceRow, column string) int {
	text := func(of func(client.DeviceRow) string) int { return strings.Compare(of(a), of(b)) }
	number := func(of func(client.DeviceRow) int) int { return cmp.Compare(of(a), of(b)) }
	truth := func(of func(client.DeviceRow) bool) int {
		return number(func(d client.DeviceRow) int { return map[bool]int{true: 1}[of(d)] })
	}
	switch column {
	case "id":
		return text(func(d client.DeviceRow) string { return string(d.ID) })
	case "name":
		return text(func(d client.DeviceRow) string { return strings.ToLower(d.Name) })
	case "group":
		return text(func(d client.DeviceRow) string { return strings.ToLower(d.Group) })
	case "state":
		return text(func(d client.DeviceRow) string { return string(d.State) })
	case "os":
		return text(func(d client.DeviceRow) string { return d.OS })
	case "arch":
		return text(func(d client.DeviceRow) string { return d.Arch })
	case "agent":
		return text(func(d client.DeviceRow) string { return d.Agent })
	case "problem":
		return text(func(d client.DeviceRow) string { return d.Problem })
	case "last_seen":
		return a.LastSeen.Compare(b.LastSeen)
	case "last_useful":
		return a.LastUseful.Compare(b.LastUseful)
	case "connected":
		return truth(func(d client.DeviceRow) bool { return d.Connected })
	case "restart":
		return truth(func(d client.DeviceRow) bool { return d.Restart })
	case "pending":
		return number(func(d client.DeviceRow) int { return d.Pending })
	case "planned":
		return number(func(d client.DeviceRow) int { return d.Planned })
	case "blocked":
		return number(func(d client.DeviceRow) int { return d.Blocked })
	}
	return number(func(d client.DeviceRow) int { return d.Failed })
}
