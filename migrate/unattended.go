package migrate

import (
	"regexp"
	"strings"

	"assent/criteria"
	"assent/fleet"
	"assent/rollout"
	"assent/task"
	"assent/window"
	"assent/wire"
)

// unattended is where unattended-upgrades keeps its settings.
const unattended = "unattended-upgrade::"

// Unattended reads the settings of unattended-upgrades as a task for the group: what it would install without asking. Distro is the
// archive's Origin and the codename of the system, which the settings may name by ${distro_id} and ${distro_codename}.
func Unattended(conf AptConf, distro Archive, group string) Draft {
	var d Draft
	from := d.origins(conf, distro)
	if len(from) == 0 {
		return d
	}
	parts := []string{from}
	for _, filter := range []struct {
		path, not string
	}{{unattended + "package-blacklist", "!"}, {unattended + "package-whitelist", ""}} {
		for _, expression := range conf[filter.path] {
			c, ok := packagesMatch(expression)
			if !ok {
				d.note(where(filter.path), LeftOut, "The expression %.100q cannot be said here, and without it the task would install more; so there is no task.", expression)
				return d
			}
			parts = append(parts, filter.not+c)
		}
	}
	t := importedTask("Unattended upgrades", group)
	t.Rules = []task.Rule{{Name: "as unattended-upgrades", Admits: task.ApprovedOrUndefined, Criteria: strings.Join(parts, " && ")}}
	if len(conf[unattended+"package-whitelist"]) > 1 {
		d.note(where(unattended+"package-whitelist"), Differs, "A release has to have a package for each of its expressions; make one rule of each if one is enough.")
	}
	if _, err := criteria.CompileRule(t.Rules[0].Criteria); err != nil {
		d.note(where(unattended+"package-blacklist"), LeftOut, "What it comes to is no expression that is accepted here (%s), so there is no task.", plain(err.Error()))
		return d
	}
	if !d.behaviour(conf, &t) {
		return d
	}
	d.Tasks = append(d.Tasks, t)
	d.note(where(unattended), Differs, "The task installs without an approval, as unattended-upgrades does; with `admits: approved` somebody approves first. Remove unattended-upgrades from the devices, or both install.")
	return d
}

// importedTask is a task for a group that comes from elsewhere. Its id is left to whoever saves it.
func importedTask(name, group string) task.Task {
	if group == "" {
		group = string(fleet.Root)
	}
	return task.Task{Name: name, Enabled: true, Targets: task.Targets{Groups: []fleet.GroupID{fleet.GroupID(group)}}, Options: task.Options{NewDependencies: true}}
}

// origins is the condition on where an update comes from; empty where nothing is installed.
func (d *Draft) origins(conf AptConf, distro Archive) string {
	var known []string // a variable without a value stays, and is noted
	for _, v := range []struct{ name, value string }{{"${distro_id}", distro.Origin}, {"${distro_codename}", distro.Name}} {
		if v.value != "" {
			known = append(known, v.name, v.value)
		}
	}
	vars := strings.NewReplacer(known...)
	var any []string
	take := func(path, said string, a Archive, unknown string) {
		c, ok := a.criteria()
		switch {
		case unknown != "":
			d.note(where(path), LeftOut, "%s: what it says of the archive (%s) is not known to the server, so nothing is installed from there.", plain(said), plain(unknown))
		case !ok:
			d.note(where(path), LeftOut, "%s: it cannot be said as an expression, so nothing is installed from there.", plain(said))
		default:
			any = append(any, c)
		}
	}
	for _, said := range conf[unattended+"allowed-origins"] {
		origin, name, ok := strings.Cut(vars.Replace(said), ":")
		unknown := ""
		if !ok || strings.Contains(origin+name, "${") {
			unknown = "it is not origin:archive"
		} else if alias(name) && !strings.ContainsAny(name, "*?[") {
			unknown = "the suite " + name
		}
		take(unattended+"allowed-origins", said, Archive{Origin: origin, Name: name}, unknown)
	}
	for _, said := range conf[unattended+"origins-pattern"] {
		a, unknown := readOriginPattern(vars.Replace(said))
		take(unattended+"origins-pattern", said, a, unknown)
	}
	if len(any) == 1 {
		return any[0]
	}
	if len(any) == 0 {
		return ""
	}
	return "(" + strings.Join(any, " || ") + ")"
}

// readOriginPattern reads "origin=Debian,codename=bookworm,label=Debian-Security".
func readOriginPattern(said string) (a Archive, unknown string) {
	for part := range strings.SplitSeq(said, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch {
		case strings.Contains(value, "${") || value == "":
			return a, part
		case key == "o" || key == "origin":
			a.Origin = value
		case key == "n" || key == "codename":
			a.Name = value
		case (key == "a" || key == "archive" || key == "suite") && !alias(value):
			a.Name = value
		case (key == "l" || key == "label") && value == "Debian-Security":
			a.Security = true
		case (key == "l" || key == "label") && value == "Debian" && a.Origin == "Debian": // what is no security update there
		default:
			return a, part
		}
	}
	return a, ""
}

// packagesMatch says that one of a release's packages matches a regular expression of Python, from its beginning.
func packagesMatch(expression string) (string, bool) {
	re := "^(" + strings.TrimPrefix(expression, "^") + ")"
	if _, err := regexp.Compile(re); err != nil || expression == "" {
		return "", false
	}
	return "packages.exists(p, p.matches(" + quoted(re) + "))", true
}

// behaviour takes over how it installs, and says what it does not; false if without that the task would do more than meant.
func (d *Draft) behaviour(conf AptConf, t *task.Task) bool {
	if conf.on(unattended + "installonshutdown") {
		t.Options.AtShutdown = true
	}
	switch at := conf.last(unattended + "automatic-reboot-time"); {
	case !conf.on(unattended + "automatic-reboot"):
	case at == "" || at == "now":
		t.Restart.When = wire.RestartIfRequired
	default:
		d.note(where(unattended+"automatic-reboot-time"), LeftOut, "A restart at %s is a window here: give the task one (`assent task edit '%s' --window 'nightly %s for 1h' --restart if-required`). Until then it restarts nothing.", plain(at), t.Name, plain(at))
	}
	if days := conf[unattended+"update-days"]; len(days) > 0 {
		rule, ok := weekdays(days)
		if !ok {
			d.note(where(unattended+"update-days"), LeftOut, "The days %s are not read, and without them the task would install on others; so there is no task.", plain(strings.Join(days, " ")))
			return false
		}
		t.Schedule = window.Schedule{Rule: rule, Start: "2027-01-01T00:00", Length: window.Duration(day)}
	}
	for _, left := range []struct{ path, why string }{
		{"mail", "Tell people of it by a channel: `assent channel create`."}, {"remove-unused-dependencies", "Packages are not removed along with updates."},
		{"remove-unused-kernel-packages", "Packages are not removed along with updates."}, {"remove-new-unused-dependencies", "Packages are not removed along with updates."},
		{"skip-updates-on-metered-connections", "The agent does not look at what a connection costs."}, {"onlyonacpower", "The agent does not look at the power supply."},
	} {
		if v := conf.last(unattended + left.path); v != "" && !strings.EqualFold(v, "false") {
			d.note(where(unattended+left.path), LeftOut, "%s", left.why)
		}
	}
	return true
}

const day = rollout.Span(24 * 60 * 60 * 1e9)

// weekdays is the recurrence of some days of the week, by name or by number (0 is Sunday).
func weekdays(days []string) (string, bool) {
	codes := []string{"SU", "MO", "TU", "WE", "TH", "FR", "SA"}
	var out []string
	for _, d := range days {
		found := ""
		for i, c := range codes {
			if len(d) >= 2 && strings.EqualFold(d[:2], c) || d == string(rune('0'+i)) {
				found = c
			}
		}
		if found == "" {
			return "", false
		}
		out = append(out, found)
	}
	return "FREQ=WEEKLY;BYDAY=" + strings.Join(out, ","), true
}
