package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// maxFile caps what is read of a file, in bytes; maxNesting how deep it goes.
const (
	maxFile    = 4 << 20
	maxNesting = 32
)

// readDocument reads a file, or the standard input for "-", as JSON: YAML too, of which JSON is a part.
func (a *app) readDocument(name string) ([]byte, error) {
	in := a.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, usage("the file %s cannot be read: %v", clean(name), errors.Unwrap(err))
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	switch {
	case err != nil:
		return nil, usage("the file %s cannot be read: %v", clean(name), err)
	case len(raw) > maxFile:
		return nil, usage("the file %s has more than %d bytes", clean(name), maxFile)
	}
	doc, err := fromYAML(raw)
	if err != nil {
		return nil, usage("the file %s cannot be read: %v", clean(name), err)
	}
	return doc, nil
}

// fromYAML turns one YAML document into JSON, strictly: no second document, no key twice, and no anchors, which could make a small file a
// huge one. What looks like a date stays the text that it is.
func fromYAML(raw []byte) ([]byte, error) {
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	var doc, more yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it is empty")
		}
		return nil, fmt.Errorf("it is not YAML: %w", err)
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something behind its first document")
	}
	var out bytes.Buffer
	if err := writeJSON(&out, &doc, 0); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func writeJSON(out *bytes.Buffer, n *yaml.Node, depth int) error {
	if depth > maxNesting {
		return fmt.Errorf("line %d: it is nested deeper than %d levels", n.Line, maxNesting)
	}
	if n.Anchor != "" {
		return fmt.Errorf("line %d: anchors are not read here", n.Line)
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return writeJSON(out, n.Content[0], depth)
	case yaml.MappingNode:
		return writeObject(out, n, depth)
	case yaml.SequenceNode:
		out.WriteByte('[')
		for i, c := range n.Content {
			if i > 0 {
				out.WriteByte(',')
			}
			if err := writeJSON(out, c, depth+1); err != nil {
				return err
			}
		}
		out.WriteByte(']')
		return nil
	case yaml.ScalarNode:
		return writeScalar(out, n)
	}
	return fmt.Errorf("line %d: aliases are not read here", n.Line)
}

func writeObject(out *bytes.Buffer, n *yaml.Node, depth int) error {
	var seen []string
	out.WriteByte('{')
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge" {
			return fmt.Errorf("line %d: a key is a word", key.Line)
		}
		if slices.Contains(seen, key.Value) {
			return fmt.Errorf("line %d: %q stands there twice", key.Line, key.Value)
		}
		if seen = append(seen, key.Value); i > 0 {
			out.WriteByte(',')
		}
		if err := writeText(out, key.Value); err != nil {
			return err
		}
		out.WriteByte(':')
		if err := writeJSON(out, n.Content[i+1], depth+1); err != nil {
			return err
		}
	}
	out.WriteByte('}')
	return nil
}

func writeScalar(out *bytes.Buffer, n *yaml.Node) error {
	switch n.ShortTag() {
	case "!!null":
		out.WriteString("null")
		return nil
	case "!!bool":
		var b bool
		if err := n.Decode(&b); err != nil {
			return fmt.Errorf("line %d: %q is neither true nor false", n.Line, n.Value)
		}
		out.WriteString(strconv.FormatBool(b))
		return nil
	case "!!int":
		var i int64
		if err := n.Decode(&i); err != nil {
			return fmt.Errorf("line %d: %q is not a whole number", n.Line, n.Value)
		}
		out.WriteString(strconv.FormatInt(i, 10))
		return nil
	case "!!str", "!!timestamp":
		return writeText(out, n.Value)
	}
	return fmt.Errorf("line %d: %q is neither a text, a whole number, true nor false", n.Line, n.Value)
}

func writeText(out *bytes.Buffer, s string) error {
	b, err := json.Marshal(s)
	out.Write(b)
	return err
}

// toYAML writes what can be written as JSON as YAML, keys in the same order.
func toYAML(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return nil, err
	}
	plainStyle(&doc)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return nil, err
	}
	return out.Bytes(), enc.Close()
}

// plainStyle makes blocks of JSON's braces; the encoder quotes a text where it would read as something else.
func plainStyle(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		plainStyle(c)
	}
}
