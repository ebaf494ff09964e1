package gateway

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"assent/fleet"
	"assent/server/internal/ca"
	"assent/wire"
)

// request is a well-formed call of each route for an agent, so that only its certificate can be at fault.
func request(a *agent, name string) (method, path string, body []byte) {
	_, csr := newKey(a.b.t)
	facts := a.docs[wire.KindFacts]
	switch name {
	case "enrol":
		return http.MethodPost, wire.PathEnrol, mustJSON(a.b.t, wire.EnrolRequest{Token: a.b.token(1).String(), CSR: csr})
	case "renew":
		return http.MethodPost, wire.PathRenew, mustJSON(a.b.t, wire.RenewRequest{CSR: csr})
	case "checkin":
		a.seq++
		return http.MethodPost, wire.PathCheckIn, mustJSON(a.b.t, wire.CheckIn{BootID: a.boot, Run: a.run, Sequence: a.seq, Digests: a.digests(), Plan: a.plan})
	case "document":
		return http.MethodPut, wire.PathDocument + "/facts/" + wire.Digest(facts), facts
	case "reports":
		return http.MethodPost, wire.PathReports, mustJSON(a.b.t, wire.Reports{})
	case "plan":
		return http.MethodGet, wire.PathPlan + "/" + a.plan, nil
	}
	a.b.t.Fatalf("the route %s has no line in this test", name)
	return "", "", nil
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	body, _, err := wire.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// foreign is a CA of another installation with the same names.
func foreign(t testing.TB, now func() time.Time) *ca.CA {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	c, err := ca.Open(root, now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// certificate signs a device certificate for id with a fresh key.
func certificate(t testing.TB, c *ca.CA, id fleet.DeviceID, replaces string) (tls.Certificate, string) {
	t.Helper()
	key, csr := newKey(t)
	req, err := ca.CheckRequest(csr)
	if err != nil {
		t.Fatal(err)
	}
	der, err := c.Device(id, req, replaces)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, req.Key
}

// selfMade is a certificate that names the device but that nobody signed.
func selfMade(t testing.TB, id fleet.DeviceID) tls.Certificate {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Assent device CA"}, NotBefore: base.Add(-time.Hour), NotAfter: base.Add(time.Hour),
		URIs: []*url.URL{{Scheme: "assent", Opaque: "device/" + string(id)}}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// refusedAtHandshake is what a client sees that is turned away before HTTP.
const refusedAtHandshake = 0

// TestN07_EveryRouteWithEveryCredential is generated from the route table: a new route without a line in
// request fails here.
func TestN07_EveryRouteWithEveryCredential(t *testing.T) {
	b := newBench(t, Limits{})
	other := foreign(t, b.clock.Now)
	none := func(*agent) *http.Client { return b.client() }
	credentials := []struct {
		name   string
		client func(a *agent) *http.Client
		open   int // status on the open route
		closed int // status on the others
	}{
		{"its own", func(a *agent) *http.Client { return a.http }, 200, 200},
		{"none", none, 200, 401},
		{"of another CA", func(a *agent) *http.Client { c, _ := certificate(t, other, a.id, ""); return b.client(c) }, refusedAtHandshake, refusedAtHandshake},
		{"self-made", func(a *agent) *http.Client { return b.client(selfMade(t, a.id)) }, refusedAtHandshake, refusedAtHandshake},
		{"the server's own", func(*agent) *http.Client {
			srv, err := b.ca.Server([]string{"x"})
			if err != nil {
				t.Fatal(err)
			}
			c, err := srv.Certificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			return b.client(*c)
		}, refusedAtHandshake, refusedAtHandshake},
		{"of an unknown device", func(*agent) *http.Client { c, _ := certificate(t, b.ca, "nobody", ""); return b.client(c) }, refusedAtHandshake, refusedAtHandshake},
		{"with a key not on record", func(a *agent) *http.Client { c, _ := certificate(t, b.ca, a.id, ""); return b.client(c) }, refusedAtHandshake, refusedAtHandshake},
		{"that replaces another key", func(a *agent) *http.Client {
			c, _ := certificate(t, b.ca, a.id, strings.Repeat("0", 64))
			return b.client(c)
		}, refusedAtHandshake, refusedAtHandshake},
		{"of a retired device", func(a *agent) *http.Client { b.w.setState(a.id, fleet.Retired); return b.client(a.cert) }, refusedAtHandshake, refusedAtHandshake},
		{"of a device retired on an open connection", func(a *agent) *http.Client {
			if _, code, _ := a.once(); code != 200 {
				t.Fatal("no open connection")
			}
			b.w.setState(a.id, fleet.Retired)
			return a.http
		}, 200, 410},
		{"of a quarantined device", func(a *agent) *http.Client { b.w.setState(a.id, fleet.Quarantined); return a.http }, 200, 403},
	}
	for _, rt := range table() {
		for _, cr := range credentials {
			a := b.agent()
			a.settle()
			client := cr.client(a)
			method, path, body := request(a, rt.name)
			want := cr.closed
			if rt.open {
				want = cr.open
			}
			code, problem := b.send(client, method, path, bytes.NewReader(body), nil)
			if code/100 == 2 {
				code = 200
			}
			if code != want {
				t.Errorf("%s with a certificate %s: %d %s; want %d", rt.name, cr.name, code, problem, want)
			}
		}
	}
}

func TestN32_ExpiredCertificateIsRefusedAtTheHandshakeAndOnAnOpenConnection(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	b.clock.Advance(ca.DeviceLife + time.Second)
	if _, code, problem := a.once(); code != 401 || problem != "certificate_expired" {
		t.Errorf("on the open connection: %d %s; want 401", code, problem)
	}
	if code, problem := b.send(b.client(a.cert), http.MethodGet, wire.PathPlan+"/"+a.plan, nil, nil); code != refusedAtHandshake {
		t.Errorf("on a new connection: %d %s; want refused at the handshake", code, problem)
	}
}

func TestRetiredDeviceIsRefusedOnAResumedSessionToo(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	tr := a.http.Transport.(*http.Transport)
	dial := func() (*tls.Conn, error) {
		c, err := tls.Dial("tcp", b.addr, tr.TLSClientConfig)
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", wire.PathPlan+"/"+a.plan); err != nil {
			return nil, err
		}
		_, err = c.Read(make([]byte, 1))
		return c, err
	}
	c, err := dial()
	if err != nil || !c.ConnectionState().DidResume {
		t.Fatalf("before: %v; want a resumed session, or this test proves nothing", err)
	}
	b.w.setState(a.id, fleet.Retired)
	if c, err := dial(); err == nil {
		t.Errorf("a retired device got through (resumed: %v)", c.ConnectionState().DidResume)
	}
}

func TestN06_TLS12IsRefusedAndNoForeignServerNameCounts(t *testing.T) {
	b := newBench(t, Limits{})
	conf := &tls.Config{RootCAs: b.ca.Pool(), MaxVersion: tls.VersionTLS12, Time: b.clock.Now}
	if c, err := tls.Dial("tcp", b.addr, conf); err == nil {
		t.Errorf("TLS 1.2 was accepted (%x)", c.ConnectionState().Version)
	}
	conf = &tls.Config{RootCAs: b.ca.Pool(), ServerName: "other.example", Time: b.clock.Now}
	if _, err := tls.Dial("tcp", b.addr, conf); err == nil {
		t.Error("the server proved a name that it does not have")
	}
}

func TestN30_TokensWrongSpentOfAnotherServerOrMalformed(t *testing.T) {
	b := newBench(t, Limits{EnrolBurst: 100})
	_, csr := newKey(t)
	spent := b.token(1)
	if code, problem := b.post(b.client(), wire.PathEnrol, wire.EnrolRequest{Token: spent.String(), CSR: csr}, nil); code != 200 {
		t.Fatalf("%d %s", code, problem)
	}
	guessed := b.token(1)
	guessed.Secret = strings.Repeat("0", 26)
	elsewhere := b.token(1)
	elsewhere.CA = strings.Repeat("ab", 32)
	good := b.token(1).String()
	_, fresh := newKey(t)
	for name, tc := range map[string]struct {
		token   string
		csr     []byte
		code    int
		problem string
	}{
		"reused":                {spent.String(), fresh, 410, "token_spent"},
		"guessed":               {guessed.String(), fresh, 401, "token_unknown"},
		"of another server":     {elsewhere.String(), fresh, 400, "token_other_server"},
		"malformed":             {"assent1-x", fresh, 400, "token_malformed"},
		"empty":                 {"", fresh, 400, "token_malformed"},
		"good, without a proof": {good, fresh[:len(fresh)-1], 400, "csr_invalid"},
		"good, without a key":   {good, nil, 400, "csr_invalid"},
	} {
		if code, problem := b.post(b.client(), wire.PathEnrol, wire.EnrolRequest{Token: tc.token, CSR: tc.csr}, nil); code != tc.code || problem != tc.problem {
			t.Errorf("%s: %d %s; want %d %s", name, code, problem, tc.code, tc.problem)
		}
	}
	if n := b.w.enrolled.Load(); n != 1 {
		t.Errorf("%d devices enrolled; want 1: a request that is refused must not spend the token", n)
	}
}

func TestN30_OneTokenRacedByManyAdmitsExactlyOne(t *testing.T) {
	b := newBench(t, Limits{})
	token := b.token(1).String()
	const racers = 8
	codes := make(chan int, racers)
	var group sync.WaitGroup
	for range racers {
		_, csr := newKey(t)
		client := b.client()
		group.Go(func() {
			code, _ := b.post(client, wire.PathEnrol, wire.EnrolRequest{Token: token, CSR: csr}, nil)
			codes <- code
		})
	}
	group.Wait()
	close(codes)
	won := 0
	for code := range codes {
		if code == 200 {
			won++
		} else if code != 410 {
			t.Errorf("a loser got %d; want 410", code)
		}
	}
	if won != 1 || b.w.enrolled.Load() != 1 {
		t.Errorf("%d won and %d devices exist; want one", won, b.w.enrolled.Load())
	}
}

func TestFailedEnrolmentsAreLimitedPerAddressAndRecover(t *testing.T) {
	b := newBench(t, Limits{EnrolBurst: 3, EnrolEvery: 10 * time.Second})
	try := func(token string) (int, string, string) {
		_, csr := newKey(t)
		body := mustJSON(t, wire.EnrolRequest{Token: token, CSR: csr})
		resp, err := b.client().Post(b.url(wire.PathEnrol), "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode, resp.Header.Get("Retry-After"), resp.Header.Get("Connection")
	}
	for i := range 3 {
		if code, _, _ := try("wrong"); code != 400 {
			t.Fatalf("failure %d: %d", i+1, code)
		}
	}
	if code, after, _ := try(b.token(1).String()); code != 503 || after == "" {
		t.Errorf("after three failures: %d, Retry-After %q; want 503 with one", code, after)
	}
	b.clock.Advance(10 * time.Second)
	if code, _, _ := try(b.token(1).String()); code != 200 {
		t.Errorf("ten seconds later: %d; want 200", code)
	}
	for range 10 {
		if code, _, _ := try(b.token(1).String()); code != 200 {
			t.Fatalf("successes are not free: %d", code)
		}
	}
}

func TestN32_RenewedCertificateTakesOverAtItsFirstUseAndALostReplyLocksNobodyOut(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	renew := func(from *agent) (tls.Certificate, int, string) {
		key, csr := newKey(t)
		var resp wire.EnrolResponse
		code, problem := b.post(from.http, wire.PathRenew, wire.RenewRequest{CSR: csr}, &resp)
		return tls.Certificate{Certificate: [][]byte{resp.Certificate}, PrivateKey: key}, code, problem
	}
	lost, code, problem := renew(a)
	if code != 200 {
		t.Fatalf("renew: %d %s", code, problem)
	}
	if _, code, _ := a.once(); code != 200 {
		t.Fatalf("the old certificate after a renewal whose reply was lost: %d; want it to work", code)
	}
	next, code, problem := renew(a)
	if code != 200 {
		t.Fatalf("second renewal: %d %s", code, problem)
	}
	old := a.copy()
	if err := b.stop(); err != nil { // the successor is known across a restart
		t.Fatal(err)
	}
	b.start()
	t.Cleanup(func() { _ = b.stop() })
	a.http, old.http = b.client(next), b.client(old.cert)
	if _, code, problem := a.once(); code != 200 {
		t.Fatalf("the new certificate: %d %s", code, problem)
	}
	if code, problem := b.send(old.http, http.MethodGet, wire.PathPlan+"/"+a.plan, nil, nil); code != refusedAtHandshake {
		t.Errorf("the old certificate after the new one's first use: %d %s; want refused at the handshake", code, problem)
	}
	if code, problem := b.send(b.client(lost), http.MethodGet, wire.PathPlan+"/"+a.plan, nil, nil); code != refusedAtHandshake {
		t.Errorf("the lost successor: %d %s; want refused at the handshake", code, problem)
	}
	again, code, _ := renew(a)
	if code != 200 {
		t.Fatalf("renewing the renewed: %d", code)
	}
	a.http = b.client(again)
	if _, code, problem := a.once(); code != 200 {
		t.Errorf("the third certificate: %d %s", code, problem)
	}
}

func TestN05_BombsAndOversizeBodiesAreRefusedWithoutBeingHeldInMemory(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	enc.Reset(&packed)
	zeros := make([]byte, 1<<20)
	for range 512 {
		if _, err := enc.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := enc.Close(); err != nil {
		t.Fatal(err)
	}
	bomb := packed.Bytes()
	if len(bomb) > 1<<20 {
		t.Fatalf("the bomb has %d bytes: it proves nothing", len(bomb))
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for path, want := range map[string]int{wire.PathCheckIn: 413, wire.PathReports: 413, wire.PathRenew: 413} {
		if code, problem := b.send(a.http, http.MethodPost, path, bytes.NewReader(bomb), nil); code != want {
			t.Errorf("512 MiB of zeros to %s: %d %s; want %d", path, code, problem, want)
		}
	}
	if code, problem := b.send(b.client(), http.MethodPost, wire.PathEnrol, bytes.NewReader(bomb), nil); code != 413 {
		t.Errorf("512 MiB of zeros from a stranger: %d %s; want 413", code, problem)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 96<<20 {
		t.Errorf("refusing four bombs took %d MiB of allocations", grown>>20)
	}
	plain := bytes.Repeat([]byte(" "), wire.MaxMessage+1)
	if code, _ := b.send(a.http, http.MethodPost, wire.PathCheckIn, bytes.NewReader(plain), nil); code != 413 {
		t.Errorf("a message over the cap: %d; want 413", code)
	}
	if code, _ := b.send(a.http, http.MethodPost, wire.PathCheckIn, struct{ io.Reader }{bytes.NewReader(plain)}, nil); code != 413 {
		t.Errorf("a chunked message over the cap: %d; want 413", code)
	}
}

func TestN08_DeepBrokenAndWronglyCompressedJSONIsRefused(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	for name, tc := range map[string]struct{ body, problem string }{
		"100,000 levels":      {strings.Repeat("[", 100_000), "body_too_deep"},
		"levels in a field":   {`{"progress":` + strings.Repeat(`{"a":`, 1000) + "1" + strings.Repeat("}", 1001), "body_too_deep"},
		"no JSON":             {"hello", "body_malformed"},
		"NaN":                 {`{"sequence":NaN}`, "body_malformed"},
		"empty":               {"", "body_malformed"},
		"two values":          {`{} {}`, "body_malformed"},
		"a broken zstd frame": {"\x28\xb5\x2f\xfd" + strings.Repeat("\xff", 100), "body_compression"},
		"brackets in a text":  {`{"plan":"` + strings.Repeat("[", 100) + `"}`, "checkin_invalid"},
	} {
		if code, problem := b.send(a.http, http.MethodPost, wire.PathCheckIn, strings.NewReader(tc.body), nil); code != 400 || problem != tc.problem {
			t.Errorf("%s: %d %s; want 400 %s", name, code, problem, tc.problem)
		}
	}
}

func TestN11_OtherSpellingsOfAPathLeadNowhere(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	conf := a.http.Transport.(*http.Transport).TLSClientConfig
	for _, path := range []string{"//agent/v1/checkin", "/agent/v1/../v1/checkin", "/agent/v1/checkin/", "/agent/v1/%63heckin", "/agent/v1/plan/%2e%2e", "/AGENT/v1/checkin", "/", "*", "/agent/v1/checkin;x"} {
		c, err := tls.Dial("tcp", b.addr, conf)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", path)
		answer, _ := io.ReadAll(c)
		if !bytes.HasPrefix(answer, []byte("HTTP/1.1 404")) && !bytes.HasPrefix(answer, []byte("HTTP/1.1 400")) {
			t.Errorf("%s: %.60q; want 404 or 400, and no redirect", path, answer)
		}
		c.Close()
	}
}

func TestN09_SlowStrangersAreBoundedInNumberAndTime(t *testing.T) {
	limits := Limits{PerAddress: 8, HeaderTimeout: 300 * time.Millisecond}
	b := newBench(t, limits)
	var held []net.Conn
	for range limits.PerAddress {
		c, err := net.Dial("tcp", b.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte{0x16}); err != nil { // the first byte of a handshake, and no more
			t.Fatal(err)
		}
		held = append(held, c)
	}
	for strangers := 0; strangers < limits.PerAddress; strangers, _ = b.gw.conns.counts() {
		runtime.Gosched() // until the server has accepted them all
	}
	over, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer over.Close()
	_ = over.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := over.Read(make([]byte, 1)); err == nil {
		t.Error("a stranger over the limit was served")
	}
	for _, c := range held { // each ends by itself
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("a slow handshake was not ended by the server: %v", err)
		}
	}
	for strangers := 1; strangers > 0; strangers, _ = b.gw.conns.counts() {
		runtime.Gosched()
	}
	b.agent().settle()
}

func TestN09_SlowHeaderAndSlowBodyEnd(t *testing.T) {
	b := newBench(t, Limits{HeaderTimeout: 300 * time.Millisecond, BodyTimeout: 300 * time.Millisecond})
	a := b.agent()
	a.settle()
	conf := a.http.Transport.(*http.Transport).TLSClientConfig
	for name, start := range map[string]string{
		"header": "POST /agent/v1/checkin HTTP/1.1\r\nHost: x\r\nX-A: ",
		"body":   "POST /agent/v1/checkin HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
	} {
		c, err := tls.Dial("tcp", b.addr, conf)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(c, start); err != nil {
			t.Fatal(err)
		}
		if answer, err := io.ReadAll(c); err != nil || bytes.Contains(answer, []byte("200 OK")) {
			t.Errorf("slow %s: %.60q, %v; want the server to end it", name, answer, err)
		}
		c.Close()
	}
}

func TestN28_OneDevicesRequestsAndConnectionsAreBounded(t *testing.T) {
	b := newBench(t, Limits{DeviceFlight: 2, PerDevice: 3})
	a, neighbour := b.agent(), b.agent()
	a.settle()
	conf := a.http.Transport.(*http.Transport).TLSClientConfig
	body := make([]net.Conn, 2)
	for i := range body { // two requests that never finish their bodies
		c, err := tls.Dial("tcp", b.addr, conf)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", wire.PathReports)
		body[i] = c
	}
	s := b.gw.session(a.id)
	for flight := 0; flight < 2; {
		s.mu.Lock()
		flight = s.flight
		s.mu.Unlock()
		runtime.Gosched()
	}
	if _, code, problem := a.once(); code != 503 || problem != "device_busy" {
		t.Errorf("a third request: %d %s; want 503 device_busy", code, problem)
	}
	second := b.client(a.cert)
	if code, problem := b.send(second, http.MethodGet, wire.PathPlan+"/"+a.plan, nil, nil); code != 503 || problem != "device_connections" {
		t.Errorf("a fourth connection: %d %s; want 503 device_connections", code, problem)
	}
	neighbour.settle()
}

func TestRefusedRequestDoesNotWaitForTheRestOfItsBody(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	c, err := tls.Dial("tcp", b.addr, a.http.Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(c, "PUT %s/facts/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", wire.PathDocument)
	if answer, err := io.ReadAll(c); err != nil || !bytes.Contains(answer, []byte("409 Conflict")) {
		t.Errorf("%.60q, %v; want a refusal and the end of the connection", answer, err)
	}
}

func TestOverloadIsRefusedWithRetryAfterAndRecovers(t *testing.T) {
	b := newBench(t, Limits{Requests: 1})
	a := b.agent()
	a.settle()
	release, ok := b.gw.enter()
	if !ok {
		t.Fatal("no place")
	}
	resp, err := a.http.Post(b.url(wire.PathCheckIn), "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%d, Retry-After %q; want 503 with one", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	release()
	a.settle()
}

func TestParkedLongPollsTakeNoWorkingPlace(t *testing.T) {
	b := newBench(t, Limits{Requests: 1})
	var group sync.WaitGroup
	agents := []*agent{b.agent(), b.agent(), b.agent()}
	for _, a := range agents {
		a.settle()
		a.wait = 60
	}
	for _, a := range agents {
		group.Go(func() { _, _, _ = a.once() })
		<-b.w.polled
	}
	b.agent().settle()
	for _, a := range agents {
		b.w.replan(a.id, `{"format":1,"new":"`+string(a.id)+`"}`)
	}
	group.Wait()
}

func TestCallOfAHungUpDeviceEndsItsLongPoll(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	ctx, cancel := context.WithCancel(t.Context())
	body := mustJSON(t, wire.CheckIn{BootID: a.boot, Run: a.run, Sequence: a.seq + 1, Digests: a.digests(), Plan: a.plan, Wait: 300})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url(wire.PathCheckIn), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := a.http.Do(req); done <- err }()
	<-b.w.polled
	cancel()
	if err := <-done; err == nil {
		t.Fatal("the call went through")
	}
	for open := 1; open > 0; {
		b.w.mu.Lock()
		open = b.w.polls
		b.w.mu.Unlock()
		runtime.Gosched()
	}
}

func FuzzDecompress(f *testing.F) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(enc.EncodeAll([]byte(`{"a":[1,2,3]}`), nil))
	f.Add([]byte(`{"plain":true}`))
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd})
	f.Fuzz(func(t *testing.T, data []byte) {
		var buf bytes.Buffer
		const limit = 1 << 16
		if err := new(codec).decompress(bytes.NewReader(data), limit, &buf); err == nil && len(data) <= limit && buf.Len() > limit {
			t.Errorf("%d bytes came out; the limit is %d", buf.Len(), limit)
		}
		shallow(buf.Bytes(), maxDepth)
	})
}
