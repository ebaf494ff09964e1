package views_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index/indextest"
	"assent/server/internal/views"
)

type desk struct {
	*indextest.World
	views          *views.Service
	ada, eve, lead auth.Actor // administrator, viewer, administrator of one group
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{World: indextest.New(t)}
	d.Group("web", fleet.Root)
	d.ada, d.eve, d.lead = d.person("ada", ledger.Administrator, fleet.Root), d.person("eve", ledger.Viewer, fleet.Root), d.person("lead", ledger.Administrator, "web")
	d.serve()
	return d
}

func (d *desk) person(name string, role ledger.Role, scope fleet.GroupID) auth.Actor {
	d.Act("server", ledger.OperatorSet{Operator: ledger.Operator{Name: name, Role: role, Scope: scope}})
	return auth.Actor{Name: name, Role: role, Scope: scope}
}

func (d *desk) serve() {
	var err error
	if d.views, err = views.New(views.Config{Index: d.Index, Store: d.Store}); err != nil {
		d.T.Fatal(err)
	}
}

func (d *desk) saves(who auth.Actor, r client.ViewRequest) client.ViewRow {
	d.T.Helper()
	v, err := d.views.SaveView(d.T.Context(), who, r)
	if err != nil {
		d.T.Fatal(err)
	}
	return v
}

// sees lists names and queries.
func (d *desk) sees(who auth.Actor, list string) []string {
	d.T.Helper()
	all, err := d.views.Views(d.T.Context(), who, list)
	if err != nil {
		d.T.Fatal(err)
	}
	var out []string
	for _, v := range all.Items {
		out = append(out, v.List+" "+v.Name+" "+v.Query)
	}
	return out
}

func (d *desk) seq() (n int64) {
	n, _, err := d.Store.Head(d.T.Context())
	if err != nil {
		d.T.Fatal(err)
	}
	return n
}

// TestOnesOwnViewsAreNobodyElsesAndNoActs saves, replaces and deletes, also over a restart.
func TestOnesOwnViewsAreNobodyElsesAndNoActs(t *testing.T) {
	d := newDesk(t)
	before := d.seq()
	d.saves(d.ada, client.ViewRequest{Name: "Urgent", List: "updates", Query: "severity=high&status=&cursor=abc&from=100"})
	d.saves(d.ada, client.ViewRequest{Name: "Urgent", List: "updates", Query: "severity=critical"})
	d.saves(d.ada, client.ViewRequest{Name: "Urgent", List: "queue", Query: "overdue=true"})
	d.saves(d.eve, client.ViewRequest{Name: "mine", List: "events"})
	d.Restart()
	d.serve()
	if diff := cmp.Diff([]string{"queue Urgent overdue=true", "updates Urgent severity=critical"}, sorted(d.sees(d.ada, ""))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"events mine "}, d.sees(d.eve, "")); diff != "" {
		t.Error(diff)
	}
	own, _ := d.views.Views(t.Context(), d.ada, "queue")
	if _, err := d.views.DeleteView(t.Context(), d.eve, own.Items[0].ID); !errors.Is(err, fault.NotFound) {
		t.Errorf("somebody deletes another's view: %v", err)
	}
	if done, err := d.views.DeleteView(t.Context(), d.ada, own.Items[0].ID); err != nil || done.Act != 0 || len(d.sees(d.ada, "queue")) != 0 {
		t.Errorf("%+v, %v", done, err)
	}
	if d.seq() != before {
		t.Error("one's own views are in the ledger")
	}
	d.Act("server", ledger.OperatorRemove{Name: "eve"})
	d.person("eve", ledger.Viewer, fleet.Root)
	if got := d.sees(d.eve, ""); got != nil {
		t.Errorf("another person of the same name sees %v", got)
	}
}

// TestSharedViewsAreActsOfAnAdministratorOfAll that everybody sees.
func TestSharedViewsAreActsOfAnAdministratorOfAll(t *testing.T) {
	d := newDesk(t)
	request := client.ViewRequest{Name: "Silent", List: "devices", Query: "only=silent", Shared: true}
	for _, who := range []auth.Actor{d.eve, d.lead} {
		if _, err := d.views.SaveView(t.Context(), who, request); !errors.Is(err, fault.Forbidden) {
			t.Errorf("%s shares: %v", who.Name, err)
		}
	}
	before := d.seq()
	v := d.saves(d.ada, request)
	d.saves(d.ada, request) // the same again is no act
	if d.seq() != before+1 || !v.Shared || v.By != "ada" {
		t.Errorf("%d entries, %+v", d.seq()-before, v)
	}
	d.saves(d.eve, client.ViewRequest{Name: "Silent", List: "devices", Query: "state=retired"}) // one's own beside it
	if diff := cmp.Diff([]string{"devices Silent only=silent", "devices Silent state=retired"}, sorted(d.sees(d.eve, "devices"))); diff != "" {
		t.Error(diff)
	}
	if _, err := d.views.DeleteView(t.Context(), d.lead, v.ID); !errors.Is(err, fault.Forbidden) {
		t.Errorf("removed by an administrator of one group: %v", err)
	}
	if done, err := d.views.DeleteView(t.Context(), d.ada, v.ID); err != nil || done.Act != d.seq() {
		t.Errorf("%+v, %v", done, err)
	}
	if got := d.sees(d.lead, ""); got != nil {
		t.Errorf("still there: %v", got)
	}
}

// TestAViewHoldsOnlyWhatItsListKnows: a slip is told when it is saved.
func TestAViewHoldsOnlyWhatItsListKnows(t *testing.T) {
	d := newDesk(t)
	for code, r := range map[string]client.ViewRequest{
		"name_invalid":      {Name: " ", List: "updates"},
		"name_taken":        {Name: "seamless", List: "updates"},
		"list_unknown":      {Name: "x", List: "ledger"},
		"query_invalid":     {Name: "x", List: "updates", Query: "%zz"},
		"parameter_unknown": {Name: "x", List: "queue", Query: "severity=high"},
	} {
		if _, err := d.views.SaveView(t.Context(), d.ada, r); !errors.Is(err, fault.Invalid) || fault.From(err).Code != code {
			t.Errorf("%s: %v", code, err)
		}
	}
	for i := range 200 {
		d.saves(d.eve, client.ViewRequest{Name: fmt.Sprint("v", i), List: "events"})
	}
	if _, err := d.views.SaveView(t.Context(), d.eve, client.ViewRequest{Name: "one more", List: "events"}); !errors.Is(err, fault.Conflict) {
		t.Errorf("one too many: %v", err)
	}
	d.saves(d.eve, client.ViewRequest{Name: "v7", List: "events", Query: "event=clone"}) // in the place of one
}

func sorted(in []string) []string { return slices.Sorted(slices.Values(in)) }
