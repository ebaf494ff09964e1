// Package s3test runs a throw-away S3 server for tests: versitygw, which keeps objects as files of a directory. It is built
// from the tools module tools/s3, so no program that is shipped knows it.
//
// Guarantees: the server dies with the test process, and leaves nothing behind after Stop. It knows nothing of what is
// kept in it.
package s3test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// The keys of the server.
const (
	AccessKey = "assent-test"
	SecretKey = "a-secret-of-tests-only" //nolint:gosec // it opens nothing else
)

// Config says what kind of server to start. The zero value is one on loopback, without TLS.
type Config struct {
	Address string // host:port; by default a free port on loopback
	TLS     bool
	// Command makes the command that starts the server, and Dial reaches it, where that is to be in another network.
	Command func(ctx context.Context, program string, args ...string) *exec.Cmd
	Dial    func(ctx context.Context, address string) (net.Conn, error)
}

// Server is an S3 server.
type Server struct {
	URL    string
	CAFile string // of the certificate, with TLS

	cfg     Config
	program string
	dir     string
	cmd     *exec.Cmd
	done    chan struct{} // closed when the server has ended
	log     *bytes.Buffer // read it only once done is closed
}

// Start starts a server without buckets.
func Start(cfg Config) (_ *Server, err error) {
	if cfg.Command == nil {
		cfg.Command = exec.CommandContext
	}
	if cfg.Dial == nil {
		cfg.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		}
	}
	s := &Server{cfg: cfg}
	if s.program, err = build(); err != nil {
		return nil, err
	}
	if s.cfg.Address == "" {
		if s.cfg.Address, err = freePort(); err != nil {
			return nil, err
		}
	}
	if s.dir, err = os.MkdirTemp("", "assent-s3"); err != nil {
		return nil, fmt.Errorf("start the S3 server: %w", err)
	}
	s.URL = "http://" + s.cfg.Address
	if cfg.TLS {
		s.URL, s.CAFile = "https://"+s.cfg.Address, filepath.Join(s.dir, "cert.pem")
		err = certify(s.CAFile, filepath.Join(s.dir, "key.pem"))
	}
	if err == nil {
		err = errors.Join(os.Mkdir(filepath.Join(s.dir, "data"), 0o755), os.WriteFile(filepath.Join(s.dir, "credentials"),
			fmt.Appendf(nil, "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", AccessKey, SecretKey), 0o600))
	}
	if err == nil {
		err = s.Resume()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	return s, nil
}

// build builds the server's program, which the build cache keeps, and says where it is.
func build() (string, error) {
	root, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	cmd := exec.Command("go", "tool", "-modfile=tools/s3/go.mod", "-n", "versitygw")
	cmd.Dir = filepath.Dir(strings.TrimSpace(string(root)))
	cmd.Env = append(os.Environ(), "GOFLAGS=", "CGO_ENABLED=0") // a mutant of ours is no part of it
	var problem bytes.Buffer
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build the S3 server: %w: %s", err, problem.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// certify makes a certificate for loopback that signs itself.
func certify(cert, key string) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &private.PublicKey, private)
	if err != nil {
		return err
	}
	b, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b}), 0o600))
}

// Resume starts the server again after Kill, and returns when it answers.
func (s *Server) Resume() error {
	args := []string{"--port", s.cfg.Address, "--keep-alive", "--quiet"}
	if s.cfg.TLS {
		args = append(args, "--cert", s.CAFile, "--key", filepath.Join(s.dir, "key.pem"))
	}
	s.log, s.done = &bytes.Buffer{}, make(chan struct{})
	s.cmd = s.cfg.Command(context.Background(), s.program, append(args, "posix", filepath.Join(s.dir, "data"))...)
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = s.dir, s.log, s.log
	s.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+AccessKey, "ROOT_SECRET_ACCESS_KEY="+SecretKey)
	if s.cmd.SysProcAttr == nil {
		s.cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	s.cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started := make(chan error)
	go func() {
		// The kernel sends Pdeathsig when the thread that started the child ends, so it must not.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd, done := s.cmd, s.done // Resume makes others
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait() // its error is in the log; a signal makes one too
			close(done)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start the S3 server: %w", err)
	}
	return s.ready()
}

// ready waits until the server accepts connections.
func (s *Server) ready() error {
	for range 3000 {
		c, err := s.cfg.Dial(context.Background(), s.cfg.Address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-s.done:
			return fmt.Errorf("the S3 server ended: %s", s.log.Bytes())
		case <-time.After(10 * time.Millisecond): // there is no signal for "accepts connections"
		}
	}
	return errors.New("the S3 server does not answer")
}

// Kill ends the server in the middle of whatever it does.
func (s *Server) Kill() {
	s.cmd.Process.Signal(syscall.SIGKILL) // it may have ended already
	<-s.done
}

// Freeze lets the server stand still until Thaw.
func (s *Server) Freeze() error { return s.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw lets it go on.
func (s *Server) Thaw() error { return s.cmd.Process.Signal(syscall.SIGCONT) }

// Stop ends the server and removes its files.
func (s *Server) Stop() error {
	s.Kill()
	return os.RemoveAll(s.dir)
}

// Bucket is a bucket of a server, and how to get in.
type Bucket struct {
	Name            string
	Dir             string // where its objects lie as files
	CredentialsFile string
}

// Bucket makes a bucket. Its keys are in a file.
func (s *Server) Bucket(name string) (Bucket, error) {
	b := Bucket{Name: name, Dir: filepath.Join(s.dir, "data", name), CredentialsFile: filepath.Join(s.dir, "credentials")}
	if err := os.Mkdir(b.Dir, 0o755); err != nil {
		return b, fmt.Errorf("make a bucket: %w", err)
	}
	return b, nil
}
