package migrate

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// node is an element of CLIXML.
type node struct {
	tag, name, ref string
	text           strings.Builder
	below          []*node
}

// The limits of CLIXML.
const (
	maxNodes  = 2_000_000
	maxNested = 40
	// maxElements is how many elements of a list are read: an update has few numbers.
	maxElements = 20
)

// clixml reads Export-Clixml: the objects on top, or those of a list that is alone there.
func clixml(at string, raw []byte) ([]record, error) {
	top, err := tree(at, raw)
	if err != nil {
		return nil, err
	}
	if top.tag != "Objs" {
		return nil, bad(at, "It begins with %.40q, not with Objs as Export-Clixml writes it.", top.tag)
	}
	objects := top.below
	if len(objects) == 1 && len(objects[0].elements()) > 0 {
		objects = objects[0].elements()
	}
	if len(objects) > maxRecords {
		return nil, bad(at, "It has more than %d objects.", maxRecords)
	}
	seen := map[string]*node{}
	top.index(seen)
	var out []record
	for i, o := range objects {
		if o = o.resolve(seen); o.tag != "Obj" {
			return nil, bad(at, "Object %d is a %.40q, not an object with properties.", i+1, o.tag)
		}
		r := newRecord(at, "object", i+1)
		o.properties(r, seen, true)
		out = append(out, r)
	}
	return out, nil
}

func newRecord(at, what string, n int) record {
	return record{at: fmt.Sprintf("%s, %s %d", at, what, n), fields: map[string][]string{}}
}

// tree reads the elements.
func tree(at string, raw []byte) (*node, error) {
	dec := xml.NewDecoder(strings.NewReader(string(raw)))
	dec.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil } // it is UTF-8 by now
	var top *node
	var open []*node
	for n := 0; ; {
		t, err := dec.Token()
		if errors.Is(err, io.EOF) && top != nil {
			return top, nil
		}
		if err != nil {
			return nil, bad(at, "It is not XML: %.200s.", err.Error())
		}
		switch t := t.(type) {
		case xml.StartElement:
			if n++; n > maxNodes || len(open) >= maxNested {
				return nil, bad(at, "It has more than %d elements, or they lie more than %d deep.", maxNodes, maxNested)
			}
			e := element(t)
			if len(open) > 0 {
				up := open[len(open)-1]
				up.below = append(up.below, e)
			} else if top == nil {
				top = e
			}
			open = append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].text.Write(t)
			}
		case xml.Directive:
			return nil, bad(at, "It has a document type, which Export-Clixml never writes.")
		}
	}
}

func element(t xml.StartElement) *node {
	e := &node{tag: t.Name.Local}
	for _, a := range t.Attr {
		switch a.Name.Local {
		case "N":
			e.name = unescape(a.Value)
		case "RefId":
			e.ref = a.Value
		}
	}
	return e
}

// index finds the objects that others refer to.
func (n *node) index(seen map[string]*node) {
	if n.tag == "Obj" && n.ref != "" {
		seen[n.ref] = n
	}
	for _, b := range n.below {
		b.index(seen)
	}
}

func (n *node) resolve(seen map[string]*node) *node {
	if o := seen[n.ref]; n.tag == "Ref" && o != nil {
		return o
	}
	return n
}

// elements are those of a list.
func (n *node) elements() []*node {
	for _, b := range n.below {
		switch b.tag {
		case "LST", "IE", "QUE", "STK":
			return b.below
		}
	}
	return nil
}

// properties adds those of an object; of one named Update, those inside it too.
func (n *node) properties(r record, seen map[string]*node, deep bool) {
	var update *node
	for _, part := range n.below {
		if part.tag != "Props" && part.tag != "MS" {
			continue
		}
		for _, p := range part.below {
			v := p.resolve(seen)
			if r.add(p.name, v.texts(seen)...); strings.EqualFold(p.name, "Update") {
				update = v
			}
		}
	}
	if update != nil && deep {
		update.properties(r, seen, false)
	}
}

// texts are those of a value: of a list those of its first elements, of an object what it says of itself. Lists in lists are not followed, so
// that objects which refer to each other cannot be endless.
func (n *node) texts(seen map[string]*node) []string {
	if all := n.elements(); len(all) > 0 {
		var out []string
		for _, e := range all[:min(len(all), maxElements)] {
			out = append(out, e.resolve(seen).says()...)
		}
		return out
	}
	return n.says()
}

// says is the text of a simple value, or what an object says of itself.
func (n *node) says() []string {
	switch n.tag {
	case "Nil", "Ref":
		return nil
	case "Obj":
		for _, b := range n.below {
			if b.tag == "ToString" {
				return []string{unescape(b.text.String())}
			}
		}
		return nil
	}
	return []string{unescape(n.text.String())}
}

var escaped = regexp.MustCompile(`_x[0-9A-Fa-f]{4}_`)

// unescape reads the characters that CLIXML cannot write plainly: _x000A_.
func unescape(s string) string {
	return escaped.ReplaceAllStringFunc(s, func(m string) string {
		n, err := strconv.ParseUint(m[2:6], 16, 16)
		if err != nil || n >= 0xD800 && n < 0xE000 {
			return m
		}
		return string(rune(n))
	})
}
