// Package selfupdate starts the version of the agent that should run, and takes back one that does not prove itself.
//
// The installed program (/usr/bin/assent-agent) is the launcher. A newer version that was installed side by side is
// offered to it (Book.Offer) by the version that runs, which then ends; the launcher starts the new one on probation.
//
// It guarantees: only a file that belongs to the agent alone and has the digest that was offered is started; a version
// counts as good only after it had an answer from the server within its deadline and did not crash again and again
// afterwards; one that does not prove itself is ended, never started again, and the one before it runs; every start on
// probation is written down before it happens, as long as anything can be written, so that a version that takes the machine down with it cannot loop either; nothing older
// than the installed program is ever started. What the launcher reads and writes is small and its format is tolerant: a
// launcher works with versions that are newer than itself.
//
// It does not download, unpack or approve anything (package tree, the plan), and reports nothing to anybody.
package selfupdate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"assent/agent/internal/statedir"
	"assent/catalog"
	"assent/pkgver"
)

// ErrHandOver ends the agent that runs so that another version takes over.
var ErrHandOver = errors.New("another version of the agent takes over")

// HandOver is the exit code by which a started version asks for that.
const HandOver = 86

// Program is a version of the agent that lies on disk.
type Program struct {
	Version string `json:"version"`
	Path    string `json:"path"`    // absolute, of the executable
	SHA256  string `json:"sha256"`  // of the executable, hex
	Payload string `json:"payload"` // SHA-256 of the payload that it came in, hex: what was approved
	Starts  int    `json:"starts,omitempty"`
	Reached bool   `json:"reached,omitempty"` // it has had an answer from the server
}

// Bad is a version that did not prove itself.
type Bad struct {
	Version string    `json:"version"`
	Payload string    `json:"payload"`
	Why     string    `json:"why"` // a sentence for people
	At      time.Time `json:"at"`
}

// state is what the launcher remembers. Later versions may add to it.
type state struct {
	Next *Program `json:"next,omitempty"` // on probation
	Good *Program `json:"good,omitempty"` // proved itself
	Past *Program `json:"past,omitempty"` // the good one before
	Bad  []Bad    `json:"bad,omitempty"`  // the newest last
}

const (
	stateFile = "state.json"
	stateLock = "state.lock"
	maxState  = 1 << 20
	maxBad    = 50
)

// Book is the launcher's memory, which the version that runs shares. It is safe for use by several processes.
type Book struct{ path string }

// Open gives the memory below the agent's state directory. Nothing is made yet.
func Open(stateDir string) *Book { return &Book{path: stateDir + "/self"} }

// Offer makes a version the next one to be started. It is refused for one that did not prove itself before.
func (b *Book) Offer(p Program) error {
	return b.update(func(s *state) error {
		if bad := s.bad(p.Payload); bad != nil {
			return fmt.Errorf("offer version %s: %s", p.Version, bad.Why)
		}
		p.Starts, p.Reached = 0, false
		s.Next = &p
		return nil
	})
}

// Bad says why the version that came in a payload was taken back; nil: it was not.
func (b *Book) Bad(payload string) (*Bad, error) {
	s, err := b.read()
	return s.bad(payload), err
}

func (s state) bad(payload string) *Bad {
	for i := range s.Bad {
		if s.Bad[i].Payload == payload {
			return &s.Bad[i]
		}
	}
	return nil
}

// condemn notes that a version did not prove itself; it is not started again.
func (s *state) condemn(p Program, why string, at time.Time) {
	same := func(o *Program) bool { return o != nil && o.Payload == p.Payload && o.SHA256 == p.SHA256 }
	if same(s.Next) {
		s.Next = nil
	}
	if same(s.Past) {
		s.Past = nil
	}
	if same(s.Good) {
		s.Good, s.Past = s.Past, nil
	}
	s.Bad = append(s.Bad, Bad{p.Version, p.Payload, why, at.UTC()})
	s.Bad = s.Bad[max(0, len(s.Bad)-maxBad):]
}

// promote makes the version on probation the good one.
func (s *state) promote(p Program) {
	if s.Next == nil || s.Next.SHA256 != p.SHA256 {
		return
	}
	if s.Good != nil && s.Good.SHA256 != p.SHA256 {
		s.Past = s.Good
	}
	s.Good, s.Next = s.Next, nil
}

// read gives what is remembered. What cannot be read is as good as nothing: the installed program runs then.
func (b *Book) read() (state, error) {
	if _, err := os.Lstat(b.path); errors.Is(err, fs.ErrNotExist) {
		return state{}, nil
	}
	d, err := statedir.Open(b.path)
	if err != nil {
		return state{}, err
	}
	defer d.Close()
	return load(d)
}

func load(d *statedir.Dir) (s state, err error) {
	text, err := d.Read(stateFile, maxState)
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return state{}, fmt.Errorf("read which version of the agent is to run: %w", err)
	}
	return s, nil
}

// update changes what is remembered, durably, and one process after the other.
func (b *Book) update(change func(*state) error) error {
	d, err := statedir.Open(b.path)
	if err != nil {
		return err
	}
	defer d.Close()
	f, err := d.Root().OpenFile(stateLock, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock the launcher's memory: %w", err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock the launcher's memory: %w", err)
	}
	s, err := load(d)
	if err != nil {
		s = state{} // it is of no use, and must not keep what follows from being remembered
	}
	if err := change(&s); err != nil {
		return err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode the launcher's memory: %w", err)
	}
	return d.Write(stateFile, append(text, '\n'))
}

// Newer reports whether version a comes after version b. What cannot be compared does not.
func Newer(a, b string) bool {
	order, err := pkgver.Compare(catalog.Generic, strings.TrimPrefix(a, "v"), strings.TrimPrefix(b, "v"))
	return err == nil && order > 0
}
