package migrate

import (
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// record is one object that PowerShell wrote: the texts of its properties, by their names in lower case.
type record struct {
	at     string
	fields map[string][]string
}

// first is the first text that one of the properties has.
func (r record) first(names ...string) string {
	for _, n := range names {
		for _, v := range r.fields[n] {
			if v = strings.TrimSpace(v); v != "" {
				return v
			}
		}
	}
	return ""
}

// add takes a property over, unless it is there already.
func (r record) add(name string, values ...string) {
	if name = strings.ToLower(name); len(r.fields[name]) == 0 {
		r.fields[name] = values
	}
}

// records reads what PowerShell writes: Export-Clixml, Export-Csv or ConvertTo-Json, in the encodings that it uses.
func records(at string, raw []byte) ([]record, error) {
	if len(raw) > MaxInput {
		return nil, within(at, raw)
	}
	raw, err := toUTF8(at, raw)
	if err != nil {
		return nil, err
	}
	switch start := bytes.TrimSpace(raw); {
	case len(start) == 0:
		return nil, bad(at, "It is empty.")
	case start[0] == '<':
		return clixml(at, raw)
	case start[0] == '[' || start[0] == '{':
		return jsonRecords(at, raw)
	}
	return csvRecords(at, raw)
}

// toUTF8 reads the byte order marks that PowerShell writes.
func toUTF8(at string, raw []byte) ([]byte, error) {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(raw, []byte("\xff\xfe")):
		order = binary.LittleEndian
	case bytes.HasPrefix(raw, []byte("\xfe\xff")):
		order = binary.BigEndian
	default:
		raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
		return raw, within(at, raw)
	}
	if raw = raw[2:]; len(raw)%2 != 0 {
		return nil, bad(at, "It is cut off in the middle of a character.")
	}
	units := make([]uint16, len(raw)/2)
	for i := range units {
		units[i] = order.Uint16(raw[2*i:])
	}
	out := make([]byte, 0, len(units))
	for _, r := range utf16.Decode(units) {
		out = utf8.AppendRune(out, r)
	}
	return out, nil
}

// csvRecords reads Export-Csv: perhaps a line "#TYPE …", a header, values divided by commas or by what the culture has.
func csvRecords(at string, raw []byte) ([]record, error) {
	text := string(raw)
	if strings.HasPrefix(text, "#TYPE") {
		_, text, _ = strings.Cut(text, "\n")
	}
	head, _, _ := strings.Cut(text, "\n")
	in := csv.NewReader(strings.NewReader(text))
	for _, sep := range []rune{';', '\t'} {
		if strings.Count(head, string(sep)) > strings.Count(head, string(in.Comma)) {
			in.Comma = sep
		}
	}
	in.LazyQuotes = false
	header, err := in.Read()
	if err != nil {
		return nil, bad(at, "It is no table: %.200s.", err.Error())
	}
	var out []record
	for {
		row, err := in.Read()
		switch {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, bad(at, "It is no table: %.200s.", err.Error())
		case len(out) >= maxRecords:
			return nil, bad(at, "It has more than %d rows.", maxRecords)
		}
		line, _ := in.FieldPos(0)
		r := newRecord(at, "row", line)
		for i, v := range row {
			r.add(strings.TrimSpace(header[i]), v)
		}
		out = append(out, r)
	}
}

// jsonRecords reads ConvertTo-Json: one object or several.
func jsonRecords(at string, raw []byte) ([]record, error) {
	var all []map[string]any
	if bytes.TrimSpace(raw)[0] == '{' {
		raw = append(append([]byte("["), raw...), ']')
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, bad(at, "It is not the JSON of objects: %.200s.", err.Error())
	}
	if len(all) > maxRecords {
		return nil, bad(at, "It has more than %d objects.", maxRecords)
	}
	var out []record
	for i, object := range all {
		r := newRecord(at, "object", i+1)
		for _, name := range sortedKeys(object) {
			r.add(name, jsonTexts(object[name])...)
		}
		if update, ok := object["Update"].(map[string]any); ok {
			for _, name := range sortedKeys(update) {
				r.add(name, jsonTexts(update[name])...)
			}
		}
		out = append(out, r)
	}
	return out, nil
}

// jsonTexts are the texts of a value; of an object those that say what it is.
func jsonTexts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case bool:
		return []string{map[bool]string{true: "True", false: "False"}[v]}
	case float64:
		raw, _ := json.Marshal(v)
		return []string{string(raw)}
	case []any:
		var out []string
		for _, one := range v {
			out = append(out, jsonTexts(one)...)
		}
		return out
	case map[string]any:
		for _, name := range []string{"value", "Name", "UpdateId", "Title"} {
			if one, ok := v[name]; ok {
				return jsonTexts(one)
			}
		}
	}
	return nil
}
