// Package views keeps saved views of lists: a name for a list's address query.
//
// Guarantees: one's own views are seen and changed by nobody else; those that an administrator shares are seen by
// everybody, and sharing and removing one is an act in the ledger; a view holds only parameters that its list knows, so
// a slip is told when it is saved and not by an empty list later.
//
// A view gives no rights: whoever opens it sees what they may see.
package views

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"assent/client"
	"assent/fault"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
)

// Limits.
const (
	maxName  = 64
	maxQuery = 4000
	maxViews = 200 // of one operator, and as many shared ones
)

// Store keeps the views of operators. What it wrote is durable when it returns nil; it is safe for concurrent use.
type Store interface {
	SaveView(ctx context.Context, operator string, v ledger.View) error
	Views(ctx context.Context, operator string) ([]ledger.View, error)
	DeleteView(ctx context.Context, operator, id string) (found bool, err error)
}

// Config is what New needs; only Log may stay empty.
type Config struct {
	Index *index.Index
	Store Store
	Log   *slog.Logger
}

// Service keeps views. It is safe for concurrent use.
type Service struct{ Config }

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Index == nil || c.Store == nil {
		return nil, errors.New("views need an index and a store")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{c}, nil
}

// parameters are what the address of each list may hold, besides what every list knows.
func parameters(list string) []string {
	all := map[string][]string{
		"updates": {"search", "status", "class", "severity", "origin", "security", "needed", "state", "superseded", "gated", "revoked", "installed", "changed", "agreements", "device", "view"},
		"devices": {"search", "state", "only", "here"},
		"queue":   {"state", "device", "cause", "overdue"},
		"events":  {"device", "update", "event"},
	}
	if all[list] == nil {
		return nil
	}
	return append(all[list], "group", "sort", "columns")
}

// Views lists the actor's own views and the shared ones, by name; of one list, if it is named.
func (s *Service) Views(ctx context.Context, who auth.Actor, list string) (client.List[client.ViewRow], error) {
	out := client.List[client.ViewRow]{Items: []client.ViewRow{}}
	if list != "" && parameters(list) == nil {
		return out, unknownList(list)
	}
	own, err := s.Store.Views(ctx, who.Name)
	if err != nil {
		return out, err
	}
	for _, v := range own {
		out.Items = append(out.Items, row(v, false))
	}
	s.Index.View(func(v *index.View) {
		for _, shared := range v.State().Views {
			out.Items = append(out.Items, row(shared, true))
		}
	})
	out.Items = slices.DeleteFunc(out.Items, func(r client.ViewRow) bool { return list != "" && r.List != list })
	slices.SortFunc(out.Items, func(a, b client.ViewRow) int {
		return cmp.Or(strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), strings.Compare(a.ID, b.ID))
	})
	out.Total = len(out.Items)
	return out, nil
}

func row(v ledger.View, shared bool) client.ViewRow {
	return client.ViewRow{ID: v.ID, Name: v.Name, List: v.List, Query: v.Query, Shared: shared, By: v.By, At: v.At}
}

// SaveView saves a view in the place of one with the same list and name.
func (s *Service) SaveView(ctx context.Context, who auth.Actor, r client.ViewRequest) (client.ViewRow, error) {
	v, err := check(r)
	if err != nil {
		return client.ViewRow{}, err
	}
	if r.Shared {
		return s.share(ctx, who, v)
	}
	own, err := s.Store.Views(ctx, who.Name)
	if err != nil {
		return client.ViewRow{}, err
	}
	if len(own) >= maxViews && !slices.ContainsFunc(own, func(o ledger.View) bool { return o.ID == v.ID }) {
		return client.ViewRow{}, tooMany()
	}
	v.By, v.At = who.Name, s.Index.Now().UTC()
	return row(v, false), s.Store.SaveView(ctx, who.Name, v)
}

// share makes the act of a shared view. An unchanged one is no act.
func (s *Service) share(ctx context.Context, who auth.Actor, v ledger.View) (client.ViewRow, error) {
	if err := who.CanAll(ledger.Administrator); err != nil {
		return client.ViewRow{}, err
	}
	v.ID = "s" + v.ID
	entry, err := s.Index.Act(ctx, who.Name, func(x *index.View) (ledger.Body, error) {
		old, there := x.State().Views[v.ID]
		switch {
		case there && old.Query == v.Query:
			return nil, nil
		case !there && len(x.State().Views) >= maxViews:
			return nil, tooMany()
		}
		return ledger.ViewShare{View: v}, nil
	})
	if err != nil {
		return client.ViewRow{}, err
	}
	if entry.Seq != 0 {
		s.Log.Info("view shared", "act", entry.Seq, "by", who.Name, "view", v.ID)
	}
	v.By, v.At = who.Name, entry.At
	return row(v, true), nil
}

// DeleteView deletes an own view, or a shared one as an act.
func (s *Service) DeleteView(ctx context.Context, who auth.Actor, id string) (client.Act, error) {
	found, err := s.Store.DeleteView(ctx, who.Name, id)
	if found || err != nil {
		return client.Act{}, err
	}
	entry, err := s.Index.Act(ctx, who.Name, func(v *index.View) (ledger.Body, error) {
		if _, shared := v.State().Views[id]; !shared {
			return nil, fault.New(fault.NotFound, "view_unknown", "There is no saved view %.80q.", id).On("view")
		}
		if err := who.CanAll(ledger.Administrator); err != nil {
			return nil, err
		}
		return ledger.ViewRemove{ID: id}, nil
	})
	if err == nil {
		s.Log.Info("shared view removed", "act", entry.Seq, "by", who.Name, "view", id)
	}
	return client.Act{Act: entry.Seq, At: entry.At}, err
}

// check reads a request: its name, its list, and the parameters that last.
func check(r client.ViewRequest) (ledger.View, error) {
	name := strings.TrimSpace(r.Name)
	if n := utf8.RuneCountInString(name); n == 0 || n > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return ledger.View{}, fault.New(fault.Invalid, "name_invalid", "A view has a name of 1 to %d printable characters.", maxName).On("name")
	}
	if name == client.Seamless {
		return ledger.View{}, fault.New(fault.Invalid, "name_taken", "%q is a view that is always there; choose another name.", name).On("name")
	}
	known := parameters(r.List)
	if known == nil {
		return ledger.View{}, unknownList(r.List)
	}
	q, err := url.ParseQuery(r.Query)
	if err != nil || len(r.Query) > maxQuery || !utf8.ValidString(r.Query) {
		return ledger.View{}, fault.New(fault.Invalid, "query_invalid", "The address of the list cannot be read, or is longer than %d characters.", maxQuery).On("query")
	}
	for _, page := range []string{"cursor", "from", "limit", "round", "after"} {
		q.Del(page) // where somebody was in the list is no part of it
	}
	for key, values := range q {
		if !slices.Contains(known, key) {
			return ledger.View{}, fault.New(fault.Invalid, "parameter_unknown", "The list of %s knows no parameter %.40q; it knows %s.", r.List, key, strings.Join(known, ", ")).On("query")
		}
		q[key] = slices.DeleteFunc(values, func(v string) bool { return v == "" })
	}
	sum := sha256.Sum256([]byte(r.List + "\x00" + name))
	return ledger.View{ID: "v" + hex.EncodeToString(sum[:6]), List: r.List, Name: name, Query: q.Encode()}, nil
}

func unknownList(list string) error {
	return fault.New(fault.Invalid, "list_unknown", "There are no views of %.40q; there are views of %s.", list, strings.Join(client.ViewLists(), ", ")).On("list")
}

func tooMany() error {
	return fault.New(fault.Conflict, "views_too_many", "There are %d views already; delete some first.", maxViews)
}
