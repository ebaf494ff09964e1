// Package pgtest runs a throw-away PostgreSQL server for tests, from the programs that Debian's
// postgresql package installs. It installs nothing itself.
//
// Guarantees: the server listens on a socket in its own directory only, so it can be reached from every
// network namespace; it dies with the test process, and leaves nothing behind after Stop. Unless Config
// says otherwise its durability is off, for speed. It knows nothing of Assent.
package pgtest

import (
	"bytes"
	"cmp"
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

// Config says what kind of server to start. The zero value is a fast one.
type Config struct {
	Durable bool   // the server waits for the disk as a real one does
	Data    string // directory of the database cluster, used as it is if there is one already; empty: one that goes with Stop
}

// Server is a PostgreSQL server.
type Server struct {
	cfg  Config
	bin  string
	who  *syscall.Credential
	dir  string // of the socket
	cmd  *exec.Cmd
	done chan struct{} // closed when the server has ended
	log  *bytes.Buffer // read it only once done is closed
}

// Start starts a server, on a new database cluster if there is none. It needs root (the server runs as the
// user postgres) or any other user but then runs as that one.
func Start(cfg Config) (_ *Server, err error) {
	s := &Server{cfg: cfg}
	if s.bin, err = programs(); err != nil {
		return nil, err
	}
	if s.who, err = credential(); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "assent-pg"); err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(s.dir))
		}
	}()
	if err := s.own(s.dir); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(s.data(), "PG_VERSION")); err != nil {
		if err := s.initialize(); err != nil {
			return nil, err
		}
	}
	if err := s.Resume(); err != nil {
		return nil, err
	}
	return s, nil
}

// own gives a directory to the server's user.
func (s *Server) own(dir string) error {
	if s.who == nil {
		return nil
	}
	if err := os.Chown(dir, int(s.who.Uid), int(s.who.Gid)); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	return nil
}

// initialize makes a database cluster.
func (s *Server) initialize() error {
	if err := os.MkdirAll(s.data(), 0o700); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	if err := s.own(s.data()); err != nil {
		return err
	}
	args := []string{"-D", s.data(), "-U", "assent", "-A", "trust", "-E", "UTF8", "--locale=C"}
	if !s.cfg.Durable {
		args = append(args, "-N")
	}
	initdb := exec.Command(filepath.Join(s.bin, "initdb"), args...)
	initdb.Dir, initdb.SysProcAttr = s.dir, &syscall.SysProcAttr{Credential: s.who}
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

func (s *Server) data() string { return cmp.Or(s.cfg.Data, filepath.Join(s.dir, "data")) }

// Resume starts the server again after Halt or Kill, and returns when it answers.
func (s *Server) Resume() error {
	if err := s.run(); err != nil {
		return err
	}
	return s.ready()
}

// run starts the server so that it ends when this process does.
func (s *Server) run() error {
	args := []string{"-D", s.data(), "-k", s.dir, "-c", "listen_addresses=", "-c", "max_connections=200", "-c", "shared_buffers=64MB"}
	if !s.cfg.Durable {
		args = append(args, "-c", "fsync=off", "-c", "full_page_writes=off")
	}
	s.log, s.done = &bytes.Buffer{}, make(chan struct{})
	s.cmd = exec.Command(filepath.Join(s.bin, "postgres"), args...)
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = s.dir, s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.who, Pdeathsig: syscall.SIGQUIT}
	started := make(chan error)
	go func() {
		// The kernel sends Pdeathsig when the thread that started the child ends, so it must not.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd, done := s.cmd, s.done // Resume makes others
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait() // its error is in the log; Stop's signal makes one too
			close(done)
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

// Stop ends the server and removes its files, but for a directory that Config named.
func (s *Server) Stop() error {
	s.end(syscall.SIGQUIT) // at once: nothing is to be kept
	return os.RemoveAll(s.dir)
}

// Halt shuts the server down as an administrator does: open connections are cut, what was committed is kept.
func (s *Server) Halt() { s.end(syscall.SIGINT) }

func (s *Server) end(sig syscall.Signal) {
	s.cmd.Process.Signal(sig) // it may have ended already
	<-s.done
}

// Freeze lets every process of the server stand still, in the middle of whatever it does, until Thaw or Kill.
func (s *Server) Freeze() error {
	pids, err := s.all(syscall.SIGSTOP)
	for _, pid := range pids {
		for err == nil && running(pid) {
			time.Sleep(time.Millisecond) // there is no signal for "stands still" from a grandchild
		}
	}
	return err
}

// Thaw ends Freeze.
func (s *Server) Thaw() error {
	_, err := s.all(syscall.SIGCONT)
	return err
}

// running reports whether a process neither stands still nor is gone.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	return len(rest) > 0 && !bytes.ContainsAny(rest[:1], "TtZX")
}

// Kill ends every process of the server with SIGKILL, frozen or not.
func (s *Server) Kill() error {
	_, err := s.all(syscall.SIGKILL)
	<-s.done
	return err
}

// all signals the first process, which starts the others, and then those that are there.
func (s *Server) all(sig syscall.Signal) ([]int, error) {
	first := s.cmd.Process.Pid
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", first, first))
	if err != nil {
		return nil, fmt.Errorf("find the processes of PostgreSQL: %w", err)
	}
	pids := []int{first}
	for child := range strings.FieldsSeq(string(children)) {
		n, err := strconv.Atoi(child)
		if err != nil {
			return nil, fmt.Errorf("find the processes of PostgreSQL: %w", err)
		}
		pids = append(pids, n)
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, sig) // it may have ended meanwhile
	}
	return pids, nil
}

// Do runs a statement as the server's superuser, outside of any of the tests' databases.
func (s *Server) Do(statement string) error {
	admin, err := sql.Open("pgx", s.url("postgres"))
	if err != nil {
		return err
	}
	defer admin.Close()
	_, err = admin.Exec(statement)
	return err
}

// Ask runs a query of one value as the server's superuser, as Do does.
func (s *Server) Ask(query string) (value string, err error) {
	admin, err := sql.Open("pgx", s.url("postgres"))
	if err != nil {
		return "", err
	}
	defer admin.Close()
	err = admin.QueryRow(query).Scan(&value)
	return value, err
}

// socket is where the server listens.
func (s *Server) socket() string { return filepath.Join(s.dir, socketName) }

func (s *Server) url(database string) string {
	return (&url.URL{Scheme: "postgres", User: url.User("assent"), Path: "/" + database, RawQuery: url.Values{"host": {s.dir}}.Encode()}).String()
}

// Named is the URL of a database that is there.
func (s *Server) Named(database string) string { return s.url(database) }

// Database makes an empty database and returns its URL. The database goes when the test ends.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := "t" + strings.ToLower(rand.Text())
	if err := s.Do("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Do("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
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

// Dump writes a database with pg_dump to a file, as of one moment.
func (s *Server) Dump(database, file string) error {
	return s.tool("pg_dump", "--format=custom", "--file="+file, database)
}

// Restore reads what Dump wrote into an empty database.
func (s *Server) Restore(database, file string) error {
	return s.tool("pg_restore", "--exit-on-error", "--no-owner", "--dbname="+database, file)
}

func (s *Server) tool(name string, args ...string) error {
	if out, err := exec.Command(filepath.Join(s.bin, name), args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}
