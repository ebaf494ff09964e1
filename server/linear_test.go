package server

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"assent/approval"
	"assent/client"
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
	mu      sync.Mutex
	events  []porcupine.Operation
	made    map[string]int64 // acts that were acknowledged, by their reason, with their place in the ledger
	never   []string         // reasons of acts that were refused
	strange []string         // answers that no client would take for a reason to try again
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

// refused notes an act that was not made.
func (h *history) refused(reason string, a answered) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.never = append(h.never, reason)
	if a.status != http.StatusServiceUnavailable {
		h.strange = append(h.strange, fmt.Sprintf("%d %s", a.status, a.code))
	}
}

// acknowledged notes where in the ledger an act is.
func (h *history) acknowledged(reason string, seq int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.made[reason] = seq
}

// holds demands one order of all that people were told, in which each act has its place between its request and its answer; and
// a ledger in which each act that was acknowledged stands once, where people were told, and none that was refused.
func (h *history) holds(t *testing.T, url string) {
	t.Helper()
	result, _ := porcupine.CheckOperationsVerbose(statusRegister(), h.events, time.Minute)
	done := 0
	for _, e := range h.events {
		if e.Return < 1<<62-1 {
			done++
		}
	}
	t.Logf("%d operations, %d of them answered, %d acts refused, %d acknowledged", len(h.events), done, len(h.never), len(h.made))
	if result != porcupine.Ok || done < 50 {
		t.Errorf("not linearizable: %v, %d operations answered", result, done)
	}
	stands := reasons(t, url)
	for reason, seq := range h.made {
		if at := stands[reason]; len(at) != 1 || at[0] != seq {
			t.Errorf("%s was acknowledged as act %d and stands at %d", reason, seq, at)
		}
	}
	for _, reason := range h.never {
		if at := stands[reason]; len(at) > 0 {
			t.Errorf("%s was refused and stands at %d", reason, at)
		}
	}
	for reason, at := range stands {
		if len(at) > 1 {
			t.Errorf("%s stands at %d", reason, at)
		}
	}
	if len(h.strange) > 0 {
		t.Errorf("people were told %s", h.strange)
	}
}

// reasons are where in the ledger the acts with the tests' reasons stand.
func reasons(t *testing.T, url string) map[string][]int64 {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(`SELECT seq, substring(convert_from(data, 'UTF8') FROM '"reason":"(op-[0-9-]+)"') FROM ledger_entries ORDER BY seq`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	out := map[string][]int64{}
	for rows.Next() {
		var seq int64
		var reason sql.NullString
		if err := rows.Scan(&seq, &reason); err != nil {
			t.Fatal(err)
		}
		if reason.Valid {
			out[reason.String] = append(out[reason.String], seq)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// people decide and read at random until end is called.
func people(p person, n int) (h *history, end func()) {
	h = &history{made: map[string]int64{}}
	stop := make(chan struct{})
	var all sync.WaitGroup
	for who := range n {
		all.Go(func() { p.decideAndRead(who, h, stop) })
	}
	return h, func() { close(stop); all.Wait() }
}

// TestServers_ActsAreLinearizableUnderKills: people approve, decline, undefine and read one update at three servers at random,
// while servers are killed and started again and the database is restarted once. Whatever any of them was told fits one order
// of all acts in which each one has its place between its request and its answer.
func TestServers_ActsAreLinearizableUnderKills(t *testing.T) {
	pg := database(t)
	url := pg.Database(t)
	s := &several{t: t, url: address(t, url).URLFile}
	admin := s.join().admin()
	update := s.offered(admin)
	servers := s.processes(3)
	h, end := people(person{servers: servers, admin: admin, update: update}, 4)
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
	end()
	h.holds(t, url)
}

// processes ends the one server there is and starts that and others with its keys as processes of their own.
func (s *several) processes(n int) (all []*process) {
	s.t.Helper()
	first := s.servers[0]
	if err := first.stop(); err != nil {
		s.t.Fatal(err)
	}
	for i := range n {
		data := first.data
		if i > 0 {
			data = s.t.TempDir()
			if err := os.Chmod(data, 0o700); err != nil {
				s.t.Fatal(err)
			}
			s.carry(first.data, data)
		}
		p := &process{conf: Config{Data: data, Listen: freePort(s.t), AgentListen: freePort(s.t), ServerNames: []string{"127.0.0.1"}, Database: Database{URLFile: s.url}}}
		p.start(s.t)
		s.t.Cleanup(p.kill)
		all = append(all, p)
	}
	return all
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

// person is somebody who decides on one update at any of the servers.
type person struct {
	servers       []*process
	admin, update string
	group         string // in which; empty: for all devices
}

// decideAndRead does one thing after the other at any of the servers.
func (p person) decideAndRead(who int, h *history, stop <-chan struct{}) {
	web := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		base := "http://" + p.servers[rand.IntN(len(p.servers))].conf.Listen + "/api/v1"
		if rand.IntN(2) == 0 {
			p.decide(web, base, who, fmt.Sprintf("op-%d-%d", who, n), h)
			continue
		}
		began := time.Now()
		var row struct {
			Status approval.Status `json:"status"`
		}
		if a := call(web, http.MethodGet, base+"/updates/"+p.update+"?group="+url.QueryEscape(p.group), p.admin, nil, &row); a.status == http.StatusOK {
			h.note(who, began, "", string(row.Status), true)
		}
	}
}

// decide sets a status at random. The reason tells the act from all others.
func (p person) decide(web *http.Client, base string, who int, reason string, h *history) {
	statuses := []approval.Status{approval.Approved, approval.Declined, approval.Undefined}
	status := statuses[rand.IntN(len(statuses))]
	began := time.Now()
	var out client.Outcome
	a := call(web, http.MethodPost, base+"/decisions", p.admin, client.Decide{Updates: []string{p.update}, Scope: p.group, Status: status, Reason: reason, Lift: true}, &out)
	switch {
	case a.status/100 == 2:
		h.note(who, began, string(status), "", true)
		if out.Act > 0 { // else it was so already
			h.acknowledged(reason, out.Act)
		}
	case a.status == 0 || a.code == "storage_uncertain":
		h.note(who, began, string(status), "", false)
	default:
		h.refused(reason, a)
	}
}

// answered is how a call ended.
type answered struct {
	status int    // 0: there was no answer, or one that may be old
	code   string // of a refusal
}

func call(web *http.Client, method, url, token string, in, out any) answered {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return answered{code: err.Error()}
		}
	}
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return answered{code: err.Error()}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := web.Do(req)
	if err != nil {
		return answered{}
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		var p client.Problem
		if json.NewDecoder(resp.Body).Decode(&p) != nil {
			return answered{}
		}
		return answered{resp.StatusCode, p.Code}
	}
	if method == http.MethodGet && resp.Header.Get(staleHeader) != "" || json.NewDecoder(resp.Body).Decode(out) != nil {
		return answered{}
	}
	return answered{status: resp.StatusCode}
}
