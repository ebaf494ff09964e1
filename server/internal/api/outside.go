package api

import (
	"mime"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"assent/fault"
	"assent/server/internal/reply"
)

// outside wraps the routes in what holds for every request, whatever its address.
func (s *server) outside(routes http.Handler) http.Handler {
	origins := http.NewCrossOriginProtection()
	origins.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { s.refuse(w, errForeign) }))
	return s.observed(origins.Handler(s.typed(routes)))
}

// observed counts and logs requests, sets the headers that every answer has, and turns a panic into a
// problem without ending the server.
func (s *server) observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &reply.Recorder{ResponseWriter: w, Status: http.StatusOK}
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		defer func() {
			p := recover()
			if p != nil && p != http.ErrAbortHandler && !rec.Wrote { //nolint:errorlint // what was panicked need not be an error
				s.panicked(rec, r, p)
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

// panicked answers what a bug left unanswered.
func (s *server) panicked(rec *reply.Recorder, r *http.Request, p any) {
	s.Log.Error("panic in a handler", "route", r.Pattern, "panic", p, "stack", string(debug.Stack()))
	s.refuse(rec, fault.New(fault.Internal, "internal", "Internal error. The server's log has the details."))
}

// typed refuses a body that does not say it is JSON: forms, which foreign pages can send, never get through.
func (s *server) typed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		if hasContent(r) && !isJSON(r.Header.Values("Content-Type")) {
			problemOf(http.StatusUnsupportedMediaType, errContentType).write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func hasContent(r *http.Request) bool {
	return r.ContentLength != 0 || r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch
}

func isJSON(values []string) bool {
	if len(values) != 1 {
		return false
	}
	kind, params, err := mime.ParseMediaType(values[0])
	charset := params["charset"]
	return err == nil && kind == "application/json" && (charset == "" || strings.EqualFold(charset, "utf-8"))
}

// nowhere answers what no route matches: 405 if the address is known for other methods, else 404.
func (s *server) nowhere(mux *http.ServeMux) http.HandlerFunc {
	methods := []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
	return func(w http.ResponseWriter, r *http.Request) {
		allow := reply.Methods(mux, r, methods...)
		if len(allow) == 0 {
			s.refuse(w, errNoRoute)
			return
		}
		w.Header().Set("Allow", strings.Join(allow, ", "))
		problemOf(http.StatusMethodNotAllowed, errNoMethod).write(w)
	}
}
