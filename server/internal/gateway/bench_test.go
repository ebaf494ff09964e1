package gateway

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"assent/wire"
)

// loadEnv marks the process that makes the load: it is another one, so that the server's CPU time can be
// told from the client's.
const loadEnv = "ASSENT_GATEWAY_LOAD"

// load is what the other process is told: one line of JSON on its standard input.
type load struct {
	Addr     string
	CA       []byte
	Certs    [][]byte // DER, one for each connection
	Keys     [][]byte // PKCS #8
	Path     string
	Body     string // with %d where the sequence goes, once
	Start    int64  // the first sequence
	Duration time.Duration
	Hostile  bool // whatever comes back, it goes on, with a new connection if need be
}

func TestMain(m *testing.M) {
	if os.Getenv(loadEnv) != "" {
		if err := generate(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// generate sends requests on all connections for the time told and prints how many were answered.
func generate(in io.Reader, out io.Writer) error {
	var l load
	if err := json.NewDecoder(in).Decode(&l); err != nil {
		return err
	}
	caCert, err := x509.ParseCertificate(l.CA)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AddCert(caCert)
	var count atomic.Int64
	var failed atomic.Pointer[error]
	var group sync.WaitGroup
	end := time.Now().Add(l.Duration)
	for i := range l.Certs {
		key, err := x509.ParsePKCS8PrivateKey(l.Keys[i])
		if err != nil {
			return err
		}
		conf := &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{{Certificate: [][]byte{l.Certs[i]}, PrivateKey: key}}, Time: func() time.Time { return base }}
		group.Go(func() {
			n, err := hammer(l, conf, end)
			count.Add(n)
			for l.Hostile && time.Now().Before(end) {
				n, err = hammer(l, conf, end)
				count.Add(n)
			}
			if l.Hostile {
				return
			}
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	group.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	_, err = fmt.Fprintln(out, count.Load())
	return err
}

// hammer sends one request after the other on one connection, with as little work of its own as can be.
func hammer(l load, conf *tls.Config, end time.Time) (int64, error) {
	c, err := tls.Dial("tcp", l.Addr, conf)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	r := bufio.NewReader(c)
	var n int64
	for ; time.Now().Before(end); n++ {
		body := strings.Replace(l.Body, "%d", strconv.FormatInt(l.Start+n, 10), 1)
		if _, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: assent\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", l.Path, len(body), body); err != nil {
			return n, err
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return n, err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		if err != nil || resp.StatusCode != 200 && !l.Hostile {
			return n, fmt.Errorf("status %d, %w", resp.StatusCode, err)
		}
	}
	return n, nil
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail with these arguments
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// drive makes the load and returns requests per CPU-second of this process.
func drive(b *testing.B, l load) float64 {
	b.Helper()
	in, err := json.Marshal(l)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), loadEnv+"=1", "GOMAXPROCS=1")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	before := cpu()
	out, err := cmd.Output()
	spent := cpu() - before
	if err != nil {
		b.Fatal(err)
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	if err != nil {
		b.Fatal(err)
	}
	return n / spent.Seconds()
}

// BenchmarkP1 measures steady check-ins over mutual TLS against a bare handler with the same TLS that
// answers 200 bytes to 300 bytes. The two take turns, so that both feel what else the machine does, and the
// median of the turns' ratios counts. Behind the gateway is the simulated world.
func BenchmarkP1(b *testing.B) { steadyLoad(b, newBench(b, Limits{DeviceEvery: 1})) }

// BenchmarkP1Whole is P1 with the real index and the real planner behind the gateway, over SQLite.
func BenchmarkP1Whole(b *testing.B) { steadyLoad(b, newWhole(b)) }

func steadyLoad(b *testing.B, x *bench) {
	const agents, turn = 8, time.Second
	l := load{Addr: x.addr, CA: x.ca.Certificate(), Path: wire.PathCheckIn, Duration: turn}
	var in wire.CheckIn
	for range agents {
		a := x.agent()
		a.docs = map[wire.Kind][]byte{wire.KindFacts: []byte(`{"hostname":"host"}`), wire.KindInventory: []byte(`{"ecosystem":"deb","packages":[]}`),
			wire.KindAvailable: []byte(`{"ecosystem":"deb","updates":[]}`)}
		x.w.plans[a.id] = []byte(`{"format":1}`)
		a.settle()
		key, err := x509.MarshalPKCS8PrivateKey(a.key)
		if err != nil {
			b.Fatal(err)
		}
		l.Certs, l.Keys = append(l.Certs, a.cert.Certificate[0]), append(l.Keys, key)
		in = wire.CheckIn{Capability: 1, BootID: a.boot, Run: a.run, Sequence: 777, Digests: a.digests(), Plan: a.plan, Counter: 1,
			Progress: wire.Progress{LastScan: base, LastRefresh: base, Since: base}}
	}
	l.Body = strings.Replace(string(mustJSON(b, in)), "777", "%d", 1)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	fixed := bytes.Repeat([]byte("x"), 200)
	bare := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(fixed)
	})}
	conf := x.gw.tlsConfig()
	conf.VerifyConnection = nil
	go func() { _ = bare.Serve(tls.NewListener(listener, conf)) }()
	defer bare.Close()
	plain := l
	plain.Addr, plain.Body = listener.Addr().String(), strings.Repeat("x", 300)

	var own, other, ratio []float64
	for b.Loop() {
		l.Start += 10_000_000
		own, other = append(own, drive(b, l)), append(other, drive(b, plain))
		ratio = append(ratio, own[len(own)-1]/other[len(other)-1])
	}
	b.ReportMetric(median(own), "checkins/cpu-s")
	b.ReportMetric(median(other), "bare/cpu-s")
	b.ReportMetric(median(ratio), "ratio")
	b.ReportMetric(float64(len(l.Body)), "body-B")
}

func median(v []float64) float64 { return slices.Sorted(slices.Values(v))[len(v)/2] }
