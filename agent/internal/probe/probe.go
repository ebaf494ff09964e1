// Package probe asks whether an application is well, in the ways that its publisher may declare: a file of it has the right
// content, a unit is active, its program runs, it answers on the loopback address. There is no free-form command among them.
//
// It guarantees: a probe changes nothing and ends at its time at the latest; it reaches no other machine, follows no
// redirect and uses no proxy; a file is looked for below the application's tree only (os.Root), or, where a task names it by an
// absolute path, on the device, and nothing but whether its digest fits is told of it; what this build does not know does not
// pass. A nil result means that the probe passed at one moment before its time was up; every other result is an *Error with one
// sentence for people.
package probe

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"assent/agent/internal/command"
	"assent/catalog"
)

const (
	// defaultTime is how long a probe is tried that names no time.
	defaultTime = 30 * time.Second
	maxTime     = 10 * time.Minute
	// attemptTime bounds one attempt: what hangs is asked again.
	attemptTime = 5 * time.Second
	// firstPause is the wait after the first attempt that failed. It doubles up to maxPause.
	firstPause = 50 * time.Millisecond
	maxPause   = 2 * time.Second
)

// Error says why a probe did not pass. Its text is one sentence.
type Error struct {
	Type   catalog.ProbeType
	Detail string
	Cause  error // of the last attempt; nil where the answer itself was wrong
}

// Error implements error.
func (e *Error) Error() string { return e.Detail }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// ErrUnknown says that this build does not know a probe, or that something is missing in it: it does not pass.
var ErrUnknown = errors.New("the probe is not known")

func fail(p catalog.Probe, cause error, format string, args ...any) *Error {
	return &Error{Type: p.Type, Detail: fmt.Sprintf(format, args...), Cause: cause}
}

// attempt asks once; final says that asking again is of no use.
type attempt func(ctx context.Context, p catalog.Probe, tree string) (final bool, err *Error)

func attempts() map[catalog.ProbeType]attempt {
	return map[catalog.ProbeType]attempt{
		catalog.ProbeFile:    file,
		catalog.ProbeUnit:    unit,
		catalog.ProbeProcess: process,
		catalog.ProbeTCP:     tcp,
		catalog.ProbeHTTP:    web,
	}
}

// Run asks until the probe passes or its time is up. tree is the application's current directory.
func Run(ctx context.Context, p catalog.Probe, tree string) error {
	ask, ok := attempts()[p.Type]
	if !ok {
		return fail(p, ErrUnknown, "This agent does not know the health probe %.40q.", p.Type)
	}
	if err := check(p); err != nil {
		return err
	}
	limit := defaultTime
	if p.Timeout > 0 {
		limit = min(time.Duration(p.Timeout)*time.Second, maxTime)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var before *Error // what an attempt found that had its time
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		once, done := context.WithTimeout(ctx, attemptTime)
		final, err := ask(once, p, tree)
		done()
		if err == nil {
			return nil
		}
		if final {
			return err
		}
		if ctx.Err() == nil || before == nil {
			before = err
		}
		select {
		case <-ctx.Done():
			return before
		case <-time.After(pause):
		}
	}
}

var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.@][A-Za-z0-9:_.@-]{0,199}\.(service|socket|timer|target|mount)$`)

// check refuses a probe that lacks something. The feed checked it already; a plan comes another way.
func check(p catalog.Probe) error {
	ok := true
	switch p.Type {
	case catalog.ProbeFile:
		ok = (filepath.IsLocal(p.Path) || filepath.IsAbs(p.Path) && filepath.Clean(p.Path) == p.Path) && len(p.SHA256) == 2*sha256.Size
	case catalog.ProbeUnit:
		ok = unitName.MatchString(p.Unit)
	case catalog.ProbeProcess:
		ok = filepath.IsAbs(p.Path)
	case catalog.ProbeTCP:
		ok = p.Port > 0 && p.Port < 65536
	case catalog.ProbeHTTP:
		ok = p.Port > 0 && p.Port < 65536 && strings.HasPrefix(p.Path, "/")
	}
	if !ok {
		return fail(p, ErrUnknown, "The health probe %q lacks something, or has something that it cannot use.", p.Type)
	}
	return nil
}

// file compares a file's digest. A file does not change by waiting.
func file(ctx context.Context, p catalog.Probe, tree string) (bool, *Error) {
	name := p.Path
	if filepath.IsAbs(name) {
		tree, name = "/", strings.TrimPrefix(name, "/")
	}
	root, err := os.OpenRoot(tree)
	if err != nil {
		return true, fail(p, err, "The application's tree cannot be opened: %v.", err)
	}
	defer root.Close()
	info, err := root.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return true, fail(p, err, "The file %s of the application is not there.", p.Path)
	}
	f, err := root.Open(name)
	if err != nil {
		return true, fail(p, err, "The file %s of the application cannot be read: %v.", p.Path, err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, &reader{ctx, f}); err != nil {
		return true, fail(p, err, "The file %s of the application cannot be read: %v.", p.Path, err)
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != p.SHA256 && filepath.IsAbs(p.Path) {
		return true, fail(p, nil, "The file %s has another SHA-256 than %s.", p.Path, p.SHA256)
	} else if sum != p.SHA256 {
		return true, fail(p, nil, "The file %s of the application has SHA-256 %s and not %s.", p.Path, sum, p.SHA256)
	}
	return false, nil
}

// reader ends with its context: a file may be longer than there is time.
type reader struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (r *reader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}

// unit asks systemd whether a unit is active.
func unit(ctx context.Context, p catalog.Probe, _ string) (bool, *Error) {
	res, err := command.New("").Run(ctx, command.Call{Tool: command.Systemctl, Args: []string{"show", "--property=ActiveState", "--value", "--", p.Unit},
		Deadline: attemptTime, Limit: 4 << 10})
	if errors.Is(err, fs.ErrNotExist) {
		return true, fail(p, err, "This device has no systemd that could say whether %s is active.", p.Unit)
	}
	if err != nil {
		return false, fail(p, err, "systemd does not say whether %s is active: %v.", p.Unit, err)
	}
	state := strings.TrimSpace(string(res.Stdout))
	if res.Code != 0 || state == "" {
		return false, fail(p, nil, "systemd does not say whether %s is active: %.200s.", p.Unit, strings.TrimSpace(string(res.Stderr)))
	}
	if state != "active" {
		return false, fail(p, nil, "The unit %s is %.40s and not active.", p.Unit, state)
	}
	return false, nil
}

// process looks for a process that runs exactly the file that is at the path now: one that still runs the version before
// does not count.
func process(_ context.Context, p catalog.Probe, _ string) (bool, *Error) {
	want, err := os.Stat(p.Path)
	if err != nil {
		return false, fail(p, err, "The program %s is not there.", p.Path)
	}
	running, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return true, fail(p, err, "The processes of this device cannot be listed: %v.", err)
	}
	for _, exe := range running {
		if have, err := os.Stat(exe); err == nil && os.SameFile(want, have) {
			return false, nil
		}
	}
	return false, fail(p, nil, "No process runs %s.", p.Path)
}

// loopback connects to a port of this machine, in IPv4 or IPv6.
func loopback(ctx context.Context, port int) (net.Conn, error) {
	var d net.Dialer
	var errs []error
	for _, host := range []string{"127.0.0.1", "::1"} {
		c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, errs[0]
}

func tcp(ctx context.Context, p catalog.Probe, _ string) (bool, *Error) {
	c, err := loopback(ctx, p.Port)
	if err != nil {
		return false, fail(p, err, "Nothing accepts connections on port %d: %v.", p.Port, err)
	}
	_ = c.Close() // that it was accepted is the answer
	return false, nil
}

// web asks a local URL for its status. What it answers beyond that is not read.
func web(ctx context.Context, p catalog.Probe, _ string) (bool, *Error) {
	want := p.Status
	if want == 0 {
		want = http.StatusOK
	}
	transport := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return loopback(ctx, p.Port) }}
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost:"+strconv.Itoa(p.Port)+p.Path, nil)
	if err != nil {
		return true, fail(p, err, "The health probe's path %.200q is not one.", p.Path)
	}
	resp, err := client.Do(req)
	if err != nil {
		return false, fail(p, err, "http://localhost:%d%s does not answer: %v.", p.Port, p.Path, err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != want {
		return false, fail(p, nil, "http://localhost:%d%s answers with status %d and not %d.", p.Port, p.Path, resp.StatusCode, want)
	}
	return false, nil
}
