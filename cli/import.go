package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fault"
	"assent/migrate"
)

func (a *app) imports() *cobra.Command {
	return sub("import", "Carry over what another product decided: apt, AWS patch baselines, WSUS", a.importApt(), a.importAWS(), a.importWSUS())
}

// importing is the flags that all sources share.
type importing struct {
	group, output   string
	apply, yes, dry bool
	a               *app
}

func (a *app) addImport(c *cobra.Command, scoped bool) *importing {
	i := &importing{a: a}
	fs := c.Flags()
	if scoped {
		fs.StringVarP(&i.group, "group", "g", "", "the group for which it counts; the root by default")
		a.completeGroup(c, "group")
	}
	fs.StringVarP(&i.output, "output", "o", "", "write a fleet file for `assent diff -f` and `assent apply -f`; - is the standard output")
	fs.BoolVar(&i.apply, "apply", false, "make it so, as `assent apply` would")
	fs.BoolVarP(&i.yes, "yes", "y", false, "with --apply: do not ask")
	fs.BoolVarP(&i.dry, "dry-run", "n", false, "only show what it would make; so it is without --apply and --output")
	c.Long += `

Without --apply and --output it only shows what it would make, what means something else here, and what cannot be carried over and why.`
	return i
}

// imported is what an import comes to.
type imported struct {
	File    fleetFile      `json:"file"`
	Changes []step         `json:"changes"`
	Notes   []migrate.Note `json:"notes"`
	Made    int            `json:"made"`
}

// run matches the draft with what the server knows, and shows, writes or makes it.
func (i *importing) run(ctx context.Context, draft migrate.Draft) error {
	if i.dry && (i.apply || i.output != "") || i.apply && i.output != "" {
		return usage("give one of --dry-run, --output and --apply")
	}
	c, err := i.a.connect()
	if err != nil {
		return err
	}
	now, err := readNow(ctx, c)
	if err != nil {
		return err
	}
	known, err := knownUpdates(ctx, c, draft, now)
	if err != nil {
		return err
	}
	decisions, notes := draft.Resolve(known)
	out := imported{File: importFile(draft, decisions, now), Changes: []step{}, Notes: append([]migrate.Note{}, slices.Concat(draft.Notes, notes)...)}
	if err := out.File.check(now); err != nil {
		return err
	}
	if i.output != "" {
		return i.write(out)
	}
	steps, err := compare(ctx, c, out.File, false)
	if err != nil {
		return err
	}
	out.Changes = append(out.Changes, namedSteps(steps)...)
	if i.apply {
		if err := i.a.agreed(out.Changes, i.yes); err != nil {
			return err
		}
		if out.Made, err = i.a.make(ctx, c, out.Changes); err != nil {
			return err
		}
	}
	return i.a.answer(out, func(p *printer) { i.show(p, out) })
}

// importFile is a draft as a fleet file. Groups that are there stay as they are.
func importFile(d migrate.Draft, decisions []migrate.Decision, now fleetNow) fleetFile {
	f := fleetFile{Version: fleetVersion, Tasks: d.Tasks}
	for _, g := range d.Groups {
		if _, there := now.group(g.Name); !there {
			f.Groups = append(f.Groups, fileGroup{Name: g.Name, Parent: g.Parent})
		}
	}
	for i := range f.Tasks {
		f.Tasks[i].ID = slug(f.Tasks[i].Name)
	}
	for _, d := range decisions {
		f.Decisions = append(f.Decisions, fileDecision{Update: d.Update, Status: d.Status, Group: d.Group, Reason: d.Reason, Expires: d.Expires, Reach: d.Reach})
	}
	return f
}

// write writes a new file: what is there is nobody's to overwrite.
func (i *importing) write(out imported) error {
	text, err := toYAML(out.File)
	if err != nil {
		return err
	}
	if i.output == "-" {
		p := i.a.printer()
		p.raw(string(text))
		if err := p.flush(); err != nil {
			return err
		}
		return i.notes(out)
	}
	f, err := os.OpenFile(i.output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return fault.New(fault.Conflict, "file_exists", "The file %s is there already; name another one.", clean(i.output))
	}
	if err != nil {
		return usage("the file %s cannot be written: %v", clean(i.output), errors.Unwrap(err))
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", i.output, err)
	}
	return i.a.answer(out, func(p *printer) {
		p.line("Wrote %s: %s.", i.output, contents(out.File))
		p.line("Look at it with `assent diff -f %s`, make it so with `assent apply -f %s`.", quote(i.output), quote(i.output))
		showNotes(p, out.Notes)
	})
}

// notes tells of the notes beside a file on the standard output.
func (i *importing) notes(out imported) error {
	p := i.a.printerTo(i.a.Err, i.a.Width)
	showNotes(p, out.Notes)
	return p.flush()
}

func contents(f fleetFile) string {
	return strings.Join([]string{many(len(f.Groups), "group"), many(len(f.Tasks), "task"), many(len(f.Decisions), "decision")}, ", ")
}

func (i *importing) show(p *printer, out imported) {
	i.a.showSteps(p, out.Changes)
	showNotes(p, out.Notes)
	switch {
	case i.apply:
		p.line("Made %s.", many(out.Made, "change"))
	case len(out.Changes) > 0:
		p.line("Nothing was changed. Make it so with --apply, or write it into a file with --output FILE.")
	}
}

// maxNotes is how many notes of one kind people are shown; --json has them all.
const maxNotes = 40

func showNotes(p *printer, notes []migrate.Note) {
	for _, kind := range []struct {
		kind  migrate.NoteKind
		title string
		tone  tone
	}{{migrate.LeftOut, "Not carried over", bad}, {migrate.NotKnown, "Not known to this server", warn}, {migrate.Differs, "Carried over, and different here", warn}, {migrate.AsIs, "Stays as it is", faint}} {
		var these []migrate.Note
		for _, n := range notes {
			if n.Kind == kind.kind {
				these = append(these, n)
			}
		}
		if len(these) == 0 {
			continue
		}
		p.title(fmt.Sprintf("%s (%d)", kind.title, len(these)))
		for _, n := range these[:min(len(these), maxNotes)] {
			p.raw("  " + p.paint(kind.tone, clean(n.At)) + "\n")
			p.line("    %s", n.Text)
		}
		if len(these) > maxNotes {
			p.line("  and %d more; --json shows all", len(these)-maxNotes)
		}
	}
}

// maxKnown bounds the updates that an import looks at: each is asked for by itself.
const maxKnown = 5000

// knownUpdates are those that the draft may be about, with what decides that.
func knownUpdates(ctx context.Context, c *client.Client, d migrate.Draft, now fleetNow) ([]migrate.Known, error) {
	seen := map[catalog.UpdateID]bool{}
	var out []migrate.Known
	for _, search := range d.Searches() {
		page := client.Page{Limit: 1000}
		for {
			list, err := c.Updates(ctx, client.Filter{Search: search}, page)
			if err != nil {
				return nil, err
			}
			for _, u := range list.Items {
				if seen[u.ID] {
					continue
				}
				if seen[u.ID] = true; len(seen) > maxKnown {
					return nil, fault.New(fault.TooLarge, "import_too_large", "It may be about more than %d updates; import it in parts.", maxKnown)
				}
				detail, err := c.Update(ctx, string(u.ID), "")
				if err != nil {
					return nil, err
				}
				out = append(out, knownUpdate(detail, now))
			}
			if list.Next == "" {
				break
			}
			page.Cursor = list.Next
		}
	}
	return out, nil
}

func knownUpdate(u client.UpdateDetail, now fleetNow) migrate.Known {
	k := migrate.Known{PURL: u.PURL, Name: u.Name, Version: u.Version, Title: u.Title, Origins: u.Origins, Needed: u.Needed}
	for _, it := range u.Items {
		if it.Role == catalog.Own && !slices.Contains(k.Packages, it.Name) {
			k.Packages = append(k.Packages, it.Name)
		}
	}
	if u.Published != nil {
		k.Advisories = u.Published.CVEs
	}
	for _, d := range u.Decisions {
		if d.Update == u.ID && d.Status == approval.Declined {
			k.Declined = append(k.Declined, groupRef(now, d.Scope))
		}
	}
	return k
}

func (a *app) importAWS() *cobra.Command {
	c := &cobra.Command{
		Use: "aws FILE…", Short: "Patch baselines of AWS Systems Manager, as JSON",
		Long: `Carry over patch baselines of AWS Systems Manager: rules become tasks, approved and rejected patches decisions. A rule with a filter that is
nothing here (SECTION, PRIORITY, …) is left out: without the filter it would install more.`,
		Example: `  aws ssm get-patch-baseline --baseline-id pb-0123456789abcdef0 > baseline.json
  assent import aws baseline.json --group Production
  assent import aws baseline.json --group Production -o fleet.yaml`,
		Args: args(1, -1, "a baseline as JSON; - is the standard input"),
	}
	i := a.addImport(c, true)
	c.RunE = func(cmd *cobra.Command, files []string) error {
		return i.files(cmd.Context(), files, func(name string, raw []byte) (migrate.Draft, error) {
			return migrate.Baseline(name, raw, i.group)
		})
	}
	return c
}

func (a *app) importWSUS() *cobra.Command {
	c := &cobra.Command{
		Use: "wsus FILE…", Short: "Approvals of WSUS, as PowerShell exports them",
		Long: `Carry over approvals of WSUS: target groups become groups, approvals and declines become decisions. FILE is what Export-Clixml, Export-Csv or
ConvertTo-Json made of them; docs/migrating.md has the script. Updates are matched by title with version, and by KB number; those that this server
does not know are listed.`,
		Example: "  assent import wsus approvals.xml\n  assent import wsus approvals.csv -o fleet.yaml",
		Args:    args(1, -1, "a file that PowerShell wrote; - is the standard input"),
	}
	i := a.addImport(c, false)
	c.RunE = func(cmd *cobra.Command, files []string) error {
		return i.files(cmd.Context(), files, migrate.Approvals)
	}
	return c
}

// files reads files of one source, one after the other.
func (i *importing) files(ctx context.Context, names []string, read func(string, []byte) (migrate.Draft, error)) error {
	var all migrate.Draft
	for _, name := range names {
		raw, err := i.a.readSource(name)
		if err != nil {
			return err
		}
		d, err := read(shownName(name), raw)
		if err != nil {
			return err
		}
		all.Merge(d)
	}
	return i.run(ctx, all)
}

func shownName(name string) string {
	if name == "-" {
		return "standard input"
	}
	return clean(name)
}
