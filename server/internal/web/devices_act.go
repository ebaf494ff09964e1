package web

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"assent/client"
	"assent/fault"
	"assent/fleet"
)

// deviceAct is something that can be done to devices.
type deviceAct struct {
	Name, Label, Key string
	Tone             string
	Need             Need
	State            fleet.DeviceState // it sets this state
	Done             string            // "Retired", before "web1" or "3 devices"
	Means            string            // what it means, on the page that asks
}

// deviceActs is everything that can be done to devices, in the order of the buttons.
func deviceActs() []deviceAct {
	return []deviceAct{
		{Name: "refresh", Label: "Look for updates now", Key: "r", Need: Approver, Done: "Asked",
			Means: "The devices fetch their package lists and report what they could take. Those that are not connected are asked when they are back. Nothing is installed by this."},
		{Name: "rehearse", Label: "Rehearse now", Need: Approver, Done: "Asked",
			Means: "The devices go through what they are to install with their own package manager and say what would fail. Those that are not connected are asked when they are back. Nothing is installed by this."},
		{Name: "move", Label: "Move", Key: "m", Need: Administrator, Done: "Moved",
			Means: "What is approved, declined and guarded in the new group, and above it, then counts for the devices at once."},
		{Name: "quarantine", Label: "Quarantine", Need: Administrator, State: fleet.Quarantined, Done: "Quarantined",
			Means: "The devices get no plans and install nothing until they are released. What is declined stays out of them."},
		{Name: "release", Label: "Release", Need: Administrator, State: fleet.Active, Done: "Released",
			Means: "The devices take part again and get what is approved. Find out first why they were quarantined."},
		{Name: "retire", Label: "Retire", Tone: "danger", Need: Administrator, State: fleet.Retired, Done: "Retired",
			Means: "The devices are refused from now on: they get no plans and cannot connect. This cannot be undone; a retired device must enrol again."},
	}
}

// findDeviceAct is the act with this name, if the person may do it at all.
func findDeviceAct(v *Visit, name string) (deviceAct, error) {
	for _, a := range deviceActs() {
		if a.Name == name {
			return a, a.Need.Admits(v.Who())
		}
	}
	return deviceAct{}, fault.New(fault.Invalid, "act_unknown", "Choose what to do with the devices.").On("act")
}

// deviceButtons are the acts that the person may do.
func deviceButtons(v *Visit) []Button {
	var out []Button
	for _, a := range deviceActs() {
		if v.May(a.Need) {
			out = append(out, Button{Name: "act", Value: a.Name, Label: a.Label, Key: a.Key})
		}
	}
	return out
}

// maxChosen bounds how many devices one form names: they are named one by one, so that what is confirmed is what
// is done, and a form has 1 MiB.
const maxChosen = 30_000

// maxUndoMove bounds how many devices one click moves back: the form that does it is kept with the session.
const maxUndoMove = 1000

// shownChosen is how many of the chosen devices are shown by name.
const shownChosen = 100

// confirmView asks whether it shall be done to these devices.
type confirmView struct {
	Act      string
	Label    string
	Tone     string
	Means    string
	Action   string // of the form
	IDs      string // of all of them
	Total    int
	Devices  []client.DeviceRow // some of them
	More     int
	Offline  int
	Same     int // in the state already
	Groups   []client.GroupRow
	IsMove   bool
	Reasoned bool
	Back     string // where to go then: the list as it was, or the only device's page
}

// confirmDevices shows what was chosen, before anything is done.
func (s *server) confirmDevices(v *Visit) (confirmView, error) {
	a, err := findDeviceAct(v, v.Form("act"))
	if err != nil {
		return confirmView{}, err
	}
	chosen, err := s.chosenDevices(v)
	if err != nil {
		return confirmView{}, err
	}
	v.Title, v.Crumbs = a.Label, []Crumb{{"Devices", "/devices"}}
	view := confirmView{Act: a.Name, Label: a.Label, Tone: cmp.Or(a.Tone, "primary"), Means: a.Means, Action: "/devices/change", Total: len(chosen),
		IsMove: a.Name == "move", Reasoned: a.State != ""}
	if a.Name == "refresh" || a.Name == "rehearse" {
		view.Action = "/devices/" + a.Name
	}
	if view.IsMove {
		view.Groups = v.Groups()
	}
	view.Back = backToDevices(v, chosen)
	view.IDs = strings.Join(mapped(chosen, func(d client.DeviceRow) string { return string(d.ID) }), " ")
	view.Devices = chosen[:min(len(chosen), shownChosen)]
	view.More = len(chosen) - len(view.Devices)
	for _, d := range chosen {
		if !d.Connected {
			view.Offline++
		}
		if d.State == a.State {
			view.Same++
		}
	}
	return view, nil
}

// backToDevices is the page that the form came from: a list says its query, a device's page does not.
func backToDevices(v *Visit, chosen []client.DeviceRow) string {
	q, err := url.ParseQuery(v.Form("query"))
	switch {
	case err == nil && len(q) > 0:
		return "/devices?" + q.Encode()
	case len(chosen) == 1 && len(v.Fields("query")) == 0:
		return deviceHref(chosen[0].ID)
	}
	return "/devices"
}

// chosenDevices are the devices that a list's form selected: by id, or all that matched the list's address.
func (s *server) chosenDevices(v *Visit) ([]client.DeviceRow, error) {
	if v.Form("all") != "" {
		return s.matchingDevices(v)
	}
	ids := given(v.Fields("select"))
	if len(ids) == 0 {
		return nil, fault.New(fault.Invalid, "devices_missing", "Select the devices first.").On("select")
	}
	return s.Decide.DevicesNamed(v.Context(), v.Who(), ids)
}

func (s *server) matchingDevices(v *Visit) ([]client.DeviceRow, error) {
	q, err := url.ParseQuery(v.Form("query"))
	if err != nil {
		return nil, fault.New(fault.Invalid, "query_unreadable", "The filter of the list cannot be read.").On("query")
	}
	query := deviceQuery(q, cmp.Or(q.Get("group"), string(v.Group().ID)))
	var out []client.DeviceRow
	for p := (client.Page{Limit: 1000}); ; {
		list, err := s.Roster.Devices(v.Context(), v.Who(), query, p)
		if err != nil {
			return nil, err
		}
		if list.Total > maxChosen {
			return nil, fault.New(fault.Invalid, "devices_too_many", "These are %s devices; one act has %d at most. Narrow the list, for example by group.", grouped(fmt.Sprint(list.Total)), maxChosen).On("all")
		}
		out = append(out, list.Items...)
		if list.Next == "" {
			break
		}
		p.Cursor = list.Next
	}
	if len(out) == 0 {
		return nil, fault.New(fault.NotFound, "devices_missing", "No device matches any more.").On("all")
	}
	return out, nil
}

// changeDevices moves devices, or changes their state: one act for all of them.
func (s *server) changeDevices(v *Visit) (string, error) {
	a, err := findDeviceAct(v, v.Form("act"))
	if err != nil {
		return "", err
	}
	c := client.DeviceChange{Devices: strings.Fields(v.Form("devices")), State: a.State, Reason: v.Form("reason")}
	if len(c.Devices) == 0 {
		return "", fault.New(fault.Invalid, "devices_missing", "Name the devices.").On("devices")
	}
	if a.State == "" {
		if c.Group = v.Form("to"); a.Name != "move" || c.Group == "" {
			return "", fault.New(fault.Invalid, "group_missing", "Say which group to move the devices to.").On("to")
		}
	}
	undo := s.undoMove(v, c)
	done, err := s.Roster.ChangeDevices(v.Context(), v.Who(), c)
	if err != nil {
		return "", err
	}
	text := a.Done + " " + plural(len(c.Devices), "device", "devices") + "."
	if c.Group != "" {
		text = fmt.Sprintf("Moved %s to %s.", plural(len(c.Devices), "device", "devices"), groupName(v.Groups(), fleet.GroupID(c.Group)))
	}
	if done.Act == 0 {
		text, undo = "Nothing changed: that was so already.", nil
	}
	v.Toast(Toast{Tone: "success", Text: text, Link: actLink(v, done.Act), Undo: undo})
	return afterDevices(v, c.Devices), nil
}

// undoMove is the form that moves devices back, if they all come from one group.
func (s *server) undoMove(v *Visit, c client.DeviceChange) *Form {
	if c.Group == "" || len(c.Devices) > maxUndoMove {
		return nil
	}
	devices, err := s.Decide.DevicesNamed(v.Context(), v.Who(), c.Devices)
	if err != nil || len(devices) == 0 {
		return nil
	}
	from := devices[0].GroupID
	if slices.ContainsFunc(devices, func(d client.DeviceRow) bool { return d.GroupID != from }) {
		return nil
	}
	return &Form{Label: "Undo", Action: "/devices/change", Fields: []Field{{"act", "move"}, {"to", string(from)}, {"devices", strings.Join(c.Devices, " ")}, {"back", v.Form("back")}}}
}

// refreshDevices asks devices to look for updates now.
func (s *server) refreshDevices(v *Visit) (string, error) {
	ids := strings.Fields(v.Form("devices"))
	if len(ids) == 0 {
		return "", fault.New(fault.Invalid, "devices_missing", "Name the devices.").On("devices")
	}
	done, err := s.Roster.RefreshDevices(v.Context(), v.Who(), client.RefreshRequest{Devices: ids})
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("Asked %s to look for updates; %s connected now.", plural(done.Devices, "device", "devices"), grouped(fmt.Sprint(done.Connected)))})
	return afterDevices(v, ids), nil
}

// afterDevices is the page to go to: what the form says, else the only device's, else the list.
func afterDevices(v *Visit, ids []string) string {
	if back := v.Form("back"); back == "/devices" || back == "/groups" || strings.HasPrefix(back, "/devices/") || strings.HasPrefix(back, "/devices?") {
		return back
	}
	if len(ids) == 1 {
		return deviceHref(fleet.DeviceID(ids[0]))
	}
	return "/devices"
}

// actLink leads to an act's entry in the ledger, for who may read it.
func actLink(v *Visit, act int64) *Link {
	if act == 0 || !v.May(ViewerOfAll) {
		return nil
	}
	return &Link{Label: fmt.Sprintf("act %d", act), Href: fmt.Sprintf("/ledger/%d", act)}
}

// groupName is what a group is called now; its id if the person does not see it.
func groupName(groups []client.GroupRow, id fleet.GroupID) string {
	if i := slices.IndexFunc(groups, func(g client.GroupRow) bool { return g.ID == id }); i >= 0 {
		return groups[i].Name
	}
	return string(id)
}
