// Package daemon runs one assentd as its own process on loopback, for measurements: what it uses can be told from what
// those use who ask it.
//
// Guarantees: it listens on loopback only and dies with the program that started it. It measures nothing itself.
package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"assent/client"
)

// Config says what to run.
type Config struct {
	Program string   // path of assentd
	Data    string   // its directory; kept
	Env     []string // further variables, such as ASSENT_DATABASE_URL=…
	Limit   time.Duration
}

// Daemon is a running assentd.
type Daemon struct {
	URL    string // of the API
	Agents string // address for devices
	PID    int
	Began  time.Time // when the process was started

	cfg  Config
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of the process, once done is closed

	mu   sync.Mutex
	tail []string // the last lines of its log
}

// startLimit is how long a start may take at most where Config does not say.
const startLimit = 10 * time.Minute

// Start starts assentd and returns when it serves.
func Start(ctx context.Context, cfg Config) (*Daemon, error) {
	if cfg.Limit == 0 {
		cfg.Limit = startLimit
	}
	d := &Daemon{cfg: cfg, done: make(chan struct{})}
	d.cmd = exec.CommandContext(context.WithoutCancel(ctx), cfg.Program, "--data", cfg.Data, "--listen", "127.0.0.1:0", "--agent-listen", "127.0.0.1:0", "--server-name", "127.0.0.1", "--pprof")
	d.cmd.Env = append(os.Environ(), cfg.Env...)
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := d.cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start assentd: %w", err)
	}
	d.Began = time.Now()
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start assentd: %w", err)
	}
	d.PID = d.cmd.Process.Pid
	serving := make(chan line, 1)
	go d.follow(log, serving)
	ctx, cancel := context.WithTimeout(ctx, cfg.Limit)
	defer cancel()
	select {
	case l := <-serving:
		d.URL, d.Agents = "http://"+l.API, l.Agents
		return d, nil
	case <-d.done:
		return nil, fmt.Errorf("assentd ended: %w: %s", d.err, d.Log())
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("assentd does not serve: %w: %s", ctx.Err(), d.Log()), d.Stop())
	}
}

// line is a line of assentd's log.
type line struct {
	Msg    string `json:"msg"`
	API    string `json:"api"`
	Agents string `json:"agents"`
}

// follow reads the log until the process ends.
func (d *Daemon) follow(log io.Reader, serving chan<- line) {
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l line
		if json.Unmarshal(lines.Bytes(), &l) == nil && l.Msg == "serving" {
			serving <- l
		}
		d.mu.Lock()
		d.tail = append(d.tail[max(0, len(d.tail)-20):], lines.Text())
		d.mu.Unlock()
	}
	d.err = d.cmd.Wait()
	close(d.done)
}

// Log is the end of the log.
func (d *Daemon) Log() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(slices.Clone(d.tail), "\n")
}

// stopLimit is how long it may take to end.
const stopLimit = time.Minute

// Stop ends assentd as systemd would, and waits for it.
func (d *Daemon) Stop() error {
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-d.done:
		return nil
	case <-time.After(stopLimit):
		_ = d.cmd.Process.Kill()
		<-d.done
		return fmt.Errorf("assentd did not end within %v", stopLimit)
	}
}

// tokenFile is where the access token lies in the data directory, for a later start.
const tokenFile = "bench-token"

// Client is the API, as its first administrator.
func (d *Daemon) Client(ctx context.Context) (*client.Client, error) { return d.ClientAt(ctx, d) }

// ClientAt is the API of another server of the installation, as this one's first administrator.
func (d *Daemon) ClientAt(ctx context.Context, at *Daemon) (*client.Client, error) {
	text, err := os.ReadFile(filepath.Join(d.cfg.Data, tokenFile))
	if errors.Is(err, os.ErrNotExist) {
		text, err = d.signIn(ctx)
	}
	if err != nil {
		return nil, err
	}
	return client.New(client.Config{Server: at.URL, Token: string(text), Wait: 10 * time.Minute})
}

// signIn uses the first administrator's one-time sign-in.
func (d *Daemon) signIn(ctx context.Context) ([]byte, error) {
	once, err := os.ReadFile(filepath.Join(d.cfg.Data, "first-sign-in"))
	if err != nil {
		return nil, fmt.Errorf("read the first sign-in: %w", err)
	}
	c, err := client.New(client.Config{Server: d.URL})
	if err != nil {
		return nil, err
	}
	me, err := c.SignIn(ctx, client.SignIn{Token: strings.TrimSpace(string(once)), Note: "bench"})
	if err != nil {
		return nil, fmt.Errorf("sign in: %w", err)
	}
	return []byte(me.Text), os.WriteFile(filepath.Join(d.cfg.Data, tokenFile), []byte(me.Text), 0o600)
}
