package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"assent/client"
	"assent/rollout"
)

func (a *app) rollout() *cobra.Command {
	c := sub("rollout", "See how far updates are through the rings of tasks, and halt or resume them", a.rolloutList(), a.rolloutShow(),
		a.rolloutAct(rollout.VerbHalt, "Stop a rollout: no ring is open from now on",
			"Halt a rollout. What is being installed is finished; nothing new begins anywhere until somebody resumes. No reason is needed."),
		a.rolloutAct(rollout.VerbResume, "Let a halted rollout go on",
			"Resume a halted rollout. What failed until now in a ring that halted itself is not counted any more; that ring runs and soaks again."),
		a.rolloutAct(rollout.VerbOpen, "Open a ring that waits for a person",
			"Open a ring that the task has a person open. Its other conditions still hold."),
		a.rolloutAct(rollout.VerbSkip, "Let a rollout go past the ring that it is at, whatever its outcome",
			"Skip the ring that a rollout is at. Its devices may install, and the next ring follows. For administrators; your name and the reason stay with it."),
		a.rolloutAct(rollout.VerbRestart, "Begin a rollout again with its first ring",
			"Begin a rollout again with its first ring, whatever the outcome was."))
	c.Aliases = []string{"rollouts"}
	c.Long = `A task with rings lets an update reach the next ring by the outcome in the ring before, not by the calendar alone. One update in one
task is one rollout. docs/tasks.md says what counts.`
	return c
}

func (a *app) rolloutList() *cobra.Command {
	var q client.RolloutQuery
	var only string
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List rollouts: those that need a person first", Args: args(0, 0, ""),
		Example: "  assent rollout list --only needs_person\n  assent rollout list --task Nightly",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			q.Only = client.RolloutOnly(only)
			list, err := c.Rollouts(cmd.Context(), q)
			if err != nil {
				return err
			}
			return a.answer(list, func(p *printer) {
				if len(list.Items) > 0 {
					t := newTable(flex("UPDATE", 12), flex("TASK", 10), col("PHASE"), flex("RING", 8), col("SUCCEEDED"), col("SINCE"), flex("WHY", 24))
					for _, r := range list.Items {
						t.add(toned(nameOf(r.Update), strong), text(r.Task.Name), phaseCell(r), text(r.Ring), text(r.Rate), text(a.when(r.Since)), text(r.Reason.Text))
					}
					p.table(t)
				}
				rest(p, list, "rollout")
			})
		},
	}
	f := c.Flags()
	f.StringVar(&q.Task, "task", "", "only of this task (id or name)")
	f.StringVar(&q.Update, "update", "", "only of this update (id or name@version)")
	f.StringVar(&only, "only", "", "only those that stand so: halted, needs_person, running or finished")
	_ = c.RegisterFlagCompletionFunc("task", a.complete(0, taskNames))
	_ = c.RegisterFlagCompletionFunc("update", a.complete(0, updates))
	_ = c.RegisterFlagCompletionFunc("only", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var out []string
		for _, o := range client.RolloutOnlies() {
			out = append(out, string(o))
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	})
	return c
}

// completeRollout completes a task, then an update that it rolls out.
func (a *app) completeRollout(cmd *cobra.Command, given []string, start string) ([]string, cobra.ShellCompDirective) {
	return a.complete(2, func(ctx context.Context, c *client.Client, _ string) []string {
		q := client.RolloutQuery{}
		if len(given) > 0 {
			q.Task = given[0]
		}
		list, _ := c.Rollouts(ctx, q)
		var out []string
		for _, r := range list.Items {
			if len(given) == 0 {
				out = append(out, choice(r.Task.Name, r.Task.ID))
			} else {
				out = append(out, choice(string(r.Update.ID), nameOf(r.Update)+", "+string(r.Phase)))
			}
		}
		return out
	})(cmd, given, start)
}

// nameOf names an update; one that the server does not know any more by its id.
func nameOf(u client.UpdateRef) string {
	if u.Name == "" {
		return string(u.ID)
	}
	return u.Name + " " + u.Version
}

func phaseCell(r client.RolloutRow) cell {
	switch {
	case r.Phase == client.RolloutHalted:
		return toned("halted", bad)
	case r.NeedsPerson:
		return toned(string(r.Phase)+", needs a person", warn)
	case r.Phase == client.RolloutFinished:
		return toned("finished", good)
	case r.Superseded != nil:
		return toned("superseded", faint)
	}
	return text(string(r.Phase))
}

func (a *app) rolloutShow() *cobra.Command {
	return &cobra.Command{
		Use: "show TASK UPDATE", Short: "Show a rollout: its rings, their outcome and the reasons", Args: args(2, 2, "a task and an update"), ValidArgsFunction: a.completeRollout,
		Example: "  assent rollout show Nightly openssl@3.0.17-1~deb12u3",
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			d, err := c.Rollout(cmd.Context(), names[0], names[1])
			if err != nil {
				return err
			}
			return a.answer(d, func(p *printer) { a.showRollout(p, d) })
		},
	}
}

func (a *app) showRollout(p *printer, d client.RolloutDetail) {
	superseded := ""
	if d.Superseded != nil {
		superseded = nameOf(*d.Superseded)
	}
	halted := ""
	if d.Phase == client.RolloutHalted {
		if halted = a.when(d.Halted); d.By != "" {
			halted += " by " + d.By
		}
	}
	p.fields("Update", nameOf(d.Update)+" ("+string(d.Update.ID)+")", "Task", d.Task.Name, "Phase", string(d.Phase), "Halted", halted, "Ring", d.Ring, "Why", d.Reason.Text,
		"Superseded by", superseded, "Started", a.when(d.Started))
	if len(d.Rings) > 0 {
		t := newTable(flex("RING", 8), col("PHASE"), col("SUCCEEDED"), num("FAILED"), num("SILENT"), num("PENDING"), num("BLOCKED"), num("OTHER MEANS"), col("SOAK"), flex("WHY", 24))
		for _, r := range d.Rings {
			n := r.Progress
			t.add(toned(r.Ring, strong), ringPhase(r.Phase), text(r.Rate), text(count(n.Failed)), text(count(n.Silent)), text(count(n.Pending)), text(count(n.Blocked)),
				text(count(n.Elsewise)), text(soak(r)), text(r.Reason.Text))
		}
		p.title("Rings")
		p.table(t)
	}
	a.showFailures(p, d)
	if len(d.Acts) > 0 {
		t := newTable(col("AT"), col("BY"), col("ACT"), flex("RING", 8), flex("WHY", 24))
		for _, act := range d.Acts {
			t.add(text(a.when(act.At)), text(act.By), text(string(act.Verb)), text(act.Ring), text(act.Why))
		}
		p.title("What people did")
		p.table(t)
	}
}

// soak is how long a ring has to soak and, while it does, for how long it has.
func soak(r client.RolloutRing) string {
	if r.Phase == rollout.Soaking {
		return r.Soaked + " of " + r.Soak
	}
	return r.Soak
}

func (a *app) showFailures(p *printer, d client.RolloutDetail) {
	t := newTable(flex("DEVICE", 8), flex("RING", 8), col("COUNTS AS"), col("SINCE"), flex("WHAT IT SAID", 24))
	n := 0
	for _, r := range d.Rings {
		for _, f := range r.Failures {
			how := toned(string(f.Standing), bad)
			if f.Forgiven {
				how = toned(string(f.Standing)+", forgiven", faint)
			}
			t.add(toned(f.Name, strong), text(r.Ring), how, text(a.when(f.Since)), text(f.Detail))
			n++
		}
	}
	if n > 0 {
		p.title("Devices that failed")
		p.table(t)
	}
}

func ringPhase(ph rollout.Phase) cell {
	switch ph {
	case rollout.Passed:
		return toned("passed", good)
	case rollout.Halted:
		return toned("halted", bad)
	case rollout.Skipped:
		return toned("skipped", warn)
	case rollout.Waiting:
		return toned("waiting", faint)
	}
	return text(string(ph))
}

// rolloutAct is one of the acts on rollouts.
func (a *app) rolloutAct(verb rollout.Verb, short, long string) *cobra.Command {
	r := client.RolloutAct{Verb: verb}
	ringed := verb == rollout.VerbOpen || verb == rollout.VerbSkip
	example := fmt.Sprintf("  assent rollout %s Nightly openssl@3.0.17-1~deb12u3 --reason 'the figures are looked at'", verb)
	if ringed {
		example += " --ring Pilot"
	}
	c := &cobra.Command{
		Use: string(verb) + " TASK UPDATE", Short: short, Long: long, Example: example, Args: args(2, 2, "a task and an update"), ValidArgsFunction: a.completeRollout,
		RunE: func(cmd *cobra.Command, names []string) error {
			if strings.TrimSpace(r.Reason) == "" && verb != rollout.VerbHalt {
				return usage("say why: --reason TEXT; it is kept with your name")
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			r.Task, r.Update = names[0], names[1]
			out, err := c.ActOnRollout(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.answer(out, func(p *printer) { showActed(p, verb, out) })
		},
	}
	c.Flags().StringVar(&r.Reason, "reason", "", "why, for the ledger")
	if ringed {
		c.Flags().StringVar(&r.Ring, "ring", "", "the ring; left out, the one that the rollout is at")
	}
	return c
}

func showActed(p *printer, verb rollout.Verb, out client.RolloutActed) {
	done := map[rollout.Verb]string{rollout.VerbHalt: "Halted", rollout.VerbResume: "Resumed", rollout.VerbOpen: "Opened a ring of", rollout.VerbSkip: "Skipped a ring of", rollout.VerbRestart: "Restarted"}[verb]
	p.line("%s the rollout of %s by %q (act %d).", done, nameOf(out.Rollout.Update), out.Rollout.Task.Name, out.Act.Act)
	for _, t := range out.Transitions {
		if t.Ring != "" && t.From != t.To {
			p.line("Ring %q: %s, was %s.", t.Ring, t.To, t.From)
		}
	}
	p.line("Follow it: assent rollout show %s %s", quote(out.Rollout.Task.Name), out.Rollout.Update.ID)
}
