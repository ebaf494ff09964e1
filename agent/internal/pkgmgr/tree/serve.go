package tree

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"assent/installation"
)

// Services are the device's services, as far as applications run as such.
type Services interface {
	// From lists the running services whose main process runs from a directory, or which are declared to start a program there.
	From(ctx context.Context, dir string) ([]string, error)
	// TryRestart restarts a service unless somebody stopped it, and waits until it is active again.
	TryRestart(ctx context.Context, unit string) error
}

// served finds the services that have to be restarted for a version that is about to come into force: those that run the version
// before, if the publisher of either asks for that. The manifest names no service: the device knows them.
func (t *Tree) served(ctx context.Context, a aim) ([]string, error) {
	before := a.rec.Current
	if t.cfg.Services == nil || before == nil || !a.serves && !before.Serves && (a.kept == nil || !a.kept.Serves) {
		return nil, nil
	}
	dir := filepath.Join(t.cfg.Root, base(a.rec.Payload), a.rec.Feed, a.rec.App)
	units, err := t.cfg.Services.From(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("find the services of %s: %w", a.rec.key(), err)
	}
	units = slices.Concat(before.Units, units) // what the version before left undone is not forgotten
	slices.Sort(units)
	return slices.Compact(units), nil
}

// serve restarts the services that the version in force waits for. Each that is back is noted, and one that does not come back
// keeps none of the others from being restarted.
func (t *Tree) serve(ctx context.Context, r record) error {
	if r.Current == nil || len(r.Current.Units) == 0 || t.cfg.Services == nil {
		return nil
	}
	var failed []string
	var errs []error
	for _, u := range r.Current.Units {
		if err := t.cfg.Services.TryRestart(ctx, u); err != nil {
			failed, errs = append(failed, u), append(errs, err)
		}
	}
	now := *r.Current
	now.Units = failed
	r.Current = &now
	if err := errors.Join(t.save(r), ctx.Err()); err != nil {
		return err
	}
	if len(failed) == 0 {
		return nil
	}
	return refuse(installation.InstallFailed, "Version %s is in force, and %s did not come back with it: %v", now.Version, strings.Join(failed, ", "), errors.Join(errs...))
}

// serveAgain is serve for what an interruption left.
func (t *Tree) serveAgain(ctx context.Context, k key) error {
	r, err := t.load(k)
	if err != nil {
		return err
	}
	return t.serve(ctx, r)
}
