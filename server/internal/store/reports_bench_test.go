package store_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"assent/catalog"
	"assent/fleet"
	"assent/installation"
	"assent/server/internal/store"
	"assent/server/pgtest"
	"assent/wire"
)

// BenchmarkReports measures reports that many devices make at once, one in a call, durable when it returns. The figure to
// compare is cpu-µs/report: of this process, so on PostgreSQL without what the database does.
func BenchmarkReports(b *testing.B) {
	b.Run("SQLite", func(b *testing.B) { benchmarkReports(b, sqliteConfig(b)) })
	b.Run("Postgres", func(b *testing.B) {
		server, err := pgtest.Start(pgtest.Config{Durable: true})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { server.Stop() })
		benchmarkReports(b, store.Config{Engine: store.Postgres, DSN: server.Database(b)})
	})
}

// reporters is how many devices of the benchmark report at once.
const reporters = 1000

func benchmarkReports(b *testing.B, cfg store.Config) {
	db, err := store.Open(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	var next atomic.Int64
	var group sync.WaitGroup
	b.ResetTimer()
	before := cpuTime(b)
	for i := range reporters {
		device := fleet.DeviceID(fmt.Sprintf("01981d4b-7c00-7000-8000-%012d", i))
		group.Go(func() {
			for n := int64(0); next.Add(1) <= int64(b.N); n++ {
				if _, err := db.ApplyReports(b.Context(), device, []store.AppliedReport{downloading(device, n)}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/report")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reports/s")
}

// downloading is a device's report number n, as an agent makes it.
func downloading(device fleet.DeviceID, n int64) store.AppliedReport {
	at := time.Unix(1_790_000_000+n, 0).UTC()
	update := catalog.UpdateID("deb:libexample:1.2.3-4+deb12u5:3f786850e387550fdab836ed7e6dc881de23001b")
	report := wire.Report{ID: fmt.Sprintf("%s-%d", device[24:], n), At: at, Update: update, State: installation.Downloading}
	return store.AppliedReport{Report: report, Row: &store.InstallRow{Device: device, Update: update, State: report.State, Since: at, Deadline: at.Add(time.Hour), Version: n}}
}

// cpuTime is what this process used of the processors.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
