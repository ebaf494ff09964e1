package server

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"assent/wire"
)

// soakEnv makes the soak longer, such as 1h: `make soak`.
const soakEnv = "ASSENT_SOAK"

// sample is what the process takes at a moment, both ends of all connections.
type sample struct{ heap, rss, goroutines, files, database float64 }

// take measures.
func take(t *testing.T, l *live) sample {
	t.Helper()
	runtime.GC()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return sample{float64(heap()), kb * 1024, float64(runtime.NumGoroutine()), float64(len(files)), l.metric("assent_database_bytes")}
}

// middle is the median of a figure.
func middle(all []sample, figure func(sample) float64) float64 {
	var v []float64
	for _, s := range all {
		v = append(v, figure(s))
	}
	return slices.Sorted(slices.Values(v))[len(v)/2]
}

// TestSoak_MemoryFilesAndDatabaseStayFlatAndNoReportIsLost lets devices come and go, report, and be forgotten by the retention,
// and compares the second third of the time with the last. Medians and generous bounds: what leaks goes through any of them in an hour.
func TestSoak_MemoryFilesAndDatabaseStayFlatAndNoReportIsLost(t *testing.T) {
	duration, devices := 45*time.Second, 60
	if text := os.Getenv(soakEnv); text != "" {
		var err error
		if duration, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
		devices = 500
	}
	data := t.TempDir()
	l := start(t, data, func(c *Config) { c.pruneEvery, c.keepReports = time.Second, 5*time.Second })
	s := newSwarm(l, l.admin(), devices)
	ctx, cancel := context.WithTimeout(t.Context(), duration)
	defer cancel()
	var group sync.WaitGroup
	var sent atomic.Int64
	for i, d := range s.devices {
		group.Go(func() { s.live(ctx, t, i, d, &sent) })
	}
	var samples []sample
	every := time.NewTicker(duration / 30)
	defer every.Stop()
	for done := false; !done; {
		select {
		case <-every.C:
			samples = append(samples, take(t, l))
		case <-ctx.Done():
			done = true
		}
	}
	group.Wait()
	if len(samples) < 12 {
		t.Fatalf("%d samples only", len(samples))
	}
	second, last := samples[len(samples)/3:2*len(samples)/3], samples[2*len(samples)/3:]
	for _, f := range []struct {
		name   string
		figure func(sample) float64
		slack  float64
	}{
		{"live heap", func(s sample) float64 { return s.heap }, 8 << 20},
		{"resident memory", func(s sample) float64 { return s.rss }, 32 << 20},
		{"goroutines", func(s sample) float64 { return s.goroutines }, 40},
		{"open files", func(s sample) float64 { return s.files }, 40},
		{"database", func(s sample) float64 { return s.database }, 2 << 20},
	} {
		before, after := middle(second, f.figure), middle(last, f.figure)
		t.Logf("%s: %.0f in the second third, %.0f in the last", f.name, before, after)
		if after > 1.2*before+f.slack {
			t.Errorf("%s grows: %.0f, then %.0f", f.name, before, after)
		}
	}
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(data, "assent.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var rows, forgotten int64 // ids have no gaps: those below the first one that is there were forgotten
	if err := db.QueryRow(`SELECT count(*), coalesce(min(id), 1) - 1 FROM reports`).Scan(&rows, &forgotten); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d reports sent, %d there, %d forgotten", sent.Load(), rows, forgotten)
	if rows+forgotten != sent.Load() || forgotten == 0 {
		t.Errorf("%d reports were sent; %d are there and %d were forgotten", sent.Load(), rows, forgotten)
	}
}

// live is a device's life: it checks in, waits a little, reports, and now and then loses its connection.
func (s *swarm) live(ctx context.Context, t *testing.T, i int, d *drone, sent *atomic.Int64) {
	defer d.http.CloseIdleConnections()
	for n := 0; ctx.Err() == nil; n++ {
		if rand.IntN(5) == 0 {
			d.http.CloseIdleConnections()
		}
		if _, err := s.checkIn(context.WithoutCancel(ctx), d, rand.IntN(2)); err != nil {
			t.Errorf("check in: %v", err)
			return
		}
		d.mail = []wire.Report{{ID: fmt.Sprint(i, "-", n), Event: "e", At: time.Now(), Detail: strings.Repeat("x", 500)}}
		if err := s.post(context.WithoutCancel(ctx), d); err != nil {
			t.Errorf("report: %v", err)
			return
		}
		sent.Add(1)
		pause := time.NewTimer(rand.N(200 * time.Millisecond))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}
