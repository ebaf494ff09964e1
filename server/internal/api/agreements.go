package api

import (
	"context"

	"assent/client"
	"assent/server/internal/auth"
)

// Agreements are the licences that must be accepted before updates may install (A7).
type Agreements interface {
	Agreements(ctx context.Context, who auth.Actor, update string) (client.List[client.AgreementRow], error)
	AgreementText(ctx context.Context, who auth.Actor, update, sha256 string) (client.AgreementText, error)
	Accepted(ctx context.Context, who auth.Actor) (client.List[client.AgreementRow], error)
	Accept(ctx context.Context, who auth.Actor, r client.AcceptRequest) (client.Act, error)
	Withdraw(ctx context.Context, who auth.Actor, r client.WithdrawRequest) (client.Act, error)
}

type agreementsInput struct {
	Update string `path:"update" maxLength:"1000" doc:"Id, package URL or name@version."`
}

func (s *server) agreements(ctx context.Context, who auth.Session, in *agreementsInput) (client.List[client.AgreementRow], error) {
	return s.Decide.Agreements(ctx, who.Actor, in.Update)
}

type agreementTextInput struct {
	Update string `path:"update" maxLength:"1000"`
	SHA256 string `path:"sha256" minLength:"64" maxLength:"64" doc:"Of the text."`
}

func (s *server) agreementText(ctx context.Context, who auth.Session, in *agreementTextInput) (client.AgreementText, error) {
	return s.Decide.AgreementText(ctx, who.Actor, in.Update, in.SHA256)
}

func (s *server) accepted(ctx context.Context, who auth.Session, _ *none) (client.List[client.AgreementRow], error) {
	return s.Decide.Accepted(ctx, who.Actor)
}

func (s *server) accept(ctx context.Context, who auth.Session, in *in[client.AcceptRequest]) (client.Act, error) {
	return s.Decide.Accept(ctx, who.Actor, in.Body)
}

func (s *server) withdraw(ctx context.Context, who auth.Session, in *in[client.WithdrawRequest]) (client.Act, error) {
	return s.Decide.Withdraw(ctx, who.Actor, in.Body)
}
