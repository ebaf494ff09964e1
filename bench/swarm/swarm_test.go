package swarm_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assent/approval"
	"assent/bench/population"
	"assent/bench/swarm"
	"assent/catalog"
	"assent/client"
	"assent/fleet"
	"assent/server"
	"assent/wire"
)

// archive is small and made up.
func archive() []population.Source {
	out := make([]population.Source, 400)
	for i := range out {
		name := fmt.Sprintf("tool%04d", i)
		out[i] = population.Source{Name: name, Version: "1.0-1", Items: []population.Item{{Item: catalog.Item{Name: name, Arch: "amd64", Version: "1.0-1", Size: 10, SHA256: wire.Digest([]byte(name))}}}}
	}
	return out
}

// start runs a whole server in this process and signs in.
func start(t *testing.T) (api *client.Client, agents string) {
	t.Helper()
	data := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	type listening struct{ api, agents net.Addr }
	ready, done := make(chan listening, 1), make(chan error, 1)
	go func() {
		done <- server.Run(ctx, server.Config{Data: data, Listen: "127.0.0.1:0", AgentListen: "127.0.0.1:0", ServerNames: []string{"127.0.0.1"}, LogLevel: "error",
			Ready: func(api, agents net.Addr) { ready <- listening{api, agents} }})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	var at listening
	select {
	case at = <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	once, err := os.ReadFile(filepath.Join(data, "first-sign-in"))
	if err != nil {
		t.Fatal(err)
	}
	first, err := client.New(client.Config{Server: "http://" + at.api.String()})
	if err != nil {
		t.Fatal(err)
	}
	me, err := first.SignIn(t.Context(), client.SignIn{Token: strings.TrimSpace(string(once))})
	if err != nil {
		t.Fatal(err)
	}
	api, err = client.New(client.Config{Server: "http://" + at.api.String(), Token: me.Text})
	if err != nil {
		t.Fatal(err)
	}
	return api, at.agents.String()
}

func TestSwarm_LivesAsDevicesDoAndTheServerSeesIt(t *testing.T) {
	api, agents := start(t)
	ctx := t.Context()
	f, err := population.New(archive(), population.Size{Devices: 9, Updates: 6, Each: 3, Packages: 20, Kinds: 3})
	if err != nil {
		t.Fatal(err)
	}
	row, err := api.CreateToken(ctx, client.TokenRequest{Uses: f.Size.Devices})
	if err != nil {
		t.Fatal(err)
	}
	token, err := wire.ParseToken(row.Text)
	if err != nil {
		t.Fatal(err)
	}
	s, err := swarm.Gather(ctx, swarm.Config{Agents: agents, Token: token, Fleet: f})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if list, err := api.Devices(ctx, client.DeviceQuery{}, client.Page{}); err != nil || list.Total != 9 || list.Items[0].Pending != 3 {
		t.Fatalf("%+v, %v", list, err)
	}

	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	woken := s.Park(waiting)
	out, err := api.Decide(ctx, client.Decide{Matching: &client.Filter{}, Status: approval.Approved})
	if err != nil || out.Preview.Installs != 27 {
		t.Fatalf("%d installs, %v", out.Preview.Installs, err)
	}
	for range s.Agents {
		if w := <-woken; w.Err != nil || w.Fetched.Before(w.Told) {
			t.Fatalf("%+v", w)
		}
	}
	for i, a := range s.Agents {
		if n, err := swarm.Tick(ctx, a); err != nil || n != 3 {
			t.Fatalf("agent %d installed %d: %v", i, n, err)
		}
	}
	for _, a := range s.Agents {
		d, err := api.Device(ctx, string(a.ID))
		if err != nil || d.Pending != 0 || d.Planned != 0 || d.Failed != 0 || d.State != fleet.Active {
			t.Errorf("%+v, %v", d.DeviceRow, err)
		}
	}
	events, err := api.Events(ctx, client.EventQuery{})
	if err != nil || len(events.Items) > 0 {
		t.Errorf("the server noticed %+v, %v", events.Items, err)
	}
	r, err := s.Hammer(ctx, 50*time.Millisecond, swarm.Steady)
	if err != nil || r.Done < 9 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestSwarm_SpeaksToThisMachineOnly(t *testing.T) {
	for _, addr := range []string{"192.0.2.1:8443", "assent.example.org:8443", "10.77.0.1:8443", "localhost", "[2001:db8::1]:8443", "0.0.0.0:8443"} {
		if err := swarm.Loopback(addr); !errors.Is(err, swarm.ErrAddress) {
			t.Errorf("%s: %v", addr, err)
		}
		if _, err := swarm.Gather(t.Context(), swarm.Config{Agents: addr}); !errors.Is(err, swarm.ErrAddress) {
			t.Errorf("a swarm for %s: %v", addr, err)
		}
	}
	for _, addr := range []string{"127.0.0.1:8443", "[::1]:8443", "127.9.9.9:1"} {
		if err := swarm.Loopback(addr); err != nil {
			t.Error(err)
		}
	}
}
