package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"assent/fleet"
	"assent/ledger"
	"assent/task"
)

// taskRows are the rows about tasks of the table of F2.
func taskRows() []row {
	return []row{
		{"GET", "/tasks", readers, "", 200},
		{"GET", "/tasks/new", admins, "", 200},
		{"GET", "/tasks/complete?kind=rule&before=sev", readers, "", 200},
		{"POST", "/tasks/preview", admins, "base={}&name=x", 200},
		{"POST", "/tasks", admins, "base={}&name=", 422},
		{"GET", "/tasks/default", readers, "", 200},
		{"GET", "/tasks/default/edit", admins, "", 200},
		{"POST", "/tasks/none/enable", admins, "", 404},
		{"POST", "/tasks/none/disable", admins, "", 404},
		{"POST", "/tasks/none/delete", admins, "", 404},
		{"GET", "/rollouts", readers, "", 200},
		{"GET", "/rollouts/default/none", readers, "", 404},
		{"POST", "/rollouts/default/none/halt", approvers, "", 404},
	}
}

// nightly is a form as a browser sends it.
func nightly() url.Values {
	return url.Values{"base": {"{}"}, "version": {"new"}, "name": {"Every night"}, "enabled": {"1"}, "groups": {"g-team"}, "new_dependencies": {"1"}, "rules": {"1"}, "r0.mode": {"lines"}, "r0.admits": {"approved_or_undefined"},
		"r0.field": {"security", "severity", ""}, "r0.op": {"is", "at_least", "is"}, "r0.values": {"true", "high", ""}, "when": {"week"}, "days": {"SA", "SU"}, "at": {"02:00"}, "length": {"4h"}, "spread": {"30m"},
		"freezes": {"Year end: 12-18 to 01-04\r\n"}, "restart": {"if_required"}, "ring.base": {"", ""}, "ring.name": {"Team", ""}, "ring.groups": {"Team", ""}, "ring.rate": {"99.5", ""}, "ring.min": {"1", ""},
		"ring.soak": {"2d", ""}, "ring.failures": {"2", ""}, "ring.quiet": {"", ""}, "ring.person": {"no", "no"}}
}

func (s *site) task(id string) task.Task {
	s.t.Helper()
	entry := s.LastEntry()
	body, err := entry.Decode()
	set, ok := body.(ledger.TaskSet)
	if err != nil || !ok || set.Task.ID != id {
		s.t.Fatalf("the last act is %+v, %v", body, err)
	}
	return set.Task
}

func TestT2_TheFormAndTheExpressionAreTwoViewsOfOneThing(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.tokens["D"])
	want := `security && severity >= "high"`
	form := nightly()
	form.Set("turn", "0")
	if body := text(t, b.post("/tasks/preview", form)); !strings.Contains(body, `security &amp;&amp; severity &gt;= &#34;high&#34;</textarea>`) || !strings.Contains(body, `name="r0.mode" value="text"`) {
		t.Error("the lines do not become an expression")
	}
	form.Del("turn")
	form.Set("r0.mode", "text")
	form.Set("r0.criteria", want+` && name.startsWith("open")`)
	form.Set("turn", "0")
	body := text(t, b.post("/tasks/preview", form))
	if !strings.Contains(body, `<option value="starts_with" selected>`) || !strings.Contains(body, `name="r0.values" value="open"`) {
		t.Error("the expression does not become lines")
	}
	form.Set("r0.criteria", `security || kev`)
	if body := text(t, b.post("/tasks/preview", form)); !strings.Contains(body, `name="r0.mode" value="text"`) || strings.Contains(body, "Show as lines") {
		t.Error("what lines cannot say is not left as text")
	}
	form.Set("show", "text")
	if body := text(t, b.post("/tasks/preview", form)); !strings.Contains(body, `&#34;criteria&#34;: &#34;security || kev&#34;`) && !strings.Contains(body, `security || kev`) || !strings.Contains(body, `name="text"`) {
		t.Error("the whole task is not shown as text")
	}
}

func TestT1_ATaskIsMadeByTheFormPreviewedSavedChangedAndDeleted(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.tokens["D"])
	seen := s.Entries()
	if body := text(t, b.post("/tasks/preview", nightly())); !strings.Contains(body, "It matches 0 updates now") || !strings.Contains(body, "It matches none of the") || s.Entries() != seen {
		t.Errorf("the preview: %.2000s", body)
	}
	if res := b.post("/tasks", nightly()); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/tasks/every-night" {
		t.Fatalf("saving: %d %.3000s", res.StatusCode, text(t, res))
	}
	got := s.task("every-night")
	if len(got.Rules) != 1 || got.Rules[0].Criteria != `security && severity >= "high"` || got.Rules[0].Admits != task.ApprovedOrUndefined || got.Schedule.Rule != "FREQ=WEEKLY;BYDAY=SA,SU" ||
		len(got.Schedule.Freezes) != 1 || len(got.Rings) != 1 || got.Rings[0].SuccessRate != 995 || got.Rings[0].Groups[0] != "g-team" || !got.Options.NewDependencies || got.Targets.Groups[0] != fleet.GroupID("g-team") {
		t.Errorf("%+v", got)
	}
	if res := b.post("/tasks", nightly()); res.StatusCode != http.StatusConflict || !strings.Contains(text(t, res), "There is a task") {
		t.Errorf("the same once more: %d", res.StatusCode)
	}
	page := text(t, b.get("/tasks/every-night"))
	for _, want := range []string{"approved or undefined updates", "99.5 % must succeed", "Year end: 12-18 to 01-04", "Switch off", "Saturday"} {
		if !strings.Contains(page, want) && !strings.Contains(strings.ToLower(page), strings.ToLower(want)) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if page := text(t, b.get("/tasks/every-night/edit")); !strings.Contains(page, `<option value="week" selected>`) || !strings.Contains(page, `name="r0.values" value="high"`) || !strings.Contains(page, `value="99.5"`) {
		t.Error("the form does not show what was saved")
	}
	if res := b.post("/tasks/every-night/disable", nil); res.StatusCode != http.StatusSeeOther || s.task("every-night").Enabled {
		t.Errorf("switching off: %d", res.StatusCode)
	}
	if res := b.post("/tasks/every-night/delete", nil); res.StatusCode != http.StatusSeeOther {
		t.Errorf("deleting: %d", res.StatusCode)
	}
	if page := text(t, s.browser(s.tokens["V"]).get("/tasks/default")); strings.Contains(page, "Switch off") {
		t.Error("a viewer is offered to switch tasks")
	}
}

func TestT1_WhatIsWrongStandsOnTheFormWithWhatWasWritten(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.tokens["d"])
	form := nightly()
	form.Set("length", "for ever")
	form.Set("order", "first")
	form.Set("freezes", "nonsense")
	seen := s.Entries()
	res := b.post("/tasks", form)
	body := text(t, res)
	for _, want := range []string{"schedule.length", "for ever", "<code>order</code>", `value="first"`, "nonsense</textarea>", "data-problem-text"} {
		if !strings.Contains(body, want) {
			t.Errorf("it lacks %q", want)
		}
	}
	if res.StatusCode != http.StatusUnprocessableEntity || s.Entries() != seen {
		t.Errorf("%d", res.StatusCode)
	}
	form = nightly()
	form.Set("r0.mode", "text")
	form.Set("r0.criteria", `severity == "hihg"`)
	form.Set("r0.admits", "any_including_declined")
	if body := text(t, b.post("/tasks/preview", form)); !strings.Contains(body, "rules[0].criteria") || !strings.Contains(body, "rules[0].admits") || !strings.Contains(body, "hihg") {
		t.Error("not everything that is wrong is told")
	}
	for _, base := range []string{"{", `{"x":1}`} {
		if body := text(t, b.post("/tasks/preview", url.Values{"whole": {"1"}, "text": {base}, "version": {"new"}})); !strings.Contains(body, `name="text"`) || !strings.Contains(body, "data-problem-text") {
			t.Errorf("%s: the text is not shown again", base)
		}
	}
}

func TestT1_WhatAdmitsDeclinedUpdatesIsRed(t *testing.T) {
	s := newSite(t)
	s.Act("server", ledger.GroupCreate{Group: fleet.Group{ID: "g-lab", Name: "Lab", Parent: fleet.Root, Test: true}})
	b := s.browser(s.tokens["d"])
	form := nightly()
	form.Set("groups", "g-lab")
	form.Set("ring.groups", "Lab")
	form["ring.groups"] = []string{"Lab", ""}
	form.Set("r0.admits", "any_including_declined")
	if body := text(t, b.post("/tasks/preview", form)); !strings.Contains(body, `alert-danger"><b>It admits declined updates`) {
		t.Errorf("the preview: %.1500s", body[strings.Index(body, "task-preview"):])
	}
	if res := b.post("/tasks", form); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("%d", res.StatusCode)
	}
	if body := text(t, b.get("/tasks")); !strings.Contains(body, "bg-red-lt") {
		t.Error("the list does not show it in red")
	}
	if body := text(t, b.get("/tasks/every-night")); !strings.Contains(body, `class="text-danger">any updates, declined ones too`) {
		t.Error("the page does not show it in red")
	}
}

// ringed makes a task with a ring for the team, approves the site's update and lets the rollout begin.
func (s *site) ringed() (rollout string) {
	s.t.Helper()
	if res := s.browser(s.tokens["d"]).post("/tasks", url.Values{"base": {"{}"}, "version": {"new"}, "name": {"Ringed"}, "enabled": {"1"}, "groups": {"g-team"}, "new_dependencies": {"1"}, "rules": {"1"}, "r0.mode": {"lines"},
		"r0.admits": {"approved"}, "ring.base": {""}, "ring.name": {"Only"}, "ring.groups": {"Team"}, "ring.rate": {"90"}}); res.StatusCode != http.StatusSeeOther {
		s.t.Fatalf("%d %.2000s", res.StatusCode, text(s.t, res))
	}
	s.browser(s.tokens["a"]).decides(url.Values{"status": {"approved"}, "select": {s.update}, "scope": {"g-team"}})
	s.Conduct()
	return "/rollouts/ringed/" + s.update
}

func TestT6_ARolloutIsShownHaltedAndResumedWithAReason(t *testing.T) {
	s := newSite(t)
	path := s.ringed()
	if body := text(t, s.browser(s.tokens["v"]).get("/rollouts")); !strings.Contains(body, path) || !strings.Contains(body, "openssl 3.0.2") {
		t.Fatal("the list does not show it")
	}
	viewer, approver, admin := s.browser(s.tokens["v"]), s.browser(s.tokens["a"]), s.browser(s.tokens["d"])
	if body := text(t, viewer.get(path)); strings.Contains(body, "/halt") || !strings.Contains(body, "<td>Only</td>") {
		t.Error("a viewer is offered to halt, or the ring is missing")
	}
	if body := text(t, approver.get(path)); !strings.Contains(body, path+"/halt") || strings.Contains(body, path+"/skip") {
		t.Error("an approver may halt, and only administrators skip")
	}
	if body := text(t, admin.get(path)); !strings.Contains(body, path+"/skip") {
		t.Error("an administrator is not offered to skip")
	}
	if res := approver.post(path+"/halt", nil); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != path {
		t.Fatalf("halting: %d", res.StatusCode)
	}
	if body := text(t, approver.get(path)); !strings.Contains(body, "halted") || !strings.Contains(body, path+"/resume") || !strings.Contains(body, "root-a") {
		t.Error("the page does not say that it is halted, and by whom")
	}
	if res := approver.post(path+"/resume", url.Values{"reason": {""}}); res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("resuming without a reason: %d", res.StatusCode)
	}
	if res := approver.post(path+"/skip", url.Values{"reason": {"x"}, "ring": {"Only"}}); res.StatusCode != http.StatusForbidden {
		t.Errorf("an approver skips: %d", res.StatusCode)
	}
	if res := approver.post(path+"/resume", url.Values{"reason": {"it was the network"}}); res.StatusCode != http.StatusSeeOther {
		t.Errorf("resuming: %d", res.StatusCode)
	}
	if body := text(t, viewer.get(path)); !strings.Contains(body, "it was the network") {
		t.Error("the reason is not shown")
	}
	if res := approver.post(path+"/explode", nil); res.StatusCode != http.StatusNotFound {
		t.Errorf("%d", res.StatusCode)
	}
}
