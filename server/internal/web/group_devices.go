package web

import (
	"net/url"

	"assent/client"
)

// treeDevices is how many devices of one group the tree shows.
const treeDevices = 200

// groupDevicesView are the devices in a very group, as the tree shows them.
type groupDevicesView struct {
	Devices   []treeDevice
	More      int
	All       string // the list of all of them
	MayChange bool
}

type treeDevice struct {
	client.DeviceRow
	Href, Word string
}

func (s *server) groupDevices(v *Visit) (groupDevicesView, error) {
	g, err := seenGroup(v)
	if err != nil {
		return groupDevicesView{}, err
	}
	v.Title, v.Crumbs = "Devices right in "+g.Name, []Crumb{{"Groups", "/groups"}, {g.Name, groupHref(g.ID)}}
	list, err := s.Roster.Devices(v.Context(), v.Who(), client.DeviceQuery{Group: string(g.ID), Here: true}, client.Page{Limit: treeDevices})
	if err != nil {
		return groupDevicesView{}, err
	}
	view := groupDevicesView{MayChange: v.May(Administrator), More: list.Total - len(list.Items), All: "/devices?" + url.Values{"group": {string(g.ID)}, "here": {"true"}}.Encode()}
	view.Devices = mapped(list.Items, func(d client.DeviceRow) treeDevice { return treeDevice{d, deviceHref(d.ID), deviceState(d)} })
	return view, nil
}
