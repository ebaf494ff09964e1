package swarm

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"assent/catalog"
	"assent/fleet"
	"assent/installation"
	"assent/wire"
)

// Agent is one simulated device. Its methods must not be called at the same time, but for Close.
type Agent struct {
	ID     fleet.DeviceID
	Number int

	swarm    *Swarm
	line     *line // the connection, as its identity allows
	planKeys []ed25519.PublicKey
	taken    int // updates that it took
	sequence int64
	counter  int64
	reports  int
	digests  map[wire.Kind]string
	plan     string // digest of the one it holds
	body     wire.Plan
	steady   []byte // a check-in with nothing new, but for its sequence
}

// enrol gets an identity with the swarm's token.
func (s *Swarm) enrol(ctx context.Context, number int) (*Agent, error) {
	key, csr, err := newKey()
	if err != nil {
		return nil, err
	}
	stranger := s.newLine(s.cfg.Agents, s.strangersTLS())
	defer stranger.Close()
	host := s.hostname(number)
	var resp wire.EnrolResponse
	err = stranger.post(ctx, wire.PathEnrol, wire.EnrolRequest{Capability: wire.Capability, Token: s.cfg.Token.String(), CSR: csr, Hostname: host, MachineID: wire.Digest([]byte(host))[:32]}, &resp)
	if err != nil {
		return nil, fmt.Errorf("enrol %s: %w", host, err)
	}
	conf, err := s.deviceTLS(resp, key)
	if err != nil {
		return nil, err
	}
	a := &Agent{ID: resp.Device, Number: number, swarm: s, line: s.newLine(s.cfg.Agents, conf)}
	for _, k := range resp.PlanKeys {
		a.planKeys = append(a.planKeys, ed25519.PublicKey(k))
	}
	return a, nil
}

// Close ends the connection; the agent may connect again.
func (a *Agent) Close() { a.line.Close() }

// documents are what the device says of itself now, encoded, with their digests.
func (a *Agent) documents() (map[wire.Kind][]byte, map[wire.Kind]string, error) {
	f, kind := a.swarm.cfg.Fleet, a.swarm.cfg.Fleet.KindOf(a.Number)
	bodies, digests := map[wire.Kind][]byte{}, map[wire.Kind]string{}
	facts := f.Facts(a.Number)
	facts.Hostname = a.swarm.hostname(a.Number)
	for k, doc := range map[wire.Kind]any{wire.KindFacts: facts, wire.KindInventory: f.Inventory(kind, a.taken), wire.KindAvailable: f.Available(kind, a.taken)} {
		body, digest, err := wire.Encode(doc)
		if err != nil {
			return nil, nil, fmt.Errorf("encode the %s of %s: %w", k, a.ID, err)
		}
		bodies[k], digests[k] = body, digest
	}
	return bodies, digests, nil
}

// Settle tells the server what the device is and has, uploads what it lacks, and fetches the plan.
func (a *Agent) Settle(ctx context.Context) error {
	bodies, digests, err := a.documents()
	if err != nil {
		return err
	}
	a.digests, a.steady = digests, nil
	for range 10 {
		reply, err := a.CheckIn(ctx, 0)
		if err != nil {
			return err
		}
		for _, kind := range reply.Need {
			path := wire.PathDocument + "/" + url.PathEscape(string(kind)) + "/" + digests[kind]
			if _, err := a.line.call(ctx, http.MethodPut, path, a.swarm.pack(bodies[kind]), true); err != nil {
				return fmt.Errorf("upload the %s of %s: %w", kind, a.ID, err)
			}
		}
		if len(reply.Need) > 0 || reply.Resend {
			continue
		}
		_, err = a.Accept(ctx, reply)
		return err
	}
	return fmt.Errorf("the server goes on asking %s for documents", a.ID)
}

// CheckIn sends a check-in, which the server may hold for so many seconds.
func (a *Agent) CheckIn(ctx context.Context, wait int) (reply wire.CheckInReply, err error) {
	a.sequence++
	now := a.swarm.begun
	in := wire.CheckIn{Capability: wire.Capability, BootID: "boot", Run: "run", Sequence: a.sequence, Digests: a.digests, Plan: a.plan, Counter: a.counter, Wait: wait,
		Progress: wire.Progress{LastScan: now, LastRefresh: now}}
	began := time.Now()
	err = a.line.post(ctx, wire.PathCheckIn, in, &reply)
	if err == nil && wait == 0 {
		a.swarm.note(time.Since(began))
	}
	return reply, err
}

// Accept takes the statement of a reply as an agent does: it verifies the signature and fetches the plan that it names.
// It reports whether there was a new plan.
func (a *Agent) Accept(ctx context.Context, reply wire.CheckInReply) (bool, error) {
	if reply.Statement == nil {
		return false, nil
	}
	body, err := reply.Statement.Verify(a.planKeys, a.ID, a.counter, reply.Now)
	if err != nil {
		return false, fmt.Errorf("verify the statement for %s: %w", a.ID, err)
	}
	if body.Plan != a.plan {
		packed, err := a.line.call(ctx, http.MethodGet, wire.PathPlan+"/"+body.Plan, nil, false)
		if err != nil {
			return false, fmt.Errorf("fetch the plan of %s: %w", a.ID, err)
		}
		a.body = wire.Plan{}
		if err := json.Unmarshal(packed, &a.body); err != nil || wire.Digest(packed) != body.Plan {
			return false, fmt.Errorf("the plan of %s is not the one that was signed: %w", a.ID, err)
		}
	}
	changed := body.Plan != a.plan
	a.plan, a.counter, a.steady = body.Plan, body.Counter, nil
	return changed, nil
}

// Report journals one state of one update and waits until the server has it for good.
func (a *Agent) Report(ctx context.Context, update catalog.UpdateID, states ...installation.State) error {
	var m wire.Reports
	for _, state := range states {
		a.reports++
		m.Reports = append(m.Reports, wire.Report{ID: fmt.Sprintf("%d-%d", a.swarm.begun.UnixNano(), a.reports), At: time.Now().UTC(), Update: update, State: state})
	}
	var reply wire.ReportsReply
	if err := a.line.post(ctx, wire.PathReports, m, &reply); err != nil {
		return err
	}
	if len(reply.Applied) != len(m.Reports) {
		return fmt.Errorf("%d of %d reports of %s were acknowledged", len(reply.Applied), len(m.Reports), a.ID)
	}
	return nil
}

// Obey installs what the plan says, the first updates first, and tells the server, as an agent does after a transaction.
func (a *Agent) Obey(ctx context.Context) (installed int, err error) {
	next := a.swarm.cfg.Fleet.Available(a.swarm.cfg.Fleet.KindOf(a.Number), a.taken)
	wanted := map[string]catalog.UpdateID{}
	for _, in := range a.body.Install {
		wanted[in.Release.Name] = in.Update
	}
	for _, name := range a.swarm.cfg.Fleet.Order(a.swarm.cfg.Fleet.KindOf(a.Number))[a.taken:] {
		id, ok := wanted[name]
		if !ok || !slices.ContainsFunc(next.Updates, func(o wire.Offer) bool { return o.Name == name }) {
			break
		}
		if err := a.Report(ctx, id, installation.Installing, installation.Installed); err != nil {
			return installed, err
		}
		a.taken++
		installed++
	}
	if installed == 0 {
		return 0, nil
	}
	return installed, a.Settle(ctx)
}
