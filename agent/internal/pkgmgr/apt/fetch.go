package apt

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"assent/agent/internal/command"
	"assent/agent/internal/pkgmgr"
	"assent/installation"
	"assent/wire"
)

// fetchDeadline bounds one download. It may be ended at any time: apt resumes partial files.
const fetchDeadline = 4 * time.Hour

// Fetch implements pkgmgr.Transactor. Files go into Assent's own archive cache, so that no lock is needed and no other
// run of apt interferes.
func (a *Apt) Fetch(ctx context.Context, tx pkgmgr.Transaction, progress func(pkgmgr.Progress)) error {
	if err := checkWant(tx.Want); err != nil {
		return err
	}
	if err := a.ensureArchives(); err != nil {
		return err
	}
	if err := a.adopt(tx.Changes); err != nil {
		return err
	}
	if err := a.checkSpace(tx); err != nil {
		return err
	}
	if err := a.prepare(ctx, tx, progress); err != nil {
		return err
	}
	if !a.complete(tx.Changes) {
		if err := a.download(ctx, tx, progress); err != nil {
			return err
		}
	}
	return a.checkFiles(tx.Changes)
}

func (a *Apt) complete(changes []wire.Change) bool {
	for _, c := range changes {
		if c.Op != wire.OpRemove && !a.isThere(c) {
			return false
		}
	}
	return true
}

// download lets apt fetch what is missing. It takes no lock: in download-only mode apt changes nothing but the
// archive cache, which is ours.
func (a *Apt) download(ctx context.Context, tx pkgmgr.Transaction, progress func(pkgmgr.Progress)) error {
	dir, err := a.scratch()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	prefs, err := writePreferences(dir, wall(tx.Want))
	if err != nil {
		return err
	}
	w, err := a.world(ctx, wantedNames(tx.Want))
	if err != nil {
		return err
	}
	args := append([]string{"-y", "-q=1", "-d", "-o", "Debug::NoLocking=1", "-o", "Dir::Cache::Archives=" + a.archives(),
		"-o", "Acquire::Retries=3", "-o", "Acquire::http::Timeout=30", "-o", "Acquire::https::Timeout=30",
		"-o", fmt.Sprintf("APT::Get::Remove=%t", removes(tx))}, common()...)
	args = append(args, prefs.options()...)
	if tx.Want.Downgrade {
		args = append(args, "--allow-downgrades")
	}
	args = append(args, "install")
	meter := newMeter(tx, progress)
	res, err := a.cfg.Command.Run(ctx, command.Call{Tool: command.AptGet, Args: append(args, a.arguments(w, tx.Want, targetsOf(tx))...),
		Deadline: fetchDeadline, Line: func(_ command.Stream, line string) { meter.download(line) }})
	if err != nil {
		return fmt.Errorf("download with apt: %w", err)
	}
	if out := string(res.Stdout) + "\n" + string(res.Stderr); res.Code != 0 {
		return classifyDownload(out)
	}
	return nil
}

// classifyDownload names the cause of a failed download.
func classifyDownload(out string) error {
	words := aptWords(out)
	switch {
	case strings.Contains(out, "enough free space in") || strings.Contains(out, "No space left on device"):
		return refuse(installation.NoSpace, nil, "There is no room for the download: %s", words)
	case strings.Contains(out, "Hash Sum mismatch") || strings.Contains(out, "File has unexpected size"):
		return refuse(installation.DigestMismatch, nil, "A package source sends other content than it has signed: %s", words)
	}
	return refuse(installation.ContentUnavailable, nil, "The download failed: %s", words)
}

// checkFiles compares size and SHA-256 of every file of a transaction with what was approved.
func (a *Apt) checkFiles(changes []wire.Change) error {
	for _, c := range changes {
		if c.Op == wire.OpRemove {
			continue
		}
		sum, size, err := fileDigest(filepath.Join(a.archives(), archiveName(c.Name, c.Arch, c.Version)))
		key := c.Name + ":" + c.Arch + "=" + c.Version
		if err != nil {
			return refuse(installation.ContentUnavailable, nil, "The file of %s is not there: %v.", key, err)
		}
		if sum != c.SHA256 || c.Size > 0 && size != c.Size {
			return refuse(installation.DigestMismatch, nil, "The file of %s has other content than was approved: found SHA-256 %s (%d bytes), approved %s (%d bytes).",
				key, sum, size, c.SHA256, c.Size)
		}
	}
	return nil
}

// meter turns what apt prints into progress. A nil report is fine.
type meter struct {
	report func(pkgmgr.Progress)
	files  int
	done   int
}

func newMeter(tx pkgmgr.Transaction, report func(pkgmgr.Progress)) *meter {
	if report == nil {
		report = func(pkgmgr.Progress) {}
	}
	m := &meter{report: report}
	for _, c := range tx.Changes {
		if c.Op != wire.OpRemove {
			m.files++
		}
	}
	return m
}

var gotFile = regexp.MustCompile(`^Get:\d+ \S+ \S+ \S+ (\S+) `)

func (m *meter) download(line string) {
	found := gotFile.FindStringSubmatch(line)
	if found == nil {
		return
	}
	m.done++
	m.report(pkgmgr.Progress{Phase: "download", Package: found[1], Text: plain(line, 200),
		Percent: min(100, 100*float64(m.done)/float64(max(1, m.files)))})
}

// status reads a line of APT::Status-Fd: KIND:PACKAGE:PERCENT:TEXT, where the text may hold colons.
func (m *meter) status(line string) {
	kind, rest, _ := strings.Cut(line, ":")
	if kind != "pmstatus" {
		return
	}
	f := strings.SplitN(rest, ":", 3)
	if len(f) != 3 {
		return
	}
	percent, err := strconv.ParseFloat(f[1], 64)
	if err != nil || !(percent >= 0 && percent <= 100) {
		return
	}
	phase := "unpack"
	if strings.HasPrefix(f[2], "Configuring") || strings.HasPrefix(f[2], "Setting up") || strings.HasPrefix(f[2], "Installed") ||
		strings.HasPrefix(f[2], "Running") || strings.Contains(f[2], "to configure") || strings.Contains(f[2], "configure") {
		phase = "configure"
	}
	m.report(pkgmgr.Progress{Phase: phase, Package: plain(f[0], 200), Percent: percent, Text: plain(f[2], 200)})
}
