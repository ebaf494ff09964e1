package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"assent/client"
	"assent/server/internal/gateway"
	"assent/wire"
)

// swarm are devices that speak the protocol as agents do, waits and all, but a hundred times faster.
type swarm struct {
	agents  string // where devices find the server, over its restarts too
	devices []*drone
	digests map[wire.Kind]string
	docs    map[wire.Kind][]byte
	refused atomic.Int64
}

// drone is one device. It keeps its reports until the server has them.
type drone struct {
	http    *http.Client
	seq     int64
	plan    string
	counter int64 // of the last statement
	mail    []wire.Report
}

// hasten is how much faster than an agent a drone waits.
const hasten = 100

// newSwarm enrols devices.
func newSwarm(l *live, admin string, n int) *swarm {
	l.t.Helper()
	s := &swarm{agents: l.agents, devices: make([]*drone, n)}
	s.docs, s.digests, _ = documents()
	var token client.TokenRow
	if code := l.call(http.MethodPost, "/api/v1/tokens", admin, client.TokenRequest{Uses: n}, &token); code/100 != 2 {
		l.t.Fatalf("make a token: %d", code)
	}
	stranger := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	s.each(16, func(i int) {
		_, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			l.t.Error(err)
		}
		csr, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{}, key)
		if err != nil {
			l.t.Error(err)
		}
		var resp wire.EnrolResponse
		if err := s.ask(context.Background(), stranger, wire.PathEnrol, wire.EnrolRequest{Token: token.Text, CSR: csr, Hostname: fmt.Sprint("d", i)}, &resp); err != nil {
			l.t.Errorf("enrol: %v", err)
		}
		pool := x509.NewCertPool()
		if root, err := x509.ParseCertificate(resp.CA); err == nil {
			pool.AddCert(root)
		}
		s.devices[i] = &drone{http: &http.Client{Timeout: 5 * time.Minute, Transport: &http.Transport{TLSHandshakeTimeout: 15 * time.Second,
			TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{{Certificate: [][]byte{resp.Certificate}, PrivateKey: key}}}}}}
	})
	if l.t.Failed() {
		l.t.FailNow()
	}
	return s
}

// each does work for all devices, so many at a time.
func (s *swarm) each(at int, work func(i int)) {
	var group sync.WaitGroup
	next := make(chan int)
	for range at {
		group.Go(func() {
			for i := range next {
				work(i)
			}
		})
	}
	for i := range s.devices {
		next <- i
	}
	close(next)
	group.Wait()
}

// later is a refusal that says when to come again.
type later struct {
	status int
	after  time.Duration
}

func (l later) Error() string { return fmt.Sprintf("%d, come again after %v", l.status, l.after) }

// ask sends one message.
func (s *swarm) ask(ctx context.Context, c *http.Client, path string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+s.agents+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	return s.do(c, req, out)
}

func (s *swarm) do(c *http.Client, req *http.Request, out any) error {
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		after, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return later{resp.StatusCode, time.Duration(after) * time.Second}
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// checkIn is one check-in with what it asks for.
func (s *swarm) checkIn(ctx context.Context, d *drone, wait int) (reply wire.CheckInReply, err error) {
	d.seq++
	in := wire.CheckIn{Capability: wire.Capability, BootID: "boot", Run: "run", Sequence: d.seq, Digests: s.digests, Plan: d.plan, Counter: d.counter, Wait: wait}
	if err := s.ask(ctx, d.http, wire.PathCheckIn, in, &reply); err != nil {
		return reply, err
	}
	for _, kind := range reply.Need {
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, "https://"+s.agents+wire.PathDocument+"/"+string(kind)+"/"+s.digests[kind], bytes.NewReader(s.docs[kind]))
		if err != nil {
			return reply, err
		}
		if err := s.do(d.http, req, nil); err != nil {
			return reply, err
		}
	}
	if reply.Statement != nil {
		var body wire.StatementBody
		if err := json.Unmarshal(reply.Statement.Body, &body); err != nil {
			return reply, err
		}
		if body.Counter < d.counter {
			return reply, fmt.Errorf("a statement of act %d for a device that knows of %d", body.Counter, d.counter)
		}
		d.plan, d.counter = body.Plan, body.Counter
	}
	return reply, nil
}

// come brings a device's reports to the server and has it wait for news, until ctx ends. What fails is done again, later
// each time, as an agent does.
func (s *swarm) come(ctx context.Context, d *drone) {
	for failures := 0; ctx.Err() == nil; {
		err := s.post(ctx, d)
		if err == nil {
			_, err = s.checkIn(ctx, d, 300)
		}
		if err == nil {
			failures = 0
			continue
		}
		s.refused.Add(1)
		wait := time.Second << min(failures, 8)
		if l, ok := err.(later); ok && l.after > 0 {
			wait = l.after
		}
		failures++
		pause := time.NewTimer((wait/2 + rand.N(wait)) / hasten)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}

// post sends the reports until the server has them. One answer in four is lost: the device sends them again.
func (s *swarm) post(ctx context.Context, d *drone) error {
	for len(d.mail) > 0 {
		var reply wire.ReportsReply
		if err := s.ask(ctx, d.http, wire.PathReports, wire.Reports{Reports: d.mail}, &reply); err != nil {
			return err
		}
		if len(reply.Applied) != len(d.mail) {
			return fmt.Errorf("%d of %d reports were taken", len(reply.Applied), len(d.mail))
		}
		if rand.IntN(4) > 0 {
			d.mail = nil
		}
	}
	return nil
}

// metric reads one figure of the server; labels are part of the name.
func (l *live) metric(name string) float64 {
	l.t.Helper()
	resp, err := http.Get("http://" + l.api + "/metrics")
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			v, err := strconv.ParseFloat(rest, 64)
			if err != nil {
				l.t.Fatal(err)
			}
			return v
		}
	}
	l.t.Fatalf("there is no metric %s", name)
	return 0
}

// heap is what the last garbage collection left.
func heap() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func TestOverload_AfterARestartAllDevicesComeBackAtOnceAndNothingIsLost(t *testing.T) {
	const devices, reports = 1000, 3
	data := t.TempDir()
	l := start(t, data, nil)
	s := newSwarm(l, l.admin(), devices)
	s.each(16, func(i int) {
		for s.devices[i].plan == "" {
			if _, err := s.checkIn(t.Context(), s.devices[i], 0); err != nil {
				t.Errorf("check in: %v", err)
				return
			}
		}
	})
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	for i, d := range s.devices {
		d.http.CloseIdleConnections()
		for n := range reports {
			d.mail = append(d.mail, wire.Report{ID: fmt.Sprint(i, "-", n), Event: "while_away", At: time.Now()})
		}
	}
	runtime.GC()

	ctx, cancel := context.WithCancel(t.Context())
	var away sync.WaitGroup
	for _, d := range s.devices { // they try before it listens, too
		away.Go(func() { s.come(ctx, d) })
	}
	l = start(t, data, func(c *Config) {
		c.AgentListen = s.agents
		c.limits = gateway.Limits{Handshakes: 2, Strangers: 300, Writes: 2, Waiting: 64, Patience: time.Second}
	})
	var most uint64
	for parked := 0.0; parked < devices; parked = l.metric("assent_parked_polls") {
		most = max(most, heap())
		time.Sleep(20 * time.Millisecond)
	}
	runtime.GC()
	calm := heap()
	turned := l.metric(`assent_admissions_refused_total{what="connection"}`) + l.metric(`assent_admissions_refused_total{what="write"}`)
	t.Logf("%d MiB at most while they came, %d MiB when all were there (both ends); %d tries failed, %.0f connections and requests were turned away", most>>20, calm>>20, s.refused.Load(), turned)
	if turned == 0 {
		t.Error("nobody was turned away: it was no storm")
	}
	if most > 2*calm {
		t.Errorf("the storm took %d MiB, all devices together take %d", most>>20, calm>>20)
	}
	cancel()
	away.Wait()
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(data, "assent.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var rows, distinct int
	if err := db.QueryRow(`SELECT count(*), count(DISTINCT device || '/' || report) FROM reports WHERE event = 'while_away'`).Scan(&rows, &distinct); err != nil {
		t.Fatal(err)
	}
	if rows != devices*reports || distinct != rows {
		t.Errorf("%d reports in the database, %d different ones; want %d", rows, distinct, devices*reports)
	}
}
