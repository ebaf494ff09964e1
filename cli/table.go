package cli

import (
	"strings"
	"unicode/utf8"
)

// column is one column of a table.
type column struct {
	head  string
	least int  // if the table is too wide, the column may be cut down to this; 0: never
	right bool // aligned to the right
}

// cell is one field of a row.
type cell struct {
	text string
	tone tone
}

// table collects rows and prints them so that they fit the terminal.
type table struct {
	columns []column
	rows    [][]cell
}

func newTable(columns ...column) *table { return &table{columns: columns} }

// col is a column that is never cut; flex one that may be; num one of numbers.
func col(head string) column             { return column{head: head} }
func flex(head string, least int) column { return column{head: head, least: least} }
func num(head string) column             { return column{head: head, right: true} }

// word is a cell coloured by what it says; text one that is not.
func word(s string) cell          { return toned(s, toneOf(s)) }
func text(s string) cell          { return toned(s, plain) }
func toned(s string, t tone) cell { return cell{text: strings.TrimRight(clean(s), " "), tone: t} }

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

// print writes the table. Empty columns are left out.
func (p *printer) table(t *table) {
	widths := t.widths()
	if p.width > 0 {
		t.fit(widths, p.width)
	}
	head := make([]cell, len(t.columns))
	for i, c := range t.columns {
		head[i] = toned(c.head, strong)
	}
	p.row(t, widths, head)
	for _, r := range t.rows {
		p.row(t, widths, r)
	}
}

const gap = 2 // between columns

// widths are the natural widths; 0 for a column without any text.
func (t *table) widths() []int {
	widths := make([]int, len(t.columns))
	for _, r := range t.rows {
		for i, c := range r {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	for i, c := range t.columns {
		if widths[i] > 0 || len(t.rows) == 0 {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.head))
		}
	}
	return widths
}

// fit takes from the widest column that may be cut until the table fits or nothing more may be cut.
func (t *table) fit(widths []int, width int) {
	total := -gap
	for _, w := range widths {
		if w > 0 {
			total += w + gap
		}
	}
	for ; total > width; total-- {
		widest := -1
		for i, c := range t.columns {
			if c.least > 0 && widths[i] > c.least && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		widths[widest]--
	}
}

func (p *printer) row(t *table, widths []int, cells []cell) {
	var b strings.Builder
	spaces := 0
	for i, c := range cells {
		if widths[i] == 0 {
			continue
		}
		shown := cut(c.text, widths[i])
		pad := widths[i] - utf8.RuneCountInString(shown)
		if t.columns[i].right {
			spaces += pad
			pad = 0
		}
		if shown != "" {
			b.WriteString(strings.Repeat(" ", spaces))
			b.WriteString(p.paint(c.tone, shown))
			spaces = 0
		}
		spaces += pad + gap // written only if something follows: lines have no trailing spaces
	}
	p.raw(b.String() + "\n")
}

// cut shortens text to width characters, the last of them then being an ellipsis.
func cut(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return strings.TrimRight(string([]rune(s)[:width-1]), " ") + "…"
}

// field prints "name: value" lines of a detail, aligned; empty values are left out.
func (p *printer) fields(pairs ...string) {
	width := 0
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			width = max(width, utf8.RuneCountInString(pairs[i]))
		}
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			name := pairs[i] + ":" + strings.Repeat(" ", width-utf8.RuneCountInString(pairs[i])+1)
			p.raw(p.paint(faint, name) + p.paint(toneOf(pairs[i+1]), clean(pairs[i+1])) + "\n")
		}
	}
}

// title prints a heading with an empty line before it.
func (p *printer) title(s string) { p.raw("\n" + p.paint(strong, clean(s)) + "\n") }
