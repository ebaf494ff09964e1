package web

import (
	"net/http"
	"slices"
	"strings"
)

// section is a part of the menu.
type section struct {
	Label string // empty: the items stand by themselves
	Items []item
}

// item is a line of the menu. It is there only for whom its page is.
type item struct {
	Label, Icon, Href string
	Need              Need // of its page; filled in from the route table
	Active            bool
}

// menu is the whole menu, in order. An item whose page is not in the route table is left out.
func menu() []section {
	return []section{
		{"", []item{{Label: "Overview", Icon: "home", Href: "/"}}},
		{"Applications", []item{
			{Label: "Seamless updates", Icon: "refresh", Href: "/updates/seamless"},
			{Label: "All updates", Icon: "apps", Href: "/updates"},
			{Label: "Exceptions", Icon: "shield-x", Href: "/exceptions"},
			{Label: "Agreements", Icon: "file-text", Href: "/agreements"},
			{Label: "Installation packages", Icon: "package", Href: "/packages"},
			{Label: "Deployments", Icon: "package-export", Href: "/deployments"},
			{Label: "Feeds", Icon: "rss", Href: "/feeds"},
		}},
		{"Operations", []item{
			{Label: "Tasks", Icon: "clock", Href: "/tasks"},
			{Label: "Rollouts", Icon: "player-pause", Href: "/rollouts"},
			{Label: "Rehearsals", Icon: "eye", Href: "/rehearsals"},
			{Label: "Queue", Icon: "list-check", Href: "/queue"},
			{Label: "Devices", Icon: "devices", Href: "/devices"},
			{Label: "Groups", Icon: "sitemap", Href: "/groups"},
			{Label: "Ledger", Icon: "book", Href: "/ledger"},
			{Label: "Events", Icon: "bell", Href: "/events"},
		}},
		{"Administration", []item{
			{Label: "Operators and tokens", Icon: "users", Href: "/operators"},
			{Label: "Access tokens", Icon: "key", Href: "/access"},
			{Label: "Notifications", Icon: "send", Href: "/channels"},
			{Label: "Enrol a device", Icon: "device-desktop-plus", Href: "/enrol"},
		}},
	}
}

// present keeps the items that have a page, with the page's need.
func present(all []section, routes []Route) []section {
	need := map[string]Need{}
	for _, r := range routes {
		if r.Method == http.MethodGet {
			need[strings.TrimSuffix(r.Pattern, "{$}")] = r.Need
		}
	}
	var out []section
	for _, sec := range all {
		var items []item
		for _, it := range sec.Items {
			if n, ok := need[it.Href]; ok {
				it.Need = n
				items = append(items, it)
			}
		}
		if len(items) > 0 {
			out = append(out, section{sec.Label, items})
		}
	}
	return out
}

// menuFor is the menu of a person, with the item marked whose page, or a page below it, is shown.
func (s *server) menuFor(v *Visit) []section {
	at, best := v.Request.URL.Path, ""
	for _, sec := range s.menu {
		for _, it := range sec.Items {
			if (at == it.Href || strings.HasPrefix(at, it.Href+"/")) && len(it.Href) > len(best) {
				best = it.Href
			}
		}
	}
	var out []section
	for _, sec := range s.menu {
		items := slices.DeleteFunc(slices.Clone(sec.Items), func(it item) bool { return !v.May(it.Need) })
		for i := range items {
			items[i].Active = items[i].Href == best
		}
		if len(items) > 0 {
			out = append(out, section{sec.Label, items})
		}
	}
	return out
}
