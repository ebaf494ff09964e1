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
	sort  string
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

// walk offers the rows of a list that is sorted by key, then id, as far as the page reaches. It leaves the total to
// its caller.
func (p *pager[T]) walk(sorted []T, in func(T) bool) {
	for row := range p.along(sorted) {
		if len(p.rows) > p.limit {
			return
		}
		if in(row) {
			p.offer(row)
		}
	}
}

// along iterates over a sorted list in the order of the page, from about where it begins: the rows of one key by their
// ids in both directions.
func (p *pager[T]) along(sorted []T) iter.Seq[T] {
	if p.sign > 0 {
		return slices.Values(sorted[p.until(sorted, func(c int) bool { return c < 0 }):])
	}
	return func(yield func(T) bool) {
		for end := p.until(sorted, func(c int) bool { return c <= 0 }); end > 0; {
			begin, key := end-1, p.of(sorted[end-1])
			for begin > 0 && p.less(p.of(sorted[begin-1]), key) == 0 {
				begin--
			}
			for _, row := range sorted[begin:end] {
				if !yield(row) {
					return
				}
			}
			end = begin
		}
	}
}

// until counts the rows at the beginning of a sorted list whose keys compare with the cursor's as wanted; without a
// cursor it is none of them, or all if the page comes from the end.
func (p *pager[T]) until(sorted []T, want func(c int) bool) int {
	if p.after == nil {
		return map[bool]int{true: 0, false: len(sorted)}[p.sign > 0]
	}
	n, _ := slices.BinarySearchFunc(sorted, p.after.Key, func(row T, key sortKey) int {
		if want(p.less(p.of(row), key)) {
			return -1
		}
		return 1
	})
	return n
}

// page cuts the page out of what was offered.
func (p *pager[T]) page() part[T] {
	slices.SortFunc(p.rows, p.order)
	out := part[T]{total: p.total}
	if len(p.rows) > p.limit {
		p.rows = p.rows[:p.limit]
		last := p.rows[p.limit-1]
		out.next = writeCursor(cursor{Sort: p.sort, Key: last.key, ID: p.id(last.row)})
	}
	for _, k := range p.rows {
		out.items = append(out.items, k.row)
	}
	return out
}

// newPager prepares a page of rows sorted by key, then id. The cursor must have been made with the same sort.
func newPager[T any](key func(T) sortKey, less func(a, b sortKey) int, id func(T) string, p client.Page, standard string) (*pager[T], error) {
	if p.Limit < 0 || p.Limit > maxLimit {
		return nil, fault.New(fault.Invalid, "limit_invalid", "A page has 1 to %d rows.", maxLimit).On("limit")
	}
	out := &pager[T]{of: key, id: id, less: less, sort: cmp.Or(p.Sort, standard), sign: 1, limit: cmp.Or(p.Limit, defaultLimit)}
	if strings.HasPrefix(out.sort, "-") {
		out.sign = -1
	}
	if p.Cursor != "" {
		c, err := readCursor(p.Cursor, out.sort)
		if err != nil {
			return nil, err
		}
		out.after = &c
	}
	return out, nil
}

// paginate sorts rows by key, then id, and cuts out the page.
func paginate[T any](rows iter.Seq[T], key func(T) sortKey, less func(a, b sortKey) int, id func(T) string, p client.Page, standard string) (part[T], error) {
	pick, err := newPager(key, less, id, p, standard)
	if err != nil {
		return part[T]{}, err
	}
	for row := range rows {
		pick.offer(row)
	}
	return pick.page(), nil
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
