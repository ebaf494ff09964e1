package store_test

import (
	"path/filepath"
	"testing"

	"assent/server/internal/store"
	"assent/server/pgtest"
)

// TestN48_APowerCutLosesNoAcknowledgedActOfPostgreSQL cuts the power of a PostgreSQL server as the tests
// above do with SQLite. Its server waits for the disk, as a real one does.
func TestN48_APowerCutLosesNoAcknowledgedActOfPostgreSQL(t *testing.T) {
	d := newCluster(t, true)
	acked := int64(0)
	for cut := range 5 {
		var has int64
		var err error
		if has, acked, err = d.cut(t, acked); err != nil || has < acked {
			t.Errorf("cut %d: of %d acknowledged acts the database has %d, %v", cut, acked, has, err)
		}
	}
	t.Logf("%d acts acknowledged", acked)
}

// TestN48_ThePowerCutOfPostgreSQLIsARealOne proves that the test above can fail.
func TestN48_ThePowerCutOfPostgreSQLIsARealOne(t *testing.T) {
	d := newCluster(t, false)
	before := int64(0)
	for range 5 {
		has, acked, err := d.cut(t, before)
		if err != nil || has < acked {
			t.Logf("of %d acknowledged acts the database has %d, %v", acked, has, err)
			return
		}
		before = acked
	}
	t.Error("with fsync off no acknowledged act was lost: the power cut is not one")
}

// cluster is a disk with the database cluster of a PostgreSQL server.
type cluster struct {
	disk
	durable bool
}

const clusterDatabase = "assent"

// newCluster makes a disk with an empty database, whole and synced.
func newCluster(t *testing.T, durable bool) cluster {
	t.Helper()
	c := cluster{disk: emptyDisk(t, 256<<20), durable: durable}
	server := c.start(t, c.mount)
	if err := server.Do("CREATE DATABASE " + clusterDatabase); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), c.config(server))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	server.Halt()
	command(t, "sync", "-f", c.mount)
	return c
}

func (c cluster) start(t *testing.T, mount string) *pgtest.Server {
	t.Helper()
	server, err := pgtest.Start(pgtest.Config{Durable: c.durable, Data: filepath.Join(mount, "pg")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func (c cluster) config(server *pgtest.Server) store.Config {
	return store.Config{Engine: store.Postgres, DSN: server.Named(clusterDatabase)}
}

// cut lets a writer go on, cuts the power at a random moment, and says what the database has on what the disk
// has then; err says that it has no database.
func (c cluster) cut(t *testing.T, before int64) (has, acked int64, err error) {
	t.Helper()
	server := c.start(t, c.mount)
	acks := filepath.Join(filepath.Dir(c.image), "acks")
	conf := c.config(server)
	writer := start(t, order{Engine: conf.Engine, DSN: conf.DSN, Acks: acks})
	acked = interrupted(t, writer, acks, before)
	if err := server.Freeze(); err != nil {
		t.Fatal(err)
	}
	dir := public(t)
	copied, at := filepath.Join(dir, "image"), filepath.Join(dir, "disk")
	copyFile(t, c.image, copied)
	if err := writer.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	writer.Wait() // killed
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	mount(t, copied, at)
	has, err = c.survivors(t, at, acked)
	return has, acked, err
}

// survivors is how many acts are in the database on a disk after the power cut.
func (c cluster) survivors(t *testing.T, at string, acked int64) (int64, error) {
	t.Helper()
	server, err := pgtest.Start(pgtest.Config{Durable: c.durable, Data: filepath.Join(at, "pg")})
	if err != nil {
		return 0, err
	}
	defer server.Stop()
	db, err := store.Open(t.Context(), c.config(server))
	if err != nil {
		return 0, err
	}
	defer db.Close()
	if !c.durable { // it may be in any state
		seq, _, err := db.Head(t.Context())
		return seq, err
	}
	acts, reports := lost(t, db, acked)
	return acked - acts - reports, nil
}
