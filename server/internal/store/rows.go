package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// batch is the number of rows in one statement.
const batch = 500

// many runs a query once for every batch of rows, with ":rows" replaced by them. All rows
// must be equally long and, for ON CONFLICT DO UPDATE, distinct in their keys (see latest). It returns
// how many rows changed.
func (t tx) many(ctx context.Context, query string, rows [][]any) (int64, error) {
	var changed int64
	for chunk, err := range t.chunks(ctx, query, rows) {
		if err != nil {
			return 0, err
		}
		res, err := chunk.exec(ctx, t)
		if err != nil {
			return 0, err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return 0, err
		}
		changed += n
	}
	return changed, nil
}

// returning is many for a query that returns two text columns.
func (t tx) returning(ctx context.Context, query string, rows [][]any, fn func(a, b string)) error {
	for chunk, err := range t.chunks(ctx, query, rows) {
		if err != nil {
			return err
		}
		res, err := chunk.query(ctx, t)
		if err != nil {
			return err
		}
		for res.Next() {
			var a, b string
			if err := res.Scan(&a, &b); err != nil {
				return errors.Join(err, res.Close()) //nolint:sqlclosecheck // both ways out close it; a defer in a loop would not
			}
			fn(a, b)
		}
		if err := errors.Join(res.Err(), res.Close()); err != nil {
			return err
		}
	}
	return nil
}

// chunk is a statement for some of the rows.
type chunk struct {
	stmt *sql.Stmt // nil: text is for the driver to prepare, which keeps it by itself
	text string
	args []any
}

func (c chunk) exec(ctx context.Context, t tx) (sql.Result, error) {
	if c.stmt == nil {
		return t.ExecContext(ctx, c.text, c.args...)
	}
	return c.stmt.ExecContext(ctx, c.args...)
}

func (c chunk) query(ctx context.Context, t tx) (*sql.Rows, error) {
	if c.stmt == nil {
		return t.QueryContext(ctx, c.text, c.args...)
	}
	return c.stmt.QueryContext(ctx, c.args...)
}

// chunks cuts rows into statements: the way that costs the engine least.
func (t tx) chunks(ctx context.Context, query string, rows [][]any) func(func(chunk, error) bool) {
	if t.shared && strings.Contains(query, "VALUES :rows") {
		return t.arrays(query, rows)
	}
	return t.prepared(ctx, query, rows)
}

// prepared prepares query for batches of rows; equally long batches share the prepared statement.
func (t tx) prepared(ctx context.Context, query string, rows [][]any) func(func(chunk, error) bool) {
	return func(yield func(chunk, error) bool) {
		var stmt *sql.Stmt
		prepared := 0
		for part := range slices.Chunk(rows, batch) {
			if len(part) != prepared {
				s, err := t.PrepareContext(ctx, t.bind(strings.Replace(query, ":rows", placeholders(len(part), len(part[0])), 1)))
				if err != nil {
					yield(chunk{}, err)
					return
				}
				defer s.Close() // at most twice: full batches and the rest
				stmt, prepared = s, len(part)
			}
			if !yield(chunk{stmt: stmt, args: slices.Concat(part...)}, nil) {
				return
			}
		}
	}
}

func placeholders(rows, columns int) string {
	row := "(" + strings.Repeat("?, ", columns-1) + "?)"
	return strings.Repeat(row+", ", rows-1) + row
}

// arrays hands PostgreSQL the rows as an array for each column. So the query's text does not depend on their number, the
// driver prepares it once for each connection, and planning does not look at each value.
func (t tx) arrays(query string, rows [][]any) func(func(chunk, error) bool) {
	return func(yield func(chunk, error) bool) {
		for part := range slices.Chunk(rows, batch) {
			casts, args := make([]string, len(part[0])), make([]any, len(part[0]))
			var err error
			for i := range part[0] {
				kind, column, failed := columnOf(part, i)
				casts[i], args[i] = "CAST($"+strconv.Itoa(i+1)+" AS "+kind+"[])", column
				err = errors.Join(err, failed)
			}
			text := strings.Replace(query, "VALUES :rows", "SELECT * FROM unnest("+strings.Join(casts, ", ")+")", 1)
			if !yield(chunk{text: text, args: args}, err) || err != nil {
				return
			}
		}
	}
}

// columnOf gives one column of rows with PostgreSQL's name for its type.
func columnOf(rows [][]any, i int) (kind string, column any, err error) {
	switch rows[0][i].(type) {
	case string:
		column, err = typed[string](rows, i)
		return "text", column, err
	case int64:
		column, err = typed[int64](rows, i)
		return "bigint", column, err
	case []byte:
		column, err = typed[[]byte](rows, i)
		return "bytea", column, err
	}
	return "", nil, fmt.Errorf("column %d holds a %T, which is not written by rows", i, rows[0][i])
}

func typed[T any](rows [][]any, i int) ([]T, error) {
	out := make([]T, len(rows))
	for n, row := range rows {
		v, ok := row[i].(T)
		if !ok {
			return nil, fmt.Errorf("column %d holds a %T and a %T", i, rows[0][i], row[i])
		}
		out[n] = v
	}
	return out, nil
}
