package cli

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"assent/approval"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/task"
)

func (a *app) apply() *cobra.Command {
	var file string
	var prune, yes, dry, schema bool
	c := &cobra.Command{
		Use: "apply -f FILE", Short: "Make groups, tasks, decisions and exceptions as a file says",
		Long: `Make the server as a file says: groups, tasks with their rings, decisions and exceptions. It shows what changes first, and asks on a terminal.
Everything goes through the same acts as by hand, one after another; if one is refused it stops there, and applying the same file again goes on. What
the file does not name stays, unless --prune: then other tasks and groups are deleted; decisions never are.`,
		Example: "  assent export > fleet.yaml\n  assent diff -f fleet.yaml\n  assent apply -f fleet.yaml\n  assent apply --schema > fleet.schema.json",
		Args:    args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if schema {
				return a.answer(fleetSchema(), func(p *printer) { p.raw(indented(fleetSchema()) + "\n") })
			}
			c, steps, err := a.steps(cmd.Context(), file, prune)
			if err != nil {
				return err
			}
			if dry {
				return a.answer(steps, func(p *printer) { a.showSteps(p, steps) })
			}
			if err := a.agreed(steps, yes); err != nil {
				return err
			}
			made, err := a.make(cmd.Context(), c, steps)
			if err != nil {
				return err
			}
			return a.answer(steps, func(p *printer) {
				a.showSteps(p, steps)
				p.line("Made %s.", many(made, "change"))
			})
		},
	}
	fs := c.Flags()
	fs.StringVarP(&file, "file", "f", "", "the file, YAML or JSON; - is the standard input")
	fs.BoolVar(&prune, "prune", false, "delete tasks and groups that the file does not name")
	fs.BoolVarP(&yes, "yes", "y", false, "do not ask")
	fs.BoolVarP(&dry, "dry-run", "n", false, "only show what would change")
	fs.BoolVar(&schema, "schema", false, "print the JSON schema of the file, for editors")
	return c
}

func (a *app) diff() *cobra.Command {
	var file string
	var prune, check, named bool
	c := &cobra.Command{
		Use: "diff -f FILE", Short: "Show how the server differs from a file of groups, tasks, decisions and exceptions",
		Long:    "Show how the server differs from a file, and who acted last on what differs. Of what the file does not name, tasks and groups are shown too.",
		Example: "  assent diff -f fleet.yaml\n  assent diff -f fleet.yaml --check   # exit code 11 if anything differs",
		Args:    args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, steps, err := a.steps(cmd.Context(), file, prune)
			if err != nil {
				return err
			}
			if named {
				steps = namedSteps(steps)
			}
			if err := a.answer(steps, func(p *printer) { a.showSteps(p, steps) }); err != nil || !check || len(steps) == 0 {
				return err
			}
			return fault.New(failed, "drift", "The server differs from the file: %s.", many(len(steps), "difference"))
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "the file, YAML or JSON; - is the standard input")
	c.Flags().BoolVar(&prune, "prune", false, "as apply --prune would do it")
	c.Flags().BoolVar(&named, "named", false, "only what the file names: not what is on the server and not in the file")
	c.MarkFlagsMutuallyExclusive("named", "prune")
	c.Flags().BoolVar(&check, "check", false, "end with exit code 11 if anything differs")
	return c
}

// namedSteps leaves out what the file does not name.
func namedSteps(steps []step) []step {
	return slices.DeleteFunc(steps, func(s step) bool { return s.Verb == "only" })
}

func (a *app) steps(ctx context.Context, file string, prune bool) (*client.Client, []step, error) {
	f, err := a.readFleet(file)
	if err != nil {
		return nil, nil, err
	}
	c, err := a.connect()
	if err != nil {
		return nil, nil, err
	}
	steps, err := compare(ctx, c, f, prune)
	return c, append([]step{}, steps...), err
}

// make carries the steps out, and says how far it came.
func (a *app) make(ctx context.Context, c *client.Client, steps []step) (int, error) {
	made, err := carryOut(ctx, c, steps)
	if err != nil {
		fmt.Fprintf(a.Err, "assent: made %d of %d changes, then one was refused; do the same again when that is mended\n", made, toMake(steps))
	}
	return made, err
}

func toMake(steps []step) (n int) {
	for _, s := range steps {
		if s.do != nil {
			n++
		}
	}
	return n
}

func (a *app) showSteps(p *printer, steps []step) {
	for _, s := range steps {
		sign, tone := "~", warn
		switch s.Verb {
		case "create":
			sign, tone = "+", good
		case "delete":
			sign, tone = "-", bad
		case "only":
			sign, tone = "?", faint
		}
		p.raw(p.paint(tone, sign+" "+s.Kind+" "+clean(s.Name)) + "\n")
		for _, line := range s.Lines {
			p.line("    %s", line)
		}
		if s.Last != nil {
			p.line("    last changed by %s on %s (act %d)", s.Last.By, a.when(s.Last.At), s.Last.Act)
		}
	}
	if len(steps) == 0 {
		p.line("Nothing differs.")
	}
}

// agreed asks on a terminal before anything is changed.
func (a *app) agreed(steps []step, yes bool) error {
	n := toMake(steps)
	if yes || n == 0 {
		return nil
	}
	if !a.Ask {
		return usage("nobody can be asked; look with --dry-run, then give --yes")
	}
	p := a.printerTo(a.Err, a.Width)
	a.showSteps(p, steps)
	if err := p.flush(); err != nil {
		return err
	}
	fmt.Fprintf(a.Err, "Make %s? [y/N] ", many(n, "change"))
	line, _ := bufio.NewReader(a.In).ReadString('\n') // no answer is no
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return usage("nothing was done")
	}
	return nil
}

func (a *app) export() *cobra.Command {
	var decisions bool
	c := &cobra.Command{
		Use: "export", Short: "Write groups and tasks, and decisions if asked, as a file for apply and diff",
		Example: "  assent export > fleet.yaml\n  assent export --decisions > all.yaml", Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			f, err := exported(cmd.Context(), c, decisions)
			if err != nil {
				return err
			}
			if a.json {
				return a.answer(f, nil)
			}
			return a.printYAML(f)
		},
	}
	c.Flags().BoolVar(&decisions, "decisions", false, "with the decisions on updates, and exceptions")
	return c
}

// exported is the server as a file.
func exported(ctx context.Context, c *client.Client, decisions bool) (fleetFile, error) {
	now, err := readNow(ctx, c)
	f := fleetFile{Version: fleetVersion}
	if err != nil {
		return f, err
	}
	for _, g := range now.groups {
		if g.ID == fleet.Root && g.Guard == fleet.Inherit && !g.Test { // as every server begins
			continue
		}
		out := fileGroup{Name: g.Name, Guard: g.Guard, Test: g.Test}
		if g.Parent != fleet.Root && g.ID != fleet.Root {
			out.Parent = now.name(g.Parent)
		}
		f.Groups = append(f.Groups, out)
	}
	for _, r := range now.tasks {
		if r.Task.ID == task.DefaultID && len(differences(asFile(r), task.Default())) == 1 { // the group's name
			continue
		}
		f.Tasks = append(f.Tasks, asFile(r))
	}
	if !decisions {
		return f, nil
	}
	for _, x := range now.except {
		if !x.Expired {
			f.Exceptions = append(f.Exceptions, fileException{Update: string(x.Update), Group: x.ScopeName, Reason: x.Reason, Expires: x.Expires})
		}
	}
	f.Decisions, err = exportedDecisions(ctx, c, now)
	return f, err
}

// maxExport bounds the updates whose decisions are written: each is asked for by itself.
const maxExport = 5000

func exportedDecisions(ctx context.Context, c *client.Client, now fleetNow) ([]fileDecision, error) {
	seen := map[string]bool{}
	var out []fileDecision
	for _, g := range now.groups {
		page := client.Page{Limit: 1000}
		for {
			list, err := c.Updates(ctx, client.Filter{Group: string(g.ID), Status: []approval.Status{approval.Approved, approval.Declined}}, page)
			if err != nil {
				return nil, err
			}
			for _, u := range list.Items {
				if seen[string(u.ID)] {
					continue
				}
				if seen[string(u.ID)] = true; len(seen) > maxExport {
					return nil, fault.New(fault.TooLarge, "export_too_large", "There are decisions on more than %d updates; the ledger has them all: `assent ledger export`.", maxExport)
				}
				detail, err := c.Update(ctx, string(u.ID), "")
				if err != nil {
					return nil, err
				}
				for _, d := range detail.Decisions {
					if d.Update == u.ID {
						out = append(out, fileDecision{Update: string(u.ID), Status: d.Status, Group: groupRef(now, d.Scope), Reason: d.Reason, Expires: d.Expires, Reach: d.Reach})
					}
				}
			}
			if list.Next == "" {
				break
			}
			page.Cursor = list.Next
		}
	}
	slices.SortFunc(out, func(x, y fileDecision) int { return strings.Compare(x.Update+x.Group, y.Update+y.Group) })
	return out, nil
}

func groupRef(now fleetNow, id fleet.GroupID) string {
	if id == fleet.Root {
		return ""
	}
	return now.name(id)
}
