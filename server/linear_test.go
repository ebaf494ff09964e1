package server

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"assent/approval"
	"assent/client"
	"assent/server/pgtest"
	"assent/wire"
)

// serveEnv makes the test's program a server in a process of its own: it holds a Config as JSON.
const serveEnv = "ASSENT_TEST_SERVE"

func TestMain(m *testing.M) {
	if conf := os.Getenv(serveEnv); conf != "" {
		os.Exit(serveProcess(conf))
	}
	os.Exit(m.Run())
}

func serveProcess(conf string) int {
	var c Config
	if err := json.Unmarshal([]byte(conf), &c); err != nil {
		return 2
	}
	c.Log, c.Version = slog.New(slog.DiscardHandler), "test"
	c.Ready = func(net.Addr, net.Addr) { fmt.Println("ready") }
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := Run(ctx, c); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// process is a server that can be killed.
type process struct {
	conf Config
	cmd  *exec.Cmd
}

// start starts the process and returns when it serves.
func (p *process) start(t *testing.T) {
	t.Helper()
	conf, err := json.Marshal(p.conf)
	if err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), serveEnv+"="+string(conf))
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 400)
	n, err := out.Read(line)
	if err != nil || !strings.HasPrefix(string(line[:n]), "ready") {
		t.Fatalf("the server did not start: %v %s", err, line[:n])
	}
}

func (p *process) kill() {
	p.cmd.Process.Kill() // that is the point
	p.cmd.Wait()         //nolint:errcheck // killed
}

// freePort is a port that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// statusRegister is the status of one update in the root: what people set and see.
func statusRegister() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return string(approval.Undefined) },
		Step: func(state, input, output any) (bool, any) {
			if set := input.(string); set != "" {
				return true, set
			}
			return output.(string) == state.(string), state
		},
	}
}

// history is what people did and were told.
type history struct {
	mu     sync.Mutex
	events []porcupine.Operation
}

func (h *history) note(who int, began time.Time, set, seen string, done bool) {
	ended := time.Now().UnixNano()
	if !done {
		ended = 1<<62 - 1 // it may be done at any time, or never
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, porcupine.Operation{ClientId: who, Input: set, Call: began.UnixNano(), Output: seen, Return: ended})
}

// TestServers_ActsAreLinearizableUnderKills: people approve, decline, undefine and read one update at three servers at random,
// while servers are killed and started again and the database is restarted once. Whatever any of them was told fits one order
// of all acts in which each one has its place between its request and its answer.
func TestServers_ActsAreLinearizableUnderKills(t *testing.T) {
	pg, err := pgtest.Start(pgtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pg.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := pg.Do("CREATE DATABASE assent"); err != nil {
		t.Fatal(err)
	}
	s := &several{t: t, url: filepath.Join(t.TempDir(), "url")}
	if err := os.WriteFile(s.url, []byte(pg.Named("assent")), 0o600); err != nil {
		t.Fatal(err)
	}
	first := s.join()
	admin := first.admin()
	update := s.offered(admin)
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	var servers []*process
	for i := range 3 {
		data := first.data
		if i > 0 {
			data = t.TempDir()
			if err := os.Chmod(data, 0o700); err != nil {
				t.Fatal(err)
			}
			s.carry(first.data, data)
		}
		p := &process{conf: Config{Data: data, Listen: freePort(t), AgentListen: freePort(t), ServerNames: []string{"127.0.0.1"}, Database: Database{URLFile: s.url}}}
		p.start(t)
		t.Cleanup(p.kill)
		servers = append(servers, p)
	}
	h, stop := &history{}, make(chan struct{})
	var people sync.WaitGroup
	for who := range 4 {
		people.Go(func() { decideAndRead(who, servers, admin, update, h, stop) })
	}
	for round := range 5 {
		time.Sleep(1200 * time.Millisecond) // the servers are at work
		if round == 2 {
			pg.Halt()
			if err := pg.Resume(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		one := servers[rand.IntN(len(servers))]
		one.kill()
		one.start(t)
	}
	close(stop)
	people.Wait()
	result, _ := porcupine.CheckOperationsVerbose(statusRegister(), h.events, time.Minute)
	done := 0
	for _, e := range h.events {
		if e.Return < 1<<62-1 {
			done++
		}
	}
	t.Logf("%d operations, %d of them answered", len(h.events), done)
	if result != porcupine.Ok || done < 50 {
		t.Errorf("not linearizable: %v, %d operations answered", result, done)
	}
}

// offered enrols a device that could take an update, and returns it.
func (s *several) offered(admin string) string {
	s.t.Helper()
	_, c, _ := s.servers[0].enrolAs(admin, "web1")
	docs, digests, release := documents()
	m := wire.CheckIn{Capability: wire.Capability, BootID: "boot", Run: "run", Sequence: 1, Digests: digests}
	reply, _ := s.speak(0, c, m)
	for _, kind := range reply.Need {
		s.upload(0, c, kind, digests[kind], docs[kind])
	}
	m.Sequence++
	if _, code := s.speak(0, c, m); code != http.StatusOK {
		s.t.Fatalf("check in: %d", code)
	}
	return string(release.ID())
}

// decideAndRead does one thing after the other at any of the servers.
func decideAndRead(who int, servers []*process, admin, update string, h *history, stop <-chan struct{}) {
	web := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	statuses := []approval.Status{approval.Approved, approval.Declined, approval.Undefined}
	for {
		select {
		case <-stop:
			return
		default:
		}
		base := "http://" + servers[rand.IntN(len(servers))].conf.Listen + "/api/v1"
		began := time.Now()
		if rand.IntN(2) == 0 {
			status := statuses[rand.IntN(len(statuses))]
			code := call(web, http.MethodPost, base+"/decisions", admin, client.Decide{Updates: []string{update}, Status: status, Reason: "test"}, nil)
			if code/100 == 2 || code == 0 || code/100 == 5 { // else it was refused, and nothing happened
				h.note(who, began, string(status), "", code/100 == 2)
			}
			continue
		}
		var row struct {
			Status approval.Status `json:"status"`
		}
		if code := call(web, http.MethodGet, base+"/updates/"+update, admin, nil, &row); code == http.StatusOK {
			h.note(who, began, "", string(row.Status), true)
		}
	}
}

// call makes one call. 0: there was no answer, or one that may be old.
func call(web *http.Client, method, url, token string, in, out any) int {
	var body strings.Builder
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return -1
		}
	}
	req, err := http.NewRequest(method, url, strings.NewReader(body.String()))
	if err != nil {
		return -1
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := web.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	if out != nil {
		if resp.Header.Get(staleHeader) != "" || json.NewDecoder(resp.Body).Decode(out) != nil {
			return 0
		}
	}
	return resp.StatusCode
}
