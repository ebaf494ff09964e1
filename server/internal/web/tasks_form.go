package web

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"assent/client"
	"assent/criteria"
	"assent/fault"
	"assent/fleet"
	"assent/rollout"
	"assent/slot"
	"assent/task"
	"assent/window"
	"assent/wire"
)

// taskForm is a task as the fields of the form. Base is the whole task as text: what the form has no fields for stays as it is
// there, and where Whole is set the text is the only view.
type taskForm struct {
	Base, Version, ID, Name, Order string
	Whole                          bool
	Enabled                        bool
	Groups, Exclude                []string
	Selection                      string
	Rules                          []ruleForm
	When, Interval, Nth, After     string // when: any, day, week, month, date or rule
	Date, At, Length, Rule, Start  string
	Days                           []string
	Zone, Spread, Missed, Freezes  string
	RestartWhen, AskText, AskFor   string
	Deferrals                      string
	Services                       bool
	HoldMajor, NewDeps, Earlier    bool
	Prerequisites, DownloadOnly    bool
	AtShutdown                     bool
	StopAfter, Retries, OnFailure  string
	MayRemove                      string // names with commas between them
	Concurrent                     string // "10", "5%"
	Rings                          []ringForm
}

// ruleForm is a rule: its criteria as lines, or as text where AsText is set.
type ruleForm struct {
	Number   int
	Name     string
	Admits   task.Admits
	AsText   bool
	CanLines bool // the text can be shown as lines
	Criteria string
	Lines    []lineForm
}

type lineForm struct{ Field, Op, Values string }

// lineView is a line with what its choices are.
type lineView struct {
	At     string
	Fields []criteria.Field
	Ops    []criteria.Op
	Line   lineForm
}

// Of is a line of a rule for the template.
func (e taskEdit) Of(rule int, l lineForm) lineView {
	return lineView{"r" + strconv.Itoa(rule), e.Fields, e.Ops, l}
}

// Blank is a line that says nothing yet; BlankRing a ring likewise.
func (e taskEdit) Blank() lineForm { return lineForm{} }

// BlankRing is a ring without a name.
func (e taskEdit) BlankRing() ringForm { return ringForm{} }

type ringForm struct {
	Base                                           string // the whole ring, for what has no field
	Name, Groups, Rate, Min, Soak, Failures, Quiet string
	Person                                         bool
}

func (f taskForm) has(list []string, g client.GroupRow) bool {
	return slices.Contains(list, string(g.ID)) || slices.Contains(list, g.Name)
}

func (f taskForm) day(d string) bool { return slices.Contains(f.Days, d) }

// formOf is a task as a form.
func formOf(t task.Task, version string) taskForm {
	f := taskForm{Base: taskText(t), Version: version, ID: t.ID, Name: t.Name, Order: figure(t.Order), Enabled: t.Enabled, Groups: texts(t.Targets.Groups), Exclude: texts(t.Targets.Exclude),
		Selection: t.Targets.Selection, RestartWhen: string(t.Restart.When), AskText: t.Restart.Ask.Text, AskFor: elapsed(t.Restart.Ask.Deadline), Deferrals: figure(t.Restart.Ask.Deferrals),
		Services: t.Restart.Services, HoldMajor: t.Options.HoldNewMajor, NewDeps: t.Options.NewDependencies, Earlier: t.Options.EarlierFirst, Prerequisites: t.Options.HoldPrerequisites,
		DownloadOnly: t.Options.DownloadOnly, AtShutdown: t.Options.AtShutdown, StopAfter: elapsed(t.Options.StopAfter), Retries: figure(t.Options.Retries.Attempts), OnFailure: string(t.OnFailure),
		MayRemove: strings.Join(t.Options.Removable, ", "), Concurrent: t.MaxConcurrent.String()}
	for i, r := range t.Rules {
		f.Rules = append(f.Rules, ruleOf(i, r))
	}
	for _, r := range t.Rings {
		f.Rings = append(f.Rings, ringOf(r))
	}
	f.schedule(t.Schedule)
	return f
}

func texts[T ~string](list []T) []string { return mapped(list, func(x T) string { return string(x) }) }

func figure(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func elapsed(s rollout.Span) string {
	if s == 0 {
		return ""
	}
	return s.String()
}

// ruleOf shows a rule as lines where it can be shown so.
func ruleOf(i int, r task.Rule) ruleForm {
	out := ruleForm{Number: i, Name: r.Name, Admits: r.Admits, Criteria: r.Criteria}
	form, ok, err := criteria.Updates().Form(r.Criteria)
	out.CanLines, out.AsText = ok && err == nil, !ok || err != nil
	if out.CanLines {
		for _, l := range form.Lines {
			out.Lines = append(out.Lines, lineForm{l.Field, string(l.Op), strings.Join(l.Values, ", ")})
		}
	}
	return out
}

func ringOf(r rollout.Ring) ringForm {
	return ringForm{Base: jsonText(r), Name: r.Name, Groups: strings.Join(texts(r.Groups), ", "), Rate: strings.TrimSuffix(perMille(r.SuccessRate), " %"), Min: figure(r.MinSample), Soak: elapsed(r.Soak),
		Failures: figure(r.Failures), Quiet: elapsed(r.Silence), Person: r.Person}
}

func (f *taskForm) schedule(s window.Schedule) {
	f.Zone, f.Missed, f.Rule, f.Start, f.At = s.Zone, string(s.Missed), s.Rule, s.Start, "02:00"
	f.Length, f.Spread, f.When = lengthText(s.Length), lengthText(s.Spread), "any"
	for _, z := range s.Freezes {
		f.Freezes += fmt.Sprintf("%s: %s to %s\n", z.Name, z.From, z.To)
	}
	if s.Rule == "" {
		return
	}
	f.When = "rule"
	p, ok := s.Simple()
	if !ok {
		return
	}
	f.When, f.Interval, f.Days, f.Nth, f.After, f.Date, f.At = p.Every, figure(p.Interval), p.Days, figure(p.Nth), figure(p.After), figure(p.Date), p.At
	if p.Date != 0 {
		f.When = "date"
	}
}

func lengthText(d window.Duration) string {
	if d == 0 {
		return ""
	}
	b, _ := d.MarshalText() // never fails
	return string(b)
}

// formReader reads numbers and times and keeps what was wrong.
type formReader struct{ wrong []*fault.Error }

func (r *formReader) number(field, text string) int {
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		r.wrong = append(r.wrong, fault.New(fault.Invalid, "number_invalid", "%.40q is not a whole number.", text).On(field))
	}
	return n
}

// read reads a time like "2d" or "90m" into what can be written as text.
func (r *formReader) read(field, text string, into interface{ UnmarshalText([]byte) error }) {
	if text == "" {
		return
	}
	if err := into.UnmarshalText([]byte(text)); err != nil {
		r.wrong = append(r.wrong, fault.New(fault.Invalid, "time_invalid", "%.40q is not a time like 45m, 12h or 2d.", text).On(field))
	}
}

func (r *formReader) take(field string, err error) {
	if err != nil {
		f := fault.From(err)
		r.wrong = append(r.wrong, f.On(strings.TrimSuffix(field+"."+f.Field, ".")))
	}
}

// readTaskForm reads the form as it was sent, and the task that it says.
func readTaskForm(v *Visit) (taskForm, task.Task, error) {
	base := v.Form("base")
	if v.Form("whole") != "" {
		base = v.Form("text")
	}
	t, err := client.ReadTask([]byte(base))
	if err != nil { // the text stays as it was sent
		return taskForm{Base: base, Whole: true, Version: v.Form("version"), ID: v.Form("id")}, t, err
	}
	version := v.Form("version")
	if v.Form("whole") != "" {
		f := formOf(t, version)
		f.Whole = v.Form("show") != "form"
		return f, t, nil
	}
	r := &formReader{}
	lines := readFields(v, r, &t)
	f := formOf(t, version)
	f.Whole = v.Form("show") == "text"
	for i := range f.Rules {
		f.Rules[i].AsText = f.Rules[i].AsText || lines[i]
	}
	r.keep(v, &f)
	return f, t, fault.Join(r.wrong)
}

// keep shows what could not be read as it was written.
func (r *formReader) keep(v *Visit, f *taskForm) {
	if len(r.wrong) == 0 {
		return
	}
	f.Order, f.When, f.Interval, f.Nth, f.After, f.Date, f.At, f.Length, f.Rule, f.Start = v.Form("order"), v.Form("when"), v.Form("interval"), v.Form("nth"), v.Form("after"), v.Form("date"), v.Form("at"), v.Form("length"), v.Form("rule"), v.Form("start")
	f.Days, f.Spread, f.Freezes, f.StopAfter, f.Retries, f.AskFor, f.Deferrals = v.Fields("days"), v.Form("spread"), v.Form("freezes"), v.Form("stop_after"), v.Form("retries"), v.Form("ask_for"), v.Form("deferrals")
	f.MayRemove, f.Concurrent = v.Form("may_remove"), v.Form("max_concurrent")
}

// readFields puts the fields over the task; it returns for each rule whether it is shown as text.
func readFields(v *Visit, r *formReader, t *task.Task) []bool {
	t.Name, t.Enabled, t.Order = v.Form("name"), v.Form("enabled") != "", r.number("order", v.Form("order"))
	t.Targets = task.Targets{Groups: groupIDs(v.Fields("groups")), Exclude: groupIDs(v.Fields("exclude")), Selection: v.Form("selection")}
	o := &t.Options
	o.HoldNewMajor, o.NewDependencies, o.EarlierFirst = v.Form("hold_new_major") != "", v.Form("new_dependencies") != "", v.Form("earlier_first") != ""
	o.HoldPrerequisites, o.DownloadOnly, o.AtShutdown = v.Form("hold_prerequisites") != "", v.Form("download_only") != "", v.Form("at_shutdown") != ""
	o.StopAfter, o.Retries.Attempts = 0, r.number("options.retries.attempts", v.Form("retries"))
	o.Removable = strings.FieldsFunc(v.Form("may_remove"), func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
	if o.Removals = len(o.Removable) > 0; !o.Removals {
		o.Removable = nil
	}
	if o.Retries.Attempts == 0 {
		o.Retries = task.Retries{}
	}
	var err error
	if t.MaxConcurrent, err = slot.Parse(strings.TrimSpace(v.Form("max_concurrent"))); err != nil {
		r.wrong = append(r.wrong, fault.New(fault.Invalid, "task_invalid", "At the same time: %v.", err).On("max_concurrent"))
	}
	r.read("options.stop_after", v.Form("stop_after"), &o.StopAfter)
	t.OnFailure = task.OnFailure(v.Form("on_failure"))
	t.Restart.When, t.Restart.Services = wire.RestartWhen(v.Form("restart")), v.Form("services") != ""
	if ask := &t.Restart.Ask; t.Restart.When == wire.RestartAsked {
		ask.Text, ask.Deferrals, ask.Deadline = v.Form("ask_text"), r.number("restart.ask.deferrals", v.Form("deferrals")), 0
		r.read("restart.ask.deadline", v.Form("ask_for"), &ask.Deadline)
	} else {
		*ask = task.Ask{}
	}
	t.Rings = r.rings(v)
	r.schedule(v, &t.Schedule)
	return r.rules(v, t)
}

func groupIDs(refs []string) []fleet.GroupID {
	return mapped(refs, func(s string) fleet.GroupID { return fleet.GroupID(s) })
}

// rules reads the rules, each as lines or as text, after the buttons that add, remove and turn them.
func (r *formReader) rules(v *Visit, t *task.Task) (asText []bool) {
	count := min(r.number("rules", v.Form("rules")), task.MaxRules)
	t.Rules = []task.Rule{}
	for i := range count {
		at := "r" + strconv.Itoa(i) + "."
		if v.Form("remove") == strconv.Itoa(i) {
			continue
		}
		rule := task.Rule{Name: v.Form(at + "name"), Admits: task.Admits(v.Form(at + "admits"))}
		text := v.Form(at+"mode") == "text"
		if text {
			rule.Criteria = v.Form(at + "criteria")
		} else {
			expr, err := criteria.Updates().Expression(linesOf(v, at))
			rule.Criteria = expr
			r.take(fmt.Sprintf("rules[%d].criteria", i), err)
		}
		if v.Form("turn") == strconv.Itoa(i) {
			text = !text
		}
		t.Rules, asText = append(t.Rules, rule), append(asText, text)
	}
	if v.Form("add") == "rule" {
		t.Rules, asText = append(t.Rules, task.Rule{Admits: task.Approved}), append(asText, false)
	}
	return asText
}

// linesOf are the lines of a rule that name a field.
func linesOf(v *Visit, at string) (f criteria.Form) {
	fields, ops, values := v.Fields(at+"field"), v.Fields(at+"op"), v.Fields(at+"values")
	for i, field := range fields {
		if field == "" || i >= len(ops) || i >= len(values) {
			continue
		}
		line := criteria.Line{Field: field, Op: criteria.Op(ops[i]), Values: []string{strings.TrimSpace(values[i])}}
		if line.Op == criteria.OneOf || line.Op == criteria.NoneOf {
			line.Values = given(mapped(strings.Split(values[i], ","), strings.TrimSpace))
		}
		f.Lines = append(f.Lines, line)
	}
	return f
}

// rings reads the rings that have a name.
func (r *formReader) rings(v *Visit) []rollout.Ring {
	var out []rollout.Ring
	column := func(key string, i int) string {
		if all := v.Fields("ring." + key); i < len(all) {
			return strings.TrimSpace(all[i])
		}
		return ""
	}
	for i, name := range v.Fields("ring.name") {
		if strings.TrimSpace(name) == "" || len(out) >= rollout.MaxRings {
			continue
		}
		at := fmt.Sprintf("rings[%d].", len(out))
		ring := ringBase(column("base", i))
		ring.Name, ring.Groups = strings.TrimSpace(name), groupIDs(given(mapped(strings.Split(column("groups", i), ","), strings.TrimSpace)))
		rate, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(column("rate", i), "%")), 64)
		if err != nil || !(rate >= 0 && rate <= 100) {
			r.wrong = append(r.wrong, fault.New(fault.Invalid, "number_invalid", "The success rate %.20q is not a percentage.", column("rate", i)).On(at+"success_per_mille"))
			rate = 100
		}
		ring.SuccessRate, ring.MinSample, ring.Failures = int(rate*10+0.5), r.number(at+"min_sample", column("min", i)), r.number(at+"failure_limit", column("failures", i))
		ring.Soak, ring.Silence, ring.Person = 0, 0, column("person", i) == "yes"
		r.read(at+"soak", column("soak", i), &ring.Soak)
		r.read(at+"silence", column("quiet", i), &ring.Silence)
		out = append(out, ring)
	}
	return out
}

// schedule reads when installations may start.
func (r *formReader) schedule(v *Visit, s *window.Schedule) {
	s.Zone, s.Missed, s.Spread, s.Length = v.Form("zone"), window.Missing(v.Form("missed")), 0, 0
	r.freezes(v, s)
	when := v.Form("when")
	if when == "any" || when == "" {
		s.Rule, s.Start, s.Missed = "", "", ""
		return
	}
	r.read("schedule.spread", v.Form("spread"), &s.Spread)
	r.read("schedule.length", v.Form("length"), &s.Length)
	if when == "rule" {
		s.Rule, s.Start = v.Form("rule"), v.Form("start")
		return
	}
	p := window.Simple{Every: when, Interval: r.number("schedule.interval", v.Form("interval")), At: v.Form("at")}
	switch when {
	case window.Week:
		p.Days = v.Fields("days")
	case window.Month:
		p.Days, p.Nth, p.After = v.Fields("days"), r.number("schedule.nth", v.Form("nth")), r.number("schedule.after", v.Form("after"))
	case "date":
		p.Every, p.Date = window.Month, r.number("schedule.date", v.Form("date"))
	}
	if s.Start == "" {
		s.Start = time.Now().UTC().Format(time.DateOnly)
	}
	said, err := p.Apply(*s)
	if err != nil {
		r.take("schedule", err)
		return
	}
	*s = said
}

// freezes reads lines like "Year end: 12-18 to 01-04".
func (r *formReader) freezes(v *Visit, s *window.Schedule) {
	s.Freezes = nil
	for line := range strings.Lines(v.Form("freezes")) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, days, named := strings.Cut(line, ":")
		from, to, both := strings.Cut(days, " to ")
		if !named || !both {
			r.wrong = append(r.wrong, fault.New(fault.Invalid, "freeze_invalid", "The freeze %.60q is not like \"Year end: 12-18 to 01-04\".", line).On("schedule.freezes"))
			continue
		}
		s.Freezes = append(s.Freezes, window.Freeze{Name: strings.TrimSpace(name), From: strings.TrimSpace(from), To: strings.TrimSpace(to)})
	}
}
