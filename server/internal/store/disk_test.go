package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"assent/approval"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/index"
	"assent/server/internal/store"
	"assent/server/internal/store/storetest"
	"assent/wire"
)

// The disks of these tests are real ones that are full, broken or read-only: a small tmpfs, and an ext2 file
// system in an image file on such a tmpfs, whose blocks are given out late. Writing to the latter succeeds
// until the kernel is asked to wait for the disk: then fsync fails with EIO, once, and forgets.

// small mounts a file system of this size that can be filled.
func small(t *testing.T, size string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	command(t, "mount", "-t", "tmpfs", "-o", "mode=700,size="+size, "tmpfs", path)
	t.Cleanup(func() { command(t, "umount", "--lazy", path) })
	return path
}

// fill takes all room in a directory's file system until free is called.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	for size := 64 << 10; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	return func() {
		if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

// memory is a server's memory on a database.
type memory struct {
	t   *testing.T
	db  *store.DB
	cfg store.Config
	log *journal
	x   *index.Index
}

func remember(t *testing.T, cfg store.Config) *memory {
	t.Helper()
	m := &memory{t: t, cfg: cfg, log: &journal{}}
	m.cfg.Log = m.log.logger()
	var err error
	if m.db, err = store.Open(t.Context(), m.cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.db.Close() }) // on a disk that may be gone
	if m.x, err = index.Open(t.Context(), m.db, index.Config{}); err != nil {
		t.Fatal(err)
	}
	return m
}

// group makes one act.
func (m *memory) group(name string) error {
	_, err := m.x.Act(m.t.Context(), "admin", func(*index.View) (ledger.Body, error) {
		return ledger.GroupCreate{Group: fleet.Group{ID: fleet.GroupID("g-" + name), Name: name, Parent: fleet.Root}}, nil
	})
	return err
}

// bulk makes one act that is larger than what may be left of a disk.
func (m *memory) bulk() error {
	_, err := m.x.Act(m.t.Context(), "admin", func(*index.View) (ledger.Body, error) { return storetest.Bulk(5000, approval.Approved), nil })
	return err
}

// agrees demands that the memory is exactly what is in the database, and that the ledger's hashes hold.
func (m *memory) agrees() {
	m.t.Helper()
	stored := storetest.Consistent(m.t, m.db)
	m.x.View(func(v *index.View) {
		if got := v.State(); got.Seq != stored.Seq || len(got.Groups) != len(stored.Groups) || len(got.Decisions) != len(stored.Decisions) {
			m.t.Errorf("the memory has %d acts, %d groups, %d decisions, the database %d, %d, %d", got.Seq, len(got.Groups), len(got.Decisions),
				stored.Seq, len(stored.Groups), len(stored.Decisions))
		}
	})
}

// has demands that the database has these groups, which were acknowledged, and no other.
func (m *memory) has(acknowledged []string) {
	m.t.Helper()
	stored := storetest.Consistent(m.t, m.db)
	for _, name := range acknowledged {
		if _, ok := stored.Groups[fleet.GroupID("g-"+name)]; !ok {
			m.t.Errorf("%s was acknowledged and is lost", name)
		}
	}
	if len(stored.Groups) != len(acknowledged)+len(ledger.NewState().Groups) {
		m.t.Errorf("%d groups, want the %d that were acknowledged", len(stored.Groups), len(acknowledged))
	}
}

// knows reports whether a group is there.
func (m *memory) knows(name string) (ok bool) {
	m.x.View(func(v *index.View) { _, ok = v.State().Groups[fleet.GroupID("g-"+name)] })
	return ok
}

// untilRefused makes acts until one is refused, and returns the names of those that were not.
func (m *memory) untilRefused(prefix string) (acknowledged []string, err error) {
	m.t.Helper()
	for i := range 5000 {
		name := fmt.Sprint(prefix, i)
		if err := m.group(name); err != nil {
			return acknowledged, err
		}
		acknowledged = append(acknowledged, name)
	}
	m.t.Fatal("5000 acts went onto a disk that has no room")
	return nil, nil
}

// refused demands a refusal that people and programs understand.
func refused(t *testing.T, err error, code string, words ...string) {
	t.Helper()
	f := fault.From(err)
	if !errors.Is(err, fault.Unavailable) || f.Code != code {
		t.Fatalf("refused with %v, want %s", err, code)
	}
	for _, w := range words {
		if !strings.Contains(f.Message, w) {
			t.Errorf("the message does not say %q: %s", w, f.Message)
		}
	}
}

func TestN49_AFullDiskRefusesActsWholeAndTheServerGoesOnWhenThereIsRoom(t *testing.T) {
	dir := small(t, "8m")
	m := remember(t, store.Config{DSN: filepath.Join(dir, "assent.db")})
	acknowledged := []string{"before"}
	if err := m.group("before"); err != nil {
		t.Fatal(err)
	}
	free := fill(t, dir)
	refused(t, m.bulk(), "storage_full", "free space", "Nothing was changed")
	m.agrees()
	more, err := m.untilRefused("full") // SQLite may still have room in the blocks that it has
	acknowledged = append(acknowledged, more...)
	refused(t, err, "storage_full", "free space", "Nothing was changed")
	m.agrees()

	// What devices send is refused as well, and they send it again; what is in memory can be read.
	row := store.AppliedReport{Report: wire.Report{ID: "r", Event: "e", Detail: strings.Repeat("x", 1<<20)}}
	_, err = m.db.ApplyReports(t.Context(), "d", []store.AppliedReport{row})
	refused(t, err, "storage_full")
	refused(t, m.db.PutDocument(t.Context(), wire.KindFacts, strings.Repeat("0", 64), []byte(noise(1<<20))), "storage_full")
	if err := m.db.Ping(t.Context()); err != nil {
		t.Errorf("a full disk cannot be read: %v", err)
	}

	free()
	for _, name := range []string{"after", "much later"} {
		if err := m.group(name); err != nil {
			t.Fatalf("the disk has room again: %v", err)
		}
		acknowledged = append(acknowledged, name)
	}
	if err := m.bulk(); err != nil {
		t.Fatalf("the disk has room again: %v", err)
	}
	m.agrees()
	m.has(acknowledged)
	if fresh, err := m.db.ApplyReports(t.Context(), "d", []store.AppliedReport{row}); err != nil || len(fresh) != 1 {
		t.Errorf("the report of before was not taken: %v, %v", fresh, err)
	}
	m.log.says(t, "refuses to work", "storage_full")
	m.log.says(t, "works again", "storage_full")
	again := remember(t, m.cfg) // as after a restart
	again.agrees()
	again.has(acknowledged)
}

func TestN49_AFailedFsyncIsNoAcknowledgement(t *testing.T) {
	under := small(t, "24m")
	image, dir := filepath.Join(under, "image"), filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 64<<20); err != nil { // more than there is room for
		t.Fatal(err)
	}
	command(t, "mkfs.ext2", "-q", "-F", "-m", "0", image)
	mount(t, image, dir)
	cfg := store.Config{DSN: filepath.Join(dir, "assent.db")}
	m := remember(t, cfg)
	acknowledged := []string{"before"}
	if err := m.group("before"); err != nil {
		t.Fatal(err)
	}
	free := fill(t, under)
	more, err := m.untilRefused("broken")
	acknowledged = append(acknowledged, more...)
	refused(t, err, "storage_uncertain", "open whether", "ledger")
	m.agrees()
	free()
	if err := m.group("after"); err != nil {
		t.Fatalf("the disk works again: %v", err)
	}
	m.agrees()
	m.has(append(acknowledged, "after"))
	m.log.says(t, "refuses to work", "storage_uncertain")
	m.log.says(t, "works again")
}

func TestN49_ADiskThatTurnsReadOnlyIsNamedInOperation(t *testing.T) {
	dir := emptyDisk(t, 32<<20).mount
	m := remember(t, store.Config{DSN: filepath.Join(dir, "assent.db")})
	if err := m.group("before"); err != nil {
		t.Fatal(err)
	}
	command(t, "mount", "-o", "remount,abort", dir) // what ext4 does by itself when its disk fails
	more, err := m.untilRefused("then")
	refused(t, err, "storage_read_only", "writable", "Nothing was changed")
	m.agrees()
	m.has(append(more, "before"))
}

func TestN49_AFullOrReadOnlyDiskIsNamedAtTheStart(t *testing.T) {
	for code, spoil := range map[string]func(t *testing.T, dir string){
		"storage_full":      func(t *testing.T, dir string) { fill(t, dir) },
		"storage_read_only": func(t *testing.T, dir string) { command(t, "mount", "-o", "remount,ro", dir) },
	} {
		for _, when := range []string{"the first start", "a later start"} {
			t.Run(code+" at "+when, func(t *testing.T) {
				dir := small(t, "8m")
				cfg := store.Config{DSN: filepath.Join(dir, "assent.db")}
				if when == "a later start" {
					m := remember(t, cfg)
					if err := errors.Join(m.group("before"), m.db.Close()); err != nil {
						t.Fatal(err)
					}
				}
				spoil(t, dir)
				db, err := store.Open(t.Context(), cfg)
				if err == nil {
					db.Close()
					t.Fatal("it was opened")
				}
				refused(t, err, code, "try again")
			})
		}
	}
}

func TestADatabaseThatDoesNotAnswerIsNotWaitedForForEver(t *testing.T) {
	cfg := store.Config{DSN: filepath.Join(t.TempDir(), "assent.db")}
	m := remember(t, cfg)
	hold := make(chan struct{})
	var holding sync.WaitGroup
	defer holding.Wait()
	defer close(hold)
	held := make(chan struct{})
	other := remember(t, store.Config{DSN: cfg.DSN})
	holding.Go(func() {
		_ = other.db.Hold(context.Background(), held, hold)
	})
	<-held
	m.db.SetPatience(100 * time.Millisecond) // not from the start: the machine may be busy
	refused(t, m.group("late"), "storage_unavailable", "Nothing was changed")
}

func noise(n int) string {
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return string(b)
}
