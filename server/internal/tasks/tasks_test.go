package tasks_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"assent/approval"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/rollout"
	"assent/server/internal/auth"
	"assent/server/internal/index/indextest"
	"assent/server/internal/tasks"
	"assent/task"
	"assent/window"
	"assent/wire"
)

// desk is a world with two groups of devices and people of different rights.
type desk struct {
	*indextest.World
	tasks             *tasks.Service
	ada, lead, viewer auth.Actor // administrator of all, administrator of web, viewer of web
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{World: indextest.New(t), ada: auth.Actor{Name: "ada", Role: ledger.Administrator, Scope: fleet.Root},
		lead: auth.Actor{Name: "lead", Role: ledger.Administrator, Scope: "web"}, viewer: auth.Actor{Name: "vic", Role: ledger.Viewer, Scope: "web"}}
	d.Group("web", fleet.Root)
	d.Group("db", fleet.Root)
	for id, group := range map[fleet.DeviceID]fleet.GroupID{"w1": "web", "w2": "web", "d1": "db"} {
		d.Device(id, group)
		d.Has(id, "openssl 3.0.1", "curl 7.0")
		d.Machine(id, func(s *indextest.Said) {
			s.Facts = wire.Facts{Hostname: string(id), OS: "debian", Arch: "amd64", TimeZone: "Europe/Berlin"}
		})
		d.Offered(id, indextest.Offer("openssl", "3.0.2", "3.0.1"), indextest.Offer("curl", "7.1", "7.0"))
	}
	var err error
	if d.tasks, err = tasks.New(tasks.Config{Index: d.Index}); err != nil {
		t.Fatal(err)
	}
	return d
}

// job is a task for a group that installs what is approved.
func job(id string, group fleet.GroupID, change func(*task.Task)) client.TaskRequest {
	t := task.Default()
	t.ID, t.Name, t.Targets.Groups = id, strings.ToUpper(id), []fleet.GroupID{group}
	if change != nil {
		change(&t)
	}
	return client.TaskRequest{Task: t}
}

func (d *desk) put(t *testing.T, who auth.Actor, r client.TaskRequest) client.TaskSaved {
	t.Helper()
	saved, err := d.tasks.Put(t.Context(), who, r)
	if err != nil {
		t.Fatal(err)
	}
	return saved
}

func refused(t *testing.T, err error, code string) {
	t.Helper()
	if err == nil || fault.From(err).Code != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

func (d *desk) approve(name, version string, group fleet.GroupID) {
	id := indextest.ID(name, version)
	d.Act("ada", ledger.UpdateDecide{Scope: group, Status: approval.Approved, Updates: []ledger.Decided{{Update: id, Release: indextest.Release(name, version), Rev: 1}}})
}

func nightly(t *task.Task) {
	t.Schedule = window.Schedule{Rule: "FREQ=DAILY", Start: "2026-01-01T02:00", Length: window.Duration(4 * time.Hour)}
}

func TestT1_ATaskIsMadeByAnAdministratorOfAllItsGroupsBeforeAndAfter(t *testing.T) {
	d := newDesk(t)
	ctx := t.Context()
	_, err := d.tasks.Put(ctx, d.viewer, job("x", "web", nil))
	refused(t, err, "role_missing")
	for _, groups := range [][]fleet.GroupID{{"db"}, {"web", "db"}, {fleet.Root}} {
		_, err := d.tasks.Put(ctx, d.lead, job("x", "web", func(t *task.Task) { t.Targets.Groups = groups }))
		refused(t, err, "out_of_scope")
	}
	d.put(t, d.lead, job("mine", "web", nil))
	d.put(t, d.ada, job("theirs", "db", nil))
	_, err = d.tasks.Put(ctx, d.lead, job("theirs", "web", nil)) // taking a task of others over
	refused(t, err, "out_of_scope")
	for _, do := range []func() error{
		func() error { _, err := d.tasks.Switch(ctx, d.lead, task.DefaultID, client.TaskChange{}); return err },
		func() error { _, err := d.tasks.Remove(ctx, d.viewer, "mine"); return err },
		func() error { _, err := d.tasks.Preview(ctx, d.lead, job("theirs", "db", nil)); return err },
	} {
		if !errors.Is(do(), fault.Forbidden) {
			t.Errorf("%v", do())
		}
	}
	if list, _ := d.tasks.Tasks(ctx, d.lead); list.Total != 2 {
		t.Errorf("a team sees its tasks and the default one: %+v", list)
	}
	_, err = d.tasks.Task(ctx, d.lead, "theirs")
	refused(t, err, "task_unknown")
	if row, err := d.tasks.Task(ctx, d.lead, "default"); err != nil || row.MayEdit || row.Devices != 2 {
		t.Errorf("%+v %v", row, err)
	}
}

func TestTwoAdministratorsDoNotOverwriteEachOther(t *testing.T) {
	d := newDesk(t)
	r := job("nightly", "web", nightly)
	r.IfVersion = client.NewTask
	first := d.put(t, d.ada, r)
	_, err := d.tasks.Put(t.Context(), d.ada, r)
	refused(t, err, "task_there")
	mine, theirs := job("nightly", "web", nil), job("nightly", "web", func(t *task.Task) { t.Order = 4 })
	mine.IfVersion, theirs.IfVersion = first.Version, first.Version
	second := d.put(t, d.ada, mine)
	_, err = d.tasks.Put(t.Context(), d.lead, theirs)
	refused(t, err, "task_changed")
	if row, _ := d.tasks.Task(t.Context(), d.ada, "nightly"); row.Version != second.Version || row.Task.Order != 0 {
		t.Errorf("%+v", row)
	}
	mine.IfVersion = second.Version
	if again := d.put(t, d.ada, mine); !again.Unchanged || again.Act.Act != 0 {
		t.Errorf("the same once more is no act: %+v", again)
	}
	if _, err := d.tasks.Remove(t.Context(), d.ada, "nightly"); err != nil {
		t.Fatal(err)
	}
	_, err = d.tasks.Put(t.Context(), d.ada, mine)
	refused(t, err, "task_gone")
}

func TestT1_EverythingThatIsWrongIsToldAtOnceEachWithItsField(t *testing.T) {
	d := newDesk(t)
	seq := d.Index.Seq()
	_, err := d.tasks.Put(t.Context(), d.ada, job("bad", "web", func(x *task.Task) {
		x.Targets.Groups = []fleet.GroupID{"nowhere", "web"}
		x.Rules = []task.Rule{{Admits: "all", Criteria: `severity == "hihg"`}, {Admits: task.AnyIncludingDeclined}}
		x.Options.Removable = []string{"libold"}
		x.Schedule.Rule = "FREQ=SECONDLY"
	}))
	var all fault.List
	if !errors.As(err, &all) {
		t.Fatalf("%v", err)
	}
	fields := map[string]bool{}
	for _, e := range all {
		fields[e.Field] = true
	}
	for _, want := range []string{"targets.groups[0]", "rules[0].admits", "rules[0].criteria", "rules[1].admits", "options.removals", "schedule.start"} {
		if !fields[want] {
			t.Errorf("%s is missing in %v", want, all)
		}
	}
	if d.Index.Seq() != seq {
		t.Error("something was written")
	}
	_, err = d.tasks.Put(t.Context(), d.ada, job("default2", "web", func(x *task.Task) { x.Name = "install APPROVED updates" }))
	refused(t, err, "task_name")
	_, err = d.tasks.Put(t.Context(), d.ada, job("preview", "web", nil))
	refused(t, err, "task_id")
	_, err = d.tasks.Remove(t.Context(), d.ada, "default")
	refused(t, err, "task_default")
}

func TestT2_APreviewSaysWhatMatchesWhatWouldInstallAndWhen(t *testing.T) {
	d := newDesk(t)
	d.approve("openssl", "3.0.2", fleet.Root)
	seq := d.Index.Seq()
	r := job("nightly", "web", func(x *task.Task) {
		nightly(x)
		x.Rules = []task.Rule{{Admits: task.ApprovedOrUndefined, Criteria: `name == "curl"`}}
	})
	p, err := d.tasks.Preview(t.Context(), d.lead, r)
	if err != nil {
		t.Fatal(err)
	}
	if p.Devices != 2 || p.Computed != 2 || p.Figures.Rules[0].Matches != 1 || p.Install.Updates != 1 || p.Install.Devices != 2 || p.Gained != 2 || p.Lost != 0 {
		t.Errorf("%+v", p)
	}
	if len(p.Updates) != 1 || p.Updates[0].Name != "curl" || len(p.Windows) != 1 || p.Windows[0].Zone != "Europe/Berlin" || p.Windows[0].Devices != 2 {
		t.Errorf("%+v", p)
	}
	if want := "It matches 1 update now; 1 would install on 2 devices; next window"; !strings.HasPrefix(p.Sentence, want) || !strings.HasSuffix(p.Sentence, "(Europe/Berlin).") {
		t.Error(p.Sentence)
	}
	if d.Index.Seq() != seq {
		t.Error("a preview wrote something")
	}
	r.Task.Rules[0].Criteria = `name == "curl" && name == "bash"`
	if p, err = d.tasks.Preview(t.Context(), d.ada, r); err != nil || len(p.Warnings) != 1 || p.Warnings[0].Code != task.WarnNever || p.Warnings[0].Field != "rules[0].criteria" {
		t.Errorf("%+v %v", p.Warnings, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = d.tasks.Preview(ctx, d.ada, r)
	refused(t, err, "cancelled")
}

func TestT2_APreviewOfTheSavedTaskComparesWithItselfAndOneThatTakesAwaySaysSo(t *testing.T) {
	d := newDesk(t)
	d.approve("openssl", "3.0.2", fleet.Root)
	r := job("default", fleet.Root, func(x *task.Task) { *x = task.Default() })
	p, err := d.tasks.Preview(t.Context(), d.ada, r)
	if err != nil || p.Gained != 0 || p.Lost != 0 || p.Install.Devices != 3 {
		t.Errorf("%+v %v", p, err)
	}
	r.Task.Rules = []task.Rule{}
	if p, err = d.tasks.Preview(t.Context(), d.ada, r); err != nil || p.Lost != 3 || p.Install.Updates != 0 || p.Warnings[0].Code != task.WarnNoRules {
		t.Errorf("%+v %v", p, err)
	}
}

func TestT2_WhatAPreviewSaysIsWhatTheTaskThenDoes(t *testing.T) {
	for name, change := range map[string]func(*task.Task){
		"undefined ones too": func(x *task.Task) { x.Rules = []task.Rule{{Admits: task.ApprovedOrUndefined}} },
		"one of them": func(x *task.Task) {
			x.Rules = []task.Rule{{Admits: task.ApprovedOrUndefined, Criteria: `name == "curl"`}}
		},
		"nothing":  func(x *task.Task) { x.Rules = []task.Rule{} },
		"at night": nightly,
		"what is old": func(x *task.Task) {
			x.Rules = []task.Rule{{Admits: task.ApprovedOrUndefined, Criteria: `age_seen > days(3)`}}
		},
		"no new major": func(x *task.Task) { x.Options.HoldNewMajor = true },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.approve("openssl", "3.0.2", "web")
			r := job("default", fleet.Root, func(x *task.Task) { *x = task.Default(); change(x) })
			p, err := d.tasks.Preview(t.Context(), d.ada, r)
			if err != nil {
				t.Fatal(err)
			}
			d.put(t, d.ada, r)
			installs, devices := 0, 0
			for _, id := range []string{"w1", "w2", "d1"} {
				at, err := d.tasks.PlanAt(t.Context(), d.ada, id, "")
				if err != nil {
					t.Fatal(err)
				}
				n := len(at.Installs) + len(at.Waits)
				if installs += n; n > 0 {
					devices++
				}
			}
			if p.Install.Installs != installs || p.Install.Devices != devices || p.Gained-p.Lost != installs-2 {
				t.Errorf("%+v, and then %d installs on %d devices", p, installs, devices)
			}
		})
	}
}

func TestT6_APreviewOfRingsSaysWhatWaitsForItsRing(t *testing.T) {
	d := newDesk(t)
	d.approve("openssl", "3.0.2", fleet.Root)
	p, err := d.tasks.Preview(t.Context(), d.ada, job("rings", fleet.Root, func(x *task.Task) {
		x.Targets.Groups = []fleet.GroupID{"web", "db"}
		x.Rings = []rollout.Ring{{Name: "one", Groups: []fleet.GroupID{"web"}, SuccessRate: 900}, {Name: "two", Groups: []fleet.GroupID{"db"}, SuccessRate: 900}}
	}))
	if err != nil || p.Ringed.Updates != 1 || p.Ringed.Devices != 3 || p.Install.Updates != 0 || p.Lost != 3 || !strings.Contains(p.Sentence, "1 wait on 3 devices for their ring") {
		t.Errorf("%+v %v", p, err)
	}
}

func TestT2_ASelectionNarrowsThePreview(t *testing.T) {
	d := newDesk(t)
	d.approve("openssl", "3.0.2", fleet.Root)
	p, err := d.tasks.Preview(t.Context(), d.ada, job("sel", fleet.Root, func(x *task.Task) { x.Targets.Selection = `name == "w1"` }))
	if err != nil || p.Devices != 1 || p.Install.Devices != 1 {
		t.Errorf("%+v %v", p, err)
	}
}

func TestT4_ThePlanOfAMomentAsksTheWindowsInTheDevicesOwnZone(t *testing.T) {
	d := newDesk(t)
	d.approve("openssl", "3.0.2", "web")
	d.put(t, d.ada, job("nightly", "web", nightly))
	for at, open := range map[string]bool{"2027-01-05T02:00": true, "2027-01-05T05:59": true, "2027-01-05T06:00": false, "2027-01-05T01:00:00Z": true, "2027-01-05T02:00:00+02:00": false, "2027-07-05T00:00:00Z": true} {
		p, err := d.tasks.PlanAt(t.Context(), d.viewer, "w1", at)
		if err != nil || (len(p.Installs) == 1) != open || (len(p.Waits) == 1) == open || p.Zone != "Europe/Berlin" {
			t.Errorf("%s: %+v %v", at, p, err)
		}
		if !open && p.Waits[0].Opens.IsZero() {
			t.Errorf("%s does not say when it opens: %+v", at, p.Waits[0])
		}
	}
	_, err := d.tasks.PlanAt(t.Context(), d.viewer, "w1", "tomorrow")
	refused(t, err, "time_invalid")
	if _, err = d.tasks.PlanAt(t.Context(), d.viewer, "d1", ""); !errors.Is(err, fault.NotFound) {
		t.Errorf("a device of others: %v", err)
	}
	d.Machine("w2", func(s *indextest.Said) { s.Facts.TimeZone = "" })
	d.Scan("w2")
	_, err = d.tasks.PlanAt(t.Context(), d.viewer, "w2", "2027-01-05T02:00")
	refused(t, err, "zone_unknown")
	if p, err := d.tasks.PlanAt(t.Context(), d.viewer, "w2", "2027-01-05T02:00:00Z"); err != nil || len(p.Installs) != 0 || len(p.Waits) != 1 {
		t.Errorf("an unknown zone holds: %+v %v", p, err)
	}
}

func TestADeviceInQuarantineGetsNothingInPlansAndPreviews(t *testing.T) {
	d := newDesk(t)
	d.approve("openssl", "3.0.2", fleet.Root)
	d.Act("ada", ledger.DeviceState{IDs: []fleet.DeviceID{"w1"}, State: fleet.Quarantined, Reason: "two of them"})
	if p, err := d.tasks.PlanAt(t.Context(), d.viewer, "w1", ""); err != nil || len(p.Installs) != 0 || !strings.Contains(p.Sentence, "quarantined") {
		t.Errorf("%+v %v", p, err)
	}
	if p, err := d.tasks.Preview(t.Context(), d.lead, job("x", "web", nil)); err != nil || p.Install.Devices != 1 || p.Computed != 2 {
		t.Errorf("%+v %v", p, err)
	}
}

func TestCompletionsAndFieldsAreThoseOfTheLanguage(t *testing.T) {
	d := newDesk(t)
	c, err := d.tasks.Complete(t.Context(), d.viewer, "rule", `security && sev`)
	if err != nil || c.Word != "sev" || len(c.Items) != 1 || c.Items[0].Text != "severity" {
		t.Errorf("%+v %v", c, err)
	}
	_, err = d.tasks.Complete(t.Context(), d.viewer, "poem", "x")
	refused(t, err, "value_unknown")
	_, err = d.tasks.Complete(t.Context(), d.viewer, "rule", strings.Repeat("x", 5000))
	refused(t, err, "expression_too_long")
	if e, _ := d.tasks.Expressions(t.Context(), d.viewer); len(e.Updates) == 0 || len(e.Devices) == 0 || len(e.Functions) == 0 {
		t.Errorf("%+v", e)
	}
}
