package restart

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"assent/agent/internal/command"
)

const (
	askSystemd = 20 * time.Second
	// jobPatience is how long systemd may take to stop and start one service; then the job goes on without being waited for.
	jobPatience = 3 * time.Minute
	// settleTime is how long a service that was restarted has to stay up before it counts as back.
	settleTime = time.Second
	// activeTime is how long it may take from there to being active.
	activeTime = 30 * time.Second
	maxUnits   = 2000
)

// ErrService says that a service did not come back.
var ErrService = errors.New("the service did not come back")

// Unit is what systemd says of a service.
type Unit struct {
	Name       string
	Active     string // "active", "inactive", "failed", …
	Sub        string // "running", "exited", …
	Loaded     string // "loaded", "not-found", …
	File       string // "enabled", "static", …
	Exec       string // ExecStart as systemd prints it
	PID        string // of the main process
	Ran        bool   // it ended or ran in this boot
	Skipped    bool   // a condition of it kept it from being started
	Result     string // how it ended last: "success", "exit-code", …
	Invocation string // names this start of it
}

// properties are what parseUnits understands.
const properties = "--property=Id,ActiveState,SubState,LoadState,UnitFileState,ExecStart,MainPID,InactiveEnterTimestampMonotonic,ActiveEnterTimestampMonotonic,ConditionResult,ConditionTimestampMonotonic,InvocationID,Result"

// parseUnits reads the blocks that systemctl show prints, one for each unit.
func parseUnits(text string) []Unit {
	var out []Unit
	for block := range strings.SplitSeq(text, "\n\n") {
		u := Unit{}
		checked, result := false, ""
		for line := range strings.Lines(block) {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			switch key {
			case "Id":
				u.Name = value
			case "ActiveState":
				u.Active = value
			case "SubState":
				u.Sub = value
			case "LoadState":
				u.Loaded = value
			case "UnitFileState":
				u.File = value
			case "ExecStart":
				u.Exec = value
			case "MainPID":
				u.PID = value
			case "InvocationID":
				u.Invocation = value
			case "Result":
				u.Result = value
			case "InactiveEnterTimestampMonotonic", "ActiveEnterTimestampMonotonic":
				u.Ran = u.Ran || value != "" && value != "0"
			case "ConditionTimestampMonotonic":
				checked = value != "" && value != "0"
			case "ConditionResult":
				result = value
			}
		}
		u.Skipped = checked && result == "no"
		if UnitName(u.Name) {
			out = append(out, u)
		}
	}
	return out
}

// units lists the services that are active now; without systemd there are none.
func (h Host) units(ctx context.Context) ([]Unit, error) {
	if !h.systemd() {
		return nil, nil
	}
	out, err := h.systemctl(ctx, askSystemd, "list-units", "--type=service", "--state=active", "--plain", "--no-legend", "--no-pager", "--full")
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) > 0 && UnitName(fields[0]) && len(names) < maxUnits {
			names = append(names, fields[0])
		}
	}
	return h.show(ctx, names)
}

// show asks systemd for services by name.
func (h Host) show(ctx context.Context, names []string) ([]Unit, error) {
	if len(names) == 0 {
		return nil, nil
	}
	out, err := h.systemctl(ctx, askSystemd, slices.Concat([]string{"show", properties, "--"}, names)...)
	if err != nil {
		return nil, err
	}
	return parseUnits(out), nil
}

func (h Host) systemctl(ctx context.Context, limit time.Duration, args ...string) (string, error) {
	res, err := h.Run.Run(ctx, command.Call{Tool: command.Systemctl, Args: args, Deadline: limit, Limit: 4 << 20})
	if err != nil {
		return "", fmt.Errorf("systemctl %s: %w", args[0], err)
	}
	if res.Code != 0 {
		return "", fmt.Errorf("systemctl %s: exit code %d: %.300s", args[0], res.Code, strings.TrimSpace(string(res.Stderr)))
	}
	return string(res.Stdout), nil
}

// Enabled lists the services that run now and start at every boot: those that a restart of the device has to bring back.
func (h Host) Enabled(ctx context.Context) ([]string, error) {
	units, err := h.units(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, u := range units {
		if u.Sub == "running" && u.File == "enabled" {
			out = append(out, u.Name)
		}
	}
	slices.Sort(out)
	return out, nil
}

// Missing lists which of these services failed or were not started in this boot, with what systemd says of them. One that
// is not installed any more, that a condition of its own keeps away, or that ended well is not missing.
func (h Host) Missing(ctx context.Context, names []string) ([]string, error) {
	units, err := h.show(ctx, names)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, u := range units {
		if missing(u) {
			out = append(out, u.Name+" ("+u.Active+")")
		}
	}
	slices.Sort(out)
	return out, nil
}

func missing(u Unit) bool {
	switch {
	case u.Loaded != "loaded":
		return false
	case u.Active == "active" || u.Active == "reloading":
		return false
	case u.Active == "inactive":
		return !u.Ran && !u.Skipped
	}
	return true
}

// TryRestart restarts a service and waits until it is active again and stays so. One that somebody stopped, or that is gone, is
// left alone, one that failed is started, and one that is spared is refused.
func (h Host) TryRestart(ctx context.Context, unit string) error {
	if why := Spared(unit); why != "" {
		return fmt.Errorf("restart %s: %s", unit, why)
	}
	units, err := h.show(ctx, []string{unit})
	if err != nil {
		return err
	}
	if len(units) != 1 || units[0].Active == "inactive" {
		return nil
	}
	verb := "try-restart"
	if units[0].Active == "failed" {
		verb = "restart"
	}
	if _, err := h.systemctl(ctx, jobPatience, verb, "--", unit); err != nil {
		return errors.Join(ErrService, err)
	}
	return h.back(ctx, unit)
}

// back waits until a service is active, and looks again a moment later whether it still is, and is the same.
func (h Host) back(ctx context.Context, unit string) error {
	start := ""
	for limit := time.Now().Add(activeTime); ; {
		units, err := h.show(ctx, []string{unit})
		if err != nil || len(units) != 1 {
			return errors.Join(ErrService, err)
		}
		u := units[0]
		switch {
		case u.Active == "active" && u.Invocation == start:
			return nil
		case u.Active == "failed" || u.Active == "inactive":
			return fmt.Errorf("%w: %s is %s (%s)", ErrService, unit, u.Active, u.Result)
		case u.Active == "active" && start != "":
			return fmt.Errorf("%w: %s was started again", ErrService, unit)
		case u.Active == "active":
			start = u.Invocation
		case time.Now().After(limit):
			return fmt.Errorf("%w: %s is still %s", ErrService, unit, u.Active)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settleTime):
		}
	}
}

// From lists the running services whose main process runs from a directory, or that are declared to start a program there.
// Spared services are none of them.
func (h Host) From(ctx context.Context, dir string) ([]string, error) {
	units, err := h.units(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, u := range units {
		exe, err := readExe(h.Root, u.PID)
		if Spared(u.Name) == "" && (err == nil && below(dir, exe) || startsFrom(dir, u.Exec)) {
			out = append(out, u.Name)
		}
	}
	slices.Sort(out)
	return out, nil
}

// startsFrom reads the path from what systemctl prints of ExecStart: "{ path=/opt/x ; argv[]=… ; … }".
func startsFrom(dir, exec string) bool {
	for part := range strings.SplitSeq(exec, " ; ") {
		if p, ok := strings.CutPrefix(strings.TrimPrefix(part, "{ "), "path="); ok {
			return below(dir, p)
		}
	}
	return false
}

// below reports whether a path is in a directory or below it, by its name.
func below(dir, file string) bool {
	rel, err := filepath.Rel(dir, strings.TrimSuffix(file, " (deleted)"))
	return err == nil && rel != "." && filepath.IsLocal(rel)
}
