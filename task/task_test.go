package task_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/approval"
	"assent/catalog"
	"assent/criteria"
	"assent/fault"
	"assent/fleet"
	"assent/rollout"
	"assent/task"
	"assent/window"
	"assent/wire"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// tree has a test group with a group in it, and production with two.
func tree(t testing.TB) fleet.Tree {
	tr, err := fleet.NewTree([]fleet.Group{{ID: fleet.Root, Name: fleet.RootName}, {ID: "test", Name: "Test", Parent: fleet.Root, Test: true}, {ID: "lab", Name: "Lab", Parent: "test"},
		{ID: "prod", Name: "Production", Parent: fleet.Root}, {ID: "berlin", Name: "Berlin", Parent: "prod"}, {ID: "porto", Name: "Porto", Parent: "prod"}})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// on is where a device of a group stands.
func on(t testing.TB, set task.Set, group fleet.GroupID) task.Here {
	tr := tree(t)
	return set.On(tr.Path(group), criteria.Device{Device: fleet.Device{ID: "d1", Name: "web-1", Group: group}, Test: tr.Test(group), Now: now,
		Facts: &wire.Facts{OS: "debian", OSVersion: "12", Arch: "amd64"}})
}

func set(t testing.TB, tasks ...task.Task) task.Set {
	t.Helper()
	s, err := task.NewSet(tasks...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func update(severity catalog.Severity) criteria.Update {
	return criteria.Update{Now: now, Installed: "3.0.16-1", Update: catalog.Update{Class: catalog.ThirdParty, Severity: severity, Security: true, FirstSeen: now.Add(-72 * time.Hour),
		Release: catalog.Release{Software: catalog.Software{Ecosystem: "deb", Namespace: "debian", Name: "openssl"}, Version: "3.0.17-1"}}}
}

// with is a task with these rules for a group.
func with(id string, group fleet.GroupID, rules ...task.Rule) task.Task {
	t := task.Default()
	t.ID, t.Name, t.Targets.Groups, t.Rules = id, strings.ToUpper(id), []fleet.GroupID{group}, rules
	return t
}

// full is a task that uses everything.
func full() task.Task {
	t := with("full", "prod", task.Rule{Name: "security", Admits: task.ApprovedOrUndefined, Criteria: `security && age_release >= days(2)`}, task.Rule{Admits: task.Approved})
	t.Order = 3
	t.Targets.Exclude, t.Targets.Selection = []fleet.GroupID{"porto"}, `os == "debian"`
	t.Options = task.Options{EarlierFirst: true, HoldPrerequisites: true, HoldNewMajor: true, NewDependencies: true, Removals: true, Removable: []string{"libold"}, AtShutdown: true,
		StopAfter: rollout.Span(90 * time.Minute), Retries: task.Retries{Attempts: 3, First: rollout.Span(10 * time.Minute), Longest: rollout.Span(2 * time.Hour)}}
	t.Restart = task.Restart{When: wire.RestartAsked, Services: true, Ask: task.Ask{Text: "Please", Repeat: rollout.Span(time.Hour), Deadline: rollout.Span(48 * time.Hour), Deferrals: 3}}
	t.OnFailure = task.Restore
	t.Probes = []catalog.Probe{{Type: catalog.ProbeUnit, Unit: "nginx.service"}, {Type: catalog.ProbeTCP, Port: 443}, {Type: catalog.ProbeHTTP, Port: 80, Path: "/health", Status: 204},
		{Type: catalog.ProbeProcess, Path: "/usr/sbin/nginx"}, {Type: catalog.ProbeFile, Path: "/etc/motd", SHA256: strings.Repeat("a", 64), Timeout: 10}}
	t.Rings = []rollout.Ring{{Name: "Berlin", Groups: []fleet.GroupID{"berlin"}, SuccessRate: 900, Soak: rollout.Span(24 * time.Hour)}}
	t.Schedule = window.Schedule{Rule: "FREQ=WEEKLY;BYDAY=TU", Start: "2026-11-24T02:00", Length: window.Duration(4 * time.Hour)}
	return t
}

func TestT7_TheDefaultTaskAdmitsWhatIsApprovedAnywhereAtAnyTime(t *testing.T) {
	s := task.DefaultSet()
	if diff := cmp.Diff([]task.Task{task.Default()}, s.Tasks()); diff != "" || !s.OnlyDefault() {
		t.Fatal(diff)
	}
	here := on(t, s, "berlin")
	a := here.Admit(update(catalog.Unrated), approval.Approved)
	if lead, ok := a.Terms.Lead(); !a.Admitted || !ok || lead.ID != task.DefaultID || !a.Terms.Options().NewDependencies || !a.Terms.At(now, window.UTC(), "d1").Open {
		t.Errorf("%+v", a)
	}
	for _, status := range []approval.Status{approval.Undefined, approval.Declined} {
		if a := here.Admit(update(catalog.Critical), status); a.Admitted || a.Held != "" {
			t.Errorf("%s: %+v", status, a)
		}
	}
	if _, ok := here.Restart(); ok {
		t.Error("the default task restarts devices")
	}
	if found := task.Validate(task.Default(), tree(t)); len(found) > 0 {
		t.Errorf("%v", found)
	}
	compiled := on(t, set(t, task.Default()), "berlin")
	if b := compiled.Admit(update(catalog.Unrated), approval.Approved); !b.Admitted {
		t.Error("compiled it admits something else than built in")
	}
}

func TestT7_TheDefaultTaskAsEarlierBuildsWroteItReadsAsItself(t *testing.T) {
	got, err := task.Decode([]byte(`{"id":"default","name":"Install approved updates","scope":"root","rules":[{"admits":["approved"]}],"options":{"new_dependencies":true,"removals":false}}`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(task.Default(), got); diff != "" {
		t.Error(diff)
	}
	for list, want := range map[string]task.Admits{`["undefined","approved"]`: task.ApprovedOrUndefined, `["approved","undefined","declined"]`: task.ApprovedOrUndefined, `["approved","declined"]`: task.Approved} {
		var a task.Admits
		if err := json.Unmarshal([]byte(list), &a); err != nil || a != want {
			t.Errorf("%s: %q, %v: a declined update was admitted by no rule of earlier builds", list, a, err)
		}
	}
}

func TestTask_JSONReadsBackAndIsStrict(t *testing.T) {
	for _, want := range []task.Task{task.Default(), full()} {
		raw, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := task.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	off := task.Default()
	off.Enabled = false
	raw, _ := json.Marshal(off)
	if got, err := task.Decode(raw); err != nil || got.Enabled {
		t.Errorf("a task that is off comes back on: %v", err)
	}
	for _, bad := range []string{``, `{`, `[]`, `{"id":1}`, `{"nme":"x"}`, `{"options":{"dowload_only":true}}`, `{"targets":{"group":"x"}}`, `{"rules":[{"admits":["declined"]}]}`, `{"rules":[{"admits":3}]}`,
		`{"scope":"root","targets":{"groups":["root"]}}`, `{"schedule":{"rle":""}}`, `{"rings":[{"nme":""}]}`, `{"options":{"stop_after":"soon"}}`, `{} {}`, `{"id":"` + strings.Repeat("x", task.MaxJSON) + `"}`} {
		if _, err := task.Decode([]byte(bad)); fault.From(err) == nil || fault.From(err).Kind == fault.Internal {
			t.Errorf("%.60s: %v", bad, err)
		}
	}
}

func TestT1_RulesAreOredAndATaskWithoutRulesDoesNothing(t *testing.T) {
	none := on(t, set(t, with("none", fleet.Root)), "berlin")
	if a := none.Admit(update(catalog.High), approval.Approved); a.Admitted || a.Held != "" || a.Looks()[0].Code != task.NoRules {
		t.Errorf("%+v", a)
	}
	two := on(t, set(t, with("two", fleet.Root, task.Rule{Admits: task.Approved, Criteria: `severity == "low"`}, task.Rule{Name: "high ones", Admits: task.ApprovedOrUndefined, Criteria: `severity >= "high"`})), "berlin")
	for severity, want := range map[catalog.Severity]map[approval.Status]bool{catalog.Low: {approval.Approved: true}, catalog.Medium: {}, catalog.High: {approval.Approved: true, approval.Undefined: true}} {
		for _, status := range []approval.Status{approval.Approved, approval.Undefined, approval.Declined} {
			if a := two.Admit(update(severity), status); a.Admitted != want[status] {
				t.Errorf("%s, %s: %v", severity, status, a.Admitted)
			}
		}
	}
}

func TestT1_TheTraceSaysWhichRuleMatchedOrWhyEachDidNot(t *testing.T) {
	off := with("off", fleet.Root, task.Rule{Admits: task.Approved})
	off.Enabled = false
	excluded := with("excl", fleet.Root, task.Rule{Admits: task.Approved})
	excluded.Targets.Exclude = []fleet.GroupID{"prod"}
	elsewhere := with("far", "test", task.Rule{Admits: task.Approved})
	arm := with("arm", fleet.Root, task.Rule{Admits: task.Approved})
	arm.Targets.Selection = `arch == "arm64"`
	rules := with("rules", "prod", task.Rule{Name: "exploited", Admits: task.ApprovedOrUndefined, Criteria: `kev`}, task.Rule{Admits: task.AnyIncludingDeclined},
		task.Rule{Admits: task.Approved}, task.Rule{Admits: task.ApprovedOrUndefined, Criteria: `severity == "low"`})
	here := on(t, set(t, off, excluded, elsewhere, arm, rules), "berlin")
	a := here.Admit(update(catalog.High), approval.Undefined)
	var got []string
	for _, s := range a.Trace() {
		got = append(got, s.Rule+" "+s.Text)
	}
	want := []string{
		`T2 the task "RULES" cannot judge it by rule "exploited": kev is not known`,
		`T1 the task "RULES" does not admit it: rule 2 counts in test groups only, because it admits declined updates`,
		`T1 the task "RULES" does not admit it: rule 3 admits only approved updates`,
		`T2 the task "RULES" does not admit it: it does not meet the criteria of rule 4`,
		`T1 the task "ARM" does not select the device`,
		`T1 the task "EXCL" excludes the device's group`,
		`T1 the task "FAR" is for other groups`,
		`T1 the task "OFF" is not enabled`,
	}
	if diff := cmp.Diff(want, got); diff != "" || a.Admitted || !strings.Contains(a.Held, "kev is not known") {
		t.Errorf("%s\nheld: %q", diff, a.Held)
	}
	a = here.Admit(update(catalog.High), approval.Approved)
	if got := a.Trace()[0].Text; !a.Admitted || a.Held != "" || got != `the task "RULES" admits it by rule 3` {
		t.Errorf("%v %q", a.Admitted, got)
	}
}

func TestT1_DeclinedIsAdmittedInTestGroupsOnlyAndWhereARuleSaysSo(t *testing.T) {
	rule := task.Rule{Admits: task.AnyIncludingDeclined}
	here := on(t, set(t, with("x", fleet.Root, rule)), "lab")
	if a := here.Admit(update(catalog.Low), approval.Declined); !a.Admitted {
		t.Error("the rule does not admit a declined update on a test device")
	}
	here = on(t, set(t, with("x", fleet.Root, rule)), "berlin")
	for _, status := range []approval.Status{approval.Approved, approval.Undefined, approval.Declined} {
		if a := here.Admit(update(catalog.Low), status); a.Admitted {
			t.Errorf("%s: a rule for test groups admits it in production", status)
		}
	}
	if found := task.Validate(with("x", "test", rule), tree(t)); len(found) != 0 {
		t.Errorf("%v", found)
	}
	for _, group := range []fleet.GroupID{"prod", fleet.Root} {
		found := task.Validate(with("x", group, rule), tree(t))
		if len(found) != 1 || found[0].Field != "rules[0].admits" {
			t.Errorf("%s: %v", group, found)
		}
	}
}

func TestT2_UnknownHoldsUnlessAnotherRuleOrTaskAdmits(t *testing.T) {
	kev := task.Rule{Admits: task.ApprovedOrUndefined, Criteria: `kev`}
	alone := on(t, set(t, with("kev", fleet.Root, kev)), "berlin")
	if a := alone.Admit(update(catalog.High), approval.Undefined); a.Admitted || a.Held == "" {
		t.Errorf("%+v", a)
	}
	if a := alone.Admit(update(catalog.High), approval.Declined); a.Admitted || a.Held != "" {
		t.Errorf("a rule that does not admit the status holds the update: %q", a.Held)
	}
	both := on(t, set(t, with("kev", fleet.Root, kev), with("b", "prod", task.Rule{Admits: task.Approved})), "berlin")
	if a := both.Admit(update(catalog.High), approval.Approved); !a.Admitted || a.Held != "" {
		t.Errorf("%+v", a)
	}
	picky := with("sel", fleet.Root, task.Rule{Admits: task.Approved, Criteria: `severity == "high"`})
	picky.Targets.Selection = `kernel < "6.2"`
	unknown := on(t, set(t, picky), "berlin")
	if a := unknown.Admit(update(catalog.High), approval.Approved); a.Admitted || !strings.Contains(a.Held, "kernel is not known") || len(unknown.Tasks()) != 0 {
		t.Errorf("%+v", a)
	}
	if a := unknown.Admit(update(catalog.Low), approval.Approved); a.Admitted || a.Held != "" {
		t.Errorf("whatever the device's kernel, the rule is not met: %q", a.Held)
	}
	if a := both.Admit(update(catalog.High), "maybe"); a.Admitted || a.Held == "" {
		t.Errorf("an unknown status: %+v", a)
	}
}

func TestT3_NewMajorVersionsAreHeldBackByTheTaskThatSaysSo(t *testing.T) {
	careful := with("careful", fleet.Root, task.Rule{Admits: task.Approved})
	careful.Options.HoldNewMajor = true
	here := on(t, set(t, careful), "berlin")
	next := update(catalog.High)
	next.Version = "4.0-1"
	if a := here.Admit(next, approval.Approved); a.Admitted || a.Held != "" || a.Trace()[0].Rule != "T3" {
		t.Errorf("%+v", a)
	}
	if a := here.Admit(update(catalog.High), approval.Approved); !a.Admitted {
		t.Error("the same major version is held back")
	}
	next.Installed = "unreadable!"
	if a := here.Admit(next, approval.Approved); a.Admitted || a.Held == "" {
		t.Errorf("%+v", a)
	}
	next.Installed, next.Unplaced = "", true
	if a := here.Admit(next, approval.Approved); a.Admitted || a.Held == "" {
		t.Errorf("%+v", a)
	}
	both := on(t, set(t, careful, task.Default()), "berlin")
	next.Unplaced, next.Installed = false, "3.0-1"
	if a := both.Admit(next, approval.Approved); !a.Admitted || len(a.Terms.Tasks()) != 1 {
		t.Error("another task admits it all the same")
	}
}

func TestT3_RetriesBackOff(t *testing.T) {
	minutes := func(r task.Retries) (out []float64) {
		for i := 1; ; i++ {
			pause, ok := r.Plan().Delay(i)
			if !ok {
				return out
			}
			out = append(out, pause.Minutes())
		}
	}
	if diff := cmp.Diff([]float64{10, 20, 40, 45, 45}, minutes(task.Retries{Attempts: 5, First: rollout.Span(10 * time.Minute), Longest: rollout.Span(45 * time.Minute)})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]float64{5, 10}, minutes(task.Retries{Attempts: 2})); diff != "" {
		t.Error(diff)
	}
	if _, ok := (task.Retries{}).Plan().Delay(1); ok {
		t.Error("no attempts, and one is made")
	}
	if pause, ok := (task.Retries{Attempts: 1 << 40}).Plan().Delay(1 << 40); !ok || pause != 24*time.Hour {
		t.Errorf("%v", pause)
	}
}

func TestT3_OfTwoTasksTheStricterOptionsCount(t *testing.T) {
	a, b := full(), with("zb", "prod", task.Rule{Admits: task.Approved})
	a.Rules = []task.Rule{{Admits: task.Approved}}
	b.Options = task.Options{NewDependencies: false, Removals: true, Removable: []string{"other", "libold"}, StopAfter: rollout.Span(time.Hour), Retries: task.Retries{Attempts: 5}}
	b.Probes = []catalog.Probe{a.Probes[1], {Type: catalog.ProbeTCP, Port: 22}}
	b.Restart.When = wire.RestartAlways
	here := on(t, set(t, a, task.Default(), b), "berlin")
	got := here.Admit(update(catalog.High), approval.Approved)
	var order []string
	for _, tk := range got.Terms.Tasks() {
		order = append(order, tk.ID)
	}
	if diff := cmp.Diff([]string{"zb", "default", "full"}, order); diff != "" { // orders 0, 0 and 3; the default task comes after others of its number
		t.Error(diff)
	}
	want := task.Options{EarlierFirst: true, HoldPrerequisites: true, HoldNewMajor: true, AtShutdown: true, StopAfter: rollout.Span(time.Hour),
		Retries: task.Retries{Attempts: 3, First: rollout.Span(10 * time.Minute), Longest: rollout.Span(24 * time.Hour)}}
	if diff := cmp.Diff(want, got.Terms.Options()); diff != "" { // the default task removes nothing
		t.Error(diff)
	}
	without := on(t, set(t, a, b), "berlin")
	options := without.Admit(update(catalog.High), approval.Approved).Terms.Options()
	if !options.MayRemove("libold") || options.MayRemove("other") || options.MayRemove("libc6") {
		t.Errorf("%+v", options)
	}
	if got.Terms.OnFailure() != task.Restore || len(got.Terms.Probes()) != 6 || len(got.Terms.Ringed()) != 1 || len(got.Terms.Schedules()) != 1 {
		t.Errorf("%v %v", got.Terms.OnFailure(), got.Terms.Probes())
	}
	if r, ok := here.Restart(); !ok || r.ID != "zb" {
		t.Errorf("%v %v", r.ID, ok)
	}
}

func TestT4_OfTwoTasksAllWindowsHaveToBeOpen(t *testing.T) {
	early, late := with("early", "prod", task.Rule{Admits: task.Approved}), with("late", "prod", task.Rule{Admits: task.Approved})
	early.Schedule = window.Schedule{Rule: "FREQ=DAILY", Start: "2026-01-01T10:00", Length: window.Duration(3 * time.Hour)}
	late.Schedule = window.Schedule{Rule: "FREQ=DAILY", Start: "2026-01-01T12:00", Length: window.Duration(3 * time.Hour)}
	here := on(t, set(t, early, late, task.Default()), "berlin")
	terms := here.Admit(update(catalog.High), approval.Approved).Terms
	for hour, want := range map[int]string{11: "late", 12: "", 13: "early", 16: "early", 9: "early"} {
		o := terms.At(time.Date(2026, 11, 23, hour, 30, 0, 0, time.UTC), window.UTC(), "d1")
		if o.Open != (want == "") || !o.Open && (o.Task.ID != want || o.Answer.Text == "") || o.Open && o.Until.Hour() != 13 {
			t.Errorf("%d:30: open %v until %v, by %s", hour, o.Open, o.Until, o.Task.ID)
		}
	}
	if (task.Terms{}).At(now, window.UTC(), "d1").Open {
		t.Error("without a task it is open")
	}
}

func TestT5_TheFirstTaskInTheOrderThatStatesAPolicyRestarts(t *testing.T) {
	asks, never, silent := full(), with("never", "prod", task.Rule{Admits: task.Approved}), with("silent", "prod", task.Rule{Admits: task.Approved})
	never.Restart.When, never.Order = wire.RestartNever, 9
	here := on(t, set(t, never, asks, silent), "berlin")
	got, ok := here.Restart()
	if !ok || got.ID != "full" {
		t.Fatalf("%s %v", got.ID, ok)
	}
	want := wire.PlanRestart{When: wire.RestartAsked, Services: true, Ask: wire.RestartAsk{Text: "Please", Repeat: 3600, Deadline: 172800, Deferrals: 3}}
	if diff := cmp.Diff(want, got.Restart.Plan()); diff != "" {
		t.Error(diff)
	}
	asks.Targets.Selection = `kernel < "6.2"`
	here = on(t, set(t, never, asks, silent), "berlin")
	if _, ok := here.Restart(); ok {
		t.Error("whether the task covers the device is not known, and it restarts")
	}
	here = on(t, set(t, never, asks, silent), "porto")
	if got, ok := here.Restart(); !ok || got.Restart.When != wire.RestartNever {
		t.Error("an excluded group follows the task")
	}
}

func TestSet_RefusesWhatDoesNotCompileAndNamesTheTask(t *testing.T) {
	bad := with("bad", fleet.Root, task.Rule{Admits: task.Approved, Criteria: "sevrity"})
	_, err := task.NewSet(task.Default(), bad)
	if f := fault.From(err); err == nil || f.Field != "rules[0].criteria" || !strings.Contains(f.Message, `Task "BAD"`) {
		t.Errorf("%v", err)
	}
	sel := with("bad", fleet.Root)
	sel.Targets.Selection = "1"
	if _, err := task.NewSet(sel); fault.From(err) == nil {
		t.Error("a bad selection")
	}
	late := with("bad", fleet.Root)
	late.Schedule.Rule = "FREQ=NEVER"
	if _, err := task.NewSet(late); fault.From(err) == nil {
		t.Error("a bad schedule")
	}
	if _, err := task.NewSet(task.Default(), task.Default()); fault.From(err) == nil {
		t.Error("two tasks with one id")
	}
}

func TestSet_KnowsWhatItsAnswersDependOn(t *testing.T) {
	off := with("off", fleet.Root, task.Rule{Admits: task.Approved, Criteria: "kev"})
	off.Enabled = false
	update, device := set(t, full(), off).Reads()
	if !slices.Equal(update, []string{"age_release", "new_major", "security"}) || !slices.Equal(device, []string{"os"}) {
		t.Errorf("%v %v", update, device)
	}
}

func TestT2_AnswersTurnByThemselvesWhenAnAgeIsReached(t *testing.T) {
	ripe := with("ripe", fleet.Root, task.Rule{Admits: task.ApprovedOrUndefined, Criteria: `age_seen >= days(5)`}, task.Rule{Admits: task.Approved, Criteria: `age_seen >= days(4)`})
	settled := with("settled", fleet.Root, task.Rule{Admits: task.Approved})
	settled.Targets.Selection = `age_enrolled >= hours(3)`
	elsewhere := settled
	elsewhere.ID, elsewhere.Targets.Groups, elsewhere.Targets.Selection = "elsewhere", []fleet.GroupID{"test"}, `age_enrolled >= hours(1)`
	at := func(s task.Set, u criteria.Update) time.Time {
		here := s.On(tree(t).Path("berlin"), criteria.Device{Device: fleet.Device{ID: "d1", EnrolledAt: u.Now}, Now: u.Now})
		return here.Turns(u)
	}
	u := update(catalog.High) // three days old
	if got, want := at(set(t, ripe), u), now.Add(24*time.Hour); !got.Equal(want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got, want := at(set(t, ripe, settled, elsewhere), u), now.Add(3*time.Hour); !got.Equal(want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := at(task.DefaultSet(), u); !got.IsZero() {
		t.Errorf("the default task turns at %v", got)
	}
}
