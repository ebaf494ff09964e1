package web

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"assent/server/internal/signin"
)

// maxReport bounds a report of a browser, in bytes; logEvery bounds how often one is logged: anybody can send them.
const (
	maxReport = 64 << 10
	logEvery  = time.Second
)

// throttle lets something happen once in a while.
type throttle struct {
	mu   sync.Mutex
	last time.Time
}

func (t *throttle) allow(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.last) < logEvery {
		return false
	}
	t.last = now
	return true
}

// cspReport is what browsers say of a blocked thing, in both of their formats.
type cspReport struct {
	Directive, Blocked, Page string
}

func readReport(body []byte) cspReport {
	var old struct {
		Report struct {
			Directive string `json:"violated-directive"`
			Blocked   string `json:"blocked-uri"`
			Page      string `json:"document-uri"`
		} `json:"csp-report"`
	}
	if json.Unmarshal(body, &old) == nil && old.Report.Directive != "" {
		return cspReport{old.Report.Directive, old.Report.Blocked, old.Report.Page}
	}
	var list []struct {
		Body struct {
			Directive string `json:"effectiveDirective"`
			Blocked   string `json:"blockedURL"`
			Page      string `json:"documentURL"`
		} `json:"body"`
	}
	if json.Unmarshal(body, &list) == nil && len(list) > 0 {
		return cspReport{list[0].Body.Directive, list[0].Body.Blocked, list[0].Body.Page}
	}
	return cspReport{Directive: "unreadable"}
}

// violation takes a browser's report that something on a page was blocked: it means that a text got further than
// it should, or that a page is wrong. Queries are not logged; they may hold names.
func (s *server) violation(w http.ResponseWriter, v *Visit) error {
	body, err := io.ReadAll(io.LimitReader(v.Request.Body, maxReport))
	if err != nil {
		return errForm.Because(err)
	}
	s.Violation()
	if s.reports.allow(time.Now()) {
		r := readReport(body)
		s.Log.Warn("a browser blocked something on a page of the console", "directive", signin.Printable(r.Directive, 100),
			"blocked", pathOf(r.Blocked), "page", pathOf(r.Page), "remote", v.Request.RemoteAddr)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func pathOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "unreadable"
	}
	u.RawQuery, u.Fragment, u.User = "", "", nil
	return signin.Printable(u.String(), 200)
}
