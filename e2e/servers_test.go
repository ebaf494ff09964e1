package e2e

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"testing"

	"assent/e2e/stage"
	"assent/server/pgtest"
)

// balance is a load balancer that knows nothing: each connection of a device goes to the next server that takes it.
func balance(t *testing.T, of *stage.Stage, servers ...string) {
	t.Helper()
	l, err := of.Lab.Net.Listen(stage.AgentAddress())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var turn atomic.Int64
	go func() {
		for {
			device, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer device.Close()
				for range servers {
					server, err := of.Lab.Net.Dial(context.Background(), servers[int(turn.Add(1))%len(servers)])
					if err == nil {
						relay(device, server)
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

// join gives a server the keys of the first one, starts it and signs the operator in there.
func join(t *testing.T, of *stage.Stage, next *stage.Server, url string) {
	t.Helper()
	word, file := filepath.Join(of.Dir(), "passphrase"), filepath.Join(of.Dir(), "keys")
	if err := os.WriteFile(word, []byte("correct horse battery staple\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	assentd := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "assentd"), args...)
		cmd.Env = append(os.Environ(), "ASSENT_DATABASE_URL="+url)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("assentd %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	assentd("keys", "export", file, "--data", of.Server.Data, "--passphrase-file", word)
	assentd("keys", "import", file, "--data", next.Data, "--passphrase-file", word)
	next.UsePostgres(url)
	if err := next.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	token := regexp.MustCompile(`assent_[A-Za-z0-9_]+`).FindString(assentd("sign-in", "--data", next.Data))
	of.Server = next
	if err := of.Must(t.Context(), "login", "--server", next.URL, "--token", token); err != nil {
		t.Fatal(err)
	}
}

func TestServers_TwoBehindABalancerWithARealDevice(t *testing.T) {
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
	first := of.Server
	first.Args = append(first.Args, "--agent-listen", "10.77.0.1:9441")
	first.UsePostgres(db.Named("assent"))
	if err := first.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { first.Kill() })
	if err := of.SignIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	second, err := of.Another("second", "127.0.0.1:8481", "10.77.0.1:9442")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { second.Kill() })
	join(t, of, second, db.Named("assent"))
	balance(t, of, "10.77.0.1:9441", "10.77.0.1:9442")

	s := enrolled(of, t) // people are at the second server, the device at either
	s.updates()
	s.assent("update", "approve", "acme-tool@1.1", "--allow-superseded", "--reason", "wanted")
	s.proven("web1", "acme-tool@1.1")
	s.try(first.Kill())
	s.assent("update", "approve", "acme-data@1.1")
	s.provenAtLast("web1", "acme-data@1.1")

	s.try(first.Start(t.Context())) // with the agent on
	for _, e := range s.events() {
		if e.Event == "plan_refused" || e.Event == "clone_quarantined" {
			t.Errorf("%s: %s", e.Event, e.Detail)
		}
	}
	s.kept(nil)
	s.verified()
}
