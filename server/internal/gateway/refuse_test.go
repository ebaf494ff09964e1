package gateway

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

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
	case "rehearsal":
		return http.MethodPost, wire.PathRehearsal, mustJSON(a.b.t, wire.Rehearsal{At: time.Now(), Plan: strings.Repeat("a", 64), Inventory: strings.Repeat("b", 64)})
	case "leave":
		return http.MethodPost, wire.PathLeave, nil
	case "feed":
		return http.MethodGet, wire.PathFeed + "/acme/root.json", nil
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

func TestN32_WhoLostItsRightIsRefusedOnAResumedSessionToo(t *testing.T) {
	for name, lose := range losses() {
		t.Run(name, func(t *testing.T) {
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
			lose(b, a)
			if c, err := dial(); err == nil {
				t.Errorf("it got through (resumed: %v)", c.ConnectionState().DidResume)
			}
		})
	}
}

// losses are the ways in which a certificate loses its right to speak, by what is said to its holder.
func losses() map[string]func(*bench, *agent) {
	change := func(f func(*fleet.Device)) func(*bench, *agent) {
		return func(b *bench, a *agent) {
			b.w.mu.Lock()
			defer b.w.mu.Unlock()
			d := b.w.devices[a.id]
			f(&d)
			b.w.devices[a.id] = d
		}
	}
	return map[string]func(*bench, *agent){
		"certificate_expired":    func(b *bench, _ *agent) { b.clock.Advance(ca.DeviceLife + time.Second) },
		"device_retired":         change(func(d *fleet.Device) { d.State = fleet.Retired }),
		"certificate_superseded": change(func(d *fleet.Device) { d.Key = "another" }),
		"device_unknown": func(b *bench, a *agent) {
			b.w.mu.Lock()
			defer b.w.mu.Unlock()
			delete(b.w.devices, a.id)
		},
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
