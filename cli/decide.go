package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"assent/approval"
	"assent/client"
)

// ctx is short for what every call takes.
type ctx = context.Context

// act is a decision being made: the flags that approve, decline and undefine share.
type act struct {
	filterFlags
	status   approval.Status
	reason   string
	expires  string
	reach    string
	dryRun   bool
	matching bool
	yes      bool
	older    bool
	lift     bool
	accept   bool
	wait     bool
	timeout  time.Duration
}

func (a *app) approve() *cobra.Command {
	d := &act{status: approval.Approved}
	c := &cobra.Command{
		Use: "approve [UPDATE…]", Short: "Approve updates: they are installed where they apply",
		Long: `Approve updates in a group and all below it. Exactly the versions and files on record are approved, with the
packages that come along; what changes later has to be approved again.`,
		Example: `  assent update approve u0abc12345678 --group Test --wait
  assent update approve --all-matching --security --needed --dry-run
  assent update approve openssl@3.0.17-1~deb12u3 --reason "tested in Test" --expires 30d`,
		ValidArgsFunction: a.completeUpdates(0),
		RunE:              func(cmd *cobra.Command, refs []string) error { return a.decide(cmd.Context(), d, refs) },
	}
	a.addAct(c, d)
	c.Flags().BoolVar(&d.older, "allow-superseded", false, "approve it although a newer release is known")
	c.Flags().BoolVar(&d.lift, "lift", false, "lift a decline that stands in this very group; never in bulk")
	c.Flags().BoolVar(&d.accept, "accept-agreements", false, "accept the updates' licence agreements, as `assent update agreements` shows them")
	c.Flags().BoolVar(&d.wait, "wait", false, "follow until it is installed on all connected devices, or fails")
	c.Flags().DurationVar(&d.timeout, "timeout", 30*time.Minute, "with --wait: stop following after this time")
	return c
}

func (a *app) decline() *cobra.Command {
	d := &act{status: approval.Declined}
	c := &cobra.Command{
		Use: "decline [UPDATE…]", Short: "Decline updates: they stay out",
		Long: `Decline updates in a group and all below it. Nothing but lifting the decline by name, or an exception, lets them
in again. What a package manager installed stays where it is and is listed; "assent update rollback" puts the version before
back. Applications of feeds go back by themselves to the version that the device had before, or are removed if it had none.`,
		Example: `  assent update decline u0abc12345678 --reason "breaks the printer"
  assent update decline linux@6.1.90-1 --reach later --expires 30d --group Web
  assent update decline u0abc12345678 --reach through:3.0.20-1`,
		ValidArgsFunction: a.completeUpdates(0),
		RunE:              func(cmd *cobra.Command, refs []string) error { return a.decide(cmd.Context(), d, refs) },
	}
	a.addAct(c, d)
	c.Flags().StringVar(&d.reach, "reach", "this", "this: only this version; later: and all later ones; through:VERSION: up to that one")
	return c
}

func (a *app) undefine() *cobra.Command {
	d := &act{status: approval.Undefined}
	c := &cobra.Command{
		Use: "undefine [UPDATE…]", Short: "Take back a decision: the updates are undecided again",
		Long:              `Take back the approval or decline that stands in this very group. What is above it then counts again.`,
		Example:           `  assent update undefine u0abc12345678 --group Test`,
		ValidArgsFunction: a.completeUpdates(0),
		RunE:              func(cmd *cobra.Command, refs []string) error { return a.decide(cmd.Context(), d, refs) },
	}
	a.addAct(c, d)
	return c
}

func (a *app) addAct(c *cobra.Command, d *act) {
	addFilter(c, &d.filterFlags, "the group (id or name) in which the decision counts, with all below; the root by default")
	c.Flags().StringVar(&d.reason, "reason", "", "why, for the ledger")
	c.Flags().StringVar(&d.expires, "expires", "", "when the decision stops counting: a date, or a span like 30d")
	c.Flags().BoolVarP(&d.dryRun, "dry-run", "n", false, "only show what would happen")
	c.Flags().BoolVar(&d.matching, "all-matching", false, "all updates that the filter flags select")
	c.Flags().BoolVarP(&d.yes, "yes", "y", false, "do not ask")
	a.completeFilter(c)
}

// request builds what is asked of the server.
func (a *app) request(d *act, refs []string) (client.Decide, error) {
	r := client.Decide{Updates: refs, Scope: d.group, Status: d.status, Reason: d.reason, Lift: d.lift, DryRun: d.dryRun, AllowSuperseded: d.older}
	var err error
	switch {
	case d.matching && len(refs) > 0:
		return r, usage("name updates, or give --all-matching, and not both")
	case !d.matching && len(refs) == 0:
		return r, usage("name at least one update, or give --all-matching with filter flags")
	case !d.matching && d.any():
		return r, usage("filter flags only count with --all-matching")
	case d.matching && !d.any():
		return r, usage("--all-matching needs at least one filter flag, such as --security or --search")
	case d.matching && d.accept:
		return r, usage("agreements are accepted for named updates, never in bulk")
	case d.matching && d.lift:
		return r, usage("a decline is lifted by name, never in bulk")
	}
	if d.matching {
		f := d.filter()
		r.Matching = &f
	}
	if r.Expires, err = a.until(d.expires); err != nil {
		return r, err
	}
	switch through, ok := strings.CutPrefix(d.reach, "through:"); {
	case ok && through != "":
		r.Reach = approval.Reach{Later: true, Through: through}
	case d.reach == "later":
		r.Reach = approval.Reach{Later: true}
	case d.reach != "" && d.reach != "this":
		return r, usage("--reach is this, later or through:VERSION, not %q", clean(d.reach))
	}
	return r, nil
}

func (a *app) decide(ctx ctx, d *act, refs []string) error {
	r, err := a.request(d, refs)
	if err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	if d.matching && !d.dryRun && !d.yes {
		if err := a.confirm(ctx, c, r); err != nil {
			return err
		}
	}
	if d.accept {
		if r.AcceptAgreements, err = pendingAgreements(ctx, c, refs); err != nil {
			return err
		}
	}
	before, err := followFrom(ctx, c, d)
	if err != nil {
		return err
	}
	o, err := c.Decide(ctx, r)
	if err != nil {
		return err
	}
	if err := a.answer(o, func(p *printer) { a.showOutcome(p, d, o) }); err != nil || !d.wait || d.dryRun {
		return err
	}
	return a.follow(ctx, c, d, o, before)
}

// followFrom is the number of changes before the act, so that none after it is missed.
func followFrom(ctx ctx, c *client.Client, d *act) (uint64, error) {
	if !d.wait {
		return 0, nil
	}
	now, err := c.Changes(ctx, 0, 0)
	return now.Seq, err
}

// confirm shows what a bulk act would do and asks.
func (a *app) confirm(ctx ctx, c *client.Client, r client.Decide) error {
	if !a.Ask || a.json {
		return usage("this is a bulk act and nobody can be asked; look with --dry-run, then give --yes")
	}
	r.DryRun = true
	o, err := c.Decide(ctx, r)
	if err != nil {
		return err
	}
	p := a.printerTo(a.Err, a.Width)
	a.showOutcome(p, &act{status: r.Status, filterFlags: filterFlags{group: r.Scope}}, o)
	if err := p.flush(); err != nil {
		return err
	}
	fmt.Fprintf(a.Err, "Do this for %s? [y/N] ", many(len(o.Changed), "update"))
	line, err := bufio.NewReader(a.In).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return usage("nothing was done")
	}
	return nil
}

func where(group string) string {
	if group == "" {
		return "All devices"
	}
	return group
}

// showOutcome says what an act did, or would do, and how to undo it.
func (a *app) showOutcome(p *printer, d *act, o client.Outcome) {
	done := map[approval.Status]string{approval.Approved: "Approved", approval.Declined: "Declined", approval.Undefined: "Undefined"}[d.status]
	if o.DryRun {
		done = map[approval.Status]string{approval.Approved: "Would approve", approval.Declined: "Would decline", approval.Undefined: "Would undefine"}[d.status]
	}
	switch {
	case len(o.Changed) == 0:
		p.line("Nothing changes in %s.", where(d.group))
	case o.Act > 0:
		p.line("%s %s in %s (act %d).", done, refs(o.Changed), where(d.group), o.Act)
	default:
		p.line("%s %s in %s.", done, refs(o.Changed), where(d.group))
	}
	if len(o.Changed) > 0 {
		a.showPreview(p, o.Preview)
	}
	if len(o.Skipped) > 0 {
		p.title("Left alone")
		t := newTable(col("ID"), flex("NAME", 10), flex("VERSION", 8), col("CODE"), flex("WHY", 20))
		for _, s := range o.Skipped {
			t.add(text(string(s.ID)), text(s.Name), text(s.Version), toned(s.Code, warn), text(s.Message))
		}
		p.table(t)
	}
	if !o.DryRun && o.Act > 0 && d.status != approval.Undefined {
		p.line("Undo: %s", undo(d, o.Changed))
	}
}

// refs names up to three updates and counts the rest.
func refs(all []client.UpdateRef) string {
	var names []string
	for _, u := range all[:min(len(all), 3)] {
		names = append(names, clean(u.Name+" "+u.Version))
	}
	if len(all) > 3 {
		return fmt.Sprintf("%d updates (%s, …)", len(all), strings.Join(names, ", "))
	}
	return strings.Join(names, ", ")
}

// undo is the command that takes an act back.
func undo(d *act, changed []client.UpdateRef) string {
	verb := "undefine"
	if d.lift {
		verb = "decline" // what stood there before
	}
	var b strings.Builder
	b.WriteString("assent update " + verb)
	for _, u := range changed[:min(len(changed), 20)] {
		b.WriteString(" " + string(u.ID))
	}
	if len(changed) > 20 {
		b.WriteString(" …")
	}
	if d.group != "" {
		b.WriteString(" --group " + quote(d.group))
	}
	return b.String()
}

// quote makes a word safe for a shell.
func quote(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:@/", r)
	}) {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

func (a *app) showPreview(p *printer, v client.Preview) {
	summary := []string{many(v.Devices, "device") + " affected"}
	add := func(n int, text string) {
		if n > 0 {
			summary = append(summary, text)
		}
	}
	add(v.Offline, fmt.Sprintf("%d of them not connected now", v.Offline))
	add(v.Unclear, fmt.Sprintf("%d of them still working out what apt would change along with it; look again in a moment", v.Unclear))
	add(v.Installs, many(v.Installs, "install"))
	add(v.Withdrawn, many(v.Withdrawn, "planned install")+" withdrawn")
	add(v.Removals, many(v.Removals, "install")+" taken back")
	add(int(min(v.Download, 1)), size(v.Download)+" to download")
	add(v.Restarts, many(v.Restarts, "device")+" to restart afterwards")
	add(v.Permanent, many(v.Permanent, "install")+" that cannot be uninstalled")
	add(v.CannotGoBack, fmt.Sprintf("%d that keep it and cannot be rolled back", v.CannotGoBack))
	add(v.CanGoBack, fmt.Sprintf("%d that keep it until an order rolls it back", v.CanGoBack))
	add(v.Unseen, many(v.Unseen, "device")+" left out of these figures for lack of time")
	p.line("%s.", strings.Join(summary, ", "))
	for _, t := range v.Tasks {
		p.line("  %s, by the task %s, on %s", t.When, t.Task, many(t.Devices, "device"))
	}
	for _, u := range v.Updates {
		showUpdatePreview(p, u)
	}
}

// showUpdatePreview says what is not plain about one update: what comes along, and who does not get it.
func showUpdatePreview(p *printer, u client.PreviewUpdate) {
	if len(u.Extras) > 0 {
		var names []string
		for _, it := range u.Extras[:min(len(u.Extras), 5)] {
			names = append(names, clean(it.Name+" "+it.Version))
		}
		p.line("  %s %s brings %s: %s", u.Name, u.Version, many(len(u.Extras), "new package"), strings.Join(names, ", "))
	}
	for _, it := range u.Removes {
		p.line("  %s %s removes %s %s: its task says that it may", u.Name, u.Version, it.Name, it.Version)
	}
	for _, b := range u.Blocked {
		text := fmt.Sprintf("  %s %s does not install on %s: %s", clean(u.Name), clean(u.Version), clean(few(b.Devices)), strings.ReplaceAll(clean(string(b.Cause)), "_", " "))
		if b.Detail != "" {
			text += ", " + clean(b.Detail)
		}
		p.raw(p.paint(warn, text) + "\n")
		for _, n := range b.Needs {
			p.line("    approve %s too: %s %s", string(n.ID), n.Name, n.Version)
		}
	}
}

// few names up to three and counts the rest.
func few(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, ", ")
}
