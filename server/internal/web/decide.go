package web

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fault"
)

// decideRoutes are the part of the table in which statuses are set. The page shows what an act would do; the act is
// done only as it was shown.
func (s *server) decideRoutes() []Route {
	return []Route{
		page(Approver, http.MethodGet, "/updates/decide", "decide", s.decidePage),
		page(Approver, http.MethodPost, "/updates/decide", "decide", s.decidePage),
		answer(Approver, http.MethodPost, "/updates/decide/do", s.decideNow),
		act(Approver, "/updates/decide/undo", s.decideUndo),
	}
}

// maxLooked bounds the updates of which an act's page shows everything, agreements among it; maxUndo those that one
// click takes back, because each is looked at before and after.
const (
	maxLooked = 20
	maxUndo   = 100
)

// decideView says what setting a status would do, before the button.
type decideView struct {
	Form       decideForm
	Verb       string // "Approve"
	Others     []Button
	Scopes     []decideScope
	Chosen     []client.UpdateDetail // the first of what is named
	More       int                   // named, and not in Chosen
	Agreements []decideAgreement
	MayAccept  bool
	Outcome    client.Outcome
	Impact     decideImpact
	Seen       string // digest of what is on this page
	Problem    string // why it cannot be done like this
	Notice     string // why it was not done yet
	Ready      bool
}

type decideScope struct {
	client.GroupRow
	Chosen bool
}

// decideAgreement is an agreement to accept, with its texts.
type decideAgreement struct {
	client.AgreementRow
	Read   []client.AgreementText
	Ticked bool
}

// decideImpact is a preview in the order in which people ask.
type decideImpact struct {
	client.Preview
	Skipped []decideSkip // grouped by why
	Extras  []catalog.Item
	Removes []catalog.Item
	Blocked []decideBlock
	Keep    []decideKept // what a decline leaves installed
	Shown   []client.PreviewUpdate
	More    int
}

type decideSkip struct {
	Code    string
	N       int
	Example []client.Skipped
}

// decideKept is an update that a decline leaves on devices, with the page that says for each whether it can go back.
type decideKept struct {
	client.PreviewUpdate
	Href string
}

type decideBlock struct {
	Update client.UpdateRef
	client.PreviewBlocked
	Few  string // devices in words
	Also string // the address of the same act with what it needs too
}

func (s *server) decidePage(v *Visit) (decideView, error) {
	view, _, err := s.decideLook(v)
	return view, err
}

// decideLook reads the form and rehearses the act.
func (s *server) decideLook(v *Visit) (decideView, client.Decide, error) {
	form := readDecideForm(v)
	view := decideView{Form: form, Verb: decideVerb(form.Status), MayAccept: mayAccept(v)}
	v.Title = view.Verb
	v.Crumbs = []Crumb{{"Updates", local(form.Back)}}
	d, err := form.request(v)
	if err != nil {
		return view, d, err
	}
	view.Others = slices.DeleteFunc(updateSelection("").Buttons, func(b Button) bool { return b.Value == string(form.Status) })
	for _, g := range v.Groups() {
		view.Scopes = append(view.Scopes, decideScope{g, string(g.ID) == d.Scope})
	}
	if err := s.decideChosen(v, d, &view); err != nil {
		return view, d, err
	}
	trial := d
	trial.DryRun = true
	for _, a := range view.Agreements { // so that the page shows what follows once they are accepted
		if !view.MayAccept {
			break
		}
		trial.AcceptAgreements = append(trial.AcceptAgreements, a.Digest)
	}
	view.Outcome, err = s.Decide.Decide(v.Context(), v.Who(), trial)
	if problem, ok := decideRefusal(err); ok {
		view.Problem = problem
		return view, d, nil
	}
	if err != nil {
		return view, d, err
	}
	view.Impact = decideImpactOf(form, view.Outcome)
	view.Ready = len(view.Outcome.Changed) > 0
	view.Seen = decideSeen(trial, view)
	return view, d, nil
}

// decideChosen looks at what is named, and finds the agreements to accept with an approval.
func (s *server) decideChosen(v *Visit, d client.Decide, view *decideView) error {
	for _, ref := range d.Updates[:min(len(d.Updates), maxLooked)] {
		u, err := s.Decide.Get(v.Context(), v.Who(), ref, d.Scope)
		if err != nil {
			return err
		}
		u.Devices = nil // the preview counts them
		view.Chosen = append(view.Chosen, u)
		if d.Status != approval.Approved || u.Agreements == 0 {
			continue
		}
		if err := s.decideAgreements(v, ref, view); err != nil {
			return err
		}
	}
	view.More = max(0, len(d.Updates)-maxLooked)
	return nil
}

func (s *server) decideAgreements(v *Visit, ref string, view *decideView) error {
	list, err := s.Decide.Agreements(v.Context(), v.Who(), ref)
	if err != nil {
		return err
	}
	for _, a := range list.Items {
		if a.Accepted || slices.ContainsFunc(view.Agreements, func(b decideAgreement) bool { return b.Digest == a.Digest }) {
			continue
		}
		one := decideAgreement{AgreementRow: a, Ticked: slices.Contains(view.Form.Accept, a.Digest)}
		if one.Read, err = s.agreementTexts(v, ref, a); err != nil {
			return err
		}
		view.Agreements = append(view.Agreements, one)
	}
	return nil
}

// decideRefusal is what the person can do something about on the page itself.
func decideRefusal(err error) (message string, ok bool) {
	f := fault.From(err)
	if f == nil || f.Kind != fault.Conflict && f.Kind != fault.Invalid && f.Kind != fault.TooLarge {
		return "", false
	}
	return onPages(f.Message), true
}

func decideVerb(status approval.Status) string {
	switch status {
	case approval.Approved:
		return "Approve"
	case approval.Declined:
		return "Decline"
	}
	return "Set back to undefined"
}

// decideSeen is a digest of what the page shows of an act: what it is, the updates with all their files, and the
// agreements. What is done must be what was seen.
func decideSeen(d client.Decide, view decideView) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%s\n%v\n%v\n%v\n%q\n", d.Status, d.Scope, d.Expires, d.Reach, d.Lift, d.AllowSuperseded, d.AcceptAgreements)
	for _, u := range view.Outcome.Changed {
		fmt.Fprintf(h, "%s\n", u.ID)
	}
	for _, u := range view.Chosen {
		fmt.Fprintf(h, "%s %s\n", u.ID, u.Digest)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// decideNow does the act, if it is what the page showed; else it shows what it would be now.
func (s *server) decideNow(w http.ResponseWriter, v *Visit) error {
	view, d, err := s.decideLook(v)
	if err != nil {
		return err
	}
	status := http.StatusOK
	switch {
	case view.Problem != "":
		status = http.StatusConflict
	case !view.Ready:
		view.Notice = "Nothing would change, so nothing was done."
	case view.Form.Seen == "":
	case view.Form.Seen != view.Seen:
		view.Notice = "Nothing was done yet: this is not what you looked at before. See what it means now, then press the button again."
		status = http.StatusConflict
	default:
		problem, err := s.decideDo(w, v, view, d)
		if problem == "" {
			return err
		}
		view.Problem, view.Ready, status = problem, false, http.StatusConflict
	}
	return s.show(w, v, "decide", view, status)
}

// decideDo does the act and sends the browser on. A refusal comes back as text, to be shown on the page.
func (s *server) decideDo(w http.ResponseWriter, v *Visit, view decideView, d client.Decide) (problem string, err error) {
	before, err := s.decideBefore(v, view.Outcome.Changed)
	if err != nil {
		return "", err
	}
	done, err := s.Decide.Decide(v.Context(), v.Who(), d)
	if problem, ok := decideRefusal(err); ok {
		return problem, nil
	}
	if err != nil {
		return "", err
	}
	v.Toast(decideToast(d, done, before, scopeNamed(v, d.Scope)))
	redirect(w, v.Request, local(view.Form.Back))
	return "", nil
}

func scopeNamed(v *Visit, id string) string {
	for _, g := range v.Groups() {
		if string(g.ID) == id {
			return g.Name
		}
	}
	return id
}

// decideImpactOf arranges an outcome for the page.
func decideImpactOf(form decideForm, o client.Outcome) decideImpact {
	out := decideImpact{Preview: o.Preview}
	for _, sk := range o.Skipped {
		i := slices.IndexFunc(out.Skipped, func(g decideSkip) bool { return g.Code == sk.Code })
		if i < 0 {
			i, out.Skipped = len(out.Skipped), append(out.Skipped, decideSkip{Code: sk.Code})
		}
		out.Skipped[i].N++
		if len(out.Skipped[i].Example) < 10 {
			out.Skipped[i].Example = append(out.Skipped[i].Example, sk)
		}
	}
	for _, u := range o.Preview.Updates {
		for _, it := range u.Extras {
			if !slices.Contains(out.Extras, it) {
				out.Extras = append(out.Extras, it)
			}
		}
		for _, it := range u.Removes {
			if !slices.Contains(out.Removes, it) {
				out.Removes = append(out.Removes, it)
			}
		}
		if u.CanGoBack+u.CannotGoBack > 0 && len(out.Keep) < maxLooked {
			out.Keep = append(out.Keep, decideKept{u, updateHref(string(u.ID)) + "/rollback"})
		}
		for _, b := range u.Blocked {
			out.Blocked = append(out.Blocked, decideBlock{Update: u.UpdateRef, PreviewBlocked: b, Few: few(b.Devices), Also: form.with(b.Needs)})
		}
	}
	out.Shown = o.Preview.Updates[:min(len(o.Preview.Updates), 50)]
	out.More = len(o.Preview.Updates) - len(out.Shown)
	return out
}

// few names up to three and counts the rest.
func few(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, ", ")
}
