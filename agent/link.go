package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"assent/agent/internal/identity"
	"assent/agent/internal/journal"
	"assent/agent/internal/uplink"
	"assent/fault"
	"assent/wire"
)

const (
	// burst and refill bound how fast the agent checks in whatever the server answers.
	burst  = 20
	refill = 3 * time.Second
	// mailBatch is how many bytes of reports go into one message.
	mailBatch = 1 << 20
	// longestNext bounds what the server may ask for as a pause.
	longestNext = time.Hour
	renewRetry  = 5 * time.Minute
	// settle is how long a check-in is left alone before news from the device ends its waiting. One that is cut off
	// on its way could reach the server after its successor, and numbers that go backwards look like a clone.
	settle = time.Second
)

// server is the connection with the present certificate.
func (a *Agent) server() Link {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.link
}

// linkLoop keeps one long poll open at the server, for as long as the program runs.
func (a *Agent) linkLoop(ctx context.Context) {
	sleep(ctx, 2*time.Minute, a.docsReady) // a check-in that knows nothing of the device is of little use
	var back uplink.Backoff
	pace := pacer{tokens: burst, at: time.Now()}
	for ctx.Err() == nil {
		a.beat("link")
		a.renew(ctx)
		pause, err := a.exchange(ctx)
		if refusal := (*fault.Error)(nil); errors.As(err, &refusal) {
			a.fail("link", nil) // the line is fine; refuse has said what is wrong with the plan
		} else {
			a.fail("link", err)
		}
		if err != nil {
			sleep(ctx, back.Next(err))
			continue
		}
		back.Reset()
		sleep(ctx, pace.wait())
		sleep(ctx, pause, a.wake)
	}
}

// pacer is a token bucket: answers may come in bursts, but never in a hot loop.
type pacer struct {
	tokens float64
	at     time.Time
}

// wait is how long to wait before the next check-in.
func (p *pacer) wait() time.Duration {
	now := time.Now()
	p.tokens = min(burst, p.tokens+now.Sub(p.at).Seconds()/refill.Seconds())
	p.at = now
	p.tokens--
	if p.tokens >= 0 {
		return 0
	}
	return time.Duration(-p.tokens * float64(refill))
}

// exchange makes one check-in and does what the answer asks for. It returns how long to pause before the next
// one. A change on the device ends the waiting early, and the pause: there is something new to say.
func (a *Agent) exchange(ctx context.Context) (pause time.Duration, err error) {
	drain(a.wake)
	m, err := a.checkIn()
	if err != nil {
		return 0, err
	}
	before := a.announce(m.Digests)
	poll, cancel := context.WithCancel(ctx)
	defer cancel()
	var reply wire.CheckInReply
	done := make(chan error, 1)
	started := time.Now()
	link := a.server()
	go func() {
		var err error
		reply, err = link.CheckIn(poll, m)
		done <- err
	}()
	woken := false
	select {
	case err = <-done:
	case <-a.wake:
		woken = true
		stop := time.AfterFunc(settle-time.Since(started), cancel)
		err = <-done
		if stop.Stop(); errors.Is(err, context.Canceled) {
			return 0, nil
		}
	}
	if err != nil {
		return 0, fmt.Errorf("check in: %w", err)
	}
	if len(reply.Need) > 0 || reply.Resend {
		a.announce(before)
	}
	useful, err := a.obey(ctx, m, reply)
	if err != nil {
		return 0, err
	}
	if !useful && !woken && time.Since(started) < time.Duration(m.Wait)*time.Second/2 {
		pause = min(max(time.Duration(reply.Next)*time.Second, time.Second), longestNext)
	}
	return pause, nil
}

// announce notes what the server takes for the state of the device, and returns what it was before.
func (a *Agent) announce(docs map[wire.Kind]string) (before map[wire.Kind]string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before, a.announced = a.announced, docs
	return before
}

// checkIn makes the next check-in.
func (a *Agent) checkIn() (wire.CheckIn, error) {
	n, err := a.seq.Next()
	if err != nil {
		return wire.CheckIn{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	m := wire.CheckIn{Capability: wire.Capability, BootID: a.opt.Device.BootID(), Run: a.run, Sequence: n, Digests: map[wire.Kind]string{},
		Counter: a.floor.Counter, Wait: int(a.opt.Timing.Poll / time.Second), Progress: a.progress}
	maps.Copy(m.Digests, a.docs)
	if a.held != nil && a.clock().Before(a.held.body.Expires) {
		m.Plan = a.held.body.Plan // an expired plan is none: the server has to sign it anew
	}
	return m, nil
}

// obey does what the server's answer asks for. useful says whether that moved anything.
func (a *Agent) obey(ctx context.Context, m wire.CheckIn, reply wire.CheckInReply) (useful bool, err error) {
	for _, kind := range reply.Need {
		if m.Digests[kind] == "" {
			continue // nothing of that kind yet, or a kind of a later version
		}
		sent, err := a.upload(ctx, kind, m.Digests[kind])
		if err != nil {
			return useful, err
		}
		useful = useful || sent
	}
	if reply.Refresh {
		a.mu.Lock()
		a.refreshNow = true
		a.mu.Unlock()
		signal(a.refresh)
		useful = true // the next decision must not wait until the look is over
	}
	if reply.Rehearse {
		a.askRehearsal()
		signal(a.toRehearse)
		useful = true
	}
	if reply.Statement != nil {
		if err := a.accept(ctx, *reply.Statement, reply.Proof); err != nil {
			return useful, err
		}
		useful = true
	}
	return useful, nil
}

// upload sends a document if it is still what the check-in said.
func (a *Agent) upload(ctx context.Context, kind wire.Kind, want string) (bool, error) {
	body, digest, err := a.document(kind)
	if err != nil {
		return false, err
	}
	if digest != want {
		a.publish()
		return false, nil // the device changed in between: the next check-in says how
	}
	if len(body) > wire.MaxDocument {
		return false, fmt.Errorf("the %s of this device is %d bytes long, more than the server takes", kind, len(body))
	}
	if err := a.server().Upload(ctx, kind, digest, body); err != nil {
		return false, fmt.Errorf("upload %s: %w", kind, err)
	}
	journal.CrashPoint(journal.Uploaded)
	return true, nil
}

// mailLoop brings the journaled reports to the server: at least once, in order.
func (a *Agent) mailLoop(ctx context.Context) {
	var back uplink.Backoff
	limit := mailBatch
	for ctx.Err() == nil {
		a.beat("mail")
		batch := a.journal.Outbox(limit)
		if len(batch) == 0 {
			limit = mailBatch
			sleep(ctx, time.Minute, a.mail)
			continue
		}
		err := a.post(ctx, batch)
		a.fail("reports", err)
		if err == nil {
			back.Reset()
			continue
		}
		if unfit(err) && len(batch) > 1 {
			limit = 1 // one of them is at fault: send them one by one
		}
		sleep(ctx, back.Next(err))
	}
}

// unfit reports whether the server will never take these reports.
func unfit(err error) bool {
	var r *uplink.Refused
	return errors.As(err, &r) && (r.Status == 400 || r.Status == 413 || r.Status == 422)
}

// post sends a batch and forgets what the server made durable. A single report that the server will never take is
// dropped, loudly, so that it does not keep the others back.
func (a *Agent) post(ctx context.Context, batch []wire.Report) error {
	applied, err := a.server().Report(ctx, batch)
	if err != nil && !(unfit(err) && len(batch) == 1) {
		return fmt.Errorf("send reports: %w", err)
	}
	if err != nil {
		a.opt.Log.Error("the server will not take a report; it is dropped", "report", batch[0].ID, "update", batch[0].Update, "state", batch[0].State, "err", err)
		applied = []string{batch[0].ID}
	}
	journal.CrashPoint(journal.ReportsSent)
	sent := map[string]bool{}
	for _, r := range batch {
		sent[r.ID] = true
	}
	var done []string
	for _, id := range applied {
		if sent[id] {
			done = append(done, id)
		}
	}
	if len(done) == 0 {
		return errors.New("send reports: the server confirmed none of them")
	}
	if err := a.journal.Write(journal.Record{Applied: done}); err != nil {
		return err
	}
	journal.CrashPoint(journal.ReportsForgotten)
	return nil
}

// renew gets a new certificate, for a new key, at half life. Until the new one is durable the old one is used.
func (a *Agent) renew(ctx context.Context) {
	a.mu.Lock()
	id, now, next := a.id, a.clock(), a.renewAfter
	a.mu.Unlock()
	due, end := id.Lifetime()
	if now.Before(due) || now.Before(next) {
		return
	}
	err := a.renewNow(ctx, id)
	if err != nil && now.After(end) {
		err = fmt.Errorf("the device certificate ended on %s: enrol this device again with a new token (%w)", end.Format(time.DateOnly), err)
	}
	a.fail("renewal", err)
	if err != nil {
		a.mu.Lock()
		a.renewAfter = now.Add(renewRetry + uplink.Jitter(renewRetry))
		a.mu.Unlock()
	}
}

func (a *Agent) renewNow(ctx context.Context, id identity.Identity) error {
	key, err := identity.NextKey(a.opt.Dir, id)
	if err != nil {
		return err
	}
	journal.CrashPoint(journal.RenewKeyStored)
	csr, err := identity.CSR(key)
	if err != nil {
		return err
	}
	resp, err := a.server().Renew(ctx, csr)
	if err != nil {
		return fmt.Errorf("renew the device certificate: %w", err)
	}
	journal.CrashPoint(journal.RenewGranted)
	next, err := identity.Grant(id, key, resp, a.opt.Now())
	if err != nil {
		return err
	}
	if err := next.Save(a.opt.Dir); err != nil {
		return err
	}
	link, err := a.opt.Dial(next)
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.id, a.link = next, link
	a.mu.Unlock()
	return identity.DropNextKey(a.opt.Dir)
}
