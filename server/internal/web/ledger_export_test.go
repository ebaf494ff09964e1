package web

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
)

// changing is a Book in which one operator's role can be changed.
type changing struct{ role ledger.Role }

func (c *changing) Access(string) (ledger.Access, ledger.Operator, bool) {
	return ledger.Access{ID: "a", Operator: "ada", Expires: time.Now().Add(time.Hour)}, ledger.Operator{Name: "ada", Role: c.role, Scope: fleet.Root}, c.role != ""
}

// long is an Audit whose export goes on until it is told to stop; in between something happens.
type long struct {
	Audit
	meanwhile func()
	rounds    int
}

func (l *long) Export(_ context.Context, w io.Writer, live func() error) error {
	for range 10 {
		if err := live(); err != nil {
			return err
		}
		_, _ = io.WriteString(w, "entry\n")
		if l.rounds++; l.rounds == 2 {
			l.meanwhile()
		}
	}
	return nil
}

// TestN22_AnExportOfTheLedgerStopsWhenItsReaderLosesAccess also shows that half an export does not look whole.
func TestN22_AnExportOfTheLedgerStopsWhenItsReaderLosesAccess(t *testing.T) {
	for name, after := range map[string]ledger.Role{"removed": "", "changed": ledger.Approver, "nothing happened": ledger.Viewer} {
		book := &changing{role: ledger.Viewer}
		audit := &long{meanwhile: func() { book.role = after }}
		s := &server{Config: Config{Book: book, Audit: audit, Log: slog.New(slog.DiscardHandler)}, sessions: newSessions(book, time.Now)}
		r := httptest.NewRequest(http.MethodGet, "/ledger/export", nil)
		who := auth.Session{Actor: auth.Actor{Name: "ada", Role: ledger.Viewer, Scope: fleet.Root}, Access: "a"}
		r.AddCookie(&http.Cookie{Name: s.cookieName(), Value: s.sessions.start(who, false, r)})
		var aborted any
		func() {
			defer func() { aborted = recover() }()
			if err := s.exportLedger(httptest.NewRecorder(), &Visit{Request: r, Session: who}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}()
		if lost := after != ledger.Viewer; lost != (aborted != nil) || lost && audit.rounds != 2 || !lost && audit.rounds != 10 {
			t.Errorf("%s: aborted %v after %d rounds", name, aborted, audit.rounds)
		}
	}
}
