package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"assent/content"
	"assent/trust"
)

// proofEvery is how long a file that was fetched or read through counts as sound. Disks forget, and files are put back from
// old copies: devices refuse what is not the signed file, and without this they would refuse it for ever.
const proofEvery = 24 * time.Hour

// maxProofOnAsk is how large a file may be that is read through while a device waits for it, in bytes.
const maxProofOnAsk = 64 << 20

// proofs says when each file was last known to be sound. It is memory only: a server that starts reads everything once.
type proofs struct {
	mu sync.Mutex
	at map[string]time.Time
}

// claim reports whether a file is to be read through now, to one caller only.
func (p *proofs) claim(digest string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at, ok := p.at[digest]; ok && now.Sub(at).Abs() < proofEvery {
		return false
	}
	p.note(digest, now)
	return true
}

// came notes that a file was just written, which nothing does without checking it.
func (p *proofs) came(digest string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note(digest, now)
}

func (p *proofs) note(digest string, now time.Time) {
	if p.at == nil {
		p.at = map[string]time.Time{}
	}
	p.at[digest] = now
}

// forget has files read through again.
func (p *proofs) forget(digests ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range digests {
		delete(p.at, d)
	}
}

// proofread reads a file through and removes it when it is not what its name says, or cannot be read: it is fetched again then.
func (m *Mirror) proofread(ctx context.Context, t trust.Target) (sound bool, err error) {
	err = m.readThrough(ctx, t)
	switch {
	case err == nil, errors.Is(err, content.ErrUnknown):
		return err == nil, nil
	case ctx.Err() != nil:
		m.proofs.forget(t.SHA256)
		return false, ctx.Err()
	case content.Unusable(err): // the file may be sound: it is read through when its place is back
		m.proofs.forget(t.SHA256)
		return false, err
	}
	m.Log.Warn("a file of a feed is damaged in this server's store; it is fetched anew", "file", t.Path, "sha256", t.SHA256, "err", err)
	if err := m.Content.Remove(ctx, t.SHA256); err != nil {
		m.proofs.forget(t.SHA256)
		return false, fmt.Errorf("remove a damaged file: %w", err)
	}
	return false, nil
}

func (m *Mirror) readThrough(ctx context.Context, t trust.Target) (err error) {
	file, err := m.Content.Open(ctx, t.SHA256)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	_, err = io.Copy(io.Discard, content.Exactly(ctx, file, t.Size, t.SHA256))
	return err
}

// proofreadAll reads those files of an edition through whose turn it is, and reports whether one was removed.
func (f *follower) proofreadAll(ctx context.Context, e *edition) (damaged bool, err error) {
	for _, t := range e.wanted() {
		if !f.m.proofs.claim(t.SHA256, f.m.Now()) {
			continue
		}
		sound, err := f.m.proofread(ctx, t)
		if err != nil {
			return damaged, err
		}
		damaged = damaged || !sound
		if f.edition() != e {
			break
		}
	}
	return damaged, nil
}

// reread has all files of the present edition read through again: somebody asked for a look at the feed.
func (f *follower) reread() {
	if e := f.edition(); e != nil {
		for _, t := range e.wanted() {
			f.m.proofs.forget(t.SHA256)
		}
	}
}

// wanted lists the edition's targets that are files for devices, by name.
func (e *edition) wanted() []trust.Target {
	var out []trust.Target
	for _, t := range e.targets {
		if isFile(t) {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b trust.Target) int { return cmp.Compare(a.Path, b.Path) })
	return out
}
