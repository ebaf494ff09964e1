package gateway

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"assent/fault"
	"assent/fleet"
	"assent/server/internal/store"
	"assent/wire"
)

// world simulates everything that stands behind the gateway, with the behaviour its interfaces promise.
type world struct {
	mu        sync.Mutex
	devices   map[fleet.DeviceID]fleet.Device
	tokens    map[string]int // secret hash -> uses left
	docs      map[string][]byte
	reports   map[string]wire.Report // device/id
	rehearsed map[fleet.DeviceID]wire.Rehearsal
	saved     map[fleet.DeviceID]store.Contact
	seen      map[fleet.DeviceID]store.Contact
	plans     map[fleet.DeviceID][]byte
	made      map[fleet.DeviceID]madeStatement
	epoch     int64
	changed   chan struct{}
	polls     int
	polled    chan struct{} // a token for every long poll that was opened
	saves     int
	db        int // calls that a real service would take to the database
	reasons   []string
	left      []fleet.DeviceID
	saveErr   error
	planKey   ed25519.PrivateKey
	enrolled  atomic.Int64
}

// madeStatement is a statement of an epoch.
type madeStatement struct {
	stmt   wire.Statement
	digest string
	epoch  int64
}

func newWorld() *world {
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	return &world{devices: map[fleet.DeviceID]fleet.Device{}, tokens: map[string]int{}, docs: map[string][]byte{}, reports: map[string]wire.Report{}, rehearsed: map[fleet.DeviceID]wire.Rehearsal{},
		saved: map[fleet.DeviceID]store.Contact{}, seen: map[fleet.DeviceID]store.Contact{}, plans: map[fleet.DeviceID][]byte{}, made: map[fleet.DeviceID]madeStatement{}, changed: make(chan struct{}),
		polled: make(chan struct{}, 1000), planKey: key}
}

func (w *world) Device(id fleet.DeviceID) (fleet.Device, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d, ok := w.devices[id]
	return d, ok
}

func (w *world) Enrol(_ context.Context, token wire.Token, key, hostname string) (fleet.Device, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.db++
	left, ok := w.tokens[token.SecretHash()]
	if !ok {
		return fleet.Device{}, fault.New(fault.Unauthenticated, "token_unknown", "unknown")
	}
	if left == 0 {
		return fleet.Device{}, fault.New(fault.Gone, "token_spent", "spent")
	}
	w.tokens[token.SecretHash()]--
	d := fleet.Device{ID: fleet.DeviceID("d-" + key[:12]), Name: hostname, Group: fleet.Root, State: fleet.Active, Key: key}
	w.devices[d.ID] = d
	w.enrolled.Add(1)
	return d, nil
}

func (w *world) Renewed(_ context.Context, id fleet.DeviceID, old, key string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.db++
	d := w.devices[id]
	if d.Key == old {
		d.Key = key
		w.devices[id] = d
	}
	return nil
}

func (w *world) Quarantine(_ context.Context, id fleet.DeviceID, reason string) error {
	w.mu.Lock()
	w.db++
	w.reasons = append(w.reasons, reason)
	w.mu.Unlock()
	w.setState(id, fleet.Quarantined)
	return nil
}

func (w *world) Leave(_ context.Context, id fleet.DeviceID) error {
	w.mu.Lock()
	w.db++
	w.left = append(w.left, id)
	w.mu.Unlock()
	w.setState(id, fleet.Retired)
	return nil
}

func (w *world) setState(id fleet.DeviceID, s fleet.DeviceState) {
	w.mu.Lock()
	d := w.devices[id]
	d.State = s
	w.devices[id] = d
	w.mu.Unlock()
	w.wake()
}

func (w *world) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *world) Contact(_ context.Context, c store.Contact) (need []wire.Kind, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if maps.Equal(w.seen[c.Device].Digests, c.Digests) {
		w.seen[c.Device] = c
		return nil, nil
	}
	w.db++
	for _, kind := range wire.Kinds() {
		if digest := c.Digests[kind]; digest != "" && w.docs[string(kind)+digest] == nil {
			need = append(need, kind)
		}
	}
	if len(need) == 0 {
		w.seen[c.Device] = c
	}
	return need, nil
}

func (w *world) ObserveDocument(_ context.Context, _ fleet.DeviceID, kind wire.Kind, digest string, body []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.db++
	w.docs[string(kind)+digest] = slices.Clone(body)
	return nil
}

func (w *world) Rehearsed(_ context.Context, id fleet.DeviceID, r wire.Rehearsal) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.db++
	w.rehearsed[id] = r
	return nil
}

func (w *world) ApplyReports(_ context.Context, id fleet.DeviceID, reports []wire.Report) ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.db++
	var ids []string
	for _, r := range reports {
		key := string(id) + "/" + r.ID
		if _, dup := w.reports[key]; !dup {
			w.reports[key] = r
		}
		ids = append(ids, r.ID)
	}
	return ids, nil
}

func (w *world) PollOpened(fleet.DeviceID) func() {
	w.mu.Lock()
	w.polls++
	w.mu.Unlock()
	w.polled <- struct{}{}
	return func() {
		w.mu.Lock()
		w.polls--
		w.mu.Unlock()
	}
}

func (w *world) LoadContacts(_ context.Context, each func(store.Contact) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.saved {
		if err := each(c); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) AskRehearsal(context.Context, []fleet.DeviceID, time.Time) error { return nil }

func (w *world) AskRefresh(context.Context, []fleet.DeviceID, time.Time) error { return nil }

func (w *world) MergeContacts(_ context.Context, batch []store.Contact, _ func(stored, mine store.Contact) store.Contact) ([]store.Contact, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.saveErr != nil {
		return nil, w.saveErr
	}
	w.saves++
	for _, c := range batch {
		w.saved[c.Device] = c
	}
	return nil, nil
}

func (w *world) AtLeast(id fleet.DeviceID, _ int64) (wire.Statement, string, int64, error) {
	stmt, plan, err := w.For(id)
	return stmt, plan, 1 << 62, err
}

func (w *world) For(id fleet.DeviceID) (wire.Statement, string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.devices[id].State != fleet.Active {
		return wire.Statement{}, "", errors.New("no plan for a device that is not active")
	}
	plan, ok := w.plans[id]
	if !ok {
		plan = fmt.Appendf(nil, `{"format":1,"guard":"block_declined","for":%q}`, id)
		w.plans[id] = plan
	}
	if made, ok := w.made[id]; ok && made.epoch == w.epoch {
		return made.stmt, made.digest, nil // like the real planner, sign only what is new
	}
	digest := wire.Digest(plan)
	stmt, err := wire.Sign(w.planKey, wire.StatementBody{Device: id, Counter: w.epoch, Issued: base, Expires: base.Add(7 * 24 * time.Hour), Plan: digest})
	w.made[id] = madeStatement{stmt, digest, w.epoch}
	return stmt, digest, err
}

func (w *world) PlanBytes(digest string) ([]byte, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.plans {
		if wire.Digest(p) == digest {
			return p, true
		}
	}
	return nil, false
}

func (w *world) Listen(id fleet.DeviceID, held wire.Statement, _ string, wake func()) (time.Duration, func()) {
	w.mu.Lock()
	changed := w.changed
	w.mu.Unlock()
	if now, _, err := w.For(id); err != nil || !bytes.Equal(now.Sig, held.Sig) {
		return 0, func() {}
	}
	left := make(chan struct{})
	go func() {
		select {
		case <-changed:
			wake()
		case <-left:
		}
	}()
	return 1 << 62, sync.OnceFunc(func() { close(left) })
}

// replan gives a device another plan.
func (w *world) replan(id fleet.DeviceID, plan string) {
	w.mu.Lock()
	w.plans[id] = []byte(plan)
	w.epoch++
	w.mu.Unlock()
	w.wake()
}

var base = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
