package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assent/e2e/stage"
	"assent/server/pgtest"
)

// exitUnavailable is the CLI's exit code for "try again later".
const exitUnavailable = 9

// openOnPostgres is open with a server on PostgreSQL, which waits for its disk as a real one does.
func openOnPostgres(t *testing.T, devices ...string) (*stage.Stage, *pgtest.Server) {
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
	var specs []stage.DeviceSpec
	for _, d := range devices {
		specs = append(specs, stage.DeviceSpec{Name: d})
	}
	if err := db.Do("CREATE DATABASE assent"); err != nil {
		t.Fatal(err)
	}
	of := raise(t, specs...)
	of.Server.UsePostgres(db.Named("assent"))
	if err := of.Server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := of.SignIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(of.Server.Data, "assent.db")); !os.IsNotExist(err) {
		t.Fatalf("the server made an embedded database: %v", err)
	}
	return of, db
}

// onPostgres is fleet with a server on PostgreSQL.
func onPostgres(t *testing.T, devices ...string) (*script, *pgtest.Server) {
	t.Helper()
	of, db := openOnPostgres(t, devices...)
	s := enrolled(of, t)
	s.updates()
	return s, db
}

func TestPostgres_TheWholeStoryOnRealDevices(t *testing.T) {
	s, _ := openOnPostgres(t, "test1", "web1", "web2", "db1")
	tell(t, s)
}

// groupsUntilRefused creates groups until one is refused, and returns the names of those that were not.
func (s *script) groupsUntilRefused(prefix string, started chan<- struct{}) (acknowledged []string) {
	defer close(started)
	for i := range 1000 {
		name := fmt.Sprint(prefix, i)
		if a, err := s.CLI(s.t.Context(), "group", "create", name); err != nil || a.Code != 0 {
			return acknowledged
		}
		if acknowledged = append(acknowledged, name); i == 10 {
			started <- struct{}{}
		}
	}
	return acknowledged
}

// during lets acts be made, does something in the middle of them, and returns those that were acknowledged.
func (s *script) during(prefix string, what func()) []string {
	s.t.Helper()
	started, done := make(chan struct{}), make(chan []string, 1)
	go func() { done <- s.groupsUntilRefused(prefix, started) }()
	if _, ok := <-started; !ok {
		s.t.Fatal("no group could be created")
	}
	what()
	<-started // closed: one was refused
	return <-done
}

// kept demands that acts which were acknowledged are in the ledger and in force.
func (s *script) kept(acknowledged []string) {
	s.t.Helper()
	acts, groups := strings.Join(s.acts(), "\n"), s.assent("group", "list")
	for _, name := range acknowledged {
		if !strings.Contains(acts, name) || !strings.Contains(groups, name) {
			s.t.Errorf("%s was acknowledged and is lost", name)
		}
	}
}

// provenAtLast is proven for a device whose reports the server refused meanwhile: they come again, perhaps after
// the documents from which the server sees by itself that the update is installed.
func (s *script) provenAtLast(device, update string) {
	s.t.Helper()
	s.until(device+" proved "+update, func() bool { return s.on(device, update).Proof != nil })
	s.proven(device, update)
}

// ready is what the server says of itself.
func (s *script) ready() int {
	resp, err := http.Get(s.Server.URL + "/readyz")
	s.try(err)
	s.try(resp.Body.Close())
	return resp.StatusCode
}

// checkedIn waits until every device has checked in after now.
func (s *script) checkedIn() {
	s.t.Helper()
	since := time.Now()
	s.refresh() // not an act: devices in a long poll answer at once
	s.until("every device checked in", func() bool {
		var list struct {
			Items []struct {
				LastSeen time.Time `json:"last_seen"`
			}
		}
		s.ask(&list, "device", "list")
		for _, d := range list.Items {
			if d.LastSeen.Before(since) {
				return false
			}
		}
		return len(list.Items) == len(s.Devices)
	})
}

func TestPostgres_InstallDeclineAndCrashOfTheServer(t *testing.T) {
	s, _ := onPostgres(t, "web1", "web2")
	s.assent("update", "decline", "acme-tool@1.1", "--reason", "not yet")
	s.assent("update", "approve", "acme-lib@1.1", "--allow-superseded", "--reason", "wanted")
	for _, d := range []string{"web1", "web2"} {
		s.proven(d, "acme-lib@1.1")
		s.has(d, "acme-lib", "1.1")
		s.walled(d, "acme-tool", "not yet")
		s.fails(d, "declined", aptGet("install", "acme-tool=1.1")...)
		s.has(d, "acme-tool", "1.0")
	}
	acknowledged := s.during("crash-", func() { s.try(s.Server.Kill()) })
	s.try(s.Server.Start(t.Context()))
	s.kept(acknowledged)
	s.verified()
	s.assent("update", "approve", "acme-data@1.1")
	s.proven("web1", "acme-data@1.1")
	s.fails("web2", "declined", aptGet("install", "acme-tool=1.1")...)
	s.verified()
}

func TestPostgres_TheDatabaseMayRestartDieAndStayAwayUnderARunningServer(t *testing.T) {
	s, db := onPostgres(t, "web1", "web2")
	s.assent("update", "decline", "acme-tool@1.1", "--reason", "not yet")
	s.walled("web2", "acme-tool", "not yet")

	db.Halt()
	s.try(db.Resume())
	s.assent("group", "create", "after the restart") // nobody noticed

	acknowledged := s.during("died-", func() { s.try(db.Kill()) })
	s.refused(exitUnavailable, "storage_unavailable", "group", "create", "nowhere")
	s.try(db.Resume())
	s.kept(acknowledged)
	s.verified()

	// It stays away for a while: an install goes on, people are told, devices are answered.
	s.hold("web1")
	s.assent("update", "approve", "acme-slow@1.1")
	s.inPostinst("web1")
	s.checkedIn() // so every device knows the decision
	db.Halt()
	for _, act := range []string{"group create nowhere", "update approve acme-data@1.1", "update decline acme-lib@2.0 --reason x", "token create --group root"} {
		s.refused(exitUnavailable, "storage_unavailable", strings.Fields(act)...)
	}
	if code := s.ready(); code != http.StatusServiceUnavailable {
		t.Errorf("ready without a database: %d", code)
	}
	s.checkedIn()
	s.fails("web2", "declined", aptGet("install", "acme-tool=1.1")...)
	s.release("web1")
	s.until("the package manager finished although there is no database", func() bool { return s.version("web1", "acme-slow") == "1.1" })

	s.try(db.Resume())
	s.until("the server is ready again", func() bool { return s.ready() == http.StatusOK })
	s.provenAtLast("web1", "acme-slow@1.1")
	s.assent("update", "approve", "acme-data@1.1")
	s.provenAtLast("web2", "acme-data@1.1")
	if list := s.assent("group", "list"); strings.Contains(list, "nowhere") {
		t.Errorf("a refused act was made:\n%s", list)
	}
	for _, e := range s.events() {
		if e.Event == "plan_refused" {
			t.Errorf("a device refused a plan: %s", e.Detail)
		}
	}
	s.kept(acknowledged)
	s.verified()
}
