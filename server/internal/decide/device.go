package decide

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"assent/client"
	"assent/server/internal/index"
	"assent/wire"
)

// deviceRow is a device in a list.
func (m *moment) deviceRow(d index.Device) client.DeviceRow {
	row := client.DeviceRow{ID: d.ID, Name: d.Name, Group: m.name(d.Group), GroupID: d.Group, State: d.State, Reason: d.Reason, Connected: d.Connected,
		LastSeen: d.Contact.LastSeen, LastUseful: lastUseful(d.Contact.Progress)}
	if f := d.Facts; f != nil {
		row.OS, row.Arch, row.Agent = systemName(f.OS, f.OSVersion, f.Codename), f.Arch, f.Agent
		row.Restart = len(f.Restart) > 0
	}
	n := m.board.Told(d.Number)
	row.Blocked, row.Failed, row.Planned, row.Pending = n.Blocked, n.Failed, n.Planned, m.board.Pending(d.Number)
	row.Problem = Problem(d)
	return row
}

// systemName is the operating system in a list.
func systemName(os, version, codename string) string {
	return strings.TrimSpace(os + " " + cmp.Or(version, codename))
}

// lastUseful is when the device last did something of use, apart from the mere heartbeat.
func lastUseful(p wire.Progress) time.Time {
	if p.LastRefresh.After(p.LastScan) {
		return p.LastRefresh
	}
	return p.LastScan
}

// Problem says in words what keeps a device from being useful; empty when nothing does.
func Problem(d index.Device) string { return problem(d.Contact.Progress, d.Facts, d.Problems) }

// problem is the same from what is known of the device: its progress, its facts (nil: unknown), and what was wrong in its documents.
func problem(p wire.Progress, facts *wire.Facts, found []string) string {
	switch {
	case p.Error != "":
		return printable(p.Error)
	case facts != nil && facts.ManagerHealth != "":
		return "its package manager is broken: " + facts.ManagerHealth
	case len(found) == 1:
		return found[0]
	case len(found) > 1:
		return fmt.Sprintf("%s (and %d more)", found[0], len(found)-1)
	}
	if facts == nil {
		return ""
	}
	for _, o := range facts.Origins {
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
