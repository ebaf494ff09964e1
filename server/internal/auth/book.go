package auth

import (
	"context"

	"assent/fault"
	"assent/ledger"
	"assent/server/internal/index"
)

// IndexBook is the Book of the running server: the index's state, changed through acts.
type IndexBook struct{ Index *index.Index }

// Access looks a token up in the state of this moment.
func (b IndexBook) Access(id string) (access ledger.Access, operator ledger.Operator, ok bool) {
	b.Index.View(func(v *index.View) {
		access, ok = v.State().Accesses[id]
		operator = v.State().Operators[access.Operator]
	})
	return access, operator, ok && operator.Name != ""
}

// Operator looks an operator up in the state of this moment.
func (b IndexBook) Operator(name string) (operator ledger.Operator, ok bool) {
	b.Index.View(func(v *index.View) { operator, ok = v.State().Operators[name] })
	return operator, ok
}

// Exchange is two acts: the one-time token ends, then the fresh one begins. Acts come one after another,
// so of several callers one ends it and the others find it gone. If the server dies between the two, the
// token is spent for nothing, which is the safe way round: a new one is quickly made.
func (b IndexBook) Exchange(ctx context.Context, spent string, fresh ledger.Access) error {
	_, err := b.Index.Act(ctx, fresh.Operator, func(v *index.View) (ledger.Body, error) {
		if a, ok := v.State().Accesses[spent]; !ok || !a.OneTime || a.Operator != fresh.Operator {
			return nil, fault.New(fault.Unauthenticated, "sign_in_refused", "The sign-in token was used before.").On("token")
		}
		return ledger.AccessRevoke{ID: spent}, nil
	})
	if err != nil {
		return err
	}
	_, err = b.Index.Act(ctx, fresh.Operator, func(*index.View) (ledger.Body, error) { return ledger.AccessCreate{Access: fresh}, nil })
	return err
}
