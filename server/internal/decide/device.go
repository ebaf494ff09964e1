package decide

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"assent/client"
	"assent/installation"
	"assent/plan"
	"assent/server/internal/index"
)

// deviceRow is a device in a list.
func (m *moment) deviceRow(d index.Device) client.DeviceRow {
	row := client.DeviceRow{ID: d.ID, Name: d.Name, Group: m.name(d.Group), GroupID: d.Group, State: d.State, Reason: d.Reason, Connected: d.Connected,
		LastSeen: d.Contact.LastSeen, LastUseful: lastUseful(d)}
	if f := d.Facts; f != nil {
		row.OS, row.Arch, row.Agent = strings.TrimSpace(f.OS+" "+cmp.Or(f.OSVersion, f.Codename)), f.Arch, f.Agent
		row.Restart = len(f.Restart) > 0
	}
	n := m.tell(d)
	row.Blocked, row.Failed, row.Planned, row.Pending = n.blocked, n.failed, n.planned, m.board.Pending(d.Number)
	row.Problem = Problem(d)
	return row
}

// told are the numbers of a device in a list.
type told struct{ blocked, failed, planned int }

func (m *moment) tell(d index.Device) (n told) {
	for _, l := range m.board.Lines(d.Number) {
		switch {
		case l.State == installation.Blocked:
			n.blocked++
		case l.State == installation.Failed, l.State == installation.RemoveFailed:
			n.failed++
		case l.Action == plan.Install:
			n.planned++
		}
	}
	return n
}

// lastUseful is when the device last did something of use, apart from the mere heartbeat.
func lastUseful(d index.Device) (t time.Time) {
	t = d.Contact.Progress.LastScan
	if r := d.Contact.Progress.LastRefresh; r.After(t) {
		t = r
	}
	return t
}

// Problem says in words what keeps a device from being useful; empty when nothing does.
func Problem(d index.Device) string {
	switch {
	case d.Contact.Progress.Error != "":
		return printable(d.Contact.Progress.Error)
	case d.Facts != nil && d.Facts.ManagerHealth != "":
		return "its package manager is broken: " + d.Facts.ManagerHealth
	case len(d.Problems) == 1:
		return d.Problems[0]
	case len(d.Problems) > 1:
		return fmt.Sprintf("%s (and %d more)", d.Problems[0], len(d.Problems)-1)
	}
	if d.Facts == nil {
		return ""
	}
	for _, o := range d.Facts.Origins {
		if o.Problem != "" {
			return fmt.Sprintf("package source %s: %s", o.Name(), strings.ReplaceAll(o.Problem, "_", " "))
		}
	}
	return ""
}

// printable removes what cannot be shown.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unprintable(r) {
			return -1
		}
		return r
	}, s)
}
