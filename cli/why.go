package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"assent/client"
)

func (a *app) why() *cobra.Command {
	return &cobra.Command{
		Use: "why DEVICE UPDATE", Short: "Say why a device gets, or does not get, an update",
		Long:    `Show the verdict on an update on a device with its whole trace, from the same function that decides.`,
		Example: `  assent why web1 openssl@3.0.17-1~deb12u3`,
		Args:    args(2, 2, "a device and an update"), ValidArgsFunction: a.completeWhy,
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			w, err := c.Why(cmd.Context(), names[0], names[1])
			if err != nil {
				return err
			}
			return a.answer(w, func(p *printer) { a.showWhy(p, w) })
		},
	}
}

func (a *app) showWhy(p *printer, w client.Why) {
	p.raw(p.paint(strong, clean(w.Sentence)) + "\n\n")
	p.fields("Update", w.Update.Name+" "+w.Update.Version+" ("+string(w.Update.ID)+")", "Device", w.Device.Name+" in "+w.Device.Group,
		"Verdict", string(w.Verdict.Action), "Status", string(w.Verdict.Status), "State", string(w.State.State), "Detail", remark(w.State),
		"On the device", w.State.From, "Task", w.Verdict.Task, "Beforehand", a.beforehand(w.State.Rehearsed), "Since", a.exactly(w.State.Since), "Due", a.exactly(w.State.Deadline))
	if len(w.Verdict.Reasons) > 0 {
		p.title("How this was decided")
	}
	for i, s := range w.Verdict.Reasons {
		note := ""
		if s.Act > 0 {
			note = fmt.Sprintf(" (act %d)", s.Act)
		}
		p.raw(fmt.Sprintf("%2d. %s %s%s\n", i+1, p.paint(faint, clean(s.Rule)), clean(s.Text), note))
	}
	if len(w.Verdict.Needs) > 0 {
		p.title("Approve these too, and it can go on")
		for _, r := range w.Verdict.Needs {
			p.line("  assent update approve %s   # %s %s", string(r.ID()), r.Name, r.Version)
		}
	}
	if len(w.Verdict.Items) > 0 || len(w.Verdict.Extras) > 0 {
		p.title("What would be installed")
		for _, it := range w.Verdict.Items {
			p.line("  %s  %s", it.Key(), size(it.Size))
		}
		for _, it := range w.Verdict.Extras {
			p.line("  %s  %s  new package", it.Key(), size(it.Size))
		}
		for _, it := range w.Verdict.Removes {
			p.line("  %s  is removed", it.Key())
		}
	}
	if proof := w.State.Proof; proof != nil {
		p.title("Proof from the device")
		p.fields("Transaction", proof.Transaction, "Finished", a.exactly(proof.Finished), "Plan", proof.Plan)
		for _, it := range proof.Items {
			p.line("  %s %s -> %s %s", it.Name, it.Previous, it.Version, it.Status)
		}
	}
}
