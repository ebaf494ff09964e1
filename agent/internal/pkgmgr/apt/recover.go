package apt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"assent/agent/internal/command"
	"assent/agent/internal/durable"
	"assent/agent/internal/guard"
	"assent/agent/internal/pkgmgr"
)

// keptRuns is how many directories of finished runs stay for looking into.
const keptRuns = 20

// run is a transaction as its directory remembers it.
type run struct {
	Transaction pkgmgr.Transaction `json:"transaction"`
	Auto        []string           `json:"auto,omitempty"` // to be marked as automatically installed again

	dir  string
	when time.Time
}

// Recover implements pkgmgr.Transactor. It first waits for runs of ours that are under way, however long they take, and
// for maintainer scripts that outlived their dpkg. It repairs by `dpkg --configure -a`, then by ending a removal of ours that
// was interrupted half way, then by `apt-get -f install`, which
// may put in nothing but what the last transaction wanted and remove nothing; else Health.Broken says what
// needs hands. What another process does is left to it: Health.Holder names it then.
func (a *Apt) Recover(ctx context.Context) (pkgmgr.Health, error) {
	last, err := a.settleRuns(ctx)
	if err != nil {
		return pkgmgr.Health{}, fmt.Errorf("recover: %w", err)
	}
	h, err := a.sound(ctx)
	if err != nil || h.Holder != "" || h.Broken == "" {
		return h, err
	}
	if err := awaitScripts(ctx, maintainerScripts); err != nil {
		return h, fmt.Errorf("recover: %w", err)
	}
	configure := command.Step{Tool: command.Dpkg, Args: []string{"--force-confdef", "--force-confold", "--configure", "-a"}}
	if err := a.repair(ctx, "configure", configure); err != nil {
		return h, fmt.Errorf("recover: %w", err)
	}
	if h, err = a.sound(ctx); err != nil || h.Holder != "" || h.Broken == "" {
		return h, err
	}
	if h, err = a.finishRemoval(ctx, last, h); err != nil || h.Holder != "" || h.Broken == "" {
		return h, err
	}
	if err := a.fix(ctx, last); err != nil {
		var no *pkgmgr.Refusal
		if errors.As(err, &no) {
			h.Broken = clip(h.Broken+". "+no.Detail, 600)
			return h, nil
		}
		return h, fmt.Errorf("recover: %w", err)
	}
	return a.sound(ctx)
}

// sound is the package manager's health with dpkg's own opinion.
func (a *Apt) sound(ctx context.Context) (pkgmgr.Health, error) {
	h, err := a.health()
	if err == nil && h.Broken == "" && h.Holder == "" {
		h.Broken, err = a.audit(ctx)
	}
	if err != nil {
		return h, fmt.Errorf("look at the package manager: %w", err)
	}
	return h, nil
}

// runs lists the directories of runs, oldest first.
func (a *Apt) runs() ([]run, error) {
	entries, err := os.ReadDir(a.transactions())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list transactions: %w", err)
	}
	var out []run
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !e.IsDir() {
			continue
		}
		r := run{}
		dir := filepath.Join(a.transactions(), e.Name())
		// A directory without a readable transaction is a repair, or a crash before the run could begin.
		_ = readJSON(filepath.Join(dir, "transaction.json"), &r)
		r.dir, r.when = dir, info.ModTime()
		out = append(out, r)
	}
	slices.SortFunc(out, func(x, y run) int { return x.when.Compare(y.when) })
	return out, nil
}

// settleRuns waits for runs under way, makes sure that those which did not begin never will, finishes what a lost run
// could not, and returns the newest transaction.
func (a *Apt) settleRuns(ctx context.Context) (run, error) {
	runs, err := a.runs()
	var last run
	for _, r := range runs {
		if err != nil {
			break
		}
		if r.Transaction.ID != "" {
			last = r
		}
		err = a.settleRun(ctx, r)
	}
	return last, err
}

func (a *Apt) settleRun(ctx context.Context, r run) error {
	settled := filepath.Join(r.dir, "settled")
	if _, err := os.Stat(settled); err == nil {
		return nil
	}
	if command.Drop(r.dir) {
		return durable.Write(settled, nil, 0o600, 0o700)
	}
	h, err := command.Find(r.dir)
	if err != nil {
		return durable.Write(settled, nil, 0o600, 0o700) // it was taken and died before it could begin
	}
	exit, err := h.Wait(ctx, command.Watch{Deadline: overrunAfter, Overrun: func() {
		a.cfg.Log.Warn("a package manager run takes longer than it should; it is left alone", "dir", r.dir, "pid", h.PID)
	}})
	if err != nil {
		return err
	}
	if exit.Lost && len(r.Auto) > 0 {
		if err := a.markAuto(ctx, r.Auto); err != nil {
			return err
		}
	}
	if err := a.recordContents(r.Transaction.Changes); err != nil {
		return err
	}
	return durable.Write(settled, nil, 0o600, 0o700)
}

// markAuto repeats the last step of a run that ended before it.
func (a *Apt) markAuto(ctx context.Context, packages []string) error {
	res, err := a.cfg.Command.Run(ctx, command.Call{Tool: command.AptMark, Deadline: time.Minute,
		Args: append([]string{"-q", "auto", "--"}, packages...)})
	if err == nil && res.Code != 0 {
		err = fmt.Errorf("exit code %d: %.200s", res.Code, res.Stderr)
	}
	if err != nil {
		return fmt.Errorf("mark packages as automatically installed: %w", err)
	}
	return nil
}

// forgetOldRuns removes the directories of all but the newest finished runs.
func (a *Apt) forgetOldRuns() {
	runs, err := a.runs()
	if err != nil {
		return
	}
	for _, r := range runs[:max(0, len(runs)-keptRuns)] {
		if h, err := command.Find(r.dir); err != nil || !h.Alive() {
			_ = os.RemoveAll(r.dir)
		}
	}
}

// awaitScripts waits until no maintainer script runs any more: configuring a package again while its script still runs
// would run it twice at once. They are other processes' children, so all that can be done is to look.
func awaitScripts(ctx context.Context, running func() []int) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for len(running()) > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for maintainer scripts: %w", ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// repair runs one program detached and waits for it. Its exit code does not count: the state afterwards does.
func (a *Apt) repair(ctx context.Context, name string, step command.Step) error {
	if err := os.MkdirAll(a.transactions(), 0o700); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(a.transactions(), "repair-")
	if err != nil {
		return err
	}
	h, err := a.cfg.Command.Start(ctx, dir, command.Spec{Name: filepath.Base(dir), Steps: []command.Step{step}})
	if err != nil {
		return err
	}
	_, err = h.Wait(ctx, command.Watch{Deadline: overrunAfter, Overrun: func() {
		a.cfg.Log.Warn("a repair takes longer than it should; it is left alone", "repair", name, "pid", h.PID)
	}})
	return err
}

// fix lets apt repair dependencies, after a simulation showed that it would stay within the last transaction.
func (a *Apt) fix(ctx context.Context, last run) error {
	dir, err := a.scratch()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	want := last.Transaction.Want
	prefs, err := writePreferences(dir, wall(want))
	if err != nil {
		return err
	}
	args := append(append([]string{"-o", "Dir::Cache::Archives=" + a.archives()}, common()...), prefs.options()...)
	res, err := a.cfg.Command.Run(ctx, command.Call{Tool: command.AptGet, Deadline: simulateDeadline, Limit: 32 << 20,
		Args: append(append([]string{"-s", "-q", "-o", "Debug::NoLocking=1"}, args...), "-f", "install")})
	if err != nil {
		return err
	}
	out := string(res.Stdout) + "\n" + string(res.Stderr)
	if res.Code != 0 {
		return refuse("", nil, "apt cannot repair it: %s", aptWords(out))
	}
	steps, err := parseSimulation(out)
	if err != nil {
		return err
	}
	if beyond := beyond(want, steps); len(beyond) > 0 {
		return refuse("", nil, "apt would repair it by %s, which nobody approved.", strings.Join(beyond, ", "))
	}
	return a.repair(ctx, "fix", command.Step{Tool: command.AptGet, Args: append(append([]string{"-y", "-q=1", "--no-remove",
		"-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold", "-o", "DPkg::Lock::Timeout=60",
		"-o", "APT::Keep-Downloaded-Packages=true", "-o", guard.OwnOption + "=" + guard.RecoveryPrefix + filepath.Base(dir)}, args...), "-f", "install")})
}

// beyond lists the steps of a repair that stand outside a Want.
func beyond(want pkgmgr.Want, steps []step) []string {
	var out []string
	for _, s := range steps {
		switch {
		case s.Remove:
			out = append(out, "removing "+s.Name)
		case !has(want.Items, s.Name, s.Arch, s.Version) && !has(want.Extras, s.Name, s.Arch, s.Version):
			out = append(out, "installing "+s.Name+" "+s.Version)
		}
	}
	return out
}
