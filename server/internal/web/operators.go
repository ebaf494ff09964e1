package web

import (
	"fmt"
	"net/http"
	"net/url"

	"assent/client"
	"assent/fault"
	"assent/ledger"
	"assent/server/internal/signin"
)

// operatorRoutes are the part of the table about the people and programs that may use Assent.
func (s *server) operatorRoutes() []Route {
	return []Route{
		page(AdministratorOfAll, http.MethodGet, "/operators", "operators", s.operatorsPage),
		page(AdministratorOfAll, http.MethodGet, "/operators/edit", "operators_edit", s.operatorPage), // ?name=
		confirmed(act(AdministratorOfAll, "/operators/set", s.setOperator)),
		confirmed(act(AdministratorOfAll, "/operators/remove", s.removeOperator)),
		act(AdministratorOfAll, "/operators/sign-out", s.signOutOperator),
		confirmed(act(AdministratorOfAll, "/operators/password/remove", s.removeOperatorPassword)),
		confirmed(act(AdministratorOfAll, "/operators/passkey/remove", s.removeOperatorPasskey)),
	}
}

// operatorExports are the list of operators as data.
func (s *server) operatorExports() []Route {
	return s.exports(AdministratorOfAll, "/operators", s.operatorTable)
}

func operatorHref(name string) string {
	return "/operators/edit?" + url.Values{"name": {name}}.Encode() // a name may be "..", which a path cannot have
}

func roles() []Option {
	return []Option{{string(ledger.Viewer), "viewer: sees"}, {string(ledger.Approver), "approver: also approves and declines"},
		{string(ledger.Administrator), "administrator: also changes devices, groups and operators"}}
}

// operatorsView is the list of operators and the form for another one.
type operatorsView struct {
	Table  Table
	Roles  []Option
	Groups []client.GroupRow
}

func (s *server) operatorsPage(v *Visit) (operatorsView, error) {
	v.Title = "Operators and tokens"
	p, err := paging(v)
	if err != nil {
		return operatorsView{}, err
	}
	t, err := s.operatorTable(v, p)
	return operatorsView{Table: t, Roles: roles(), Groups: v.Groups()}, err
}

// operatorTable is one page of the list of operators.
func (s *server) operatorTable(v *Visit, p client.Page) (Table, error) {
	list, err := s.Roster.Operators(v.Context(), v.Who())
	if err != nil {
		return Table{}, err
	}
	rows, next, err := slicePage(list.Items, p)
	if err != nil {
		return Table{}, err
	}
	t := Table{ID: "operators", One: "operator", Many: "operators", Total: len(list.Items), Next: next, Export: true,
		Columns: []Column{{Key: "name", Label: "Name"}, {Key: "role", Label: "Role"}, {Key: "scope", Label: "In the group"}, {Key: "tokens", Label: "Access tokens", Number: true}},
		Rows: mapped(rows, func(o client.OperatorRow) Row {
			href := operatorHref(o.Name)
			return Row{ID: o.Name, Label: o.Name, Href: href, Value: o, Cells: []Cell{linked(o.Name, href), plain(string(o.Role)), plain(o.ScopeName).to(groupHref(o.Scope)), number(o.Accesses)}}
		})}
	return t.finish(v)
}

// operatorView is one operator with the forms that change them.
type operatorView struct {
	client.OperatorRow
	Roles    []Option
	Groups   []client.GroupRow
	Self     bool
	Ways     signin.Ways
	Sessions int
}

func (s *server) operatorPage(v *Visit) (operatorView, error) {
	o, err := s.operator(v, v.Query().Get("name"))
	if err != nil {
		return operatorView{}, err
	}
	v.Title, v.Crumbs = o.Name, []Crumb{{"Operators and tokens", "/operators"}}
	view := operatorView{OperatorRow: o, Roles: roles(), Groups: v.Groups(), Self: o.Name == v.Who().Name}
	if view.Ways, err = s.SignIn.Ways(v.Context(), o.Name); err != nil {
		return view, err
	}
	list, err := s.SignIn.List(v.Context(), o.Name)
	view.Sessions = len(list)
	return view, err
}

// signOutOperator signs an operator out everywhere. It takes power away, so it asks for nothing more.
func (s *server) signOutOperator(v *Visit) (string, error) {
	name := v.Form("name")
	done, err := s.SignIn.EndAll(v.Context(), v.Who(), name, v.session.Key)
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("%s is signed out everywhere. Access tokens still count.", name), Link: actLink(v, done.Act)})
	return operatorHref(name), nil
}

func (s *server) removeOperatorPassword(v *Visit) (string, error) {
	name := v.Form("name")
	done, err := s.SignIn.RemovePassword(v.Context(), v.Who(), name, v.session.Key)
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("The password of %s is removed, and they are signed out.", name), Link: actLink(v, done.Act)})
	return operatorHref(name), nil
}

func (s *server) removeOperatorPasskey(v *Visit) (string, error) {
	name := v.Form("name")
	done, err := s.SignIn.RemovePasskey(v.Context(), v.Who(), name, v.Form("id"), v.session.Key)
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("A passkey of %s is removed, and they are signed out.", name), Link: actLink(v, done.Act)})
	return operatorHref(name), nil
}

func (s *server) operator(v *Visit, name string) (client.OperatorRow, error) {
	list, err := s.Roster.Operators(v.Context(), v.Who())
	for _, o := range list.Items {
		if o.Name == name {
			return o, nil
		}
	}
	if err != nil {
		return client.OperatorRow{}, err
	}
	return client.OperatorRow{}, fault.New(fault.NotFound, "operator_unknown", "There is no operator %.80q.", name).On("name")
}

// setOperator adds or changes an operator. The form for another one says so, so that it does not change one who
// is there already.
func (s *server) setOperator(v *Visit) (string, error) {
	name := v.Form("name")
	old, err := s.operator(v, name)
	if fresh := v.Form("fresh") != ""; fresh && err == nil {
		return "", fault.New(fault.Conflict, "operator_exists", "There is an operator %q already.", old.Name).On("name")
	} else if !fresh && err != nil {
		return "", err
	}
	o, err := s.Roster.SetOperator(v.Context(), v.Who(), client.OperatorRequest{Name: name, Role: ledger.Role(v.Form("role")), Scope: v.Form("scope")})
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("%s is %s in %s.", o.Name, o.Role, o.ScopeName)})
	return operatorHref(o.Name), nil
}

// removeOperator removes an operator with all access tokens, which cannot be undone: it must be said twice.
func (s *server) removeOperator(v *Visit) (string, error) {
	if v.Form("sure") != "yes" {
		return "", fault.New(fault.Invalid, "not_confirmed", "Tick that you mean it: the operator's access tokens end too.").On("sure")
	}
	done, err := s.Roster.RemoveOperator(v.Context(), v.Who(), v.Form("name"))
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("Removed %s with all access.", v.Form("name")), Link: actLink(v, done.Act)})
	return "/operators", nil
}
