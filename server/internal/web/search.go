package web

import (
	"net/http"
	"net/url"
	"strings"

	"assent/client"
)

// searchRoutes are the part of the table about finding things by name.
func (s *server) searchRoutes() []Route {
	return []Route{
		page(Viewer, http.MethodGet, "/search", "search", s.searchPage),
		fragment(Viewer, http.MethodGet, "/palette", "palette", s.palette),
	}
}

// hitsEach is how many things of each sort a search shows.
const hitsEach = 8

// searchView is what was found, by sort of thing.
type searchView struct {
	Text  string
	Sorts []hits
}

type hits struct {
	Label string
	All   string // the whole list, if there is one
	Total int
	Items []hit
}

type hit struct{ Label, Sub, Href, Icon string }

func (s *server) searchPage(v *Visit) (searchView, error) {
	v.Title = "Search"
	return s.find(v)
}

// palette is the search of Ctrl-K.
func (s *server) palette(v *Visit) (searchView, error) {
	v.Title = "Search"
	return s.find(v)
}

// find looks for pages, updates, devices and groups by words.
func (s *server) find(v *Visit) (searchView, error) {
	view := searchView{Text: strings.TrimSpace(v.Query().Get("q"))}
	view.add(hits{Label: "Pages", Items: s.pagesNamed(v, view.Text)})
	if view.Text == "" {
		return view, nil
	}
	query := "?search=" + url.QueryEscape(view.Text)
	updates, err := s.Decide.List(v.Context(), v.Who(), client.Filter{Search: view.Text, Group: string(v.Group().ID)}, client.Page{Limit: hitsEach})
	if err != nil {
		return view, err
	}
	view.add(hits{Label: "Updates", All: "/updates" + query, Total: updates.Total, Items: mapped(updates.Items, func(u client.UpdateRow) hit {
		return hit{u.Name + " " + u.Version, words(u.Status), "/updates/" + url.PathEscape(string(u.ID)), "refresh"}
	})})
	devices, err := s.Roster.Devices(v.Context(), v.Who(), client.DeviceQuery{Search: view.Text, Group: string(v.Group().ID)}, client.Page{Limit: hitsEach})
	if err != nil {
		return view, err
	}
	view.add(hits{Label: "Devices", All: "/devices" + query, Total: devices.Total, Items: mapped(devices.Items, func(d client.DeviceRow) hit {
		return hit{d.Name, d.Group, "/devices/" + url.PathEscape(string(d.ID)), "devices"}
	})})
	view.add(hits{Label: "Groups", Items: groupsNamed(v.Groups(), view.Text)})
	return view, nil
}

func (v *searchView) add(h hits) {
	if len(h.Items) > 0 {
		h.Total = max(h.Total, len(h.Items))
		v.Sorts = append(v.Sorts, h)
	}
}

// pagesNamed are the pages of the menu, and a few more, whose name has all words.
func (s *server) pagesNamed(v *Visit, text string) []hit {
	var out []hit
	for _, sec := range append(s.menuFor(v), section{"", []item{{Label: "My account", Icon: "user", Href: "/account"}}}) {
		for _, it := range sec.Items {
			if hasWords(it.Label+" "+sec.Label, text) {
				out = append(out, hit{it.Label, sec.Label, it.Href, it.Icon})
			}
		}
	}
	return out
}

func groupsNamed(groups []client.GroupRow, text string) []hit {
	var out []hit
	for _, g := range groups {
		if hasWords(g.Name, text) && len(out) < hitsEach {
			out = append(out, hit{g.Name, plural(g.Below, "device", "devices"), "/?group=" + url.QueryEscape(string(g.ID)), "sitemap"})
		}
	}
	return out
}

func hasWords(name, text string) bool {
	name = strings.ToLower(name)
	for word := range strings.FieldsSeq(strings.ToLower(text)) {
		if !strings.Contains(name, word) {
			return false
		}
	}
	return true
}
