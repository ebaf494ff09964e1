package decide

import (
	"context"
	"slices"

	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
)

// Texts reads the text of an agreement from the server's copy of a verified feed.
type Texts interface {
	AgreementText(ctx context.Context, feed, sha256 string) ([]byte, error)
}

// Agreements lists what must be accepted before an update may install, its prerequisites' agreements among it (A7).
func (s *Service) Agreements(_ context.Context, who auth.Actor, reference string) (client.List[client.AgreementRow], error) {
	out := client.List[client.AgreementRow]{Items: []client.AgreementRow{}}
	var err error
	s.index.View(func(v *index.View) {
		var u index.Update
		if _, err = scope(v, who, ledger.Viewer, "", who.Scope); err != nil {
			return
		}
		if u, err = v.Resolve(reference); err == nil {
			out.Items = append(out.Items, agreements(v, u)...)
			out.Total = len(out.Items)
		}
	})
	return out, err
}

// AgreementText is the text of an agreement of an update in one language.
func (s *Service) AgreementText(ctx context.Context, who auth.Actor, reference, sha256 string) (client.AgreementText, error) {
	list, err := s.Agreements(ctx, who, reference)
	if err != nil {
		return client.AgreementText{}, err
	}
	for _, a := range list.Items {
		for _, t := range a.Texts {
			if t.SHA256 != sha256 {
				continue
			}
			if s.texts == nil {
				return client.AgreementText{}, fault.New(fault.Unavailable, "feeds_off", "This server follows no feeds.")
			}
			b, err := s.texts.AgreementText(ctx, a.Feed, sha256)
			if err != nil {
				return client.AgreementText{}, err
			}
			return client.AgreementText{Language: t.Language, SHA256: sha256, Text: string(b)}, nil
		}
	}
	return client.AgreementText{}, fault.New(fault.NotFound, "agreement_unknown", "The update has no agreement with this text.").On("text")
}

// Accept accepts agreements of an update, apart from an approval (A7). Exactly the texts that the digests name are
// accepted: one that changed since they were read is refused.
func (s *Service) Accept(ctx context.Context, who auth.Actor, r client.AcceptRequest) (client.Act, error) {
	entry, err := s.index.Act(ctx, who.Name, func(v *index.View) (ledger.Body, error) {
		if _, err := scope(v, who, ledger.Approver, string(fleet.Root), fleet.Root); err != nil {
			return nil, err
		}
		u, err := v.Resolve(r.Update)
		if err != nil {
			return nil, err
		}
		known := agreements(v, u)
		for _, digest := range r.Digests {
			if !slices.ContainsFunc(known, func(a client.AgreementRow) bool { return a.Digest == digest }) {
				return nil, errChangedText
			}
		}
		list := accepts(v, client.Decide{AcceptAgreements: r.Digests}, []index.Update{u})
		if len(list) == 0 {
			return nil, nil
		}
		return ledger.AgreementAccept{Update: u.ID, Accepts: list}, nil
	})
	return client.Act{Act: entry.Seq, At: entry.At}, err
}

var errChangedText = fault.New(fault.Conflict, "agreement_changed", "The update has no agreement with this text any more; read it again before you accept it.").On("accept_agreements")

// Withdraw takes the acceptance of an agreement back: from then on nothing that needs it installs (A7).
func (s *Service) Withdraw(ctx context.Context, who auth.Actor, r client.WithdrawRequest) (client.Act, error) {
	if err := checkText(r.Reason, "reason", maxReason); err != nil {
		return client.Act{}, err
	}
	entry, err := s.index.Act(ctx, who.Name, func(v *index.View) (ledger.Body, error) {
		if _, err := scope(v, who, ledger.Approver, string(fleet.Root), fleet.Root); err != nil {
			return nil, err
		}
		var found []string
		for digest := range v.State().Agreements {
			if len(r.Digest) >= 8 && len(digest) >= len(r.Digest) && digest[:len(r.Digest)] == r.Digest {
				found = append(found, digest)
			}
		}
		if len(found) != 1 {
			return nil, fault.New(fault.NotFound, "agreement_unknown", "No accepted agreement has this digest; `assent agreement list` shows all.").On("digest")
		}
		return ledger.AgreementWithdraw{Digest: found[0], Reason: r.Reason}, nil
	})
	return client.Act{Act: entry.Seq, At: entry.At}, err
}

// Accepted lists all agreements that stand accepted, the newest first.
func (s *Service) Accepted(_ context.Context, who auth.Actor) (client.List[client.AgreementRow], error) {
	out := client.List[client.AgreementRow]{Items: []client.AgreementRow{}}
	var err error
	s.index.View(func(v *index.View) {
		if _, err = scope(v, who, ledger.Viewer, "", who.Scope); err != nil {
			return
		}
		for _, a := range v.State().Agreements {
			row := client.AgreementRow{ID: a.ID, Title: a.Title, Digest: a.Digest, Accepted: true, By: a.By, At: a.At, Act: a.Act, Update: client.UpdateRef{ID: a.Update}}
			if u, ok := v.Update(a.Update); ok {
				row.Update = ref(u)
			}
			out.Items = append(out.Items, row)
		}
	})
	slices.SortFunc(out.Items, func(a, b client.AgreementRow) int { return int(b.Act - a.Act) })
	out.Total = len(out.Items)
	return out, err
}
