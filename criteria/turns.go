package criteria

import (
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// turns are the thresholds at which an answer changes by itself, because time passes.
type turns struct {
	after map[string][]time.Duration // field -> what it is compared with
	vague bool                       // a duration field is used in another way
}

// recheck is how soon an expression that uses time in an unusual way is looked at again.
const recheck = time.Minute

// Turns is the earliest instant after u.Now at which the answer may differ though nothing else changed. Zero: never.
func (r Rule) Turns(u Update) time.Time {
	return r.turns.next(u.Now, map[string]time.Time{"age_release": u.released(), "age_seen": u.FirstSeen})
}

// Turns is the earliest instant after d.Now at which the answer may differ though nothing else changed. Zero: never.
func (s Selection) Turns(d Device) time.Time {
	return s.turns.next(d.Now, map[string]time.Time{"age_enrolled": d.EnrolledAt, "last_seen": d.Seen})
}

func (t turns) next(now time.Time, since map[string]time.Time) time.Time {
	var first time.Time
	take := func(at time.Time) {
		if at.After(now) && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	if t.vague {
		take(now.Add(recheck))
	}
	for field, durations := range t.after {
		then := since[field]
		if then.IsZero() {
			continue
		}
		for _, d := range durations {
			take(then.Add(d))     // >= and == turn here
			take(then.Add(d + 1)) // > and == turn one nanosecond later
		}
	}
	return first
}

// findTurns walks an expression as it was written.
func findTurns(e ast.Expr) turns {
	t := turns{after: map[string][]time.Duration{}}
	t.walk(e)
	return t
}

func (t *turns) walk(e ast.Expr) {
	switch e.Kind() {
	case ast.IdentKind:
		if f, ok := timed(e); ok && f != "" {
			t.vague = true
		}
	case ast.ListKind:
		for _, it := range e.AsList().Elements() {
			t.walk(it)
		}
	case ast.CallKind:
		c := e.AsCall()
		if t.compares(c) {
			return
		}
		if c.IsMemberFunction() {
			t.walk(c.Target())
		}
		for _, arg := range c.Args() {
			t.walk(arg)
		}
	}
}

// compares takes in a comparison of a duration field with a duration that is written out.
func (t *turns) compares(c ast.CallExpr) bool {
	_, orders := orderings[c.FunctionName()]
	if len(c.Args()) != 2 || !orders && c.FunctionName() != operators.Equals && c.FunctionName() != operators.NotEquals {
		return false
	}
	for i, side := range c.Args() {
		field, ok := timed(side)
		d, written := duration(c.Args()[1-i])
		if ok && written {
			t.after[field] = append(t.after[field], d)
			return true
		}
	}
	return false
}

// timed recognises the fields that grow with time.
func timed(e ast.Expr) (string, bool) {
	if e.Kind() != ast.IdentKind {
		return "", false
	}
	for _, fields := range [][]Field{updateFields, deviceFields} {
		for _, f := range fields {
			if f.Name == e.AsIdent() && f.Type == Duration {
				return f.Name, true
			}
		}
	}
	return "", false
}
