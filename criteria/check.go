package criteria

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// orderings are the operators that need an order, with what they are when their sides change places.
var orderings = map[string]string{operators.Less: operators.Greater, operators.LessEquals: operators.GreaterEquals,
	operators.Greater: operators.Less, operators.GreaterEquals: operators.LessEquals}

// globals are the functions and operators that expressions may use, with the number of their arguments.
var globals = map[string]int{operators.LogicalAnd: 2, operators.LogicalOr: 2, operators.LogicalNot: 1, operators.Conditional: 3,
	operators.Equals: 2, operators.NotEquals: 2, operators.Less: 2, operators.LessEquals: 2, operators.Greater: 2, operators.GreaterEquals: 2,
	operators.In: 2, operators.Negate: 1, "size": 1, "duration": 1, "days": 1, "hours": 1}

// methods are what may follow a dot, with the number of arguments.
var methods = map[string]int{"contains": 1, "startsWith": 1, "endsWith": 1, "matches": 1, "size": 0, "exists": 2, "all": 2}

// reader walks the tree of an expression as it was written and refuses what the language does not have.
type reader struct {
	l     *Language
	info  *ast.SourceInfo
	loops string   // the variable of the loop that it is in; empty outside
	used  []string // fields that were read
}

// read checks a whole expression and lists the fields that it reads, sorted.
func (l *Language) read(tree *ast.AST) ([]string, error) {
	r := &reader{l: l, info: tree.SourceInfo()}
	if err := r.expr(tree.Expr()); err != nil {
		return nil, err
	}
	slices.Sort(r.used)
	return slices.Compact(r.used), nil
}

// refuse makes the refusal of a place in the text.
func (r *reader) refuse(e ast.Expr, code, format string, args ...any) error {
	at := r.info.GetStartLocation(e.ID())
	return refusal(at.Line(), at.Column(), code, format, args...)
}

func (r *reader) expr(e ast.Expr) error {
	switch e.Kind() {
	case ast.IdentKind:
		return r.ident(e)
	case ast.LiteralKind:
		return r.literal(e)
	case ast.ListKind:
		return r.each(e.AsList().Elements())
	case ast.CallKind:
		return r.call(e, e.AsCall())
	case ast.SelectKind:
		return r.refuse(e, "criteria_unknown_name", "There is nothing called %q below a field; fields have no parts.", e.AsSelect().FieldName())
	}
	return r.refuse(e, "criteria_not_allowed", "Maps and objects cannot be used here.")
}

func (r *reader) each(list []ast.Expr) error {
	for _, e := range list {
		if err := r.expr(e); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) ident(e ast.Expr) error {
	name := e.AsIdent()
	if name == r.loops && name != "" {
		return nil
	}
	if _, ok := r.l.field(name); ok {
		r.used = append(r.used, name)
		return nil
	}
	if meant := near(name, r.l.names); meant != "" {
		return r.refuse(e, "criteria_unknown_name", "There is no field %q; did you mean %q?", name, meant)
	}
	return r.refuse(e, "criteria_unknown_name", "There is no field %q; texts stand in quotes.", name)
}

func (r *reader) literal(e ast.Expr) error {
	switch e.AsLiteral().(type) {
	case types.String, types.Bool, types.Int:
		return nil
	}
	return r.refuse(e, "criteria_not_allowed", "Only texts, whole numbers, true and false can be written here.")
}

func (r *reader) call(e ast.Expr, c ast.CallExpr) error {
	name := c.FunctionName()
	known := globals
	if c.IsMemberFunction() {
		known = methods
	}
	n, ok := known[name]
	switch {
	case !ok:
		return r.refuse(e, "criteria_not_allowed", "%s cannot be used here.", spell(name, c.IsMemberFunction()))
	case n != len(c.Args()):
		return r.refuse(e, "criteria_type", "%s takes %d arguments.", spell(name, c.IsMemberFunction()), n)
	case c.IsMemberFunction() && (name == "exists" || name == "all"):
		return r.loop(e, c)
	case name == "duration" || name == "days" || name == "hours":
		_, err := r.duration(e)
		return err
	case name == "matches":
		if err := r.pattern(c.Args()[0]); err != nil {
			return err
		}
	case name == operators.Negate:
		if _, ok := c.Args()[0].AsLiteral().(types.Int); !ok || c.Args()[0].Kind() != ast.LiteralKind {
			return r.refuse(e, "criteria_not_allowed", "Only a number can have a minus.")
		}
	}
	if c.IsMemberFunction() {
		if err := r.expr(c.Target()); err != nil {
			return err
		}
	}
	if err := r.each(c.Args()); err != nil {
		return err
	}
	return r.compares(e, name, c.Args())
}

// loop checks x.exists(y, …) and x.all(y, …): over a field, and not inside another one, so that cost stays linear.
func (r *reader) loop(e ast.Expr, c ast.CallExpr) error {
	target, bound := c.Target(), c.Args()[0]
	over, ok := r.l.field(target.AsIdent())
	switch {
	case r.loops != "":
		return r.refuse(e, "criteria_not_allowed", "exists and all cannot stand inside another one.")
	case target.Kind() != ast.IdentKind || !ok || over.Type != List:
		return r.refuse(target, "criteria_type", "exists and all go over a field that is a list.")
	case bound.Kind() != ast.IdentKind || bound.AsIdent() == "":
		return r.refuse(bound, "criteria_type", "exists and all first take a name for the element, as in %s.exists(x, x == \"…\").", target.AsIdent())
	}
	if _, taken := r.l.field(bound.AsIdent()); taken {
		return r.refuse(bound, "criteria_type", "%q is a field; give the element another name.", bound.AsIdent())
	}
	r.used = append(r.used, target.AsIdent())
	r.loops = bound.AsIdent()
	defer func() { r.loops = "" }()
	return r.expr(c.Args()[1])
}

// pattern checks a regular expression: written out and small, so that it is compiled once.
func (r *reader) pattern(e ast.Expr) error {
	s, ok := text(e)
	if !ok || len(s) > maxPattern {
		return r.refuse(e, "criteria_not_allowed", "matches takes a pattern in quotes of at most %d bytes.", maxPattern)
	}
	if _, err := regexp.Compile(s); err != nil {
		return r.refuse(e, "criteria_syntax", "The pattern is not a regular expression (RE2 syntax).")
	}
	return nil
}

// compares checks comparisons of a field with what is written out.
func (r *reader) compares(e ast.Expr, name string, args []ast.Expr) error {
	_, orders := orderings[name]
	if !orders && name != operators.Equals && name != operators.NotEquals && name != operators.In {
		return nil
	}
	for i, side := range args {
		f, ok := r.field(side)
		if !ok {
			continue
		}
		if orders && (f.Type == Text || f.Type == Choice || f.Type == List || f.Type == Bool) {
			return r.refuse(e, "criteria_type", "%s has no order; compare it with == or `in`.", f.Name)
		}
		if _, written := text(args[1-i]); orders && f.Type == Level && !written {
			return r.refuse(e, "criteria_type", "%s is ordered against a value in quotes, as in %s >= %s.", f.Name, f.Name, quote(f.Values[len(f.Values)-1]))
		}
		if s, written := text(args[1-i]); orders && f.Type == Version && f.Space != "" && written && !f.ordered(s) {
			return r.refuse(e, "criteria_value", "%s is no version that %s can be ordered against.", quote(s), f.Name)
		}
		if err := r.values(f, args[1-i]); err != nil {
			return err
		}
	}
	if orders && !slices.ContainsFunc(args, func(a ast.Expr) bool { return r.ordered(a) }) {
		return r.refuse(e, "criteria_type", "Only numbers, durations, versions and levels have an order.")
	}
	return nil
}

// ordered reports whether a version can be ordered in the field's own space.
func (f Field) ordered(version string) bool {
	order := compareVersions(types.String(f.Space), types.String(version), types.String(version))
	return order == types.IntZero
}

// ordered reports whether one side of an ordering shows that there is an order.
func (r *reader) ordered(e ast.Expr) bool {
	if f, ok := r.field(e); ok {
		return f.Type == Number || f.Type == Duration || f.Type == Version || f.Type == Level
	}
	if e.Kind() == ast.CallKind {
		name := e.AsCall().FunctionName()
		return name == "size" || name == "duration" || name == "days" || name == "hours" || name == operators.Negate
	}
	_, number := e.AsLiteral().(types.Int)
	return e.Kind() == ast.LiteralKind && number
}

// values checks that what a field is compared with is something that it can be.
func (r *reader) values(f Field, e ast.Expr) error {
	if e.Kind() == ast.ListKind {
		for _, it := range e.AsList().Elements() {
			if err := r.values(f, it); err != nil {
				return err
			}
		}
		return nil
	}
	s, ok := text(e)
	if _, has := f.level(s); !ok || len(f.Values) == 0 || has {
		return nil
	}
	return r.refuse(e, "criteria_value", "%s is never %s; it is one of %s.", f.Name, quote(s), quoted(f.Values))
}

func (r *reader) field(e ast.Expr) (Field, bool) {
	if e.Kind() != ast.IdentKind || e.AsIdent() == r.loops {
		return Field{}, false
	}
	return r.l.field(e.AsIdent())
}

// duration reads days(n), hours(n) and duration("…").
func (r *reader) duration(e ast.Expr) (time.Duration, error) {
	d, ok := duration(e)
	if !ok {
		return 0, r.refuse(e, "criteria_value", "Durations are written out, as days(2), hours(12) or duration(\"90m\"), and at most %d days long.", maxDays)
	}
	return d, nil
}

// duration reads a duration that is written out; false for everything else.
func duration(e ast.Expr) (time.Duration, bool) {
	if e.Kind() != ast.CallKind || len(e.AsCall().Args()) != 1 || e.AsCall().IsMemberFunction() {
		return 0, false
	}
	arg := e.AsCall().Args()[0]
	switch name := e.AsCall().FunctionName(); name {
	case "duration":
		s, ok := text(arg)
		d, err := time.ParseDuration(s)
		return d, ok && err == nil && d.Abs() <= maxDays*24*time.Hour && d != math.MinInt64
	case "days", "hours":
		n, ok := number(arg)
		unit, most := time.Hour, int64(maxDays*24)
		if name == "days" {
			unit, most = 24*time.Hour, maxDays
		}
		return time.Duration(n) * unit, ok && n <= most && n >= -most
	}
	return 0, false
}

// text reads a text that is written out.
func text(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}

// number reads a whole number that is written out.
func number(e ast.Expr) (int64, bool) {
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.Negate {
		n, ok := number(e.AsCall().Args()[0])
		return -n, ok
	}
	if e.Kind() != ast.LiteralKind {
		return 0, false
	}
	n, ok := e.AsLiteral().(types.Int)
	return int64(n), ok
}

// spell is how a function is shown to people.
func spell(name string, member bool) string {
	if op, ok := operators.FindReverse(name); ok && op != "" {
		return "The operator " + op
	}
	switch {
	case strings.HasPrefix(name, "_") || strings.HasPrefix(name, "@"):
		return "This operator"
	case member:
		return fmt.Sprintf("The function .%.40s()", name)
	}
	return fmt.Sprintf("The function %.40s()", name)
}

func quote(s string) string { return strconv.Quote(s) }
