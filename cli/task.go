package cli

import (
	"cmp"
	"context"
	"strings"

	"github.com/spf13/cobra"

	"assent/client"
	"assent/fleet"
	"assent/task"
)

func (a *app) task() *cobra.Command {
	c := sub("task", "Say where, when and how updates are installed", a.taskList(), a.taskShow(), a.taskCreate(), a.taskEdit(), a.taskPreview(),
		a.taskSwitch("enable", "Switch a task on", true), a.taskSwitch("disable", "Switch a task off", false), a.taskDelete(), a.taskRecipe(), a.taskFields())
	c.Aliases = []string{"tasks"}
	c.Long = `Approval says what may install. A task says where, when, how carefully, and what then.

Every server begins with one task, "Install approved updates": all devices, at any time. An update is installed once, whatever
number of tasks admit it; of what restricts, the stricter counts. docs/tasks.md explains all of it, and assent task recipe shows tasks that many
people need.`
	return c
}

func (a *app) taskList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the tasks in their order", Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			list, err := c.Tasks(cmd.Context())
			if err != nil {
				return err
			}
			return a.answer(list, func(p *printer) {
				if len(list.Items) > 0 {
					t := newTable(flex("NAME", 16), col("ID"), col("ON"), flex("FOR", 10), num("DEVICES"), flex("ADMITS", 16), flex("WHEN", 16), col("NEXT"), flex("RINGS", 10))
					for _, r := range list.Items {
						t.add(toned(r.Task.Name, strong), text(r.Task.ID), onOff(r.Task.Enabled), text(groupNames(r, r.Task.Targets.Groups)), text(count(r.Devices)),
							admitted(r.Task), text(r.When), text(a.nextWindow(r)), text(ringNames(r.Task)))
					}
					p.table(t)
				}
				rest(p, list, "task")
			})
		},
	}
}

func onOff(on bool) cell {
	if on {
		return toned("on", good)
	}
	return toned("off", faint)
}

// groupNames names groups; one that the caller may not see goes by its id.
func groupNames(r client.TaskRow, groups []fleet.GroupID) string {
	var out []string
	for _, id := range groups {
		if name := r.Groups[id]; name != "" {
			out = append(out, name)
		} else {
			out = append(out, string(id))
		}
	}
	return strings.Join(out, ", ")
}

// admitted says in few words what rules admit. What admits declined updates stands out.
func admitted(t task.Task) cell {
	var out []string
	tone := plain
	for _, r := range t.Rules {
		if r.Admits == task.AnyIncludingDeclined {
			tone = bad
		}
		out = append(out, ruleWords(r))
	}
	if len(out) == 0 {
		return toned("nothing", warn)
	}
	return toned(strings.Join(out, "; or "), tone)
}

func ruleWords(r task.Rule) string {
	status := map[task.Admits]string{task.Approved: "approved", task.ApprovedOrUndefined: "approved or undefined", task.AnyIncludingDeclined: "any, declined too"}[r.Admits]
	if status == "" {
		status = string(r.Admits)
	}
	if r.Criteria != "" {
		return status + ": " + r.Criteria
	}
	return status
}

func ringNames(t task.Task) string {
	var out []string
	for _, r := range t.Rings {
		out = append(out, r.Name)
	}
	return strings.Join(out, " > ")
}

func (a *app) nextWindow(r client.TaskRow) string {
	switch {
	case r.Next == nil:
		return ""
	case r.Next.Open:
		return "open now"
	}
	return a.when(r.Next.Start)
}

func (a *app) taskShow() *cobra.Command {
	var asYAML bool
	c := &cobra.Command{
		Use: "show TASK", Short: "Show a task", Example: "  assent task show default\n  assent task show nightly --yaml > nightly.yaml", Args: args(1, 1, "a task"), ValidArgsFunction: a.complete(1, taskNames),
		RunE: func(cmd *cobra.Command, refs []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			r, err := c.Task(cmd.Context(), refs[0])
			if err != nil {
				return err
			}
			if asYAML && !a.json {
				return a.printYAML(asFile(r))
			}
			return a.answer(r, func(p *printer) { a.showTask(p, r) })
		},
	}
	c.Flags().BoolVar(&asYAML, "yaml", false, "as a file that task create -f and task edit -f read, groups by name")
	return c
}

func (a *app) printYAML(v any) error {
	out, err := toYAML(v)
	if err != nil {
		return err
	}
	p := a.printer()
	p.raw(string(out))
	return p.flush()
}

// asFile is a task with its groups by name, for files.
func asFile(r client.TaskRow) task.Task {
	return withGroups(r.Task, func(id fleet.GroupID) fleet.GroupID { return fleet.GroupID(cmp.Or(r.Groups[id], string(id))) })
}

func (a *app) taskSwitch(verb, short string, on bool) *cobra.Command {
	return &cobra.Command{
		Use: verb + " TASK", Short: short, Example: "  assent task " + verb + " nightly", Args: args(1, 1, "a task"), ValidArgsFunction: a.complete(1, taskNames),
		RunE: func(cmd *cobra.Command, refs []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			saved, err := c.SwitchTask(cmd.Context(), refs[0], client.TaskChange{Enabled: on})
			if err != nil {
				return err
			}
			return a.answer(saved, func(p *printer) { showSaved(p, saved, map[bool]string{true: "Switched on", false: "Switched off"}[on]) })
		},
	}
}

func (a *app) taskDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete TASK", Aliases: []string{"rm"}, Short: "Delete a task", Long: "Delete a task. What it installs at that moment is finished; how far its updates were through its rings is forgotten.", Example: "  assent task delete nightly",
		Args: args(1, 1, "a task"), ValidArgsFunction: a.complete(1, taskNames),
		RunE: func(cmd *cobra.Command, refs []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			act, err := c.DeleteTask(cmd.Context(), refs[0])
			if err != nil {
				return err
			}
			return a.answer(act, func(p *printer) { p.line("Deleted the task %s (act %d).", refs[0], act.Act) })
		},
	}
}

func taskNames(ctx context.Context, c *client.Client, _ string) []string {
	list, _ := c.Tasks(ctx)
	var out []string
	for _, r := range list.Items {
		out = append(out, choice(r.Task.ID, r.Task.Name))
	}
	return out
}

// completeExpression completes the expression of a flag: what the shell has of it stays before what the server proposes.
func (a *app) completeExpression(kind string) completer {
	return func(cmd *cobra.Command, given []string, start string) ([]string, cobra.ShellCompDirective) {
		out, _ := a.complete(0, func(ctx context.Context, c *client.Client, start string) []string {
			list, _ := c.CompleteExpression(ctx, kind, start)
			var out []string
			for _, i := range list.Items {
				out = append(out, choice(strings.TrimSuffix(start, list.Word)+i.Text, i.Doc))
			}
			return out
		})(cmd, given, start)
		return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

func (a *app) taskFields() *cobra.Command {
	var devices bool
	c := &cobra.Command{
		Use: "fields", Short: "List what the expressions of rules and selections may say", Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			e, err := c.Expressions(cmd.Context())
			if err != nil {
				return err
			}
			return a.answer(e, func(p *printer) {
				fields := e.Updates
				if devices {
					fields = e.Devices
				}
				t := newTable(col("FIELD"), col("TYPE"), flex("MEANS", 20), flex("VALUES", 10))
				for _, f := range fields {
					t.add(toned(f.Name, strong), text(string(f.Type)), text(f.Doc), text(strings.Join(f.Values, ", ")))
				}
				p.table(t)
				p.title("What they may call")
				t = newTable(col("CALL"), flex("MEANS", 20))
				for _, f := range e.Functions {
					t.add(toned(f.Name, strong), text(f.Doc))
				}
				p.table(t)
			})
		},
	}
	c.Flags().BoolVar(&devices, "devices", false, "of selections, over devices, instead of rules")
	return c
}
