package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"assent/client"
	"assent/fault"
	"assent/server/internal/auth"
)

// statusOf is the HTTP status of a refusal: that of its kind, but for the limit on failed attempts.
func statusOf(e *fault.Error) int {
	if e.Code == auth.ErrLimited.Code {
		return http.StatusTooManyRequests
	}
	return e.Kind.Status()
}

// failure is a problem on its way out; it is an error that huma knows how to answer with.
type failure struct {
	client.Problem
	headers http.Header
}

// Error makes failure an error; GetStatus, ContentType and GetHeaders are what huma asks of one.
func (f *failure) Error() string             { return f.Detail }
func (f *failure) GetStatus() int            { return f.Status }
func (f *failure) ContentType(string) string { return "application/problem+json" }
func (f *failure) GetHeaders() http.Header   { return f.headers }

// newFailure turns any error into a problem. What is not a *fault.Error becomes "internal".
func newFailure(err error) *failure {
	e := fault.From(err)
	if errors.Is(err, context.DeadlineExceeded) {
		e = fault.New(fault.Unavailable, "timeout", "The server took too long; try again.").Because(err)
	}
	f := problemOf(statusOf(e), e)
	if all := (fault.List{}); errors.As(err, &all) {
		for _, e := range all {
			f.Errors = append(f.Errors, client.ProblemError{Detail: e.Message, Kind: string(e.Kind), Code: e.Code, Field: e.Field})
		}
	}
	if wait, ok := auth.RetryAfter(err); ok {
		f.headers.Set("Retry-After", strconv.Itoa(wait))
	}
	return f
}

func problemOf(status int, e *fault.Error) *failure {
	f := &failure{headers: http.Header{}, Problem: client.Problem{Type: "about:blank", Title: http.StatusText(status), Status: status,
		Detail: e.Message, Kind: string(e.Kind), Code: e.Code, Field: e.Field}}
	switch status {
	case http.StatusUnauthorized:
		f.headers.Set("WWW-Authenticate", `Bearer realm="assent"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		f.headers.Set("Retry-After", "5")
	}
	return f
}

// fail answers a handler's error, and logs what users do not see.
func (s *server) fail(ctx context.Context, r Route, err error) error {
	f := newFailure(err)
	if f.Status == http.StatusInternalServerError && ctx.Err() == nil {
		s.Log.Error("request failed", "route", r.Method+" "+r.Path, "operator", caller(ctx).Name, slog.Any("error", err))
	}
	return f
}

// refuse answers a request that does not get to a handler.
func (s *server) refuse(w http.ResponseWriter, err error) { newFailure(err).write(w) }

func (f *failure) write(w http.ResponseWriter) {
	h := w.Header()
	maps.Copy(h, f.headers)
	h.Set("Content-Type", f.ContentType(""))
	w.WriteHeader(f.Status)
	_ = json.NewEncoder(w).Encode(f.Problem) // the caller is gone if this fails
}

// problems is huma's transformer: whatever huma itself refuses goes out as a problem of ours. Its own
// error model echoes the input; ours does not.
func problems(_ huma.Context, _ string, v any) (any, error) {
	switch e := v.(type) {
	case *failure:
		return e.Problem, nil
	case *huma.ErrorModel:
		return fromHuma(e).Problem, nil
	}
	return v, nil
}

// fromHuma translates a refusal of huma's parsing and validation.
func fromHuma(m *huma.ErrorModel) *failure {
	var text, field string
	if len(m.Errors) > 0 && m.Errors[0] != nil {
		text, field = m.Errors[0].Message, missing(m.Errors[0].Message, fieldOf(m.Errors[0].Location))
	}
	var e *fault.Error
	switch m.Status {
	case http.StatusBadRequest:
		e = fault.New(fault.Invalid, "malformed", "The request's body cannot be read: %s.", sentence(text, m.Detail))
	case http.StatusUnprocessableEntity:
		e = fault.New(fault.Invalid, "invalid_input", "%s is wrong: %s.", what(field), sentence(text, m.Detail))
	case http.StatusRequestEntityTooLarge:
		e = fault.New(fault.TooLarge, "too_large", "The request's body is too large; %d bytes are the most.", maxBody)
	case http.StatusUnsupportedMediaType:
		e = errContentType
	case http.StatusRequestTimeout:
		e = fault.New(fault.Unavailable, "timeout", "The request's body came too slowly; try again.")
	default:
		e = fault.From(m)
	}
	return problemOf(m.Status, e.On(field))
}

// fieldOf is huma's location without where it was: "body.updates[0]" is "updates[0]".
func fieldOf(location string) string {
	for _, where := range []string{"body.", "query.", "path.", "header."} {
		if rest, ok := strings.CutPrefix(location, where); ok {
			return rest
		}
	}
	if location == "body" {
		return ""
	}
	return location
}

func what(field string) string {
	if field == "" {
		return "The input"
	}
	return fmt.Sprintf("The input %q", field)
}

// missing is the field that a message says is missing: huma's location is only where it should have been.
func missing(message, field string) string {
	rest, ok := strings.CutPrefix(message, "expected required property ")
	name, whole := strings.CutSuffix(rest, " to be present")
	switch {
	case !ok || !whole:
		return field
	case field == "":
		return name
	}
	return field + "." + name
}

// sentence is the end of a sentence, without its full stop.
func sentence(text, otherwise string) string {
	if text == "" {
		text = otherwise
	}
	return strings.TrimSuffix(text, ".")
}

// The refusals of this package.
var (
	errContentType = fault.New(fault.Invalid, "content_type", "The body must be JSON with the header Content-Type: application/json.")
	errForeign     = fault.New(fault.Forbidden, "cross_origin", "A page of another site sent this request; it is refused.")
	errNoRoute     = fault.New(fault.NotFound, "route_unknown", "There is no such address; %s/openapi.json lists them all.", Prefix)
	errNoMethod    = fault.New(fault.Invalid, "method_not_allowed", "This address does not do that; the Allow header says what it does.")
)
