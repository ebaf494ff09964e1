package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"assent/client"
	"assent/fleet"
)

func (a *app) group() *cobra.Command {
	c := sub("group", "See and change the tree of groups", a.groupList(), a.groupCreate(), a.groupRename(), a.groupMove(), a.groupTest(), a.groupGuard(), a.groupDelete())
	c.Aliases = []string{"groups"}
	return c
}

func (a *app) groupList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the tree of groups", Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			list, err := c.Groups(cmd.Context())
			if err != nil {
				return err
			}
			return a.answer(list, func(p *printer) {
				t := newTable(flex("NAME", 16), col("ID"), num("DEVICES"), num("WITH BELOW"), num("DECISIONS"), col("GUARD"))
				for _, g := range list.Items {
					guard := strings.ReplaceAll(string(g.GuardHere), "_", " ")
					switch {
					case g.Guard != fleet.Inherit:
					case g.Parent == "":
						guard += " (default)"
					default:
						guard += " (inherited)"
					}
					if g.Test {
						guard += ", test"
					}
					t.add(toned(strings.Repeat("  ", g.Depth)+g.Name, strong), text(string(g.ID)), text(count(g.Devices)), text(count(g.Below)), text(count(g.Decisions)), text(guard))
				}
				p.table(t)
			})
		},
	}
}

func (a *app) groupCreate() *cobra.Command {
	var r client.GroupRequest
	var guard string
	var test bool
	c := &cobra.Command{
		Use: "create NAME", Short: "Create a group", Example: `  assent group create Web --parent Servers
  assent group create Test --guard observe`,
		Args: args(1, 1, "a name"),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			r.Name, r.Guard, r.Test = names[0], guardMode(guard), &test
			g, err := c.CreateGroup(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.answer(g, func(p *printer) { p.line("Created %s (%s).", g.Name, string(g.ID)) })
		},
	}
	c.Flags().StringVar(&r.Parent, "parent", "", "the group above (id or name); the root by default")
	c.Flags().StringVar(&guard, "guard", "", "observe, block-declined or approved-only; as the parent by default")
	c.Flags().BoolVar(&test, "test", false, "its devices try things out first: content is verified on them")
	a.completeGroup(c, "parent")
	return c
}

// groupTest marks a group as one that tries things out first.
func (a *app) groupTest() *cobra.Command {
	var off bool
	c := &cobra.Command{
		Use: "test GROUP", Short: "Mark a group as one whose devices try things out first",
		Long:    "Content sets are verified on the devices of test groups, and of the groups below them, before they go anywhere else.",
		Example: "  assent group test Test\n  assent group test Test --off",
		Args:    args(1, 1, "a group"), ValidArgsFunction: a.completeGroups(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			on := !off
			return a.changeGroup(cmd.Context(), names[0], client.GroupRequest{Test: &on}, map[bool]string{true: "%s tries things out first.", false: "%s is a group like any other."}[on])
		},
	}
	c.Flags().BoolVar(&off, "off", false, "take the mark away")
	return c
}

// guardMode reads a guard mode with dashes or underscores; empty is no change. Unknown ones are for the
// server to refuse.
func guardMode(s string) *fleet.GuardMode {
	if s == "" {
		return nil
	}
	m := fleet.GuardMode(strings.ReplaceAll(s, "-", "_"))
	if m == "inherit" {
		m = fleet.Inherit
	}
	return &m
}

func (a *app) groupRename() *cobra.Command {
	return &cobra.Command{
		Use: "rename GROUP NAME", Short: "Rename a group", Example: "  assent group rename Web Frontend",
		Args: args(2, 2, "a group and its new name"), ValidArgsFunction: a.completeGroups(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.changeGroup(cmd.Context(), names[0], client.GroupRequest{Name: names[1]}, "Renamed %s to "+strings.ReplaceAll(clean(names[1]), "%", "%%")+".")
		},
	}
}

func (a *app) groupMove() *cobra.Command {
	var to string
	c := &cobra.Command{
		Use: "move GROUP", Short: "Move a group, with all below it, under another", Example: "  assent group move Web --to Servers",
		Args: args(1, 1, "a group"), ValidArgsFunction: a.completeGroups(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			if to == "" {
				return usage("say where to with --to GROUP")
			}
			return a.changeGroup(cmd.Context(), names[0], client.GroupRequest{Parent: to}, "Moved %s under "+strings.ReplaceAll(clean(to), "%", "%%")+".")
		},
	}
	c.Flags().StringVar(&to, "to", "", "the new group above (id or name)")
	a.completeGroup(c, "to")
	return c
}

func (a *app) groupGuard() *cobra.Command {
	return &cobra.Command{
		Use: "guard GROUP MODE", Short: "Set what the guard inside the package manager does",
		Long: `Set the guard mode of a group:
  observe         report only
  block-declined  refuse declined and swapped content (the default)
  approved-only   refuse whatever was not approved
  inherit         as the group above`,
		Example: "  assent group guard Web approved-only",
		Args:    args(2, 2, "a group and a mode"),
		ValidArgsFunction: func(cmd *cobra.Command, given []string, start string) ([]string, cobra.ShellCompDirective) {
			if len(given) == 1 {
				return []string{"observe", "block-declined", "approved-only", "inherit"}, cobra.ShellCompDirectiveNoFileComp
			}
			return a.completeGroups(1)(cmd, given, start)
		},
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.changeGroup(cmd.Context(), names[0], client.GroupRequest{Guard: guardMode(names[1])}, "Guard of %s set.")
		},
	}
}

func (a *app) changeGroup(ctx ctx, ref string, r client.GroupRequest, done string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	g, err := c.ChangeGroup(ctx, ref, r)
	if err != nil {
		return err
	}
	return a.answer(g, func(p *printer) { p.line(done, ref) })
}

func (a *app) groupDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete GROUP", Short: "Delete a group that nothing refers to", Example: "  assent group delete Web",
		Args: args(1, 1, "a group"), ValidArgsFunction: a.completeGroups(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			act, err := c.DeleteGroup(cmd.Context(), names[0])
			if err != nil {
				return err
			}
			return a.answer(act, func(p *printer) { p.line("Deleted %s (act %d).", names[0], act.Act) })
		},
	}
}
