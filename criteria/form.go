package criteria

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"assent/fault"
)

// Op is how a line of the form compares.
type Op string

// The comparisons of the form.
const (
	Is            Op = "is" // also of Bool, with the value "true" or "false"
	IsNot         Op = "is_not"
	OneOf         Op = "one_of"
	NoneOf        Op = "none_of"
	Less          Op = "less"
	AtMost        Op = "at_most"
	More          Op = "more"
	AtLeast       Op = "at_least"
	Contains      Op = "contains"
	ContainsNot   Op = "contains_not"
	StartsWith    Op = "starts_with"
	StartsWithNot Op = "starts_with_not"
	EndsWith      Op = "ends_with"
	EndsWithNot   Op = "ends_with_not"
	Has           Op = "has" // a List has this element
	HasNot        Op = "has_not"
)

// symbols are the comparisons that are operators in the text.
var symbols = map[Op]string{Is: "==", IsNot: "!=", Less: "<", AtMost: "<=", More: ">", AtLeast: ">="}

// operatorOps reads the operators of the tree.
var operatorOps = map[string]Op{operators.Equals: Is, operators.NotEquals: IsNot, operators.Less: Less, operators.LessEquals: AtMost,
	operators.Greater: More, operators.GreaterEquals: AtLeast}

// parts are the comparisons that are methods in the text.
var parts = map[Op]string{Contains: "contains", StartsWith: "startsWith", EndsWith: "endsWith"}

// opposites pairs each comparison with its negation.
var opposites = map[Op]Op{Is: IsNot, IsNot: Is, OneOf: NoneOf, NoneOf: OneOf, Less: AtLeast, AtLeast: Less, More: AtMost, AtMost: More,
	Contains: ContainsNot, ContainsNot: Contains, StartsWith: StartsWithNot, StartsWithNot: StartsWith, EndsWith: EndsWithNot, EndsWithNot: EndsWith,
	Has: HasNot, HasNot: Has}

// Line is one simple comparison.
type Line struct {
	Field string `json:"field"`
	Op    Op     `json:"op"`
	// Values is one value, several for OneOf and NoneOf. Numbers are decimal; durations are "2d", "12h" or as "1h30m0s".
	Values []string `json:"values"`
}

// Form is a conjunction of simple comparisons: what the console shows as lines of a form. Without lines it admits everything.
type Form struct {
	Lines []Line `json:"lines"`
}

// maxLines caps a form.
const maxLines = 50

// Ops lists the comparisons that a field of this type has, in the order in which a form offers them.
func (t Type) Ops() []Op {
	text := []Op{Contains, ContainsNot, StartsWith, StartsWithNot, EndsWith, EndsWithNot}
	switch t {
	case Bool:
		return []Op{Is}
	case List:
		return []Op{Has, HasNot}
	case Number, Duration:
		return []Op{AtLeast, More, AtMost, Less, Is, IsNot}
	case Level:
		return []Op{AtLeast, More, AtMost, Less, Is, IsNot, OneOf, NoneOf}
	case Choice:
		return []Op{Is, IsNot, OneOf, NoneOf}
	case Version:
		return append([]Op{Is, IsNot, OneOf, NoneOf, AtLeast, More, AtMost, Less}, text...)
	}
	return append([]Op{Is, IsNot, OneOf, NoneOf}, text...)
}

// Form reads an expression as a form. ok is false if the form cannot show it; the text is then the only view. The error is
// CompileRule's or CompileSelection's.
func (l *Language) Form(source string) (f Form, ok bool, err error) {
	if _, err := l.compile(source); err != nil {
		return Form{}, false, err
	}
	tree, _, err := l.parse(source)
	if err != nil || tree == nil {
		return Form{}, err == nil, err
	}
	if b, is := tree.Expr().AsLiteral().(types.Bool); is && bool(b) {
		return Form{}, true, nil
	}
	for _, e := range conjuncts(tree.Expr(), nil) {
		line, simple := l.line(e)
		if !simple {
			return Form{}, false, nil
		}
		f.Lines = append(f.Lines, line)
	}
	return f, len(f.Lines) <= maxLines, nil
}

// conjuncts lists what is joined by &&.
func conjuncts(e ast.Expr, out []ast.Expr) []ast.Expr {
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.LogicalAnd {
		for _, arg := range e.AsCall().Args() {
			out = conjuncts(arg, out)
		}
		return out
	}
	return append(out, e)
}

// line reads one simple comparison.
func (l *Language) line(e ast.Expr) (Line, bool) {
	if f, ok := l.ident(e); ok {
		return Line{Field: f.Name, Op: Is, Values: []string{"true"}}, f.Type == Bool
	}
	if e.Kind() != ast.CallKind {
		return Line{}, false
	}
	c := e.AsCall()
	switch name := c.FunctionName(); {
	case name == operators.LogicalNot:
		line, ok := l.line(c.Args()[0])
		if !ok {
			return Line{}, false
		}
		return l.not(line), true
	case c.IsMemberFunction():
		return l.part(c)
	case name == operators.In:
		return l.in(c)
	case len(c.Args()) == 2:
		return l.comparison(c)
	}
	return Line{}, false
}

// not is the opposite of a line.
func (l *Language) not(n Line) Line {
	if f, _ := l.field(n.Field); f.Type == Bool {
		return Line{Field: n.Field, Op: Is, Values: []string{strconv.FormatBool(n.Values[0] != "true")}}
	}
	return Line{Field: n.Field, Op: opposites[n.Op], Values: n.Values}
}

func (l *Language) ident(e ast.Expr) (Field, bool) {
	if e.Kind() != ast.IdentKind {
		return Field{}, false
	}
	return l.field(e.AsIdent())
}

// part reads name.contains("x") and the like.
func (l *Language) part(c ast.CallExpr) (Line, bool) {
	f, ok := l.ident(c.Target())
	if !ok || len(c.Args()) != 1 {
		return Line{}, false
	}
	s, written := text(c.Args()[0])
	for op, method := range parts {
		if method == c.FunctionName() {
			return Line{Field: f.Name, Op: op, Values: []string{s}}, written && slices.Contains(f.Type.Ops(), op)
		}
	}
	return Line{}, false
}

// in reads name in ["a", "b"] and "x" in cves.
func (l *Language) in(c ast.CallExpr) (Line, bool) {
	left, right := c.Args()[0], c.Args()[1]
	if f, ok := l.ident(right); ok {
		s, written := text(left)
		return Line{Field: f.Name, Op: Has, Values: []string{s}}, written && f.Type == List
	}
	f, ok := l.ident(left)
	if !ok || right.Kind() != ast.ListKind || !slices.Contains(f.Type.Ops(), OneOf) || len(right.AsList().Elements()) == 0 {
		return Line{}, false
	}
	line := Line{Field: f.Name, Op: OneOf}
	for _, it := range right.AsList().Elements() {
		s, written := text(it)
		if !written {
			return Line{}, false
		}
		line.Values = append(line.Values, s)
	}
	return line, true
}

// comparison reads FIELD OP VALUE and VALUE OP FIELD.
func (l *Language) comparison(c ast.CallExpr) (Line, bool) {
	name, left, right := c.FunctionName(), c.Args()[0], c.Args()[1]
	f, ok := l.ident(left)
	if !ok {
		left, right = right, left
		if mirrored, orders := orderings[name]; orders {
			name = mirrored
		}
		if f, ok = l.ident(left); !ok {
			return Line{}, false
		}
	}
	op, known := operatorOps[name]
	value, written := f.value(right)
	if !known || !written {
		return Line{}, false
	}
	if f.Type == Bool {
		if op == IsNot {
			value = strconv.FormatBool(value != "true")
		}
		op = Is
	}
	return Line{Field: f.Name, Op: op, Values: []string{value}}, slices.Contains(f.Type.Ops(), op)
}

// value reads what a field is compared with, in the form's spelling.
func (f Field) value(e ast.Expr) (string, bool) {
	switch f.Type {
	case Bool:
		b, ok := e.AsLiteral().(types.Bool)
		return strconv.FormatBool(bool(b)), ok && e.Kind() == ast.LiteralKind
	case Number:
		n, ok := number(e)
		return strconv.FormatInt(n, 10), ok
	case Duration:
		d, ok := duration(e)
		return span(d), ok
	case List:
		return "", false
	}
	return text(e)
}

// span spells a duration for the form: in days, else in hours, else exactly.
func span(d time.Duration) string {
	switch {
	case d%(24*time.Hour) == 0:
		return strconv.FormatInt(int64(d/(24*time.Hour)), 10) + "d"
	case d%time.Hour == 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	}
	return d.String()
}

// parseSpan reads what span writes, and every Go duration.
func parseSpan(s string) (time.Duration, bool) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		days, err := strconv.ParseInt(n, 10, 32)
		return time.Duration(days) * 24 * time.Hour, err == nil && days <= maxDays && days >= -maxDays
	}
	d, err := time.ParseDuration(s)
	return d, err == nil && d.Abs() <= maxDays*24*time.Hour
}

// Expression writes a form as text, in the canonical spelling. The error is a *fault.Error that names the line.
func (l *Language) Expression(f Form) (string, error) {
	if len(f.Lines) > maxLines {
		return "", fault.New(fault.Invalid, "criteria_too_long", "The form has %d lines; %d are allowed.", len(f.Lines), maxLines).On("lines")
	}
	var out []string
	for i, n := range f.Lines {
		s, err := l.write(n)
		if err != nil {
			return "", err.On(fmt.Sprintf("lines[%d]", i))
		}
		out = append(out, s)
	}
	source := strings.Join(out, " && ")
	if _, err := l.compile(source); err != nil {
		return "", err
	}
	return source, nil
}

func (l *Language) write(n Line) (string, *fault.Error) {
	f, ok := l.field(n.Field)
	if !ok {
		return "", fault.New(fault.Invalid, "criteria_unknown_name", "There is no field %q.", n.Field)
	}
	if !slices.Contains(f.Type.Ops(), n.Op) {
		return "", fault.New(fault.Invalid, "criteria_type", "%s cannot be compared with %q.", f.Name, n.Op)
	}
	many := n.Op == OneOf || n.Op == NoneOf
	if len(n.Values) == 0 || !many && len(n.Values) > 1 {
		return "", fault.New(fault.Invalid, "criteria_value", "%s needs one value, or several for one of and none of.", f.Name)
	}
	values := make([]string, len(n.Values))
	for i, v := range n.Values {
		s, err := f.spell(v)
		if err != nil {
			return "", err
		}
		values[i] = s
	}
	return n.spell(values), nil
}

// spell writes one value of a field as it stands in the text.
func (f Field) spell(v string) (string, *fault.Error) {
	switch f.Type {
	case Bool:
		if v == "true" || v == "false" {
			return v, nil
		}
		return "", fault.New(fault.Invalid, "criteria_value", "%s is true or false.", f.Name)
	case Number:
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			return strconv.FormatInt(n, 10), nil
		}
		return "", fault.New(fault.Invalid, "criteria_value", "%s is a whole number, and %.40q is none.", f.Name, v)
	case Duration:
		d, ok := parseSpan(v)
		if !ok {
			return "", fault.New(fault.Invalid, "criteria_value", "%s is a duration as 2d, 12h or 90m, and %.40q is none.", f.Name, v)
		}
		return written(d), nil
	}
	if !utf8.ValidString(v) {
		return "", fault.New(fault.Invalid, "criteria_value", "The value of %s is not UTF-8 text.", f.Name)
	}
	return quote(v), nil
}

// written is a duration as it stands in the text.
func written(d time.Duration) string {
	s := span(d)
	if n, ok := strings.CutSuffix(s, "d"); ok {
		return "days(" + n + ")"
	}
	if n, ok := strings.CutSuffix(s, "h"); ok {
		return "hours(" + n + ")"
	}
	return "duration(" + quote(s) + ")"
}

// spell writes a line with its values as they stand in the text.
func (n Line) spell(values []string) string {
	if symbol, ok := symbols[n.Op]; ok {
		switch values[0] {
		case "true":
			return n.Field
		case "false":
			return "!" + n.Field
		}
		return n.Field + " " + symbol + " " + values[0]
	}
	if method, ok := parts[n.Op]; ok {
		return n.Field + "." + method + "(" + values[0] + ")"
	}
	switch n.Op {
	case OneOf:
		return n.Field + " in [" + strings.Join(values, ", ") + "]"
	case Has:
		return values[0] + " in " + n.Field
	case NoneOf, HasNot:
		return "!(" + Line{Field: n.Field, Op: opposites[n.Op]}.spell(values) + ")"
	}
	return "!" + Line{Field: n.Field, Op: opposites[n.Op]}.spell(values)
}
