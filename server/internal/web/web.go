// Package web is the console: pages for people over the same services as the REST API.
//
// It is one of three faces (api, web, gateway) and decides nothing: a page reads its input, calls services and
// shows what they returned. Everything can be read, and every act can be done, without script; script only makes
// it quicker.
//
// Guarantees: every route stands in one table with what a person must hold for it, and New refuses a table with a
// gap; who is signed in is looked up anew for every request; what gives power asks who is signed in to prove it again;
// nothing is changed by a GET; requests from foreign web pages are refused; texts from devices and feeds are escaped by
// html/template, and a strict Content-Security-Policy stands behind it; a page is rendered whole before the first
// byte goes out; what went wrong inside is logged, never shown.
//
// It does not: check rights to single objects (the services do, below every face), or decide who is let in (package
// signin does).
package web

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"
)

// maxBody bounds a form, in bytes; 10,000 selected updates fit.
const maxBody = 1 << 20

// Config is what the console stands on. The services are required; the rest may stay empty.
type Config struct {
	SignIn   SignIn
	Decide   Decide
	Roster   Roster
	Audit    Audit
	Changes  Changes
	Feeds    Feeds
	Packages Packages
	Channels Channels
	Trends   Trends
	Views    Views
	Tasks    Tasks
	Rollouts Rollouts
	// Secure says that people come over TLS: the cookie is then for TLS only.
	Secure bool
	Log    *slog.Logger
	// Observe is told of every request that was answered: the route's pattern, never the raw path.
	Observe func(pattern string, status int, took time.Duration)
	// Violation is told of every report that a page broke the Content-Security-Policy.
	Violation func()
	Version   string // of the server
}

// server holds the handlers of all routes.
type server struct {
	Config
	desks   *desks
	assets  *assets
	views   *views
	menu    []section
	groups  groupCache
	reports throttle
	streams streams
}

// New builds the console's handler, to be mounted at "/". It fails on a missing service, on a route table with a
// gap and on a template that cannot be read.
func New(c Config) (http.Handler, error) {
	s, err := build(c)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for _, r := range s.routes() {
		mux.Handle(r.Method+" "+r.Pattern, s.handler(r))
	}
	mux.Handle("/", s.nowhere(mux))
	return s.outside(mux), nil
}

func build(c Config) (*server, error) {
	for name, missing := range map[string]bool{"SignIn": c.SignIn == nil, "Decide": c.Decide == nil, "Roster": c.Roster == nil,
		"Audit": c.Audit == nil, "Changes": c.Changes == nil, "Feeds": c.Feeds == nil, "Packages": c.Packages == nil, "Trends": c.Trends == nil, "Views": c.Views == nil, "Tasks": c.Tasks == nil, "Rollouts": c.Rollouts == nil, "Channels": c.Channels == nil} {
		if missing {
			return nil, fmt.Errorf("web: the service %s is missing", name)
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Observe == nil {
		c.Observe = func(string, int, time.Duration) {}
	}
	if c.Violation == nil {
		c.Violation = func() {}
	}
	s := &server{Config: c, desks: newDesks()}
	var err error
	if s.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	if !s.assets.built() {
		c.Log.Warn("the console was built without its style sheets and scripts: run `make assets` and build again")
	}
	routes := s.routes()
	if err := check(routes); err != nil {
		return nil, err
	}
	s.menu = present(menu(), routes)
	s.views, err = loadViews(s.assets, routes)
	return s, err
}

// check refuses a route table that leaves open who may ask for what.
func check(routes []Route) error {
	seen := map[string]bool{}
	for _, r := range routes {
		key := r.Method + " " + r.Pattern
		switch {
		case !r.Need.Valid():
			return fmt.Errorf("web: the route %s has no policy", key)
		case seen[key]:
			return fmt.Errorf("web: the route %s stands twice", key)
		case !slices.Contains([]string{http.MethodGet, http.MethodPost}, r.Method):
			return fmt.Errorf("web: the route %s has a method that forms cannot send", key)
		case r.serve == nil:
			return errors.New("web: the route " + key + " has no handler")
		}
		seen[key] = true
	}
	return nil
}
