package criteria

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"

	"assent/fault"
)

// Rule is a compiled expression over updates. The zero value admits every update. It never changes.
type Rule struct{ program }

// Selection is a compiled expression over devices. The zero value selects every device. It never changes.
type Selection struct{ program }

// CompileRule compiles the criteria of a rule. The empty text is met by every update. The error is a *fault.Error.
func CompileRule(source string) (Rule, error) {
	p, err := Updates().compile(source)
	return Rule{p}, err
}

// CompileSelection compiles a selection. The empty text selects every device. The error is a *fault.Error.
func CompileSelection(source string) (Selection, error) {
	p, err := Devices().compile(source)
	return Selection{p}, err
}

// program is what both have in common.
type program struct {
	source string
	run    cel.Program // nil: always true
	reads  []string    // fields, sorted
	turns  turns
}

// Source is the text that was compiled.
func (p program) Source() string { return p.source }

// Reads lists the fields that the expression reads, sorted: what an answer depends on, for caches.
func (p program) Reads() []string { return slices.Clone(p.reads) }

// ReadsAny reports whether the expression reads one of the fields.
func (p program) ReadsAny(fields ...string) bool {
	return slices.ContainsFunc(fields, func(f string) bool { _, ok := slices.BinarySearch(p.reads, f); return ok })
}

// PerDevice reports whether the answer about an update can differ between devices.
func (r Rule) PerDevice() bool { return r.ReadsAny("new_major") }

// refusal makes a refusal of a place in the text; lines count from 1, columns (characters) come from 0.
func refusal(line, column int, code, format string, args ...any) error {
	return fault.New(fault.Invalid, code, "Line %d, column %d: %s", line, column+1, fmt.Sprintf(format, args...))
}

// parse reads the text into the tree as it was written, and checks it. A blank text has no tree.
func (l *Language) parse(source string) (*ast.AST, []string, error) {
	switch {
	case len(source) > MaxSource:
		return nil, nil, fault.New(fault.Invalid, "criteria_too_long", "The expression has %d bytes; %d are allowed. Make several rules of it.", len(source), MaxSource)
	case !utf8.ValidString(source):
		return nil, nil, fault.New(fault.Invalid, "criteria_syntax", "The expression is not UTF-8 text.")
	case strings.TrimSpace(source) == "":
		return nil, nil, nil
	}
	parsed, issues := l.plain.Parse(source)
	if err := syntax(issues); err != nil {
		return nil, nil, err
	}
	tree := parsed.NativeRep()
	reads, err := l.read(tree)
	if err != nil {
		return nil, nil, err
	}
	return tree, reads, nil
}

// syntax makes one sentence of what the parser or the type checker says first.
func syntax(issues *cel.Issues) error { return said(issues, "criteria_syntax") }

func said(issues *cel.Issues, code string) error {
	if issues == nil || issues.Err() == nil {
		return nil
	}
	errs := issues.Errors()
	if len(errs) == 0 {
		return fault.New(fault.Invalid, code, "The expression cannot be read.").Because(issues.Err())
	}
	message := strings.TrimPrefix(errs[0].Message, "Syntax error: ")
	message, _, _ = strings.Cut(message, " expecting ")
	message, _, _ = strings.Cut(message, "\n")
	message = strings.ReplaceAll(message, "'<EOF>'", "the end")
	if len(message) > 200 {
		message = strings.ToValidUTF8(message[:200], "") + "…"
	}
	return refusal(max(errs[0].Location.Line(), 1), max(errs[0].Location.Column(), 0), code, "%s.", strings.TrimSuffix(message, "."))
}

func (l *Language) compile(source string) (program, error) {
	p := program{source: source}
	written, reads, err := l.parse(source)
	if err != nil || written == nil {
		return p, err
	}
	p.reads, p.turns = reads, findTurns(written.Expr())
	parsed, issues := l.full.Parse(source)
	if err := syntax(issues); err != nil {
		return program{}, err
	}
	l.order(parsed.NativeRep())
	checked, issues := l.full.Check(parsed)
	if err := said(issues, "criteria_type"); err != nil {
		return program{}, err
	}
	if checked.OutputType() != cel.BoolType {
		return program{}, fault.New(fault.Invalid, "criteria_not_bool", "The expression gives %s and not true or false; compare it with something.", article(checked.OutputType()))
	}
	if err := l.affordable(checked); err != nil {
		return program{}, err
	}
	options := []cel.ProgramOption{cel.OptimizeRegex(interpreter.MatchesRegexOptimization)}
	if l.large(reads) {
		options = append(options, cel.CostLimit(maxCost))
	}
	p.run, err = l.full.Program(checked, options...)
	if err != nil {
		return program{}, fault.New(fault.Invalid, "criteria_not_allowed", "The expression cannot be planned; make it simpler.").Because(err)
	}
	return p, nil
}

func article(t *cel.Type) string {
	switch t.Kind() {
	case types.IntKind, types.UintKind, types.DoubleKind:
		return "a number"
	case types.StringKind:
		return "a text"
	case types.DurationKind:
		return "a duration"
	case types.ListKind:
		return "a list"
	}
	return "a " + t.String()
}

// affordable refuses what could cost too much, judged before it ever runs.
func (l *Language) affordable(checked *cel.Ast) error {
	estimate, err := l.full.EstimateCost(checked, sizes{})
	if err != nil {
		return fault.New(fault.Invalid, "criteria_costly", "What the expression costs cannot be judged; make it simpler.").Because(err)
	}
	if estimate.Max > maxWorst {
		return fault.New(fault.Invalid, "criteria_costly", "The expression could cost %d steps; %d are allowed. Look at fewer list elements or use a simpler pattern.", estimate.Max, maxWorst)
	}
	return nil
}

// large reports whether an expression reads a list, so that its cost depends on how long one is: then cost is counted while it
// runs, which takes as long again as a small expression. Everything else costs what its text lets see.
func (l *Language) large(reads []string) bool {
	return slices.ContainsFunc(reads, func(name string) bool { f, _ := l.field(name); return f.Type == List })
}

// sizes tells the estimate how large the values of fields get.
type sizes struct{}

// EstimateSize takes lists and texts at their caps.
func (sizes) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	if node.Expr().Kind() == ast.LiteralKind || node.Type() == nil {
		return nil
	}
	switch node.Type().Kind() {
	case types.StringKind:
		s := cost.RangedSizeEstimate(0, maxLength)
		return &s
	case types.ListKind:
		if node.Expr().Kind() == ast.ListKind {
			return nil
		}
		s := cost.ListSizeEstimate(cost.RangedSizeEstimate(0, maxListed), cost.RangedSizeEstimate(0, maxLength))
		return &s
	}
	return nil
}

// EstimateCallCost leaves calls to the standard model.
func (sizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}
