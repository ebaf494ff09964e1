package web

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/installation"
)

// updateRoutes are the part of the table about updates and decisions on them.
func (s *server) updateRoutes() []Route {
	return slices.Concat([]Route{
		page(Viewer, http.MethodGet, "/updates", "updates", s.updatesPage("")),
		page(Viewer, http.MethodGet, "/updates/seamless", "updates", s.updatesPage(client.Seamless)),
	}, s.exports(Viewer, "/updates", s.updateTable("")), s.exports(Viewer, "/updates/seamless", s.updateTable(client.Seamless)),
		s.decideRoutes(), s.updateShowRoutes(), s.updateRollbackRoutes(), s.updateHistoryRoutes())
}

// updatesView is a list of updates.
type updatesView struct{ Table Table }

// updatesPage is the list of all updates, or of those in a view.
func (s *server) updatesPage(view string) func(*Visit) (updatesView, error) {
	return func(v *Visit) (updatesView, error) {
		v.Title = "All updates"
		if view == client.Seamless {
			v.Title = "Seamless updates"
		}
		p, err := paging(v)
		if err != nil {
			return updatesView{}, err
		}
		t, err := s.updateTable(view)(v, p)
		return updatesView{t}, err
	}
}

// updateTable is one page of the list of updates, as the address asks for it.
func (s *server) updateTable(view string) func(*Visit, client.Page) (Table, error) {
	return func(v *Visit, p client.Page) (Table, error) {
		f, err := updateFilter(v.Query())
		if err != nil {
			return Table{}, err
		}
		f.Group = string(v.Group().ID)
		if view != "" {
			f.View = view
		}
		list, err := s.Decide.List(v.Context(), v.Who(), f, p)
		if err != nil {
			return Table{}, err
		}
		t := Table{ID: "updates", Saved: "updates", One: "update", Many: "updates", Total: list.Total, Next: list.Next, Search: "name, version, summary or package", Sort: "name", Export: true,
			Columns: updateColumns(), Filters: updateFilters(v, list.Items), Empty: Empty{Text: "No device has reported an update yet. Updates appear when devices check in, or when a feed publishes."}}
		if view == client.Seamless {
			t.Empty = Empty{Text: "No feed has published anything yet. What feeds publish, and components of Assent, stand here."}
			if v.May(AdministratorOfAll) {
				t.Empty.Link = &Link{"Subscribe to a feed", "/feeds"}
			}
		}
		if v.May(Approver) {
			t.Select = updateSelection(view)
		}
		for _, u := range list.Items {
			t.Rows = append(t.Rows, updateRow(v, u))
		}
		return t.finish(v)
	}
}

// updateSelection is what can be done with selected updates: each button leads to the page that shows what it means.
func updateSelection(view string) *Selection {
	action := "/updates/decide"
	if view != "" {
		action += "?view=" + url.QueryEscape(view)
	}
	return &Selection{Action: action, All: true, Buttons: []Button{
		{Name: "status", Value: string(approval.Approved), Label: "Approve", Tone: "primary", Key: "a"},
		{Name: "status", Value: string(approval.Declined), Label: "Decline", Key: "d"},
		{Name: "status", Value: string(approval.Undefined), Label: "Undefined", Key: "u"}}}
}

func updateColumns() []Column {
	return []Column{{Key: "name", Label: "Update", Sorts: true}, {Key: "version", Label: "Version", Sorts: true}, {Key: "status", Label: "Status", Sorts: true},
		{Key: "severity", Label: "Severity", Sorts: true, Wide: true}, {Key: "class", Label: "Class", Sorts: true, Wide: true}, {Key: "origin", Label: "Origin", Sorts: true, Wide: true},
		{Key: "needed", Label: "Needed", Sorts: true, Number: true}, {Key: "installed", Label: "Have it", Sorts: true, Number: true, Wide: true},
		{Key: "failed", Label: "Failed", Sorts: true, Number: true, Wide: true}, {Key: "blocked", Label: "Blocked", Sorts: true, Number: true, Wide: true},
		{Key: "first_seen", Label: "First seen", Sorts: true, Wide: true}, {Key: "flags", Label: "Flags"},
		{Key: "installed_though_declined", Label: "Installed though declined", Sorts: true, Number: true, Extra: true},
		{Key: "size", Label: "Size", Sorts: true, Number: true, Extra: true}, {Key: "summary", Label: "Summary", Sorts: true, Extra: true},
		{Key: "id", Label: "Id", Sorts: true, Extra: true}, {Key: "purl", Label: "Package URL", Extra: true}}
}

// updateFilters are the filters of the list. Origins are not a closed set: those of the page are offered, and one that the
// address names keeps its chip.
func updateFilters(v *Visit, rows []client.UpdateRow) []Filter {
	origins := given(v.Query()["origin"])
	for _, u := range rows {
		origins = append(origins, u.Origins...)
	}
	slices.Sort(origins)
	either := func(yes, no string) []Option { return []Option{{"true", yes}, {"false", no}} }
	out := []Filter{
		{Key: "status", Label: "Status", Many: true, Options: options(approval.Undefined, approval.Approved, approval.Declined)},
		{Key: "severity", Label: "Severity", Many: true, Options: options(catalog.Critical, catalog.High, catalog.Medium, catalog.Low, catalog.Unrated)},
		{Key: "security", Label: "Security", Options: either("security updates", "others")},
		{Key: "needed", Label: "Needed", Options: either("by a device here", "by no device here")},
		{Key: "state", Label: "On devices", Options: options(installation.States()...)},
		{Key: "class", Label: "Class", Many: true, Options: options(catalog.Managed, catalog.Component, catalog.ThirdParty, catalog.Content)},
		{Key: "superseded", Label: "Superseded", Options: either("by a newer one", "not superseded")},
		{Key: "gated", Label: "Needs a newer server", Options: either("waits for it", "does not")},
		{Key: "exploited", Label: "Known exploited", Options: either("a vulnerability of it is", "not known to be")},
		{Key: "revoked", Label: "Recalled", Options: either("by its publisher", "not recalled")},
		{Key: "installed", Label: "Installed", Options: either("on a device here", "on no device here")},
		{Key: "agreements", Label: "Agreements", Options: either("wait to be accepted", "none to accept")},
		{Key: "changed", Label: "Grown", Options: either("since it was approved", "not since it was approved")},
		{Key: "origin", Label: "Origin", Many: true, Options: mapped(slices.Compact(origins), func(o string) Option { return Option{o, o} })},
	}
	if device := v.Query().Get("device"); device != "" {
		out = append(out, Filter{Key: "device", Label: "Device", Options: []Option{{device, device}}})
	}
	return out
}

func updateRow(v *Visit, u client.UpdateRow) Row {
	href := seenHref(v, u.ID, "")
	at := func(n int, state installation.State) Cell {
		if n == 0 {
			return number(n)
		}
		return number(n).to(seenHref(v, u.ID, state))
	}
	needed := number(u.Needed)
	if u.Needed > 0 {
		needed = needed.to(href + "#devices")
	}
	status := badge(string(u.Status))
	if u.Inherited {
		status = status.with("inherited")
	}
	title := u.Title
	if title == u.Name {
		title = ""
	}
	return Row{ID: string(u.ID), Label: u.Name + " " + u.Version, Href: href, Value: u, Cells: []Cell{linked(u.Name, href).with(title), plain(u.Version), status,
		badge(string(u.Severity)), plain(words(u.Class)), plain(strings.Join(u.Origins, " ")), needed, at(u.Installed, installation.Installed), at(u.Failed, installation.Failed),
		at(u.Blocked, installation.Blocked), moment(u.FirstSeen), flagsCell(updateFlags(u)), number(u.Against),
		plain(bytesText(u.Size)), plain(u.Summary), plain(string(u.ID)), plain(u.PURL)}}
}

// seenHref is the address of an update's page, seen from the same group; with a state it opens the list of its devices.
func seenHref(v *Visit, id catalog.UpdateID, state installation.State) string {
	q := url.Values{}
	if group := v.Query().Get("group"); group != "" {
		q.Set("group", group)
	}
	anchor := ""
	if state != "" {
		q.Set("state", string(state))
		anchor = "#devices"
	}
	to := updateHref(string(id))
	if len(q) > 0 {
		to += "?" + q.Encode()
	}
	return to + anchor
}

// updateFlag is what an administrator should not overlook, with its tone.
type updateFlag struct{ Text, Tone string }

// updateFlags are what an administrator should not overlook in a row.
func updateFlags(u client.UpdateRow) []updateFlag {
	var flags []updateFlag
	add := func(on bool, tone, flag string) {
		if on {
			flags = append(flags, updateFlag{flag, tone})
		}
	}
	count := func(label string, n int) string { return label + ": " + strconv.Itoa(n) }
	add(u.Exploited, "red", "exploited")
	add(u.Revoked, "red", "recalled")
	add(u.Security, "azure", "security")
	add(u.Gated != "", "orange", "needs server "+u.Gated)
	add(len(u.Held) > 0, "orange", "held")
	add(u.Agreements > 0, "orange", count("agreements to accept", u.Agreements))
	add(u.Verified != "", tone(u.Verified), u.Verified)
	add(u.Changed, "orange", "changed since approved")
	add(u.SupersededBy != "", "secondary", "superseded")
	add(u.Against > 0, "red", count("installed though declined", u.Against))
	add(u.Exceptions > 0, "orange", count("exceptions", u.Exceptions))
	add(u.Phased > 0 && u.Phased < 100, "secondary", "phased "+strconv.Itoa(u.Phased)+" %")
	return flags
}

// flagsCell puts flags into one cell, in the tone of the gravest.
func flagsCell(flags []updateFlag) Cell {
	c := Cell{Text: strings.Join(mapped(flags, func(f updateFlag) string { return f.Text }), " · ")}
	for _, tone := range []string{"red", "orange", "azure", "green", "secondary"} {
		if slices.ContainsFunc(flags, func(f updateFlag) bool { return f.Tone == tone }) {
			c.Tone = tone
			return c
		}
	}
	return c
}
