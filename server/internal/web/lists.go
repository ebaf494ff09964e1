package web

import (
	"strings"
	"time"

	"assent/client"
)

// listRoutes are the exports of lists that their pages show in another form, or whole.
func (s *server) listRoutes() []Route {
	var out []Route
	for pattern, list := range map[string]struct {
		need Need
		of   func(*Visit) (Table, error)
	}{
		"/exceptions":  {Viewer, s.exceptionTable},
		"/deployments": {Viewer, s.deploymentTable},
		"/access":      {Viewer, s.accessTable},
		"/enrol":       {Administrator, s.tokenTable},
		"/agreements":  {Viewer, func(v *Visit) (Table, error) { view, err := s.agreementsPage(v); return view.Table, err }},
		"/packages":    {Viewer, func(v *Visit) (Table, error) { view, err := s.packagesPage(v); return view.Table, err }},
		"/feeds":       {AdministratorOfAll, func(v *Visit) (Table, error) { view, err := s.feedsPage(v); return view.Table, err }},
	} {
		out = append(out, s.exports(list.need, pattern, whole(list.of))...)
	}
	return out
}

// whole makes pages of a list that is given whole.
func whole(of func(*Visit) (Table, error)) func(*Visit, client.Page) (Table, error) {
	return func(v *Visit, p client.Page) (Table, error) {
		t, err := of(v)
		if err != nil {
			return t, err
		}
		t.Rows, t.Next, err = slicePage(t.Rows, p)
		return t, err
	}
}

// data is a table that is only exported.
func data[T any](many string, items []T, columns []string, cells func(T) []Cell) Table {
	t := Table{ID: "data", Many: many, Columns: mapped(columns, func(label string) Column { return Column{Key: label, Label: label} })}
	t.Rows = mapped(items, func(one T) Row { return Row{Value: one, Cells: cells(one)} })
	return t
}

func (s *server) exceptionTable(v *Visit) (Table, error) {
	list, err := s.Decide.Exceptions(v.Context(), v.Who())
	return data("exceptions", list.Items, []string{"Act", "Update", "Version", "In the group", "From the decline", "By", "When", "Until", "Expired", "Reason"}, func(e client.ExceptionRow) []Cell {
		return []Cell{number(e.Act), plain(e.Name), plain(e.Version), plain(e.ScopeName), number(e.Decline), plain(e.By), moment(e.At), moment(e.Expires), plain(yes(e.Expired)), plain(e.Reason)}
	}), err
}

func (s *server) deploymentTable(v *Visit) (Table, error) {
	list, err := s.Decide.Deployments(v.Context(), v.Who())
	return data("deployments", list.Items, []string{"Act", "Update", "Version", "Package", "Group", "Devices", "By", "When", "Reason", "Meant", "Have it", "Under way", "Blocked", "Waiting"}, func(d client.DeployRow) []Cell {
		return []Cell{number(d.Act.Act), plain(d.Update.Name), plain(d.Update.Version), plain(d.Package), plain(d.Group), plain(strings.Join(d.Names, " ")), plain(d.By), moment(d.At), plain(d.Reason),
			number(d.Total), number(d.Done), number(d.Pending), number(d.Blocked), number(d.Waiting)}
	}), err
}

func (s *server) accessTable(v *Visit) (Table, error) {
	list, err := s.Roster.Accesses(v.Context(), v.Who())
	return data("access tokens", list.Items, []string{"Id", "Operator", "Note", "Once", "Until", "Last used"}, func(a client.AccessRow) []Cell {
		return []Cell{plain(a.ID), plain(a.Operator), plain(a.Note), plain(yes(a.OneTime)), moment(a.Expires), moment(a.LastUsed)}
	}), err
}

func (s *server) tokenTable(v *Visit) (Table, error) {
	list, err := s.Roster.Tokens(v.Context(), v.Who())
	now := time.Now()
	return data("enrolment tokens", list.Items, []string{"Id", "Group", "Uses", "Used", "Until", "State", "By", "Note"}, func(t client.TokenRow) []Cell {
		return []Cell{plain(t.ID), plain(t.Group), number(t.Uses), number(t.Used), moment(t.Expires), plain(tokenRowOf(t, now).Word), plain(t.By), plain(t.Note)}
	}), err
}
