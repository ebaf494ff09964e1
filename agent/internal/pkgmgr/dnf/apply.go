package dnf

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"assent/agent/internal/command"
	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

const (
	// overrunAfter is when a running transaction is called overrunning. It is only said; nothing ends it.
	overrunAfter = 2 * time.Hour
	maxLog       = 16 << 10 // bytes of Outcome.Log
	// lockedCode is dnf's exit code where another one holds the lock (exit_on_lock).
	lockedCode = 200
)

var transactionID = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// ownComment begins the comment by which Assent's own runs name themselves, to the guard and in dnf's history.
const ownComment = "assent:"

// Apply implements pkgmgr.Transactor. dnf runs detached: neither a restart nor the death of the agent touches it. Its files are
// compared with the order once more just before, dnf is asked once more, and the guard checks what rpm really gets.
func (d *Dnf) Apply(ctx context.Context, tx pkgmgr.Transaction, progress func(pkgmgr.Progress)) (pkgmgr.Outcome, error) {
	out := pkgmgr.Outcome{ExitCode: -1}
	if !transactionID.MatchString(tx.ID) {
		return out, fmt.Errorf("apply: %.80q is not a transaction id", tx.ID)
	}
	if err := checkWant(tx.Want); err != nil {
		return out, err
	}
	if len(tx.Changes) == 0 {
		return pkgmgr.Outcome{Started: d.cfg.Now(), Finished: d.cfg.Now()}, nil
	}
	if who := d.holder(); who != "" {
		return out, refuse(installation.ManagerBusy, nil, "The package manager is in use by %s.", who)
	}
	calls, err := d.ready(ctx, tx)
	if err != nil || len(calls) == 0 {
		return out, err
	}
	r := newRun(tx, calls, d.poolFile)
	handle, err := d.launch(ctx, r, calls)
	if err != nil {
		return out, fmt.Errorf("apply: %w", err)
	}
	return d.follow(context.WithoutCancel(ctx), handle, r, progress)
}

// ready finds the runs of dnf that do exactly what was ordered, and compares their files.
func (d *Dnf) ready(ctx context.Context, tx pkgmgr.Transaction) ([][]string, error) {
	db, err := d.query(ctx)
	if err != nil {
		return nil, err
	}
	if len(tx.Want.Remove) > 0 {
		changes, err := d.simulateRemoval(ctx, db, tx.Want.Remove)
		if err != nil || len(changes) == 0 {
			return nil, err
		}
		return [][]string{removal(changes)}, nil
	}
	aims, err := d.aims(db, tx.Want)
	if err != nil || len(aims) == 0 {
		return nil, err
	}
	for _, a := range aims {
		if err := d.checkFile(a.item); err != nil {
			return nil, err
		}
	}
	calls, err := d.exact(ctx, db, tx.Want, aims)
	if err != nil {
		return nil, err
	}
	var out [][]string
	for _, c := range calls {
		for _, it := range d.usable(db, tx.Want) {
			if err := d.checkFile(it); err != nil && slices.Contains(c.files, d.poolFile(it.SHA256)) {
				return nil, err
			}
		}
		out = append(out, append([]string{c.verb}, c.files...))
	}
	return out, nil
}

// run is a transaction as its directory remembers it.
type run struct {
	Transaction pkgmgr.Transaction `json:"transaction"`
	Brings      []wire.Change      `json:"brings"` // what comes in, extras that dnf needs among it
}

func newRun(tx pkgmgr.Transaction, calls [][]string, file func(sha256 string) string) run {
	r := run{Transaction: tx}
	for _, c := range tx.Changes {
		if c.Op != wire.OpRemove {
			r.Brings = append(r.Brings, c)
		}
	}
	for _, it := range tx.Want.Extras {
		if slices.ContainsFunc(calls, func(c []string) bool { return slices.Contains(c, file(it.SHA256)) }) {
			r.Brings = append(r.Brings, wire.Change{Op: wire.OpInstall, Name: it.Name, Arch: it.Arch, Version: it.Version, SHA256: it.SHA256, Size: it.Size})
		}
	}
	return r
}

func (d *Dnf) launch(ctx context.Context, r run, calls [][]string) (command.Handle, error) {
	tx := r.Transaction
	dir := d.path("transactions", tx.ID)
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return command.Handle{}, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return command.Handle{}, err
	}
	if err := writeJSON(filepath.Join(dir, "transaction.json"), r); err != nil {
		return command.Handle{}, err
	}
	spec := command.Spec{Name: tx.ID}
	for _, c := range calls {
		spec.Steps = append(spec.Steps, command.Step{Tool: command.DNF, Args: append(append(options(), "-y", "--comment="+ownComment+tx.ID), c...)})
	}
	return d.cfg.Command.Start(ctx, dir, spec)
}

// follow waits for a run and says how it went.
func (d *Dnf) follow(ctx context.Context, h command.Handle, r run, progress func(pkgmgr.Progress)) (pkgmgr.Outcome, error) {
	exit, err := h.Wait(ctx, command.Watch{Output: meter(progress), Deadline: overrunAfter, Overrun: func() {
		d.cfg.Log.Warn("a package manager run takes longer than it should; it is left alone", "transaction", r.Transaction.ID, "pid", h.PID)
	}})
	if err != nil {
		return pkgmgr.Outcome{ExitCode: -1}, fmt.Errorf("apply: %w", err)
	}
	text, err := h.Output(4 << 20)
	if err != nil {
		return pkgmgr.Outcome{ExitCode: -1}, fmt.Errorf("apply: %w", err)
	}
	out := outcome(string(text), exit)
	if err := d.settle(ctx, r.Brings, string(text)); err != nil {
		return out, fmt.Errorf("apply: note what was installed: %w", err)
	}
	d.keep(r.Brings)
	d.forgetOldRuns()
	if exit.Lost {
		return out, errors.New("apply: the package manager run ended without leaving its result")
	}
	return out, classify(out, string(text))
}

var progressLine = regexp.MustCompile(`^  ([A-Z][A-Za-z ]+?) *: (\S+) +(\d+)/(\d+) *$`)

// meter turns dnf's lines into progress.
func meter(report func(pkgmgr.Progress)) func(string) {
	if report == nil {
		return nil
	}
	return func(line string) {
		m := progressLine.FindStringSubmatch(line)
		if m == nil {
			return
		}
		at, err1 := strconv.Atoi(m[3])
		of, err2 := strconv.Atoi(m[4])
		if errors.Join(err1, err2) != nil || of == 0 {
			return
		}
		phase := "unpack"
		if m[1] == "Running scriptlet" || m[1] == "Verifying" {
			phase = "configure"
		}
		report(pkgmgr.Progress{Phase: phase, Package: plain(m[2], 200), Percent: min(100, 100*float64(at)/float64(of)), Text: plain(strings.TrimSpace(line), 200)})
	}
}

// outcome reads what dnf and rpm printed. The exit code is that of the first run that failed.
func outcome(text string, exit command.Exit) pkgmgr.Outcome {
	out := pkgmgr.Outcome{ExitCode: -1, Started: exit.Started, Finished: exit.Finished}
	if len(exit.Codes) > 0 {
		out.ExitCode = exit.Codes[max(0, slices.IndexFunc(exit.Codes, func(c int) bool { return c != 0 }))]
	}
	for _, m := range keptLine.FindAllStringSubmatch(text, -1) {
		out.Conffiles = append(out.Conffiles, plain(m[1], 500))
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "Error") || strings.HasPrefix(line, "error:") || scriptletLine.MatchString(line) {
			out.Errors = append(out.Errors, plain(line, 500))
		}
	}
	out.Errors = out.Errors[:min(len(out.Errors), 50)]
	tail := plain(strings.ReplaceAll(text, "\r", "\n"), len(text))
	out.Log = strings.ToValidUTF8(tail[max(0, len(tail)-maxLog):], "")
	return out
}

var guardLine = regexp.MustCompile(`(?m)^assent: this transaction is refused \(([a-z_]+)\)`)

// classify turns a failed run into a refusal. It says how the run went and is not the verdict.
func classify(out pkgmgr.Outcome, text string) error {
	if failed := failedScriptlets(text); out.ExitCode == 0 && len(failed) == 0 {
		return nil
	}
	why := words(text)
	if len(out.Errors) > 0 {
		why = plain(strings.Join(out.Errors, "; "), 600)
	}
	if m := guardLine.FindStringSubmatch(text); m != nil {
		cause := installation.UnapprovedDependency
		switch m[1] {
		case "declined":
			cause = installation.Declined
		case "digest":
			cause = installation.DigestMismatch
		}
		return refuse(cause, nil, "The check inside the package manager refused it (%s). Nothing was changed.", m[1])
	}
	switch {
	case out.ExitCode == lockedCode:
		return refuse(installation.ManagerBusy, nil, "The package manager is in use: %s", why)
	case strings.Contains(text, "No space left on device"), strings.Contains(text, "more space needed on the"):
		return refuse(installation.NoSpace, nil, "The file system is full: %s", why)
	}
	return refuse(installation.InstallFailed, nil, "The package manager reports: %s", why)
}

// settle notes which content is now installed under which version, and which scriptlets failed.
func (d *Dnf) settle(ctx context.Context, brings []wire.Change, output string) error {
	db, err := d.query(ctx)
	if err != nil {
		return err
	}
	return d.recordContents(db, brings, failedScriptlets(output))
}

// Verify implements pkgmgr.Verifier. The SHA-256 of an item is that of the file which a transaction of ours installed; for a
// package that came in otherwise it stays empty, since rpm does not remember its file.
func (d *Dnf) Verify(ctx context.Context, items []catalog.Item) ([]wire.ProofItem, pkgmgr.Health, error) {
	for _, it := range items {
		if err := checkName(it.Name, it.Arch, it.Version); err != nil {
			return nil, pkgmgr.Health{}, fmt.Errorf("verify: %w", err)
		}
	}
	db, err := d.query(ctx)
	if err != nil {
		return nil, pkgmgr.Health{}, fmt.Errorf("verify: %w", err)
	}
	known, err := d.readContents()
	if err != nil {
		return nil, pkgmgr.Health{}, fmt.Errorf("verify: %w", err)
	}
	proof := make([]wire.ProofItem, 0, len(items))
	for _, it := range items {
		p := wire.ProofItem{Name: it.Name, Arch: it.Arch}
		for _, found := range db.copies(it.Name, it.Arch) {
			if p.Version != it.Version { // where there are several, the wanted one, else the newest
				p.Version, p.Status, p.SHA256 = found.Version, db.status(known, found), known.of(found).SHA256
			}
		}
		proof = append(proof, p)
	}
	return proof, pkgmgr.Health{Broken: db.Broken, Holder: d.holder()}, nil
}
