package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"assent/client"
	"assent/fault"
	"assent/installation"
)

// rehearsalRoutes are the part of the table about what devices found beforehand.
func (s *server) rehearsalRoutes() []Route {
	return slices.Concat([]Route{
		page(Viewer, http.MethodGet, "/rehearsals", "rehearsals", s.rehearsalsPage),
		act(Approver, "/devices/rehearse", s.rehearseDevices),
	}, s.exports(Viewer, "/rehearsals", s.rehearsalsTable))
}

// rehearsalsView is the list of what devices found beforehand.
type rehearsalsView struct{ Table Table }

func (s *server) rehearsalsPage(v *Visit) (rehearsalsView, error) {
	v.Title = "Rehearsals"
	p, err := paging(v)
	if err != nil {
		return rehearsalsView{}, err
	}
	t, err := s.rehearsalsTable(v, p)
	return rehearsalsView{t}, err
}

// rehearsalsTable is one page of the list, as the address asks for it.
func (s *server) rehearsalsTable(v *Visit, p client.Page) (Table, error) {
	get := v.Query().Get
	q := client.RehearsalQuery{Group: string(v.Group().ID), Device: get("device"), Update: get("update"), Cause: installation.Cause(get("cause")), Only: client.RehearsalOnly(get("only"))}
	list, err := s.Decide.Rehearsals(v.Context(), v.Who(), q, p)
	if err != nil {
		return Table{}, err
	}
	t := Table{ID: "rehearsals", One: "update on a device", Many: "updates on devices", Total: list.Total, Next: list.Next, Sort: "device", Export: true,
		Filters: []Filter{{Key: "only", Label: "Show", Options: []Option{{"kept", "what keeps the device's configuration"}, {"all", "what would install too"}}}},
		Columns: []Column{{Key: "device", Label: "Device", Sorts: true}, {Key: "name", Label: "Update", Sorts: true}, {Key: "cause", Label: "Would", Sorts: true}, {Key: "opens", Label: "Window opens", Sorts: true, Wide: true},
			{Key: "rehearsed", Label: "Rehearsed", Wide: true}, {Key: "detail", Label: "Why"}},
		Empty: Empty{Text: "Nothing is known that would fail. Devices rehearse what they are to install some hours before their window, and when they are asked to."}}
	for _, f := range []struct{ key, label, value string }{{"cause", "Cause", string(q.Cause)}, {"device", "Device", q.Device}, {"update", "Update", q.Update}} {
		if f.value != "" {
			t.Filters = append(t.Filters, Filter{Key: f.key, Label: f.label, Options: []Option{{f.value, words(f.value)}}})
		}
	}
	t.Rows = mapped(list.Items, rehearsalRow)
	return t.finish(v)
}

func rehearsalRow(r client.RehearsalRow) Row {
	at := moment(r.At)
	if r.Stale {
		at.Sub = "the device or its plan changed since"
	}
	opens := moment(r.Opens)
	if r.Ring {
		opens.Sub = "once its ring is open"
	}
	return Row{ID: string(r.Device) + " " + string(r.Update), Label: r.Name + " on " + r.DeviceName, Href: deviceHref(r.Device) + "/why/" + url.PathEscape(string(r.Update)), Value: r,
		Cells: []Cell{linked(r.DeviceName, deviceHref(r.Device)).with(r.Group), linked(r.Name, updateHref(string(r.Update))).with(r.Version), outcomeCell(r.Rehearsed), opens, at, plain(r.Sentence())}}
}

func outcomeCell(r client.Rehearsed) Cell {
	switch {
	case r.Fails():
		return Cell{Text: "fail: " + words(r.Cause), Tone: "red"}
	case len(r.Kept) > 0:
		return Cell{Text: "install", Tone: "orange"}
	}
	return Cell{Text: "install", Tone: "green"}
}

// wouldFail says beforehand that an update would fail; empty where it would not, or nobody knows.
func wouldFail(r *client.Rehearsed) string {
	if r == nil || !r.Fails() {
		return ""
	}
	return "would fail: " + words(r.Cause) + ". " + r.Sentence()
}

// rehearsalTallies are what devices found beforehand; none where nothing was rehearsed.
func rehearsalTallies(r client.RehearsalFigures) []tally {
	if r.Rehearsed+r.Stale == 0 {
		return nil
	}
	note := "On " + plural(r.Devices, "device", "devices") + "."
	return []tally{
		{Label: "Updates would fail in their next window", Tone: "red", Icon: "alert-triangle", N: r.Updates, Href: "/rehearsals", Note: note},
		{Label: "Keep configuration files of the device", Tone: "orange", Icon: "file-text", N: r.Kept, Href: "/rehearsals?only=kept"},
	}
}

// rehearsedText sums up the last rehearsal of a device.
func rehearsedText(r *client.DeviceRehearsal) string {
	if r == nil {
		return ""
	}
	out := fmt.Sprintf("%s would install, %s would fail", grouped(fmt.Sprint(r.Pass)), grouped(fmt.Sprint(r.Fail)))
	if r.Stale {
		out += "; it or its plan changed since"
	}
	return out
}

// rehearseDevices asks devices to rehearse what they are to install.
func (s *server) rehearseDevices(v *Visit) (string, error) {
	ids := strings.Fields(v.Form("devices"))
	if len(ids) == 0 {
		return "", fault.New(fault.Invalid, "devices_missing", "Name the devices.").On("devices")
	}
	done, err := s.Roster.RehearseDevices(v.Context(), v.Who(), client.RefreshRequest{Devices: ids})
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("Asked %s to rehearse; %s connected now.", plural(done.Devices, "device", "devices"), grouped(fmt.Sprint(done.Connected)))})
	return afterDevices(v, ids), nil
}
