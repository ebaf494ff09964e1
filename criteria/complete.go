package criteria

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// Completion is something that may stand where the cursor is.
type Completion struct {
	Text string `json:"text"` // replaces the word before the cursor
	Kind string `json:"kind"` // "field", "function", "method", "value" or "operator"
	Doc  string `json:"doc"`
}

// Function is something that expressions may call.
type Function struct {
	Name string `json:"name"` // as it is called: "days(2)", ".startsWith(\"x\")"
	Doc  string `json:"doc"`
}

// Functions lists what expressions may call, for documentation.
func Functions() []Function {
	return []Function{
		{"days(2)", "a duration of 24-hour days"},
		{"hours(12)", "a duration"},
		{`duration("90m")`, "a duration in s, m and h"},
		{"size(cves)", "the number of elements of a list, or of characters of a text"},
		{`"x" in cves`, "the list has the element"},
		{`name in ["a", "b"]`, "the field is one of these"},
		{`.contains("x")`, "the text has this part"},
		{`.startsWith("x")`, "the text begins so"},
		{`.endsWith("x")`, "the text ends so"},
		{`.matches("^x")`, "the text matches the regular expression (RE2)"},
		{`.exists(x, x == "a")`, "one element of the list meets the condition"},
		{`.all(x, x != "a")`, "every element of the list meets the condition"},
	}
}

// Word is the part of the text before the cursor that a completion replaces.
func Word(before string) string { return lastWord.FindString(before) }

var (
	lastWord  = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*$`)
	openValue = regexp.MustCompile(`([a-z_]+)\s*(?:==|!=|<=|>=|<|>|in\s*\[(?:\s*"[^"]*"\s*,)*)\s*"([^"]*)$`)
	openOrder = regexp.MustCompile(`([a-z_]+)\s*(==|!=|<=|>=|<|>)\s*([A-Za-z]*)$`)
	openCall  = regexp.MustCompile(`([a-z_]+)\.([A-Za-z]*)$`)
	afterName = regexp.MustCompile(`(?:^|[^A-Za-z0-9_."])([a-z_]+)\s+$`)
)

// Completions lists what may follow the text before the cursor, best guesses only, sorted by text.
func (l *Language) Completions(before string) []Completion {
	if len(before) > MaxSource {
		return nil
	}
	if m := openValue.FindStringSubmatch(before); m != nil {
		f, _ := l.field(m[1])
		return begun(m[2], valuesOf(f, ""))
	}
	if strings.Count(before, `"`)%2 == 1 {
		return nil // inside a text of which nothing is known
	}
	if m := openOrder.FindStringSubmatch(before); m != nil {
		if f, ok := l.field(m[1]); ok {
			return begun(m[3], operands(f))
		}
	}
	if m := openCall.FindStringSubmatch(before); m != nil {
		f, _ := l.field(m[1])
		return begun(m[2], methodsOf(f))
	}
	if m := afterName.FindStringSubmatch(before); m != nil {
		if f, ok := l.field(m[1]); ok {
			return operatorsOf(f)
		}
	}
	return begun(Word(before), l.words())
}

// begun keeps what begins as the word does.
func begun(word string, all []Completion) []Completion {
	out := slices.DeleteFunc(all, func(c Completion) bool { return !strings.HasPrefix(c.Text, word) })
	slices.SortFunc(out, func(a, b Completion) int { return cmp.Compare(a.Text, b.Text) })
	return out
}

func (l *Language) words() []Completion {
	out := []Completion{{"days(", "function", "a duration of 24-hour days"}, {"hours(", "function", "a duration"}, {"duration(", "function", "a duration in s, m and h"},
		{"size(", "function", "the number of elements or characters"}, {"true", "value", ""}, {"false", "value", ""}}
	for _, f := range l.fields {
		out = append(out, Completion{f.Name, "field", f.Doc})
	}
	return out
}

func valuesOf(f Field, quotes string) []Completion {
	var out []Completion
	for _, v := range f.Values {
		out = append(out, Completion{quotes + v + quotes, "value", "a " + f.Name})
	}
	return out
}

// operands is what a field may be compared with.
func operands(f Field) []Completion {
	switch f.Type {
	case Duration:
		return []Completion{{"days(", "function", "a duration of 24-hour days"}, {"hours(", "function", "a duration"}, {"duration(", "function", "a duration in s, m and h"}}
	case Bool:
		return []Completion{{"true", "value", ""}, {"false", "value", ""}}
	}
	return valuesOf(f, `"`)
}

func methodsOf(f Field) []Completion {
	switch f.Type {
	case List:
		return []Completion{{"exists(", "method", "one element meets a condition"}, {"all(", "method", "every element meets a condition"}, {"size()", "method", "how many"}}
	case Text, Version, Choice:
		return []Completion{{"contains(", "method", "has this part"}, {"startsWith(", "method", "begins so"}, {"endsWith(", "method", "ends so"}, {"matches(", "method", "matches the regular expression"}}
	}
	return nil
}

func operatorsOf(f Field) []Completion {
	equal := []Completion{{"!=", "operator", "is not"}, {"==", "operator", "is"}}
	order := []Completion{{"<", "operator", "less than"}, {"<=", "operator", "at most"}, {">", "operator", "more than"}, {">=", "operator", "at least"}}
	one := []Completion{{"in [", "operator", "is one of"}}
	switch f.Type {
	case Bool:
		return append([]Completion{{"&&", "operator", "and"}}, Completion{"||", "operator", "or"})
	case List:
		return nil
	case Number, Duration:
		return append(equal, order...)
	case Version, Level:
		return slices.Concat(equal, order, one)
	}
	return slices.Concat(equal, one)
}
