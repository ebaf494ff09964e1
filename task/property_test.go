package task_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"assent/approval"
	"assent/catalog"
	"assent/criteria"
	"assent/fleet"
	"assent/rollout"
	"assent/task"
	"assent/window"
)

// condition is a small criterion with its truth, written a second time: 1 met, 0 not met, -1 not known.
type condition struct {
	source string
	value  func(criteria.Update) int
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

var conditions = []condition{
	{`security`, func(u criteria.Update) int { return truth(u.Security) }},
	{`severity >= "high"`, func(u criteria.Update) int { return truth(u.Severity.Rank() >= catalog.High.Rank()) }},
	{`name == "openssl"`, func(u criteria.Update) int { return truth(u.Name == "openssl") }},
	{`age_seen >= days(2)`, func(u criteria.Update) int { return truth(u.Now.Sub(u.FirstSeen) >= 48*time.Hour) }},
	{`version < "3.0.20"`, func(u criteria.Update) int { return truth(u.Version != "4.0-1") }},
	{`kev`, func(criteria.Update) int { return -1 }},
}

// world is a random set of tasks, with what the reference knows of each rule.
type world struct {
	tasks []task.Task
	rules map[string][][]condition // task -> rule -> criteria, all of them
	sel   map[string]int           // task -> truth of its selection
}

func drawWorld(t *rapid.T) world {
	w := world{rules: map[string][][]condition{}, sel: map[string]int{}}
	groups := []fleet.GroupID{fleet.Root, "test", "lab", "prod", "berlin", "porto"}
	for i := range rapid.IntRange(0, 4).Draw(t, "tasks") {
		tk := with(fmt.Sprintf("t%d", i), rapid.SampledFrom(groups).Draw(t, "group"))
		if i == 0 && rapid.Bool().Draw(t, "default") {
			tk.ID = task.DefaultID
		}
		tk.Enabled = rapid.IntRange(0, 4).Draw(t, "enabled") > 0
		tk.Order = rapid.IntRange(-1, 1).Draw(t, "order")
		if rapid.IntRange(0, 3).Draw(t, "excludes") == 0 {
			tk.Targets.Exclude = []fleet.GroupID{rapid.SampledFrom(groups).Draw(t, "exclude")}
		}
		w.sel[tk.ID] = 1
		if pick := rapid.IntRange(0, 5).Draw(t, "selection"); pick < 3 {
			tk.Targets.Selection = []string{`kernel < "6"`, `os == "rocky"`, `os == "debian"`}[pick]
			w.sel[tk.ID] = pick - 1
		}
		for range rapid.IntRange(0, 3).Draw(t, "rules") {
			all := rapid.SliceOfN(rapid.SampledFrom(conditions), 0, 3).Draw(t, "criteria")
			var sources []string
			for _, c := range all {
				sources = append(sources, c.source)
			}
			tk.Rules = append(tk.Rules, task.Rule{Admits: rapid.SampledFrom([]task.Admits{task.Approved, task.ApprovedOrUndefined, task.AnyIncludingDeclined}).Draw(t, "admits"), Criteria: strings.Join(sources, " && ")})
			w.rules[tk.ID] = append(w.rules[tk.ID], all)
		}
		tk.Options = drawOptions(t)
		w.tasks = append(w.tasks, tk)
	}
	return w
}

func drawOptions(t *rapid.T) task.Options {
	flag := func(name string) bool { return rapid.Bool().Draw(t, name) }
	o := task.Options{EarlierFirst: flag("earlier"), HoldPrerequisites: flag("prerequisites"), HoldNewMajor: flag("major"), NewDependencies: flag("dependencies"), DownloadOnly: flag("download"),
		StopAfter: rollout.Span(rapid.SampledFrom([]time.Duration{0, time.Hour, 2 * time.Hour}).Draw(t, "stop"))}
	o.AtShutdown = !o.DownloadOnly && flag("shutdown")
	if o.Removable = rapid.SampledFrom([][]string{nil, {"a"}, {"b"}, {"a", "b"}}).Draw(t, "removable"); o.Removable != nil {
		o.Removals = true
	}
	if o.Retries.Attempts = rapid.IntRange(0, 3).Draw(t, "attempts"); o.Retries.Attempts > 0 {
		o.Retries.First = rollout.Span(rapid.SampledFrom([]time.Duration{0, time.Minute, time.Hour}).Draw(t, "first"))
	}
	return o
}

func drawUpdate(t *rapid.T) criteria.Update {
	u := update(rapid.SampledFrom([]catalog.Severity{catalog.Unrated, catalog.Low, catalog.High}).Draw(t, "severity"))
	u.Security, u.Name = rapid.Bool().Draw(t, "security"), rapid.SampledFrom([]string{"openssl", "curl"}).Draw(t, "name")
	u.Version = rapid.SampledFrom([]string{"3.0.17-1", "4.0-1"}).Draw(t, "version")
	u.FirstSeen = now.Add(-time.Duration(rapid.IntRange(0, 4).Draw(t, "days")) * 24 * time.Hour)
	return u
}

// admits is the package comment read a second time, as plainly as it can be: 1 admitted, 0 not, -1 not known.
func (w world) admits(tr fleet.Tree, group fleet.GroupID, u criteria.Update, status approval.Status) int {
	path, any := tr.Path(group), 0
	for _, tk := range w.tasks {
		inside := slices.ContainsFunc(tk.Targets.Groups, func(g fleet.GroupID) bool { return slices.Contains(path, g) })
		outside := slices.ContainsFunc(tk.Targets.Exclude, func(g fleet.GroupID) bool { return slices.Contains(path, g) })
		if !tk.Enabled || !inside || outside || w.sel[tk.ID] == 0 {
			continue
		}
		for i, r := range tk.Rules {
			met := 1
			for _, c := range w.rules[tk.ID][i] {
				if v := c.value(u); v == 0 || v < 0 && met == 1 {
					met = v
				}
				if met == 0 {
					break
				}
			}
			statuses := map[task.Admits][]approval.Status{task.Approved: {approval.Approved}, task.ApprovedOrUndefined: {approval.Approved, approval.Undefined}}[r.Admits]
			if r.Admits == task.AnyIncludingDeclined && tr.Test(group) {
				statuses = []approval.Status{approval.Approved, approval.Undefined, approval.Declined}
			}
			if !slices.Contains(statuses, status) || tk.Options.HoldNewMajor && u.Version == "4.0-1" && met == 1 {
				met = 0
			}
			switch {
			case met == 1 && w.sel[tk.ID] == 1:
				return 1
			case met != 0:
				any = -1
			}
		}
	}
	return any
}

var statuses = []approval.Status{approval.Approved, approval.Undefined, approval.Declined}

func TestT1_RulesAreOredAndCriteriaAndedAsTheReferenceSays(t *testing.T) {
	tr := tree(t)
	seen := map[int]int{}
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt)
		s, err := task.NewSet(w.tasks...)
		if err != nil {
			rt.Fatal(err)
		}
		for range 5 {
			group, u, status := rapid.SampledFrom([]fleet.GroupID{"lab", "test", "berlin", "prod"}).Draw(rt, "at"), drawUpdate(rt), rapid.SampledFrom(statuses).Draw(rt, "status")
			here := on(t, s, group)
			a := here.Admit(u, status)
			got := truth(a.Admitted)
			if !a.Admitted && a.Held != "" {
				got = -1
			}
			want := w.admits(tr, group, u, status)
			seen[want]++
			if got != want || a.Admitted == a.Terms.None() || a.Admitted && a.Held != "" {
				rt.Fatalf("%s in %s: %d (held %q), want %d\n%v", status, group, got, a.Held, want, a.Trace())
			}
		}
	})
	if len(seen) != 3 {
		t.Errorf("not every answer was drawn: %v", seen)
	}
}

func TestT1_ADeclinedUpdateIsNeverAdmittedUnlessARuleSaysSoAndTheGroupIsTest(t *testing.T) {
	tr := tree(t)
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt)
		s, err := task.NewSet(w.tasks...)
		if err != nil {
			rt.Fatal(err)
		}
		group := rapid.SampledFrom([]fleet.GroupID{fleet.Root, "lab", "berlin", "porto"}).Draw(rt, "at")
		here := on(t, s, group)
		a := here.Admit(drawUpdate(rt), approval.Declined)
		if !a.Admitted {
			return
		}
		for _, tk := range a.Terms.Tasks() {
			if !tr.Test(group) || !slices.ContainsFunc(tk.Rules, func(r task.Rule) bool { return r.Admits == task.AnyIncludingDeclined }) {
				rt.Fatalf("a declined update is admitted in %s by %+v", group, tk)
			}
		}
	})
}

func TestSet_TheOrderInWhichTasksAreGivenDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt)
		u, status, group := drawUpdate(rt), rapid.SampledFrom(statuses).Draw(rt, "status"), rapid.SampledFrom([]fleet.GroupID{"lab", "berlin"}).Draw(rt, "at")
		one := on(t, set(t, w.tasks...), group)
		other := on(t, set(t, rapid.Permutation(w.tasks).Draw(rt, "again")...), group)
		a, b := one.Admit(u, status), other.Admit(u, status)
		if diff := cmp.Diff(a.Trace(), b.Trace()) + cmp.Diff(a.Terms.Tasks(), b.Terms.Tasks()) + cmp.Diff(a.Terms.Options(), b.Terms.Options()) + cmp.Diff(a.Held, b.Held); diff != "" {
			rt.Fatal(diff)
		}
	})
}

func TestT3_JoinedOptionsAreNeverLooserThanThoseOfAnyTask(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var tasks []task.Task
		for i := range rapid.IntRange(1, 4).Draw(rt, "tasks") {
			tk := with(fmt.Sprintf("t%d", i), fleet.Root, task.Rule{Admits: task.Approved})
			tk.Options = drawOptions(rt)
			tk.Options.HoldNewMajor = false
			tasks = append(tasks, tk)
		}
		here := on(t, set(t, tasks...), "berlin")
		joined := here.Admit(update(catalog.High), approval.Approved).Terms.Options()
		for _, tk := range tasks {
			o := tk.Options
			loose := joined.NewDependencies && !o.NewDependencies || !joined.HoldPrerequisites && o.HoldPrerequisites || !joined.EarlierFirst && o.EarlierFirst || !joined.DownloadOnly && o.DownloadOnly ||
				!joined.AtShutdown && !joined.DownloadOnly && o.AtShutdown || o.StopAfter != 0 && (joined.StopAfter == 0 || joined.StopAfter > o.StopAfter) || o.Retries.Attempts != 0 && joined.Retries.Attempts > o.Retries.Attempts
			for _, name := range []string{"a", "b"} {
				loose = loose || joined.MayRemove(name) && !o.MayRemove(name)
			}
			if mine, ok := o.Retries.Plan().Delay(1); ok {
				all, _ := joined.Retries.Plan().Delay(1)
				loose = loose || all < mine
			}
			if loose {
				rt.Fatalf("joined %+v is looser than %+v", joined, o)
			}
		}
	})
}

func TestT4_JoinedWindowsAreTheIntersection(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var tasks []task.Task
		var alone []window.Windows
		for i := range rapid.IntRange(1, 3).Draw(rt, "tasks") {
			tk := with(fmt.Sprintf("t%d", i), fleet.Root, task.Rule{Admits: task.Approved})
			if rapid.Bool().Draw(rt, "windowed") {
				tk.Schedule = window.Schedule{Rule: "FREQ=DAILY", Start: fmt.Sprintf("2026-01-01T%02d:00", rapid.IntRange(0, 23).Draw(rt, "hour")), Length: window.Duration(time.Duration(rapid.IntRange(1, 20).Draw(rt, "length")) * time.Hour)}
			}
			w, err := window.Parse(tk.Schedule)
			if err != nil {
				rt.Fatal(err)
			}
			tasks, alone = append(tasks, tk), append(alone, w)
		}
		here := on(t, set(t, tasks...), "berlin")
		terms := here.Admit(update(catalog.High), approval.Approved).Terms
		at := now.Add(time.Duration(rapid.IntRange(0, 3*24*60).Draw(rt, "minute")) * time.Minute)
		want := true
		for _, w := range alone {
			want = want && w.At(at, window.UTC(), "d1").Open
		}
		o := terms.At(at, window.UTC(), "d1")
		if o.Open != want {
			rt.Fatalf("open %v, want %v", o.Open, want)
		}
		if o.Open && !o.Until.IsZero() && (terms.At(o.Until, window.UTC(), "d1").Open && len(tasks) == 1 || !terms.At(o.Until.Add(-1), window.UTC(), "d1").Open) {
			rt.Fatalf("until %v", o.Until)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"id":"x","scope":"root","rules":[{"admits":["approved"]}]}`))
	f.Add([]byte(`{"targets":{"groups":["root"]},"rules":[{"admits":"approved","criteria":"kev"}],"schedule":{"rule":"FREQ=DAILY","start":"2026-01-01T02:00","length":"4h"}}`))
	tr := tree(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		tk, err := task.Decode(raw)
		if err != nil {
			return
		}
		if len(task.Validate(tk, tr)) > 0 {
			return
		}
		if _, err := task.NewSet(tk); err != nil {
			t.Fatalf("valid, and does not compile: %v", err)
		}
	})
}

func BenchmarkAdmit(b *testing.B) {
	var tasks []task.Task
	for i := range 10 {
		tasks = append(tasks, with(fmt.Sprintf("t%d", i), fleet.Root, task.Rule{Admits: task.Approved, Criteria: `security && severity >= "high" && age_release >= days(2)`},
			task.Rule{Admits: task.ApprovedOrUndefined, Criteria: `name in ["linux", "curl"] && age_seen >= days(7)`}))
	}
	for name, s := range map[string]task.Set{"default": task.DefaultSet(), "ten_tasks_of_two_rules": set(b, tasks...)} {
		b.Run(name+"/5000_updates", func(b *testing.B) {
			here, u := on(b, s, "berlin"), update(catalog.Low)
			b.ReportAllocs()
			for b.Loop() {
				for range 5000 {
					if here.Admit(u, approval.Undefined).Admitted {
						b.Fatal("admitted")
					}
				}
			}
		})
	}
}
