package criteria

import (
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// order rewrites orderings of levels and versions into what CEL can evaluate, in place.
func (l *Language) order(tree *ast.AST) {
	w := &rewriter{l: l, tree: tree, next: ast.MaxID(tree) + 1, make: ast.NewExprFactory()}
	w.expr(tree.Expr())
}

type rewriter struct {
	l    *Language
	tree *ast.AST
	next int64
	make ast.ExprFactory
	at   int64 // the node that is being rewritten: new ones stand at its place in the text
}

func (w *rewriter) expr(e ast.Expr) {
	switch e.Kind() {
	case ast.ListKind:
		for _, it := range e.AsList().Elements() {
			w.expr(it)
		}
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		for _, part := range []ast.Expr{c.IterRange(), c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result()} {
			w.expr(part)
		}
	case ast.CallKind:
		c := e.AsCall()
		if c.IsMemberFunction() {
			w.expr(c.Target())
		}
		for _, arg := range c.Args() {
			w.expr(arg)
		}
		w.call(e, c)
	}
}

func (w *rewriter) call(e ast.Expr, c ast.CallExpr) {
	op := c.FunctionName()
	mirrored, orders := orderings[op]
	if !orders || len(c.Args()) != 2 {
		return
	}
	w.at = e.ID()
	left, right := c.Args()[0], c.Args()[1]
	f, ok := w.l.field(left.AsIdent())
	if !ok || left.Kind() != ast.IdentKind || f.Type != Level && f.Type != Version {
		left, right, op = right, left, mirrored
		if f, ok = w.l.field(left.AsIdent()); !ok || left.Kind() != ast.IdentKind {
			return
		}
	}
	switch f.Type {
	case Level:
		value, _ := text(right)
		w.level(e, f, op, left, value)
	case Version:
		w.version(e, f, op, left, right)
	}
}

// level turns severity >= "high" into severity in ["high", "critical"].
func (w *rewriter) level(e ast.Expr, f Field, op string, left ast.Expr, value string) {
	var values []ast.Expr
	for _, v := range f.admitted(op, value) {
		values = append(values, w.literal(types.String(v)))
	}
	list := w.make.NewList(w.id(), values, nil)
	e.SetKindCase(w.make.NewCall(e.ID(), operators.In, left, list))
}

// admitted lists the values of a level for which an ordering holds.
func (f Field) admitted(op, value string) []string {
	at, ok := f.level(value)
	if !ok {
		return nil
	}
	switch op {
	case operators.Less:
		return f.Values[:at]
	case operators.LessEquals:
		return f.Values[:at+1]
	case operators.Greater:
		return f.Values[at+1:]
	}
	return f.Values[at:]
}

// version turns version < "3.0" into @order_versions(ecosystem, version, "3.0") < 0.
func (w *rewriter) version(e ast.Expr, f Field, op string, left, right ast.Expr) {
	space := w.literal(types.String(f.Space))
	if f.Space == "" {
		space = w.make.NewIdent(w.id(), "ecosystem")
	}
	call := w.make.NewCall(w.id(), orderVersions, space, left, right)
	e.SetKindCase(w.make.NewCall(e.ID(), op, call, w.literal(types.IntZero)))
}

func (w *rewriter) literal(v ref.Val) ast.Expr { return w.make.NewLiteral(w.id(), v) }

// id numbers a new node and puts it at the place of the one that is rewritten.
func (w *rewriter) id() int64 {
	w.next++
	if place, ok := w.tree.SourceInfo().GetOffsetRange(w.at); ok {
		w.tree.SourceInfo().SetOffsetRange(w.next, place)
	}
	return w.next
}
