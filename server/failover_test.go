package server

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"assent/client"
	"assent/server/pgtest"
)

// TestServers_ActsAreLinearizableUnderFaultsOfTheDatabase: people decide at two servers at random while their connections to the
// database are cut, it takes no writes for a while, restarts, and dies and is followed by its standby. Devices are answered by
// both servers all the time, and afterwards both know the same.
func TestServers_ActsAreLinearizableUnderFaultsOfTheDatabase(t *testing.T) {
	f := &faults{t: t, pg: database(t)}
	f.proxy = f.pg.Proxy(t)
	f.try(f.pg.Do("CREATE DATABASE assent"))
	s := &several{t: t, url: address(t, f.proxy.URL(f.pg.Named("assent"))).URLFile}
	admin := s.join().admin()
	update := s.offered(admin)
	if code := s.servers[0].call(http.MethodPost, "/api/v1/groups", admin, client.GroupRequest{Name: "Empty"}, nil); code/100 != 2 { // so that no plan changes
		t.Fatalf("create a group: %d", code)
	}
	f.devices = newSwarm(s.servers[0], admin, 4)
	f.servers = s.processes(2)
	for range 3 { // until they have their plans
		f.checkIn()
	}
	h, end := people(person{servers: f.servers, admin: admin, update: update, group: "Empty"}, 3)
	for _, fault := range []func(){f.cut, f.readOnly, f.restart, f.failover} {
		fault()
		f.works(admin)
		f.checkIn()
	}
	end()
	h.holds(t, f.pg.Named("assent"))
	if one, two := f.told(0, admin, update), f.told(1, admin, update); one != two {
		t.Errorf("the servers tell %s and %s", one, two)
	}
}

// faults is what happens to the database of two servers.
type faults struct {
	t       *testing.T
	pg      *pgtest.Server // the one that takes writes
	proxy   *pgtest.Proxy  // the way to it
	servers []*process
	devices *swarm
	tries   int // to create a group
}

func (f *faults) try(errs ...error) {
	f.t.Helper()
	if err := errors.Join(errs...); err != nil {
		f.t.Fatal(err)
	}
}

// cut ends all connections, again and again.
func (f *faults) cut() {
	for range 20 {
		f.try(f.pg.Do(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'`))
		time.Sleep(20 * time.Millisecond) // some acts go well in between
	}
}

// readOnly lets the database take no writes while all devices check in.
func (f *faults) readOnly() {
	f.try(f.pg.Do(`ALTER SYSTEM SET default_transaction_read_only = on`), f.pg.Do(`SELECT pg_reload_conf()`))
	await(f.t, "the database takes no writes", func() bool {
		v, err := f.pg.Ask(`SHOW default_transaction_read_only`)
		return err == nil && v == "on"
	})
	f.checkIn()
	f.try(f.pg.Do(`ALTER SYSTEM RESET default_transaction_read_only`), f.pg.Do(`SELECT pg_reload_conf()`))
}

// restart lets the database be away while all devices check in.
func (f *faults) restart() {
	f.pg.Halt()
	f.checkIn()
	f.try(f.pg.Resume())
}

// failover kills the database; its standby takes over.
func (f *faults) failover() {
	standby, err := f.pg.Standby()
	f.try(err)
	f.t.Cleanup(func() { f.try(standby.Stop()) })
	time.Sleep(300 * time.Millisecond) // acts are made on both
	f.try(f.pg.Kill())
	f.checkIn()
	f.try(standby.Promote())
	f.proxy.Turn(standby)
	f.pg = standby
}

// checkIn has each device check in at each server, which must answer.
func (f *faults) checkIn() {
	f.t.Helper()
	for i, p := range f.servers {
		at := &swarm{agents: p.conf.AgentListen, docs: f.devices.docs, digests: f.devices.digests}
		for n, d := range f.devices.devices {
			if _, err := at.checkIn(f.t.Context(), d, 0); err != nil {
				f.t.Errorf("device %d at server %d: %v", n, i, err)
			}
		}
	}
}

// works waits until acts can be made at both servers, and demands that each knows what was done at the other.
func (f *faults) works(admin string) {
	f.t.Helper()
	for i, p := range f.servers {
		name := ""
		await(f.t, fmt.Sprintf("server %d works", i), func() bool {
			f.tries++ // one of which nobody heard may have been made
			name = fmt.Sprint("group ", f.tries)
			return call(http.DefaultClient, http.MethodPost, "http://"+p.conf.Listen+"/api/v1/groups", admin, client.GroupRequest{Name: name}, &client.GroupRow{}).status/100 == 2
		})
		var list client.List[client.GroupRow]
		await(f.t, fmt.Sprintf("server %d reads", 1-i), func() bool {
			return call(http.DefaultClient, http.MethodGet, "http://"+f.servers[1-i].conf.Listen+"/api/v1/groups", admin, nil, &list).status == http.StatusOK
		})
		if !slices.ContainsFunc(list.Items, func(g client.GroupRow) bool { return g.Name == name }) {
			f.t.Errorf("server %d does not know what was done at the other one", 1-i)
		}
	}
}

// told is what a server tells of everything.
func (f *faults) told(at int, admin, update string) string {
	f.t.Helper()
	var u, groups any
	for path, out := range map[string]*any{"/updates/" + update + "?group=Empty": &u, "/groups": &groups} {
		if a := call(http.DefaultClient, http.MethodGet, "http://"+f.servers[at].conf.Listen+"/api/v1"+path, admin, nil, out); a.status != http.StatusOK {
			f.t.Errorf("ask server %d for %s: %+v", at, path, a)
		}
	}
	return fmt.Sprint(u, groups)
}
