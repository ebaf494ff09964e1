package server

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assent/approval"
	"assent/client"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/store"
	"assent/wire"
)

func TestFromFirstStartToAnApprovalOnTheWireOfAnEnrolledDevice(t *testing.T) {
	l := start(t, t.TempDir(), nil)
	admin := l.admin()
	id, dev, enrolled := l.enrol(admin)
	docs, digests, release := documents()
	seq := int64(0)
	in := func(plan string, wait int) wire.CheckIn {
		seq++
		return wire.CheckIn{Capability: 1, BootID: "boot", Run: "run", Sequence: seq, Digests: digests, Plan: plan, Wait: wait}
	}
	var reply wire.CheckInReply
	if code := l.send(dev, wire.PathCheckIn, in("", 0), &reply); code != 200 || len(reply.Need) != 3 {
		t.Fatalf("first check-in: %d %+v; want all three documents asked for", code, reply)
	}
	for kind, body := range docs {
		req, err := http.NewRequest(http.MethodPut, "https://"+l.agents+wire.PathDocument+"/"+string(kind)+"/"+digests[kind], bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := dev.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNoContent {
			t.Fatalf("upload %s: %d", kind, resp.StatusCode)
		}
	}
	verify := func(s *wire.Statement) wire.StatementBody {
		t.Helper()
		if s == nil {
			t.Fatal("there is no statement")
		}
		body, err := s.Verify([]ed25519.PublicKey{enrolled.PlanKeys[0]}, id, 0, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	reply = wire.CheckInReply{}
	if code := l.send(dev, wire.PathCheckIn, in("", 0), &reply); code != 200 {
		t.Fatalf("second check-in: %d", code)
	}
	empty := verify(reply.Statement)

	answer := make(chan wire.CheckInReply, 1)
	go func() {
		var r wire.CheckInReply
		l.send(dev, wire.PathCheckIn, in(empty.Plan, 60), &r)
		answer <- r
	}()
	var out client.Outcome
	if code := l.call(http.MethodPost, "/api/v1/decisions", admin, client.Decide{Updates: []string{string(release.ID())}, Status: approval.Approved}, &out); code != 200 {
		t.Fatalf("approve: %d", code)
	}
	decided := time.Now()
	fresh := <-answer
	got := verify(fresh.Statement)
	t.Logf("on the wire %v after the act", time.Since(decided))
	resp, err := dev.Get("https://" + l.agents + wire.PathPlan + "/" + got.Plan)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || got.Plan == empty.Plan || got.Counter <= empty.Counter {
		t.Errorf("plan %s: %d, counter %d after %d; want a new plan with a higher counter", got.Plan, resp.StatusCode, got.Counter, empty.Counter)
	}

	other := in(got.Plan, 0)
	other.BootID, other.Run, other.Sequence = "boot2", "run2", seq+1000
	if code := l.send(dev, wire.PathCheckIn, other, nil); code != 200 {
		t.Fatalf("a second agent: %d", code)
	}
	if code := l.send(dev, wire.PathCheckIn, in(got.Plan, 0), nil); code != 403 {
		t.Fatalf("the first agent again: %d; want the clone quarantined", code)
	}
	var detail client.DeviceDetail
	if code := l.call(http.MethodGet, "/api/v1/devices/"+string(id), admin, nil, &detail); code != 200 || detail.State != fleet.Quarantined || !strings.Contains(detail.Reason, "two agents") {
		t.Errorf("device: %d %s %q; want it quarantined with the reason", code, detail.State, detail.Reason)
	}
	if len(detail.Events) == 0 || detail.Events[0].Event != "clone_quarantined" {
		t.Errorf("events %+v; want the quarantine as the newest", detail.Events)
	}
	if code := l.call(http.MethodPost, "/api/v1/devices/changes", admin, client.DeviceChange{Devices: []string{string(id)}, State: fleet.Active}, nil); code/100 != 2 {
		t.Fatalf("release: %d", code)
	}
	if code := l.send(dev, wire.PathCheckIn, in(got.Plan, 0), nil); code != 200 {
		t.Errorf("released, with a sequence below the clone's: %d; want a clean slate", code)
	}
	if code := l.call(http.MethodPost, "/api/v1/devices/changes", admin, client.DeviceChange{Devices: []string{string(id)}, State: fleet.Retired}, nil); code/100 != 2 {
		t.Fatalf("retire: %d", code)
	}
	if code := l.send(dev, wire.PathCheckIn, in(got.Plan, 0), nil); code != 410 {
		t.Errorf("retired, on the open connection: %d; want 410", code)
	}
	if code := l.send(dev, wire.PathCheckIn, in(got.Plan, 0), nil); code != 0 {
		t.Errorf("retired, on a new connection: %d; want refused at the handshake", code)
	}
}

func TestFirstStartGreetsOnceAndLaterStartsKeepEverything(t *testing.T) {
	data := t.TempDir()
	l := start(t, data, nil)
	greeting := l.out.String()
	if !strings.Contains(greeting, "assent login --server ") || !strings.Contains(greeting, "--token assent_") || !strings.Contains(greeting, "/sign-in#assent_") {
		t.Errorf("greeting %q", greeting)
	}
	for _, name := range []string{"ca.pem", planKeyFile, ledgerKeyFile, signInFile, "assent.db"} {
		if info, err := os.Stat(filepath.Join(data, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v; want mode 0600", name, err)
		}
	}
	admin := l.admin()
	id, dev, _ := l.enrol(admin)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	again := start(t, data, nil)
	if again.out.Len() > 0 {
		t.Errorf("the second start greeted too: %q", again.out)
	}
	if code := again.call(http.MethodGet, "/api/v1/devices/"+string(id), admin, nil, nil); code != 200 {
		t.Errorf("the device and the access after a restart: %d", code)
	}
	again.send(dev, wire.PathCheckIn, wire.CheckIn{BootID: "b", Run: "r", Sequence: 5}, nil)
	if code := again.send(dev, wire.PathCheckIn, wire.CheckIn{BootID: "b", Run: "r", Sequence: 6}, nil); code != 200 {
		t.Errorf("the device's certificate after a restart: %d", code)
	}
}

func TestEveryCrashOfTheFirstStartIsMadeGoodByTheNext(t *testing.T) {
	errCrash := errors.New("crash")
	for survives := range 4 {
		data := t.TempDir()
		db, err := store.Open(t.Context(), store.Config{DSN: filepath.Join(data, "assent.db")})
		if err != nil {
			t.Fatal(err)
		}
		dir, err := openData(data)
		if err != nil {
			t.Fatal(err)
		}
		k, err := openKeys(dir, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		_, err = found(t.Context(), &crashing{DB: db, left: survives, err: errCrash}, dir, k, time.Now())
		if crashed := errors.Is(err, errCrash); crashed != (survives < 3) {
			t.Fatalf("with %d acts: %v", survives, err)
		}
		if err := errors.Join(db.Close(), dir.Close()); err != nil {
			t.Fatal(err)
		}
		l := start(t, data, nil)
		if code := l.call(http.MethodGet, "/api/v1/status", l.admin(), nil, nil); code != 200 {
			t.Errorf("after a crash with %d of 3 acts made: the sign-in of the next start gives %d", survives, code)
		}
	}
}

// crashing is a database that fails after some acts.
type crashing struct {
	*store.DB
	left int
	err  error
}

// Append fails once the acts are used up.
func (c *crashing) Append(ctx context.Context, e ledger.Entry, after *ledger.State) error {
	if c.left == 0 {
		return c.err
	}
	c.left--
	return c.DB.Append(ctx, e, after)
}

func TestServerRefusesKeysOfAnotherLedgerASecondServerAndOpenDirectories(t *testing.T) {
	data := t.TempDir()
	l := start(t, data, nil)
	if why := fails(t, Config{Data: data}); !strings.Contains(why, "another assentd runs") {
		t.Errorf("second server: %s", why)
	}
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(data, "ca.pem")); err != nil {
		t.Fatal(err)
	}
	if why := fails(t, Config{Data: data}); !strings.Contains(why, "lacks its keys (ca.pem)") {
		t.Errorf("without the CA: %s", why)
	}
	other := t.TempDir()
	if err := start(t, other, nil).stop(); err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(filepath.Join(other, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "ca.pem"), foreign, 0o600); err != nil {
		t.Fatal(err)
	}
	if why := fails(t, Config{Data: data}); !strings.Contains(why, "are not those of this ledger") {
		t.Errorf("another CA: %s", why)
	}
	open := t.TempDir()
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if why := fails(t, Config{Data: open}); !strings.Contains(why, "others may write") {
		t.Errorf("open directory: %s", why)
	}
	if why := fails(t, Config{Data: t.TempDir(), Pprof: true, Listen: "0.0.0.0:0"}); !strings.Contains(why, "loopback only") {
		t.Errorf("profiles on all addresses: %s", why)
	}
}

func TestConfigIsStrict(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		ok   bool
	}{
		"empty object": {`{}`, true},
		"all of it":    {`{"data":"/d","listen":"127.0.0.1:1","agent_listen":":2","server_names":["a"],"log_level":"debug","database":{"path":"/x","url_file":"/y"},"pprof":true,"plan_days":3}` + "\n", true},
		"unknown key":  {`{"dta":"/d"}`, false},
		"nested one":   {`{"database":{"url":"postgres://secret"}}`, false},
		"trailing":     {`{} {}`, false},
		"wrong type":   {`{"data":5}`, false},
		"empty":        {``, false},
	} {
		path := filepath.Join(t.TempDir(), "c.json")
		if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := Level("loud"); err == nil {
		t.Error("a log level of no sort was accepted")
	}
}

func TestOperationsFaceHealthMetricsAndProfiles(t *testing.T) {
	l := start(t, t.TempDir(), func(c *Config) { c.Pprof = true })
	get := func(path string, change func(*http.Request)) (int, string) {
		req, err := http.NewRequest(http.MethodGet, "http://"+l.api+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(req)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	for _, path := range []string{"/healthz", "/readyz", "/debug/pprof/heap"} {
		if code, _ := get(path, nil); code != 200 {
			t.Errorf("%s: %d", path, code)
		}
	}
	code, text := get("/metrics", nil)
	for _, want := range []string{"assent_checkins_total{answer=\"nothing\"} 0", "assent_ledger_entries 3", "assent_devices{state=\"active\"} 0", "assent_build_info{version=\"test\"} 1", "assent_plan_computations_total 0", "go_goroutines"} {
		if code != 200 || !strings.Contains(text, want) {
			t.Errorf("/metrics: %d, without %s", code, want)
		}
	}
	proxied := func(r *http.Request) { r.Header.Set("X-Forwarded-For", "203.0.113.9") }
	rebound := func(r *http.Request) { r.Host = "evil.example" }
	for name, change := range map[string]func(*http.Request){"through a proxy": proxied, "by a web page": rebound} {
		if code, _ := get("/metrics", change); code != 401 {
			t.Errorf("/metrics %s: %d; want 401", name, code)
		}
		if code, _ := get("/debug/pprof/", change); code != 404 {
			t.Errorf("/debug/pprof/ %s: %d; want 404", name, code)
		}
	}
	admin := l.admin()
	if code, _ := get("/metrics", func(r *http.Request) { proxied(r); r.Header.Set("Authorization", "Bearer "+admin) }); code != 200 {
		t.Errorf("/metrics through a proxy with an administrator's token: %d", code)
	}
}

func TestAPIOffLoopbackIsTLSWithTheCAsCertificate(t *testing.T) {
	l := start(t, t.TempDir(), func(c *Config) { c.Listen = "0.0.0.0:0" })
	_, port, err := net.SplitHostPort(l.api)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := openData(l.data)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	k, err := openKeys(dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: k.ca.Pool()}}}
	resp, err := c.Get("https://127.0.0.1:" + port + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp, err := c.Get("https://127.0.0.1:" + port + "/metrics"); err != nil || resp.StatusCode != 401 {
		t.Errorf("/metrics without a token off loopback: %v %v; want 401", resp, err)
	}
}

// run executes the command line and returns what it printed.
func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := Command("test")
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestSignInOnTheServerWorksBesideTheRunningOneAndIsInTheLedger(t *testing.T) {
	l := start(t, t.TempDir(), nil)
	out, err := run(t, "sign-in", "--data", l.data)
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(out, "--token ")
	deadline := time.Now().Add(10 * time.Second)
	for code := 0; code/100 != 2; { // the running server reads other processes' acts now and then
		if time.Now().After(deadline) {
			t.Fatalf("the sign-in was not taken: %d", code)
		}
		code = l.call(http.MethodPost, "/api/v1/sign-in", "", map[string]string{"token": strings.TrimSpace(text)}, nil)
		time.Sleep(20 * time.Millisecond)
	}
	if _, err := run(t, "sign-in", "--data", l.data, "--operator", "nobody"); err == nil {
		t.Error("a sign-in for nobody was made")
	}
	if _, err := run(t, "sign-in", "--data", t.TempDir()); err == nil || !strings.Contains(err.Error(), "start assentd once") {
		t.Errorf("a sign-in without a server: %v", err)
	}
}

func TestN43_ABackupWithoutKeysHoldsNoSecretAndIsRestoredWhereTheKeysAre(t *testing.T) {
	data := worked(t, "one")
	to := filepath.Join(t.TempDir(), "copy.tar")
	if _, err := run(t, "backup", "--no-keys", to, "--data", data); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{planKeyFile, ledgerKeyFile, "ca.pem", signInFile} {
		secret, err := os.ReadFile(filepath.Join(data, name))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(secret)) {
			if line = strings.TrimSpace(line); len(line) > 20 && !strings.HasPrefix(line, "-----") && bytes.Contains(whole, []byte(line)) && name != "ca.pem" {
				t.Errorf("the copy holds %s", name)
			}
		}
	}
	if _, err := run(t, "restore", to, "--data", t.TempDir()); err == nil || !strings.Contains(err.Error(), "has no keys") {
		t.Errorf("restored where no keys are: %v", err)
	}
	if _, err := run(t, "restore", to, "--data", worked(t)); err == nil || !strings.Contains(err.Error(), "not those of this ledger") {
		t.Errorf("restored beside other keys: %v", err)
	}
	if _, err := run(t, "restore", to, "--data", data); err != nil {
		t.Error(err)
	}
	start(t, data, nil)
}
