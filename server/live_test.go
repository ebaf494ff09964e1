package server

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/catalog"
	"assent/client"
	"assent/fleet"
	"assent/wire"
)

// live is a server that runs in the test, whole and on real ports.
type live struct {
	t      *testing.T
	data   string
	api    string
	agents string
	out    *bytes.Buffer
	stop   func() error
}

func start(t *testing.T, data string, change func(*Config)) *live {
	t.Helper()
	l := &live{t: t, data: data, out: &bytes.Buffer{}}
	ready := make(chan struct{})
	c := Config{Data: data, Listen: "127.0.0.1:0", AgentListen: "127.0.0.1:0", ServerNames: []string{"127.0.0.1"}, Out: l.out, Version: "test",
		Log: slog.New(slog.DiscardHandler), Ready: func(api, agents net.Addr) {
			l.api, l.agents = api.String(), agents.String()
			close(ready)
		}}
	if change != nil {
		change(&c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, c) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		t.Fatalf("the server ended at its start: %v", err)
	}
	var once sync.Once
	var ended error
	l.stop = func() error {
		once.Do(func() { cancel(); ended = <-done })
		return ended
	}
	t.Cleanup(func() {
		if err := l.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return l
}

// fails expects a start to be refused and returns why.
func fails(t *testing.T, c Config) string {
	t.Helper()
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	c.AgentListen, c.ServerNames, c.Log = "127.0.0.1:0", []string{"127.0.0.1"}, slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.Ready = func(net.Addr, net.Addr) { cancel() }
	err := Run(ctx, c)
	if err == nil {
		t.Fatal("the server started")
	}
	return err.Error()
}

// call makes one API call and returns the status; out may be nil.
func (l *live) call(method, path, token string, in, out any) int {
	l.t.Helper()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			l.t.Fatal(err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, "http://"+l.api+path, body)
	if err != nil {
		l.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	if out != nil && resp.StatusCode/100 == 2 {
		if err := json.Unmarshal(data, out); err != nil {
			l.t.Fatalf("%s %s: %v in %s", method, path, err, data)
		}
	}
	if resp.StatusCode/100 != 2 {
		l.t.Logf("%s %s: %d %s", method, path, resp.StatusCode, data)
	}
	return resp.StatusCode
}

// admin signs in with the first sign-in.
func (l *live) admin() string {
	l.t.Helper()
	text, err := os.ReadFile(filepath.Join(l.data, signInFile))
	if err != nil {
		l.t.Fatal(err)
	}
	return l.signIn(strings.TrimSpace(string(text)))
}

func (l *live) signIn(text string) string {
	l.t.Helper()
	var got struct {
		Text  string `json:"text"`
		Token string `json:"token"`
	}
	if code := l.call(http.MethodPost, "/api/v1/sign-in", "", map[string]string{"token": text}, &got); code/100 != 2 {
		l.t.Fatalf("sign in: %d", code)
	}
	return got.Text + got.Token
}

// enrol enrols a device through the API's token and returns its client.
func (l *live) enrol(admin string) (fleet.DeviceID, *http.Client, wire.EnrolResponse) {
	l.t.Helper()
	return l.enrolAs(admin, "web1")
}

// enrolAs is enrol for a device that says it is called so.
func (l *live) enrolAs(admin, name string) (fleet.DeviceID, *http.Client, wire.EnrolResponse) {
	l.t.Helper()
	var token client.TokenRow
	if code := l.call(http.MethodPost, "/api/v1/tokens", admin, client.TokenRequest{Uses: 1}, &token); code/100 != 2 {
		l.t.Fatalf("make a token: %d", code)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		l.t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		l.t.Fatal(err)
	}
	stranger := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // the CA comes with the answer and is checked against the token
	var resp wire.EnrolResponse
	if code := l.send(stranger, wire.PathEnrol, wire.EnrolRequest{Token: token.Text, CSR: csr, Hostname: name}, &resp); code != 200 {
		l.t.Fatalf("enrol: %d", code)
	}
	if want, err := wire.ParseToken(token.Text); err != nil || wire.Digest(resp.CA) != want.CA {
		l.t.Fatalf("the CA is not the token's: %v", err)
	}
	if code := l.send(stranger, wire.PathEnrol, wire.EnrolRequest{Token: token.Text, CSR: csr, Hostname: name}, &resp); code != 200 {
		l.t.Fatalf("the same enrolment again, as after a lost reply: %d; want the same device", code)
	}
	root, err := x509.ParseCertificate(resp.CA)
	if err != nil {
		l.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	conf := &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{{Certificate: [][]byte{resp.Certificate}, PrivateKey: key}}}
	tr := &http.Transport{TLSClientConfig: conf}
	l.t.Cleanup(tr.CloseIdleConnections)
	return resp.Device, &http.Client{Transport: tr, Timeout: 30 * time.Second}, resp
}

func (l *live) send(c *http.Client, path string, in, out any) int {
	l.t.Helper()
	b, err := json.Marshal(in)
	if err != nil {
		l.t.Fatal(err)
	}
	resp, err := c.Post("https://"+l.agents+path, "application/json", bytes.NewReader(b))
	if err != nil {
		l.t.Logf("%s: %v", path, err)
		return 0
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	if resp.StatusCode == 200 && out != nil {
		if err := json.Unmarshal(data, out); err != nil {
			l.t.Fatal(err)
		}
	}
	if resp.StatusCode != 200 {
		l.t.Logf("%s: %d %s", path, resp.StatusCode, data)
	}
	return resp.StatusCode
}

// documents are those of a device that could take one update.
func documents() (map[wire.Kind][]byte, map[wire.Kind]string, catalog.Release) {
	r := catalog.Release{Software: catalog.Software{Ecosystem: "deb", Namespace: "debian", Name: "hello"}, Version: "2.10-3"}
	docs, digests := map[wire.Kind][]byte{}, map[wire.Kind]string{}
	for kind, v := range map[wire.Kind]any{
		wire.KindFacts:     wire.Facts{Hostname: "web1", OS: "debian", OSVersion: "12", Arch: "amd64"},
		wire.KindInventory: wire.Inventory{Ecosystem: "deb", Packages: []wire.Package{{Name: "hello", Arch: "amd64", Version: "2.10-2", Status: "ii", Source: "hello", SourceVersion: "2.10-2"}}},
		wire.KindAvailable: wire.Available{Ecosystem: "deb", Updates: []wire.Offer{{Namespace: "debian", Name: "hello", Version: "2.10-3", Items: []wire.OfferItem{{
			Item:      catalog.Item{Name: "hello", Arch: "amd64", Version: "2.10-3", Size: 1000, SHA256: strings.Repeat("ab", 32)},
			Installed: "2.10-2", Origin: "Debian:bookworm", Pin: 500, Candidate: true}}}}},
	} {
		body, digest, err := wire.Encode(v)
		if err != nil {
			panic(err)
		}
		docs[kind], digests[kind] = body, digest
	}
	return docs, digests, r
}
