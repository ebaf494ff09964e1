package store_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"assent/approval"
	"assent/fleet"
	"assent/ledger"
	"assent/ledger/ledgertest"
	"assent/server/internal/store"
	"assent/server/internal/store/storetest"
	"assent/wire"
)

// writerEnv holds the order of a writer process; with it the test binary is that process.
const writerEnv = "ASSENT_STORE_TEST_WRITER"

// order says what a writer process does: append acts with a report each for ever, and tell which were acknowledged.
type order struct {
	Engine, DSN string
	Synchronous string // SQLite's, when not empty: to prove that a test can fail
	Acks        string // file that gets the sequence of each acknowledged act, one a line
}

func TestMain(m *testing.M) {
	if text := os.Getenv(writerEnv); text != "" {
		fmt.Fprintln(os.Stderr, "writer:", write(context.Background(), text))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// write is the writer process. It ends with an error or when it is killed.
func write(ctx context.Context, text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	db, err := store.Open(ctx, store.Config{Engine: o.Engine, DSN: o.DSN})
	if err != nil {
		return err
	}
	if o.Synchronous != "" {
		if err := db.SetSynchronous(ctx, o.Synchronous); err != nil {
			return err
		}
	}
	s, err := db.LoadState(ctx)
	if err != nil {
		return err
	}
	acks, err := os.OpenFile(o.Acks, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	for first := true; ; first = false {
		if !first || s.Seq == 0 {
			if err := writeOne(ctx, db, s); err != nil {
				return err
			}
		}
		// The writer before may have been killed between an act and its report: the report is sent again.
		report := wire.Report{ID: fmt.Sprint("r", s.Seq), Event: "act", Detail: fmt.Sprint(s.Seq)}
		if _, err := db.ApplyReports(ctx, "d", []store.AppliedReport{{Report: report}}); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(acks, s.Seq); err != nil { // one write, so never half a line
			return err
		}
	}
}

// writeOne appends one act, a large one now and then.
func writeOne(ctx context.Context, db *store.DB, s *ledger.State) error {
	var b ledger.Body = ledger.TokenCreate{ID: fmt.Sprint("t", s.Seq), Group: fleet.Root, Expires: ledgertest.Start()}
	if s.Seq%20 == 19 {
		b = storetest.Bulk(200, approval.Approved)
	}
	e, err := ledger.Make(s.Seq+1, ledgertest.Start(), "admin", b)
	if err != nil {
		return err
	}
	if err := s.Apply(e); err != nil {
		return err
	}
	return db.Append(ctx, e, s)
}

// start starts a writer process. It is killed when the test ends, at the latest.
func start(t *testing.T, o order) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), writerEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd
}

// acknowledged is the last sequence in a file of acknowledgements; 0 when there is none.
func acknowledged(t *testing.T, path string) int64 {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var last int64
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		seq, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil || seq < last {
			t.Fatalf("acknowledged %q after %d", lines.Text(), last)
		}
		last = seq
	}
	return last
}

// lost says what of the acts up to acked, and of their reports, the database does not have. The database
// itself must be consistent.
func lost(t *testing.T, db *store.DB, acked int64) (acts, reports int64) {
	t.Helper()
	s := storetest.Consistent(t, db)
	if s.Seq > acked+1 { // each writer first acknowledges what the one before left open
		t.Errorf("the ledger has %d entries, but only %d were acknowledged and one was under way", s.Seq, acked)
	}
	events, err := db.Events(t.Context(), store.EventQuery{Limit: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, e := range events {
		have[e.Detail] = true
	}
	for seq := int64(1); seq <= acked; seq++ {
		if !have[fmt.Sprint(seq)] {
			reports++
		}
	}
	return max(0, acked-s.Seq), reports
}
