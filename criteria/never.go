package criteria

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// maxTerms caps the ways to be true that Never looks at; what has more is not judged.
const maxTerms = 64

// Never reports whether an expression can never be true, with the reason as a sentence, as far as that is cheap to prove:
// it is constantly false, or each way to be true asks one field for what contradicts itself. false proves nothing. An expression
// that does not compile is not judged.
func (l *Language) Never(source string) (reason string, never bool) {
	p, err := l.compile(source)
	if err != nil || p.run == nil {
		return "", false
	}
	if len(p.reads) == 0 {
		met, err := p.eval(nil)
		return "It is always false.", err == nil && !met
	}
	tree, _, err := l.parse(source)
	if err != nil {
		return "", false
	}
	terms, ok := l.terms(tree.Expr(), false)
	if !ok {
		return "", false
	}
	for _, t := range terms {
		clash := l.contradiction(t)
		if clash == "" {
			return "", false
		}
		if reason == "" {
			reason = clash
		}
	}
	if reason == "" {
		reason = "It is always false."
	}
	return reason, true
}

// term is one way for an expression to be true: all of its lines are. What is not a line is left out, which only
// makes the term easier to meet.
type term []Line

// terms lists the ways for e (or, negated, for its opposite) to be true. No term: never. ok is false if there are too many.
func (l *Language) terms(e ast.Expr, negated bool) ([]term, bool) {
	if e.Kind() == ast.CallKind {
		c := e.AsCall()
		switch name := c.FunctionName(); {
		case name == operators.LogicalNot:
			return l.terms(c.Args()[0], !negated)
		case name == operators.LogicalAnd && !negated, name == operators.LogicalOr && negated:
			return l.both(c.Args(), negated)
		case name == operators.LogicalOr, name == operators.LogicalAnd:
			return l.either(c.Args(), negated)
		}
	}
	if b, ok := e.AsLiteral().(types.Bool); ok && e.Kind() == ast.LiteralKind {
		if bool(b) != negated {
			return []term{nil}, true
		}
		return nil, true
	}
	line, ok := l.line(e)
	switch {
	case !ok:
		return []term{nil}, true
	case negated:
		line = l.not(line)
	}
	return []term{{line}}, true
}

func (l *Language) either(args []ast.Expr, negated bool) ([]term, bool) {
	var out []term
	for _, arg := range args {
		more, ok := l.terms(arg, negated)
		out = append(out, more...)
		if !ok || len(out) > maxTerms {
			return nil, false
		}
	}
	return out, true
}

func (l *Language) both(args []ast.Expr, negated bool) ([]term, bool) {
	out := []term{nil}
	for _, arg := range args {
		more, ok := l.terms(arg, negated)
		if !ok || len(out)*len(more) > maxTerms {
			return nil, false
		}
		var joined []term
		for _, a := range out {
			for _, b := range more {
				joined = append(joined, slices.Concat(a, b))
			}
		}
		out = joined
	}
	return out, true
}

// contradiction says which lines of a term cannot be true together; empty if none is found.
func (l *Language) contradiction(t term) string {
	var seen []string
	for _, n := range t {
		if slices.Contains(seen, n.Field) {
			continue
		}
		seen = append(seen, n.Field)
		var lines []Line
		for _, other := range t {
			if other.Field == n.Field {
				lines = append(lines, other)
			}
		}
		f, _ := l.field(n.Field)
		if f.clash(lines) {
			return clashText(f, lines)
		}
	}
	return ""
}

func clashText(f Field, lines []Line) string {
	var out []string
	for _, n := range lines {
		values := make([]string, len(n.Values))
		for i, v := range n.Values {
			values[i], _ = f.spell(v)
		}
		if s := n.spell(values); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	if len(out) == 1 {
		return fmt.Sprintf("%s can never be true.", out[0])
	}
	return strings.Join(out, " and ") + " can never be true together."
}

// clash reports whether no value of the field meets all lines.
func (f Field) clash(lines []Line) bool {
	for i, a := range lines {
		for _, b := range lines[:i] {
			if a.Op == opposites[b.Op] && slices.Equal(a.Values, b.Values) || f.Type == Bool && a.Values[0] != b.Values[0] {
				return true
			}
		}
	}
	switch f.Type {
	case Number, Duration:
		return f.emptyRange(lines)
	case Choice, Level:
		return !slices.ContainsFunc(f.Values, func(v string) bool { return f.meetsAll(v, lines) })
	case Text, Version:
		return f.noCandidate(lines)
	}
	return false
}

// noCandidate looks at fields of any text: where lines name the values that are left, one of them must meet all.
func (f Field) noCandidate(lines []Line) bool {
	for _, n := range lines {
		if n.Op == Is || n.Op == OneOf {
			return !slices.ContainsFunc(n.Values, func(v string) bool { return f.meetsAll(v, lines) })
		}
	}
	for i, a := range lines {
		for _, b := range lines[:i] {
			apart := func(in func(s, part string) bool) bool {
				return !in(a.Values[0], b.Values[0]) && !in(b.Values[0], a.Values[0])
			}
			if a.Op == StartsWith && b.Op == StartsWith && apart(strings.HasPrefix) || a.Op == EndsWith && b.Op == EndsWith && apart(strings.HasSuffix) {
				return true
			}
		}
	}
	return false
}

func (f Field) meetsAll(v string, lines []Line) bool {
	return !slices.ContainsFunc(lines, func(n Line) bool { return !f.meets(v, n) })
}

// meets reports whether a text could meet a line. The order of versions is not judged here.
func (f Field) meets(v string, n Line) bool {
	has := slices.Contains(n.Values, v)
	first := n.Values[0]
	switch n.Op {
	case Is, OneOf:
		return has
	case IsNot, NoneOf:
		return !has
	case Contains:
		return strings.Contains(v, first)
	case ContainsNot:
		return !strings.Contains(v, first)
	case StartsWith:
		return strings.HasPrefix(v, first)
	case StartsWithNot:
		return !strings.HasPrefix(v, first)
	case EndsWith:
		return strings.HasSuffix(v, first)
	case EndsWithNot:
		return !strings.HasSuffix(v, first)
	}
	if f.Type != Level {
		return true
	}
	for op, form := range operatorOps {
		if form == n.Op {
			return slices.Contains(f.admitted(op, first), v)
		}
	}
	return true
}

// natural is the range that a number has by itself.
func (f Field) natural() (least, most int64) {
	switch f.Name {
	case "size":
		return 0, math.MaxInt64
	case "phased":
		return 0, 100
	}
	return math.MinInt64, math.MaxInt64
}

// emptyRange narrows a range by all lines.
func (f Field) emptyRange(lines []Line) bool {
	least, most := f.natural()
	var out []int64 // single values that are excluded
	for _, n := range lines {
		v, ok := f.number(n.Values[0])
		switch {
		case !ok:
		case n.Op == Is:
			least, most = max(least, v), min(most, v)
		case n.Op == AtLeast:
			least = max(least, v)
		case n.Op == AtMost:
			most = min(most, v)
		case n.Op == More && v == math.MaxInt64, n.Op == Less && v == math.MinInt64:
			return true
		case n.Op == More:
			least = max(least, v+1)
		case n.Op == Less:
			most = min(most, v-1)
		case n.Op == IsNot:
			out = append(out, v)
		}
	}
	return least > most || least == most && slices.Contains(out, least)
}

func (f Field) number(s string) (int64, bool) {
	if f.Type == Duration {
		d, ok := parseSpan(s)
		return int64(d), ok
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}
