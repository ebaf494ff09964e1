package criteria

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"assent/pkgver"
)

// The limits of an expression.
const (
	MaxSource  = 4000      // bytes of the text
	maxNodes   = 800       // nodes of its tree
	maxDepth   = 40        // nesting
	maxPattern = 200       // bytes of a regular expression
	maxRegex   = 200       // size of the program that a regular expression becomes
	maxListed  = 1000      // elements of a list that are looked at when cost is estimated
	maxLength  = 300       // bytes of a text when cost is estimated
	maxWorst   = 1_000_000 // estimated cost, with every list and text as large as it gets
	maxCost    = 100_000   // cost while it runs: a few milliseconds
	maxDays    = 36_500    // the longest duration, in days
)

// Language is what expressions about one kind of thing may say. It never changes and is safe for concurrent use.
type Language struct {
	fields []Field
	byName map[string]Field
	names  []string
	plain  *cel.Env // parses without macros: the tree as it was written
	full   *cel.Env // with macros and types
}

// Updates is the language of rules: expressions over an update.
func Updates() *Language { return updates() }

// Devices is the language of selections: expressions over a device.
func Devices() *Language { return devices() }

// Both are built once, when they are first asked for, and never change.
var (
	updates = sync.OnceValue(func() *Language { return mustLanguage(updateFields) })
	devices = sync.OnceValue(func() *Language { return mustLanguage(deviceFields) })
)

// mustLanguage panics only if the tables of this package contradict each other, which its tests would have seen.
func mustLanguage(fields []Field) *Language {
	l, err := newLanguage(fields)
	if err != nil {
		panic(fmt.Sprintf("criteria: %v", err))
	}
	return l
}

func newLanguage(fields []Field) (*Language, error) {
	l := &Language{fields: fields, byName: map[string]Field{}}
	for _, f := range fields {
		l.byName[f.Name] = f
		l.names = append(l.names, f.Name)
	}
	limits := []cel.EnvOption{cel.ParserRecursionLimit(maxDepth), cel.ParserExpressionSizeLimit(MaxSource), cel.ParserErrorRecoveryLimit(1),
		cel.ExpressionNodeLimit(maxNodes), cel.ClearMacros()}
	var err error
	if l.plain, err = cel.NewCustomEnv(limits...); err != nil {
		return nil, fmt.Errorf("parser of expressions: %w", err)
	}
	options := append(slices.Clone(limits), cel.StdLib(), cel.ClearMacros(), cel.Macros(cel.AllMacro, cel.ExistsMacro), cel.RegexProgramSizeLimit(maxRegex),
		cel.Function("days", cel.Overload("days_int", []*cel.Type{cel.IntType}, cel.DurationType, cel.UnaryBinding(spans(24*time.Hour)))),
		cel.Function("hours", cel.Overload("hours_int", []*cel.Type{cel.IntType}, cel.DurationType, cel.UnaryBinding(spans(time.Hour)))),
		cel.Function(orderVersions, cel.Overload("order_versions_3", []*cel.Type{cel.StringType, cel.StringType, cel.StringType}, cel.IntType, cel.FunctionBinding(compareVersions))),
	)
	for _, f := range fields {
		options = append(options, cel.Variable(f.Name, f.celType()))
	}
	if l.full, err = cel.NewCustomEnv(options...); err != nil {
		return nil, fmt.Errorf("types of expressions: %w", err)
	}
	return l, nil
}

func (f Field) celType() *cel.Type {
	switch f.Type {
	case List:
		return cel.ListType(cel.StringType)
	case Bool:
		return cel.BoolType
	case Number:
		return cel.IntType
	case Duration:
		return cel.DurationType
	}
	return cel.StringType
}

// spans makes the function that counts a unit of time.
func spans(unit time.Duration) func(ref.Val) ref.Val {
	return func(v ref.Val) ref.Val {
		n, ok := v.(types.Int)
		if !ok {
			return types.MaybeNoSuchOverloadErr(v)
		}
		return types.Duration{Duration: time.Duration(n) * unit} // the number was checked when it compiled
	}
}

// orderVersions is what an ordering of versions becomes: -1, 0 or 1. Its name cannot be written in an expression.
const orderVersions = "@order_versions"

// kernels is the order of what uname -r says on any distribution: the numbers one after the other, whatever divides them.
const kernels = "kernel"

// compareVersions fails for what cannot be ordered: unknown holds.
func compareVersions(args ...ref.Val) ref.Val {
	var texts [3]string
	for i := range texts {
		s, ok := args[i].(types.String)
		if !ok {
			return types.MaybeNoSuchOverloadErr(args[i])
		}
		texts[i] = string(s)
	}
	if texts[0] == kernels {
		texts[0], texts[1], texts[2] = "rpm", strings.ReplaceAll(texts[1], "-", "."), strings.ReplaceAll(texts[2], "-", ".")
	}
	order, err := pkgver.Compare(texts[0], texts[1], texts[2])
	if err != nil {
		return types.NewErr("the versions %.80q and %.80q cannot be ordered as %q", texts[1], texts[2], texts[0])
	}
	return types.Int(order)
}
