package agent

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/agent/internal/identity"
	"assent/agent/internal/uplink"
	"assent/fleet"
	"assent/installation"
	"assent/wire"
)

// simServer behaves like the server towards its devices: it knows documents, signs plans, holds long polls and applies
// reports exactly once, with the table of V1. Its faults are switches.
type simServer struct {
	caDER   []byte
	ca      *x509.Certificate
	caKey   ed25519.PrivateKey
	planKey ed25519.PrivateKey
	token   wire.Token
	life    time.Duration // of device certificates

	mu         sync.Mutex
	changed    chan struct{} // closed and replaced at each change
	device     fleet.DeviceID
	docs       map[wire.Kind]string
	bodies     map[string][]byte
	plan       wire.Plan
	written    []byte // the plan's bytes as another version of the server wrote them; nil for plan's own
	feeds      []wire.FeedRoot
	copies     map[string]string // directories with the published files of feeds
	future     bool              // answers have fields that no agent knows yet
	counter    int64
	expires    time.Duration
	tamper     func(*wire.Statement)
	raw        []byte // served instead of the plan's true bytes
	applied    map[string]bool
	reports    []wire.Report // in the order they were applied
	states     map[string]installation.State
	illegal    []string
	checkIns   []wire.CheckIn
	posts      int
	renewals   int
	left       int
	refresh    bool
	rehearse   bool // the next answer asks for it
	deaf       bool // it takes no rehearsals, as before capability 6
	rehearsals []wire.Rehearsal
	next       int // seconds to pause, 5 when 0

	loseReports int   // how many answers to reports get lost after they were applied
	fail        error // every call fails with this
}

func newServer(t *testing.T) *simServer {
	t.Helper()
	s := &simServer{changed: make(chan struct{}), docs: map[wire.Kind]string{}, bodies: map[string][]byte{}, applied: map[string]bool{},
		states: map[string]installation.State{}, expires: 24 * time.Hour, life: 30 * 24 * time.Hour}
	var err error
	if _, s.caKey, err = ed25519.GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	if _, s.planKey, err = ed25519.GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sim CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10 * 365 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	if s.caDER, err = x509.CreateCertificate(rand.Reader, tmpl, tmpl, s.caKey.Public(), s.caKey); err != nil {
		t.Fatal(err)
	}
	if s.ca, err = x509.ParseCertificate(s.caDER); err != nil {
		t.Fatal(err)
	}
	s.token = wire.NewToken(s.caDER)
	return s
}

// leaf issues a certificate.
func (s *simServer) leaf(pub any, client bool, life time.Duration) []byte {
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "sim"}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, DNSNames: []string{"assent.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 77, 0, 1)}}
	if client {
		tmpl.ExtKeyUsage, tmpl.DNSNames, tmpl.IPAddresses = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, nil, nil
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, s.ca, pub, s.caKey)
	if err != nil {
		panic(err)
	}
	return der
}

// tick tells all long polls that something changed.
func (s *simServer) tick() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// set gives the device another plan, as an act does.
func (s *simServer) set(plan wire.Plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	plan.Format = wire.PlanFormat
	if plan.Guard == "" {
		plan.Guard = fleet.BlockDeclined
	}
	s.plan, s.written = plan, nil
	s.counter++
	s.tick()
}

// setRaw is set with bytes that this version does not write.
func (s *simServer) setRaw(t *testing.T, raw []byte) {
	t.Helper()
	var plan wire.Plan
	if err := json.Unmarshal(raw, &plan); err != nil {
		t.Fatal(err)
	}
	s.set(plan)
	s.with(func() { s.written = raw })
}

func (s *simServer) with(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.tick()
}

// wait blocks until ok is true of the server.
func (s *simServer) wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.After(30 * time.Second)
	for {
		s.mu.Lock()
		done, changed := ok(), s.changed
		s.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-limit:
			s.mu.Lock()
			defer s.mu.Unlock()
			t.Fatalf("never came true: %s\nstates %v\nreports %s", what, s.states, s.story())
		}
	}
}

// document is what the server has of a kind.
func (s *simServer) document(kind wire.Kind) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bodies[s.docs[kind]]
}

func (s *simServer) story() string {
	var b strings.Builder
	for _, r := range s.reports {
		fmt.Fprintf(&b, "  %s %s %s %s %s\n", r.Update, r.State, r.Cause, r.Event, r.Detail)
	}
	return b.String()
}

// at reports whether an update is in a state.
func (s *simServer) at(in wire.PlanInstall, state installation.State) func() bool {
	return func() bool { return s.states[string(in.Update)] == state }
}

// history lists the states an update went through.
func (s *simServer) history(in wire.PlanInstall) []installation.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []installation.State
	for _, r := range s.reports {
		if r.Update == in.Update && r.State != "" {
			out = append(out, r.State)
		}
	}
	return out
}

func (s *simServer) last(in wire.PlanInstall) wire.Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range slices.Backward(s.reports) {
		if r.Update == in.Update {
			return r
		}
	}
	return wire.Report{}
}

func (s *simServer) CheckIn(ctx context.Context, m wire.CheckIn) (wire.CheckInReply, error) {
	s.mu.Lock()
	if s.fail != nil {
		defer s.mu.Unlock()
		s.checkIns = append(s.checkIns, m)
		return wire.CheckInReply{}, s.fail
	}
	s.checkIns = append(s.checkIns, m)
	s.take(m.Digests)
	s.tick()
	s.mu.Unlock()
	over := time.NewTimer(time.Duration(m.Wait) * time.Second)
	defer over.Stop()
	for {
		s.mu.Lock()
		reply, changed := s.reply(m), s.changed
		s.mu.Unlock()
		if reply.Statement != nil || len(reply.Need) > 0 || reply.Refresh || reply.Rehearse {
			return reply, nil
		}
		select {
		case <-changed:
		case <-over.C:
			return reply, nil
		case <-ctx.Done():
			return reply, ctx.Err()
		}
	}
}

// take notes which of its documents the device has now.
func (s *simServer) take(digests map[wire.Kind]string) {
	for kind, d := range digests {
		if s.bodies[d] != nil {
			s.docs[kind] = d
		}
	}
}

func (s *simServer) reply(m wire.CheckIn) wire.CheckInReply {
	reply := wire.CheckInReply{Now: time.Now(), Next: cmp.Or(s.next, 5), Refresh: s.refresh, Rehearse: s.rehearse}
	s.refresh, s.rehearse = false, false
	for _, kind := range wire.Kinds() {
		if d := m.Digests[kind]; d != "" && s.bodies[d] == nil {
			reply.Need = append(reply.Need, kind)
		}
	}
	if s.plan.Format == 0 {
		return reply
	}
	raw, digest := s.planBytes()
	if m.Plan == digest && m.Counter >= s.counter && s.tamper == nil {
		return reply
	}
	s.bodies[digest] = raw
	st, err := wire.Sign(s.planKey, wire.StatementBody{Device: s.device, Counter: s.counter, Issued: time.Now(), Expires: time.Now().Add(s.expires), Plan: digest})
	if err != nil {
		panic(err)
	}
	if s.tamper != nil {
		s.tamper(&st)
	}
	reply.Statement = &st
	return reply
}

func (s *simServer) planBytes() ([]byte, string) {
	if s.written != nil {
		return s.written, wire.Digest(s.written)
	}
	raw, digest, err := wire.Encode(s.plan)
	if err != nil {
		panic(err)
	}
	return raw, digest
}

func (s *simServer) Upload(_ context.Context, _ wire.Kind, digest string, body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	if wire.Digest(body) != digest {
		return fmt.Errorf("the body is not what its digest says")
	}
	s.bodies[digest] = body
	s.tick()
	return nil
}

func (s *simServer) Plan(_ context.Context, digest string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return nil, s.fail
	}
	if s.raw != nil {
		return s.raw, nil
	}
	return s.bodies[digest], nil
}

func (s *simServer) Report(_ context.Context, reports []wire.Report) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.posts++
	if s.fail != nil {
		return nil, s.fail
	}
	var ids []string
	for _, r := range reports {
		ids = append(ids, r.ID)
		if s.applied[r.ID] {
			continue
		}
		s.applied[r.ID] = true
		s.reports = append(s.reports, r)
		if r.State == "" {
			continue
		}
		from := s.states[string(r.Update)]
		if err := installation.Check(from, r.State); err != nil {
			s.illegal = append(s.illegal, err.Error())
		}
		s.states[string(r.Update)] = r.State
	}
	s.tick()
	if s.loseReports > 0 {
		s.loseReports--
		return nil, fmt.Errorf("the connection broke before the answer came")
	}
	return ids, nil
}

// Rehearsal takes what a device found beforehand, unless the server is older than that.
func (s *simServer) Rehearsal(_ context.Context, r wire.Rehearsal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	if s.fail != nil {
		return s.fail
	}
	if s.deaf {
		return &uplink.Refused{Status: 404, Code: "not_found"}
	}
	s.rehearsals = append(s.rehearsals, r)
	return nil
}

func (s *simServer) Renew(_ context.Context, csr []byte) (wire.EnrolResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return wire.EnrolResponse{}, s.fail
	}
	s.renewals++
	s.tick()
	return s.grant(csr)
}

func (s *simServer) grant(csr []byte) (wire.EnrolResponse, error) {
	req, err := x509.ParseCertificateRequest(csr)
	if err == nil {
		err = req.CheckSignature()
	}
	if err != nil {
		return wire.EnrolResponse{}, err
	}
	if s.device == "" {
		s.device = fleet.DeviceID("d-" + wire.Digest(req.RawSubjectPublicKeyInfo)[:12])
	}
	return wire.EnrolResponse{Device: s.device, Certificate: s.leaf(req.PublicKey, true, s.life), CA: s.caDER,
		PlanKeys: [][]byte{s.planKey.Public().(ed25519.PublicKey)}, Feeds: s.feeds, Now: time.Now()}, nil
}

// identity enrols a device without any network.
func (s *simServer) identity(t *testing.T) identity.Identity {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := identity.CSR(key)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.grant(csr)
	if err != nil {
		t.Fatal(err)
	}
	id, err := identity.Grant(identity.Identity{Server: "https://127.0.0.1:1", CA: s.caDER, MachineID: "m"}, key, resp, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return id
}
