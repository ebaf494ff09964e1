// Package decide is the service behind every list, act and answer about updates: the console, the API and
// the CLI call it and nothing else.
//
// Guarantees: permission is checked here, below every face; one act is one ledger entry whatever its
// size (A2), and nothing changed means no entry; a bulk act never lifts a decline; effective statuses come
// from approval.Evaluate and verdicts from plan.Compute, and from nowhere else, so what a dry run shows is
// what the act does.
//
// It keeps no state of its own.
package decide

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/server/internal/planner"
)

// Config is what New needs.
type Config struct {
	Index   *index.Index
	Planner *planner.Planner
	Version string                // of the server, for Status
	Engine  string                // of the database, for Status
	Silent  time.Duration         // a device not heard of for this long is silent; 24 hours when zero
	Texts   Texts                 // of agreements; nil where no feeds are followed
	Alarms  func() []string       // about feeds, in sentences; nil for none
	Storage func() client.Storage // of the database, from memory; nil: nothing is said
	Log     *slog.Logger
}

// Service answers. It is safe for concurrent use.
type Service struct {
	index   *index.Index
	planner *planner.Planner
	version string
	engine  string
	silent  time.Duration
	texts   Texts
	alarms  func() []string
	storage func() client.Storage
	log     *slog.Logger
}

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Index == nil || c.Planner == nil {
		return nil, fmt.Errorf("decide: an index and a planner are needed")
	}
	if c.Silent <= 0 {
		c.Silent = 24 * time.Hour
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{index: c.Index, planner: c.Planner, version: c.Version, engine: c.Engine, silent: c.Silent, texts: c.Texts, alarms: c.Alarms, storage: c.Storage, log: c.Log}, nil
}

// moment is what an answer is made from: one View with the board brought up to date.
type moment struct {
	*index.View
	board   planner.Board
	planner *planner.Planner
	now     time.Time
	silent  time.Duration // a device not heard of for this long is silent
}

// look calls f with one moment.
func (s *Service) look(f func(m *moment) error) error {
	if err := s.planner.Refresh(); err != nil {
		return err
	}
	var err error
	s.index.View(func(v *index.View) {
		s.planner.Read(func(b planner.Board) {
			err = f(&moment{View: v, board: b, planner: s.planner, now: s.index.Now().UTC(), silent: s.silent})
		})
	})
	return err
}

// scope finds a group that the actor holds a role in. An empty reference is fallback.
func scope(v *index.View, who auth.Actor, role ledger.Role, ref string, fallback fleet.GroupID) (fleet.Group, error) {
	if ref == "" {
		ref = string(fallback)
	}
	g, ok := v.Tree().Find(ref)
	if !ok {
		return fleet.Group{}, fault.New(fault.NotFound, "group_unknown", "There is no group %q; `assent group list` shows all.", shorten(ref)).On("group")
	}
	if err := who.Can(role, v.Tree(), g.ID); err != nil {
		return fleet.Group{}, err
	}
	return g, nil
}

// maxReason is the most characters of a reason.
const maxReason = 2000

// checkText refuses a text that cannot be shown as it was meant.
func checkText(s, field string, most int) error {
	if utf8.RuneCountInString(s) > most {
		return fault.New(fault.Invalid, field+"_too_long", "The %s has more than %d characters; shorten it.", field, most).On(field)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unprintable) {
		return fault.New(fault.Invalid, field+"_invalid", "The %s contains control characters; give plain text.", field).On(field)
	}
	return nil
}

// unprintable are characters that change how a line looks without being seen.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r)
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 80 {
		return string(r[:80]) + "…"
	}
	return s
}

// ref names an update in answers.
func ref(u index.Update) client.UpdateRef {
	return client.UpdateRef{ID: u.ID, PURL: u.PURL(), Name: u.Name, Version: u.Version}
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// groupName names a group in a sentence.
func groupName(v *index.View, id fleet.GroupID) string {
	if g, ok := v.Tree().Get(id); ok {
		return fmt.Sprintf("%q", g.Name)
	}
	return fmt.Sprintf("%q", id)
}

// alive stops long work when the caller has gone.
func alive(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fault.New(fault.Unavailable, "cancelled", "The request was cancelled.").Because(err)
	}
	return nil
}
