// Package bare is the least that a server for devices could be: net/http with mutual TLS 1.3 and handlers that do
// nothing. Measurements of assentd stand beside it. It runs in a process of its own, as assentd does, on loopback only.
package bare

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Env marks the process that is to be the server. Its value is the CA of client certificates, PEM or DER in hex.
const Env = "ASSENT_BENCH_BARE"

// Server is a running one.
type Server struct {
	Addr    string         // for clients
	Roots   *x509.CertPool // its certificate
	PID     int
	control string
	cmd     *exec.Cmd
}

// address is what the process says of itself, one line of JSON.
type address struct {
	Addr, Control string
	Cert          []byte
}

// Start starts one, from the program that is running: its main must call Main when Env is set.
func Start(ctx context.Context, clients []byte) (*Server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self) // it ends with Stop
	cmd.Env = append(os.Environ(), Env+"="+fmt.Sprintf("%x", clients))
	cmd.Stderr, cmd.SysProcAttr = os.Stderr, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start a bare server: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a bare server: %w", err)
	}
	s := &Server{PID: cmd.Process.Pid, cmd: cmd, Roots: x509.NewCertPool()}
	var at address
	text, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(text, &at)
	}
	if err != nil {
		s.Stop()
		return nil, fmt.Errorf("start a bare server: %w", err)
	}
	cert, err := x509.ParseCertificate(at.Cert)
	if err != nil {
		s.Stop()
		return nil, fmt.Errorf("start a bare server: %w", err)
	}
	s.Roots.AddCert(cert)
	s.Addr, s.control = at.Addr, "http://"+at.Control
	return s, ctx.Err()
}

// Stop ends it.
func (s *Server) Stop() {
	_ = s.cmd.Process.Kill() // it may have ended
	_ = s.cmd.Wait()         // it was killed
}

// ask asks the process itself.
func (s *Server) ask(ctx context.Context, path string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.control+path, nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("ask the bare server: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
}

// Fire has all parked requests answered with a fixed message of so many bytes.
func (s *Server) Fire(ctx context.Context, size int) error {
	_, err := s.ask(ctx, "/fire?size="+strconv.Itoa(size))
	return err
}

// Parked is how many requests wait.
func (s *Server) Parked(ctx context.Context) (int64, error) { return s.ask(ctx, "/parked") }

// Memory is what heap and stacks take after looking for garbage, in bytes.
func (s *Server) Memory(ctx context.Context) (int64, error) { return s.ask(ctx, "/memory") }

// handlers are what the process serves.
type handlers struct {
	mu     sync.Mutex
	fire   chan struct{}
	size   int
	parked atomic.Int64
	fixed  []byte
}

// Main is the process. It serves until it is killed.
func Main() error {
	var clients []byte
	if _, err := fmt.Sscanf(os.Getenv(Env), "%x", &clients); err != nil {
		return fmt.Errorf("read the CA of clients: %w", err)
	}
	conf, cert, err := config(clients)
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	control, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	h := &handlers{fire: make(chan struct{}), fixed: bytes.Repeat([]byte("x"), 1<<16)}
	if err := json.NewEncoder(os.Stdout).Encode(address{l.Addr().String(), control.Addr().String(), cert}); err != nil {
		return err
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	srv := &http.Server{Handler: h.clients(), Protocols: protocols, ReadHeaderTimeout: time.Minute}
	go func() { _ = (&http.Server{Handler: h.control(), ReadHeaderTimeout: time.Minute}).Serve(control) }() // it ends with the process
	return srv.Serve(tls.NewListener(l, conf))
}

// config is mutual TLS 1.3 with a certificate that signs itself.
func config(clients []byte) (*tls.Config, []byte, error) {
	ca, err := x509.ParseCertificate(clients)
	if err != nil {
		return nil, nil, fmt.Errorf("read the CA of clients: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, der, nil
}

func (h *handlers) clients() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the client may be gone
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(h.fixed[:200])
	})
	mux.HandleFunc("POST /park", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the client may be gone
		h.mu.Lock()
		fire := h.fire
		h.mu.Unlock()
		h.parked.Add(1)
		select {
		case <-fire:
		case <-r.Context().Done():
		}
		h.parked.Add(-1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(h.fixed[:h.size]) // written before the channel was closed
	})
	return mux
}

func (h *handlers) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /fire", func(w http.ResponseWriter, r *http.Request) {
		size, err := strconv.Atoi(r.FormValue("size"))
		if err != nil || size < 0 || size > len(h.fixed) {
			http.Error(w, "size", http.StatusBadRequest)
			return
		}
		h.mu.Lock()
		h.size = size
		close(h.fire)
		h.fire = make(chan struct{})
		h.mu.Unlock()
		fmt.Fprintln(w, 1)
	})
	mux.HandleFunc("GET /parked", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, h.parked.Load()) })
	mux.HandleFunc("GET /memory", func(w http.ResponseWriter, _ *http.Request) {
		debug.FreeOSMemory()
		runtime.GC() // stacks shrink with it
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Fprintln(w, m.HeapInuse+m.StackInuse)
	})
	return mux
}
