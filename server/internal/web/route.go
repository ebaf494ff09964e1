package web

import (
	"net/http"

	"assent/server/internal/auth"
)

// Need is the policy of a route.
type Need = auth.Need

// The policies.
const (
	Public             = auth.Public
	Viewer             = auth.Viewer
	Approver           = auth.Approver
	Administrator      = auth.Administrator
	ViewerOfAll        = auth.ViewerOfAll
	AdministratorOfAll = auth.AdministratorOfAll
)

// Route is one line of the table: data, so that tests can call every route with every role.
type Route struct {
	Need    Need
	Method  string
	Pattern string // as of http.ServeMux, without the method
	Name    string // of the template; empty for what is no page

	bare bool // the template stands alone, without the layout around it: a fragment
	raw  bool // the body is not a form
	// confirm: the person must have proved lately who they are; see confirmed.
	confirm bool
	sample  any // the zero value of the template's view
	serve   func(*server, http.ResponseWriter, *Visit) error
}

// page makes a line of the table that shows the template templates/NAME.html with the view V that the handler
// returns, inside the layout. A page that answers a form (POST) shows what would happen or what is wrong; an act
// that succeeded redirects instead (see act).
func page[V any](need Need, method, pattern, name string, handle func(*Visit) (V, error)) Route {
	var zero V
	r := Route{Need: need, Method: method, Pattern: pattern, Name: name, sample: zero}
	r.serve = func(s *server, w http.ResponseWriter, v *Visit) error {
		view, err := handle(v)
		if err != nil {
			return err
		}
		return s.show(w, v, name, view, http.StatusOK)
	}
	return r
}

// fragment is a piece that script puts into a page. To whoever asks for it without script it is a page of its own.
func fragment[V any](need Need, method, pattern, name string, handle func(*Visit) (V, error)) Route {
	var zero V
	r := Route{Need: need, Method: method, Pattern: pattern, Name: name, sample: zero, bare: true}
	r.serve = func(s *server, w http.ResponseWriter, v *Visit) error {
		view, err := handle(v)
		if err != nil {
			return err
		}
		if v.Request.Header.Get("HX-Request") == "" {
			return s.show(w, v, name, view, http.StatusOK)
		}
		return s.showBare(w, v.Request, name, view)
	}
	return r
}

// act makes a line of the table that does something and then sends the browser to the address it returns
// (303 See Other), which must be a path of this console. What it did is told there by v.Toast.
func act(need Need, pattern string, handle func(*Visit) (to string, err error)) Route {
	return Route{Need: need, Method: http.MethodPost, Pattern: pattern, serve: func(_ *server, w http.ResponseWriter, v *Visit) error {
		to, err := handle(v)
		if err != nil {
			return err
		}
		for _, c := range v.cookies {
			http.SetCookie(w, c)
		}
		redirect(w, v.Request, local(to))
		return nil
	}}
}

// answer makes a line of the table whose handler writes its answer itself: files, exports, event streams. It
// must not have written anything when it returns an error.
func answer(need Need, method, pattern string, handle func(http.ResponseWriter, *Visit) error) Route {
	return Route{Need: need, Method: method, Pattern: pattern, serve: func(_ *server, w http.ResponseWriter, v *Visit) error { return handle(w, v) }}
}

// redirect sends the browser on, also when htmx asks.
func redirect(w http.ResponseWriter, r *http.Request, to string) {
	if r.Header.Get("HX-Request") != "" {
		w.Header().Set("HX-Redirect", to)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}
