package web

import (
	"context"
	"errors"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"assent/fault"
	"assent/server/internal/auth"
	"assent/server/internal/reply"
)

// policy is the Content-Security-Policy of every page: nothing but our own files, no inline script or style.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; report-uri /csp-report; report-to csp"

// The refusals of this package.
var (
	errForeign  = fault.New(fault.Forbidden, "cross_origin", "A page of another site sent this request; it is refused.")
	errNoPage   = fault.New(fault.NotFound, "page_unknown", "There is no such page.")
	errNoMethod = fault.New(fault.Invalid, "method_not_allowed", "This address does not do that.")
	errForm     = fault.New(fault.Invalid, "form_unreadable", "The form cannot be read, or is larger than 1 MiB.")
	errSignedIn = fault.New(fault.Unauthenticated, "signed_out", "You are signed out; sign in and try again.")
)

// outside wraps the routes in what holds for every request, whatever its address.
func (s *server) outside(routes http.Handler) http.Handler {
	origins := http.NewCrossOriginProtection()
	origins.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.refuse(w, &Visit{Request: r}, errForeign) }))
	return s.observed(origins.Handler(routes))
}

// observed counts and logs requests, sets the headers that every answer has, and turns a panic into a page
// without ending the server.
func (s *server) observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &reply.Recorder{ResponseWriter: w, Status: http.StatusOK}
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", policy)
		h.Set("Reporting-Endpoints", `csp="/csp-report"`)
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		defer func() {
			p := recover()
			if p != nil && p != http.ErrAbortHandler && !rec.Wrote { //nolint:errorlint // what was panicked need not be an error
				s.Log.Error("panic in a page", "route", r.Pattern, "panic", p, "stack", string(debug.Stack()))
				s.refuse(rec, &Visit{Request: r}, errors.New("panic"))
				p = nil
			}
			s.Observe(r.Pattern, rec.Status, time.Since(start))
			s.Log.Debug("request", "method", r.Method, "route", r.Pattern, "status", rec.Status, "took", time.Since(start))
			if p != nil {
				panic(http.ErrAbortHandler) // half an answer must not look whole
			}
		}()
		next.ServeHTTP(rec, r)
	})
}

// handler is a route with its policy in front: who asks, may they, and only then the form and the handler.
func (s *server) handler(r Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		req.Body = http.MaxBytesReader(w, req.Body, maxBody)
		v := &Visit{Request: req}
		if err := s.admit(v, r); err != nil {
			s.refuse(w, v, err)
			return
		}
		if req.Method == http.MethodPost && !r.raw {
			if err := readForm(req); err != nil {
				s.refuse(w, v, err)
				return
			}
		}
		if err := r.serve(s, w, v); err != nil {
			s.fail(w, v, err)
		}
	})
}

// admit finds out who asks and whether they may.
func (s *server) admit(v *Visit, r Route) error {
	one, who, err := s.visitor(v.Request)
	if err == nil {
		v.session, v.Session = one, who
	}
	if r.Need == Public {
		return nil
	}
	if err != nil {
		return err
	}
	if err := r.Need.Admits(who.Actor); err != nil {
		return err
	}
	return s.look(v)
}

// readForm reads a posted form; anything else than an ordinary form is refused.
func readForm(r *http.Request) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return errForm
	}
	if err := r.ParseForm(); err != nil {
		return errForm.Because(err)
	}
	return nil
}

// fail answers a handler's error, and logs what people do not see.
func (s *server) fail(w http.ResponseWriter, v *Visit, err error) {
	if fault.From(err).Kind == fault.Internal && v.Context().Err() == nil {
		s.Log.Error("page failed", "route", v.Request.Pattern, "operator", v.Session.Name, slog.Any("error", err))
	}
	s.refuse(w, v, err)
}

// problem is the view of an error page.
type problem struct {
	Status               int
	Code, Message, Field string
	Back                 string // the page before, if it is one of ours
	SignedIn             bool
}

// refuse answers with an error page. A person who is signed out, and only wanted to read, goes to sign in.
func (s *server) refuse(w http.ResponseWriter, v *Visit, err error) {
	e := fault.From(err)
	if errors.Is(err, context.DeadlineExceeded) {
		e = fault.New(fault.Unavailable, "timeout", "The server took too long; try again.").Because(err)
	}
	if e.Code == errSignedIn.Code && v.Request.Method == http.MethodGet {
		s.welcome(w, v)
		return
	}
	status := statusOf(e)
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
		retryAfter(w, err)
	}
	v.Title = http.StatusText(status)
	view := problem{Status: status, Code: e.Code, Message: onPages(e.Message), Field: e.Field, Back: back(v.Request), SignedIn: v.session != nil}
	if err := s.show(w, v, "problem", view, status); err != nil {
		s.Log.Error("the error page failed", slog.Any("error", err))
		http.Error(w, e.Message, status)
	}
}

// continueView is the page that leads on to another one by itself.
type continueView struct{ To string }

// welcome leads a person without a session to where they sign in. Who followed a link of another site, a mail or a
// ticket, may well have one: browsers send a SameSite=Strict cookie only when a page of ours asks, so one does.
func (s *server) welcome(w http.ResponseWriter, v *Visit) {
	to := v.Request.URL.RequestURI()
	if v.Request.Header.Get("Sec-Fetch-Site") == "cross-site" && v.Request.Header.Get("Sec-Fetch-Mode") == "navigate" {
		w.Header().Set("Refresh", "0; url="+local(to))
		v.Title = "One moment"
		if err := s.show(w, v, "continue", continueView{local(to)}, http.StatusOK); err != nil {
			s.Log.Error("the page that leads on failed", slog.Any("error", err))
		}
		return
	}
	if v.Request.Header.Get("HX-Request") != "" {
		to = back(v.Request) // the page, not the piece of it that was asked for
	}
	redirect(w, v.Request, "/sign-in?next="+url.QueryEscape(to))
}

func statusOf(e *fault.Error) int {
	switch e.Code {
	case auth.ErrLimited.Code:
		return http.StatusTooManyRequests
	case errNoMethod.Code:
		return http.StatusMethodNotAllowed
	}
	return e.Kind.Status()
}

// back is the page that a request came from, if it was one of ours; "" otherwise.
func back(r *http.Request) string {
	for _, name := range []string{"HX-Current-URL", "Referer"} {
		if u, err := url.Parse(r.Header.Get(name)); err == nil && u.Host != "" && u.Host == r.Host {
			return local(u.RequestURI())
		}
	}
	return ""
}

// nowhere answers what no route matches: 405 if the address is known for the other method, else 404.
func (s *server) nowhere(mux *http.ServeMux) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := &Visit{Request: r}
		v.session, v.Session, _ = s.current(r)
		if v.session != nil {
			_ = s.look(v) // the page shows what it can
		}
		allow := reply.Methods(mux, r, http.MethodGet, http.MethodPost)
		if len(allow) > 0 {
			w.Header().Set("Allow", strings.Join(allow, ", "))
			s.refuse(w, v, errNoMethod)
			return
		}
		s.refuse(w, v, errNoPage)
	}
}
