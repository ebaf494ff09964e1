// Package api is the REST API: /api/v1, described by the OpenAPI 3.1 document that it serves.
//
// It is one of three faces over the same services (api, web, gateway) and decides nothing: a handler reads
// its input, calls one service method and returns what the method returned. Answers are the types of
// package client, so client and server cannot drift.
//
// Guarantees: every route stands in one table with what a caller must hold for it, and New refuses a table
// with a gap; the credential is checked before a byte of the body is read; bodies are JSON of known fields,
// bounded in size and depth, without duplicate keys; nothing is changed by a GET; requests from foreign web
// pages are refused; every refusal is application/problem+json with a stable code, and what went wrong
// inside is logged, never shown.
//
// It does not: check rights to single objects (the services do, below every face), keep sessions (package
// web), or speak to devices (package gateway).
package api

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"assent/server/internal/auth"
)

// Prefix is where the API lives.
const Prefix = "/api/v1"

// Caps on requests.
const (
	maxBody     = 1 << 20 // bytes; 10,000 update ids fit with room to spare
	bodyTimeout = 10 * time.Second
	maxDepth    = 16 // of nested JSON; the deepest message has 4
)

// Config is what the API stands on. All services are required; Log, Observe and Version may stay empty.
type Config struct {
	Auth    *auth.Service
	Decide  Decide
	Roster  Roster
	Audit   Audit
	SignIn  SignIn
	Changes Changes
	Feeds   Feeds
	// Packages are installation packages.
	Packages Packages
	Trends   Trends
	Views    Views
	Tasks    Tasks
	Rollouts Rollouts
	Channels Channels
	Log      *slog.Logger
	// Observe is told of every request that was answered: the route's pattern, never the raw path, so that
	// the number of series stays small.
	Observe func(pattern string, status int, took time.Duration)
	Version string // of the server, for the OpenAPI document
}

// server holds the handlers of all routes.
type server struct {
	Config
	waiting *waiters
}

// New builds the API's handler, to be mounted at Prefix. It fails on a missing service and on a route table
// with a gap.
func New(c Config) (http.Handler, error) {
	for name, missing := range map[string]bool{"Auth": c.Auth == nil, "Decide": c.Decide == nil, "Roster": c.Roster == nil,
		"Audit": c.Audit == nil, "SignIn": c.SignIn == nil, "Changes": c.Changes == nil, "Feeds": c.Feeds == nil, "Packages": c.Packages == nil, "Trends": c.Trends == nil, "Views": c.Views == nil, "Tasks": c.Tasks == nil, "Rollouts": c.Rollouts == nil, "Channels": c.Channels == nil} {
		if missing {
			return nil, fmt.Errorf("api: the service %s is missing", name)
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Observe == nil {
		c.Observe = func(string, int, time.Duration) {}
	}
	s := &server{Config: c, waiting: newWaiters()}
	mux := http.NewServeMux()
	if err := s.mount(mux); err != nil {
		return nil, err
	}
	return s.outside(mux), nil
}

// mount registers the route table and the OpenAPI document.
func (s *server) mount(mux *http.ServeMux) error {
	routes := s.routes()
	if err := check(routes); err != nil {
		return err
	}
	h := humago.NewWithPrefix(mux, Prefix, s.config())
	for _, r := range routes {
		r.register(r, s, h)
	}
	tidySchemas(h.OpenAPI())
	document, err := describe(h.OpenAPI())
	if err != nil {
		return err
	}
	document.mount(mux)
	mux.HandleFunc("/", s.nowhere(mux))
	return nil
}

// config is huma's, without anything that reaches out: no documentation page from a CDN, no $schema links.
func (s *server) config() huma.Config {
	c := huma.DefaultConfig("Assent", cmp.Or(s.Version, "dev"))
	c.CreateHooks = nil
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "", "", ""
	c.Info.Description = "Decides which software updates reach which devices, and proves it."
	c.Components.Schemas = newRegistry()
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		bearerScheme: {Type: "http", Scheme: "bearer", Description: "An access token, from `assent login` or `assent access create`."},
	}
	c.Formats = map[string]huma.Format{"application/json": strictJSON(), "json": strictJSON()}
	c.RejectUnknownQueryParameters = true
	c.Transformers = []huma.Transformer{problems}
	return c
}

// check refuses a route table that leaves open who may call what.
func check(routes []Route) error {
	seen := map[string]bool{}
	for _, r := range routes {
		key := r.Method + " " + r.Path
		switch {
		case !r.Need.Valid():
			return fmt.Errorf("api: the route %s has no policy", key)
		case seen[key]:
			return fmt.Errorf("api: the route %s stands twice", key)
		case !slices.Contains([]string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}, r.Method):
			return fmt.Errorf("api: the route %s has a method that is not used here", key)
		case r.register == nil:
			return errors.New("api: the route " + key + " has no handler")
		case r.Method == http.MethodGet && r.body:
			return errors.New("api: the route " + key + " reads with a body")
		}
		seen[key] = true
	}
	return nil
}
