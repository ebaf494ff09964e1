package web

import (
	"net/http"
	"net/url"
	"slices"

	"assent/approval"
	"assent/client"
	"assent/fault"
	"assent/fleet"
)

// groupRoutes are the part of the table about groups.
func (s *server) groupRoutes() []Route {
	return slices.Concat([]Route{
		page(Viewer, http.MethodGet, "/groups", "groups", s.groupsPage),
		page(Viewer, http.MethodGet, "/groups/{group}", "groups_one", s.groupPage),
		fragment(Viewer, http.MethodGet, "/groups/{group}/devices", "group_devices", s.groupDevices),
		act(Administrator, "/groups/create", s.createGroup),
		act(Administrator, "/groups/{group}/change", s.changeGroup),
		act(Administrator, "/groups/{group}/delete", s.deleteGroup),
	}, s.exports(Viewer, "/groups/{group}/decisions", s.groupDecisionTable), s.exports(Viewer, "/groups", s.groupTable))
}

func groupHref(id fleet.GroupID) string { return "/groups/" + url.PathEscape(string(id)) }

// groupTable is the tree of groups as data, parents before children.
func (s *server) groupTable(v *Visit, p client.Page) (Table, error) {
	return whole(func(v *Visit) (Table, error) {
		return data("groups", v.Groups(), []string{"Id", "Name", "Below", "Depth", "Devices", "With below", "Guard", "Test group", "Own decisions"}, func(g client.GroupRow) []Cell {
			return []Cell{plain(string(g.ID)), plain(g.Name), plain(string(g.Parent)), number(g.Depth), number(g.Devices), number(g.Below), plain(string(g.GuardHere)), plain(yes(g.Test)), number(g.Decisions)}
		}), nil
	})(v, p)
}

// groupNode is a group in the tree, with what is below it.
type groupNode struct {
	client.GroupRow
	Href     string
	Guarding string // its guard mode, and whence it comes
	Testing  string // whether its devices try things out first
	Children []groupNode
	Movable  bool // by the person, into another group
}

// groupsView is the tree of groups.
type groupsView struct {
	Tree      []groupNode
	Groups    []client.GroupRow // to choose a parent from
	Guards    []Option
	MayChange bool
}

func (s *server) groupsPage(v *Visit) (groupsView, error) {
	v.Title = "Groups"
	return groupsView{Tree: movable(v, treeOf(v.Groups())), Groups: v.Groups(), Guards: guardModes(), MayChange: v.May(Administrator)}, nil
}

// movable marks the groups that the person may move.
func movable(v *Visit, tree []groupNode) []groupNode {
	for i := range tree {
		g := &tree[i]
		g.Movable = v.May(Administrator) && g.ID != v.Who().Scope && g.Parent != ""
		movable(v, g.Children)
	}
	return tree
}

// treeOf makes a tree of rows that come parents before children. What has no parent among them is a top.
func treeOf(rows []client.GroupRow) []groupNode {
	below := map[fleet.GroupID][]client.GroupRow{}
	known := map[fleet.GroupID]bool{}
	var tops []client.GroupRow
	for _, g := range rows {
		if known[g.Parent] {
			below[g.Parent] = append(below[g.Parent], g)
		} else {
			tops = append(tops, g)
		}
		known[g.ID] = true
	}
	var node func(client.GroupRow) groupNode
	node = func(g client.GroupRow) groupNode {
		return groupNode{GroupRow: g, Href: groupHref(g.ID), Guarding: guardText(g), Testing: testText(rows, g), Children: mapped(below[g.ID], node)}
	}
	return mapped(tops, node)
}

// guardText is the guard mode that counts in a group and whence it comes.
func guardText(g client.GroupRow) string {
	mode := words(g.GuardHere)
	switch {
	case g.Guard != fleet.Inherit:
		return mode
	case g.Parent == "":
		return mode + " (default)"
	}
	return mode + " (inherited)"
}

// testText says whether a group's devices try things out first; the mark of a group counts for all below it.
func testText(rows []client.GroupRow, g client.GroupRow) string {
	if g.Test {
		return "test group"
	}
	for up := g; ; {
		i := slices.IndexFunc(rows, func(o client.GroupRow) bool { return o.ID == up.Parent })
		if i < 0 || up.Parent == "" {
			return ""
		}
		if up = rows[i]; up.Test {
			return "test group (inherited)"
		}
	}
}

// guardModes are what a group's guard can be set to. "inherit" stands for the parent's mode.
func guardModes() []Option {
	return []Option{{"inherit", "as the group above"}, {string(fleet.Observe), "observe: report only"},
		{string(fleet.BlockDeclined), "block declined: refuse declined and swapped content"}, {string(fleet.ApprovedOnly), "approved only: refuse whatever was not approved"}}
}

// guardMode reads the choice of a form; nil if there is none.
func guardMode(choice string) *fleet.GuardMode {
	switch choice {
	case "":
		return nil
	case "inherit":
		choice = ""
	}
	m := fleet.GuardMode(choice)
	return &m
}

// guardChoice is a mode as the form spells it.
func guardChoice(m fleet.GuardMode) string {
	if m == fleet.Inherit {
		return "inherit"
	}
	return string(m)
}

// groupView is one group: what counts in it, and the forms that change it.
type groupView struct {
	client.GroupRow
	Guarding, Testing  string
	Parent, ParentHref string // the group above, if the person sees it
	Children           []groupNode
	Devices            string // the list of its devices
	Here               string
	Decisions          Table
	MayChange          bool
	MayMove            bool
	Parents            []client.GroupRow // where it may go
	Guards             []Option
	Guard              string // as the form spells it
	Test               string
}

func (s *server) groupPage(v *Visit) (groupView, error) {
	g, err := seenGroup(v)
	if err != nil {
		return groupView{}, err
	}
	v.Title, v.Crumbs = g.Name, append([]Crumb{{"Groups", "/groups"}}, groupsAbove(v.Groups(), g)...)
	view := groupView{GroupRow: g, Guarding: guardText(g), Testing: testText(v.Groups(), g), Here: groupHref(g.ID), Devices: "/devices?group=" + url.QueryEscape(string(g.ID)),
		MayChange: v.May(Administrator), Guards: guardModes(), Guard: guardChoice(g.Guard), Test: yes(g.Test)}
	if above := groupsAbove(v.Groups(), g); len(above) > 0 {
		view.Parent, view.ParentHref = above[len(above)-1].Label, above[len(above)-1].Href
	}
	inside := subtree(v.Groups(), g.ID)
	for _, o := range v.Groups() {
		if !inside[o.ID] {
			view.Parents = append(view.Parents, o)
		}
	}
	view.MayMove = view.MayChange && g.ID != v.Who().Scope && g.Parent != ""
	for _, n := range treeOf(slices.DeleteFunc(slices.Clone(v.Groups()), func(o client.GroupRow) bool { return !inside[o.ID] })) {
		view.Children = n.Children
	}
	p, err := paging(v)
	if err != nil {
		return view, err
	}
	view.Decisions, err = s.groupDecisions(v, g, p)
	return view, err
}

// seenGroup is the group that the address names, if the person sees it.
func seenGroup(v *Visit) (client.GroupRow, error) {
	for _, g := range v.Groups() {
		if string(g.ID) == v.Path("group") {
			return g, nil
		}
	}
	return client.GroupRow{}, fault.New(fault.NotFound, "group_unknown", "There is no group %.80q, or you may not see it.", v.Path("group")).On("group")
}

// groupsAbove is the way from the top of what the person sees to a group.
func groupsAbove(rows []client.GroupRow, g client.GroupRow) []Crumb {
	var out []Crumb
	for {
		i := slices.IndexFunc(rows, func(o client.GroupRow) bool { return o.ID == g.Parent })
		if i < 0 || g.Parent == "" {
			slices.Reverse(out)
			return out
		}
		g = rows[i]
		out = append(out, Crumb{g.Name, groupHref(g.ID)})
	}
}

// subtree is a group with all below it.
func subtree(rows []client.GroupRow, top fleet.GroupID) map[fleet.GroupID]bool {
	in := map[fleet.GroupID]bool{top: true}
	for _, g := range rows { // parents come first
		if in[g.Parent] {
			in[g.ID] = true
		}
	}
	return in
}

// groupDecisionTable is what counts in a group as data.
func (s *server) groupDecisionTable(v *Visit, p client.Page) (Table, error) {
	g, err := seenGroup(v)
	if err != nil {
		return Table{}, err
	}
	return s.groupDecisions(v, g, p)
}

// groupDecisions are the updates on which somebody decided for a group, in it or above it: what counts there.
func (s *server) groupDecisions(v *Visit, g client.GroupRow, p client.Page) (Table, error) {
	if p.Sort == "" {
		p.Sort = "inherited"
	}
	f := client.Filter{Group: string(g.ID), Search: v.Query().Get("search"), Status: []approval.Status{approval.Approved, approval.Declined}}
	if chosen, err := oneOf(v.Query(), "status", f.Status...); err != nil {
		return Table{}, err
	} else if len(chosen) > 0 {
		f.Status = chosen
	}
	list, err := s.Decide.List(v.Context(), v.Who(), f, p)
	if err != nil {
		return Table{}, err
	}
	t := Table{ID: "decisions", One: "update", Many: "updates", Total: list.Total, Next: list.Next, Search: "name or version", Sort: "inherited", Export: true, Data: groupHref(g.ID) + "/decisions",
		Filters: []Filter{{Key: "status", Label: "Status", Options: options(approval.Approved, approval.Declined)}},
		Columns: []Column{{Key: "name", Label: "Update", Sorts: true}, {Key: "status", Label: "Status", Sorts: true}, {Key: "inherited", Label: "Decided", Sorts: true},
			{Key: "severity", Label: "Severity", Sorts: true, Wide: true}, {Key: "exceptions", Label: "Exceptions", Sorts: true, Number: true, Wide: true},
			{Key: "needed", Label: "Could take it", Sorts: true, Number: true, Wide: true}, {Key: "installed", Label: "Have it", Sorts: true, Number: true, Wide: true}},
		Empty: Empty{Text: "Nobody decided on an update for this group, neither here nor above."}}
	t.Rows = mapped(list.Items, groupDecisionRow)
	return t.finish(v)
}

func groupDecisionRow(u client.UpdateRow) Row {
	where := "here"
	if u.Inherited {
		where = "inherited"
	}
	href := updateHref(string(u.ID))
	return Row{ID: string(u.ID), Label: u.Name, Href: href, Value: u, Cells: []Cell{linked(u.Name, href).with(u.Version), badge(string(u.Status)), plain(where),
		badge(string(u.Severity)), number(u.Exceptions), number(u.Needed), number(u.Installed)}}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
