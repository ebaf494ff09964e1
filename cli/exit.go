package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"assent/fault"
)

// The exit codes: the one place where kinds of refusal become numbers. `assent help exit-codes` is made from it.
const (
	exitOK          = 0
	exitInternal    = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitConflict    = 4
	exitForbidden   = 5
	exitSignedOut   = 6
	exitGone        = 7
	exitTooLarge    = 8
	exitUnavailable = 9
	exitTampered    = 10 // ledger verify: what was verified is not what was signed
	exitFailed      = 11 // --wait: an update failed or is blocked on some device
	exitInterrupted = 130
)

// The kinds of refusal that only the command line knows.
const (
	tampered fault.Kind = "tampered"
	failed   fault.Kind = "failed"
)

func exitCode(kind fault.Kind) int {
	switch kind {
	case fault.Invalid:
		return exitUsage
	case fault.NotFound:
		return exitNotFound
	case fault.Conflict:
		return exitConflict
	case fault.Forbidden:
		return exitForbidden
	case fault.Unauthenticated:
		return exitSignedOut
	case fault.Gone:
		return exitGone
	case fault.TooLarge:
		return exitTooLarge
	case fault.Unavailable:
		return exitUnavailable
	case tampered:
		return exitTampered
	case failed:
		return exitFailed
	}
	return exitInternal
}

var errSignedOut = fault.New(fault.Unauthenticated, "signed_out", "You are not signed in; run `assent login --server URL --token TOKEN`.")

// usage is a refusal of how the command was called. It makes a sentence of what it is given.
func usage(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if first, size := utf8.DecodeRuneInString(text); size > 0 {
		text = string(unicode.ToUpper(first)) + text[size:] + "."
	}
	return fault.New(fault.Invalid, "usage", "%s", text)
}

// report prints why a command failed and returns its exit code.
func (a *app) report(err error) int {
	if errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	var e *fault.Error
	if !errors.As(err, &e) {
		e = fault.New(fault.Internal, "internal", "%v", err) // here there is no server's inside to hide
	}
	if a.json {
		_ = json.NewEncoder(a.Err).Encode(problem(e, err))
		return exitCode(e.Kind)
	}
	text := clean(e.Message)
	if e.Kind == fault.Internal || e.Code == "server_unreachable" || e.Code == "server_not_trusted" || e.Kind == tampered {
		if e.Cause != nil {
			text += " (" + clean(e.Cause.Error()) + ")"
		}
	}
	fmt.Fprintf(a.Err, "assent: %s [%s]\n", text, code(e))
	for _, more := range others(err) {
		fmt.Fprintf(a.Err, "assent: %s [%s]\n", clean(more.Message), code(more))
	}
	return exitCode(e.Kind)
}

// others are what is wrong besides the first refusal.
func others(err error) fault.List {
	var all fault.List
	if errors.As(err, &all) && len(all) > 1 {
		return all[1:]
	}
	return nil
}

// problem is a refusal for programs.
func problem(e *fault.Error, err error) map[string]any {
	one := func(e *fault.Error) map[string]any {
		return map[string]any{"kind": string(e.Kind), "code": e.Code, "message": e.Message, "field": e.Field}
	}
	out := one(e)
	if more := others(err); len(more) > 0 {
		all := []map[string]any{one(e)}
		for _, e := range more {
			all = append(all, one(e))
		}
		out["errors"] = all
	}
	return out
}

// code is what programs and searches go by.
func code(e *fault.Error) string {
	if e.Field != "" {
		return clean(e.Code) + ", " + clean(e.Field)
	}
	return clean(e.Code)
}
