package web

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"assent/client"
	"assent/fault"
)

// Table is one page of a list, with everything around it: search, filters as chips in the address, sorting,
// columns to choose, paging by cursor, a selection with its buttons, exports. A page fills the exported fields,
// calls finish, and its template says {{template "table" .Table}}. docs/console.md is the contract.
type Table struct {
	ID      string // of the element; unique on its page
	One     string // what a row is: "device"
	Many    string // what rows are: "devices"
	Columns []Column
	Rows    []Row
	Total   int    // all that match
	Next    string // cursor of the next page; empty: there is none
	Search  string // what the search box looks through; empty: no search box
	Filters []Filter
	Sort    string // how it is sorted when the address does not say
	Select  *Selection
	Saved   string // the name under which its views are saved, of client.ViewLists; empty: it has none
	Data    string // path of the exports without their ending, where it is not the page's own
	Export  bool   // the route table has the page's .csv and .json (see exports)
	Empty   Empty  // what to say when there is nothing at all

	path  string
	query url.Values
	order []int // of the columns that are shown
}

// Column is a column of a table.
type Column struct {
	Key    string // in the address; also what the service sorts by
	Label  string
	Sorts  bool // the service can sort by Key
	Number bool // to the right
	Extra  bool // shown only when chosen
	Wide   bool // left out on a phone
}

// Row is a row of a table; it has one cell for each column.
type Row struct {
	ID    string // what a selection names it by
	Label string // what the checkbox says it selects
	Href  string // of the row's page: what Enter opens
	Cells []Cell
	Value any // what the service said: what the JSON export holds
}

// Cell is what stands in a row under a column. Texts are escaped wherever they come from.
type Cell struct {
	Text  string
	Sub   string // a second line, smaller
	Href  string
	Title string // shown on hover
	Tone  string // a badge of this colour; see tone
	Icon  string
	Time  time.Time // a moment, instead of Text
	N     int64     // a number, instead of Text
	IsN   bool
}

// Filter is a choice by which a table can be narrowed: a parameter of the address with its values.
type Filter struct {
	Key, Label string
	Options    []Option
	Many       bool // several values at once, OR-ed
}

// Option is a value of a filter.
type Option struct{ Value, Label string }

// Selection is what can be done with selected rows: a form that posts the ids as "select", or with all=1 and the
// address's query as "query" everything that matches. Each button posts its Name and Value.
type Selection struct {
	Action  string
	Buttons []Button
	All     bool // offer "all N that match"
}

// Button is an act on a selection. Key is its key on the keyboard.
type Button struct{ Name, Value, Label, Tone, Key string }

// Empty says what to do next where there is nothing.
type Empty struct {
	Text string
	Link *Link
}

// plain, linked, badge, number and moment make cells.
func plain(text string) Cell               { return Cell{Text: text} }
func linked(text, href string) Cell        { return Cell{Text: text, Href: href} }
func badge(word string) Cell               { return Cell{Text: words(word), Tone: tone(word)} }
func number[T ~int | ~int64](n T) Cell     { return Cell{N: int64(n), IsN: true} }
func moment(t time.Time) Cell              { return Cell{Time: t} }
func (c Cell) to(href string) Cell         { c.Href = href; return c }
func (c Cell) with(sub string) Cell        { c.Sub = sub; return c }
func option[T ~string](value T) Option     { return Option{string(value), words(value)} }
func options[T ~string](all ...T) []Option { return mapped(all, option[T]) }
func mapped[A, B any](in []A, f func(A) B) []B {
	out := make([]B, 0, len(in))
	for _, a := range in {
		out = append(out, f(a))
	}
	return out
}

// value is a cell as data: what an export holds.
func (c Cell) value() string {
	switch {
	case c.IsN:
		return strconv.FormatInt(c.N, 10)
	case !c.Time.IsZero():
		return c.Time.UTC().Format(time.RFC3339)
	}
	return c.Text
}

// paging is the part of the address that asks a service for a page.
func paging(v *Visit) (client.Page, error) {
	limit, err := v.Number("limit")
	if err != nil {
		return client.Page{}, err
	}
	if limit < 0 || limit > 1000 {
		return client.Page{}, fault.New(fault.Invalid, "limit_invalid", "A page has 1 to 1000 rows.").On("limit")
	}
	return client.Page{Sort: v.Query().Get("sort"), Limit: int(limit), Cursor: v.Query().Get("cursor")}, nil
}

// finish puts a filled table into its page.
func (t Table) finish(v *Visit) (Table, error) {
	t.path, t.query = v.Request.URL.Path, v.Query()
	if v.group.ID != "" && v.group.ID != v.Who().Scope {
		t.query.Set("group", string(v.group.ID)) // so that the address says all when it is passed on
	}
	chosen := t.query["columns"]
	for i, c := range t.Columns {
		if slices.Contains(chosen, c.Key) || len(chosen) == 0 && !c.Extra {
			t.order = append(t.order, i)
		}
	}
	for _, r := range t.Rows {
		if len(r.Cells) != len(t.Columns) {
			return t, fmt.Errorf("the table %s has %d columns, and a row of %d cells", t.ID, len(t.Columns), len(r.Cells))
		}
	}
	return t, nil
}

// link is the page's address with some parameters changed; what was a page of the old list is left behind.
func (t Table) link(change func(url.Values)) string {
	q := url.Values{}
	for key, values := range t.query {
		if key != "cursor" && key != "from" {
			q[key] = slices.Clone(values)
		}
	}
	change(q)
	if len(q) == 0 {
		return t.path
	}
	return t.path + "?" + q.Encode()
}

// The rest is what the template asks a table for.

// Path is the page's address without its query.
func (t Table) Path() string { return t.path }

// Heads are the shown columns with their links for sorting.
func (t Table) Heads() []Head {
	now := t.query.Get("sort")
	if now == "" {
		now = t.Sort
	}
	var out []Head
	for _, i := range t.order {
		c := t.Columns[i]
		h := Head{Column: c}
		if c.Sorts {
			next := c.Key
			switch now {
			case c.Key:
				h.Order, next = "ascending", "-"+c.Key
			case "-" + c.Key:
				h.Order = "descending"
			default:
				if c.Number {
					next = "-" + c.Key // the most first
				}
			}
			h.Href = t.link(func(q url.Values) { q.Set("sort", next) })
		}
		out = append(out, h)
	}
	return out
}

// Head is the head of a column.
type Head struct {
	Column
	Href  string // sorts by it
	Order string // "ascending", "descending" or empty
}

// Shown is a cell with its column.
type Shown struct {
	Cell
	Column Column
}

// Cells are a row's cells in the shown columns.
func (t Table) Cells(r Row) []Shown {
	out := make([]Shown, 0, len(t.order))
	for _, i := range t.order {
		out = append(out, Shown{r.Cells[i], t.Columns[i]})
	}
	return out
}

// Chip is an active filter, with the address without it.
type Chip struct{ Label, Value, Href string }

// Chips are the active filters and the search.
func (t Table) Chips() []Chip {
	var out []Chip
	if text := t.query.Get("search"); text != "" && t.Search != "" {
		out = append(out, Chip{"Search", text, t.link(func(q url.Values) { q.Del("search") })})
	}
	for _, f := range t.Filters {
		for _, value := range t.query[f.Key] {
			if value == "" {
				continue
			}
			label := value
			for _, o := range f.Options {
				if o.Value == value {
					label = o.Label
				}
			}
			out = append(out, Chip{f.Label, label, t.link(func(q url.Values) {
				q[f.Key] = slices.DeleteFunc(q[f.Key], func(v string) bool { return v == value })
			})})
		}
	}
	return out
}

// Clear is the address without any filter.
func (t Table) Clear() string {
	return t.link(func(q url.Values) {
		q.Del("search")
		for _, f := range t.Filters {
			q.Del(f.Key)
		}
	})
}

// Kept are the parameters that a form for some of them (which names them) must send along.
func (t Table) Kept(without ...string) []Field {
	var out []Field
	keys := make([]string, 0, len(t.query))
	for key := range t.query {
		if key != "cursor" && key != "from" && !slices.Contains(without, key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		for _, value := range t.query[key] {
			out = append(out, Field{key, value})
		}
	}
	return out
}

// FilterKeys are the parameters of the filters.
func (t Table) FilterKeys() []string {
	return mapped(t.Filters, func(f Filter) string { return f.Key })
}

// KeptBeside are the parameters besides those of the filters.
func (t Table) KeptBeside() []Field { return t.Kept(t.FilterKeys()...) }

// Has reports whether a parameter of the address has a value.
func (t Table) Has(key, value string) bool { return slices.Contains(t.query[key], value) }

// Searched is what the search box holds.
func (t Table) Searched() string { return t.query.Get("search") }

// Query is the address's query: what "all that match" means.
func (t Table) Query() string { return t.query.Encode() }

// ShowsColumn reports whether a column is shown.
func (t Table) ShowsColumn(key string) bool {
	return slices.ContainsFunc(t.order, func(i int) bool { return t.Columns[i].Key == key })
}

func (t Table) from() int {
	n, err := strconv.Atoi(t.query.Get("from"))
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// First and Last are the numbers of the first and last row shown.
func (t Table) First() int { return t.from() + 1 }

// Last is the number of the last row shown.
func (t Table) Last() int { return t.from() + len(t.Rows) }

// NextHref is the address of the next page; empty on the last.
func (t Table) NextHref() string {
	if t.Next == "" {
		return ""
	}
	return t.link(func(q url.Values) {
		q.Set("cursor", t.Next)
		q.Set("from", strconv.Itoa(t.Last()))
	})
}

// StartHref is the address of the first page; empty on it.
func (t Table) StartHref() string {
	if t.query.Get("cursor") == "" {
		return ""
	}
	return t.link(func(url.Values) {})
}

// ExportHref is the address of an export of everything that matches.
func (t Table) ExportHref(kind string) string {
	all := t
	all.path = strings.TrimSuffix(cmp.Or(t.Data, t.path), "/") + "." + kind
	return all.link(func(q url.Values) { q.Del("limit") })
}

// ViewsHref is the menu of the list's saved views; empty if it has none.
func (t Table) ViewsHref() string {
	if t.Saved == "" {
		return ""
	}
	q := t.query
	if t.path == "/updates/seamless" {
		q = url.Values{"view": {client.Seamless}}
		for key, values := range t.query {
			q[key] = values
		}
	}
	return "/views?" + url.Values{"list": {t.Saved}, "query": {q.Encode()}}.Encode()
}

// exports are the two lines of the route table that give a list as data: PATTERN.csv and PATTERN.json. list
// returns one page of it, with Value set in each row.
func (s *server) exports(need Need, pattern string, list func(*Visit, client.Page) (Table, error)) []Route {
	return []Route{
		answer(need, http.MethodGet, pattern+".csv", func(w http.ResponseWriter, v *Visit) error { return s.export(w, v, list, "csv") }),
		answer(need, http.MethodGet, pattern+".json", func(w http.ResponseWriter, v *Visit) error { return s.export(w, v, list, "json") }),
	}
}
