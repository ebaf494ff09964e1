package web

import (
	"bytes"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"assent/client"
	"assent/fleet"
)

// hostile is what a device may call itself (N26).
const hostile = `"><script>alert(1)</script><img src=x onerror=alert(2)> javascript:alert(3) ` + "\u202e=cmd()|' \u200b"

// fill sets everything in v that can be set: texts to hostile ones, lists to two elements.
func fill(v reflect.Value, depth int) {
	switch v.Interface().(type) {
	case Table:
		v.Set(reflect.ValueOf(hostileTable()))
		return
	case time.Time:
		v.Set(reflect.ValueOf(time.Date(2026, 11, 23, 16, 0, 0, 0, time.UTC)))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(hostile)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(3)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(3)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(0.5)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i), depth+1)
			}
		}
	case reflect.Pointer:
		if depth < 8 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), depth+1)
		}
	case reflect.Slice:
		if depth < 8 {
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
			for i := range 2 {
				fill(v.Index(i), depth+1)
			}
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, depth+1)
		fill(value, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	}
}

func hostileTable() Table {
	cells := []Cell{linked(hostile, "javascript:alert(1)").with(hostile), badge(hostile), number(7), moment(time.Unix(0, 0))}
	t := Table{ID: "t", One: hostile, Many: hostile, Search: hostile, Total: 7, Next: hostile, Export: true,
		Columns: []Column{{Key: hostile, Label: hostile, Sorts: true}, {Key: "b", Label: "B", Wide: true}, {Key: "n", Label: "N", Number: true, Sorts: true}, {Key: "t", Label: "T"}},
		Rows:    []Row{{ID: hostile, Label: hostile, Href: "javascript:alert(1)", Cells: cells}, {ID: "2", Cells: cells}},
		Filters: []Filter{{Key: "f", Label: hostile, Many: true, Options: []Option{{hostile, hostile}}}, {Key: "g", Label: "G", Options: []Option{{"1", hostile}}}},
		Select:  &Selection{Action: "/x", All: true, Buttons: []Button{{"status", hostile, hostile, "primary", "a"}}}, Empty: Empty{Text: hostile}}
	out, err := t.finish(&Visit{Request: httptest.NewRequest("GET", "/t?f="+url.QueryEscape(hostile)+"&search="+url.QueryEscape(hostile), nil)})
	if err != nil {
		panic(err)
	}
	return out
}

// pages renders every template of the route table with its view type, filled and empty.
func pages(t *testing.T) map[string]string {
	t.Helper()
	a, err := loadAssets()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{}
	routes := append(s.routes(), Route{Need: Public, Name: "problem", sample: problem{}}, Route{Need: Public, Name: "continue", sample: continueView{}})
	s.views, err = loadViews(a, routes)
	if err != nil {
		t.Fatal(err)
	}
	s.assets, s.menu = a, present(menu(), routes)
	out := map[string]string{}
	for _, r := range routes {
		if r.Name == "" {
			continue
		}
		full := reflect.New(reflect.TypeOf(r.sample)).Elem()
		fill(full, 0)
		for state, view := range map[string]any{"full": full.Interface(), "empty": r.sample} {
			out[r.Name+" "+state] = render(t, s, r, view)
		}
	}
	return out
}

func render(t *testing.T, s *server, r Route, view any) string {
	t.Helper()
	rec := httptest.NewRecorder()
	v := &Visit{Request: httptest.NewRequest("GET", "/", nil), Title: hostile, Crumbs: []Crumb{{hostile, "/"}}, session: &session{}}
	v.Session.Name, v.Session.Role, v.Session.Scope = hostile, "administrator", fleet.Root
	v.groups = []client.GroupRow{{Group: fleet.Group{ID: fleet.Root, Name: hostile}}, {Group: fleet.Group{ID: "g", Name: hostile}, Depth: 1}}
	v.Toast(Toast{Tone: "success", Text: hostile, Link: &Link{hostile, "javascript:alert(1)"}, Undo: &Form{hostile, "/x", []Field{{hostile, hostile}}}})
	err := s.show(rec, v, r.Name, view, 200)
	if r.bare {
		rec = httptest.NewRecorder()
		err = s.showBare(rec, v.Request, r.Name, view)
	}
	if err != nil {
		t.Errorf("the template %s does not render its view: %v", r.Name, err)
	}
	return rec.Body.String()
}

// TestN26_EveryTemplateRendersItsViewAndKeepsHostileTextsHarmless also finds what the Content-Security-Policy would
// block in a browser: inline scripts, styles and handlers.
func TestN26_EveryTemplateRendersItsViewAndKeepsHostileTextsHarmless(t *testing.T) {
	banned := map[string]*regexp.Regexp{
		"a text became markup":     regexp.MustCompile(`<script>alert|<img src=x`),
		"a text became an address": regexp.MustCompile(`(href|action|src|formaction)="\s*javascript:`),
		"an inline script":         regexp.MustCompile(`<script(>| [^>]*>[^<])`),
		"an inline handler":        regexp.MustCompile(`<[a-z]+[^>"]*( [a-z-]+="[^"]*")* on[a-z]+=`),
		"an unquoted attribute":    regexp.MustCompile(`<[a-z]+(?:\s+[a-z-]+(?:="[^"]*"|='[^']*')?)*\s+[a-z-]+=[^"'\s]`),
		"an inline style":          regexp.MustCompile(`<style|<[a-z]+( [a-z-]+(="[^"]*")?)* style=`),
	}
	for name, html := range pages(t) {
		for what, pattern := range banned {
			if at := pattern.FindStringIndex(html); at != nil {
				t.Errorf("%s: %s: …%s…", name, what, html[max(0, at[0]-40):min(len(html), at[1]+40)])
			}
		}
	}
}

func TestEveryTemplateFileBelongsToARoute(t *testing.T) {
	used := map[string]bool{"layout": true, "problem": true, "continue": true}
	for _, r := range (&server{}).routes() {
		used[r.Name] = true
	}
	files, err := templates.ReadDir("templates")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := strings.TrimSuffix(f.Name(), ".html"); !used[name] && !strings.HasPrefix(name, "parts-") {
			t.Errorf("no route shows templates/%s", f.Name())
		}
	}
}

func TestEveryIconThatIsUsedIsInTheSprite(t *testing.T) {
	list, err := os.ReadFile("assets/icons.txt")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for name := range strings.FieldsSeq(string(list)) {
		known[name] = true
	}
	var all bytes.Buffer
	for _, dir := range []string{".", "templates"} {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !f.IsDir() && !strings.HasSuffix(f.Name(), "_test.go") {
				b, err := os.ReadFile(dir + "/" + f.Name())
				if err != nil {
					t.Fatal(err)
				}
				all.Write(b)
			}
		}
	}
	found := regexp.MustCompile(`(?:\{\{-?\s*icon|Icon:) "([a-z0-9-]+)"`).FindAllStringSubmatch(all.String(), -1)
	if len(found) < 20 {
		t.Fatalf("only %d icons found: this test looks at nothing", len(found))
	}
	for _, m := range found {
		if !known[m[1]] {
			t.Errorf("the icon %q is not in assets/icons.txt", m[1])
		}
	}
}
