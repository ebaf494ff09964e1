package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/server/internal/auth"
)

// Visit is one request of a person: who asks, for what, seen from where. Handlers get it, and say through it what
// the page is called and what the person should be told.
type Visit struct {
	Request *http.Request
	Session auth.Session // zero on public routes

	Title  string  // of the page; set by its handler
	Crumbs []Crumb // of the pages above it, the outermost first; set by its handler

	session *session // nil on public routes
	groups  []client.GroupRow
	group   client.GroupRow
	cookies []*http.Cookie // set with the answer of an act
}

// Crumb is one step of the way to a page.
type Crumb struct{ Label, Href string }

// Context is the request's.
func (v *Visit) Context() context.Context { return v.Request.Context() }

// Who is the person in their own scope: what services are asked with.
func (v *Visit) Who() auth.Actor { return v.Session.Actor }

// Path is the value of a wildcard in the route's pattern.
func (v *Visit) Path(name string) string { return v.Request.PathValue(name) }

// Query is the address's query.
func (v *Visit) Query() url.Values { return v.Request.URL.Query() }

// Form is the first value of a field of the posted form, without space around it.
func (v *Visit) Form(name string) string { return strings.TrimSpace(v.Request.PostForm.Get(name)) }

// Fields are all values of a field of the posted form.
func (v *Visit) Fields(name string) []string { return v.Request.PostForm[name] }

// Number is a whole number from the query; 0 if it is missing.
func (v *Visit) Number(name string) (int64, error) {
	text := v.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fault.New(fault.Invalid, "number_invalid", "%.80q is not a whole number.", text).On(name)
	}
	return n, nil
}

// Group is the group from which the person looks: the query's "group", else the one chosen in the top bar, else
// the top of their scope. Services are given its id.
func (v *Visit) Group() client.GroupRow { return v.group }

// Groups is the person's part of the tree, parents before children.
func (v *Visit) Groups() []client.GroupRow { return v.groups }

// Within is the person with their role narrowed to the group they look from: for figures of that group. Only
// reading is done with it, so that the ledger never shows a scope that the operator does not have.
func (v *Visit) Within(group fleet.GroupID) auth.Actor {
	a := v.Session.Actor
	if slices.ContainsFunc(v.groups, func(g client.GroupRow) bool { return g.ID == group }) {
		a.Scope = group
	}
	return a
}

// Toast tells the person something on the next page that they see, and keeps it in the log of the session.
func (v *Visit) Toast(t Toast) {
	if v.session != nil {
		v.session.toast(t)
	}
}

// May tells whether the person's role suffices for a need: for what a page offers. The route is checked anyway.
func (v *Visit) May(need Need) bool { return need.Admits(v.Session.Actor) == nil }

// groupCache keeps the trees that people see until something changes.
type groupCache struct {
	mu   sync.Mutex
	seq  uint64
	rows map[fleet.GroupID][]client.GroupRow // by the scope that they are seen from
}

// tree is the person's part of the tree of groups.
func (s *server) tree(ctx context.Context, who auth.Actor) ([]client.GroupRow, error) {
	seq := s.Changes.Seq()
	s.groups.mu.Lock()
	rows, ok := s.groups.rows[who.Scope]
	ok = ok && s.groups.seq == seq
	s.groups.mu.Unlock()
	if ok {
		return rows, nil
	}
	list, err := s.Roster.Groups(ctx, who)
	if err != nil {
		return nil, err
	}
	s.groups.mu.Lock()
	defer s.groups.mu.Unlock()
	if s.groups.seq != seq || s.groups.rows == nil {
		s.groups.seq, s.groups.rows = seq, map[fleet.GroupID][]client.GroupRow{}
	}
	s.groups.rows[who.Scope] = list.Items
	return list.Items, nil
}

// look finds out from which group the person looks.
func (s *server) look(v *Visit) error {
	rows, err := s.tree(v.Context(), v.Who())
	if err != nil {
		return err
	}
	v.groups = rows
	ref := v.Query().Get("group")
	named := ref != ""
	if !named {
		ref = v.session.group()
	}
	for _, g := range rows {
		if ref != "" && (string(g.ID) == ref || g.Name == ref) || ref == "" && g.ID == v.Who().Scope {
			v.group = g
			return nil
		}
	}
	if len(rows) > 0 {
		v.group = rows[0] // the chosen group is gone
	}
	if named {
		return fault.New(fault.NotFound, "group_unknown", "There is no group %.80q, or you may not see it.", ref).On("group")
	}
	return nil
}

// local is a path of this console: what leads elsewhere becomes "/". Browsers read "//host" and "/\host" as other
// sites.
func local(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Host != "" || u.Scheme != "" || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") {
		return "/"
	}
	return to
}

// withoutGroup is an address without its "group", so that the one chosen in the top bar counts.
func withoutGroup(to string) string {
	u, err := url.Parse(local(to))
	if err != nil {
		return "/"
	}
	q := u.Query()
	q.Del("group")
	q.Del("cursor")
	q.Del("from")
	u.RawQuery = q.Encode()
	return u.String()
}
