package cli

import (
	"github.com/spf13/cobra"

	"assent/client"
	"assent/plan"
)

// plan is what a device would do at a moment.
func (a *app) plan() *cobra.Command {
	var device, at string
	var all bool
	c := &cobra.Command{
		Use: "plan --device DEVICE [--at MOMENT]", Short: "Say what a device would do at a moment",
		Long: `Say what a device would do at a moment: what would begin to install, what would wait for its window, what is held and why, by the
facts, decisions and tasks of now. A moment without an offset is on the device's own clock.`,
		Example: `  assent plan --device web1
  assent plan --device web1 --at 2027-01-05T02:00
  assent plan --device web1 --at 2027-01-05T02:00:00+01:00 --json`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if device == "" {
				return usage("say which device with --device DEVICE")
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			r, err := c.PlanAt(cmd.Context(), device, at)
			if err != nil {
				return err
			}
			return a.answer(r, func(p *printer) { a.showPlanAt(p, r, all) })
		},
	}
	c.Flags().StringVar(&device, "device", "", "the device (id or name)")
	c.Flags().StringVar(&at, "at", "", "the moment, like 2027-01-05T02:00; now by default")
	c.Flags().BoolVar(&all, "all", false, "list every verdict, also where nothing is to be done")
	a.completeDeviceFlag(c, "device")
	return c
}

// planWhy is what there is to say about a step, first that it would fail.
func planWhy(s client.PlanStep) string {
	if s.WouldFail != "" {
		return "would fail: " + s.WouldFail
	}
	return s.Why
}

func (a *app) showPlanAt(p *printer, r client.PlanAt, all bool) {
	p.raw(p.paint(strong, clean(r.Sentence)) + "\n")
	for _, part := range []struct {
		title string
		steps []client.PlanStep
	}{{"Begins then", r.Installs}, {"Waits for its window", r.Waits}, {"Goes back", r.Rollbacks}} {
		if len(part.steps) == 0 {
			continue
		}
		p.title(part.title)
		t := newTable(flex("UPDATE", 12), flex("TASK", 12), col("OPENS"), flex("WHY", 20))
		for _, s := range part.steps {
			t.add(toned(s.Name+" "+s.Version, strong), text(s.Task), text(a.when(s.Opens)), text(planWhy(s)))
		}
		p.table(t)
	}
	t := newTable(flex("UPDATE", 12), col("VERDICT"), col("CAUSE"), flex("WHY", 20))
	for _, v := range r.Verdicts {
		if v.Action == plan.Hold || all {
			why := ""
			if n := len(v.Reasons); n > 0 {
				why = v.Reasons[n-1].Text
			}
			t.add(toned(v.Release.Name+" "+v.Release.Version, strong), word(string(v.Action)), text(string(v.Cause)), text(why))
		}
	}
	if len(t.rows) > 0 {
		p.title(map[bool]string{true: "All verdicts", false: "Held"}[all])
		p.table(t)
	}
}
