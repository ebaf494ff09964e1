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
	}, s.exports(Viewer, "/devices", s.deviceTable))
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

// deviceTable is one page of the list of devices, as the address asks for it.
func (s *server) deviceTable(v *Visit, p client.Page) (Table, error) {
	q := client.DeviceQuery{Group: string(v.Group().ID), Search: v.Query().Get("search"), State: fleet.DeviceState(v.Query().Get("state"))}
	list, err := s.Roster.Devices(v.Context(), v.Who(), q, p)
	if err != nil {
		return Table{}, err
	}
	t := Table{ID: "devices", One: "device", Many: "devices", Total: list.Total, Next: list.Next, Search: "name, id, system or group", Sort: "name", Export: true,
		Filters: []Filter{{Key: "state", Label: "State", Options: options(fleet.Active, fleet.Quarantined, fleet.Retired)}},
		Columns: []Column{{Key: "name", Label: "Device", Sorts: true}, {Key: "state", Label: "State", Sorts: true},
			{Key: "group", Label: "Group", Sorts: true, Wide: true}, {Key: "os", Label: "System", Sorts: true, Wide: true},
			{Key: "last_seen", Label: "Last seen", Sorts: true, Wide: true},
			{Key: "pending", Label: "Pending", Sorts: true, Number: true, Wide: true}, {Key: "planned", Label: "Planned", Sorts: true, Number: true},
			{Key: "blocked", Label: "Blocked", Sorts: true, Number: true}, {Key: "failed", Label: "Failed", Sorts: true, Number: true},
			{Key: "problem", Label: "Problem", Sorts: true, Wide: true},
			{Key: "arch", Label: "Architecture", Sorts: true, Extra: true}, {Key: "agent", Label: "Agent", Sorts: true, Extra: true}, {Key: "id", Label: "Id", Sorts: true, Extra: true}},
		Empty: Empty{Text: "No device is enrolled here yet. Make an enrolment token and run the line that it shows on the device.", Link: &Link{"Enrol a device", "/enrol"}}}
	for _, d := range list.Items {
		t.Rows = append(t.Rows, deviceRow(d))
	}
	return t.finish(v)
}

func deviceRow(d client.DeviceRow) Row {
	href := "/devices/" + url.PathEscape(string(d.ID))
	state := badge(string(d.State))
	if d.State == fleet.Active && d.Connected {
		state = badge("connected")
	}
	restart := ""
	if d.Restart {
		restart = "needs a restart"
	}
	return Row{ID: string(d.ID), Label: d.Name, Href: href, Value: d, Cells: []Cell{linked(d.Name, href).with(restart), state, plain(d.Group), plain(d.OS), moment(d.LastSeen),
		number(d.Pending), number(d.Planned), number(d.Blocked), number(d.Failed), plain(d.Problem), plain(d.Arch), plain(d.Agent), plain(string(d.ID))}}
}
