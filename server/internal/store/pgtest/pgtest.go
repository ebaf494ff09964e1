// Package pgtest runs a throw-away PostgreSQL server for tests, from the programs that Debian's
// postgresql package installs. It installs nothing itself.
//
// Guarantees: the server listens on a socket in its own directory only, dies with the test process, and
// leaves nothing behind after Stop. Its durability is off: tests of power cuts need another server.
package pgtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// Server is a running PostgreSQL server.
type Server struct {
	dir  string
	cmd  *exec.Cmd
	done chan struct{} // closed when the server has ended
	log  *bytes.Buffer // read it only once done is closed
}

// Start makes a database cluster in a temporary directory and starts a server on it. It needs root (the
// server runs as the user postgres) or any other user but then runs as that one.
func Start() (_ *Server, err error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	who, err := credential()
	if err != nil {
		return nil, err
	}
	s := &Server{done: make(chan struct{}), log: &bytes.Buffer{}}
	if s.dir, err = os.MkdirTemp("", "assent-pg"); err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(s.dir))
		}
	}()
	if who != nil {
		if err := os.Chown(s.dir, int(who.Uid), int(who.Gid)); err != nil {
			return nil, fmt.Errorf("start PostgreSQL: %w", err)
		}
	}
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", s.data(), "-U", "assent", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
	initdb.Dir, initdb.SysProcAttr = s.dir, &syscall.SysProcAttr{Credential: who}
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	if err := s.run(bin, who); err != nil {
		return nil, err
	}
	return s, s.ready()
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// run starts the server so that it ends when this process does.
func (s *Server) run(bin string, who *syscall.Credential) error {
	s.cmd = exec.Command(filepath.Join(bin, "postgres"), "-D", s.data(), "-k", s.dir, "-c", "listen_addresses=",
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=200", "-c", "shared_buffers=64MB")
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = s.dir, s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who, Pdeathsig: syscall.SIGQUIT}
	started := make(chan error)
	go func() {
		// The kernel sends Pdeathsig when the thread that started the child ends, so it must not.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			s.cmd.Wait() // its error is in the log; Stop's signal makes one too
			close(s.done)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	return nil
}

// ready waits until the server answers.
func (s *Server) ready() error {
	db, err := sql.Open("pgx", s.url("postgres"))
	if err != nil {
		return errors.Join(err, s.Stop())
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		err := db.PingContext(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("PostgreSQL ended: %s", bytes.TrimSpace(s.log.Bytes()))
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("PostgreSQL does not answer: %w", err), s.Stop())
		case <-time.After(20 * time.Millisecond): // there is no signal for "accepts connections"
		}
	}
}

// Stop ends the server and removes its files.
func (s *Server) Stop() error {
	s.cmd.Process.Signal(syscall.SIGQUIT) // at once: nothing is to be kept
	<-s.done
	return os.RemoveAll(s.dir)
}

func (s *Server) url(database string) string {
	return (&url.URL{Scheme: "postgres", User: url.User("assent"), Path: "/" + database, RawQuery: url.Values{"host": {s.dir}}.Encode()}).String()
}

// Database makes an empty database and returns its URL. The database goes when the test ends.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	admin, err := sql.Open("pgx", s.url("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	name := "t" + strings.ToLower(rand.Text())
	if _, err := admin.Exec("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		admin, err := sql.Open("pgx", s.url("postgres"))
		if err == nil {
			_, err = admin.Exec("DROP DATABASE " + name + " WITH (FORCE)")
			err = errors.Join(err, admin.Close())
		}
		if err != nil {
			t.Errorf("drop the test database: %v", err)
		}
	})
	return s.url(name)
}

// programs finds the newest installed server.
func programs() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.New("PostgreSQL is not installed; run: apt-get install --no-install-recommends postgresql")
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(strings.Split(path, "/")[4]) // /usr/lib/postgresql/VERSION/bin/initdb
		return n
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
}

// credential is the user that the server runs as: PostgreSQL refuses root.
func credential() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("the user postgres, whom the postgresql package makes, is missing: %w", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("read the ids of the user postgres: %w", err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}
