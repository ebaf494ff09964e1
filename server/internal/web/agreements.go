package web

import (
	"fmt"
	"net/http"

	"assent/client"
	"assent/fault"
)

// agreementRoutes are the part of the table about licences that must be accepted (A7).
func (s *server) agreementRoutes() []Route {
	return []Route{
		page(Viewer, http.MethodGet, "/agreements", "agreements", s.agreementsPage),
		act(Approver, "/agreements/accept", s.acceptAgreements),
		page(Approver, http.MethodGet, "/agreements/withdraw", "agreements_withdraw", s.withdrawPage),
		act(Approver, "/agreements/withdraw", s.withdrawAgreement),
	}
}

// agreementsView is what was accepted, and what waits for it.
type agreementsView struct {
	Table   Table
	Pending []client.UpdateRow
	MayAct  bool
}

// maxPending bounds the updates with open agreements that the page names.
const maxPending = 1000

func (s *server) agreementsPage(v *Visit) (agreementsView, error) {
	v.Title = "Agreements"
	list, err := s.Decide.Accepted(v.Context(), v.Who())
	if err != nil {
		return agreementsView{}, err
	}
	view := agreementsView{MayAct: mayAccept(v)}
	t := Table{ID: "agreements", One: "accepted agreement", Many: "accepted agreements", Total: list.Total, Export: true,
		Columns: []Column{{Key: "title", Label: "Agreement"}, {Key: "update", Label: "Update"}, {Key: "feed", Label: "Feed", Wide: true}, {Key: "by", Label: "Accepted by"},
			{Key: "at", Label: "When", Wide: true}, {Key: "act", Label: "Act", Number: true, Wide: true}, {Key: "digest", Label: "Digest", Wide: true}},
		Empty: Empty{Text: "No agreement was accepted yet. Where an update has one, it is shown when the update is approved."}}
	if view.MayAct {
		t.Columns = append(t.Columns, Column{Key: "do", Label: "Take back"})
	}
	for _, a := range list.Items {
		t.Rows = append(t.Rows, Row{ID: a.Digest, Label: a.Title, Href: "/updates/" + string(a.Update.ID) + "#agreements", Value: a, Cells: []Cell{linked(a.Title, updateHref(string(a.Update.ID))+"#agreements"),
			plain(a.Update.Name + " " + a.Update.Version), plain(a.Feed), plain(a.By), moment(a.At), plain(fmt.Sprint(a.Act)), {Text: fmt.Sprintf("%.12s", a.Digest), Title: a.Digest}}})
		if last := &t.Rows[len(t.Rows)-1]; view.MayAct {
			last.Cells = append(last.Cells, linked("Withdraw", "/agreements/withdraw?digest="+a.Digest))
		}
	}
	if view.Table, err = t.finish(v); err != nil {
		return view, err
	}
	view.Pending, err = s.pendingAgreements(v)
	return view, err
}

// pendingAgreements are the updates of feeds that have agreements to accept.
func (s *server) pendingAgreements(v *Visit) ([]client.UpdateRow, error) {
	updates, err := s.Decide.List(v.Context(), v.Who(), client.Filter{View: client.Seamless, Group: string(v.Group().ID)}, client.Page{Limit: maxPending})
	if err != nil {
		return nil, err
	}
	var out []client.UpdateRow
	for _, u := range updates.Items {
		if u.Agreements > 0 {
			out = append(out, u)
		}
	}
	return out, nil
}

// maxTexts bounds the languages in which an agreement is shown.
const maxTexts = 5

// agreementTexts reads an agreement, in at most maxTexts languages.
func (s *server) agreementTexts(v *Visit, update string, a client.AgreementRow) ([]client.AgreementText, error) {
	var out []client.AgreementText
	for _, t := range a.Texts[:min(len(a.Texts), maxTexts)] {
		text, err := s.Decide.AgreementText(v.Context(), v.Who(), update, t.SHA256)
		if err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	return out, nil
}

// acceptAgreements accepts what was shown of an update, by the digests of what was read.
func (s *server) acceptAgreements(v *Visit) (string, error) {
	r := client.AcceptRequest{Update: v.Form("update"), Digests: given(v.Fields("accept"))}
	if len(r.Digests) == 0 {
		return "", fault.New(fault.Invalid, "accept_missing", "Tick the agreements that you accept.").On("accept")
	}
	act, err := s.Decide.Accept(v.Context(), v.Who(), r)
	if err != nil {
		return "", err
	}
	if act.Act == 0 {
		v.Toast(Toast{Tone: "info", Text: "They stood accepted already."})
		return updateHref(r.Update) + "#agreements", nil
	}
	t := Toast{Tone: "success", Text: fmt.Sprintf("Accepted %s (act %d).", plural(len(r.Digests), "agreement", "agreements"), act.Act)}
	if len(r.Digests) == 1 {
		t.Undo = &Form{Label: "Undo", Action: "/agreements/withdraw", Fields: []Field{{"digest", r.Digests[0]}, {"reason", fmt.Sprintf("Undo of act %d", act.Act)}}}
	}
	v.Toast(t)
	return updateHref(r.Update) + "#agreements", nil
}

// withdrawView asks before an acceptance is taken back.
type withdrawView struct{ client.AgreementRow }

func (s *server) withdrawPage(v *Visit) (withdrawView, error) {
	v.Title, v.Crumbs = "Withdraw an acceptance", []Crumb{{"Agreements", "/agreements"}}
	list, err := s.Decide.Accepted(v.Context(), v.Who())
	if err != nil {
		return withdrawView{}, err
	}
	for _, a := range list.Items {
		if a.Digest == v.Query().Get("digest") {
			return withdrawView{a}, nil
		}
	}
	return withdrawView{}, fault.New(fault.NotFound, "agreement_unknown", "No accepted agreement has this digest.").On("digest")
}

func (s *server) withdrawAgreement(v *Visit) (string, error) {
	act, err := s.Decide.Withdraw(v.Context(), v.Who(), client.WithdrawRequest{Digest: v.Form("digest"), Reason: v.Form("reason")})
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("Withdrawn (act %d): nothing that needs it installs any more.", act.Act)})
	return "/agreements", nil
}
