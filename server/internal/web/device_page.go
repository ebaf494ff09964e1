package web

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"assent/client"
	"assent/fleet"
	"assent/plan"
	"assent/wire"
)

// deviceView is everything about a device.
type deviceView struct {
	client.DeviceDetail
	Word     string // how it stands
	Live     liveView
	Stream   string // the address that tells Live while it changes
	Restart  string // why it needs a restart
	Foreseen string // what its last rehearsal found
	Sources  []sourceView
	Guarding string // the guard mode that it should have and what it has, when they differ
	Verdicts []tally
	Updates  []deviceUpdateView // what is to be done, or stands in the way
	All      string             // the page with all its updates
	Acts     []deviceAct        // what the person may do to it now
	Here     string
}

// sourceView is a package source or a feed of a device.
type sourceView struct {
	Name, Problem, Detail, Tone string
	Date, Expires               time.Time
}

// deviceUpdateView is a line of the list of what is to be done.
type deviceUpdateView struct {
	client.DeviceUpdate
	Href, Why  string
	Word, Tone string // of the verdict
	WouldFail  string // as the device found beforehand
}

// shownUpdates is how many of its updates a device's page shows.
const shownUpdates = 25

func (s *server) devicePage(v *Visit) (deviceView, error) {
	d, err := s.Roster.Device(v.Context(), v.Who(), v.Path("device"))
	if err != nil {
		return deviceView{}, err
	}
	v.Title, v.Crumbs = d.Name, []Crumb{{"Devices", "/devices"}, {d.Group, groupHref(d.GroupID)}}
	here := deviceHref(d.ID)
	view := deviceView{DeviceDetail: d, Word: deviceState(d.DeviceRow), Live: liveOf(d), Stream: deviceHref(d.ID) + "/stream", Restart: strings.Join(d.Facts.Restart, ", "), Foreseen: rehearsedText(d.Rehearsal), Guarding: guarding(d),
		Verdicts: verdictTallies(d, here), All: here + "/updates", Acts: actsOn(v, d), Here: here}
	view.Sources = mapped(d.Facts.Origins, sourceOf)
	for _, u := range sortedUpdates(d.Updates, "") {
		if u.Verdict != plan.None && len(view.Updates) < shownUpdates {
			view.Updates = append(view.Updates, deviceUpdateView{u, updateHref(string(u.Update)), whyHref(u), verdictWord(u.Verdict), verdictTone(u.Verdict), wouldFail(u.Rehearsed)})
		}
	}
	return view, nil
}

// actsOn are the acts that the person may do and that make sense for the device.
func actsOn(v *Visit, d client.DeviceDetail) []deviceAct {
	var out []deviceAct
	for _, a := range deviceActs() {
		sensible := d.State == fleet.Active
		switch a.Name {
		case "move", "retire":
			sensible = d.State != fleet.Retired
		case "release":
			sensible = d.State == fleet.Quarantined
		}
		if sensible && v.May(a.Need) {
			out = append(out, a)
		}
	}
	return out
}

// guarding says how the guard in force differs from what the group asks for; empty when it does not.
func guarding(d client.DeviceDetail) string {
	switch d.Facts.Guard {
	case d.Guard:
		return ""
	case fleet.Inherit:
		return "not in force: the device has no guard in its package manager"
	}
	return fmt.Sprintf("on the device it still is %s", words(d.Facts.Guard))
}

func sourceOf(o wire.OriginHealth) sourceView {
	out := sourceView{Name: o.Name(), Problem: o.Problem, Detail: o.Detail, Tone: "green", Date: o.Date, Expires: o.ExpiresAt}
	switch o.Problem {
	case "":
	case "unreachable":
		out.Tone = "orange"
	default:
		out.Tone = "red"
	}
	return out
}

// verdictTallies counts what nobody decided on, and a device's updates by verdict: each number with the list behind it.
func verdictTallies(d client.DeviceDetail, here string) []tally {
	n := map[plan.Action]int{}
	for _, u := range d.Updates {
		n[u.Verdict]++
	}
	undecided := "/updates?" + url.Values{"device": {string(d.ID)}, "group": {string(d.GroupID)}, "status": {"undefined"}}.Encode()
	out := []tally{{Label: "Undecided", Tone: "orange", N: d.Pending, Href: undecided}}
	for _, a := range verdicts() {
		out = append(out, tally{Label: verdictWord(a), Tone: verdictTone(a), N: n[a], Href: here + "/updates?verdict=" + string(a)})
	}
	return out
}

// liveView is what a device is doing now.
type liveView struct {
	Connected bool
	LastSeen  time.Time
	Doing     string
	Since     time.Time
	Error     string
	LastScan  time.Time
	Refreshed time.Time
	Under     []liveInstall
}

// liveInstall is an update that is on its way onto the device.
type liveInstall struct {
	Name, Version, State, Detail, Why string
	Since                             time.Time
}

// deviceLook is how often an open page looks at what a device says it is doing: no change announces that.
const deviceLook = 2 * time.Second

// liveOf is a device's progress.
func liveOf(d client.DeviceDetail) liveView {
	p := d.Progress
	view := liveView{Connected: d.Connected, LastSeen: d.LastSeen, Doing: p.Doing, Since: p.Since, Error: p.Error, LastScan: p.LastScan, Refreshed: p.LastRefresh}
	for _, u := range sortedUpdates(d.Updates, "") {
		if underWay(u.State) && len(view.Under) < shownUpdates {
			view.Under = append(view.Under, liveInstall{Name: u.Name, Version: u.Version, State: string(u.State), Detail: u.Detail, Why: whyHref(u), Since: u.Since})
		}
	}
	return view
}

// deviceLive is the piece of a device's page that is told anew while it is open.
func (s *server) deviceLive(v *Visit) (liveView, error) {
	d, err := s.Roster.Device(v.Context(), v.Who(), v.Path("device"))
	if err != nil {
		return liveView{}, err
	}
	v.Title, v.Crumbs = "What it does", []Crumb{{"Devices", "/devices"}, {d.Name, deviceHref(d.ID)}}
	return liveOf(d), nil
}
