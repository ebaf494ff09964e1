package decide

import (
	"cmp"
	"container/heap"
	"encoding/base64"
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"strings"

	"assent/approval"
	"assent/client"
	"assent/fault"
	"assent/pkgver"
	"assent/server/internal/index"
)

// sortKey is what a row is sorted by: a number, then a text.
type sortKey struct {
	N int64  `json:"n,omitempty"`
	S string `json:"s,omitempty"`
}

func compareKeys(a, b sortKey) int { return cmp.Or(cmp.Compare(a.N, b.N), strings.Compare(a.S, b.S)) }

// cursor is where a page ended: the key of its last row. The next page begins behind it whatever came or
// went in between (keyset pagination).
type cursor struct {
	Sort string  `json:"sort"`
	Key  sortKey `json:"key"`
	ID   string  `json:"id"`
}

// part is one page.
type part[T any] struct {
	items []T
	total int
	next  string
}

const (
	defaultLimit = 100
	maxLimit     = 1000
)

// keyed is a row with what it is sorted by. Its id is made only when it is needed.
type keyed[T any] struct {
	row T
	key sortKey
}

// pager picks one page out of rows in any order, keeping no more than the page.
type pager[T any] struct {
	of    func(T) sortKey
	id    func(T) string
	less  func(a, b sortKey) int
	sign  int
	limit int
	after *cursor
	rows  []keyed[T] // a heap, the last of the page on top
	total int
}

func (p *pager[T]) order(a, b keyed[T]) int {
	if c := p.sign * p.less(a.key, b.key); c != 0 {
		return c
	}
	return strings.Compare(p.id(a.row), p.id(b.row))
}

// Len, Less, Swap, Push and Pop make the pager a heap.
func (p *pager[T]) Len() int           { return len(p.rows) }
func (p *pager[T]) Less(i, j int) bool { return p.order(p.rows[i], p.rows[j]) > 0 }
func (p *pager[T]) Swap(i, j int)      { p.rows[i], p.rows[j] = p.rows[j], p.rows[i] }
func (p *pager[T]) Push(x any)         { p.rows = append(p.rows, x.(keyed[T])) }
func (p *pager[T]) Pop() any {
	last := p.rows[len(p.rows)-1]
	p.rows = p.rows[:len(p.rows)-1]
	return last
}

// offer considers a row.
func (p *pager[T]) offer(row T) {
	p.total++
	k := keyed[T]{row, p.of(row)}
	if p.after != nil {
		c := p.sign * p.less(k.key, p.after.Key)
		if c < 0 || c == 0 && p.id(row) <= p.after.ID {
			return
		}
	}
	switch {
	case len(p.rows) <= p.limit: // one more than the page tells whether there is a next one
		heap.Push(p, k)
	case p.order(k, p.rows[0]) < 0:
		p.rows[0] = k
		heap.Fix(p, 0)
	}
}

// paginate sorts rows by key, then id, and cuts out the page. The cursor must have been made with the
// same sort.
func paginate[T any](rows iter.Seq[T], key func(T) sortKey, less func(a, b sortKey) int, id func(T) string, p client.Page, standard string) (part[T], error) {
	if p.Limit < 0 || p.Limit > maxLimit {
		return part[T]{}, fault.New(fault.Invalid, "limit_invalid", "A page has 1 to %d rows.", maxLimit).On("limit")
	}
	sort := cmp.Or(p.Sort, standard)
	pick := &pager[T]{of: key, id: id, less: less, sign: 1, limit: cmp.Or(p.Limit, defaultLimit)}
	if strings.HasPrefix(sort, "-") {
		pick.sign = -1
	}
	if p.Cursor != "" {
		c, err := readCursor(p.Cursor, sort)
		if err != nil {
			return part[T]{}, err
		}
		pick.after = &c
	}
	for row := range rows {
		pick.offer(row)
	}
	slices.SortFunc(pick.rows, pick.order)
	out := part[T]{total: pick.total}
	if len(pick.rows) > pick.limit {
		pick.rows = pick.rows[:pick.limit]
		last := pick.rows[pick.limit-1]
		out.next = writeCursor(cursor{Sort: sort, Key: last.key, ID: id(last.row)})
	}
	for _, k := range pick.rows {
		out.items = append(out.items, k.row)
	}
	return out, nil
}

func writeCursor(c cursor) string {
	b, err := json.Marshal(c)
	if err != nil {
		return "" // strings and numbers always encode
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func readCursor(text, sort string) (cursor, error) {
	var c cursor
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil || c.Sort != sort {
		return cursor{}, fault.New(fault.Invalid, "cursor_invalid", "The cursor does not belong to this list; start again without one.").On("cursor")
	}
	return c, nil
}

// column is a column that updates can be sorted by.
type column struct {
	of   func(*sight) func(index.Update) sortKey
	less func(a, b sortKey) int
}

func unknownColumn[V any](name string, known map[string]V) error {
	names := slices.Sorted(maps.Keys(known))
	return unknownValue("sort", strings.TrimPrefix(name, "-"), strings.Join(names, ", "))
}

// plainColumn sorts by what the update itself says.
func plainColumn(of func(index.Update) sortKey) column {
	return column{of: func(*sight) func(index.Update) sortKey { return of }, less: compareKeys}
}

// seenColumn sorts by what the group sees.
func seenColumn(of func(*sight, index.Update) sortKey) column {
	return column{of: func(s *sight) func(index.Update) sortKey {
		return func(u index.Update) sortKey { return of(s, u) }
	}, less: compareKeys}
}

// columns are the columns of the list of updates.
func columns() map[string]column {
	number := func(n func(*sight, index.Update) uint64) column {
		return seenColumn(func(s *sight, u index.Update) sortKey { return sortKey{N: int64(n(s, u))} })
	}
	return map[string]column{
		"id":         plainColumn(func(u index.Update) sortKey { return sortKey{S: string(u.ID)} }),
		"name":       plainColumn(func(u index.Update) sortKey { return sortKey{S: u.Name} }),
		"version":    {of: func(*sight) func(index.Update) sortKey { return versionKey }, less: compareVersions},
		"class":      plainColumn(func(u index.Update) sortKey { return sortKey{S: string(u.Class)} }),
		"severity":   plainColumn(func(u index.Update) sortKey { return sortKey{N: int64(u.Severity.Rank())} }),
		"security":   plainColumn(func(u index.Update) sortKey { return sortKey{N: truth(u.Security)} }),
		"origin":     plainColumn(func(u index.Update) sortKey { return sortKey{S: strings.Join(u.Origins, " ")} }),
		"summary":    plainColumn(func(u index.Update) sortKey { return sortKey{S: u.Summary} }),
		"phased":     plainColumn(func(u index.Update) sortKey { return sortKey{N: int64(u.Phased)} }),
		"size":       plainColumn(func(u index.Update) sortKey { return sortKey{N: size(u)} }),
		"first_seen": plainColumn(func(u index.Update) sortKey { return sortKey{N: u.FirstSeen.UnixMicro()} }),
		"status":     seenColumn(func(s *sight, u index.Update) sortKey { return sortKey{N: rank(s.status(u).Status)} }),
		"changed":    seenColumn(func(s *sight, u index.Update) sortKey { return sortKey{N: truth(s.row(u).Changed)} }),
		"inherited":  seenColumn(func(s *sight, u index.Update) sortKey { return sortKey{N: truth(s.row(u).Inherited)} }),
		"exceptions": seenColumn(func(s *sight, u index.Update) sortKey { return sortKey{N: int64(s.row(u).Exceptions)} }),
		"superseded": seenColumn(func(s *sight, u index.Update) sortKey { _, ok := s.superseded(u); return sortKey{N: truth(ok)} }),
		"needed":     number(func(s *sight, u index.Update) uint64 { return s.count(u.Needs) }),
		"installed":  number(func(s *sight, u index.Update) uint64 { return s.count(u.Has) }),
		"failed":     number(func(s *sight, u index.Update) uint64 { return s.failed(s.board.Tally(u.Number)) }),
		"blocked": number(func(s *sight, u index.Update) uint64 {
			return s.count(s.board.Tally(u.Number).States["blocked"])
		}),
		"installed_though_declined": number(func(s *sight, u index.Update) uint64 { return s.count(s.board.Tally(u.Number).Against) }),
	}
}

func versionKey(u index.Update) sortKey { return sortKey{S: u.Ecosystem + " " + u.Version} }

// compareVersions orders versions as their package manager does; what cannot be read goes by its letters.
func compareVersions(a, b sortKey) int {
	ecoA, va, _ := strings.Cut(a.S, " ")
	ecoB, vb, _ := strings.Cut(b.S, " ")
	if ecoA == ecoB {
		if order, err := pkgver.Compare(ecoA, va, vb); err == nil && order != 0 {
			return order
		}
	}
	return strings.Compare(a.S, b.S)
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// rank orders statuses: what waits for somebody comes first.
func rank(s approval.Status) int64 {
	return int64(slices.Index([]approval.Status{approval.Undefined, approval.Approved, approval.Declined}, s))
}
