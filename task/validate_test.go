package task_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/approval"
	"assent/catalog"
	"assent/fault"
	"assent/fleet"
	"assent/rollout"
	"assent/task"
	"assent/window"
	"assent/wire"
)

func TestValidate_PassesATaskThatUsesEverything(t *testing.T) {
	if found := task.Validate(full(), tree(t)); len(found) != 0 {
		t.Errorf("%v", found)
	}
	if err := task.Invalid(full(), tree(t)); err != nil {
		t.Error(err)
	}
}

func TestValidate_NamesTheFieldAtFault(t *testing.T) {
	long := strings.Repeat("x", 81)
	for field, spoil := range map[string]func(*task.Task){
		"id":                   func(t *task.Task) { t.ID = "Ä" },
		"name":                 func(t *task.Task) { t.Name = "two\nlines" },
		"order":                func(t *task.Task) { t.Order = 1 << 40 },
		"targets.groups":       func(t *task.Task) { t.Targets.Groups = nil },
		"targets.groups[1]":    func(t *task.Task) { t.Targets.Groups = []fleet.GroupID{"prod", "nowhere"} },
		"targets.exclude[0]":   func(t *task.Task) { t.Targets.Exclude = []fleet.GroupID{"nowhere"} },
		"targets.exclude":      func(t *task.Task) { t.Targets.Exclude = []fleet.GroupID{fleet.Root} },
		"targets.selection":    func(t *task.Task) { t.Targets.Selection = `os == ` },
		"rules":                func(t *task.Task) { t.Rules = make([]task.Rule, task.MaxRules+1) },
		"rules[0].name":        func(t *task.Task) { t.Rules[0].Name = long },
		"rules[1].name":        func(t *task.Task) { t.Rules[1].Name = t.Rules[0].Name },
		"rules[1].admits":      func(t *task.Task) { t.Rules[1].Admits = "all" },
		"rules[0].criteria":    func(t *task.Task) { t.Rules[0].Criteria = `sevrity == "low"` },
		"options.removable":    func(t *task.Task) { t.Options.Removable = nil },
		"options.removable[0]": func(t *task.Task) { t.Options.Removable = []string{"-oX=Y"} },
		"options.removable[1]": func(t *task.Task) {
			t.Options.Removals, t.Options.Removable = true, []string{"libold", wire.AgentPackage}
		},
		"options.removals":           func(t *task.Task) { t.Options.Removals = false },
		"options.at_shutdown":        func(t *task.Task) { t.Options.DownloadOnly = true },
		"options.stop_after":         func(t *task.Task) { t.Options.StopAfter = rollout.Span(time.Second) },
		"options.retries.attempts":   func(t *task.Task) { t.Options.Retries.Attempts = 0 },
		"options.retries.first":      func(t *task.Task) { t.Options.Retries.First = -1 },
		"options.retries.longest":    func(t *task.Task) { t.Options.Retries.Longest = rollout.Span(time.Minute) },
		"restart.when":               func(t *task.Task) { t.Restart = task.Restart{When: "maybe"} },
		"restart.ask":                func(t *task.Task) { t.Restart.When = wire.RestartAlways },
		"restart.ask.text":           func(t *task.Task) { t.Restart.Ask.Text = "\x1b[31m" },
		"restart.ask.repeat":         func(t *task.Task) { t.Restart.Ask.Repeat = rollout.Span(time.Second) },
		"restart.ask.deadline":       func(t *task.Task) { t.Restart.Ask.Deadline = rollout.Span(1000 * 24 * time.Hour) },
		"restart.ask.deferrals":      func(t *task.Task) { t.Restart.Ask.Deferrals = -1 },
		"on_failure":                 func(t *task.Task) { t.OnFailure = "reinstall" },
		"probes":                     func(t *task.Task) { t.Probes = make([]catalog.Probe, task.MaxProbes+1) },
		"probes[0]":                  func(t *task.Task) { t.Probes[0].Unit = "nginx; rm" },
		"probes[1]":                  func(t *task.Task) { t.Probes[1].Path = "/etc" },
		"probes[2]":                  func(t *task.Task) { t.Probes[2].Status = 99 },
		"probes[3]":                  func(t *task.Task) { t.Probes[3].Path = "/usr/../bin/x" },
		"probes[4]":                  func(t *task.Task) { t.Probes[4].SHA256 = "abc" },
		"rings[0].groups[0]":         func(t *task.Task) { t.Rings[0].Groups[0] = "nowhere" },
		"rings[0].success_per_mille": func(t *task.Task) { t.Rings[0].SuccessRate = 0 },
		"schedule.rule":              func(t *task.Task) { t.Schedule.Rule = "FREQ=SECONDLY" },
		"schedule.length":            func(t *task.Task) { t.Schedule.Length = window.Duration(time.Second) },
	} {
		bad := full()
		spoil(&bad)
		found := task.Validate(bad, tree(t))
		if !slices.ContainsFunc(found, func(f *fault.Error) bool { return f.Field == field && f.Kind == fault.Invalid && f.Message != "" }) {
			t.Errorf("%s: %v", field, found)
		}
	}
}

func TestValidate_TellsAllFaultsAtOnce(t *testing.T) {
	bad := full()
	bad.Name, bad.Rules[0].Criteria, bad.Rules[1].Criteria, bad.OnFailure, bad.Schedule.Rule = "", "x", "1", "?", "?"
	var fields []string
	for _, f := range task.Validate(bad, tree(t)) {
		fields = append(fields, f.Field)
	}
	if diff := cmp.Diff([]string{"name", "rules[0].criteria", "rules[1].criteria", "on_failure", "schedule.rule"}, fields); diff != "" {
		t.Error(diff)
	}
}

// known are updates as the server might know them: two open, one declined.
func known(yield func(task.Candidate) bool) {
	for i, status := range []approval.Status{approval.Approved, approval.Undefined, approval.Declined} {
		u := update([]catalog.Severity{catalog.High, catalog.Low, catalog.Critical}[i])
		u.Unplaced = true
		if !yield(task.Candidate{Update: u, Status: status}) {
			return
		}
	}
}

func TestT2_CountSaysWhatEachRuleWouldMatch(t *testing.T) {
	tk := with("x", "prod", task.Rule{Admits: task.Approved}, task.Rule{Admits: task.ApprovedOrUndefined, Criteria: `severity >= "high"`}, task.Rule{Admits: task.Approved, Criteria: `kev`},
		task.Rule{Admits: task.Approved, Criteria: `name == "curl"`}, task.Rule{Admits: task.AnyIncludingDeclined})
	got, err := task.Count(tk, false, known)
	if err != nil {
		t.Fatal(err)
	}
	declined := []string{"openssl 3.0.17-1"}
	want := task.Figures{Updates: 3, Admits: 1, Rules: []task.RuleFigures{{Matches: 3, Admits: 1, Declined: 1, Examples: declined}, {Matches: 2, Admits: 1, Declined: 1, Examples: declined},
		{Unknown: 3, Reason: "openssl 3.0.17-1: kev is not known"}, {}, {Matches: 3, Declined: 1, Examples: declined}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, _ := task.Count(tk, true, known); got.Rules[4].Admits != 3 || got.Admits != 3 {
		t.Errorf("in test groups: %+v", got)
	}
	tk.Rules[0].Criteria = "?"
	if _, err := task.Count(tk, false, known); fault.From(err) == nil {
		t.Error("counted what does not compile")
	}
}

func TestT2_WarningsNameRulesThatCannotDoWhatTheySay(t *testing.T) {
	tk := with("x", "prod",
		task.Rule{Admits: task.Approved, Criteria: `severity >= "high"`},
		task.Rule{Admits: task.Approved, Criteria: `name == "curl"`},
		task.Rule{Admits: task.Approved, Criteria: `name == "a" && name == "b"`},
		task.Rule{Admits: task.Approved, Criteria: ` severity >= "high" `},
		task.Rule{Admits: task.Approved, Criteria: `kev`},
		task.Rule{Admits: task.AnyIncludingDeclined})
	tk.Targets.Selection = `os == "a" && os == "b"`
	tk.OnFailure = task.Restore
	tk.Rings = []rollout.Ring{{Name: "one", Groups: []fleet.GroupID{"berlin"}, SuccessRate: 1000}}
	tk.Enabled = false
	figures, err := task.Count(tk, false, known)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range task.Warnings(tk, tree(t), figures) {
		got = append(got, string(w.Code)+" "+w.Field)
		if !strings.HasSuffix(w.Text, ".") {
			t.Errorf("no sentence: %q", w.Text)
		}
	}
	want := []string{"disabled enabled", "selects_nothing targets.selection", "nothing_to_fail on_failure", "outside_rings targets.groups[0]",
		"contradicts_decline rules[0].criteria", "matches_nothing rules[1].criteria", "never_fires rules[2].criteria", "rule_twice rules[3].criteria", "contradicts_decline rules[3].criteria",
		"cannot_be_judged rules[4].criteria", "admits_declined rules[5].admits"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	quiet := full()
	f, err := task.Count(quiet, false, func(yield func(task.Candidate) bool) {
		yield(task.Candidate{Update: update(catalog.High), Status: approval.Approved})
	})
	if w := task.Warnings(quiet, tree(t), f); err != nil || len(w) != 0 {
		t.Errorf("%v %v", w, err)
	}
	if w := task.Warnings(with("x", "prod"), tree(t), task.Figures{}); len(w) != 1 || w[0].Code != task.WarnNoRules {
		t.Errorf("%v", w)
	}
}
