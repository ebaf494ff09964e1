package web

import (
	"net/http"
	"net/url"
	"slices"

	"assent/client"
	"assent/fleet"
)

// deviceRoutes are the part of the table about devices.
func (s *server) deviceRoutes() []Route {
	return slices.Concat([]Route{
		page(Viewer, http.MethodGet, "/devices", "devices", s.devicesPage),
		page(Approver, http.MethodPost, "/devices/confirm", "devices_confirm", s.confirmDevices),
		act(Administrator, "/devices/change", s.changeDevices),
		act(Approver, "/devices/refresh", s.refreshDevices),
		page(Viewer, http.MethodGet, "/devices/{device}", "device_show", s.devicePage),
		fragment(Viewer, http.MethodGet, "/devices/{device}/live", "device_live", s.deviceLive),
		answer(Viewer, http.MethodGet, "/devices/{device}/stream", func(w http.ResponseWriter, v *Visit) error {
			return s.stream(w, v, "device_live", deviceLook, func() (any, error) { return s.deviceLive(v) })
		}),
		page(Viewer, http.MethodGet, "/devices/{device}/updates", "device_updates", s.deviceUpdatesPage),
		page(Viewer, http.MethodGet, "/devices/{device}/packages", "device_packages", s.devicePackagesPage),
	}, s.exports(Viewer, "/devices", s.deviceTable), s.exports(Viewer, "/devices/{device}/updates", s.deviceUpdatesTable), s.exports(Viewer, "/devices/{device}/packages", s.devicePackagesTable), s.whyRoutes())
}

// devicesView is the list of devices.
type devicesView struct{ Table Table }

func (s *server) devicesPage(v *Visit) (devicesView, error) {
	v.Title = "Devices"
	p, err := paging(v)
	if err != nil {
		return devicesView{}, err
	}
	t, err := s.deviceTable(v, p)
	return devicesView{t}, err
}

// deviceQuery reads the filter of a list of devices from an address's query.
func deviceQuery(q url.Values, group string) client.DeviceQuery {
	return client.DeviceQuery{Group: group, Search: q.Get("search"), State: fleet.DeviceState(q.Get("state")), Only: client.DeviceOnly(q.Get("only")), Here: q.Get("here") == "true"}
}

// deviceTable is one page of the list of devices, as the address asks for it.
func (s *server) deviceTable(v *Visit, p client.Page) (Table, error) {
	list, err := s.Roster.Devices(v.Context(), v.Who(), deviceQuery(v.Query(), string(v.Group().ID)), p)
	if err != nil {
		return Table{}, err
	}
	t := Table{ID: "devices", Saved: "devices", One: "device", Many: "devices", Total: list.Total, Next: list.Next, Search: "name, id, system or group", Sort: "name", Export: true,
		Filters: []Filter{{Key: "state", Label: "State", Options: options(fleet.Active, fleet.Quarantined, fleet.Retired)}, {Key: "only", Label: "Only those that", Options: deviceOnlies()}, {Key: "here", Label: "In the group", Options: []Option{{"true", "itself, not below it"}}}},
		Columns: []Column{{Key: "name", Label: "Device", Sorts: true}, {Key: "state", Label: "State", Sorts: true},
			{Key: "group", Label: "Group", Sorts: true, Wide: true}, {Key: "os", Label: "System", Sorts: true, Wide: true},
			{Key: "last_seen", Label: "Last seen", Sorts: true, Wide: true},
			{Key: "pending", Label: "Pending", Sorts: true, Number: true, Wide: true}, {Key: "planned", Label: "Planned", Sorts: true, Number: true},
			{Key: "blocked", Label: "Blocked", Sorts: true, Number: true}, {Key: "failed", Label: "Failed", Sorts: true, Number: true},
			{Key: "problem", Label: "Problem", Sorts: true, Wide: true}, {Key: "restart", Label: "Restart", Sorts: true, Extra: true},
			{Key: "last_useful", Label: "Last useful", Sorts: true, Extra: true}, {Key: "reason", Label: "Reason", Extra: true},
			{Key: "arch", Label: "Architecture", Sorts: true, Extra: true}, {Key: "agent", Label: "Agent", Sorts: true, Extra: true}, {Key: "id", Label: "Id", Sorts: true, Extra: true}},
		Empty: Empty{Text: "No device is enrolled here yet."}}
	if v.May(Administrator) {
		t.Empty = Empty{Text: "No device is enrolled here yet. Make an enrolment token and run the line that it shows on the device.", Link: &Link{"Enrol a device", "/enrol"}}
	}
	if buttons := deviceButtons(v); len(buttons) > 0 {
		t.Select = &Selection{Action: "/devices/confirm", All: true, Buttons: buttons}
	}
	for _, d := range list.Items {
		t.Rows = append(t.Rows, deviceRow(d))
	}
	return t.finish(v)
}

// deviceOnlies are what a list of devices can be narrowed to, in words.
func deviceOnlies() []Option {
	return []Option{{string(client.OnlyConnected), "are connected now"}, {string(client.OnlySilent), "have been silent for long"}, {string(client.OnlyRestart), "need a restart"},
		{string(client.OnlyStale), "have an expired package source"}}
}

func deviceRow(d client.DeviceRow) Row {
	href := deviceHref(d.ID)
	restart := ""
	if d.Restart {
		restart = "needs a restart"
	}
	return Row{ID: string(d.ID), Label: d.Name, Href: href, Value: d, Cells: []Cell{linked(d.Name, href).with(restart), badge(deviceState(d)), plain(d.Group).to(groupHref(d.GroupID)), plain(d.OS), moment(d.LastSeen),
		number(d.Pending), number(d.Planned), number(d.Blocked), number(d.Failed), plain(d.Problem), plain(restart), moment(d.LastUseful), plain(d.Reason),
		plain(d.Arch), plain(d.Agent), plain(string(d.ID))}}
}

func deviceHref(id fleet.DeviceID) string { return "/devices/" + url.PathEscape(string(id)) }

// deviceState is the word for how a device stands: "connected" for an active one that is there now.
func deviceState(d client.DeviceRow) string {
	if d.State == fleet.Active && d.Connected {
		return "connected"
	}
	return string(d.State)
}
