package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Config says what lab to open. The zero value opens a lab with a fresh name in the default place.
type Config struct {
	// Name is lower-case letters, digits and dashes, at most 32. Empty means a name that no other lab has.
	Name string
	// StateRoot is where labs keep their state, one directory each; it must not lie on an overlay. Empty means
	// $ASSENT_LAB_STATE, or else /var/lib/assent-lab.
	StateRoot string
	// Hosts are further names for /etc/hosts of every device, each with its address.
	Hosts map[string]string
	// Log receives what the lab does; nil discards it.
	Log *slog.Logger
}

const defaultStateRoot = "/var/lib/assent-lab"

// Errors of Open and Attach.
var (
	ErrInUse      = errors.New("a lab of that name is running")
	ErrNotRunning = errors.New("no lab of that name is running")
)

var (
	labName    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	deviceName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	labCounter atomic.Int64 // makes fresh names unique within the process
)

// State is what a running lab tells other processes, in lab.json in its directory.
type State struct {
	Name    string
	NetNS   string
	PID     int // of the process that opened it
	Started time.Time
	Hosts   map[string]string `json:",omitempty"`
	// Forwards are host addresses and what is behind them: an address of the lab, or a device and an address of its own.
	Forwards  map[string]string `json:",omitempty"`
	MirrorURL string            `json:",omitempty"`
	// Ready is set by MarkReady, when whoever opened the lab has put everything in it.
	Ready bool
}

// Lab is a running lab. All methods may be called from any goroutine.
type Lab struct {
	Net *Net

	dir   string
	log   *slog.Logger
	owner bool

	life   context.Context // ends at Close
	end    context.CancelFunc
	locks  []io.Closer // held by the owner for as long as the lab lives
	ending sync.WaitGroup

	mu       sync.Mutex
	state    State
	devices  map[string]*Device
	lastAddr int         // counts the addresses given to devices
	closers  []io.Closer // listeners, closed first
}

// StateRoot is the default of Config.StateRoot.
func StateRoot() string {
	if dir := os.Getenv("ASSENT_LAB_STATE"); dir != "" {
		return dir
	}
	return defaultStateRoot
}

func (c Config) stateRoot() string {
	if c.StateRoot != "" {
		return c.StateRoot
	}
	return StateRoot()
}

// Open creates the lab and its network. It first removes what dead labs left behind, also one of the same name.
// The caller must Close it.
func Open(ctx context.Context, c Config) (*Lab, error) {
	if c.Name == "" {
		c.Name = "t" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(labCounter.Add(1), 10)
	}
	if !labName.MatchString(c.Name) {
		return nil, fmt.Errorf("lab name %q is not valid", c.Name)
	}
	l := newLab(c)
	if err := l.claim(ctx, c.stateRoot()); err != nil {
		for _, lock := range l.locks { // without them the next Open removes what was begun
			err = errors.Join(err, lock.Close())
		}
		return nil, fmt.Errorf("open lab %s: %w", c.Name, err)
	}
	if err := l.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open lab %s: %w", c.Name, err), l.Close())
	}
	return l, nil
}

func newLab(c Config) *Lab {
	log := c.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	netns := "assent-lab-" + c.Name
	if c.stateRoot() != defaultStateRoot {
		netns += "-" + shortHash(c.stateRoot()) // equal names in two state roots are two labs
	}
	life, end := context.WithCancel(context.Background())
	return &Lab{
		Net: &Net{netns: netns}, dir: filepath.Join(c.stateRoot(), c.Name), log: log, life: life, end: end,
		devices: map[string]*Device{},
		state:   State{Name: c.Name, NetNS: netns, PID: os.Getpid(), Started: time.Now().UTC(), Hosts: c.Hosts},
	}
}

// claim sweeps dead labs and takes the name, under one lock so that no two processes do it at once.
func (l *Lab) claim(ctx context.Context, root string) error {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return fmt.Errorf("create state directory: %w", err)
	}
	if err := refuseOverlay(root); err != nil {
		return err
	}
	unlock, err := lockFile(ctx, filepath.Join(root, ".lock"))
	if err != nil {
		return err
	}
	defer unlock.Close()
	if err := sweep(ctx, root, l.log); err != nil {
		return err
	}
	if running(l.dir) {
		return ErrInUse
	}
	// An empty directory is what a process leaves that was killed right here.
	if err := os.Remove(l.dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("take over lab directory: %w", err)
	}
	if err := os.Mkdir(l.dir, 0o755); err != nil {
		return fmt.Errorf("create lab directory: %w", err)
	}
	// The lock is free but for others who look whether the lab is running, for a moment.
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, name := range []string{ownerLock, lifeLock} {
		held, err := lockFile(ctx, filepath.Join(l.dir, name))
		if err != nil {
			return fmt.Errorf("hold %s: %w", name, err)
		}
		l.locks = append(l.locks, held)
	}
	l.owner = true
	return nil
}

func (l *Lab) start(ctx context.Context) error {
	for _, sub := range []string{"devices", "repos", "layers"} {
		if err := os.Mkdir(filepath.Join(l.dir, sub), 0o755); err != nil {
			return fmt.Errorf("create lab directory: %w", err)
		}
	}
	if err := l.Net.create(ctx); err != nil {
		return err
	}
	if err := l.serveControl(); err != nil {
		return err
	}
	if err := l.serveRepos(); err != nil {
		return err
	}
	return l.saveState(func(*State) {})
}

// Attach joins the running lab called name, opened by this or another process. Closing it leaves the lab running.
func Attach(name string) (*Lab, error) { return AttachIn(StateRoot(), name) }

// AttachIn is Attach for a lab in another state root.
func AttachIn(root, name string) (*Lab, error) {
	if !labName.MatchString(name) {
		return nil, fmt.Errorf("lab name %q is not valid", name)
	}
	l := newLab(Config{Name: name, StateRoot: root})
	if !running(l.dir) {
		return nil, fmt.Errorf("attach to lab %s: %w", name, ErrNotRunning)
	}
	state, err := readState(l.dir)
	if err != nil {
		return nil, fmt.Errorf("attach to lab %s: %w", name, err)
	}
	l.state = state
	return l, nil
}

// Name is the lab's name.
func (l *Lab) Name() string { return l.state.Name }

// Dir is the directory that holds everything of the lab.
func (l *Lab) Dir() string { return l.dir }

// State is what the lab says of itself now.
func (l *Lab) State() State {
	if !l.owner {
		if s, err := readState(l.dir); err == nil { // else it has just ended, and the last word stands
			return s
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// Close ends the lab and removes everything of it: processes, mounts, namespaces, files. On an attached lab it only
// lets go. Closing twice is harmless.
func (l *Lab) Close() error {
	if !l.owner {
		l.end()
		return nil
	}
	if l.life.Err() != nil {
		return nil
	}
	l.end()
	l.mu.Lock()
	devices := make([]*Device, 0, len(l.devices))
	for _, d := range l.devices {
		devices = append(devices, d)
	}
	closers := slices.Clone(l.closers)
	l.mu.Unlock()
	var errs []error
	for _, c := range closers {
		errs = append(errs, c.Close())
	}
	for _, d := range devices {
		errs = append(errs, d.halt())
	}
	l.ending.Wait()
	// A deadline of its own: the caller's context may be the reason for closing.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	errs = append(errs, l.dismantle(ctx))
	for _, lock := range l.locks {
		errs = append(errs, lock.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close lab %s: %w", l.state.Name, err)
	}
	return nil
}

// dismantle removes the lab while no other process looks for dead labs or takes a name.
func (l *Lab) dismantle(ctx context.Context) error {
	unlock, err := lockFile(ctx, filepath.Join(filepath.Dir(l.dir), ".lock"))
	if err != nil {
		return err
	}
	defer unlock.Close()
	return dismantle(ctx, l.dir, l.Net.netns)
}

// saveState changes the state and publishes it to other processes.
func (l *Lab) saveState(change func(*State)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.state)
	return l.writeState()
}

// writeState wants l.mu held.
func (l *Lab) writeState() error { return writeJSON(filepath.Join(l.dir, "lab.json"), l.state) }

// MarkReady tells other processes that the lab has all that its maker wanted in it.
func (l *Lab) MarkReady() error { return l.saveState(func(s *State) { s.Ready = true }) }

func readState(dir string) (State, error) {
	var s State
	return s, readJSON(filepath.Join(dir, "lab.json"), &s)
}

func writeJSON(name string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", filepath.Base(name), err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer os.Remove(tmp.Name()) // fails once renamed, as it should
	_, err = tmp.Write(append(text, '\n'))
	if err := errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Rename(tmp.Name(), name)
}

func readJSON(name string, v any) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("decode %s: %w", name, err)
	}
	return nil
}

func refuseOverlay(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("examine %s: %w", dir, err)
	}
	if fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return fmt.Errorf("%s lies on an overlay, which cannot carry another; set ASSENT_LAB_STATE to a directory on a real disk", dir)
	}
	return nil
}

// serve runs an HTTP server inside the lab until the lab closes.
func (l *Lab) serve(addr string, h http.Handler) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.serveLocked(addr, h)
}

// serveLocked is serve with l.mu held.
func (l *Lab) serveLocked(addr string, h http.Handler) error {
	ln, err := l.Net.Listen(addr)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	l.closers = append(l.closers, srv)
	l.ending.Go(func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			l.log.Error("lab server ended", "addr", addr, "err", err)
		}
	})
	return nil
}
