package cli

import (
	"strconv"

	"github.com/spf13/cobra"

	"assent/client"
)

func (a *app) pkg() *cobra.Command {
	c := sub("package", "Put applications onto devices that lack them", a.packageList(), a.packageShow(), a.packageCreate(), a.packageDelete(),
		a.packageDownload(), a.packageDeploy(), a.packageDeployments(), a.packageUndeploy())
	c.Aliases = []string{"packages", "pkg"}
	return c
}

func packageNames(ctx ctx, c *client.Client, _ string) []string {
	list, _ := c.Packages(ctx)
	var out []string
	for _, p := range list.Items {
		out = append(out, choice(p.Name, p.Update.Name+" "+p.Update.Version))
	}
	return out
}

// targets completes what a deployment may go to.
func targets(ctx ctx, c *client.Client, start string) []string {
	return append(groups(ctx, c, start), devices(ctx, c, start)...)
}

func (a *app) packageList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the installation packages", Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			list, err := c.Packages(cmd.Context())
			if err != nil {
				return err
			}
			return a.answer(list, func(p *printer) {
				if len(list.Items) > 0 {
					t := newTable(col("ID"), flex("NAME", 12), flex("UPDATE", 12), col("FORMAT"), flex("ENROLS INTO", 8), col("BY"), col("AT"), flex("HELD", 12))
					for _, r := range list.Items {
						held := cell{}
						if r.Refused != nil {
							held = toned(r.Refused.Code, bad)
						}
						t.add(text(r.ID), toned(r.Name, strong), text(r.Update.Name+" "+r.Update.Version), text(string(r.Format)), text(r.Group), text(r.By), text(a.when(r.At)), held)
					}
					p.table(t)
				}
				rest(p, list, "package")
			})
		},
	}
}

func (a *app) packageShow() *cobra.Command {
	return &cobra.Command{
		Use: "show PACKAGE", Short: "Show an installation package with its files and their digests", Example: "  assent package show 'Acme Ledger'", Args: args(1, 1, "an installation package"),
		ValidArgsFunction: a.complete(1, packageNames),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			row, err := c.Package(cmd.Context(), names[0])
			if err != nil {
				return err
			}
			return a.answer(row, func(p *printer) { a.showPackage(p, row) })
		},
	}
}

func (a *app) showPackage(p *printer, r client.PackageRow) {
	p.title(r.Name)
	held := ""
	if r.Refused != nil {
		held = r.Refused.Message + " [" + r.Refused.Code + "]"
	}
	p.fields("Id", r.ID, "Update", r.Update.Name+" "+r.Update.Version+" ("+string(r.Update.ID)+")", "Title", r.Title, "Class", string(r.Class), "Format", string(r.Format),
		"Enrols into", r.Group, "Made", a.exactly(r.At)+" by "+r.By, "Held", held)
	for _, b := range r.Builds {
		p.title(b.Arch + ": " + b.File)
		t := newTable(flex("NAME", 10), flex("VERSION", 8), col("ARCH"), num("SIZE"), col("SHA-256"))
		for _, f := range b.Files {
			t.add(text(f.Name), text(f.Version), text(f.Arch), text(size(f.Size)), text(f.SHA256))
		}
		p.table(t)
	}
}

func (a *app) packageCreate() *cobra.Command {
	var r client.PackageRequest
	c := &cobra.Command{
		Use: "create --update UPDATE", Short: "Make an installation package from an update of a feed",
		Long: `Make an installation package: from then on the application can be deployed to devices that lack it, and downloaded
as one file that installs offline. An update that needs a newer server, was recalled or is declined yields none.

The agent's own package (the application assent-agent of a feed, or with --agent the Debian package that lies in the
directory "packages" of the server's data) downloads as one file that installs the agent on a fresh machine and
enrols it into --group-on-install.`,
		Example: `  assent package create --update ledger-app@2.0 --name 'Ledger'
  assent package create --agent --name 'Agent for Web' --group-on-install Web`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (r.Update == "") == !r.Agent {
				return usage("say what it is made from: --update UPDATE or --agent")
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			row, err := c.CreatePackage(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.answer(row, func(p *printer) {
				p.line("Made the package %s (%s) from %s %s.", quote(row.Name), row.ID, row.Update.Name, row.Update.Version)
				if row.Refused != nil {
					p.line("It is held for now: %s", row.Refused.Message)
				}
				if !row.Enrols {
					p.line("Deploy it: assent package deploy %s --to GROUP --dry-run", quote(row.Name))
				}
				p.line("Download it: assent package download %s", quote(row.Name))
			})
		},
	}
	c.Flags().StringVar(&r.Update, "update", "", "the update (id or name@version)")
	c.Flags().BoolVar(&r.Agent, "agent", false, "instead: Assent's agent, from the Debian package on the server")
	c.Flags().StringVar(&r.Name, "name", "", "its name; made from the application's title and version by default")
	c.Flags().StringVar(&r.Group, "group-on-install", "", "for the agent's package: the group (id or name) that machines enrol into")
	a.completeGroup(c, "group-on-install")
	_ = c.RegisterFlagCompletionFunc("update", a.complete(0, updates))
	return c
}

func (a *app) packageDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete PACKAGE", Aliases: []string{"rm"}, Short: "Delete an installation package; what runs or was deployed stays", Example: "  assent package delete 'Acme Ledger'", Args: args(1, 1, "an installation package"),
		ValidArgsFunction: a.complete(1, packageNames),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			act, err := c.DeletePackage(cmd.Context(), names[0])
			if err != nil {
				return err
			}
			return a.answer(act, func(p *printer) { p.line("Deleted %s (act %d).", names[0], act.Act) })
		},
	}
}

func (a *app) packageUndeploy() *cobra.Command {
	return &cobra.Command{
		Use: "undeploy ACT", Short: "End a deployment: devices that still lack the application do not get it any more",
		Example: "  assent package undeploy 42", Args: args(1, 1, "the number of a deployment"),
		ValidArgsFunction: a.complete(1, func(ctx ctx, c *client.Client, _ string) []string {
			list, _ := c.Deployments(ctx)
			var out []string
			for _, d := range list.Items {
				out = append(out, choice(strconv.FormatInt(d.Act.Act, 10), d.Update.Name+" "+d.Update.Version+" to "+goesTo(d)))
			}
			return out
		}),
		RunE: func(cmd *cobra.Command, ids []string) error {
			id, err := strconv.ParseInt(ids[0], 10, 64)
			if err != nil || id < 1 {
				return usage("%q is not the number of a deployment; see assent package deployments", clean(ids[0]))
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			act, err := c.Undeploy(cmd.Context(), id)
			if err != nil {
				return err
			}
			return a.answer(act, func(p *printer) {
				p.line("Ended the deployment %d (act %d). Devices that have the application keep it.", id, act.Act)
			})
		},
	}
}
