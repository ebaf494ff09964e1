package cli

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"assent/approval"
	"assent/client"
)

func (a *app) update() *cobra.Command {
	c := sub("update", "See, approve and decline updates",
		a.updateList(), a.updateShow(), a.approve(), a.decline(), a.undefine(), a.rollback(), a.updateAgreements(), a.except(), a.exceptions(), a.unexcept())
	c.Aliases = []string{"updates"}
	c.Long = `See, approve and decline updates.

An update is the release of a source package. Name it by its short id, its package URL or name@version.
--group says where: a decision counts in that group and all below it; the root group is the default.`
	return c
}

func (a *app) updateList() *cobra.Command {
	var f filterFlags
	var page pageFlags
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the updates that any device could take",
		Example: `  assent update list --needed --status undefined --sort -severity
  assent update list --security --group Web --search openssl
  assent update list --state failed,blocked --json`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if err := a.useView(cmd, c, "updates"); err != nil {
				return err
			}
			list, err := pages(cmd.Context(), page, func(ctx ctx, p client.Page) (client.List[client.UpdateRow], error) {
				return c.Updates(ctx, f.filter(), p)
			})
			if err != nil {
				return err
			}
			return a.answer(list, func(p *printer) { a.showUpdates(p, list) })
		},
	}
	addFilter(c, &f, "see counts and statuses from this group (id or name)")
	addPage(c, &page, "name, version, status, class, severity, origin, needed, installed, first_seen, size")
	a.completeFilter(c)
	return c
}

func (a *app) showUpdates(p *printer, list client.List[client.UpdateRow]) {
	if len(list.Items) > 0 {
		t := newTable(col("ID"), col("STATUS"), col("CLASS"), col("SEVERITY"), flex("NAME", 12), flex("VERSION", 10), flex("ORIGIN", 8),
			num("NEEDED"), num("HAVE"), col("FIRST SEEN"), flex("FLAGS", 8))
		for _, u := range list.Items {
			t.add(text(string(u.ID)), word(string(u.Status)), text(string(u.Class)), word(string(u.Severity)), toned(u.Name, strong), text(u.Version),
				text(strings.Join(u.Origins, " ")), text(strconv.Itoa(u.Needed)), text(strconv.Itoa(u.Installed)), text(a.when(u.FirstSeen)), toned(flags(u), warn))
		}
		p.table(t)
	}
	rest(p, list, "update")
}

// flags are what an administrator should not overlook in a row.
func flags(u client.UpdateRow) string {
	var out []string
	add := func(on bool, word string) {
		if on {
			out = append(out, word)
		}
	}
	add(u.Security, "security")
	add(u.Exploited, "exploited")
	add(u.Revoked, "revoked")
	add(u.Gated != "", "needs-server:"+u.Gated)
	add(len(u.Held) > 0, "held")
	add(u.Agreements > 0, "agreements:"+count(u.Agreements))
	add(u.Verified != "", u.Verified)
	add(u.Changed, "changed")
	add(u.SupersededBy != "", "superseded")
	add(u.Against > 0, "installed-though-declined:"+count(u.Against))
	add(u.Exceptions > 0, "exceptions:"+count(u.Exceptions))
	add(u.Failed > 0, "failed:"+count(u.Failed))
	add(u.Blocked > 0, "blocked:"+count(u.Blocked))
	add(u.Phased > 0 && u.Phased < 100, "phased:"+count(u.Phased)+"%")
	return strings.Join(out, " ")
}

func (a *app) updateShow() *cobra.Command {
	var group string
	c := &cobra.Command{
		Use: "show UPDATE", Short: "Show everything about an update",
		Example: `  assent update show u0abc12345678
  assent update show openssl@3.0.17-1~deb12u3 --group Web`,
		Args: args(1, 1, "an update"), ValidArgsFunction: a.completeUpdates(1),
		RunE: func(cmd *cobra.Command, refs []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			u, err := c.Update(cmd.Context(), refs[0], group)
			if err != nil {
				return err
			}
			return a.answer(u, func(p *printer) { a.showUpdate(p, u) })
		},
	}
	c.Flags().StringVarP(&group, "group", "g", "", "as seen from this group (id or name)")
	a.completeGroup(c, "group")
	return c
}

func (a *app) showUpdate(p *printer, u client.UpdateDetail) {
	status := string(u.Status)
	p.fields("Update", u.Name+" "+u.Version, "ID", string(u.ID), "Package URL", u.PURL, "Status", status, "Class", string(u.Class),
		"Severity", string(u.Severity), "Origins", strings.Join(u.Origins, ", "), "First seen", a.exactly(u.FirstSeen), "Size", size(u.Size),
		"Summary", u.Summary, "Flags", flags(u.UpdateRow), "Superseded by", string(u.SupersededBy), "Needed by", many(u.Needed, "device"),
		"Installed on", many(u.Installed, "device"))
	showPublished(p, u)
	for _, c := range u.Conflicts {
		p.line("%s comes with different contents and cannot be approved: %s", c.Key, strings.Join(c.Digests, ", "))
	}
	a.showDecisions(p, u)
	if len(u.Devices) > 0 {
		p.title("Devices")
		a.showDeviceUpdates(p, u.Devices, false)
	}
	p.title("Packages (revision " + count(u.Rev) + ")")
	t := newTable(flex("NAME", 12), col("ARCH"), flex("VERSION", 10), col("ROLE"), num("SIZE"), flex("ORIGIN", 8), num("REV"), flex("SHA256", 12))
	for _, it := range u.Items {
		t.add(text(it.Name), text(it.Arch), text(it.Version), text(string(it.Role)), text(size(it.Size)), text(it.Origin), text(count(it.Rev)), text(it.SHA256))
	}
	p.table(t)
}

// showPublished is what the update's feed says of it.
func showPublished(p *printer, u client.UpdateDetail) {
	pub := u.Published
	if pub == nil {
		return
	}
	var requires []string
	for _, r := range pub.Requires {
		requires = append(requires, r.Application+" "+r.Version+" or newer")
	}
	removal := "can be uninstalled"
	if !pub.Removal.Removable {
		removal = strings.TrimSuffix("cannot be uninstalled: "+pub.Removal.Reason, ": ")
	}
	p.fields("Title", pub.Title, "Feed", pub.Feed, "Kind", string(pub.Kind), "Payload", string(pub.Format), "Needs server", pub.MinServer, "Needs agent", pub.MinAgent,
		"Applies to", strings.Join(pub.AppliesTo, " or "), "Requires", strings.Join(requires, ", "), "Supersedes", strings.Join(pub.Supersedes, ", "), "Restart", string(pub.Restart), "Removal", removal,
		"CVEs", strings.Join(pub.CVEs, ", "), "Known exploited", strings.Join(pub.Exploited, ", "))
	if u.Gated != "" {
		p.line("It needs server %s or newer: upgrade the server, then it can be approved.", u.Gated)
	}
	for _, why := range u.Held {
		p.line("This server cannot read all of it (%s), so it is held.", why)
	}
	if pub.Revoked != nil {
		p.line("Its publisher recalled it: %s", pub.Revoked.Reason)
	}
	if u.Agreements > 0 {
		p.line("It has agreements to accept: assent update agreements %s", string(u.ID))
	}
	if pub.Notes != "" {
		p.title("Release notes")
		for line := range strings.Lines(pub.Notes) {
			p.line("  %s", strings.TrimRight(line, "\n"))
		}
	}
}

func (a *app) showDecisions(p *printer, u client.UpdateDetail) {
	if len(u.Decisions) == 0 {
		return
	}
	p.title("Decisions")
	t := newTable(num("ACT"), flex("GROUP", 8), col("STATUS"), col("BY"), col("AT"), col("UNTIL"), flex("REASON", 10), flex("REACH", 8))
	for _, d := range u.Decisions {
		t.add(text(count(int(d.Act))), text(string(d.Scope)), word(string(d.Status)), text(d.By), text(a.when(d.At)), text(a.when(d.Expires)), text(d.Reason), text(reach(d.Reach)))
	}
	for _, e := range u.Exceptions {
		t.add(text(count(int(e.Act))), text(string(e.Scope)), toned("exception", warn), text(e.By), text(a.when(e.At)), text(a.when(e.Expires)), text(e.Reason), text("from act "+count(int(e.Decline))))
	}
	p.table(t)
}

func reach(r approval.Reach) string {
	switch {
	case r.Through != "":
		return "through " + r.Through
	case r.Later:
		return "all later"
	}
	return ""
}

// showDeviceUpdates is where updates stand on devices: by device, or for one device by update.
func (a *app) showDeviceUpdates(p *printer, rows []client.DeviceUpdate, oneDevice bool) {
	t := newTable(flex("DEVICE", 8), flex("GROUP", 6), col("STATE"), col("VERDICT"), flex("FROM", 8), col("SINCE"), flex("DETAIL", 16))
	if oneDevice {
		t = newTable(flex("UPDATE", 8), flex("VERSION", 8), col("STATE"), col("VERDICT"), flex("FROM", 8), col("SINCE"), flex("DETAIL", 16))
	}
	for _, d := range rows {
		x, y := d.DeviceName, d.Group
		if oneDevice {
			x, y = d.Name, d.Version
		}
		t.add(toned(x, strong), text(y), word(string(d.State)), word(string(d.Verdict)), text(d.From), text(a.when(d.Since)), text(remark(d)))
	}
	p.table(t)
}

// remark is what there is to say about a state.
func remark(d client.DeviceUpdate) string {
	var parts []string
	if d.Overdue {
		parts = append(parts, "overdue")
	}
	if d.Against {
		parts = append(parts, "installed though declined")
	}
	if d.Cause != "" {
		parts = append(parts, strings.ReplaceAll(string(d.Cause), "_", " "))
	}
	if d.Detail != "" {
		parts = append(parts, d.Detail)
	}
	if r := d.Rehearsed; r != nil && r.Fails() {
		parts = append(parts, "would fail: "+strings.ReplaceAll(string(r.Cause), "_", " ")+". "+r.Sentence())
	}
	if len(d.Needs) > 0 {
		parts = append(parts, "needs "+strings.Join(d.Needs, ", "))
	}
	if d.How != "" && d.How != "assent" {
		parts = append(parts, "came "+d.How)
	}
	return strings.Join(parts, "; ")
}
