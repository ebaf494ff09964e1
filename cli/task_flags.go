package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"assent/catalog"
	"assent/client"
	"assent/fleet"
	"assent/rollout"
	"assent/slot"
	"assent/task"
	"assent/window"
	"assent/wire"
)

// taskFlags are the flags that say what a task is. A list that is given replaces the whole list; "none" empties it.
type taskFlags struct {
	file                                                            string
	id, name                                                        string
	order                                                           int
	groups, exclude, rules, freezes, rings, probes, mayRemove       []string
	selection, admits, window, zone, start, spread, missed, restart string
	deadline, stopAfter, onFailure, concurrent                      string
	restartServices, holdMajor, noNewDeps, downloadOnly, atShutdown bool
	earlierFirst, holdPrerequisites, disabled                       bool
	retries, deferrals                                              int
}

func (f *taskFlags) add(a *app, c *cobra.Command, create bool) {
	fs := c.Flags()
	fs.StringVarP(&f.file, "file", "f", "", "the whole task from a file, YAML or JSON; - is the standard input. Flags that are given besides count more")
	if create {
		fs.StringVar(&f.id, "id", "", "its id, for ever; made of the name by default")
		fs.BoolVar(&f.disabled, "disabled", false, "make it, but do not switch it on")
	} else {
		fs.StringVar(&f.name, "name", "", "its new name")
	}
	fs.IntVar(&f.order, "order", 0, "its place among tasks that admit the same update: the smallest leads")
	fs.StringArrayVarP(&f.groups, "group", "g", nil, "a group whose devices, and all below, it is for (id or name; repeat for several)")
	fs.StringArrayVar(&f.exclude, "exclude", nil, "a group that it leaves out, with all below")
	fs.StringVar(&f.selection, "select", "", "an expression that selects devices in its groups")
	fs.StringArrayVar(&f.rules, "rule", nil, "an expression over updates; what any rule admits is installed (repeat for several; '' is every update)")
	fs.StringVar(&f.admits, "admits", "", "which statuses its rules admit: approved (the default), approved-or-undefined, any-including-declined (test groups only)")
	fs.StringVar(&f.window, "window", "", "when installations may start: "+windowHelp)
	fs.StringVar(&f.zone, "zone", "", "the time zone of its windows, such as Europe/Berlin; each device's own by default")
	fs.StringVar(&f.start, "start", "", "the date from which windows count, 2027-01-12; today by default")
	fs.StringArrayVar(&f.freezes, "freeze", nil, "a time in which nothing starts: 'Year end:12-18:01-04'")
	fs.StringVar(&f.spread, "spread", "", "devices start at random up to this much after a window opens")
	fs.StringVar(&f.missed, "missed", "", "what becomes of a window that passed while a device was off: next-window (the default) or at-once")
	fs.StringVar(&f.restart, "restart", "", "never, if-required, always, or ask")
	fs.StringVar(&f.deadline, "ask-for", "", "with --restart ask: after so long nobody is asked any more")
	fs.IntVar(&f.deferrals, "deferrals", 0, "with --restart ask: how often it can be put off")
	fs.BoolVar(&f.restartServices, "restart-services", false, "restart services that still run what was replaced")
	fs.StringArrayVar(&f.rings, "ring", nil, "a ring, in their order: "+ringHelp)
	fs.StringArrayVar(&f.probes, "probe", nil, "what must be well after an install: "+probeHelp)
	fs.StringVar(&f.concurrent, "max-concurrent", "", "how many of its devices install or restart at the same time: 10, 5%, '10 or 5%' (the smaller counts), none")
	fs.StringVar(&f.onFailure, "on-failure", "", "what becomes of an update whose probes fail: none or restore")
	fs.BoolVar(&f.holdMajor, "hold-new-major", false, "do not admit new major versions")
	fs.BoolVar(&f.noNewDeps, "no-new-dependencies", false, "no packages that are not there yet")
	fs.StringArrayVar(&f.mayRemove, "may-remove", nil, "a package that may be removed along with an update, by its name (repeat for several; none alone: nothing)")
	fs.BoolVar(&f.earlierFirst, "earlier-first", false, "install approved earlier releases first, in order")
	fs.BoolVar(&f.holdPrerequisites, "hold-prerequisites", false, "wait for prerequisites instead of calling them in")
	fs.BoolVar(&f.downloadOnly, "download-only", false, "download and do not install")
	fs.BoolVar(&f.atShutdown, "at-shutdown", false, "install when the device shuts down")
	fs.StringVar(&f.stopAfter, "stop-after", "", "begin nothing new so long after the first install of a run")
	fs.IntVar(&f.retries, "retries", 0, "how often a failed install is tried again")
	for _, flag := range []string{"group", "exclude"} {
		a.completeGroup(c, flag)
	}
	for flag, kind := range map[string]string{"rule": "rule", "select": "selection"} {
		_ = c.RegisterFlagCompletionFunc(flag, a.completeExpression(kind))
	}
	for flag, values := range map[string][]string{"admits": {"approved", "approved-or-undefined", "any-including-declined"}, "restart": {"never", "if-required", "always", "ask"},
		"missed": {"next-window", "at-once"}, "on-failure": {"none", "restore"}} {
		_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
}

// read is the task of the file, or else base, with the flags that were given put over it.
func (f *taskFlags) read(a *app, c *cobra.Command, base task.Task) (task.Task, error) {
	t := base
	if f.file != "" {
		raw, err := a.readDocument(f.file)
		if err != nil {
			return t, err
		}
		if t, err = client.ReadTask(raw); err != nil {
			return t, err
		}
	}
	for _, put := range []func(*cobra.Command, *task.Task) error{f.putHead, f.putRules, f.putOptions, f.putProbes} {
		if err := put(c, &t); err != nil {
			return t, err
		}
	}
	return t, f.putSchedule(a, c, &t)
}

func changed(c *cobra.Command, flag string) bool {
	f := c.Flags().Lookup(flag)
	return f != nil && f.Changed
}

func (f *taskFlags) putHead(c *cobra.Command, t *task.Task) error {
	if changed(c, "id") {
		t.ID = f.id
	}
	if changed(c, "name") {
		t.Name = f.name
	}
	if changed(c, "order") {
		t.Order = f.order
	}
	if f.disabled {
		t.Enabled = false
	}
	if changed(c, "group") {
		t.Targets.Groups = ids(f.groups)
	}
	if changed(c, "exclude") {
		t.Targets.Exclude = ids(f.exclude)
	}
	if changed(c, "select") {
		t.Targets.Selection = f.selection
	}
	return nil
}

// emptied is a list of a flag; "none" alone empties it.
func emptied(list []string) []string {
	if slices.Equal(list, []string{"none"}) {
		return nil
	}
	return list
}

func ids(refs []string) []fleet.GroupID {
	var out []fleet.GroupID
	for _, r := range emptied(refs) {
		out = append(out, fleet.GroupID(r))
	}
	return out
}

// underscored is a word as the API spells it.
func underscored(s string) string { return strings.ReplaceAll(s, "-", "_") }

func (f *taskFlags) putRules(c *cobra.Command, t *task.Task) error {
	if changed(c, "rule") {
		admits := task.Approved
		if len(t.Rules) > 0 {
			admits = t.Rules[0].Admits
		}
		t.Rules = []task.Rule{}
		for _, r := range emptied(f.rules) {
			t.Rules = append(t.Rules, task.Rule{Admits: admits, Criteria: r})
		}
	}
	if changed(c, "admits") {
		for i := range t.Rules {
			t.Rules[i].Admits = task.Admits(underscored(f.admits))
		}
	}
	if !changed(c, "ring") {
		return nil
	}
	t.Rings = nil
	for _, said := range emptied(f.rings) {
		r, err := readRing(said)
		if err != nil {
			return err
		}
		t.Rings = append(t.Rings, r)
	}
	return nil
}

func (f *taskFlags) putOptions(c *cobra.Command, t *task.Task) error {
	for flag, to := range map[string]struct{ from, to *bool }{
		"hold-new-major": {&f.holdMajor, &t.Options.HoldNewMajor}, "earlier-first": {&f.earlierFirst, &t.Options.EarlierFirst},
		"hold-prerequisites": {&f.holdPrerequisites, &t.Options.HoldPrerequisites}, "download-only": {&f.downloadOnly, &t.Options.DownloadOnly},
		"at-shutdown": {&f.atShutdown, &t.Options.AtShutdown}, "restart-services": {&f.restartServices, &t.Restart.Services},
	} {
		if changed(c, flag) {
			*to.to = *to.from
		}
	}
	if changed(c, "no-new-dependencies") {
		t.Options.NewDependencies = !f.noNewDeps
	}
	if changed(c, "may-remove") {
		t.Options.Removable = emptied(f.mayRemove)
		t.Options.Removals = len(t.Options.Removable) > 0
	}
	if changed(c, "max-concurrent") {
		var err error
		if t.MaxConcurrent, err = slot.Parse(strings.TrimSuffix(f.concurrent, "none")); err != nil {
			return usage("--max-concurrent: %v", err)
		}
	}
	if changed(c, "retries") {
		t.Options.Retries.Attempts = f.retries
	}
	if changed(c, "restart") {
		t.Restart.When = wire.RestartWhen(underscored(f.restart))
		if t.Restart.When != wire.RestartAsked {
			t.Restart.Ask = task.Ask{}
		}
	}
	if changed(c, "deferrals") {
		t.Restart.Ask.Deferrals = f.deferrals
	}
	if changed(c, "on-failure") {
		t.OnFailure = task.OnFailure(f.onFailure)
	}
	for flag, to := range map[string]struct {
		from string
		to   *rollout.Span
	}{"stop-after": {f.stopAfter, &t.Options.StopAfter}, "ask-for": {f.deadline, &t.Restart.Ask.Deadline}} {
		if changed(c, flag) {
			if err := to.to.UnmarshalText([]byte(to.from)); err != nil {
				return usage("--%s: %v", flag, err)
			}
		}
	}
	return nil
}

func (f *taskFlags) putProbes(c *cobra.Command, t *task.Task) error {
	if !changed(c, "probe") {
		return nil
	}
	t.Probes = []catalog.Probe{}
	for _, said := range emptied(f.probes) {
		p, err := readProbe(said)
		if err != nil {
			return err
		}
		t.Probes = append(t.Probes, p)
	}
	return nil
}

func (f *taskFlags) putSchedule(a *app, c *cobra.Command, t *task.Task) error {
	s := &t.Schedule
	if changed(c, "start") {
		_, at, _ := strings.Cut(s.Start, "T")
		s.Start = strings.TrimSuffix(f.start+"T"+at, "T")
	}
	if changed(c, "window") {
		if s.Start == "" {
			s.Start = a.Now().In(a.zone()).Format("2006-01-02")
		}
		var err error
		if *s, err = readWindow(*s, f.window); err != nil {
			return err
		}
	}
	if changed(c, "zone") {
		s.Zone = f.zone
	}
	if changed(c, "missed") {
		s.Missed = window.Missing(underscored(f.missed))
	}
	if changed(c, "spread") {
		if err := s.Spread.UnmarshalText([]byte(f.spread)); err != nil {
			return usage("--spread: %v", err)
		}
	}
	if !changed(c, "freeze") {
		return nil
	}
	s.Freezes = nil
	for _, said := range emptied(f.freezes) {
		z, err := readFreeze(said)
		if err != nil {
			return err
		}
		s.Freezes = append(s.Freezes, z)
	}
	return nil
}
