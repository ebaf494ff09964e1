// Package journal is the agent's durable memory of what it is doing to the device.
//
// Every step is written and fsynced before it is taken (N46): which transaction is about to start, in
// which state each update is, how often it was tried, and every report that the server has not yet
// confirmed. After a kill or a power cut Open gives back exactly the state of the last record whose
// Write returned nil; a half written record is cut off. A Write that returns an error changed nothing:
// the caller must not take the step. Transitions outside the table of V1 are refused.
//
// The package decides nothing and talks to nobody.
package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"assent/agent/internal/statedir"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

const (
	file = "journal"
	// compactAt is the length in bytes from which the journal is rewritten as one record.
	compactAt = 1 << 20
	// maxFile bounds what Open reads.
	maxFile = 256 << 20
	// maxOutbox bounds unconfirmed reports; the oldest events give way first.
	maxOutbox = 20_000
)

// Entry is where one update stands on this device.
type Entry struct {
	State  installation.State `json:"state"`
	Cause  installation.Cause `json:"cause,omitempty"`
	Detail string             `json:"detail,omitempty"`
	Needs  []string           `json:"needs,omitempty"`
	Since  time.Time          `json:"since"`
	Try    Try                `json:"try,omitzero"`
}

// Try counts attempts at an update under one plan. It bounds what would otherwise loop.
type Try struct {
	Plan  string    `json:"plan"` // digest of the plan, or the act of a rollback or removal: another one starts anew
	Count int       `json:"count"`
	Next  time.Time `json:"next,omitzero"`  // not before then
	Act   int64     `json:"act,omitempty"`  // the act of the rollback or removal that was carried out
	Boot  string    `json:"boot,omitempty"` // the boot in which it was installed, while a restart is due
	// Ready is set once its files were fetched and it waits for its window.
	Ready bool      `json:"ready,omitempty"`
	Opens time.Time `json:"opens,omitzero"`  // when that opens, as far as is known
	Short bool      `json:"short,omitempty"` // the window that was open was too short for it: nothing before Opens is tried
}

// Flight is the one transaction that may be in the air.
type Flight struct {
	ID       string        `json:"id"`
	Plan     string        `json:"plan"`    // digest of the plan it acts on
	Counter  int64         `json:"counter"` // of that plan's statement
	Rollback bool          `json:"rollback,omitempty"`
	Removal  bool          `json:"removal,omitempty"`
	Started  time.Time     `json:"started"`
	Parts    []Part        `json:"parts"`
	Changes  []wire.Change `json:"changes"` // what the package manager said it would do
	Restart  []string      `json:"restart"` // what asked for a restart before
}

// Part is one update of a flight.
type Part struct {
	Update  catalog.UpdateID `json:"update"`
	Release catalog.Release  `json:"release,omitzero"` // of an install
	Act     int64            `json:"act,omitempty"`    // of a rollback or removal
	// Cause is why it is taken back, where no person ordered that; reports of it carry it on.
	Cause  installation.Cause `json:"cause,omitempty"`
	Items  []catalog.Item     `json:"items"`
	Extras []catalog.Item     `json:"extras,omitempty"`
	Probe  *catalog.Probe     `json:"probe,omitempty"`  // has to pass before it counts as installed
	Probes []catalog.Probe    `json:"probes,omitempty"` // and each of these
	// Retries is how often and when it is tried again; the zero value leaves it to the agent.
	Retries wire.PlanRetries `json:"retries,omitzero"`
}

// State is everything the journal holds.
type State struct {
	Updates map[catalog.UpdateID]Entry `json:"updates"`
	Flight  *Flight                    `json:"flight,omitempty"`
	Outbox  []wire.Report              `json:"outbox,omitempty"` // in the order they happened
	Restart *Restart                   `json:"restart,omitempty"`
	Runs    *Runs                      `json:"runs,omitempty"`
}

// Record is one durable change. All its parts become true together.
type Record struct {
	Reports []wire.Report            `json:"reports,omitempty"` // happened: into the outbox and, with a State, into Updates
	Tries   map[catalog.UpdateID]Try `json:"tries,omitempty"`
	Flight  *Flight                  `json:"flight,omitempty"`  // is about to start
	Landed  string                   `json:"landed,omitempty"`  // id of the flight that is over
	Applied []string                 `json:"applied,omitempty"` // reports that the server made durable
	Forget  []catalog.UpdateID       `json:"forget,omitempty"`  // updates that need no memory any more
	Restart *Restart                 `json:"restart,omitempty"` // replaces what is remembered of restarts
	Runs    *Runs                    `json:"runs,omitempty"`    // replaces what is remembered of windows
	Whole   *State                   `json:"whole,omitempty"`   // replaces everything: the compacted journal
}

// ErrFlight says that a transaction is already in the air.
var ErrFlight = errors.New("a transaction is already in the air")

// Journal is the open journal. It is safe for concurrent use.
type Journal struct {
	dir *statedir.Dir

	mu     sync.Mutex
	f      *os.File
	size   int64
	least  int64 // below this size compacting is never worth it
	limit  int64 // the size from which it is worth a try
	broken bool  // a write failed half way: the file's end is not known to be good
	state  State
}

// Open reads the journal in dir, or starts one.
func Open(dir *statedir.Dir) (*Journal, error) {
	j := &Journal{dir: dir, least: firstLimit(), limit: firstLimit()}
	state, good, err := load(dir)
	if err != nil {
		return nil, err
	}
	j.state = state
	if j.f, err = dir.Root().OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	if err := j.cut(good); err != nil {
		j.broken = true // the disk may be full or read-only: Write will try again
	}
	return j, nil
}

// Read returns the state of the journal in dir without opening it for writing.
func Read(dir *statedir.Dir) (State, error) {
	s, _, err := load(dir)
	return s, err
}

// load replays the journal and says how many bytes of it are good.
func load(dir *statedir.Dir) (State, int64, error) {
	state := State{Updates: map[catalog.UpdateID]Entry{}}
	b, err := dir.Read(file, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return state, 0, nil
	}
	if err != nil {
		return state, 0, err
	}
	good := int64(0)
	for len(b) > 0 {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		rec, ok := decode(line)
		if !whole || !ok {
			break
		}
		state = apply(state, rec)
		good, b = good+int64(len(line))+1, rest
	}
	return state, good, nil
}

func encode(rec Record) ([]byte, error) {
	body, err := json.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("encode journal record: %w", err)
	}
	return fmt.Appendf(nil, "%08x %s\n", crc32.ChecksumIEEE(body), body), nil
}

func decode(line []byte) (Record, bool) {
	var rec Record
	sum, body, ok := bytes.Cut(line, []byte(" "))
	if !ok || string(sum) != fmt.Sprintf("%08x", crc32.ChecksumIEEE(body)) {
		return rec, false
	}
	return rec, json.Unmarshal(body, &rec) == nil
}

// cut makes the file end at its last good record.
func (j *Journal) cut(good int64) error {
	if err := j.f.Truncate(good); err != nil {
		return fmt.Errorf("cut journal: %w", err)
	}
	if err := j.f.Sync(); err != nil {
		return fmt.Errorf("sync journal: %w", err)
	}
	j.size = good
	return nil
}

// Write makes rec durable and then true. On an error nothing changed and the step must not be taken.
func (j *Journal) Write(rec Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := check(j.state, rec); err != nil {
		return err
	}
	line, err := encode(rec)
	if err != nil {
		return err
	}
	if j.broken || j.size+int64(len(line)) > j.limit {
		if err := j.compact(); err != nil && j.broken {
			return err
		}
	}
	if err := j.append(line); err != nil {
		return err
	}
	j.state = apply(j.state, rec)
	CrashPoint(RecordWritten)
	return nil
}

// append adds one line and waits until it is on disk. What a failed write left is cut off again.
func (j *Journal) append(line []byte) error {
	CrashPointAfter(RecordTorn, func() { _, _ = j.f.WriteAt(line[:len(line)/2], j.size) })
	_, err := j.f.WriteAt(line, j.size)
	if err == nil {
		err = j.f.Sync()
	}
	if err != nil {
		j.broken = true // after a failed fsync nothing is known of the file: start a new one before the next record
		return errors.Join(fmt.Errorf("write journal: %w", err), j.f.Truncate(j.size))
	}
	j.size += int64(len(line))
	return nil
}

// compact replaces the file by one record with the whole state.
func (j *Journal) compact() error {
	line, err := encode(Record{Whole: &j.state})
	if err != nil {
		return err
	}
	if !j.broken && int64(len(line)) > j.size/2 {
		j.limit = j.size + j.size/2 // it is long because there is much to remember
		return nil
	}
	CrashPoint(Compacting)
	if err := j.dir.Write(file, line); err != nil {
		j.broken = j.broken || !j.named() // it may fail after the new file got its name
		return fmt.Errorf("compact journal: %w", err)
	}
	f, err := j.dir.Root().OpenFile(file, os.O_RDWR, 0o600)
	if err != nil {
		j.broken = true // the open file is not the named one any more
		return fmt.Errorf("reopen journal: %w", err)
	}
	j.f.Close()
	j.f, j.size, j.broken = f, int64(len(line)), false
	j.limit = max(j.least, 2*j.size)
	return nil
}

// named reports whether the open file is still the one that the next Open will find.
func (j *Journal) named() bool {
	is, err1 := j.f.Stat()
	will, err2 := j.dir.Root().Stat(file)
	return err1 == nil && err2 == nil && os.SameFile(is, will)
}

// check refuses a record that would break a promise.
func check(s State, rec Record) error {
	if rec.Flight != nil && s.Flight != nil && rec.Landed != s.Flight.ID {
		return fmt.Errorf("file transaction %s: %w: %s", rec.Flight.ID, ErrFlight, s.Flight.ID)
	}
	now := map[catalog.UpdateID]installation.State{}
	for _, r := range rec.Reports {
		if r.State == "" {
			continue
		}
		from, seen := now[r.Update]
		if !seen {
			from = s.Updates[r.Update].State
		}
		if err := installation.Check(from, r.State); err != nil {
			return fmt.Errorf("update %s: %w", r.Update, err)
		}
		now[r.Update] = r.State
	}
	return nil
}

// apply is the one meaning of a record, for writing and for reading back.
func apply(s State, rec Record) State {
	if rec.Whole != nil {
		s = *rec.Whole
		if s.Updates == nil {
			s.Updates = map[catalog.UpdateID]Entry{}
		}
	}
	for _, r := range rec.Reports {
		s.Outbox = append(s.Outbox, r)
		if r.State == "" {
			continue
		}
		e := s.Updates[r.Update]
		if e.State != r.State {
			e.Since = r.At
		}
		e.State, e.Cause, e.Detail, e.Needs = r.State, r.Cause, r.Detail, r.Needs
		s.Updates[r.Update] = e
	}
	for id, try := range rec.Tries {
		e := s.Updates[id]
		e.Try = try
		s.Updates[id] = e
	}
	if s.Flight != nil && rec.Landed == s.Flight.ID {
		s.Flight = nil
	}
	if rec.Flight != nil {
		s.Flight = rec.Flight
	}
	for _, id := range rec.Forget {
		delete(s.Updates, id)
	}
	if rec.Restart != nil {
		s.Restart = rec.Restart
	}
	if rec.Runs != nil {
		s.Runs = rec.Runs
	}
	s.Outbox = trim(s.Outbox, rec.Applied)
	return s
}

// trim drops what the server has and, far beyond any honest load, the oldest events and then the oldest reports.
func trim(outbox []wire.Report, applied []string) []wire.Report {
	if len(applied) > 0 {
		gone := make(map[string]bool, len(applied))
		for _, id := range applied {
			gone[id] = true
		}
		outbox = slices.DeleteFunc(slices.Clone(outbox), func(r wire.Report) bool { return gone[r.ID] })
	}
	over := len(outbox) - maxOutbox
	if over > 0 {
		outbox = slices.DeleteFunc(slices.Clone(outbox), func(r wire.Report) bool {
			drop := over > 0 && r.State == ""
			if drop {
				over--
			}
			return drop
		})
		outbox = outbox[max(0, len(outbox)-maxOutbox):]
	}
	return outbox
}

// Entry returns where an update stands; the zero Entry if nothing is known of it.
func (j *Journal) Entry(id catalog.UpdateID) Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state.Updates[id]
}

// Updates returns where all updates stand.
func (j *Journal) Updates() map[catalog.UpdateID]Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return maps.Clone(j.state.Updates)
}

// Flight returns the transaction in the air, or nil.
func (j *Journal) Flight() *Flight {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state.Flight
}

// maxBatch is how many reports Outbox returns at most: the server takes 1000 in one message.
const maxBatch = 500

// Outbox returns the oldest unconfirmed reports, as many as fit into limit encoded bytes but at least one.
func (j *Journal) Outbox(limit int) []wire.Report {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []wire.Report
	for _, r := range j.state.Outbox[:min(len(j.state.Outbox), maxBatch)] {
		b, err := json.Marshal(r)
		if limit -= len(b); err == nil && limit < 0 && len(out) > 0 {
			break
		}
		out = append(out, r)
	}
	return out
}

// Reported says whether a report with this id waits in the outbox.
func (j *Journal) Reported(id string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.ContainsFunc(j.state.Outbox, func(r wire.Report) bool { return r.ID == id })
}

// Close releases the file.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.f.Close()
}
