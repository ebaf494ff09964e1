package apt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"assent/agent/internal/command"
	"assent/agent/internal/durable"
	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/wire"
)

var _ pkgmgr.Verifier = (*Apt)(nil)

// auditDeadline bounds dpkg --audit, which only reads.
const auditDeadline = 2 * time.Minute

// Verify implements pkgmgr.Verifier. The SHA-256 of an item is that of the file which a transaction of ours installed; for a
// package that came in otherwise it stays empty, since dpkg does not remember contents.
func (a *Apt) Verify(ctx context.Context, items []catalog.Item) ([]wire.ProofItem, pkgmgr.Health, error) {
	for _, it := range items {
		if err := checkName(it.Name, it.Arch, it.Version); err != nil {
			return nil, pkgmgr.Health{}, fmt.Errorf("verify: %w", err)
		}
	}
	w, err := a.world(ctx, nil)
	if err != nil {
		return nil, pkgmgr.Health{}, fmt.Errorf("verify: %w", err)
	}
	contents, err := a.readContents()
	if err != nil {
		return nil, pkgmgr.Health{}, fmt.Errorf("verify: %w", err)
	}
	proof := make([]wire.ProofItem, 0, len(items))
	for _, it := range items {
		p := wire.ProofItem{Name: it.Name, Arch: it.Arch}
		if u, ok := w.find(it.Name, it.Arch); ok {
			p.Arch, p.Version, p.Status = u.Arch, u.Version, u.abbrev()
			p.SHA256 = contents.of(u)
		}
		proof = append(proof, p)
	}
	health, err := a.health()
	if err == nil && health.Broken == "" {
		health.Broken, err = a.audit(ctx)
	}
	if err != nil {
		return nil, pkgmgr.Health{}, fmt.Errorf("verify: %w", err)
	}
	return proof, health, nil
}

// audit is what dpkg itself finds wrong with its database; empty when nothing.
func (a *Apt) audit(ctx context.Context) (string, error) {
	res, err := a.cfg.Command.Run(ctx, command.Call{Tool: command.Dpkg, Args: []string{"--audit"}, Deadline: auditDeadline})
	if err != nil {
		return "", err
	}
	out := strings.TrimSpace(string(res.Stdout) + string(res.Stderr))
	if out == "" && res.Code != 0 {
		out = fmt.Sprintf("dpkg --audit ended with exit code %d", res.Code)
	}
	return plain(strings.Join(strings.Fields(out), " "), 400), nil
}

// contents are the digests of installed files by "name:arch", for the versions that our transactions brought.
type contents map[string]content

type content struct {
	Version string `json:"version"`
	SHA256  string `json:"sha256"`
}

func (c contents) of(u *installed) string {
	if have := c[u.Name+":"+u.Arch]; have.Version == u.Version {
		return have.SHA256
	}
	return ""
}

func (a *Apt) contentsFile() string { return filepath.Join(a.cfg.StateDir, "apt", "contents.json") }

func (a *Apt) readContents() (contents, error) {
	c := contents{}
	err := readJSON(a.contentsFile(), &c)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return c, err
}

// recordContents notes the content of what changes installed, where the device has it now.
func (a *Apt) recordContents(changes []wire.Change) error {
	c, err := a.readContents()
	if err != nil {
		return err
	}
	s, err := readStatus(a.fsys)
	if err != nil {
		return err
	}
	for _, ch := range changes {
		if u := s.find(ch.Name, ch.Arch); u != nil && u.Version == ch.Version {
			c[ch.Name+":"+ch.Arch] = content{ch.Version, ch.SHA256}
		}
	}
	for key := range c {
		if name, arch, _ := strings.Cut(key, ":"); s.find(name, arch) == nil {
			delete(c, key)
		}
	}
	return writeJSON(a.contentsFile(), c)
}

// writeJSON puts a value in place whole or not at all, on disk when it returns.
func writeJSON(path string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", filepath.Base(path), err)
	}
	return durable.Write(path, body, 0o600, 0o700)
}

func readJSON(path string, v any) error {
	body, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// readRecords reads all files of a pattern, which say what was there before: one that cannot be read is an error.
func readRecords[T any](pattern string) ([]T, error) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	var out []T
	for _, f := range files {
		var record T
		if err := readJSON(f, &record); err != nil {
			return nil, fmt.Errorf("read what was there before: %w", err)
		}
		out = append(out, record)
	}
	return out, nil
}
