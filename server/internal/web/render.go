package web

import (
	"bytes"
	"compress/gzip"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"time"

	"assent/client"
)

// templates are the pages: layout.html around every page, NAME.html one page each, parts-*.html what pages share.
//
//go:embed templates/*.html
var templates embed.FS

// views are the templates, ready.
type views struct {
	byName map[string]*template.Template
	assets *assets
}

// loadViews reads the template of each route, and that of the error page.
func loadViews(a *assets, routes []Route) (*views, error) {
	base, err := template.New("").Funcs(functions(a)).ParseFS(templates, "templates/layout.html", "templates/parts-*.html")
	if err != nil {
		return nil, fmt.Errorf("web: read the templates: %w", err)
	}
	out := &views{byName: map[string]*template.Template{}, assets: a}
	names := []string{"problem", "continue"}
	for _, r := range routes {
		if r.Name != "" {
			names = append(names, r.Name)
		}
	}
	for _, name := range names {
		if out.byName[name] != nil {
			continue
		}
		one, err := base.Clone()
		if err == nil {
			one, err = one.ParseFS(templates, "templates/"+name+".html")
		}
		if err != nil {
			return nil, fmt.Errorf("web: read the template of the page %s: %w", name, err)
		}
		if one.Lookup("content") == nil {
			return nil, fmt.Errorf("web: the template of the page %s defines no \"content\"", name)
		}
		out.byName[name] = one
	}
	return out, nil
}

// functions are what templates may call besides html/template's own.
func functions(a *assets) template.FuncMap {
	return template.FuncMap{
		"asset":  a.url,
		"built":  a.built,
		"icon":   a.icon,
		"when":   when,
		"day":    func(t time.Time) string { return t.UTC().Format(time.DateOnly) },
		"count":  func(n any) string { return grouped(fmt.Sprint(n)) },
		"bytes":  bytesText,
		"plural": plural,
		"tone":   tone,
		"words":  words,
		"code":   inCode,
	}
}

// icon draws an icon of the sprite; names are those of @tabler/icons, listed in assets/icons.txt.
func (a *assets) icon(name string) template.HTML {
	url := a.url("vendor/icons.svg")
	if url == "" {
		return ""
	}
	return template.HTML(`<svg class="icon" width="20" height="20" aria-hidden="true"><use href="` + url + "#" + template.HTMLEscapeString(name) + `"/></svg>`) //nolint:gosec // both parts are ours
}

// when shows a moment: in UTC until script puts it into the viewer's zone, the exact one in the title.
func when(t time.Time) template.HTML {
	if t.IsZero() {
		return `<span class="text-secondary">never</span>`
	}
	t = t.UTC()
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s">%s</time>`, t.Format(time.RFC3339), t.Format("2006-01-02 15:04:05 UTC"), t.Format("2006-01-02 15:04 UTC"))) //nolint:gosec // figures only
}

// grouped puts commas between the thousands of a whole number.
func grouped(digits string) string {
	sign := ""
	if len(digits) > 0 && digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(strconv.Itoa(n)) + " " + many
}

// bytesText is a size for people.
func bytesText(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, exp := float64(n)/unit, 0
	for ; value >= unit && exp < 4; exp++ {
		value /= unit
	}
	return fmt.Sprintf("%.1f %cB", value, "kMGTP"[exp])
}

// frame is the view of the layout.
type frame struct {
	Title   string
	Crumbs  []Crumb
	Menu    []section
	Name    string // of the person; empty when nobody is signed in
	Role    string
	Groups  []client.GroupRow
	Group   client.GroupRow
	Theme   string // "light", "dark" or empty: as the system
	Toasts  []Toast
	Ask     bool   // the person can come back only with a token that somebody makes: ask for a password or a passkey
	Here    string // path and query of the page
	Version string
	View    any
}

func (s *server) frame(v *Visit, view any) frame {
	f := frame{Title: v.Title, Crumbs: v.Crumbs, Theme: theme(v.Request), Here: v.Request.URL.RequestURI(), Version: s.Version, View: view}
	if v.Request.Method != http.MethodGet {
		f.Here = "/"
	}
	if v.session != nil {
		f.Name, f.Role, f.Menu, f.Groups, f.Group = v.Session.Name, string(v.Session.Role), s.menuFor(v), v.groups, v.group
		if v.Request.Header.Get("HX-Request") == "" { // of what htmx asks for, only a piece is shown
			f.Toasts = v.session.unseen()
			f.Ask = s.unsafe(v.Context(), v.session)
		}
	}
	return f
}

// show renders a page inside the layout, whole, and then sends it.
func (s *server) show(w http.ResponseWriter, v *Visit, name string, view any, status int) error {
	var out bytes.Buffer
	if err := s.views.byName[name].ExecuteTemplate(&out, "layout", s.frame(v, view)); err != nil {
		return fmt.Errorf("render the page %s: %w", name, err)
	}
	send(w, v.Request, status, "text/html; charset=utf-8", out.Bytes())
	return nil
}

// showBare renders a template without the layout.
func (s *server) showBare(w http.ResponseWriter, r *http.Request, name string, view any) error {
	var out bytes.Buffer
	if err := s.views.byName[name].ExecuteTemplate(&out, "content", view); err != nil {
		return fmt.Errorf("render the fragment %s: %w", name, err)
	}
	send(w, r, http.StatusOK, "text/html; charset=utf-8", out.Bytes())
	return nil
}

// send writes an answer, compressed where the browser reads that. Pages hold no secret that a guess in their input
// could be compared with: the session's is only in the cookie.
func send(w http.ResponseWriter, r *http.Request, status int, kind string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Add("Vary", "Accept-Encoding")
	if len(body) > 1000 && takesGzip(r) {
		if small := squeeze(body, gzip.BestSpeed); small != nil {
			h.Set("Content-Encoding", "gzip")
			body = small
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the browser may be gone
}
