package cli

import (
	"context"
	"fmt"
	"time"

	"assent/catalog"
	"assent/client"
)

// shownWeeks is how many weeks are shown to people.
const shownWeeks = 12

// trend shows how a group did over time.
func (a *app) trend(ctx context.Context, c *client.Client, q client.TrendQuery) error {
	t, err := c.Trend(ctx, q)
	if err != nil {
		return err
	}
	return a.answer(t, func(p *printer) { showTrend(p, t) })
}

func showTrend(p *printer, t client.Trend) {
	p.line("%s by day (UTC). A day on which nobody took the figures is not there.", t.Name)
	if len(t.Days) == 0 {
		p.line("There are no figures yet: the server takes them once a day, and after changes at most once an hour.")
	} else {
		table := newTable(col("DAY"), col("COMPLIANCE"), num("INSTALLED"), num("APPROVED"), num("RISK"), num("CRITICAL"), num("HIGH"), num("OTHER"), num("REPORTING"), num("SILENT"),
			col("DECIDE"), col("P90"), col("INSTALL"), col("P90"))
		for _, d := range t.Days {
			open := func(s catalog.Severity) int { return d.Undecided[string(s)] }
			table.add(text(d.Day), text(share(d.Compliance)), text(count(d.Compliance.Installed)), text(count(d.Compliance.Approved)), text(count(d.Compliance.Risk)),
				text(count(open(catalog.Critical))), text(count(open(catalog.High))), text(count(open(catalog.Medium)+open(catalog.Low)+open(catalog.Unrated))),
				text(count(d.Reporting)), text(count(d.Silent)), text(took(d.Decision, d.Decision.Median)), text(took(d.Decision, d.Decision.P90)),
				text(took(d.Install, d.Install.Median)), text(took(d.Install, d.Install.P90)))
		}
		p.table(table)
		p.line("CRITICAL, HIGH and OTHER are undecided; DECIDE is from release to decision, INSTALL from there, half of the cases of the 30 days before.")
	}
	p.title("By week")
	table := newTable(col("MONDAY"), num("FIRST SEEN"), num("APPROVED"), num("DECLINED"))
	for _, w := range t.Weeks[max(0, len(t.Weeks)-shownWeeks):] {
		table.add(text(w.Monday), text(count(w.Seen)), text(count(w.Approved)), text(count(w.Declined)))
	}
	p.table(table)
}

// share is the figure of compliance, never rounded up. Nothing approved is no figure.
func share(c client.Compliance) string {
	figure, ok := c.Share()
	if !ok || c.Approved == 0 {
		return "nothing approved"
	}
	return fmt.Sprintf("%d %%", int(100*figure))
}

// took is a length of time; "-" where there was no case.
func took(t client.TrendTime, d time.Duration) string {
	switch {
	case t.Cases == 0:
		return "-"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%.1f h", d.Hours())
	}
	return fmt.Sprintf("%.1f days", d.Hours()/24)
}
