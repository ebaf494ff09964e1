// Package fault is the one error type that crosses package borders in Assent.
//
// An error that a person or a program is meant to act on is a *Error: it has a Kind (what sort of
// refusal this is, mapped to an HTTP status and an exit code in one place each), a Code (stable,
// part of the API contract), a public Message (one sentence that says what to do next) and, where
// one input is at fault, its Field. Everything else is an ordinary wrapped error and is shown to
// users only as "internal error".
//
// Guarantees: errors.Is works on kinds (errors.Is(err, fault.NotFound)) and on causes. The package
// does not log, translate or hide anything.
package fault

import (
	"errors"
	"fmt"
)

// Kind says what sort of refusal an error is. Kinds are errors, so errors.Is(err, fault.NotFound) works.
type Kind string

// The kinds. Each has one HTTP status (server/internal/api) and one exit code (cli).
const (
	Invalid         Kind = "invalid"         // the input is wrong; Field names the part
	NotFound        Kind = "not_found"       // no such thing
	Conflict        Kind = "conflict"        // the state of things forbids it now
	Forbidden       Kind = "forbidden"       // known caller, not allowed
	Unauthenticated Kind = "unauthenticated" // unknown caller
	Gone            Kind = "gone"            // was there, is not any more (retired device, spent token)
	TooLarge        Kind = "too_large"       // over a cap
	Unavailable     Kind = "unavailable"     // try again later
	Internal        Kind = "internal"        // our fault
)

// Error makes Kind usable as the target of errors.Is.
func (k Kind) Error() string { return string(k) }

// Status is the HTTP status of a kind (numbers of RFC 9110, so that the domain needs no network): the one
// place that says so, for the API and the device protocol alike.
func (k Kind) Status() int {
	switch k {
	case Invalid:
		return 422
	case NotFound:
		return 404
	case Conflict:
		return 409
	case Forbidden:
		return 403
	case Unauthenticated:
		return 401
	case Gone:
		return 410
	case TooLarge:
		return 413
	case Unavailable:
		return 503
	}
	return 500
}

// Error is a refusal built for showing.
type Error struct {
	Kind    Kind
	Code    string // stable, lower_snake_case; the contract for programs
	Message string // one sentence for people; says what to do next
	Field   string // the input at fault, as the API spells it; may be empty
	Cause   error  // wrapped; never shown to users
}

// New makes a refusal without a cause.
func New(kind Kind, code, format string, args ...any) *Error {
	return &Error{Kind: kind, Code: code, Message: fmt.Sprintf(format, args...)}
}

// On returns a copy that names the field at fault.
func (e *Error) On(field string) *Error {
	c := *e
	c.Field = field
	return &c
}

// Because returns a copy that wraps cause.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.Cause = cause
	return &c
}

// Error is for logs; users see Message.
func (e *Error) Error() string {
	s := e.Code + ": " + e.Message
	if e.Field != "" {
		s += " (" + e.Field + ")"
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap gives errors.Is the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

// From returns the refusal inside err, or an Internal one that wraps it. From(nil) is nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Kind: Internal, Code: "internal", Message: "Internal error. The server's log has the details.", Cause: err}
}
