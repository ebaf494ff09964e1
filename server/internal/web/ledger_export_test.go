package web

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"assent/ledger"
)

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
	for name, after := range map[string]ledger.Role{"removed": "", "changed": ledger.Viewer, "nothing happened": ledger.Approver} {
		s, one, in := signedIn()
		audit := &long{meanwhile: func() { one.who.Role = after; one.who.Name = map[bool]string{false: "ada"}[after == ""] }}
		s.Audit, s.Log = audit, slog.New(slog.DiscardHandler)
		v := in(&Visit{Request: httptest.NewRequest(http.MethodGet, "/ledger/export", nil)})
		var aborted any
		func() {
			defer func() { aborted = recover() }()
			if err := s.exportLedger(httptest.NewRecorder(), v); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}()
		if lost := after != ledger.Approver; lost != (aborted != nil) || lost && audit.rounds != 2 || !lost && audit.rounds != 10 {
			t.Errorf("%s: aborted %v after %d rounds", name, aborted, audit.rounds)
		}
	}
}
