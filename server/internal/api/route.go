package api

import (
	"context"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"assent/server/internal/auth"
)

// Need is the policy of a route.
type Need = auth.Need

// The policies.
const (
	Public             = auth.Public
	Viewer             = auth.Viewer
	Approver           = auth.Approver
	Administrator      = auth.Administrator
	ViewerOfAll        = auth.ViewerOfAll
	AdministratorOfAll = auth.AdministratorOfAll
)

// Route is one line of the table: data, so that tests can call every route with every role.
type Route struct {
	Method  string
	Path    string // below Prefix
	Need    Need
	Summary string

	id       string
	body     bool
	slow     bool // holds its answer back: the connection's write deadline does not count
	register func(Route, *server, huma.API)
}

// out is an answer with a body.
type out[T any] struct{ Body T }

// in is a request that is a body and nothing else.
type in[T any] struct{ Body T }

// none is a request without any input.
type none struct{}

// route makes a line of the table from a handler that gets who calls, and what.
func route[I, O any](need Need, method, path, id, summary string, handle func(context.Context, auth.Session, *I) (O, error)) Route {
	register := func(r Route, s *server, h huma.API) {
		huma.Register(h, s.operation(r), func(ctx context.Context, input *I) (*out[O], error) {
			answer, err := handle(ctx, caller(ctx), input)
			if err != nil {
				return nil, s.fail(ctx, r, err)
			}
			return &out[O]{Body: answer}, nil
		})
	}
	return Route{Method: method, Path: path, Need: need, Summary: summary, id: id, register: register, body: hasBody[I]()}
}

// hasBody reports whether the input I has a body.
func hasBody[I any]() bool {
	_, ok := reflect.TypeFor[I]().FieldByName("Body")
	return ok
}

// stream makes a line of the table whose handler writes its answer itself.
func stream(need Need, method, path, id, summary string, handle func(context.Context, auth.Session) (*huma.StreamResponse, error)) Route {
	register := func(r Route, s *server, h huma.API) {
		op := s.operation(r)
		op.Responses["200"] = &huma.Response{Description: "JSON lines", Content: map[string]*huma.MediaType{linesType: {}}}
		huma.Register(h, op, func(ctx context.Context, _ *none) (*huma.StreamResponse, error) {
			answer, err := handle(ctx, caller(ctx))
			if err != nil {
				return nil, s.fail(ctx, r, err)
			}
			return answer, nil
		})
	}
	return patient(Route{Method: method, Path: path, Need: need, Summary: summary, id: id, register: register})
}

// patient marks a route that holds its answer back.
func patient(r Route) Route {
	r.slow = true
	return r
}

const (
	bearerScheme = "access_token"
	linesType    = "application/x-ndjson"
)

// operation is what huma needs to know of a route. The policy is its first middleware: it runs before
// parameters and body are read.
func (s *server) operation(r Route) huma.Operation {
	op := huma.Operation{Method: r.Method, Path: r.Path, OperationID: r.id, Summary: r.Summary,
		Description: "For " + r.Need.Whom() + ".", Tags: []string{tag(r.Path)},
		MaxBodyBytes: maxBody, BodyReadTimeout: bodyTimeout,
		Middlewares: huma.Middlewares{s.policy(r)},
		Responses:   map[string]*huma.Response{"default": problemResponse()},
	}
	if r.Need != Public {
		op.Security = []map[string][]string{{bearerScheme: {}}}
	}
	return op
}

// tag groups routes by the first word of their path.
func tag(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return first
}

type sessionKey struct{}

// caller is who calls; the zero Session on public routes.
func caller(ctx context.Context) auth.Session {
	session, _ := ctx.Value(sessionKey{}).(auth.Session)
	return session
}

// policy lets through who meets the route's need.
func (s *server) policy(r Route) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		if r.slow {
			_, w := humago.Unwrap(ctx)
			_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // a writer without deadlines needs none lifted
		}
		if r.Need == Public {
			next(ctx)
			return
		}
		session, err := s.Auth.Authenticate(ctx.Header("Authorization"), ctx.RemoteAddr())
		if err == nil {
			err = r.Need.Admits(session.Actor)
		}
		if err != nil {
			_, w := humago.Unwrap(ctx)
			s.refuse(w, err)
			return
		}
		next(huma.WithValue(ctx, sessionKey{}, session))
	}
}
