package apt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"assent/agent/internal/command"
	"assent/agent/internal/guard"
	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/installation"
)

// overrunAfter is when a running transaction is called overrunning. It is only said; nothing ends it.
const overrunAfter = 2 * time.Hour

// maxOutcomeLog caps Outcome.Log, in bytes.
const maxOutcomeLog = 16 << 10

var transactionID = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// transactions is where each run has its directory: preferences, output, progress, exit codes.
func (a *Apt) transactions() string { return filepath.Join(a.cfg.StateDir, "apt", "transactions") }

// Apply implements pkgmgr.Transactor. apt runs detached: neither a restart nor the death of the agent touches it. It
// installs from the archive cache only, whose files are compared with tx once more just before, removes nothing but what tx
// says, and the guard checks what dpkg really gets. The error is a Refusal where the run could not do its work at all.
func (a *Apt) Apply(ctx context.Context, tx pkgmgr.Transaction, progress func(pkgmgr.Progress)) (pkgmgr.Outcome, error) {
	out := pkgmgr.Outcome{ExitCode: -1}
	if !transactionID.MatchString(tx.ID) {
		return out, fmt.Errorf("apply: %.80q is not a transaction id", tx.ID)
	}
	if err := checkWant(tx.Want); err != nil {
		return out, err
	}
	if len(tx.Changes) == 0 {
		return pkgmgr.Outcome{Started: a.cfg.Now(), Finished: a.cfg.Now()}, nil
	}
	if err := a.ready(tx); err != nil {
		return out, err
	}
	handle, err := a.launch(ctx, tx)
	if err != nil {
		return out, err
	}
	return a.follow(context.WithoutCancel(ctx), handle, tx, progress)
}

// ready refuses to start what would fail or surprise: files of other content, an interrupted or busy package manager. A package
// whose script fails does not stop others, nor its own next or previous version.
func (a *Apt) ready(tx pkgmgr.Transaction) error {
	if err := a.checkFiles(tx.Changes); err != nil {
		return err
	}
	health, err := a.health()
	if err != nil {
		return err
	}
	if health.Holder != "" {
		return refuse(installation.ManagerBusy, nil, "The package manager is in use by %s.", health.Holder)
	}
	if s, err := readStatus(a.fsys); err != nil || s.Pending {
		return errors.Join(err, refuse(installation.ManagerBroken, nil, "The package manager needs repair first: %s", health.Broken))
	}
	return nil
}

// launch starts the run: apt, and after it, whatever apt ended with, the marks that apt's command line loses.
func (a *Apt) launch(ctx context.Context, tx pkgmgr.Transaction) (command.Handle, error) {
	w, err := a.world(ctx, wantedNames(tx.Want))
	if err != nil {
		return command.Handle{}, fmt.Errorf("apply: %w", err)
	}
	auto := autoItems(w, tx)
	dir := filepath.Join(a.transactions(), tx.ID)
	if err := os.MkdirAll(a.transactions(), 0o700); err != nil {
		return command.Handle{}, fmt.Errorf("apply: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return command.Handle{}, fmt.Errorf("apply: %w", err)
	}
	prefs, err := writePreferences(dir, wall(tx.Want))
	if err == nil {
		err = writeJSON(filepath.Join(dir, "transaction.json"), run{Transaction: tx, Auto: auto})
	}
	if err != nil {
		return command.Handle{}, fmt.Errorf("apply: %w", err)
	}
	spec := command.Spec{Name: tx.ID, Steps: []command.Step{{Tool: command.AptGet, Args: a.runArgs(w, tx, prefs)}}}
	if len(auto) > 0 {
		// Marks need no package lists; with them apt-mark would build apt's whole cache anew.
		none := filepath.Join(dir, "lists")
		if err := os.MkdirAll(filepath.Join(none, "partial"), 0o755); err != nil {
			return command.Handle{}, fmt.Errorf("apply: %w", err)
		}
		spec.Steps = append(spec.Steps, command.Step{Tool: command.AptMark, Args: append([]string{"-q", "-o", "Dir::State::Lists=" + none,
			"-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=", "auto", "--"}, auto...)})
	}
	handle, err := a.cfg.Command.Start(ctx, dir, spec)
	if err != nil {
		return handle, fmt.Errorf("apply: %w", err)
	}
	return handle, nil
}

func (a *Apt) runArgs(w *world, tx pkgmgr.Transaction, prefs preferences) []string {
	args := append([]string{"-y", "-q=1",
		"-o", fmt.Sprintf("APT::Status-Fd=%d", command.StatusFd),
		"-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold",
		"-o", "DPkg::Lock::Timeout=60",
		"-o", guard.OwnOption + "=" + tx.ID,
		"-o", "Dir::Cache::Archives=" + a.archives(),
		"-o", "APT::Keep-Downloaded-Packages=true",
		"--no-download"}, common()...)
	args = append(args, prefs.options()...)
	if len(tx.Want.Remove) > 0 {
		return append(append(args, verbRemove), w.removeArguments(tx.Want.Remove)...)
	}
	if !removes(tx) {
		args = append(args, "--no-remove")
	}
	if tx.Want.Downgrade {
		args = append(args, "--allow-downgrades")
	}
	return append(append(args, verbInstall), a.arguments(w, tx.Want, targetsOf(tx))...)
}

// targetsOf are the wanted items that the transaction changes: naming one that is there already would mark it as
// manually installed and do nothing else.
func targetsOf(tx pkgmgr.Transaction) []catalog.Item {
	var out []catalog.Item
	for _, it := range tx.Want.Items {
		for _, c := range tx.Changes {
			if c.Name == it.Name && c.Arch == it.Arch && c.Version == it.Version {
				out = append(out, it)
			}
		}
	}
	return out
}

// autoItems are the packages to be marked as automatically installed again: naming them on apt's command line takes
// the mark away.
func autoItems(w *world, tx pkgmgr.Transaction) []string {
	var out []string
	for _, it := range targetsOf(tx) {
		if u, ok := w.find(it.Name, it.Arch); ok && u.Auto {
			out = append(out, it.Name+":"+orNative(it.Arch, w.native))
		}
	}
	return out
}

func orNative(arch, native string) string {
	if arch == "all" {
		return native
	}
	return arch
}

// follow waits for a run and says how it went.
func (a *Apt) follow(ctx context.Context, h command.Handle, tx pkgmgr.Transaction, progress func(pkgmgr.Progress)) (pkgmgr.Outcome, error) {
	meter := newMeter(tx, progress)
	exit, err := h.Wait(ctx, command.Watch{Status: meter.status, Deadline: overrunAfter, Overrun: func() {
		a.cfg.Log.Warn("a package manager run takes longer than it should; it is left alone", "transaction", tx.ID, "pid", h.PID)
	}})
	if err != nil {
		return pkgmgr.Outcome{ExitCode: -1}, fmt.Errorf("apply: %w", err)
	}
	text, err := h.Output(4 << 20)
	if err != nil {
		return pkgmgr.Outcome{ExitCode: -1}, fmt.Errorf("apply: %w", err)
	}
	out := outcome(string(text), exit)
	a.settle(tx)
	if exit.Lost {
		return out, errors.New("apply: the package manager run ended without leaving its result")
	}
	return out, classifyRun(out, string(text))
}

// outcome reads what apt and dpkg printed.
func outcome(text string, exit command.Exit) pkgmgr.Outcome {
	out := pkgmgr.Outcome{ExitCode: -1, Started: exit.Started, Finished: exit.Finished, Conffiles: keptConffiles(text)}
	if len(exit.Codes) > 0 {
		out.ExitCode = exit.Codes[0]
	}
	for _, e := range aptErrors(text) {
		out.Errors = append(out.Errors, plain(e, 500))
	}
	for _, e := range dpkgErrors(text) {
		out.Errors = append(out.Errors, plain(e, 500))
	}
	out.Errors = out.Errors[:min(len(out.Errors), 50)]
	tail := plain(strings.ReplaceAll(text, "\r", "\n"), len(text))
	if len(tail) > maxOutcomeLog {
		tail = strings.ToValidUTF8(tail[len(tail)-maxOutcomeLog:], "")
	}
	out.Log = tail
	return out
}

// dpkgErrors are dpkg's own words about what failed. It puts the package on one line, with a colon at its end, and what is
// the matter, indented, on the next.
func dpkgErrors(text string) []string {
	var out []string
	open := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "dpkg: error"):
			out = append(out, line)
			open = strings.HasSuffix(line, ":")
		case open && strings.HasPrefix(line, " "):
			out[len(out)-1] += " " + strings.Join(strings.Fields(line), " ")
		default:
			open = false
		}
	}
	return out
}

var conffileLine = regexp.MustCompile(`(?m)^Configuration file '([^'\n]+)'\n(?: ==> .*\n)* ==> Keeping old config file as default\.`)

// keptConffiles are the configuration files that dpkg left as the administrator had them.
func keptConffiles(text string) []string {
	var out []string
	for _, m := range conffileLine.FindAllStringSubmatch(text, -1) {
		out = append(out, plain(m[1], 500))
	}
	return out
}

// classifyRun turns a failed run into a refusal. It says how the run went and is not the verdict.
func classifyRun(out pkgmgr.Outcome, text string) error {
	if out.ExitCode == 0 {
		return nil
	}
	words := "exit code " + fmt.Sprint(out.ExitCode)
	if len(out.Errors) > 0 {
		words = plain(strings.Join(out.Errors, "; "), 600)
	}
	if code, ok := guardCode(text); ok {
		return refuse(guardCause(code), nil, "The check inside the package manager refused it (%s). Nothing was changed.", code)
	}
	switch {
	case strings.Contains(text, "Could not get lock"):
		return refuse(installation.ManagerBusy, nil, "The package manager is in use: %s", words)
	case strings.Contains(text, "dpkg was interrupted"):
		return refuse(installation.ManagerBroken, nil, "The package manager was interrupted before: %s", words)
	case strings.Contains(text, "No space left on device"):
		return refuse(installation.NoSpace, nil, "The file system is full: %s", words)
	}
	return refuse(installation.InstallFailed, nil, "The package manager reports: %s", words)
}

var guardLine = regexp.MustCompile(`(?m)^assent: this transaction is refused \(([a-z_]+)\)`)

func guardCode(text string) (string, bool) {
	m := guardLine.FindStringSubmatch(text)
	if m == nil {
		return "", false
	}
	return m[1], true
}

func guardCause(code string) installation.Cause {
	switch code {
	case "declined":
		return installation.Declined
	case "digest":
		return installation.DigestMismatch
	}
	return installation.UnapprovedDependency
}

// settle notes which content is now installed under which version, and forgets old files and runs.
func (a *Apt) settle(tx pkgmgr.Transaction) {
	if err := a.recordContents(tx.Changes); err != nil {
		a.cfg.Log.Warn("the contents of what was installed could not be noted", "error", err)
	}
	a.pruneArchives(tx.Changes)
	a.keepPayloads(tx.Changes)
	a.forgetOldRuns()
}
