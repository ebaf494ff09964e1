package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/agent/internal/pkgmgr"
	"assent/agent/internal/pkgmgr/tree"
	"assent/agent/internal/selfupdate"
	"assent/catalog"
	"assent/feed"
	"assent/installation"
	"assent/wire"
)

// ownName is the agent's own name as a component in feeds.
const ownName = "assent-agent"

// own reports whether an item is a version of the agent itself.
func own(it catalog.Item) bool { return it.Name == ownName && it.Format.Side() }

// component is the device's package managers, with what is special about the agent's own component: it counts as
// installed only where it is what runs, and putting it there ends the version that does.
type component struct {
	Manager
	tree     *tree.Tree
	releases func() []feed.Release
	book     *selfupdate.Book
	version  string // that runs
	payload  string // that it came in; empty for the installed program
	handOver func() // ends the agent so that the version that was offered can start
}

// bad is why a version of the agent will not be tried again; nil if it may be.
func (c *component) bad(it catalog.Item) error {
	if !own(it) || c.runs(it) {
		return nil
	}
	bad, err := c.book.Bad(it.SHA256)
	if err != nil || bad == nil {
		return err
	}
	return &pkgmgr.Refusal{Cause: installation.InstallFailed, Detail: fmt.Sprintf("the agent went back to %s on %s: %s; this build is not tried again",
		c.version, bad.At.Format(time.RFC3339), bad.Why)}
}

func (c *component) runs(it catalog.Item) bool { return c.payload != "" && c.payload == it.SHA256 }

// standDown takes a version out of force that did not prove itself.
func (c *component) standDown(ctx context.Context) error {
	p, err := c.tree.Program(ctx, ownName)
	if err != nil {
		return nil //nolint:nilerr // there is none, or it is damaged: then it is not started either
	}
	if bad, err := c.book.Bad(p.Payload); err != nil || bad == nil || p.Payload == c.payload {
		return err
	}
	return c.tree.Retreat(ctx, ownName, p.Payload, c.payload)
}

// Verify implements pkgmgr.Verifier: of the agent itself only what runs is there.
func (c *component) Verify(ctx context.Context, items []catalog.Item) ([]wire.ProofItem, pkgmgr.Health, error) {
	out, health, err := c.Manager.Verify(ctx, items)
	for i := range out {
		if i < len(items) && own(items[i]) && out[i].Version != "" && !c.runs(items[i]) {
			out[i].Status = "iF" // unpacked, and not what runs
		}
	}
	return out, health, err
}

// Fetch implements pkgmgr.Transactor: nothing is downloaded for a version that will not be tried again.
func (c *component) Fetch(ctx context.Context, tx pkgmgr.Transaction, progress func(pkgmgr.Progress)) error {
	if slices.ContainsFunc(tx.Want.Items, func(it catalog.Item) bool { return c.bad(it) != nil }) {
		return nil
	}
	return c.Manager.Fetch(ctx, tx, progress)
}

// Apply implements pkgmgr.Transactor. A transaction with the agent's own component, which is alone in it, ends with the end of this
// process: the version that runs next finds it open, and what runs then says how it went.
func (c *component) Apply(ctx context.Context, tx pkgmgr.Transaction, progress func(pkgmgr.Progress)) (pkgmgr.Outcome, error) {
	i := slices.IndexFunc(tx.Want.Items, own)
	if i < 0 {
		return c.Manager.Apply(ctx, tx, progress)
	}
	if err := c.admit(tx.Want.Items[i]); err != nil {
		return pkgmgr.Outcome{ExitCode: -1}, err
	}
	out, err := c.Manager.Apply(ctx, tx, progress)
	if err != nil {
		return out, err
	}
	p, err := c.tree.Program(ctx, ownName)
	if err == nil {
		err = c.book.Offer(selfupdate.Program{Version: p.Version, Path: p.Path, SHA256: p.SHA256, Payload: p.Payload})
	}
	if err != nil {
		refusal := &pkgmgr.Refusal{Cause: installation.InstallFailed, Detail: err.Error()}
		if back := c.tree.Retreat(ctx, ownName, tx.Want.Items[i].SHA256, c.payload); back != nil {
			refusal.Detail += "; " + back.Error()
		}
		return out, refusal
	}
	c.handOver()
	return out, nil
}

// admit refuses a version that must not take over from the one that runs.
func (c *component) admit(it catalog.Item) error {
	if err := c.bad(it); err != nil {
		return err
	}
	if !selfupdate.Newer(it.Version, c.version) {
		return &pkgmgr.Refusal{Cause: installation.DowngradeNeeded, Detail: fmt.Sprintf("version %s of the agent runs, and %s is not newer: the agent does not go back by itself", c.version, it.Version)}
	}
	for _, r := range c.releases() {
		for _, of := range r.Manifest.Items {
			if r.Name == ownName && of.SHA256 == it.SHA256 && r.Manifest.Class != catalog.Component {
				return &pkgmgr.Refusal{Cause: installation.UnknownData, Detail: fmt.Sprintf("%s is published as %s and not as a component of Assent", it.Key(), r.Manifest.Class)}
			}
		}
	}
	return nil
}

// semantic is a version of the agent as feeds write it.
func semantic(version string) string { return strings.TrimPrefix(version, "v") }

// reaching tells the launcher when the server has answered.
type reaching struct {
	Link
	reached func()
}

// CheckIn implements Link.
func (r reaching) CheckIn(ctx context.Context, m wire.CheckIn) (wire.CheckInReply, error) {
	reply, err := r.Link.CheckIn(ctx, m)
	if err == nil {
		r.reached()
	}
	return reply, err
}
