package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fleet"
	"assent/installation"
)

// updateShowRoutes are the part of the table about one update.
func (s *server) updateShowRoutes() []Route {
	return append(slices.Concat(s.updateLiveRoutes(), s.exports(Viewer, "/updates/{update}/devices", s.updateDeviceTable)), page(Viewer, http.MethodGet, "/updates/{update}", "update_show", s.updateShow))
}

// updateShowView is everything about one update.
type updateShowView struct {
	client.UpdateDetail
	Flags      []updateFlag
	Group      string
	Removal    string
	Probe      string
	Requires   []updateRequirement
	Scopes     []updateScope
	Excepted   []updateException
	Newer      *client.UpdateRow  // by which it is superseded
	Older      []client.UpdateRow // which it supersedes
	Live       updateLiveView
	Stream     string // where it is told what happens
	Chart      string
	Table      Table
	Agreements []decideAgreement
	Packages   []client.PackageRow
	MayAct     bool
	MayAccept  bool // acceptance counts for the whole installation
	MayHistory bool // the ledger shows the whole installation
	CanPack    bool
	CanBack    bool // some device has it
	Declined   bool // the person may make an exception from a decline
	Groups     []client.GroupRow
}

type updateRequirement struct{ Application, Version, Href string }

// updateScope is a decision with the name of its scope.
type updateScope struct {
	approval.Decision
	ScopeName, Reach string
	Other            string // the version it was decided for, if it is another that reaches this one
	Expired          bool
	Stale            bool // files came since: they are not covered
	Undo             string
	MayExcept        bool
}

type updateException struct {
	approval.Exception
	ScopeName string
	Expired   bool
	MayEnd    bool
}

func (s *server) updateShow(v *Visit) (updateShowView, error) {
	u, err := s.Decide.Get(v.Context(), v.Who(), v.Path("update"), string(v.Group().ID))
	if err != nil {
		return updateShowView{}, err
	}
	v.Title, v.Crumbs = u.Name+" "+u.Version, []Crumb{{"Updates", "/updates"}}
	view := updateShowView{UpdateDetail: u, Group: v.Group().Name, MayAct: v.May(Approver), MayHistory: v.May(ViewerOfAll), MayAccept: mayAccept(v), Groups: v.Groups(), CanBack: u.Installed > 0}
	view.CanPack = mayAccept(v) && u.Published != nil && u.Class != catalog.Content
	view.Flags = updateFlags(u.UpdateRow)
	view.publication()
	view.decided(v)
	if err := s.updateRelatives(v, &view); err != nil {
		return view, err
	}
	view.chart()
	if view.Live, err = s.updateLiveOf(v, u); err != nil {
		return view, err
	}
	view.Stream = updateHref(string(u.ID)) + "/stream?" + url.Values{"group": {string(v.Group().ID)}}.Encode()
	p, err := paging(v)
	if err != nil {
		return view, err
	}
	if view.Table, err = updateDevices(v, u, p); err != nil {
		return view, err
	}
	return view, s.updateParts(v, &view)
}

// publication puts what a feed says of it into words.
func (view *updateShowView) publication() {
	p := view.Published
	if p == nil {
		return
	}
	view.Removal = "can be uninstalled"
	if !p.Removal.Removable {
		view.Removal = strings.TrimSuffix("cannot be uninstalled: "+p.Removal.Reason, ": ")
	}
	if pr := p.Probe; pr != nil {
		view.Probe = strings.Join(given([]string{string(pr.Type), pr.Unit, pr.Path, portOf(pr.Port)}), " ")
	}
	for _, r := range p.Requires {
		view.Requires = append(view.Requires, updateRequirement{r.Application, r.Version, "/updates?search=" + url.QueryEscape(r.Application)})
	}
}

func portOf(port int) string {
	if port == 0 {
		return ""
	}
	return "port " + strconv.Itoa(port)
}

// decided lists the decisions and exceptions that concern the person's part of the tree, the outermost scope first.
func (view *updateShowView) decided(v *Visit) {
	now := time.Now()
	for _, d := range view.Decisions {
		row := updateScope{Decision: d, ScopeName: scopeNamed(v, string(d.Scope)), Reach: reachText(d.Reach), Expired: !d.Expires.IsZero() && !d.Expires.After(now)}
		if d.Update != view.ID {
			row.Other = d.Release.Version
		}
		row.Stale = d.Update == view.ID && d.Status == approval.Approved && d.Rev < view.Rev
		if view.MayAct && d.Update == view.ID && inScope(v, d.Scope) {
			row.Undo = "/updates/decide?" + url.Values{"status": {"undefined"}, "select": {string(view.ID)}, "scope": {string(d.Scope)}, "back": {updateHref(string(view.ID))}}.Encode()
		}
		row.MayExcept = view.MayAct && d.Status == approval.Declined && !row.Expired && inScope(v, d.Scope)
		view.Declined = view.Declined || row.MayExcept
		view.Scopes = append(view.Scopes, row)
	}
	for _, e := range view.Exceptions {
		view.Excepted = append(view.Excepted, updateException{e, scopeNamed(v, string(e.Scope)), !e.Expires.After(now), view.MayAct && inScope(v, e.Scope)})
	}
}

func inScope(v *Visit, group fleet.GroupID) bool {
	return slices.ContainsFunc(v.Groups(), func(g client.GroupRow) bool { return g.ID == group })
}

func reachText(r approval.Reach) string {
	switch {
	case r.Through != "":
		return "through " + r.Through
	case r.Later:
		return "all later"
	}
	return ""
}

// updateRelatives finds the releases around it: what it is superseded by, and what it supersedes.
func (s *server) updateRelatives(v *Visit, view *updateShowView) error {
	list, err := s.Decide.List(v.Context(), v.Who(), client.Filter{Search: view.Name, Group: string(v.Group().ID)}, client.Page{Limit: 200, Sort: "-version"})
	if err != nil {
		return err
	}
	for _, o := range list.Items {
		switch {
		case o.ID == view.SupersededBy:
			view.Newer = &o
		case o.SupersededBy == view.ID:
			view.Older = append(view.Older, o)
		}
	}
	if view.Newer == nil && view.SupersededBy != "" {
		view.Newer = &client.UpdateRow{ID: view.SupersededBy, Name: "a newer release"}
	}
	return nil
}

// chart draws the devices by installation state.
func (view *updateShowView) chart() {
	count := map[installation.State]int{}
	for _, d := range view.Devices {
		count[d.State]++
	}
	type series struct {
		Name  string `json:"name"`
		Type  string `json:"type"`
		Stack string `json:"stack"`
		Data  []int  `json:"data"`
	}
	var bars []series
	for _, state := range installation.States() {
		if n := count[state]; n > 0 {
			bars = append(bars, series{words(state), "bar", "all", []int{n}})
		}
	}
	if len(bars) < 2 {
		return
	}
	option, err := json.Marshal(map[string]any{"series": bars, "legend": map[string]any{"bottom": 0}, "tooltip": map[string]any{}, "grid": map[string]any{"top": 5, "bottom": 30, "left": 5, "right": 5},
		"xAxis": map[string]any{"type": "value", "show": false}, "yAxis": map[string]any{"type": "category", "data": []string{""}, "show": false}})
	if err == nil {
		view.Chart = string(option)
	}
}

// updateDeviceTable is the list of devices on an update's page as data.
func (s *server) updateDeviceTable(v *Visit, p client.Page) (Table, error) {
	u, err := s.Decide.Get(v.Context(), v.Who(), v.Path("update"), string(v.Group().ID))
	if err != nil {
		return Table{}, err
	}
	return updateDevices(v, u, p)
}

// updateDevices is the list of devices on an update's page, narrowed by state and name.
func updateDevices(v *Visit, u client.UpdateDetail, p client.Page) (Table, error) {
	state, search := v.Query().Get("state"), v.Query().Get("search")
	rows := slices.DeleteFunc(slices.Clone(u.Devices), func(d client.DeviceUpdate) bool {
		return state != "" && string(d.State) != state || !hasWords(d.DeviceName+" "+d.Group, search)
	})
	total := len(rows)
	rows, next, err := slicePage(rows, p)
	if err != nil {
		return Table{}, err
	}
	t := Table{ID: "devices", One: "device", Many: "devices", Total: total, Next: next, Search: "device or group", Export: true, Data: updateHref(string(u.ID)) + "/devices", Filters: []Filter{{Key: "state", Label: "State", Options: options(installation.States()...)}},
		Columns: []Column{{Key: "device", Label: "Device"}, {Key: "group", Label: "Group", Wide: true}, {Key: "state", Label: "State"}, {Key: "verdict", Label: "Verdict", Wide: true},
			{Key: "from", Label: "Has", Wide: true}, {Key: "since", Label: "Since", Wide: true}, {Key: "detail", Label: "Detail"}, {Key: "why", Label: "Why?"}},
		Empty: Empty{Text: "No device here needs it or has it."}}
	t.Rows = mapped(rows, standingRow)
	return t.finish(v)
}

// standingRow is where an update stands on a device; Why? answers why.
func standingRow(d client.DeviceUpdate) Row {
	href := deviceHref(d.Device)
	return Row{ID: string(d.Device), Label: d.DeviceName, Href: href, Value: d, Cells: []Cell{linked(d.DeviceName, href), plain(d.Group), stateCell(d), {Text: verdictWord(d.Verdict), Tone: verdictTone(d.Verdict)}, plain(d.From),
		moment(d.Since), plain(deviceRemark(d)), linked("Why?", whyHref(d))}}
}

func stateCell(d client.DeviceUpdate) Cell {
	c := badge(string(d.State))
	if d.Overdue {
		c.Sub = "overdue"
	}
	return c
}

// deviceRemark is what there is to say about a state.
func deviceRemark(d client.DeviceUpdate) string {
	var parts []string
	if d.Against {
		parts = append(parts, "installed though declined")
	}
	if d.Cause != "" {
		parts = append(parts, words(d.Cause))
	}
	if d.Detail != "" {
		parts = append(parts, d.Detail)
	}
	if would := wouldFail(d.Rehearsed); would != "" {
		parts = append(parts, would)
	}
	if len(d.Needs) > 0 {
		parts = append(parts, "needs "+strings.Join(d.Needs, ", "))
	}
	if d.How != "" && d.How != "assent" {
		parts = append(parts, "came "+d.How)
	}
	return strings.Join(parts, "; ")
}

// updateParts finds the agreements of an update and the installation packages made from it.
func (s *server) updateParts(v *Visit, view *updateShowView) error {
	if view.Published == nil {
		return nil
	}
	list, err := s.Decide.Agreements(v.Context(), v.Who(), string(view.ID))
	if err != nil {
		return err
	}
	for _, a := range list.Items {
		one := decideAgreement{AgreementRow: a}
		if one.Read, err = s.agreementTexts(v, string(view.ID), a); err != nil {
			one.Read = []client.AgreementText{{Language: "en", Text: fmt.Sprintf("The text cannot be shown now. %s", refusalText(err))}}
		}
		view.Agreements = append(view.Agreements, one)
	}
	packages, err := s.Packages.Packages(v.Context(), v.Who())
	if err != nil {
		return err
	}
	for _, p := range packages.Items {
		if p.Update.ID == view.ID {
			view.Packages = append(view.Packages, p)
		}
	}
	return nil
}
