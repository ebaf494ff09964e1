package criteria

import (
	"fmt"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// Unknown is why an expression could not be evaluated. Whoever asked must hold: it is neither met nor not met.
type Unknown struct {
	Fields []string // whose value nobody knows; empty if something else was wrong
	Reason string   // one clause for people: "its cves are not known"
}

// Error is the reason.
func (u *Unknown) Error() string { return u.Reason }

// values resolves fields for one evaluation and remembers which were not known.
type values struct {
	get     func(field string) ref.Val // nil: not known
	missing []string
}

var _ interpreter.Activation = (*values)(nil)

// ResolveName gives the value of a field. What is not known is an error inside the expression, which the logical operators
// let pass where the other side decides alone.
func (v *values) ResolveName(name string) (any, bool) {
	if val := v.get(name); val != nil {
		return val, true
	}
	v.missing = append(v.missing, name)
	return types.NewErr("%s is not known", name), true
}

// Parent is nil: there are no other names.
func (v *values) Parent() interpreter.Activation { return nil }

// eval runs the program. The error is an *Unknown.
func (p program) eval(get func(string) ref.Val) (bool, error) {
	if p.run == nil {
		return true, nil
	}
	vars := &values{get: get}
	out, _, err := p.run.Eval(vars)
	switch {
	case err == nil:
		if met, ok := out.(types.Bool); ok {
			return bool(met), nil
		}
		return false, &Unknown{Reason: fmt.Sprintf("%.80q gives no answer", p.source)}
	case len(vars.missing) > 0:
		return false, &Unknown{Fields: vars.missing, Reason: strings.Join(vars.missing, ", ") + notKnown(vars.missing)}
	}
	return false, &Unknown{Reason: clip(err.Error())}
}

func notKnown(fields []string) string {
	if len(fields) > 1 {
		return " are not known"
	}
	return " is not known"
}

// clip keeps what an evaluation says of itself to one short line.
func clip(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	if len(s) > 250 {
		s = strings.ToValidUTF8(s[:250], "") + "…"
	}
	return s
}

// known wraps a text; the empty one is not known.
func known(s string) ref.Val {
	if s == "" {
		return nil
	}
	return types.String(s)
}

// one wraps a text that must be one of a field's values: an unknown enum value is not known.
func (l *Language) one(field, s string) ref.Val {
	if f, _ := l.field(field); s != "" {
		if _, ok := f.level(s); ok {
			return types.String(s)
		}
	}
	return nil
}

func list(texts []string) ref.Val {
	if texts == nil {
		texts = []string{}
	}
	return types.NewStringList(types.DefaultTypeAdapter, texts)
}

// since is the time from then to now; not known without a then.
func since(then, now time.Time) ref.Val {
	if then.IsZero() || now.IsZero() {
		return nil
	}
	return types.Duration{Duration: now.Sub(then)}
}
