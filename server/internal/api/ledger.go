package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"assent/client"
	"assent/ledger"
	"assent/server/internal/auth"
)

type entriesInput struct {
	Kind   string `query:"kind" maxLength:"64" doc:"Only entries of this kind."`
	By     string `query:"by" maxLength:"200" doc:"Only what this operator did."`
	Before int64  `query:"before" minimum:"0" doc:"Only entries with a lower sequence: the last one of the page before."`
	Limit  int    `query:"limit" minimum:"0" maximum:"1000" doc:"100 by default."`
}

func (s *server) entries(ctx context.Context, _ auth.Session, in *entriesInput) (client.List[client.LedgerRow], error) {
	return s.Audit.Entries(ctx, client.LedgerQuery{Kind: ledger.Kind(in.Kind), By: in.By, Before: in.Before, Limit: in.Limit})
}

func (s *server) checkpoint(ctx context.Context, _ auth.Session, _ *none) (client.Checkpoint, error) {
	return s.Audit.Checkpoint(ctx)
}

// export streams the ledger. What goes wrong after the first byte breaks the connection, so that half an
// export never looks whole; and VerifyExport would notice.
func (s *server) export(_ context.Context, who auth.Session) (*huma.StreamResponse, error) {
	return &huma.StreamResponse{Body: func(h huma.Context) {
		h.SetHeader("Content-Type", linesType)
		h.SetHeader("Content-Disposition", `attachment; filename="assent-ledger.jsonl"`)
		err := s.Audit.Export(h.Context(), h.BodyWriter(), func() error { return s.Auth.Live(who) })
		if err != nil {
			s.Log.Error("ledger export broke off", "operator", who.Name, "error", err)
			panic(http.ErrAbortHandler)
		}
	}}, nil
}
