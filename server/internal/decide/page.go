package decide

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
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

// paginate sorts rows by key, then id, and cuts out the page. The cursor must have been made with the
// same sort.
func paginate[T any](rows []T, key func(T) sortKey, less func(a, b sortKey) int, id func(T) string, p client.Page, standard string) (part[T], error) {
	if p.Limit < 0 || p.Limit > maxLimit {
		return part[T]{}, fault.New(fault.Invalid, "limit_invalid", "A page has 1 to %d rows.", maxLimit).On("limit")
	}
	sort, limit := cmp.Or(p.Sort, standard), cmp.Or(p.Limit, defaultLimit)
	sign := 1
	if strings.HasPrefix(sort, "-") {
		sign = -1
	}
	type keyed struct {
		row T
		key sortKey
		id  string
	}
	order := func(a, b keyed) int { return cmp.Or(sign*less(a.key, b.key), strings.Compare(a.id, b.id)) }
	all := make([]keyed, len(rows))
	for i, r := range rows {
		all[i] = keyed{r, key(r), id(r)}
	}
	slices.SortFunc(all, order)
	total := len(all)
	if p.Cursor != "" {
		c, err := readCursor(p.Cursor, sort)
		if err != nil {
			return part[T]{}, err
		}
		after, found := slices.BinarySearchFunc(all, keyed{key: c.Key, id: c.ID}, order)
		if found {
			after++
		}
		all = all[after:]
	}
	out := part[T]{total: total}
	for _, k := range all[:min(limit, len(all))] {
		out.items = append(out.items, k.row)
	}
	if len(all) > limit {
		last := all[limit-1]
		out.next = writeCursor(cursor{Sort: sort, Key: last.key, ID: last.id})
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
