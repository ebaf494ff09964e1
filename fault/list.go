package fault

import "strings"

// List is several refusals of one input: everything that is wrong with it, at once. The first speaks for all where only one can be
// shown: From gives it, and errors.Is and errors.As look at it first.
type List []*Error

// Join is a List of refusals, the one refusal itself, or nil where there is none.
func Join(all []*Error) error {
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return List(all)
}

// Error is for logs.
func (l List) Error() string {
	texts := make([]string, len(l))
	for i, e := range l {
		texts[i] = e.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap gives errors.Is and errors.As the refusals.
func (l List) Unwrap() []error {
	out := make([]error, len(l))
	for i, e := range l {
		out[i] = e
	}
	return out
}
