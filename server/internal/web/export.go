package web

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"assent/client"
)

// exportPage is how many rows an export asks a service for at a time.
const exportPage = 1000

// sink writes rows in one format.
type sink interface {
	begin(Table) error
	row(Row) error
	end() error
}

// export sends everything that matches, page by page, so that its memory does not grow with the list. A failure
// half way cuts the answer off: half a list must not look whole.
func (s *server) export(w http.ResponseWriter, v *Visit, list func(*Visit, client.Page) (Table, error), kind string) error {
	p, err := paging(v)
	if err != nil {
		return err
	}
	p.Limit, p.Cursor = exportPage, ""
	t, err := list(v, p)
	if err != nil {
		return err
	}
	out := newSink(w, kind)
	name := strings.Trim(strings.ReplaceAll(t.Many, " ", "-"), "-") + "-" + time.Now().UTC().Format("20060102-1504") + "." + kind
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	for first := true; ; first = false {
		if first {
			err = out.begin(t)
		}
		for i := 0; err == nil && i < len(t.Rows); i++ {
			err = out.row(t.Rows[i])
		}
		if err == nil && t.Next == "" {
			return ended(out.end())
		}
		p.Cursor = t.Next
		if err == nil {
			err = s.live(v)
		}
		if err == nil {
			t, err = list(v, p)
		}
		if err != nil {
			s.Log.Warn("an export was cut off", "route", v.Request.Pattern, slog.Any("error", err))
			panic(http.ErrAbortHandler)
		}
	}
}

// ended is the end of an answer that is on its way: a reader who is gone is no error of ours.
func ended(error) error { return nil }

func newSink(w http.ResponseWriter, kind string) sink {
	if kind == "json" {
		w.Header().Set("Content-Type", "application/json")
		return &jsonSink{w: w, encode: json.NewEncoder(w)}
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
	return &csvSink{w: csv.NewWriter(w)}
}

// csvSink writes the cells of all columns.
type csvSink struct{ w *csv.Writer }

func (c *csvSink) begin(t Table) error {
	return c.w.Write(mapped(t.Columns, func(c Column) string { return c.Label }))
}

func (c *csvSink) row(r Row) error {
	return c.w.Write(mapped(r.Cells, func(c Cell) string {
		if c.IsN {
			return c.value()
		}
		return harmless(c.value())
	}))
}

func (c *csvSink) end() error {
	c.w.Flush()
	return c.w.Error()
}

// harmless is a text that no spreadsheet takes for a formula: one that could begin a formula gets an apostrophe,
// which spreadsheets hide (N23, N26).
func harmless(text string) string {
	trimmed := strings.TrimLeft(text, " \t\r\n\u00a0\ufeff")
	if trimmed != "" && strings.ContainsRune("=+-@|%\uff1d\uff0b\uff0d\uff20", firstRune(trimmed)) || strings.HasPrefix(text, "\t") || strings.HasPrefix(text, "\r") {
		return "'" + text
	}
	return text
}

func firstRune(s string) rune {
	for _, r := range s {
		return r
	}
	return 0
}

// jsonSink writes what the service said of each row.
type jsonSink struct {
	w      io.Writer
	encode *json.Encoder
	any    bool
}

func (j *jsonSink) begin(Table) error { _, err := io.WriteString(j.w, "[\n"); return err }

func (j *jsonSink) row(r Row) error {
	if j.any {
		if _, err := io.WriteString(j.w, ","); err != nil {
			return err
		}
	}
	j.any = true
	if err := j.encode.Encode(r.Value); err != nil {
		return fmt.Errorf("encode a row: %w", err)
	}
	return nil
}

func (j *jsonSink) end() error { _, err := io.WriteString(j.w, "]\n"); return err }
