package server

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/wire"
)

// recorded is a message as an agent of capability 1 wrote it, before there were feeds, removals, proofs of the ledger and
// word of finished closures.
func recorded(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/capability1/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// filled is a recorded message with some of its fields set.
func filled(t *testing.T, name string, fields map[string]any) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(recorded(t, name), &m); err != nil {
		t.Fatal(err)
	}
	maps.Copy(m, fields)
	return m
}

// firstPlan is the plan as an agent of capability 1 reads it.
type firstPlan struct {
	Format  int `json:"format"`
	Install []struct {
		Update  string `json:"update"`
		Release struct{ Ecosystem, Namespace, Name, Version string }
		Items   []struct {
			Name, Arch, Version, SHA256 string
			Size                        int64
		}
	} `json:"install"`
	Deny []struct {
		Version, Reason string
		Items           []struct{ Name, Version, SHA256 string }
	} `json:"deny"`
}

// veteran is an agent of capability 1.
type veteran struct {
	*live
	dev  *http.Client
	keys []byte // that sign plans
	id   string
	docs map[string]string
	seq  int
}

func (l *live) veteran(admin string) *veteran {
	t := l.t
	t.Helper()
	var token client.TokenRow
	if code := l.call(http.MethodPost, "/api/v1/tokens", admin, client.TokenRequest{Uses: 1}, &token); code/100 != 2 {
		t.Fatalf("make a token: %d", code)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	stranger := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // the fingerprint is another test's
	var got struct {
		Device          string
		Certificate, CA []byte
		PlanKeys        [][]byte `json:"plan_keys"`
	}
	if code := l.send(stranger, wire.PathEnrol, filled(t, "enrol", map[string]any{"token": token.Text, "csr": csr}), &got); code != 200 || len(got.PlanKeys) == 0 {
		t.Fatalf("enrol: %d", code)
	}
	root, err := x509.ParseCertificate(got.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{{Certificate: [][]byte{got.Certificate}, PrivateKey: key}}}}
	t.Cleanup(tr.CloseIdleConnections)
	v := &veteran{live: l, dev: &http.Client{Transport: tr, Timeout: 30 * time.Second}, keys: got.PlanKeys[0], id: got.Device, docs: map[string]string{}}
	for _, kind := range []string{"facts", "inventory", "available"} {
		v.docs[kind] = wire.Digest(recorded(t, kind))
	}
	return v
}

// checkIn sends the recorded check-in with its digests, uploads what is asked for and gives the plan that it was told of; nil
// for none.
func (v *veteran) checkIn() *firstPlan {
	v.t.Helper()
	v.seq++
	var reply struct {
		Need      []string
		Next      int
		Statement *struct{ Body, Sig []byte }
	}
	if code := v.send(v.dev, wire.PathCheckIn, filled(v.t, "checkin", map[string]any{"sequence": v.seq, "digests": v.docs}), &reply); code != 200 || reply.Next <= 0 {
		v.t.Fatalf("check-in %d: %d, next %d", v.seq, code, reply.Next)
	}
	for _, kind := range reply.Need {
		v.fetch(http.MethodPut, wire.PathDocument+"/"+kind+"/"+v.docs[kind], recorded(v.t, kind))
	}
	if reply.Statement == nil {
		return nil
	}
	s := reply.Statement
	const kind = "application/vnd.assent.plan.v1"
	signed := "DSSEv1 30 " + kind + " " + lengthOf(s.Body) + " " + string(s.Body)
	if !ed25519.Verify(v.keys, []byte(signed), s.Sig) {
		v.t.Fatal("the statement's signature is none that an agent of capability 1 knows")
	}
	var body struct{ Device, Plan string }
	if err := json.Unmarshal(s.Body, &body); err != nil || body.Device != v.id {
		v.t.Fatalf("the statement is for %q, %v", body.Device, err)
	}
	raw := v.fetch(http.MethodGet, wire.PathPlan+"/"+body.Plan, nil)
	var p firstPlan
	if err := json.Unmarshal(raw, &p); err != nil || wire.Digest(raw) != body.Plan || p.Format != 1 {
		v.t.Fatalf("the plan cannot be read by an agent of capability 1: %v\n%s", err, raw)
	}
	return &p
}

func lengthOf(b []byte) string {
	n, _ := json.Marshal(len(b)) // a number always encodes
	return string(n)
}

func (v *veteran) fetch(method, path string, body []byte) []byte {
	v.t.Helper()
	req, err := http.NewRequest(method, "https://"+v.agents+path, bytes.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	resp, err := v.dev.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		v.t.Fatalf("%s %s: %s, %v: %s", method, path, resp.Status, err, out)
	}
	if resp.Header.Get("Content-Encoding") != "zstd" {
		return out
	}
	unpack, err := zstd.NewReader(nil)
	if err != nil {
		v.t.Fatal(err)
	}
	defer unpack.Close()
	if out, err = unpack.DecodeAll(out, nil); err != nil {
		v.t.Fatal(err)
	}
	return out
}

func TestN38_AnAgentOfTheFirstCapabilityIsServedAsItWas(t *testing.T) {
	l := start(t, t.TempDir(), nil)
	admin := l.admin()
	v := l.veteran(admin)
	for v.checkIn() == nil { // first the documents
		if v.seq > 5 {
			t.Fatal("there is no plan")
		}
	}
	hello := catalog.Release{Software: catalog.Software{Ecosystem: "deb", Namespace: "debian", Name: "hello"}, Version: "2.10-3"}
	decide := func(d client.Decide) {
		t.Helper()
		d.Updates = []string{string(hello.ID())}
		if code := l.call(http.MethodPost, "/api/v1/decisions", admin, d, nil); code != 200 {
			t.Fatalf("decide: %d", code)
		}
	}
	decide(client.Decide{Status: approval.Approved})
	p := v.checkIn()
	if p == nil || len(p.Install) != 1 || p.Install[0].Update != string(hello.ID()) || p.Install[0].Release.Name != "hello" || len(p.Install[0].Items) != 1 || p.Install[0].Items[0].SHA256 != strings.Repeat("ab", 32) {
		t.Fatalf("plan after the approval: %+v", p)
	}
	reports := strings.ReplaceAll(string(recorded(t, "reports")), "UPDATE", string(hello.ID()))
	var answer struct{ Applied []string }
	if code := v.send(v.dev, wire.PathReports, json.RawMessage(reports), &answer); code != 200 || len(answer.Applied) != 3 {
		t.Fatalf("reports: %d, applied %q", code, answer.Applied)
	}
	decide(client.Decide{Status: approval.Declined, Reason: "breaks mail"})
	if p = v.checkIn(); p == nil || len(p.Install) != 0 || len(p.Deny) != 1 || p.Deny[0].Version != "2.10-3" || p.Deny[0].Reason != "breaks mail" || len(p.Deny[0].Items) == 0 {
		t.Errorf("plan after the decline: %+v", p)
	}
}

func TestN38_WhatALaterAgentAddsToItsMessagesIsPassedOver(t *testing.T) {
	l := start(t, t.TempDir(), nil)
	v := l.veteran(l.admin())
	in := filled(t, "checkin", map[string]any{"sequence": 1, "digests": map[string]any{"facts": v.docs["facts"], "dreams": v.docs["facts"]}, "capability": 99,
		"mood": map[string]any{"colour": "red", "list": []int{1, 2}}, "progress": map[string]any{"doing": "x", "speed": 3}})
	var reply struct{ Need []string }
	if code := l.send(v.dev, wire.PathCheckIn, in, &reply); code != 200 || len(reply.Need) == 0 {
		t.Errorf("check-in of a later agent: %d, need %q", code, reply.Need)
	}
	var answer struct{ Applied []string }
	later := `{"era":"later","reports":[{"id":"e1","at":"2026-11-23T12:00:00Z","event":"moonrise","detail":"x","phase":{"full":true}}]}`
	if code := l.send(v.dev, wire.PathReports, json.RawMessage(later), &answer); code != 200 || len(answer.Applied) != 1 {
		t.Errorf("report of a later agent: %d, applied %q", code, answer.Applied)
	}
}

// TestN38_AnAgentThatNeverRehearsesIsServedAsItWas: nothing is asked of it that it cannot do, and that it was asked for
// does not keep it from its plan.
func TestN38_AnAgentThatNeverRehearsesIsServedAsItWas(t *testing.T) {
	l := start(t, t.TempDir(), nil)
	admin := l.admin()
	v := l.veteran(admin)
	for v.checkIn() == nil {
		if v.seq > 5 {
			t.Fatal("there is no plan")
		}
	}
	var asked client.Refreshed
	if code := l.call(http.MethodPost, "/api/v1/devices/rehearse", admin, client.RefreshRequest{}, &asked); code != 200 || asked.Devices != 1 {
		t.Fatalf("ask: %d %+v", code, asked)
	}
	if p := v.checkIn(); p != nil {
		t.Errorf("it was given another plan: %+v", p)
	}
	var list client.List[client.RehearsalRow]
	if code := l.call(http.MethodGet, "/api/v1/rehearsals?only=all", admin, nil, &list); code != 200 || len(list.Items) != 0 {
		t.Errorf("%d %+v", code, list)
	}
}

func TestRehearsals_AreThereAfterARestartAndWhatALaterAgentAddsIsPassedOver(t *testing.T) {
	dir := t.TempDir()
	l := start(t, dir, nil)
	admin := l.admin()
	v := l.veteran(admin)
	for v.checkIn() == nil && v.seq < 5 {
	}
	later := `{"at":"2026-11-23T12:00:00Z","plan":"` + strings.Repeat("a", 64) + `","inventory":"` + strings.Repeat("b", 64) + `","mood":1,"updates":[{"update":"u1","colour":{"red":1}}]}`
	v.fetch(http.MethodPost, wire.PathRehearsal, []byte(later))
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	again := start(t, dir, nil)
	var d client.DeviceDetail
	if code := again.call(http.MethodGet, "/api/v1/devices/"+v.id, admin, nil, &d); code != 200 || d.Rehearsal == nil || !d.Rehearsal.Stale {
		t.Errorf("%d %+v", code, d.Rehearsal)
	}
}
