// Package reply holds what both faces for people, the API and the console, need around an answer over HTTP: what it was, and
// which methods an address knows.
//
// It decides nothing and writes nothing by itself.
package reply

import "net/http"

// Recorder remembers how a request was answered. Status is what to take for one that was answered without saying: set
// it to 200 at the beginning.
type Recorder struct {
	http.ResponseWriter
	Status int
	Wrote  bool // the answer has begun
}

// WriteHeader notes the status.
func (r *Recorder) WriteHeader(status int) {
	if !r.Wrote {
		r.Status, r.Wrote = status, true
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write notes that the answer has begun.
func (r *Recorder) Write(b []byte) (int, error) {
	r.Wrote = true
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *Recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Methods lists those of some methods for which the mux has a route at the address of r, other than the one that catches
// everything.
func Methods(mux *http.ServeMux, r *http.Request, methods ...string) []string {
	var out []string
	for _, m := range methods {
		other := r.Clone(r.Context())
		other.Method = m
		if _, pattern := mux.Handler(other); pattern != "/" && pattern != "" {
			out = append(out, m)
		}
	}
	return out
}
