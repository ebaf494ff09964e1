package index

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/approval"
	"assent/catalog"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/store"
)

// maxTries bounds how often an act is built anew because another server was faster.
const maxTries = 8

// ErrBusy is the refusal when other servers keep being faster.
var ErrBusy = fault.New(fault.Unavailable, "ledger_busy", "Other acts keep coming first; try again.")

// Act makes one act: build says what it is, from one moment's View; the entry is checked against the
// state, made durable, and then published. When build returns a nil body nothing happens and the entry
// is zero. Acts come one after another; when another server was faster, its entries are read and build
// is called again.
func (x *Index) Act(ctx context.Context, by string, build func(v *View) (ledger.Body, error)) (ledger.Entry, error) {
	return x.ActBeside(ctx, by, build)
}

// ActBeside is Act with rows that are written in the same transaction as the entry, and are not in the ledger.
func (x *Index) ActBeside(ctx context.Context, by string, build func(v *View) (ledger.Body, error), beside ...store.Beside) (ledger.Entry, error) {
	x.acts.Lock()
	defer x.acts.Unlock()
	for range maxTries {
		var body ledger.Body
		var err error
		x.View(func(v *View) { body, err = build(v) })
		if err != nil || body == nil {
			if x.behind(ctx) {
				continue // it was refused, or left, because of what is not so any more
			}
			return ledger.Entry{}, err
		}
		entry, err := x.make(ctx, by, body, beside)
		if !errors.Is(err, store.ErrMoved) {
			return entry, err
		}
		if err := x.moved(ctx); err != nil {
			return ledger.Entry{}, err
		}
	}
	return ledger.Entry{}, ErrBusy
}

// behind reads the acts of other servers and reports whether there were any. A database that does not answer knows of none.
// The caller holds x.acts.
func (x *Index) behind(ctx context.Context) bool {
	if !x.shared {
		return false
	}
	before := x.state.Seq
	if err := x.catchUp(ctx); err != nil {
		x.log.Warn("an act was judged by what this server knows, which may be old", "err", err)
	}
	return x.state.Seq > before
}

// moved reads what another server wrote first. The caller holds x.acts.
func (x *Index) moved(ctx context.Context) error {
	next := x.tasks.next
	if err := x.catchUp(ctx); err != nil || next == nil {
		return err
	}
	return x.rereadRollout(ctx, rolloutKey{next.Task, next.Update})
}

// make tries once to make an act. The caller holds x.acts, so the state cannot change in between.
func (x *Index) make(ctx context.Context, by string, body ledger.Body, beside []store.Beside) (ledger.Entry, error) {
	entry, err := ledger.Make(x.state.Seq+1, x.now(), by, body)
	if err != nil {
		return ledger.Entry{}, err
	}
	after, err := succeed(x.state, entry)
	if err != nil {
		return ledger.Entry{}, err
	}
	err = x.store.AppendBeside(ctx, entry, after.state, beside...)
	switch {
	case errors.Is(err, store.ErrMoved):
		return ledger.Entry{}, err
	case err != nil && !x.written(ctx, entry):
		return ledger.Entry{}, fmt.Errorf("append ledger entry %d (%s): %w", entry.Seq, entry.Kind, err)
	}
	return entry, x.publish(entry, after)
}

// written finds out whether an entry was written although the store returned an error: the connection
// may have ended during the commit.
func (x *Index) written(ctx context.Context, e ledger.Entry) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookAgain)
	defer cancel()
	want, err := ledger.Encode(e)
	if err != nil {
		return false
	}
	raw, err := x.store.Entries(ctx, e.Seq, 1)
	return err == nil && len(raw) == 1 && bytes.Equal(raw[0].Data, want)
}

// lookAgain bounds how long an act waits to learn whether it was written.
const lookAgain = 10 * time.Second

// CatchUp reads the acts that other servers made.
func (x *Index) CatchUp(ctx context.Context) error {
	x.acts.Lock()
	defer x.acts.Unlock()
	return x.catchUp(ctx)
}

// catchUp reads what follows the last entry. The caller holds x.acts.
func (x *Index) catchUp(ctx context.Context) error {
	const page = 1000
	x.tasks.next = nil // of an act that was not made
	for {
		raw, err := x.store.Entries(ctx, x.state.Seq+1, page)
		if err != nil {
			return fmt.Errorf("read ledger entries from %d: %w", x.state.Seq+1, err)
		}
		entries, err := x.decode(ctx, raw)
		if err != nil {
			return err
		}
		for i, entry := range entries {
			r := raw[i]
			after, err := succeed(x.state, entry)
			if err != nil {
				return fmt.Errorf("apply ledger entry %d: %w", r.Seq, err)
			}
			if err := x.publish(entry, after); err != nil {
				return err
			}
		}
		if len(raw) < page {
			return nil
		}
	}
}

// decode reads entries of other servers. What they wrote beside a rollout's step is read now: it is at least as new, and is
// visible when the step is.
func (x *Index) decode(ctx context.Context, raw []store.RawEntry) ([]ledger.Entry, error) {
	out, steps := make([]ledger.Entry, len(raw)), map[rolloutKey]bool{}
	for i, r := range raw {
		entry, err := ledger.Decode(r.Data)
		if err != nil {
			return nil, fmt.Errorf("read ledger entry %d: %w", r.Seq, err)
		}
		body, err := entry.Decode()
		if err != nil {
			return nil, fmt.Errorf("read ledger entry %d: %w", r.Seq, err)
		}
		if s, ok := body.(ledger.RolloutStep); ok {
			steps[rolloutKey{s.Task, s.Update}] = true
		}
		out[i] = entry
	}
	for k := range steps {
		if err := x.rereadRollout(ctx, k); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// publish makes an act visible and tells everybody. The caller holds x.acts.
func (x *Index) publish(e ledger.Entry, after successor) error {
	body, err := e.Decode()
	if err != nil {
		return err
	}
	x.mu.Lock()
	before := x.state
	x.state = after.whole(before)
	x.software.tick++
	change := x.derive(e, body, before)
	x.mu.Unlock()
	x.changes.publish(change)
	return nil
}

// derive brings everything that is derived from the state up to date and says what may have changed.
func (x *Index) derive(e ledger.Entry, body ledger.Body, before *ledger.State) Change {
	switch b := body.(type) {
	case ledger.GroupCreate, ledger.GroupChange, ledger.GroupDelete:
		x.tree, x.grown = x.state.Tree(), x.software.tick
		return Change{All: true}
	case ledger.DeviceEnrol:
		return x.placed([]fleet.DeviceID{b.Device.ID})
	case ledger.DeviceRenew:
		return x.placed([]fleet.DeviceID{b.ID})
	case ledger.DeviceMove:
		return x.placed(b.IDs)
	case ledger.DeviceState:
		return x.placed(b.IDs)
	case ledger.UpdateDecide:
		return x.decided(b)
	case ledger.ExceptionAdd:
		return x.excepted(b.Update, b.Scope)
	case ledger.ExceptionRemove:
		gone := before.Exceptions[b.Exception]
		return x.excepted(gone.Update, gone.Scope)
	case ledger.UpdateRollback:
		return x.ordered(e.Seq, b)
	case ledger.FeedSubscribe, ledger.FeedUnsubscribe, ledger.AgreementAccept, ledger.AgreementWithdraw,
		ledger.UpdateDeploy, ledger.DeployEnd, ledger.ContentVerify:
		x.managed = x.software.tick
		return Change{All: true}
	case ledger.TaskSet, ledger.TaskRemove:
		if gone, ok := b.(ledger.TaskRemove); ok {
			x.forgetRollouts(gone.ID)
		}
		x.compileTasks()
		x.managed = x.software.tick
		return Change{All: true}
	case ledger.RolloutStep:
		x.stepped(b)
		x.software.touch(b.Release.Software)
		affected := roaring.New()
		x.concerned(affected, b.Release.Software)
		return Change{Devices: affected}
	}
	return Change{Devices: roaring.New()}
}

// placed puts devices where the state says they are.
func (x *Index) placed(ids []fleet.DeviceID) Change {
	changed := roaring.New()
	for _, id := range ids {
		x.place(id)
		changed.Add(x.numbers[id])
	}
	return Change{Devices: changed}
}

// decided brings the decision tables up to date with an act.
func (x *Index) decided(b ledger.UpdateDecide) Change {
	t := &x.decisions
	affected, walls := roaring.New(), b.Status == approval.Declined
	for _, u := range b.Updates {
		key := ledger.DecisionKey{Update: u.Update, Scope: b.Scope}
		_, wasDeclined := t.declines.at[key]
		_, wasApproved := t.approvals.at[key]
		walls = walls || wasDeclined
		t.declines.drop(key)
		t.approvals.drop(key)
		list := slices.DeleteFunc(slices.Clone(t.bySoftware[u.Release.Software]), func(d approval.Decision) bool {
			return d.Update == u.Update && d.Scope == b.Scope
		})
		if d, ok := x.state.Decisions[key]; ok {
			list = append(list, d)
			x.enter(d)
		}
		if wasApproved || b.Status == approval.Approved {
			t.granted = x.software.tick
		}
		t.setSoftware(u.Release.Software, list)
		x.software.touch(u.Release.Software)
		x.concerned(affected, u.Release.Software)
	}
	x.listExpiries()
	inScope := x.in(b.Scope)
	if walls {
		t.walls[b.Scope] = x.software.tick
	}
	switch {
	case len(b.Accepts) > 0:
		x.managed = x.software.tick // what else these agreements held back may go on
		return Change{All: true}
	case walls:
		return Change{Devices: inScope}
	}
	for _, g := range x.tree.Subtree(b.Scope) {
		if x.tree.Guard(g) == fleet.ApprovedOnly && x.groups[g] != nil {
			affected.Or(x.groups[g]) // there, every approval is part of the plan
		}
	}
	affected.And(inScope)
	return Change{Devices: affected}
}

func (t *decisionTable) setSoftware(s catalog.Software, list []approval.Decision) {
	if len(list) == 0 {
		delete(t.bySoftware, s)
		return
	}
	t.bySoftware[s] = list
}

// enter puts a decision into the list of its status.
func (x *Index) enter(d approval.Decision) {
	if d.Status == approval.Declined {
		x.decisions.declines.put(d)
	} else {
		x.decisions.approvals.put(d)
	}
}

// concerned adds the devices whose documents speak of the software.
func (x *Index) concerned(set *roaring.Bitmap, s catalog.Software) {
	if n, ok := x.software.numbers[nameKey{s.Ecosystem, s.Name}]; ok {
		set.Or(x.software.devices[n])
	}
}

// excepted notes that the exceptions of an update changed.
func (x *Index) excepted(id catalog.UpdateID, scope fleet.GroupID) Change {
	t := &x.decisions
	list := make([]approval.Exception, 0, len(t.exceptions[id])+1)
	for _, e := range x.state.Exceptions {
		if e.Update == id {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b approval.Exception) int { return cmp.Compare(a.Act, b.Act) })
	t.exceptions[id] = list
	if len(list) == 0 {
		delete(t.exceptions, id)
	}
	t.walls[scope] = x.software.tick
	if e, ok := x.updates.byID[id]; ok {
		x.software.touch(e.Software)
	}
	x.listExpiries()
	return Change{Devices: x.in(scope)}
}

// ordered notes an ordered rollback.
func (x *Index) ordered(act int64, b ledger.UpdateRollback) Change {
	changed := roaring.New()
	for _, id := range b.Devices {
		n, ok := x.numbers[id]
		if !ok {
			continue
		}
		if x.rollbacks[n] == nil {
			x.rollbacks[n] = map[int64]bool{}
		}
		x.rollbacks[n][act] = true
		changed.Add(n)
	}
	return Change{Devices: changed}
}
