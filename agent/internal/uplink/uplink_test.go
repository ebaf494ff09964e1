package uplink

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"assent/agent/internal/identity"
	"assent/wire"
)

// authority is a CA with its key.
type authority struct {
	der  []byte
	cert *x509.Certificate
	key  ed25519.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{der, cert, key}
}

func (a authority) issue(t *testing.T, pub any, use x509.ExtKeyUsage, name string) []byte {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{use}, DNSNames: []string{name}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, pub, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// server is one way to be a server, honest or not.
type server struct {
	ca      authority
	name    string   // in the certificate
	chain   [][]byte // shown after the leaf
	max     uint16   // TLS version
	handler http.HandlerFunc
	hits    atomic.Int64
}

func (s *server) listen(t *testing.T) string {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := s.ca.issue(t, pub, x509.ExtKeyUsageServerAuth, s.name)
	conf := &tls.Config{Certificates: []tls.Certificate{{Certificate: append([][]byte{leaf}, s.chain...), PrivateKey: key}}, MaxVersion: s.max, ClientAuth: tls.RequestClientCert}
	l, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{ErrorLog: nil, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.hits.Add(1)
		s.handler(w, r)
	})}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return "https://" + l.Addr().String()
}

// device is an identity under ca.
func device(t *testing.T, ca authority) identity.Identity {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return identity.Identity{Device: "d", Key: der, Certificate: ca.issue(t, pub, x509.ExtKeyUsageClientAuth, ""), CA: ca.der}
}

func answer(v any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(v) }
}

func client(t *testing.T, ca authority, url string) *Client {
	t.Helper()
	c, err := New(device(t, ca), Options{Server: url, ServerName: "assent.test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func checkIn(t *testing.T, c *Client) error {
	t.Helper()
	_, err := c.CheckIn(t.Context(), wire.CheckIn{})
	return err
}

func TestCheckInReachesTheServerOfTheOwnCAWithTheDeviceCertificate(t *testing.T) {
	ca := newAuthority(t)
	s := &server{ca: ca, name: "assent.test", handler: func(w http.ResponseWriter, r *http.Request) {
		if r.TLS.Version != tls.VersionTLS13 || len(r.TLS.PeerCertificates) != 1 {
			t.Errorf("TLS %x with %d certificates", r.TLS.Version, len(r.TLS.PeerCertificates))
		}
		answer(wire.CheckInReply{Next: 7})(w, r)
	}}
	c := client(t, ca, s.listen(t))
	reply, err := c.CheckIn(t.Context(), wire.CheckIn{})
	if err != nil || reply.Next != 7 {
		t.Fatalf("%+v, %v", reply, err)
	}
}

func TestN06_AServerThatIsNotOursIsNeverTalkedTo(t *testing.T) {
	ours, other := newAuthority(t), newAuthority(t)
	for name, s := range map[string]*server{
		"another CA":                           {ca: other, name: "assent.test"},
		"another CA that shows ours beside it": {ca: other, name: "assent.test", chain: [][]byte{ours.der}},
		"another name":                         {ca: ours, name: "elsewhere.test"},
		"TLS 1.2":                              {ca: ours, name: "assent.test", max: tls.VersionTLS12},
	} {
		t.Run(name, func(t *testing.T) {
			s.handler = answer(wire.CheckInReply{})
			if err := checkIn(t, client(t, ours, s.listen(t))); err == nil {
				t.Error("the check-in went through")
			}
			if s.hits.Load() != 0 {
				t.Error("the server saw a request")
			}
		})
	}
}

func TestN06_RedirectsAreNotFollowed(t *testing.T) {
	ca := newAuthority(t)
	target := &server{ca: ca, name: "assent.test", handler: answer(wire.CheckInReply{})}
	url := target.listen(t)
	for _, code := range []int{301, 302, 303, 307, 308} {
		s := &server{ca: ca, name: "assent.test", handler: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, url+wire.PathCheckIn, code)
		}}
		if err := checkIn(t, client(t, ca, s.listen(t))); !errors.Is(err, ErrRedirect) {
			t.Errorf("%d: %v", code, err)
		}
	}
	if target.hits.Load() != 0 {
		t.Error("the target of a redirect was called")
	}
}

// TestMain points all proxy settings at a proxy that is not there. net/http reads them once in a process.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		if err := os.Setenv(name, "http://proxy.test:3128"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func TestN06_ProxySettingsOfTheEnvironmentAreIgnored(t *testing.T) {
	ca := newAuthority(t)
	s := &server{ca: ca, name: "assent.test", handler: answer(wire.CheckInReply{})}
	// net/http never proxies loopback addresses, so the server is called by a name.
	addr := strings.TrimPrefix(s.listen(t), "https://")
	c, err := New(device(t, ca), Options{Server: "https://assent.test:8443", Dial: func(ctx context.Context, network, to string) (net.Conn, error) {
		if to != "assent.test:8443" {
			return nil, fmt.Errorf("the agent wants to talk to %s", to)
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := checkIn(t, c); err != nil {
		t.Errorf("check-in: %v", err)
	}
}

func TestEnrolSendsTheTokenOnlyToTheServerOfItsFingerprint(t *testing.T) {
	ours, other := newAuthority(t), newAuthority(t)
	token := wire.NewToken(ours.der)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	notCA := ours.issue(t, key.Public(), x509.ExtKeyUsageServerAuth, "assent.test")
	for name, c := range map[string]struct {
		server *server
		token  wire.Token
		ok     bool
	}{
		"ours":                                       {&server{ca: ours, chain: [][]byte{ours.der}, name: "assent.test"}, token, true},
		"ours, but it does not show its CA":          {&server{ca: ours, name: "assent.test"}, token, false},
		"ours under another name":                    {&server{ca: ours, chain: [][]byte{ours.der}, name: "elsewhere.test"}, token, false},
		"another CA":                                 {&server{ca: other, chain: [][]byte{other.der}, name: "assent.test"}, token, false},
		"another CA with ours pinned to the end":     {&server{ca: other, chain: [][]byte{other.der, ours.der}, name: "assent.test"}, token, false},
		"fingerprint of a certificate that is no CA": {&server{ca: ours, chain: [][]byte{notCA}, name: "assent.test"}, wire.Token{ID: token.ID, Secret: token.Secret, CA: wire.Digest(notCA)}, false},
		"TLS 1.2":                                    {&server{ca: ours, chain: [][]byte{ours.der}, name: "assent.test", max: tls.VersionTLS12}, token, false},
	} {
		t.Run(name, func(t *testing.T) {
			c.server.handler = func(w http.ResponseWriter, r *http.Request) {
				var m wire.EnrolRequest
				if err := json.NewDecoder(r.Body).Decode(&m); err != nil || m.Token != token.String() {
					t.Errorf("request %+v, %v", m, err)
				}
				answer(wire.EnrolResponse{Device: "d", CA: ours.der})(w, r)
			}
			_, err := Enrol(t.Context(), Options{Server: c.server.listen(t), ServerName: "assent.test"}, c.token, key, wire.Facts{})
			if (err == nil) != c.ok {
				t.Errorf("enrolment: %v", err)
			}
			if !c.ok && c.server.hits.Load() != 0 {
				t.Error("the token was sent")
			}
		})
	}
}

func TestEnrolRefusesAnAnswerWithAnotherCAThanTheTokens(t *testing.T) {
	ours, other := newAuthority(t), newAuthority(t)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{ca: ours, chain: [][]byte{ours.der}, name: "assent.test", handler: answer(wire.EnrolResponse{Device: "d", CA: other.der})}
	if _, err := Enrol(t.Context(), Options{Server: s.listen(t), ServerName: "assent.test"}, wire.NewToken(ours.der), key, wire.Facts{}); !errors.Is(err, ErrCA) {
		t.Errorf("%v; want ErrCA", err)
	}
}

func pack(b []byte) []byte {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return enc.EncodeAll(b, nil)
}

func TestN05_AnswersThatAreTooLongOrPackedTooWellAreCutOff(t *testing.T) {
	ca := newAuthority(t)
	bomb := pack(make([]byte, 100<<20))
	var stream strings.Builder // the same without a size in its header
	enc, err := zstd.NewWriter(&stream)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(enc, zeroes{}, 100<<20); err != nil {
		t.Fatal(err)
	}
	enc.Close()
	for name, handler := range map[string]http.HandlerFunc{
		"a long body": func(w http.ResponseWriter, _ *http.Request) { io.CopyN(w, zeroes{}, 100<<20) },
		"a bomb": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "zstd")
			w.Write(bomb)
		},
		"a bomb that hides its size": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "zstd")
			io.WriteString(w, stream.String())
		},
		"garbage called zstd": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "zstd")
			io.WriteString(w, "garbage")
		},
		"an unknown encoding": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			io.WriteString(w, "{}")
		},
		"a page of HTML": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>log in</html>") },
		"deep JSON":      func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Repeat("[", 100_000)) },
		"a huge header":  func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) },
		"a broken answer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "{")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &server{ca: ca, name: "assent.test", handler: handler}
			c := client(t, ca, s.listen(t))
			if err := checkIn(t, c); err == nil {
				t.Error("the answer was taken")
			}
		})
	}
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestPlansAndDocumentsTravelPackedAndArriveWhole(t *testing.T) {
	ca := newAuthority(t)
	doc := []byte(strings.Repeat(`{"name":"openssl"}`, 10_000))
	s := &server{ca: ca, name: "assent.test", handler: func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Encoding", "zstd")
			w.Write(pack(doc))
			return
		}
		b, err := io.ReadAll(r.Body)
		if err != nil || len(b) > len(doc)/10 {
			t.Errorf("%d bytes on the wire, %v", len(b), err)
		}
		dec, err := zstd.NewReader(nil)
		if err != nil {
			t.Error(err)
			return
		}
		if got, err := dec.DecodeAll(b, nil); err != nil || string(got) != string(doc) {
			t.Errorf("document of %d bytes, %v", len(got), err)
		}
		if r.URL.Path != wire.PathDocument+"/inventory/"+wire.Digest(doc) {
			t.Errorf("path %s", r.URL.Path)
		}
	}}
	c := client(t, ca, s.listen(t))
	if err := c.Upload(t.Context(), wire.KindInventory, wire.Digest(doc), doc); err != nil {
		t.Error(err)
	}
	if got, err := c.Plan(t.Context(), "x"); err != nil || string(got) != string(doc) {
		t.Errorf("plan of %d bytes, %v", len(got), err)
	}
}

func TestARefusalKeepsItsCodeItsWordsAndItsRetryAfter(t *testing.T) {
	ca := newAuthority(t)
	s := &server{ca: ca, name: "assent.test", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(http.StatusTooManyRequests)
		fmt.Fprint(w, `{"code":"busy","message":"Too many.\u001b[31m"}`)
	}}
	err := checkIn(t, client(t, ca, s.listen(t)))
	var r *Refused
	if !errors.As(err, &r) || r.Status != 429 || r.Code != "busy" || r.Message != "Too many.[31m" || r.RetryAfter != 2*time.Minute {
		t.Errorf("%#v", err)
	}
}

func TestBackoffGrowsFromASecondToFiveMinutesWithJitterAndObeysRetryAfter(t *testing.T) {
	var b Backoff
	seen := map[time.Duration]bool{}
	for i := range 100 {
		wait := b.Next(errors.New("x"))
		top := min(time.Second<<min(i, 20), 5*time.Minute)
		if wait < top/2 || wait >= top {
			t.Fatalf("failure %d: %v is not in the upper half of %v", i+1, wait, top)
		}
		seen[wait] = true
	}
	if len(seen) < 50 {
		t.Errorf("%d different waits in 100: the fleet would come back in step", len(seen))
	}
	b.Reset()
	if wait := b.Next(errors.New("x")); wait >= time.Second {
		t.Errorf("%v after a reset", wait)
	}
	if wait := b.Next(fmt.Errorf("call: %w", &Refused{RetryAfter: 30 * time.Minute})); wait < 30*time.Minute || wait > 40*time.Minute {
		t.Errorf("%v; the server asked for 30 minutes", wait)
	}
}

func TestRetryAfterIsCappedAndGarbageIsNone(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "5": 5 * time.Second, "-1": 0, "999999": time.Hour, "99999999999999": 0, "Mon, 01 Jan 2029 00:00:00 GMT": 0} {
		if got := retryAfter(text); got != want {
			t.Errorf("%q: %v; want %v", text, got, want)
		}
	}
}

func TestServerAddressesThatAreMoreThanAnAddressAreRefused(t *testing.T) {
	for _, bad := range []string{"", "host:8443", "http://host:8443", "https://", "https://u:p@host", "https://host/path", "https://host?x=1", "https://host#f", "file:///etc/passwd", "https://ho st"} {
		if _, err := CheckURL(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	for _, good := range []string{"https://host:8443", "https://host:8443/", "https://[::1]:8443", "https://10.0.0.1"} {
		if _, err := CheckURL(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
}
