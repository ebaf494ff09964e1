package restart

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"assent/agent/internal/command"
)

// Person is somebody who is signed in.
type Person struct {
	Name     string
	UID      string // number; empty where it is not known
	Terminal string // below /dev; empty for none
	Desktop  bool   // in a graphical session
}

// Answer is what somebody chose on the desktop.
type Answer int

// The answers.
const (
	NoAnswer Answer = iota
	RestartNow
	PutOff
)

const notifier = "usr/bin/notify-send"

var (
	terminalName = regexp.MustCompile(`^(pts/[0-9]{1,7}|tty[0-9]{1,3}|ttyS[0-9]{1,3}|ttyAMA[0-9]{1,3}|ttyUSB[0-9]{1,3}|hvc[0-9]{1,3}|console)$`)
	sessionID    = regexp.MustCompile(`^[A-Za-z0-9]{1,32}$`)
)

// People lists who is signed in: by logind's sessions and, where there is no logind, by utmp. Each terminal is listed once.
func (h Host) People(ctx context.Context) ([]Person, error) {
	people, err := h.sessions(ctx)
	for _, p := range parseUtmp(readLimited(filepath.Join(h.Root, "run/utmp"), maxMaps)) {
		if !slices.ContainsFunc(people, func(o Person) bool { return o.Terminal == p.Terminal }) {
			people = append(people, p)
		}
	}
	slices.SortFunc(people, func(a, b Person) int {
		return cmp.Or(strings.Compare(a.Terminal, b.Terminal), strings.Compare(a.Name, b.Name))
	})
	return people, err
}

// sessions asks logind; a device without it has none.
func (h Host) sessions(ctx context.Context) ([]Person, error) {
	call := func(args ...string) (string, error) {
		res, err := h.Run.Run(ctx, command.Call{Tool: command.Loginctl, Args: args, Deadline: askSystemd, Limit: 1 << 20})
		if err == nil && res.Code != 0 {
			err = fmt.Errorf("loginctl %s: exit code %d: %.200s", args[0], res.Code, strings.TrimSpace(string(res.Stderr)))
		}
		return string(res.Stdout), err
	}
	if _, err := os.Stat(filepath.Join(h.Root, "run/systemd/seats")); err != nil {
		return nil, nil //nolint:nilerr // no logind runs here
	}
	out, err := call("list-sessions", "--no-legend", "--no-pager")
	if err != nil {
		return nil, fmt.Errorf("find out who is signed in: %w", err)
	}
	args := []string{"show-session", "--property=Name,User,TTY,Type,Class,State"}
	n := len(args)
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) > 0 && sessionID.MatchString(fields[0]) && len(args) < n+500 {
			args = append(args, fields[0])
		}
	}
	if len(args) == n {
		return nil, nil
	}
	if out, err = call(args...); err != nil {
		return nil, fmt.Errorf("find out who is signed in: %w", err)
	}
	return parseSessions(out), nil
}

// parseSessions reads the blocks that loginctl show-session prints. Only sessions of people that are not about to end count.
func parseSessions(text string) []Person {
	var out []Person
	for block := range strings.SplitSeq(text, "\n\n") {
		var p Person
		class, state := "", ""
		for line := range strings.Lines(block) {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			switch key {
			case "Name":
				p.Name = plain(value)
			case "User":
				if number(value) {
					p.UID = value
				}
			case "TTY":
				if terminalName.MatchString(value) {
					p.Terminal = value
				}
			case "Type":
				p.Desktop = value == "x11" || value == "wayland" || value == "mir"
			case "Class":
				class = value
			case "State":
				state = value
			}
		}
		if class == "user" && state != "closing" && p.Name != "" {
			out = append(out, p)
		}
	}
	return out
}

// userProcess is the type of an entry of utmp(5) that is somebody's.
const userProcess = 7

// utmpSize is how long such an entry is: its times are longer where they never were shorter.
func utmpSize() int {
	if slices.Contains([]string{"amd64", "386", "arm", "ppc64le"}, runtime.GOARCH) {
		return 384
	}
	return 400
}

// parseUtmp reads who is signed in on which terminal.
func parseUtmp(b []byte) []Person {
	var out []Person
	for size := utmpSize(); len(b) >= size; b = b[size:] {
		kind := binary.NativeEndian.Uint16(b)
		p := Person{Terminal: cString(b[8:40]), Name: plain(cString(b[44:76]))}
		if kind == userProcess && terminalName.MatchString(p.Terminal) && p.Name != "" {
			out = append(out, p)
		}
	}
	return out
}

func cString(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

// Tell shows a text to people, on their terminals and screens. It reaches whom it can; the error says whom it could not.
func (h Host) Tell(ctx context.Context, people []Person, text string) error {
	err := h.tellTerminals(people, text)
	for _, p := range people {
		_, one := h.notify(ctx, p, text, askSystemd)
		err = errors.Join(err, one)
	}
	return err
}

// Put shows a question to people, on their terminals and screens. Whoever answers on a screen within limit is told to answered;
// it is not waited for, and who sits at a terminal answers with a command.
func (h Host) Put(ctx context.Context, people []Person, text string, later bool, limit time.Duration, answered func(Person, Answer)) error {
	for _, p := range people {
		if !p.Desktop {
			continue
		}
		go func() {
			if a, err := h.askDesktop(ctx, p, text, later, limit); err == nil && a != NoAnswer {
				answered(p, a)
			}
		}()
	}
	return h.tellTerminals(people, text)
}

func (h Host) tellTerminals(people []Person, text string) error {
	var errs []error
	for _, p := range people {
		if p.Terminal == "" {
			continue
		}
		if err := h.write(p.Terminal, text); err != nil {
			errs = append(errs, fmt.Errorf("tell %s on %s: %w", p.Name, p.Terminal, err))
		}
	}
	return errors.Join(errs...)
}

// write puts lines onto a terminal as wall(1) does. A terminal that takes nothing now is left alone: nobody waits for it.
func (h Host) write(terminal, text string) error {
	f, err := os.OpenFile(filepath.Join(h.Root, "dev", terminal), os.O_WRONLY|syscall.O_NOCTTY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeCharDevice == 0 {
		return errors.New("it is no terminal")
	}
	if err := f.SetWriteDeadline(time.Now().Add(time.Second)); err != nil && !errors.Is(err, os.ErrNoDeadline) {
		return err
	}
	var b strings.Builder
	b.WriteString("\r\n\a")
	for line := range strings.Lines("Assent: " + text) {
		b.WriteString(plain(strings.TrimSuffix(line, "\n")) + "\r\n")
	}
	_, err = f.WriteString(b.String())
	return err
}

// askDesktop shows a question to one person at a screen and waits up to limit for the answer. Without a notifier, and without
// an answer, there is none. later says whether it can be put off.
func (h Host) askDesktop(ctx context.Context, p Person, text string, later bool, limit time.Duration) (Answer, error) {
	args := []string{"--action=now=Restart now"}
	if later {
		args = append(args, "--action=later=Later")
	}
	out, err := h.notify(ctx, p, text, limit, append(args, "--wait")...)
	switch strings.TrimSpace(out) {
	case "now":
		return RestartNow, nil
	case "later":
		return PutOff, nil
	}
	return NoAnswer, err
}

// notify runs the notifier as the person, in a unit of its own, with nothing but that person's bus.
func (h Host) notify(ctx context.Context, p Person, text string, limit time.Duration, more ...string) (string, error) {
	bus := "run/user/" + p.UID + "/bus"
	for _, f := range []string{notifier, bus} {
		if _, err := os.Stat(filepath.Join(h.Root, f)); !p.Desktop || p.UID == "" || err != nil {
			return "", nil //nolint:nilerr // nobody can be asked this way
		}
	}
	args := slices.Concat([]string{"--quiet", "--collect", "--pipe", "--wait", "--uid=" + p.UID, "--setenv=DBUS_SESSION_BUS_ADDRESS=unix:path=/" + bus,
		"--property=RuntimeMaxSec=" + fmt.Sprint(int(limit/time.Second)+1), "--", "/" + notifier, "--app-name=Assent", "--urgency=critical"},
		more, []string{"--", "Restart", html.EscapeString(text)})
	res, err := h.Run.Run(ctx, command.Call{Tool: command.SystemdRun, Args: args, Deadline: limit + askSystemd, Limit: 4 << 10})
	if err == nil && res.Code != 0 {
		err = fmt.Errorf("exit code %d: %.200s", res.Code, strings.TrimSpace(string(res.Stderr)))
	}
	if err != nil {
		return "", fmt.Errorf("ask %s on the screen: %w", p.Name, err)
	}
	return string(res.Stdout), nil
}
