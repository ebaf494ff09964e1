package store

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestArrays_HandOverEachColumnOfEachRowOnceInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) []any {
			return []any{rapid.String().Draw(t, "text"), rapid.Int64().Draw(t, "number"), rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")}
		}), 1, 2*batch+3).Draw(t, "rows")
		var got [][]any
		for c, err := range (tx{}).arrays("INSERT INTO t (a, b, c) VALUES :rows ON CONFLICT DO NOTHING", rows) {
			if err != nil {
				t.Fatal(err)
			}
			if want := "INSERT INTO t (a, b, c) SELECT * FROM unnest(CAST($1 AS text[]), CAST($2 AS bigint[]), CAST($3 AS bytea[])) ON CONFLICT DO NOTHING"; c.text != want {
				t.Fatalf("%s\nwant %s", c.text, want)
			}
			texts, numbers, bytes := c.args[0].([]string), c.args[1].([]int64), c.args[2].([][]byte)
			if len(texts) > batch || len(numbers) != len(texts) || len(bytes) != len(texts) {
				t.Fatalf("columns of %d, %d and %d rows", len(texts), len(numbers), len(bytes))
			}
			for i := range texts {
				got = append(got, []any{texts[i], numbers[i], bytes[i]})
			}
		}
		if diff := cmp.Diff(rows, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestArrays_WhatHasNoTypeOfItsColumnIsRefused(t *testing.T) {
	for name, rows := range map[string][][]any{
		"mixed":   {{"a", int64(1)}, {"b", "1"}},
		"unknown": {{"a", 1.5}},
		"nothing": {{"a", nil}},
	} {
		refused := slices.ContainsFunc(slices.Collect(errorsOf(tx{}.arrays("INSERT INTO t VALUES :rows", rows))), func(err error) bool { return err != nil })
		if !refused {
			t.Errorf("%s: rows were taken", name)
		}
	}
}

// errorsOf are the errors of a sequence.
func errorsOf(seq func(func(chunk, error) bool)) func(func(error) bool) {
	return func(yield func(error) bool) {
		for _, err := range seq {
			if !yield(err) {
				return
			}
		}
	}
}
