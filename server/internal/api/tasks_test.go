package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/api"
	"assent/server/internal/auth"
	"assent/task"
)

// jobs is apart because its short names would not tell in one list with all others.
type jobs struct{ *services }

func (j jobs) Tasks(_ context.Context, x0 auth.Actor) (client.List[client.TaskRow], error) {
	return answer[client.List[client.TaskRow]](j.services, "Tasks", x0)
}

func (j jobs) Task(_ context.Context, x0 auth.Actor, x1 string) (client.TaskRow, error) {
	return answer[client.TaskRow](j.services, "Task", x0, x1)
}

func (j jobs) Put(_ context.Context, x0 auth.Actor, x1 client.TaskRequest) (client.TaskSaved, error) {
	return answer[client.TaskSaved](j.services, "Put", x0, x1)
}

func (j jobs) Switch(_ context.Context, x0 auth.Actor, x1 string, x2 client.TaskChange) (client.TaskSaved, error) {
	return answer[client.TaskSaved](j.services, "Switch", x0, x1, x2)
}

func (j jobs) Remove(_ context.Context, x0 auth.Actor, x1 string) (client.Act, error) {
	return answer[client.Act](j.services, "Remove", x0, x1)
}

func (j jobs) Preview(_ context.Context, x0 auth.Actor, x1 client.TaskRequest) (client.TaskPreview, error) {
	return answer[client.TaskPreview](j.services, "Preview", x0, x1)
}

func (j jobs) PlanAt(_ context.Context, x0 auth.Actor, x1, x2 string) (client.PlanAt, error) {
	return answer[client.PlanAt](j.services, "PlanAt", x0, x1, x2)
}

func (j jobs) Expressions(_ context.Context, x0 auth.Actor) (client.Expressions, error) {
	return answer[client.Expressions](j.services, "Expressions", x0)
}

func (j jobs) Complete(_ context.Context, x0 auth.Actor, x1, x2 string) (client.Completions, error) {
	return answer[client.Completions](j.services, "Complete", x0, x1, x2)
}

// taskRows are the rows about tasks of the table of N07.
func taskRows() []row {
	return []row{
		{"GET", "/tasks", readers, "", "Tasks", 200},
		{"GET", "/tasks/fields", readers, "", "Expressions", 200},
		{"GET", "/tasks/complete?kind=rule&prefix=sev", readers, "", "Complete", 200},
		{"POST", "/tasks/preview", admins, `{"task":{"id":"nightly","name":"Nightly","targets":{"groups":["Test"]}}}`, "Preview", 200},
		{"GET", "/tasks/nightly", readers, "", "Task", 200},
		{"PUT", "/tasks/nightly", admins, `{"task":{"name":"Nightly"},"if_version":"new"}`, "Put", 200},
		{"PATCH", "/tasks/nightly", admins, `{"enabled":false}`, "Switch", 200},
		{"DELETE", "/tasks/nightly", admins, "", "Remove", 200},
		{"GET", "/devices/d1/plan?at=2027-01-05T02:00", readers, "", "PlanAt", 200},
	}
}

func TestTaskCallsReachTheirServiceWithEverythingTheyWereGiven(t *testing.T) {
	w := newWorld(t)
	c := w.connect(t, "administrator")
	who := auth.Actor{Name: "administrator", Role: ledger.Administrator, Scope: fleet.Root}
	nightly := task.Default()
	nightly.ID, nightly.Name, nightly.Enabled, nightly.Options.NewDependencies = "nightly", "Nächtlich", false, false
	r := client.TaskRequest{Task: nightly, IfVersion: "abc"}
	ctx, odd := t.Context(), "a/b c?d#e"
	for i, err := range []error{first(c.Tasks(ctx)), first(c.Task(ctx, odd)), first(c.PutTask(ctx, r)), first(c.SwitchTask(ctx, odd, client.TaskChange{Enabled: true})),
		first(c.DeleteTask(ctx, odd)), first(c.PreviewTask(ctx, r)), first(c.PlanAt(ctx, odd, "2027-01-05T02:00")), first(c.Expressions(ctx)), first(c.CompleteExpression(ctx, "rule", `a && "é`))} {
		if err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	calls := []string{"Tasks", "Task", "Put", "Switch", "Remove", "Preview", "PlanAt", "Expressions", "Complete"}
	args := [][]any{{who}, {who, odd}, {who, r}, {who, odd, client.TaskChange{Enabled: true}}, {who, odd}, {who, r}, {who, odd, "2027-01-05T02:00"}, {who}, {who, "rule", `a && "é`}}
	if diff := cmp.Diff(calls, w.calls) + cmp.Diff(args, w.all); diff != "" {
		t.Errorf("they got other arguments (-given +received):\n%s", diff)
	}
}

// TestT3_ATaskThatLeavesOutNewDependenciesLetsThemIn, and nothing that is not known is left out silently.
func TestT3_ATaskThatLeavesOutNewDependenciesLetsThemInAndUnknownFieldsAreRefused(t *testing.T) {
	w := newWorld(t)
	w.call("PUT", api.Prefix+"/tasks/n", w.tokens["administrator"], `{"task":{"name":"N"}}`)
	if r := w.all[0][1].(client.TaskRequest); r.Task.ID != "n" || !r.Task.Enabled || !r.Task.Options.NewDependencies {
		t.Errorf("%+v", r)
	}
	for body, code := range map[string]string{`{"task":{"id":"other"}}`: "task_id", `{"task":{"nme":"x"}}`: "", `{"task":{"options":{"dowload_only":true}}}`: "", `{"task":{"rules":[{"admits":"everything","x":1}]}}`: "", `{}`: "invalid_input", `{"task":3}`: ""} {
		w.calls = nil
		rec := w.call("PUT", api.Prefix+"/tasks/n", w.tokens["administrator"], body)
		if p := problemIn(t, rec); rec.Code != http.StatusUnprocessableEntity || code != "" && p.Code != code || len(w.calls) > 0 {
			t.Errorf("%s: %d %+v", body, rec.Code, p)
		}
	}
}

func TestSeveralRefusalsComeAllAtOnceTheFirstOneForAll(t *testing.T) {
	w := newWorld(t)
	w.err = fault.Join([]*fault.Error{fault.New(fault.Invalid, "a", "First.").On("name"), fault.New(fault.Conflict, "b", "Second.").On("rules[0]")})
	rec := w.call("PUT", api.Prefix+"/tasks/n", w.tokens["administrator"], `{"task":{}}`)
	p := problemIn(t, rec)
	if p.Code != "a" || p.Field != "name" || len(p.Errors) != 2 || p.Errors[1] != (client.ProblemError{Detail: "Second.", Kind: "conflict", Code: "b", Field: "rules[0]"}) {
		t.Errorf("%+v", p)
	}
	_, err := w.connect(t, "administrator").PutTask(t.Context(), client.TaskRequest{Task: task.Default()})
	var all fault.List
	if raw, _ := json.Marshal(err); !strings.Contains(err.Error(), "Second") {
		t.Errorf("%s", raw)
	} else if all, _ = err.(fault.List); len(all) != 2 || all[0].Code != "a" || all[1].Field != "rules[0]" {
		t.Errorf("%#v", err)
	}
}
