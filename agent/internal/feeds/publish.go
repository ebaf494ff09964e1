package feeds

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"assent/agent/internal/command"
	"assent/agent/internal/feeds/aptrepo"
)

// updateDeadline bounds bringing apt's lists of the local repositories up to date, which reads local files only.
const updateDeadline = 5 * time.Minute

// Stamp changes whenever what Releases gives does.
func (f *Feeds) Stamp() string {
	h := sha256.New()
	for _, one := range f.followed() {
		for _, r := range one.known() {
			fmt.Fprintf(h, "%s %s %v\n", r.PURL(), r.Unknown, r.Revoked)
			for _, it := range r.Manifest.Items {
				fmt.Fprintln(h, it.Name, it.Arch, it.Version, it.SHA256)
			}
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil))[:32]
}

// publish puts the Debian packages of the followed feeds before apt and makes apt read them. It costs a few reads when
// nothing changed.
func (f *Feeds) publish(ctx context.Context) error {
	if f.cfg.Command == nil {
		return nil
	}
	device := aptrepo.Device{Platform: f.cfg.Platform(), Foreign: f.foreign()}
	var repositories []aptrepo.Repository
	for _, one := range f.followed() {
		r := aptrepo.New(one.id, one.known(), device)
		one.leaveOut(r.Refused)
		repositories = append(repositories, r)
	}
	if err := aptrepo.Write(f.cfg.Root, repositories, f.cfg.Now()); err != nil {
		return err
	}
	if aptrepo.Listed(f.cfg.Root) {
		return nil
	}
	return f.update(ctx)
}

// foreign are dpkg's foreign architectures.
func (f *Feeds) foreign() []string {
	b, err := os.ReadFile(filepath.Join(f.cfg.Root, "var/lib/dpkg/arch"))
	if err != nil {
		return nil // dpkg writes the file when it is first told of one
	}
	return strings.Fields(string(b))
}

// update makes apt read the local repositories, and nothing else.
func (f *Feeds) update(ctx context.Context) error {
	res, err := f.cfg.Command.Run(ctx, command.Call{Tool: command.AptGet, Deadline: updateDeadline, Args: []string{
		"-q", "--error-on=any", "-o", "Dir::Etc::sourcelist=/" + aptrepo.SourceFile, "-o", "Dir::Etc::sourceparts=-",
		"-o", "APT::Get::List-Cleanup=0", "-o", "APT::Color=false", "update"}})
	if err == nil && res.Code != 0 {
		err = fmt.Errorf("exit code %d: %.300s", res.Code, strings.Join(strings.Fields(string(res.Stderr)), " "))
	}
	if err == nil && !aptrepo.Listed(f.cfg.Root) {
		err = errors.New("apt kept other lists")
	}
	if err != nil {
		return fmt.Errorf("make apt read the repositories of feeds: %w", err)
	}
	return nil
}

// Remove takes everything off the device that feeds put there: the repositories, apt's source and lists of them, payloads,
// and all state, the pinned roots among it. Installed applications stay, as packages do.
func (f *Feeds) Remove(ctx context.Context) error {
	f.turn.Lock()
	defer f.turn.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("remove feeds: %w", err)
	}
	f.mu.Lock()
	feeds := f.feeds
	f.feeds = map[string]*follower{}
	f.mu.Unlock()
	var errs []error
	for _, one := range feeds {
		errs = append(errs, one.dir.Close())
	}
	errs = append(errs, os.RemoveAll(f.dir()))
	if f.cfg.Command != nil {
		errs = append(errs, aptrepo.Remove(f.cfg.Root))
	}
	if err := errors.Join(errs...); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove feeds: %w", err)
	}
	return nil
}
