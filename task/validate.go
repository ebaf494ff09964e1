package task

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"assent/catalog"
	"assent/criteria"
	"assent/fault"
	"assent/fleet"
	"assent/rollout"
	"assent/window"
	"assent/wire"
)

// The limits of a task.
const (
	MaxRules   = 50
	MaxGroups  = 1000 // targets, and exclusions
	MaxProbes  = 20
	MaxRemoved = 100
	MaxName    = 80 // characters
	maxAsk     = 500
	maxOrder   = 1_000_000
	maxTimeout = 600 // seconds of a probe
	day        = 24 * time.Hour
)

var (
	idForm      = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	packageForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+._-]{0,254}$`)
	unitForm    = regexp.MustCompile(`^[A-Za-z0-9:_.@][A-Za-z0-9:_.@-]{0,199}\.(service|socket|timer|target|mount)$`)
	digestForm  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// Validate lists everything that is wrong with a task, each with the field at fault ("rules[1].criteria"); nil: it may be saved.
// The tree is that of the groups there are.
func Validate(t Task, tree fleet.Tree) []*fault.Error {
	c := &check{tree: tree, t: t}
	c.head()
	c.targets()
	c.rules()
	c.options()
	c.restart()
	c.probes()
	c.concurrent()
	if _, err := window.Parse(t.Schedule); err != nil {
		c.take("schedule", err)
	}
	if err := rollout.ValidateIn(t.Rings, tree); err != nil {
		c.take("", err)
	}
	return c.found
}

// Invalid is Validate as one error, for callers that can show only one: the first fault.
func Invalid(t Task, tree fleet.Tree) error {
	if found := Validate(t, tree); len(found) > 0 {
		return found[0]
	}
	return nil
}

type check struct {
	tree  fleet.Tree
	t     Task
	found []*fault.Error
}

func (c *check) wrong(field, format string, args ...any) {
	c.found = append(c.found, fault.New(fault.Invalid, "task_invalid", format, args...).On(field))
}

// take adds another package's refusal below a field.
func (c *check) take(field string, err error) {
	var f *fault.Error
	if !errors.As(err, &f) {
		f = fault.From(err)
	}
	switch below := strings.TrimPrefix(f.Field, field+"."); {
	case field == "":
	case below == "" || below == field:
		f = f.On(field)
	default:
		f = f.On(field + "." + below)
	}
	c.found = append(c.found, f)
}

// line reports whether s is one line of text of at most so many characters.
func line(s string, most int) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= most && s == strings.TrimSpace(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) })
}

func (c *check) head() {
	if !idForm.MatchString(c.t.ID) {
		c.wrong("id", "A task's id has 1 to 63 of a-z, 0-9 and -, and does not begin with a dash.")
	}
	if c.t.Name == "" || !line(c.t.Name, MaxName) {
		c.wrong("name", "A task needs a name of at most %d characters, in one line.", MaxName)
	}
	if c.t.Order < -maxOrder || c.t.Order > maxOrder {
		c.wrong("order", "A task's place in the order is between -%d and %d.", maxOrder, maxOrder)
	}
}

func (c *check) targets() {
	t := c.t.Targets
	c.groups("targets.groups", t.Groups)
	c.groups("targets.exclude", t.Exclude)
	if len(t.Groups) == 0 {
		c.wrong("targets.groups", "A task names at least one group; %q is all devices.", fleet.Root)
	}
	covered := slices.ContainsFunc(t.Groups, func(g fleet.GroupID) bool {
		return !slices.ContainsFunc(t.Exclude, func(x fleet.GroupID) bool { return c.tree.Contains(x, g) })
	})
	if len(t.Groups) > 0 && !covered {
		c.wrong("targets.exclude", "Every group of the task is excluded, so it covers no device.")
	}
	if _, err := criteria.CompileSelection(t.Selection); err != nil {
		c.take("targets.selection", err)
	}
}

func (c *check) groups(field string, groups []fleet.GroupID) {
	if len(groups) > MaxGroups {
		c.wrong(field, "A task names at most %d groups here. Name a group above them.", MaxGroups)
		return
	}
	for i, g := range groups {
		at := fmt.Sprintf("%s[%d]", field, i)
		if _, ok := c.tree.Get(g); !ok {
			c.wrong(at, "There is no group %q.", g)
		}
		if slices.Contains(groups[:i], g) {
			c.wrong(at, "The group %q stands there twice.", g)
		}
	}
}

func (c *check) rules() {
	if len(c.t.Rules) > MaxRules {
		c.wrong("rules", "A task has at most %d rules.", MaxRules)
		return
	}
	for i, r := range c.t.Rules {
		at := fmt.Sprintf("rules[%d].", i)
		if !line(r.Name, MaxName) {
			c.wrong(at+"name", "A rule's name has at most %d characters, in one line.", MaxName)
		}
		if r.Name != "" && slices.ContainsFunc(c.t.Rules[:i], func(o Rule) bool { return o.Name == r.Name }) {
			c.wrong(at+"name", "Two rules are named %q.", r.Name)
		}
		if !r.Admits.Valid() {
			c.wrong(at+"admits", "A rule admits %q, %q or %q.", Approved, ApprovedOrUndefined, AnyIncludingDeclined)
		}
		if r.Admits == AnyIncludingDeclined {
			c.testOnly(at + "admits")
		}
		if _, err := criteria.CompileRule(r.Criteria); err != nil {
			c.take(at+"criteria", err)
		}
	}
}

// testOnly refuses declined updates outside test groups (T1).
func (c *check) testOnly(field string) {
	for _, g := range c.t.Targets.Groups {
		if group, ok := c.tree.Get(g); ok && !c.tree.Test(g) {
			c.wrong(field, "Declined updates may be admitted only in groups that are marked as test groups, and %q is not one.", group.Name)
		}
	}
}

func (c *check) options() {
	o := c.t.Options
	switch {
	case o.Removals && len(o.Removable) == 0:
		c.wrong("options.removable", "Removals need naming: list the packages that may be removed.")
	case !o.Removals && len(o.Removable) > 0:
		c.wrong("options.removals", "Packages that may be removed are named, but removals are off.")
	case len(o.Removable) > MaxRemoved:
		c.wrong("options.removable", "At most %d packages can be named.", MaxRemoved)
	}
	for i, name := range o.Removable {
		if !packageForm.MatchString(name) {
			c.wrong(fmt.Sprintf("options.removable[%d]", i), "%.40q is no package's name.", name)
		}
		if name == wire.AgentPackage {
			c.wrong(fmt.Sprintf("options.removable[%d]", i), "%s is Assent's own agent: no task removes it.", name)
		}
	}
	if o.DownloadOnly && o.AtShutdown {
		c.wrong("options.at_shutdown", "What is only downloaded is not installed at shutdown either.")
	}
	c.span("options.stop_after", o.StopAfter, time.Minute, 7*day)
	if r := o.Retries; r.Attempts < 0 || r.Attempts > 100 {
		c.wrong("options.retries.attempts", "A failed install is tried again 0 to 100 times.")
	}
	c.span("options.retries.first", o.Retries.First, time.Minute, 7*day)
	c.span("options.retries.longest", o.Retries.Longest, time.Minute, 30*day)
	if r := o.Retries; r.Longest != 0 && r.First > r.Longest {
		c.wrong("options.retries.longest", "The longest pause is shorter than the first one.")
	}
	if r := o.Retries; r.Attempts == 0 && (r.First != 0 || r.Longest != 0) {
		c.wrong("options.retries.attempts", "Pauses are set, but no attempts.")
	}
}

// span checks a time that may be left out.
func (c *check) span(field string, s rollout.Span, least, most time.Duration) {
	if d := time.Duration(s); d != 0 && (d < least || d > most) {
		c.wrong(field, "It is between %s and %s, or left out.", rollout.Span(least), rollout.Span(most))
	}
}

func (c *check) concurrent() {
	if !c.t.MaxConcurrent.Valid() {
		c.wrong("max_concurrent", "At least 1 and at most 1,000,000 devices at the same time, and at most 1000 in a thousand of them.")
	}
	if !c.t.MaxConcurrent.None() && c.t.Options.AtShutdown {
		c.wrong("max_concurrent", "What installs when its device shuts down cannot wait for its turn: leave one of the two out.")
	}
}

func (c *check) restart() {
	r := c.t.Restart
	if !slices.Contains([]wire.RestartWhen{"", wire.RestartNever, wire.RestartIfRequired, wire.RestartAlways, wire.RestartAsked}, r.When) {
		c.wrong("restart.when", "A device restarts %q, %q, %q or %q.", wire.RestartNever, wire.RestartIfRequired, wire.RestartAlways, wire.RestartAsked)
	}
	if r.Ask != (Ask{}) && r.When != wire.RestartAsked {
		c.wrong("restart.ask", "Somebody is asked only where restart is %q.", wire.RestartAsked)
	}
	if !utf8.ValidString(r.Ask.Text) || utf8.RuneCountInString(r.Ask.Text) > maxAsk || strings.ContainsFunc(r.Ask.Text, func(x rune) bool { return x != '\n' && unicode.IsControl(x) }) {
		c.wrong("restart.ask.text", "The text has at most %d characters and no control characters.", maxAsk)
	}
	c.span("restart.ask.repeat", r.Ask.Repeat, 5*time.Minute, 7*day)
	c.span("restart.ask.deadline", r.Ask.Deadline, 5*time.Minute, 60*day)
	if r.Ask.Deferrals < 0 || r.Ask.Deferrals > 1000 {
		c.wrong("restart.ask.deferrals", "A restart can be put off 0 to 1000 times.")
	}
}

func (c *check) probes() {
	if len(c.t.Probes) > MaxProbes {
		c.wrong("probes", "A task has at most %d probes.", MaxProbes)
		return
	}
	for i, p := range c.t.Probes {
		if !complete(p) {
			c.wrong(fmt.Sprintf("probes[%d]", i), "The probe %q lacks something or has something that its type does not.", p.Type)
		}
	}
	if !slices.Contains([]OnFailure{"", LeaveIt, Restore}, c.t.OnFailure) {
		c.wrong("on_failure", "What becomes of an update whose probes fail is %q or %q.", LeaveIt, Restore)
	}
}

// complete reports whether a probe has exactly what its type needs.
func complete(p catalog.Probe) bool {
	want := catalog.Probe{Type: p.Type, Timeout: p.Timeout}
	absolute := path.IsAbs(p.Path) && path.Clean(p.Path) == p.Path && line(p.Path, 500)
	port := p.Port > 0 && p.Port < 65536
	ok := false
	switch p.Type {
	case catalog.ProbeUnit:
		ok, want.Unit = unitForm.MatchString(p.Unit), p.Unit
	case catalog.ProbeProcess:
		ok, want.Path = absolute, p.Path
	case catalog.ProbeFile:
		ok, want.Path, want.SHA256 = absolute && digestForm.MatchString(p.SHA256), p.Path, p.SHA256
	case catalog.ProbeTCP:
		ok, want.Port = port, p.Port
	case catalog.ProbeHTTP:
		ok = port && strings.HasPrefix(p.Path, "/") && line(p.Path, 500) && (p.Status == 0 || p.Status >= 100 && p.Status <= 599)
		want.Port, want.Path, want.Status = p.Port, p.Path, p.Status
	}
	return ok && p == want && p.Timeout >= 0 && p.Timeout <= maxTimeout
}
