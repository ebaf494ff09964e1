// Package staging decides when a content set leaves staging (C6): the test devices take it first, and their outcome,
// health probe and all, releases it to everybody or keeps it in staging for good.
//
// Guarantees: a set is released only after every test device that should have tried it did so, at least one, and none
// failed; one failure refuses it; a device that is silent does not hold the others up for ever, and never counts as a
// success. The outcome is an entry of the ledger, so it is decided once. It decides nothing about other classes.
package staging

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"assent/catalog"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/server/internal/index"
	"assent/server/internal/job"
)

// silence is how long a device may say nothing before the others are not held up by it.
const silence = time.Hour

// settle is how long changes are gathered before they are looked at.
const settle = 500 * time.Millisecond

// by is the name under which outcomes stand in the ledger.
const by = "server"

// Outcome is what one test device made of a content set.
type Outcome struct {
	Device fleet.DeviceID
	Name   string
	State  installation.State
	Detail string
	Silent bool // it has not been heard of for long
}

// Judge says whether the outcomes decide about a set, and how. No outcome decides nothing.
func Judge(outcomes []Outcome) (verdict ledger.ContentVerify, decided bool) {
	waiting := false
	for _, o := range outcomes {
		switch {
		case o.State == installation.Failed || o.State == installation.RemoveFailed:
			return ledger.ContentVerify{Devices: []fleet.DeviceID{o.Device}, Reason: fmt.Sprintf("on %s: %s", o.Name, o.Detail)}, true
		case o.State == installation.Installed:
			verdict.Devices = append(verdict.Devices, o.Device)
		case !o.Silent:
			waiting = true
		}
	}
	if waiting || len(verdict.Devices) == 0 {
		return ledger.ContentVerify{}, false
	}
	verdict.Passed, verdict.Reason = true, "installed, and every probe passed"
	return verdict, true
}

// Run follows the index and makes outcomes known until ctx ends.
func Run(ctx context.Context, x *index.Index, log *slog.Logger) error {
	for seen := uint64(0); ; {
		next, err := x.WaitChange(ctx, seen)
		if err != nil {
			return nil //nolint:nilerr // ctx has ended
		}
		if seen = next; !job.Pause(ctx, settle) {
			return nil
		}
		if err := Look(ctx, x, log); err != nil && ctx.Err() == nil {
			log.Error("the outcome of content on test devices could not be recorded; it is tried again", "err", err)
			if !job.Pause(ctx, time.Minute) {
				return nil
			}
			seen = 0
		}
	}
}

// Look records the outcome of every set about which the test devices have decided.
func Look(ctx context.Context, x *index.Index, log *slog.Logger) error {
	var staged []catalog.UpdateID
	x.View(func(v *index.View) {
		for u := range v.Updates() {
			if staging(v, u) {
				staged = append(staged, u.ID)
			}
		}
	})
	for _, id := range staged {
		entry, err := x.Act(ctx, by, func(v *index.View) (ledger.Body, error) {
			u, ok := v.Update(id)
			if !ok || !staging(v, u) {
				return nil, nil
			}
			out, decided := Judge(outcomes(v, u, x.Now()))
			if !decided {
				return nil, nil
			}
			out.Update, out.Release = u.ID, u.Release
			return out, nil
		})
		if err != nil {
			return fmt.Errorf("outcome of content %s: %w", id, err)
		}
		if entry.Seq > 0 {
			log.Info("the test devices decided about a content set", "update", id, "act", entry.Seq)
		}
	}
	return nil
}

// staging reports whether a set waits for the test devices.
func staging(v *index.View, u index.Update) bool {
	_, decided := v.State().Contents[u.ID]
	return u.Class == catalog.Content && u.Published != nil && u.Published.Revoked == nil && !decided
}

// outcomes lists what the test devices to which a set applies made of it.
func outcomes(v *index.View, u index.Update, now time.Time) []Outcome {
	var out []Outcome
	concerned := u.Needs.Clone()
	concerned.Or(u.Has)
	for it := concerned.Iterator(); it.HasNext(); {
		d := v.Numbered(it.Next())
		if d.State != fleet.Active || !v.Tree().Test(d.Group) {
			continue
		}
		row, _ := d.Install(u.ID)
		why := row.Detail
		if row.Proof != nil && row.Proof.Probe != "" {
			why = row.Proof.Probe
		}
		out = append(out, Outcome{Device: d.ID, Name: d.Name, State: row.State, Detail: why, Silent: now.Sub(d.Contact.LastSeen) > silence})
	}
	return out
}
