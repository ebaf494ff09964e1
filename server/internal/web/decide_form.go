package web

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"assent/approval"
	"assent/client"
	"assent/fault"
	"assent/ledger"
)

// decideForm is what the page of an act was asked with, so that it can be shown again as it was filled.
type decideForm struct {
	Status  approval.Status
	Updates []string // named, by id
	All     bool     // instead: everything that matches
	Query   string   // the list's address query
	View    string   // the list's view
	Scope   string
	Reason  string
	Expires string // a date
	Reach   string // "this", "later" or "through"
	Through string
	Older   bool
	Lift    bool
	Accept  []string // digests of agreements
	Seen    string
	Back    string // where the person came from
}

// readDecideForm reads the form, or the same from the address.
func readDecideForm(v *Visit) decideForm {
	q := v.Query()
	maps.Copy(q, v.Request.PostForm)
	text := func(key string) string { return strings.TrimSpace(q.Get(key)) }
	f := decideForm{Status: approval.Status(text("status")), All: text("all") != "", Query: q.Get("query"), View: text("view"), Scope: text("scope"), Reason: text("reason"),
		Expires: text("expires"), Reach: text("reach"), Through: text("through"), Older: text("older") != "", Lift: text("lift") != "", Accept: given(q["accept"]), Seen: text("seen"), Back: text("back")}
	if !f.All {
		f.Updates = slices.Compact(slices.Sorted(slices.Values(given(q["select"]))))
	}
	if f.Status != approval.Declined || f.Reach == "" {
		f.Reach = "this"
	}
	if f.Back == "" {
		f.Back = "/updates"
		if f.View == client.Seamless {
			f.Back = "/updates/seamless"
		}
		if f.Query != "" {
			f.Back += "?" + f.Query
		}
	}
	f.Back = local(f.Back)
	return f
}

// request is the act that the form asks for.
func (f *decideForm) request(v *Visit) (client.Decide, error) {
	d := client.Decide{Updates: f.Updates, Status: f.Status, Reason: f.Reason, AllowSuperseded: f.Older && f.Status == approval.Approved, Lift: f.Lift && !f.All}
	if mayAccept(v) {
		d.AcceptAgreements = f.Accept
	}
	if !f.Status.Valid() {
		return d, fault.New(fault.Invalid, "status_unknown", "Say what to do: approve, decline, or set back to undefined.").On("status")
	}
	if !f.All && len(f.Updates) == 0 {
		return d, fault.New(fault.Invalid, "updates_missing", "Select at least one update first.").On("select")
	}
	group, err := f.filter(v, &d)
	if err != nil {
		return d, err
	}
	if f.Scope == "" {
		f.Scope = group
	}
	for _, g := range v.Groups() {
		if g.Name == f.Scope || string(g.ID) == f.Scope {
			f.Scope = string(g.ID)
			break
		}
	}
	d.Scope = f.Scope
	if d.Expires, err = dateOf(f.Expires, "expires"); err != nil {
		return d, err
	}
	switch {
	case f.Reach == "later":
		d.Reach = approval.Reach{Later: true}
	case f.Reach == "through" && f.Through == "":
		return d, fault.New(fault.Invalid, "reach_incomplete", "Say through which version the decline reaches.").On("through")
	case f.Reach == "through":
		d.Reach = approval.Reach{Later: true, Through: f.Through}
	case f.Reach != "this":
		return d, fault.New(fault.Invalid, "value_unknown", "A decline reaches this version, all later ones, or through a version.").On("reach")
	}
	return d, nil
}

// mayAccept tells whether the person may accept agreements: that counts for the whole installation, whatever the scope of
// the approval.
func mayAccept(v *Visit) bool { return v.Who().CanAll(ledger.Approver) == nil }

// filter reads the list's query: the group it was seen from, and for everything that matches its filter.
func (f *decideForm) filter(v *Visit, d *client.Decide) (group string, err error) {
	q, err := url.ParseQuery(f.Query)
	if err != nil {
		return "", fault.New(fault.Invalid, "query_invalid", "The list's address cannot be read; go back to the list and select again.").On("query")
	}
	switch {
	case q.Get("group") != "":
		group = q.Get("group")
	case f.Query == "" && !f.All:
		group = string(v.Group().ID) // it comes from no list
	default:
		group = string(v.Who().Scope)
	}
	if !f.All {
		return group, nil
	}
	matching, err := updateFilter(q)
	if err != nil {
		return "", err
	}
	if matching.Group = group; f.View != "" {
		matching.View = f.View
	}
	d.Matching = &matching
	return group, nil
}

// dateOf reads a date: the moment at which that day begins in UTC. Empty is the zero time.
func dateOf(text, field string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fault.New(fault.Invalid, "date_invalid", "%.80q is not a date like 2027-01-31.", text).On(field)
}

// with is the address of the same act on what it needs too; empty for acts on everything that matches.
func (f decideForm) with(needs []client.UpdateRef) string {
	if f.All || len(needs) == 0 || f.Status != approval.Approved || len(f.Updates)+len(needs) > maxLooked {
		return ""
	}
	q := url.Values{"status": {string(f.Status)}, "select": slices.Clone(f.Updates), "scope": {f.Scope}, "back": {f.Back}}
	for _, u := range needs {
		q.Add("select", string(u.ID))
	}
	return "/updates/decide?" + q.Encode()
}
