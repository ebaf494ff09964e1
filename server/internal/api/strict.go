package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
)

// strictJSON is the one encoding of the API. Reading refuses what two readers could understand differently:
// duplicate keys, invalid UTF-8, anything behind the value, and nesting that no message has.
func strictJSON() huma.Format {
	return huma.Format{
		Marshal: func(w io.Writer, v any) error {
			enc := json.NewEncoder(w)
			enc.SetEscapeHTML(false)
			return enc.Encode(v)
		},
		Unmarshal: readStrict,
	}
}

// The refusals of readStrict: ends of a sentence that starts with "The request's body cannot be read:".
var (
	errUTF8  = errors.New("it is not valid UTF-8")
	errDepth = fmt.Errorf("it is nested deeper than %d levels", maxDepth)
	errJSON  = errors.New("it is not one JSON value")
	errType  = errors.New("a value has the wrong type or form")
)

func readStrict(data []byte, v any) error {
	if !utf8.Valid(data) {
		return errUTF8
	}
	if err := scan(data); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return errType // encoding/json's own words name Go types
	}
	return nil
}

// level is one open object or array of a scan.
type level struct {
	keys map[string]bool // nil in an array
	key  bool            // the next token is a key
}

// scan walks over one JSON value without building it.
func scan(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var open []level
	for {
		tok, err := dec.Token()
		if err != nil {
			return errJSON
		}
		if open, err = step(open, tok); err != nil {
			return err
		}
		if len(open) == 0 {
			break
		}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errJSON
	}
	return nil
}

// step takes one token.
func step(open []level, tok json.Token) ([]level, error) {
	top := len(open) - 1
	switch t := tok.(type) {
	case json.Delim:
		if t == '}' || t == ']' {
			return closed(open[:top]), nil
		}
		if len(open) == maxDepth {
			return nil, errDepth
		}
		if t == '{' {
			return append(open, level{keys: map[string]bool{}, key: true}), nil
		}
		return append(open, level{}), nil
	case string:
		if top >= 0 && open[top].key {
			if !isKey(t) {
				return nil, fmt.Errorf("%.40q is not a field of this API", t)
			}
			if open[top].keys[t] {
				return nil, fmt.Errorf("the key %.40q stands twice", t)
			}
			open[top].keys[t], open[top].key = true, false
			return open, nil
		}
	}
	return closed(open), nil
}

// isKey reports whether a field of the API could have this name. encoding/json and the schema check both
// take "STATUS" for "status"; refusing it here leaves one spelling, and so no way to say a thing twice.
func isKey(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return s != ""
}

// closed notes that a value ended: in an object a key comes next.
func closed(open []level) []level {
	if top := len(open) - 1; top >= 0 && open[top].keys != nil {
		open[top].key = true
	}
	return open
}
