package apt

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"assent/lab"
)

// benchRoot has a few hundred packages and as many pending updates as a device that was long off.
func benchRoot(t testing.TB) *realRoot {
	t.Helper()
	r := newRealRoot(t, lab.StandardBase())
	r.refresh(func(a lab.Archive) string {
		return fmt.Sprintf("deb %[1]s bookworm main\ndeb %[1]s bookworm-updates main\ndeb %[2]s bookworm-security main\n", a.Main, a.Security)
	})
	return r
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // fails only for a wrong constant
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkP9_FullScanAgainstAptAndDpkg compares CPU times on one root: a scan after a change against
// "apt list --upgradable" with a warm cache of its own plus "dpkg-query -W". The target is a ratio of at most 0.25.
func BenchmarkP9_FullScanAgainstAptAndDpkg(b *testing.B) {
	r := benchRoot(b)
	r.output("apt", "list", "--upgradable") // builds apt's cache
	tools := toolsCPU(b, r)
	a := r.apt()
	start, n := cpuTime(), 0
	for b.Loop() {
		a.last = nil
		if _, err := a.Scan(context.Background()); err != nil {
			b.Fatal(err)
		}
		n++
	}
	scan := (cpuTime() - start) / time.Duration(n)
	b.ReportMetric(scan.Seconds()*1000, "cpu-ms/scan")
	b.ReportMetric(tools.Seconds()*1000, "cpu-ms/tools")
	b.ReportMetric(float64(scan)/float64(tools), "ratio")
}

// toolsCPU is what the commands cost inside the sandbox, by the shell's own account: the sandbox does not hand its
// children's times on.
func toolsCPU(b *testing.B, r *realRoot) time.Duration {
	b.Helper()
	const rounds = 3
	out := r.output("sh", "-c", "for i in 1 2 3; do apt list --upgradable; dpkg-query -W; done >/dev/null 2>&1; times")
	_, children, _ := strings.Cut(strings.TrimSpace(out), "\n")
	var sum time.Duration
	for word := range strings.FieldsSeq(children) {
		d, err := time.ParseDuration(word)
		if err != nil {
			b.Fatalf("times said %q: %v", out, err)
		}
		sum += d
	}
	return sum / rounds
}

// BenchmarkP10_UnchangedRescan is the scan of a device on which nothing happened: at most 5 ms.
func BenchmarkP10_UnchangedRescan(b *testing.B) {
	a := benchRoot(b).apt()
	if _, err := a.Scan(context.Background()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := a.Scan(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkP10_MemoryKeptAfterScan reports what one scan leaves on the heap.
func BenchmarkP10_MemoryKeptAfterScan(b *testing.B) {
	r := benchRoot(b)
	var before, after, peak runtime.MemStats
	for b.Loop() {
		a := r.apt()
		runtime.GC()
		runtime.ReadMemStats(&before)
		if _, err := a.Scan(context.Background()); err != nil {
			b.Fatal(err)
		}
		runtime.ReadMemStats(&peak)
		debug.FreeOSMemory()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(a)
	}
	b.ReportMetric(float64(after.HeapAlloc)-float64(before.HeapAlloc), "kept-bytes")
	b.ReportMetric(float64(peak.TotalAlloc-before.TotalAlloc), "allocated-bytes")
}
