package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"assent/e2e/stage"
	"assent/server/pgtest"
)

// The servers' own addresses in the lab, behind the load balancer. The first one's for people is any server's.
var (
	peoples = []string{"127.0.0.1:8480", "127.0.0.1:8481"}
	agents  = []string{"10.77.0.1:9441", "10.77.0.1:9442"}
)

// balance is a load balancer that knows nothing: each connection goes to the next server that takes it.
func balance(t *testing.T, of *stage.Stage, l net.Listener, servers []string) {
	t.Helper()
	t.Cleanup(func() { l.Close() })
	var turn atomic.Int64
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer from.Close()
				for range servers {
					server, err := of.Lab.Net.Dial(context.Background(), servers[int(turn.Add(1))%len(servers)])
					if err == nil {
						relay(from, server)
						return
					}
				}
			}()
		}
	}()
}

// relay carries bytes both ways until one side ends.
func relay(a, b net.Conn) {
	defer b.Close()
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		go func() {
			_, _ = io.Copy(way[0], way[1]) // it ends with the connection
			done <- struct{}{}
		}()
	}
	<-done
}

// join gives a server the keys of the first one and starts it.
func join(t *testing.T, of *stage.Stage, next *stage.Server, url string) {
	t.Helper()
	word, file := filepath.Join(of.Dir(), "passphrase"), filepath.Join(of.Dir(), "keys")
	if err := os.WriteFile(word, []byte("correct horse battery staple\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"export", file, "--data", of.Server.Data}, {"import", file, "--data", next.Data}} {
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "assentd"), append([]string{"keys"}, append(args, "--passphrase-file", word)...)...)
		cmd.Env = append(os.Environ(), "ASSENT_DATABASE_URL="+url)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("assentd keys %v: %v\n%s", args, err, out)
		}
	}
	next.UsePostgres(url)
	if err := next.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// pair opens a stage with two servers on one PostgreSQL behind a load balancer, for people and for its one device alike.
func pair(t *testing.T) (s *script, servers []*stage.Server) {
	t.Helper()
	db, err := pgtest.Start(pgtest.Config{Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := db.Do("CREATE DATABASE assent"); err != nil {
		t.Fatal(err)
	}
	of := raise(t, stage.DeviceSpec{Name: "web1"})
	people, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	balance(t, of, people, peoples)
	of.Front = "http://" + people.Addr().String()
	devices, err := of.Lab.Net.Listen(stage.AgentAddress())
	if err != nil {
		t.Fatal(err)
	}
	balance(t, of, devices, agents)
	first := of.Server
	first.Args = append(first.Args, "--agent-listen", agents[0])
	first.UsePostgres(db.Named("assent"))
	begun(t, of)
	second, err := of.Another("second", peoples[1], agents[1])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { second.Kill() })
	join(t, of, second, db.Named("assent"))
	s = enrolled(of, t)
	s.updates()
	return s, []*stage.Server{first, second}
}

// calm demands that no device found anything wrong with what servers told it.
func (s *script) calm() {
	s.t.Helper()
	for _, e := range s.events() {
		if e.Event == "plan_refused" || e.Event == "clone_quarantined" {
			s.t.Errorf("%s: %s", e.Event, e.Detail)
		}
	}
}

// acting are people who act all the time, each act another one.
type acting struct {
	s   *script
	end func() // of the acts; it may be called again

	mu sync.Mutex
	// acknowledged acts, and those of which nobody heard or that were refused for now, by a word in their entry.
	acknowledged, unanswered []string
}

// act has people act until over.
func (s *script) act(prefix string) *acting {
	var all sync.WaitGroup
	var over atomic.Bool
	a := &acting{s: s, end: func() { over.Store(true); all.Wait() }}
	s.t.Cleanup(a.end)
	for who := range 2 {
		all.Go(func() {
			for i := 0; !over.Load() && s.t.Context().Err() == nil; i++ {
				group := fmt.Sprintf("%s-%d-%d.", prefix, who, i)
				if a.do(group, "group", "create", group) {
					a.do("no-"+group, "update", "decline", "acme-lib@1.1", "--group", group, "--reason", "no-"+group)
				}
			}
		})
	}
	return a
}

// do makes one act and reports whether it was acknowledged. If not, the answer must be one after which people try again.
func (a *acting) do(word string, args ...string) bool {
	answer, err := a.s.CLI(context.WithoutCancel(a.s.t.Context()), args...)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil && answer.Code == 0 {
		a.acknowledged = append(a.acknowledged, word)
		return true
	}
	if a.unanswered = append(a.unanswered, word); err != nil || answer.Code != exitUnavailable {
		a.s.t.Errorf("assent %q: %v, exit code %d: %s", args, err, answer.Code, answer.Stderr)
	}
	return false
}

// over ends the acts and demands that each acknowledged one stands in the ledger once. Of the others none does, but where
// servers were killed.
func (a *acting) over(killed bool) {
	a.s.t.Helper()
	a.end()
	var list struct{ Items []json.RawMessage }
	a.s.ask(&list, "ledger", "list", "--all")
	stands := func(word string) (n int) {
		for _, e := range list.Items {
			if bytes.Contains(e, []byte(`"`+word+`"`)) {
				n++
			}
		}
		return n
	}
	for _, word := range a.acknowledged {
		if n := stands(word); n != 1 {
			a.s.t.Errorf("%s was acknowledged and stands %d times", word, n)
		}
	}
	for _, word := range a.unanswered {
		if n := stands(word); n > 1 || n == 1 && !killed {
			a.s.t.Errorf("%s was not acknowledged and stands %d times", word, n)
		}
	}
	a.s.t.Logf("%d acts acknowledged, %d not", len(a.acknowledged), len(a.unanswered))
}

// some waits until some more acts were acknowledged.
func (a *acting) some() {
	a.s.t.Helper()
	done := func() int {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.acknowledged)
	}
	before := done()
	a.s.until("people act", func() bool { return done() >= before+4 })
}

// TestServers_AreUpgradedAndKilledOneAfterTheOtherUnderActsWithAgentsOn, with a newer build, as docs/scaling.md says.
func TestServers_AreUpgradedAndKilledOneAfterTheOtherUnderActsWithAgentsOn(t *testing.T) {
	s, servers := pair(t)
	s.assent("update", "approve", "acme-tool@1.1", "--allow-superseded", "--reason", "wanted")
	people := s.act("upgrade")
	for _, one := range servers {
		people.some()
		s.try(one.Upgrade(t.Context()))
	}
	people.some()
	people.over(false)
	s.provenAtLast("web1", "acme-tool@1.1")
	if version := s.assent("status"); !strings.Contains(version, stage.NextVersion) {
		t.Errorf("after the upgrade the servers say %s", version)
	}

	people = s.act("kill")
	for i, update := range []string{"acme-data@1.1", "acme-suite@1.1"} {
		people.some()
		s.try(servers[i].Kill())
		people.some()
		s.until(update+" is approved", func() bool {
			return s.knows(&struct{}{}, "update", "approve", update, "--allow-superseded", "--reason", "wanted")
		})
		s.provenAtLast("web1", update) // by way of the other one
		s.try(servers[i].Start(t.Context()))
	}
	people.over(true)
	s.calm()
	s.verified()
}
