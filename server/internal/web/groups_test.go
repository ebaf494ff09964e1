package web_test

import (
	"net/url"
	"strings"
	"testing"

	"assent/fleet"
	"assent/ledger"
)

func TestGroups_TreeNestsAndSaysWhatIsInherited(t *testing.T) {
	s := newSite(t)
	s.Act("server", ledger.GroupCreate{Group: fleet.Group{ID: "g-a", Name: "Alpha", Parent: "g-team", Guard: fleet.ApprovedOnly, Test: true}})
	s.Group("g-b", "Beta", "g-a")
	page := expect(t, s.browser(s.tokens["v"]).get("/groups"), 200)
	tree := page[strings.Index(page, `<ul class="tree" data-tree>`):]
	for _, want := range []string{`href="/groups/root"`, `href="/groups/g-team"`, `href="/groups/g-a"`, `href="/groups/g-b"`} {
		at := strings.Index(tree, want)
		if at < 0 {
			t.Fatalf("the tree lacks %s, or it does not stand below its parent", want)
		}
		tree = tree[at:]
	}
	has(t, tree, "approved only (inherited)", "test group (inherited)")
	has(t, page, "block declined (default)", "guard approved only")
}

func TestGroups_CreateChangeUndoAndDelete(t *testing.T) {
	s := newSite(t)
	s.Group("g-other", "Elsewhere", fleet.Root)
	b := s.browser(s.tokens["d"])
	res := b.post("/groups/create", url.Values{"name": {"Web"}, "parent": {"g-team"}, "guard": {"observe"}, "test": {"yes"}})
	at := res.Header.Get("Location")
	expect(t, res, 303)
	has(t, expect(t, b.get(at), 200), "Created the group Web.", "observe", "test group", `href="/groups/g-team"`)

	form := func(pairs ...string) url.Values { // as the page sends it: all that stood there, and what was changed
		f := url.Values{"name": {"Web"}, "was_name": {"Web"}, "parent": {"g-team"}, "was_parent": {"g-team"}, "guard": {"observe"}, "was_guard": {"observe"}, "test": {"yes"}, "was_test": {"yes"}}
		for i := 0; i < len(pairs); i += 2 {
			f.Set(pairs[i], pairs[i+1])
		}
		return f
	}
	before := s.entries()
	expect(t, b.post(at+"/change", form()), 303)
	if s.entries() != before {
		t.Error("nothing was changed, and yet there is an entry")
	}
	expect(t, b.post(at+"/change", form("guard", "inherit", "parent", "g-other")), 303)
	expect(t, b.post(at+"/change", form("name", "Front")), 303) // an old screen: only the name was touched on it
	page := expect(t, b.get(at), 200)
	has(t, page, "Front", "block declined (inherited)", `<a href="/groups/g-other">Elsewhere</a>`, "Undo", `name="was_name" value="Front"`)
	expect(t, b.post(at+"/change", url.Values{"name": {"Web"}, "was_name": {"Front"}}), 303) // what Undo sends
	has(t, expect(t, b.get("/groups"), 200), ">Web<")

	expect(t, b.post(at+"/change", form("name", "")), 422)
	expect(t, b.post(at+"/change", form("name", "Team")), 409)
	expect(t, b.post(at+"/change", form("parent", strings.TrimPrefix(at, "/groups/"))), 409)
	expect(t, b.post(at+"/change", form("guard", "maybe")), 422)
	expect(t, b.post("/groups/g-team/delete", nil), 409) // a device is in it
	expect(t, b.post(at+"/delete", nil), 303)
	lacks(t, expect(t, b.get("/groups"), 200), ">Web<")
	expect(t, b.get(at), 404)
}

func TestA3_GroupPageTellsOwnDecisionsFromInheritedOnes(t *testing.T) {
	s := newSite(t)
	s.approve() // in the root group
	b := s.browser(s.tokens["v"])
	here, below := expect(t, b.get("/groups/root"), 200), expect(t, b.get("/groups/g-team"), 200)
	has(t, here, `<span class="text">here</span>`, "openssl")
	has(t, below, `<span class="text">inherited</span>`, "openssl")
	lacks(t, below, `<span class="text">here</span>`)
	lacks(t, expect(t, b.get("/groups/g-team?status=declined"), 200), `data-row data-open="/updates/`)
	expect(t, b.get("/groups/g-team?status=undefined"), 422)
}
