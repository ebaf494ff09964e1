package api

import (
	"context"
	"slices"
	"strconv"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fault"
	"assent/installation"
	"assent/server/internal/auth"
)

// Paging is the part of a query that asks for a page. It is exported because huma looks only into
// exported embedded structs.
type Paging struct {
	Sort   string `query:"sort" doc:"Column; \"-\" before it for descending." maxLength:"64"`
	Limit  int    `query:"limit" minimum:"0" maximum:"1000" doc:"Rows in a page; 100 by default."`
	Cursor string `query:"cursor" doc:"The next of the page before." maxLength:"1024"`
}

func (p Paging) page() client.Page {
	return client.Page{Sort: p.Sort, Limit: p.Limit, Cursor: p.Cursor}
}

// yesNo is a query parameter with three values: "true", "false", absent.
type yesNo string

func (y yesNo) value() *bool {
	if y == "" {
		return nil
	}
	b, _ := strconv.ParseBool(string(y)) // the schema lets only true and false through
	return &b
}

type updatesInput struct {
	Search     string   `query:"search" maxLength:"500" doc:"Words, each found in name, version, package URL, summary or item names."`
	Status     []string `query:"status,explode" maxItems:"3" doc:"Effective status in the group."`
	Class      []string `query:"class,explode" maxItems:"4"`
	Severity   []string `query:"severity,explode" maxItems:"5"`
	Origin     []string `query:"origin,explode" maxItems:"100"`
	Security   yesNo    `query:"security" enum:"true,false"`
	Needed     yesNo    `query:"needed" enum:"true,false" doc:"Some device in the group needs it."`
	State      []string `query:"state,explode" maxItems:"20" doc:"Some device in the group has it in this state."`
	Superseded yesNo    `query:"superseded" enum:"true,false"`
	Group      string   `query:"group" maxLength:"200" doc:"Id or name; counts and status are seen from here. The root by default."`
	Device     string   `query:"device" maxLength:"200" doc:"Only what this device could take."`
	View       string   `query:"view" enum:"seamless" doc:"A saved view: what feeds publish."`
	Gated      yesNo    `query:"gated" enum:"true,false" doc:"It waits for a newer server."`
	Revoked    yesNo    `query:"revoked" enum:"true,false" doc:"Its publisher recalled it."`
	Exploited  yesNo    `query:"exploited" enum:"true,false" doc:"One of its vulnerabilities is known to be exploited."`
	Installed  yesNo    `query:"installed" enum:"true,false" doc:"Some device in the group has it."`
	Changed    yesNo    `query:"changed" enum:"true,false" doc:"Files were added since it was approved."`
	Agreements yesNo    `query:"agreements" enum:"true,false" doc:"An agreement waits to be accepted."`
	Paging
}

func (in *updatesInput) filter() client.Filter {
	return client.Filter{Search: in.Search, Status: list[approval.Status](in.Status), Class: list[catalog.Class](in.Class),
		Severity: list[catalog.Severity](in.Severity), Origin: in.Origin, Security: in.Security.value(), Needed: in.Needed.value(),
		State: list[installation.State](in.State), Superseded: in.Superseded.value(), Group: in.Group, Device: in.Device,
		View: in.View, Gated: in.Gated.value(), Revoked: in.Revoked.value(), Exploited: in.Exploited.value(),
		Installed: in.Installed.value(), Changed: in.Changed.value(), Agreements: in.Agreements.value()}
}

func list[T ~string](in []string) []T {
	var out []T
	for _, s := range in {
		out = append(out, T(s))
	}
	return out
}

func (s *server) updates(ctx context.Context, who auth.Session, in *updatesInput) (client.List[client.UpdateRow], error) {
	f := in.filter()
	if err := checkFilter(f, ""); err != nil {
		return client.List[client.UpdateRow]{}, err
	}
	return s.Decide.List(ctx, who.Actor, f, in.page())
}

type updateInput struct {
	Update string `path:"update" maxLength:"1000" doc:"Id, package URL or name@version."`
	Group  string `query:"group" maxLength:"200"`
}

func (s *server) update(ctx context.Context, who auth.Session, in *updateInput) (client.UpdateDetail, error) {
	return s.Decide.Get(ctx, who.Actor, in.Update, in.Group)
}

// checkFilter refuses values that no update can have: a slip of the keyboard must not select nothing, or
// in a negation everything, without a word.
func checkFilter(f client.Filter, prefix string) error {
	if err := known(prefix+"status", f.Status, approval.Undefined, approval.Approved, approval.Declined); err != nil {
		return err
	}
	if err := known(prefix+"class", f.Class, catalog.Component, catalog.Managed, catalog.ThirdParty, catalog.Content); err != nil {
		return err
	}
	if err := known(prefix+"severity", f.Severity, catalog.Unrated, catalog.Low, catalog.Medium, catalog.High, catalog.Critical); err != nil {
		return err
	}
	return known(prefix+"state", f.State, installation.States()...)
}

func known[T ~string](field string, values []T, all ...T) error {
	for _, v := range values {
		if !slices.Contains(all, v) {
			return fault.New(fault.Invalid, "value_unknown", "%q is not one of %v.", string(v), all).On(field)
		}
	}
	return nil
}
