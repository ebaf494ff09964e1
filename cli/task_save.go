package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"assent/client"
	"assent/rollout"
	"assent/task"
)

func (a *app) taskCreate() *cobra.Command {
	var f taskFlags
	var dry bool
	c := &cobra.Command{
		Use: "create [NAME] [-f FILE]", Short: "Make a task",
		Long: `Make a task: from flags, whole from a file, or both. Without --rule it installs what is approved.

What is probably not meant is told when it is saved; --dry-run tells it before, with what would follow.`,
		Example: `  assent task create 'Security after two days' --group Test --rule 'security && age_release >= days(2)' --admits approved-or-undefined
  assent task create 'Patch Tuesday' --group Production --window 'second tuesday plus 3 02:00 for 4h' --zone Europe/Berlin --freeze 'Year end:12-18:01-04' --restart if-required
  assent task create 'In rings' --group 'All devices' --ring 'Test:Test:rate 90%:soak 2d' --ring 'Pilot:Pilot:rate 95%:soak 3d:failures 2' --ring 'Rest:All devices' --dry-run
  assent task recipe patch-tuesday > t.yaml && assent task create -f t.yaml`,
		Args: args(0, 1, ""),
		RunE: func(cmd *cobra.Command, names []string) error {
			t, err := f.read(a, cmd, newTask())
			if err != nil {
				return err
			}
			if len(names) == 1 {
				t.Name = names[0]
			}
			if t.Name == "" {
				return usage("give the task a name, or a file that has one; see %s --help", cmd.CommandPath())
			}
			if t.ID == "" {
				t.ID = slug(t.Name)
			}
			return a.saveTask(cmd.Context(), client.TaskRequest{Task: t, IfVersion: client.NewTask}, "Made", dry)
		},
	}
	f.add(a, c, true)
	c.Flags().BoolVarP(&dry, "dry-run", "n", false, "only show what it would mean")
	return c
}

// newTask is what flags begin with: the default task's care, and nothing of what it is for.
func newTask() task.Task {
	t := task.Default()
	t.ID, t.Name, t.Targets = "", "", task.Targets{}
	return t
}

func (a *app) taskEdit() *cobra.Command {
	var f taskFlags
	var dry bool
	c := &cobra.Command{
		Use: "edit TASK [-f FILE]", Short: "Change a task",
		Long: `Change a task: only what flags say, or the whole task from a file. If somebody else changes it at the same time, the later change is refused.`,
		Example: `  assent task edit nightly --window 'nightly 03:00 for 2h' --retries 3
  assent task edit nightly --ring none
  assent task show nightly --yaml > t.yaml; vi t.yaml; assent task edit nightly -f t.yaml`,
		Args: args(1, 1, "a task"), ValidArgsFunction: a.complete(1, taskNames),
		RunE: func(cmd *cobra.Command, refs []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			old, err := c.Task(cmd.Context(), refs[0])
			if err != nil {
				return err
			}
			t, err := f.read(a, cmd, old.Task)
			if err != nil {
				return err
			}
			if t.ID == "" {
				t.ID = old.Task.ID
			}
			if t.ID != old.Task.ID {
				return usage("the file is of the task %q, not of %q; an id is for ever", clean(t.ID), old.Task.ID)
			}
			return a.saveTask(cmd.Context(), client.TaskRequest{Task: t, IfVersion: old.Version}, "Changed", dry)
		},
	}
	f.add(a, c, false)
	c.Flags().BoolVarP(&dry, "dry-run", "n", false, "only show what it would mean")
	return c
}

func (a *app) taskPreview() *cobra.Command {
	var f taskFlags
	c := &cobra.Command{
		Use: "preview [TASK] [-f FILE]", Short: "Say what a task would mean: what it matches now, what would install where, and when",
		Example: "  assent task preview default\n  assent task preview nightly --rule 'severity >= \"high\"'\n  assent task preview -f new.yaml",
		Args:    args(0, 1, ""), ValidArgsFunction: a.complete(1, taskNames),
		RunE: func(cmd *cobra.Command, refs []string) error {
			base := newTask()
			base.ID, base.Name = "unsaved", "Not saved"
			if len(refs) == 1 {
				c, err := a.connect()
				if err != nil {
					return err
				}
				r, err := c.Task(cmd.Context(), refs[0])
				if err != nil {
					return err
				}
				base = r.Task
			}
			t, err := f.read(a, cmd, base)
			if err != nil {
				return err
			}
			if t.ID == "" {
				t.ID = slug(t.Name)
			}
			return a.saveTask(cmd.Context(), client.TaskRequest{Task: t}, "", true)
		},
	}
	f.add(a, c, false)
	return c
}

// saveTask saves a task, or says what it would mean.
func (a *app) saveTask(ctx ctx, r client.TaskRequest, done string, dry bool) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	if dry {
		seen, err := c.PreviewTask(ctx, r)
		if err != nil {
			return err
		}
		return a.answer(seen, func(p *printer) { a.showTaskPreview(p, seen) })
	}
	saved, err := c.PutTask(ctx, r)
	if err != nil {
		return err
	}
	return a.answer(saved, func(p *printer) { showSaved(p, saved, done) })
}

func showSaved(p *printer, s client.TaskSaved, done string) {
	if s.Unchanged {
		p.line("The task %s is so already.", s.Task.Name)
	} else {
		p.line("%s the task %s (%s, act %d): %s, %s.", done, s.Task.Name, s.Task.ID, s.Act.Act, many(s.Devices, "device"), s.When)
	}
	showWarnings(p, s.Warnings)
}

func showWarnings(p *printer, all []task.Warning) {
	for _, w := range all {
		tone := warn
		if w.Code == task.WarnAdmitsDeclined {
			tone = bad
		}
		p.raw(p.paint(tone, "Warning") + ": " + clean(w.Text) + " [" + clean(string(w.Code)) + ", " + clean(w.Field) + "]\n")
	}
}

func (a *app) showTaskPreview(p *printer, s client.TaskPreview) {
	p.raw(p.paint(strong, clean(s.Sentence)) + "\n")
	showWarnings(p, s.Warnings)
	p.fields("Task", s.Task.Name+" ("+s.Task.ID+")", "Covers", many(s.Devices, "device"), "Downloads", size(s.Install.Download),
		"Comes with it", many(s.Gained, "install"), "Goes with it", lost(s.Lost))
	if len(s.Windows) > 0 {
		p.title("Windows")
		t := newTable(col("ZONE"), num("DEVICES"), flex("WHEN", 20))
		for _, w := range s.Windows {
			zone := w.Zone
			if zone == "" {
				zone = "not known"
			}
			t.add(text(zone), text(count(w.Devices)), text(w.Text))
		}
		p.table(t)
	}
	if len(s.Updates) > 0 {
		p.title("What would install")
		t := newTable(flex("UPDATE", 12), col("ID"), num("DEVICES"))
		for _, u := range s.Updates {
			t.add(toned(u.Name+" "+u.Version, strong), text(string(u.ID)), text(count(u.Devices)))
		}
		p.table(t)
		if more := s.Install.Updates - len(s.Updates); more > 0 {
			p.line("… and %s more.", many(more, "update"))
		}
	}
	if len(s.Removes) > 0 {
		p.title("What would be removed along with it")
		t := newTable(flex("PACKAGE", 12), num("DEVICES"))
		for _, r := range s.Removes {
			t.add(toned(r.Name, warn), text(count(r.Devices)))
		}
		p.table(t)
	}
	if len(s.Held) > 0 {
		p.title("What it admits and something else holds back")
		t := newTable(col("CAUSE"), num("UPDATES"), num("DEVICES"), flex("FOR EXAMPLE", 20))
		for _, h := range s.Held {
			t.add(toned(strings.ReplaceAll(string(h.Cause), "_", " "), warn), text(count(h.Updates)), text(count(h.Devices)), text(h.Detail))
		}
		p.table(t)
	}
}

func lost(n int) string {
	if n == 0 {
		return ""
	}
	return many(n, "install")
}

func (a *app) showTask(p *printer, r client.TaskRow) {
	t := r.Task
	on := "on"
	if !t.Enabled {
		on = "off"
	}
	p.fields("Task", t.Name, "Id", t.ID, "Switched", on, "For", groupNames(r, t.Targets.Groups), "But not", groupNames(r, t.Targets.Exclude), "Selects", t.Targets.Selection,
		"Devices", fmt.Sprint(r.Devices), "When", r.When, "Next window", a.nextWindow(r), "Freezes", freezes(t), "Restart", restarts(t), "On failure", string(t.OnFailure),
		"Options", options(t.Options), "At the same time", concurrent(r), "Version", r.Version)
	p.title("Rules: what any of them admits is installed")
	for i, rule := range t.Rules {
		tone := plain
		if rule.Admits == task.AnyIncludingDeclined {
			tone = bad
		}
		p.raw(fmt.Sprintf("%2d. %s\n", i+1, p.paint(tone, clean(ruleWords(rule)))))
	}
	if len(t.Rules) == 0 {
		p.line("None: the task does nothing.")
	}
	if len(t.Rings) > 0 {
		p.title("Rings")
		for i, ring := range t.Rings {
			p.line("%2d. %s (%s): %s", i+1, ring.Name, groupNames(r, ring.Groups), gate(ring))
		}
	}
	if len(t.Probes) > 0 {
		p.title("What must be well after an install")
		for _, probe := range t.Probes {
			p.line("  %s %s%s%s", string(probe.Type), probe.Unit, probe.Path, port(probe.Port))
		}
	}
}

func port(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" on port %d", n)
}

func freezes(t task.Task) string {
	var out []string
	for _, f := range t.Schedule.Freezes {
		out = append(out, fmt.Sprintf("%s (%s to %s)", f.Name, f.From, f.To))
	}
	return strings.Join(out, ", ")
}

func restarts(t task.Task) string {
	out := strings.ReplaceAll(string(t.Restart.When), "_", " ")
	if t.Restart.Services {
		out = strings.TrimPrefix(out+", services too", ", ")
	}
	return out
}

// concurrent says how many devices may be at it, and how many are.
func concurrent(r client.TaskRow) string {
	if r.Task.MaxConcurrent.None() {
		return ""
	}
	return fmt.Sprintf("%s; now it is the turn of %d", r.Task.MaxConcurrent.Words(), r.Turns)
}

func options(o task.Options) string {
	var out []string
	for _, x := range []struct {
		set  bool
		what string
	}{{o.EarlierFirst, "earlier releases first"}, {o.HoldPrerequisites, "prerequisites are waited for"}, {o.HoldNewMajor, "no new major versions"}, {!o.NewDependencies, "no new dependencies"},
		{o.Removals, "may remove " + strings.Join(o.Removable, " ")}, {o.DownloadOnly, "download only"}, {o.AtShutdown, "at shutdown"},
		{o.StopAfter > 0, "stops after " + o.StopAfter.String()}, {o.Retries.Attempts > 0, many(o.Retries.Attempts, "more attempt")}} {
		if x.set {
			out = append(out, x.what)
		}
	}
	return strings.Join(out, ", ")
}

// gate says what a ring asks for before the next one opens.
func gate(r rollout.Ring) string {
	out := []string{fmt.Sprintf("%s must succeed", percent(r.SuccessRate))}
	for _, x := range []struct {
		set  bool
		what string
	}{{r.MinSample > 0, "of at least " + many(r.MinSample, "device")}, {r.Soak > 0, "for " + r.Soak.String()}, {r.Failures > 0, "halts at " + many(r.Failures, "failure")},
		{r.FailureRate > 0, "halts above " + percent(r.FailureRate) + " failures"}, {r.Silence > 0, "silent after " + r.Silence.String()}, {r.Probes, "with passing probes"},
		{r.Restarted, "after the restart"}, {!r.NotBefore.IsZero(), "not before " + r.NotBefore.Format("2006-01-02 15:04 MST")}, {r.Person, "opened by a person"}, {r.IfEmpty == rollout.EmptySkip, "skipped when empty"}} {
		if x.set {
			out = append(out, x.what)
		}
	}
	return strings.Join(out, ", ")
}

func percent(perMille int) string {
	if perMille%10 == 0 {
		return fmt.Sprintf("%d%%", perMille/10)
	}
	return fmt.Sprintf("%d.%d%%", perMille/10, perMille%10)
}
