package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/fleet"
	"assent/wire"
)

func TestOverload_HandshakesWaitForTheirTurnWhileConnectedDevicesAreAnswered(t *testing.T) {
	b := newBench(t, Limits{Handshakes: 1})
	a, late := b.agent(), b.agent()
	a.settle()
	if !b.gw.hands.enter(t.Context(), network("192.0.2.1:1")) { // a handshake that computes
		t.Fatal("no place")
	}
	done := make(chan struct{})
	go func() { late.settle(); close(done) }()
	early := func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
	for b.gw.hands.length() == 0 && !early() {
		time.Sleep(time.Millisecond)
	}
	for range 20 {
		a.settle()
	}
	if early() {
		t.Error("a handshake was computed without a place")
	}
	b.gw.hands.leave()
	<-done
}

// held is a connection that can be stopped before its peer's answer is read.
type held struct {
	net.Conn
	read chan struct{}
}

func (h held) Read(p []byte) (int, error) { <-h.read; return h.Conn.Read(p) }

func TestOverload_AHandshakeThatStopsInTheMiddleHoldsUpNobody(t *testing.T) {
	b := newBench(t, Limits{Handshakes: 1})
	a := b.agent()
	c, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stopped := held{c, make(chan struct{})}
	client := tls.Client(stopped, a.http.Transport.(*http.Transport).TLSClientConfig)
	done := make(chan struct{})
	go func() { _ = client.Handshake(); close(done) }() // sends its hello and never takes the answer
	b.agent().settle()
	c.Close()
	close(stopped.read)
	<-done
}

func TestN28_ADeviceThatFloodsIsSlowedDownAndNotRefused(t *testing.T) {
	const every, burst, many = 20 * time.Millisecond, 5, 15
	b := newBench(t, Limits{DeviceBurst: burst, DeviceEvery: every})
	a := b.agent()
	began := time.Now()
	for range many {
		if _, code, problem := a.once(); code != 200 {
			t.Fatalf("%d %s", code, problem)
		}
	}
	if took := time.Since(began); took < (many-burst)*every {
		t.Errorf("%d requests took %v", many, took)
	}
	if n := b.gw.inFlight.Load(); n != 0 {
		t.Errorf("%d working places are still taken", n)
	}
}

// stuck is a database that does not answer until it is let go.
type stuck struct {
	*world
	entered chan struct{}
	release chan struct{}
}

func (s stuck) ApplyReports(ctx context.Context, id fleet.DeviceID, reports []wire.Report) ([]string, error) {
	s.entered <- struct{}{}
	<-s.release
	return s.world.ApplyReports(ctx, id, reports)
}

func TestOverload_ASlowDatabaseHoldsUpOnlyThoseWhoNeedIt(t *testing.T) {
	w := newWorld()
	db := stuck{w, make(chan struct{}, 10), make(chan struct{})}
	b := openBench(&bench{t: t, w: w, clock: &clock{}, limits: Limits{Requests: 2, Writes: 2, Waiting: 2, Patience: time.Minute},
		behind: func(c *Config) { c.Facts = db }})
	bystander := b.agent()
	bystander.settle()
	var agents []*agent
	for range 5 {
		a := b.agent()
		a.settle()
		agents = append(agents, a)
	}
	report := func(i int) (int, string) {
		return b.post(agents[i].http, wire.PathReports, wire.Reports{Reports: []wire.Report{{ID: fmt.Sprint("r", i), Event: "e"}}}, nil)
	}
	var group sync.WaitGroup
	sent := func(i int) {
		group.Go(func() {
			if code, problem := report(i); code != 200 {
				t.Errorf("report %d: %d %s", i, code, problem)
			}
		})
	}
	sent(0)
	sent(1)
	<-db.entered
	<-db.entered
	sent(2)
	sent(3)
	for began := time.Now(); b.gw.writes.length() < 2 && time.Since(began) < 10*time.Second; {
		time.Sleep(time.Millisecond)
	}
	if code, problem := report(4); code != 503 || problem != errCrowd.Code {
		t.Errorf("one more than may wait: %d %s", code, problem)
	}
	for range 10 {
		bystander.settle()
	}
	close(db.release)
	group.Wait()
	if code, _ := report(4); code != 200 {
		t.Errorf("the refused report, again: %d", code)
	}
	if len(w.reports) != 5 {
		t.Errorf("%d reports were applied, want 5", len(w.reports))
	}
}

func TestN09_AnUploadThatDoesNotMoveGivesItsPlaceToOthers(t *testing.T) {
	b := newBench(t, Limits{Uploads: 1, Trickle: 200 * time.Millisecond})
	slow, other := b.agent(), b.agent()
	slow.docs = map[wire.Kind][]byte{wire.KindFacts: bytes.Repeat([]byte(" "), 1<<20)}
	if reply, _, _ := slow.once(); len(reply.Need) != 1 {
		t.Fatalf("the server needs %v", reply.Need)
	}
	c, err := tls.Dial("tcp", b.addr, slow.http.Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "PUT %s/facts/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n ", wire.PathDocument, wire.Digest(slow.docs[wire.KindFacts]), 1<<20)
	for b.gw.session(slow.id).uploads.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	other.docs = map[wire.Kind][]byte{wire.KindFacts: []byte(`{"hostname":"other"}`)}
	other.settle()
}

func TestOverload_LargeMessagesTakeNoMoreMemoryThanTheyMay(t *testing.T) {
	b := newBench(t, Limits{Bodies: 100 << 10})
	a := b.agent()
	a.settle()
	large := wire.Reports{Reports: []wire.Report{{ID: "r", Event: "e", Detail: strings.Repeat("x", 150<<10)}}}
	if code, problem := b.post(a.http, wire.PathReports, large, nil); code != 503 || problem != errBusy.Code {
		t.Errorf("a message over what all may take: %d %s", code, problem)
	}
	large.Reports[0].Detail = large.Reports[0].Detail[:80<<10]
	for range 3 {
		if code, problem := b.post(a.http, wire.PathReports, large, nil); code != 200 {
			t.Errorf("a message within: %d %s", code, problem)
		}
	}
	if n := b.gw.bodies.Load(); n != 0 {
		t.Errorf("%d bytes are still counted", n)
	}
}

// TestN28_DevicesThatFloodDoNotSlowDownTheOthers has hostile devices ask as fast as they can on all their connections, from
// another process, and compares what an honest device waits with what it waits in peace, in turns.
func TestN28_DevicesThatFloodDoNotSlowDownTheOthers(t *testing.T) {
	b := newBench(t, Limits{})
	honest := make([]*agent, 10) // each asks far less than it may
	for i := range honest {
		honest[i] = b.agent()
		honest[i].settle()
	}
	l := load{Addr: b.addr, CA: b.ca.Certificate(), Path: wire.PathCheckIn, Duration: 1500 * time.Millisecond, Hostile: true}
	for range 10 {
		a := b.agent()
		a.settle()
		key, err := x509.MarshalPKCS8PrivateKey(a.key)
		if err != nil {
			t.Fatal(err)
		}
		for range 8 {
			l.Certs, l.Keys = append(l.Certs, a.cert.Certificate[0]), append(l.Keys, key)
		}
		l.Body = string(mustJSON(t, wire.CheckIn{Capability: 1, BootID: a.boot, Run: a.run, Sequence: 1, Digests: a.digests()}))
	}
	worst := func() time.Duration {
		var took []time.Duration
		for i := range 200 {
			began := time.Now()
			honest[i%len(honest)].settle()
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		return took[len(took)*99/100]
	}
	var ratios []float64
	for range 3 {
		peace := worst()
		end := flood(t, l)
		for devices := 0; devices < 8; _, devices = b.gw.conns.counts() { // until the flood is there
			time.Sleep(time.Millisecond)
		}
		ratios = append(ratios, float64(worst())/float64(peace))
		if sent := end(); sent < 2*len(honest)*20 {
			t.Errorf("the flood was of %d requests only, the honest devices made 200", sent)
		}
	}
	t.Logf("p99 in the flood, in times of the one in peace: %.1f", ratios)
	if r := median(ratios); r > 40 {
		t.Errorf("an honest device waits %.0f times as long as in peace", r)
	}
}

// flood starts a process that makes the load and returns what waits for its end and says how much it sent.
func flood(t *testing.T, l load) func() int {
	t.Helper()
	in, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), loadEnv+"=1", "GOMAXPROCS=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() (n int) {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		if _, err := fmt.Sscan(out.String(), &n); err != nil {
			t.Error(err)
		}
		return n
	}
}
