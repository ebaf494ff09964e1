package store_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"assent/fault"
	"assent/server/internal/store"
	"assent/server/pgtest"
)

func TestPostgresFaults(t *testing.T) {
	server, err := pgtest.Start(pgtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	for name, run := range map[string]func(*testing.T, *pgtest.Server){
		"N49_AFullDiskRefusesActsWholeAndTheServerGoesOnWhenThereIsRoom": fullTablespace,
		"ARestartOfTheDatabaseIsSurvivedAndHidden":                       restart,
		"AStoppedDatabaseRefusesActsAndIsFoundAgain":                     stop,
		"AFrozenDatabaseRefusesActsInTime":                               freezing,
		"CutConnectionsLeaveNoActHalfDone":                               cutting,
	} {
		t.Run(name, func(t *testing.T) { run(t, server) })
	}
}

func fullTablespace(t *testing.T, server *pgtest.Server) {
	dir := filepath.Join(public(t), "small")
	if err := os.Mkdir(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	command(t, "mount", "-t", "tmpfs", "-o", "size=24m,uid=postgres,mode=755", "tmpfs", dir)
	t.Cleanup(func() { command(t, "umount", "--lazy", dir) })
	for _, q := range []string{"CREATE TABLESPACE small LOCATION '" + dir + "'", "CREATE DATABASE small TABLESPACE small"} {
		if err := server.Do(q); err != nil {
			t.Fatal(err)
		}
	}
	m := remember(t, store.Config{Engine: store.Postgres, DSN: server.Named("small")})
	if err := m.group("before"); err != nil {
		t.Fatal(err)
	}
	free := fill(t, dir)
	refused(t, m.bulk(), "storage_full", "free space", "Nothing was changed")
	m.agrees()
	free()
	if err := errors.Join(m.bulk(), m.group("after")); err != nil {
		t.Fatalf("the disk has room again: %v", err)
	}
	m.agrees()
	m.has([]string{"before", "after"})
	m.log.says(t, "works again", "storage_full")
	if err := m.db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"DROP DATABASE small", "DROP TABLESPACE small"} {
		if err := server.Do(q); err != nil {
			t.Fatal(err)
		}
	}
}

// busy fills the pool with connections, as a server has them after a while.
func (m *memory) busy() {
	m.t.Helper()
	done := make(chan error)
	for range 16 {
		go func() { done <- m.db.Ping(m.t.Context()) }()
	}
	for range 16 {
		if err := <-done; err != nil {
			m.t.Fatal(err)
		}
	}
}

func restart(t *testing.T, server *pgtest.Server) {
	m := remember(t, store.Config{Engine: store.Postgres, DSN: server.Database(t)})
	var acknowledged []string
	for i := range 3 {
		m.busy()
		server.Halt()
		if err := server.Resume(); err != nil {
			t.Fatal(err)
		}
		for j := range 3 {
			name := fmt.Sprint(i, "-", j)
			if err := m.group(name); err != nil {
				t.Fatalf("an act after restart %d: %v", i, err)
			}
			acknowledged = append(acknowledged, name)
		}
	}
	m.agrees()
	m.has(acknowledged)
}

func stop(t *testing.T, server *pgtest.Server) {
	m := remember(t, store.Config{Engine: store.Postgres, DSN: server.Database(t)})
	if err := m.group("before"); err != nil {
		t.Fatal(err)
	}
	server.Halt()
	for range 3 {
		refused(t, m.group("without"), "storage_unavailable", "try again", "Nothing was changed")
	}
	_, _, err := m.db.Head(t.Context())
	refused(t, err, "storage_unavailable", "try again")
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := m.group("after"); err != nil {
		t.Fatal(err)
	}
	m.agrees()
	m.has([]string{"before", "after"})
	m.log.says(t, "works again", "storage_unavailable")
}

func freezing(t *testing.T, server *pgtest.Server) {
	m := remember(t, store.Config{Engine: store.Postgres, DSN: server.Database(t)})
	if err := m.group("before"); err != nil {
		t.Fatal(err)
	}
	if err := server.Freeze(); err != nil {
		t.Fatal(err)
	}
	m.db.SetPatience(300 * time.Millisecond) // not from the start: the machine may be busy
	began := time.Now()
	err := m.group("late")
	took := time.Since(began)
	m.db.SetPatience(time.Minute)
	if err := server.Thaw(); err != nil {
		t.Fatal(err)
	}
	refused(t, err, "storage_unavailable", "Nothing was changed")
	if took > 30*time.Second {
		t.Errorf("the refusal took %v", took)
	}
	if err := m.group("after"); err != nil {
		t.Fatal(err)
	}
	m.agrees()
	m.has([]string{"before", "after"})
}

// cutting ends connections in the middle of acts. One whose answer was lost may have been made, and then it
// is as whole as any other.
func cutting(t *testing.T, server *pgtest.Server) {
	m := remember(t, store.Config{Engine: store.Postgres, DSN: server.Database(t)})
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			if err := server.Do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"); err != nil {
				stopped <- err
				return
			}
		}
	}()
	acknowledged, open, refusals := []string{}, map[string]bool{}, 0
	for i := range 300 {
		name := fmt.Sprint(i)
		err := m.group(name)
		switch code := fault.From(err); {
		case err == nil:
			acknowledged = append(acknowledged, name)
		case code.Code == "storage_uncertain":
			open[name] = true
			fallthrough
		default:
			if !errors.Is(err, fault.Unavailable) {
				t.Errorf("act %s: %v", name, err)
			}
			refusals++
		}
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if err := m.x.CatchUp(t.Context()); err != nil { // as the server does all the time
		t.Fatal(err)
	}
	m.agrees()
	for name := range open {
		if m.knows(name) {
			acknowledged = append(acknowledged, name)
		}
	}
	m.has(acknowledged)
	if refusals == 0 || len(acknowledged) == 0 {
		t.Errorf("%d acts were refused and %d made: the connections were not cut in the middle", refusals, len(acknowledged))
	}
	t.Logf("%d made, %d refused, of these %d open", len(acknowledged), refusals, len(open))
}
