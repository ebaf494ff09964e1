package roster

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"assent/client"
	"assent/fault"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/wire"
)

// UsedFunc says when an access token was last let in.
type UsedFunc func(id string) (time.Time, bool)

// Lives of tokens.
const (
	defaultTokenLife  = time.Hour
	maxTokenLife      = 30 * 24 * time.Hour
	defaultAccessLife = 90 * 24 * time.Hour
	maxAccessLife     = 365 * 24 * time.Hour
	maxSignInLife     = 24 * time.Hour
	maxUses           = 100_000
)

func micro(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// Tokens lists the enrolment tokens of the actor's part of the tree, the latest to expire first.
func (s *Service) Tokens(_ context.Context, who auth.Actor) (client.List[client.TokenRow], error) {
	out := client.List[client.TokenRow]{Items: []client.TokenRow{}}
	var err error
	s.index.View(func(v *index.View) {
		if _, err = scope(v, who, ledger.Administrator, "", who.Scope); err != nil {
			return
		}
		for _, t := range v.State().Tokens {
			if v.Tree().Contains(who.Scope, t.Group) {
				out.Items = append(out.Items, tokenRow(v, t))
			}
		}
	})
	slices.SortFunc(out.Items, func(a, b client.TokenRow) int { return cmp.Or(b.Expires.Compare(a.Expires), cmp.Compare(a.ID, b.ID)) })
	out.Total = len(out.Items)
	return out, err
}

func tokenRow(v *index.View, t ledger.Token) client.TokenRow {
	g, _ := v.Tree().Get(t.Group)
	return client.TokenRow{ID: t.ID, Group: cmp.Or(g.Name, string(t.Group)), Uses: t.Uses, Used: t.Used, Expires: t.Expires, Revoked: t.Revoked, Note: t.Note, By: t.By}
}

// CreateToken makes an enrolment token. Its text is in this answer and nowhere else.
func (s *Service) CreateToken(ctx context.Context, who auth.Actor, r client.TokenRequest) (client.TokenRow, error) {
	uses := cmp.Or(r.Uses, 1)
	life, err := lifetime(r.TTL, defaultTokenLife, maxTokenLife)
	if err != nil {
		return client.TokenRow{}, err
	}
	if uses < 1 || uses > maxUses {
		return client.TokenRow{}, fault.New(fault.Invalid, "uses_invalid", "A token has 1 to %d uses.", maxUses).On("uses")
	}
	if err := checkText(r.Note, "note"); err != nil {
		return client.TokenRow{}, err
	}
	secret := wire.NewToken(s.ca)
	made := ledger.TokenCreate{ID: secret.ID, Secret: secret.SecretHash(), Uses: uses, Expires: micro(s.index.Now().Add(life)), Note: r.Note}
	_, err = s.act(ctx, who, func(v *index.View) (ledger.Body, error) {
		g, err := scope(v, who, ledger.Administrator, r.Group, who.Scope)
		if err != nil {
			return nil, err
		}
		made.Group = g.ID
		return made, nil
	})
	if err != nil {
		return client.TokenRow{}, err
	}
	var row client.TokenRow
	s.index.View(func(v *index.View) { row = tokenRow(v, v.State().Tokens[made.ID]) })
	row.Text = secret.String()
	row.Command = "assent-agent enrol --server " + s.server + " --token " + row.Text
	return row, nil
}

// lifetime checks how long something is asked to live.
func lifetime(asked, standard, most time.Duration) (time.Duration, error) {
	switch {
	case asked == 0:
		return standard, nil
	case asked < time.Minute || asked > most:
		return 0, fault.New(fault.Invalid, "ttl_invalid", "It may live from one minute to %d days.", int(most/(24*time.Hour))).On("ttl")
	}
	return asked, nil
}

// RevokeToken ends an enrolment token. Devices that came in with it stay.
func (s *Service) RevokeToken(ctx context.Context, who auth.Actor, id string) (client.Act, error) {
	return s.act(ctx, who, func(v *index.View) (ledger.Body, error) {
		t, ok := v.State().Tokens[id]
		if !ok || !v.Tree().Contains(who.Scope, t.Group) {
			return nil, fault.New(fault.NotFound, "token_unknown", "There is no enrolment token %.80q.", id).On("id")
		}
		if err := who.Can(ledger.Administrator, v.Tree(), t.Group); err != nil || t.Revoked {
			return nil, err
		}
		return ledger.TokenRevoke{ID: id}, nil
	})
}

// Operators lists the people and programs that may use the API.
func (s *Service) Operators(_ context.Context, who auth.Actor) (client.List[client.OperatorRow], error) {
	out := client.List[client.OperatorRow]{Items: []client.OperatorRow{}}
	var err error
	s.index.View(func(v *index.View) {
		if _, err = scope(v, who, ledger.Administrator, "", who.Scope); err != nil {
			return
		}
		for _, o := range v.State().Operators {
			if v.Tree().Contains(who.Scope, o.Scope) {
				out.Items = append(out.Items, s.operatorRow(v, o))
			}
		}
	})
	slices.SortFunc(out.Items, func(a, b client.OperatorRow) int { return cmp.Compare(a.Name, b.Name) })
	out.Total = len(out.Items)
	return out, err
}

func (s *Service) operatorRow(v *index.View, o ledger.Operator) client.OperatorRow {
	g, _ := v.Tree().Get(o.Scope)
	row := client.OperatorRow{Operator: o, ScopeName: g.Name}
	for _, a := range v.State().Accesses {
		if a.Operator == o.Name && s.index.Now().Before(a.Expires) {
			row.Accesses++
		}
	}
	return row
}

// SetOperator adds or changes an operator. Nobody gives away a role or a scope that they do not have, and
// nobody changes an operator who stands above them.
func (s *Service) SetOperator(ctx context.Context, who auth.Actor, r client.OperatorRequest) (client.OperatorRow, error) {
	if err := checkOperator(r); err != nil {
		return client.OperatorRow{}, err
	}
	_, err := s.act(ctx, who, func(v *index.View) (ledger.Body, error) {
		g, err := scope(v, who, ledger.Administrator, r.Scope, who.Scope)
		if err != nil {
			return nil, err
		}
		old, there := v.State().Operators[r.Name]
		if there {
			if err := who.Can(ledger.Administrator, v.Tree(), old.Scope); err != nil {
				return nil, err
			}
		}
		next := ledger.Operator{Name: r.Name, Role: r.Role, Scope: g.ID}
		if next == old {
			return nil, nil
		}
		return ledger.OperatorSet{Operator: next}, nil
	})
	if err != nil {
		return client.OperatorRow{}, err
	}
	var row client.OperatorRow
	s.index.View(func(v *index.View) { row = s.operatorRow(v, v.State().Operators[r.Name]) })
	return row, nil
}

func checkOperator(r client.OperatorRequest) error {
	if err := checkName(r.Name, "name"); err != nil {
		return err
	}
	switch {
	case r.Name == "server" || strings.HasPrefix(r.Name, "device:"):
		return fault.New(fault.Invalid, "name_reserved", "The ledger uses the name %q for itself.", r.Name).On("name")
	case !slices.Contains([]ledger.Role{ledger.Viewer, ledger.Approver, ledger.Administrator}, r.Role):
		return fault.New(fault.Invalid, "role_unknown", "There is no role %.80q; there are: viewer, approver, administrator.", string(r.Role)).On("role")
	}
	return nil
}

// RemoveOperator removes an operator and all their access tokens.
func (s *Service) RemoveOperator(ctx context.Context, who auth.Actor, name string) (client.Act, error) {
	return s.act(ctx, who, func(v *index.View) (ledger.Body, error) {
		o, ok := v.State().Operators[name]
		if !ok || !v.Tree().Contains(who.Scope, o.Scope) {
			return nil, fault.New(fault.NotFound, "operator_unknown", "There is no operator %.80q.", name).On("name")
		}
		if err := who.Can(ledger.Administrator, v.Tree(), o.Scope); err != nil {
			return nil, err
		}
		return ledger.OperatorRemove{Name: name}, nil
	})
}

// mayHandle reports whether the actor may see and end an operator's access tokens: their own, and those
// of operators in their part of the tree when they are an administrator.
func mayHandle(v *index.View, who auth.Actor, operator string) bool {
	o, ok := v.State().Operators[operator]
	return operator == who.Name || ok && who.Can(ledger.Administrator, v.Tree(), o.Scope) == nil
}

// Accesses lists access tokens: one's own, and for administrators those of the operators below them.
func (s *Service) Accesses(_ context.Context, who auth.Actor) (client.List[client.AccessRow], error) {
	out := client.List[client.AccessRow]{Items: []client.AccessRow{}}
	s.index.View(func(v *index.View) {
		for _, id := range slices.Sorted(maps.Keys(v.State().Accesses)) {
			if a := v.State().Accesses[id]; mayHandle(v, who, a.Operator) {
				out.Items = append(out.Items, s.accessRow(a))
			}
		}
	})
	slices.SortStableFunc(out.Items, func(a, b client.AccessRow) int { return cmp.Compare(a.Operator, b.Operator) })
	out.Total = len(out.Items)
	return out, nil
}

func (s *Service) accessRow(a ledger.Access) client.AccessRow {
	row := client.AccessRow{ID: a.ID, Operator: a.Operator, Note: a.Note, Expires: a.Expires, OneTime: a.OneTime}
	if s.lastUsed != nil {
		row.LastUsed, _ = s.lastUsed(a.ID)
	}
	return row
}

// CreateAccess makes an access token for an operator (oneself by default), or a one-time sign-in token.
// Its text is in this answer and nowhere else.
func (s *Service) CreateAccess(ctx context.Context, who auth.Actor, r client.AccessRequest) (client.AccessRow, error) {
	standard, most := defaultAccessLife, maxAccessLife
	if r.SignIn {
		standard, most = maxSignInLife, maxSignInLife
	}
	life, err := lifetime(r.TTL, standard, most)
	if err != nil {
		return client.AccessRow{}, err
	}
	if err := checkText(r.Note, "note"); err != nil {
		return client.AccessRow{}, err
	}
	operator := cmp.Or(r.Operator, who.Name)
	access, text := auth.NewAccess(operator, r.Note, micro(s.index.Now().Add(life)), r.SignIn)
	_, err = s.act(ctx, who, func(v *index.View) (ledger.Body, error) {
		o, ok := v.State().Operators[operator]
		if !ok {
			return nil, fault.New(fault.NotFound, "operator_unknown", "There is no operator %.80q.", operator).On("operator")
		}
		if operator != who.Name {
			if err := who.Can(ledger.Administrator, v.Tree(), o.Scope); err != nil {
				return nil, err
			}
		}
		return ledger.AccessCreate{Access: access}, nil
	})
	if err != nil {
		return client.AccessRow{}, err
	}
	row := s.accessRow(access)
	row.Text = text
	return row, nil
}

// RevokeAccess ends an access token.
func (s *Service) RevokeAccess(ctx context.Context, who auth.Actor, id string) (client.Act, error) {
	return s.act(ctx, who, func(v *index.View) (ledger.Body, error) {
		a, ok := v.State().Accesses[id]
		if !ok || !mayHandle(v, who, a.Operator) {
			return nil, fault.New(fault.NotFound, "access_unknown", "There is no access token %.80q.", id).On("id")
		}
		return ledger.AccessRevoke{ID: id}, nil
	})
}
