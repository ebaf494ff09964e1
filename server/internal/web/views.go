package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"assent/client"
	"assent/fault"
)

// viewRoutes are the part of the table about saved views of lists.
func (s *server) viewRoutes() []Route {
	return []Route{
		fragment(Viewer, http.MethodGet, "/views", "views", s.viewsPage),
		act(Viewer, "/views", s.saveView),
		act(Viewer, "/views/{view}/delete", s.deleteView),
	}
}

// savedViews is the menu of a list's saved views, and the form that saves the list as it is shown now.
type savedViews struct {
	List, Query string
	Views       []savedView
	MayShare    bool
}

type savedView struct {
	client.ViewRow
	Href      string
	MayDelete bool
}

// viewPath is the page of a list. The list of updates has its own page for what feeds publish.
func viewPath(list, query string) string {
	path := "/" + list
	q, err := url.ParseQuery(query)
	if err == nil && list == "updates" && q.Get("view") == client.Seamless {
		path += "/seamless"
		q.Del("view")
		query = q.Encode()
	}
	if query != "" {
		path += "?" + query
	}
	return path
}

func (s *server) viewsPage(v *Visit) (savedViews, error) {
	list := v.Query().Get("list")
	if !slices.Contains(client.ViewLists(), list) {
		return savedViews{}, fault.New(fault.Invalid, "list_unknown", "There are no views of %.40q.", list).On("list")
	}
	view := savedViews{List: list, Query: v.Query().Get("query"), MayShare: v.May(AdministratorOfAll)}
	v.Title, v.Crumbs = "Views", []Crumb{{words(list), viewPath(list, view.Query)}}
	all, err := s.Views.Views(v.Context(), v.Who(), list)
	if err != nil {
		return view, err
	}
	view.Views = mapped(all.Items, func(r client.ViewRow) savedView {
		return savedView{r, viewPath(r.List, r.Query), !r.Shared || view.MayShare}
	})
	return view, nil
}

func (s *server) saveView(v *Visit) (string, error) {
	saved, err := s.Views.SaveView(v.Context(), v.Who(), client.ViewRequest{Name: v.Form("name"), List: v.Form("list"), Query: v.Form("query"), Shared: v.Form("shared") != ""})
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("Saved the view %s.", saved.Name)
	if saved.Shared {
		text = fmt.Sprintf("Saved the view %s for everybody.", saved.Name)
	}
	v.Toast(Toast{Tone: "success", Text: text})
	return viewPath(saved.List, saved.Query), nil
}

func (s *server) deleteView(v *Visit) (string, error) {
	done, err := s.Views.DeleteView(v.Context(), v.Who(), v.Path("view"))
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: "Deleted the view.", Link: actLink(v, done.Act)})
	if list := v.Form("list"); slices.Contains(client.ViewLists(), list) {
		return viewPath(list, v.Form("query")), nil
	}
	return "/", nil
}
