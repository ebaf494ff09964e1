package gateway

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"assent/fleet"
	"assent/server/internal/ca"
	"assent/wire"
)

// clock is a time that tests move.
type clock struct{ at atomic.Int64 }

func (c *clock) Now() time.Time          { return base.Add(time.Duration(c.at.Load())) }
func (c *clock) Advance(d time.Duration) { c.at.Add(int64(d)) }

// bench is a gateway on loopback with real TLS.
type bench struct {
	t      testing.TB
	w      *world
	ca     *ca.CA
	clock  *clock
	gw     *Gateway
	addr   string
	limits Limits
	stop   func() error
	reg    *prometheus.Registry
	behind func(*Config) // changes what stands behind the gateway; nil: the world
}

func newBench(t testing.TB, limits Limits) *bench {
	t.Helper()
	return openBench(&bench{t: t, w: newWorld(), clock: &clock{}, limits: limits})
}

func openBench(b *bench) *bench {
	t := b.t
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if b.ca, err = ca.Open(root, b.clock.Now); err != nil {
		t.Fatal(err)
	}
	b.start()
	t.Cleanup(func() {
		if err := b.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return b
}

// start starts a gateway on what the world kept: after stop, it is a restart of the server.
func (b *bench) start() {
	b.t.Helper()
	srv, err := b.ca.Server([]string{"127.0.0.1"})
	if err != nil {
		b.t.Fatal(err)
	}
	b.reg = prometheus.NewRegistry()
	c := Config{CA: b.ca, Server: srv, PlanKeys: []ed25519.PublicKey{b.w.planKey.Public().(ed25519.PublicKey)},
		Roster: b.w, Acts: b.w, Facts: b.w, Presence: b.w, Contacts: b.w, Planner: b.w, Feeds: newShelf(), Limits: b.limits, Now: b.clock.Now, Metrics: b.reg, Flush: time.Hour}
	if b.behind != nil {
		b.behind(&c)
	}
	b.gw, err = New(b.t.Context(), c)
	if err != nil {
		b.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	b.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.gw.Serve(ctx, l, 5*time.Second) }()
	var once sync.Once
	var stopped error
	b.stop = func() error {
		once.Do(func() { cancel(); stopped = <-done })
		return stopped
	}
}

// agent is a device's end of the protocol.
type agent struct {
	b    *bench
	id   fleet.DeviceID
	key  ed25519.PrivateKey
	cert tls.Certificate
	http *http.Client
	boot string
	run  string
	seq  int64
	docs map[wire.Kind][]byte
	plan string
	wait int
}

func newKey(t testing.TB) (ed25519.PrivateKey, []byte) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}

func (b *bench) client(certs ...tls.Certificate) *http.Client {
	conf := &tls.Config{RootCAs: b.ca.Pool(), MinVersion: tls.VersionTLS13, Time: b.clock.Now, Certificates: certs,
		ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	tr := &http.Transport{TLSClientConfig: conf, DisableCompression: true}
	b.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

// token makes an enrolment token.
func (b *bench) token(uses int) wire.Token {
	tok := wire.NewToken(b.ca.Certificate())
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	b.w.tokens[tok.SecretHash()] = uses
	return tok
}

// agent enrols a device.
func (b *bench) agent() *agent {
	b.t.Helper()
	key, csr := newKey(b.t)
	var resp wire.EnrolResponse
	code, problem := b.post(b.client(), wire.PathEnrol, wire.EnrolRequest{Token: b.token(1).String(), CSR: csr, Hostname: "host"}, &resp)
	if code != http.StatusOK {
		b.t.Fatalf("enrol: %d %s", code, problem)
	}
	a := &agent{b: b, id: resp.Device, key: key, boot: "boot1", run: "run1", docs: map[wire.Kind][]byte{wire.KindFacts: []byte(`{"hostname":"host"}`)}}
	a.use(resp.Certificate, key)
	return a
}

// use takes a certificate into use.
func (a *agent) use(der []byte, key ed25519.PrivateKey) {
	a.key, a.cert = key, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	a.http = a.b.client(a.cert)
}

// copy is a clone of the agent: same identity and state, its own connections.
func (a *agent) copy() *agent {
	c := *a
	c.http = a.b.client(a.cert)
	return &c
}

func (b *bench) url(path string) string { return "https://" + b.addr + path }

// post sends JSON and returns the status and, for refusals, the code.
func (b *bench) post(c *http.Client, path string, in, out any) (int, string) {
	b.t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.send(c, http.MethodPost, path, bytes.NewReader(body), out)
}

// send returns status 0 and the error's text when there was no answer at all.
func (b *bench) send(c *http.Client, method, path string, body io.Reader, out any) (int, string) {
	b.t.Helper()
	req, err := http.NewRequest(method, b.url(path), body)
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	if resp.StatusCode/100 != 2 {
		var p problem
		if err := json.Unmarshal(data, &p); err != nil {
			return resp.StatusCode, strings.TrimSpace(string(data))
		}
		return resp.StatusCode, p.Code
	}
	if out != nil {
		if err := json.Unmarshal(data, out); err != nil {
			b.t.Fatalf("%s %s: %v in %q", method, path, err, data)
		}
	}
	return resp.StatusCode, ""
}

func (a *agent) digests() map[wire.Kind]string {
	out := map[wire.Kind]string{}
	for k, b := range a.docs {
		out[k] = wire.Digest(b)
	}
	return out
}

// once sends one check-in with the next sequence.
func (a *agent) once() (wire.CheckInReply, int, string) {
	a.b.t.Helper()
	a.seq++
	return a.at(a.seq)
}

// at sends one check-in with a given sequence.
func (a *agent) at(seq int64) (wire.CheckInReply, int, string) {
	a.b.t.Helper()
	var out wire.CheckInReply
	code, problem := a.b.post(a.http, wire.PathCheckIn, wire.CheckIn{Capability: 1, BootID: a.boot, Run: a.run, Sequence: seq,
		Digests: a.digests(), Plan: a.plan, Wait: a.wait}, &out)
	return out, code, problem
}

func (a *agent) upload(kind wire.Kind, body []byte) (int, string) {
	a.b.t.Helper()
	return a.b.send(a.http, http.MethodPut, wire.PathDocument+"/"+string(kind)+"/"+wire.Digest(body), bytes.NewReader(body), nil)
}

// settle checks in and uploads until the server needs nothing and the agent holds its plan.
func (a *agent) settle() {
	a.b.t.Helper()
	for range 6 {
		reply, code, problem := a.once()
		if code != http.StatusOK {
			a.b.t.Fatalf("check-in %d: %d %s", a.seq, code, problem)
		}
		for _, k := range reply.Need {
			if code, problem := a.upload(k, a.docs[k]); code != http.StatusNoContent {
				a.b.t.Fatalf("upload %s: %d %s", k, code, problem)
			}
		}
		if len(reply.Need) == 0 && reply.Statement == nil {
			return
		}
		if reply.Statement != nil {
			body, err := reply.Statement.Verify([]ed25519.PublicKey{a.b.w.planKey.Public().(ed25519.PublicKey)}, a.id, 0, base)
			if err != nil {
				a.b.t.Fatal(err)
			}
			a.plan = body.Plan
		}
	}
	a.b.t.Fatal("the agent does not settle")
}
