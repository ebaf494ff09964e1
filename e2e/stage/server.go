package stage

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// Addresses inside the lab.
const (
	apiAddress    = "127.0.0.1:8480"
	secureAddress = "10.77.0.1:8480"
	agentAddress  = "10.77.0.1:8443"
)

// Server is the assentd process of a stage.
type Server struct {
	URL  string // of the API, on the host
	Data string // data directory
	Log  string // file with its output
	// Args are further flags, Env further variables, for the next start.
	Args, Env []string

	program string
	keeper  int // process that started assentd, where it was another one
	stage   *Stage
	cmd     *exec.Cmd
	done    chan struct{}
}

// NextVersion is the version of the newer builds of assentd and the agent that lie in "next" below the programs.
const NextVersion = "0.2.0"

// Next is a newer build of a program.
func (s *Stage) Next(program string) string { return filepath.Join(s.cfg.Bin, "next", program) }

// UpgradeSignal asks the process that opened a stage to upgrade its server.
const UpgradeSignal = syscall.SIGUSR1

// Upgrade ends assentd and starts the newer build on the same data. In an attached stage the process that opened it
// does so.
func (v *Server) Upgrade(ctx context.Context) error {
	if v.keeper != 0 {
		return v.askKeeper(ctx)
	}
	if err := v.Stop(); err != nil {
		return err
	}
	v.program = v.stage.Next("assentd")
	return v.Start(ctx)
}

func (s *Stage) openServer() error {
	host := s.cfg.Forward
	if host == "" {
		host = "127.0.0.1:0"
	}
	addr, err := s.Lab.Forward(host, apiAddress)
	if err != nil {
		return err
	}
	s.Server = &Server{URL: "http://" + addr, Data: filepath.Join(s.dir, "server"), Log: filepath.Join(s.dir, "assentd.log"), stage: s}
	return nil
}

// UsePostgres has the next start keep everything in the PostgreSQL database at this URL. The database must be
// reachable from inside the lab, as one on a Unix socket is.
func (v *Server) UsePostgres(url string) { v.Env = append(v.Env, "ASSENT_DATABASE_URL="+url) }

// Secure has the next start serve people over TLS, with a certificate of Assent's own CA for the address in URL.
func (v *Server) Secure() error {
	addr, err := v.stage.Lab.Forward("127.0.0.1:0", secureAddress)
	if err != nil {
		return err
	}
	v.URL = "https://" + addr
	v.Args = append(v.Args, "--listen", secureAddress, "--server-name", "127.0.0.1")
	return nil
}

// CA is the certificate of Assent's own CA, once the server has started.
func (v *Server) CA() (*x509.Certificate, error) {
	b, err := os.ReadFile(filepath.Join(v.Data, "ca.pem"))
	if err != nil {
		return nil, fmt.Errorf("read the CA: %w", err)
	}
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
	}
	return nil, errors.New("there is no certificate in ca.pem")
}

// client trusts Assent's own CA.
func (v *Server) client() (*http.Client, error) {
	if strings.HasPrefix(v.URL, "http:") {
		return http.DefaultClient, nil
	}
	ca, err := v.CA()
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}, nil
}

func (v *Server) askKeeper(ctx context.Context) error {
	if err := syscall.Kill(v.keeper, UpgradeSignal); err != nil {
		return fmt.Errorf("ask for the upgrade: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		a, err := v.stage.CLI(ctx, "status")
		if err == nil && strings.Contains(a.Stdout, "Assent "+NextVersion) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the newer server did not come: %s", a.Stdout+a.Stderr)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Start starts assentd inside the lab and waits until it is ready.
func (v *Server) Start(ctx context.Context) error {
	log, err := os.OpenFile(v.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open log of assentd: %w", err)
	}
	defer log.Close()
	args := append([]string{"--data", v.Data, "--listen", apiAddress, "--agent-listen", agentAddress, "--server-name", "10.77.0.1"}, v.Args...)
	cmd := v.stage.Lab.Net.Command(context.WithoutCancel(ctx), cmp.Or(v.program, filepath.Join(v.stage.cfg.Bin, "assentd")), args...)
	cmd.Env = append(os.Environ(), v.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start assentd: %w", err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	v.cmd, v.done = cmd, done
	return v.ready(ctx)
}

// ready waits for /readyz.
func (v *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		ready, err := v.answers(ctx)
		if err != nil || ready {
			return err
		}
		select {
		case <-v.done:
			return fmt.Errorf("assentd ended at its start: %s", v.tail())
		case <-ctx.Done():
			return fmt.Errorf("assentd did not become ready: %s", v.tail())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// answers asks /readyz once.
func (v *Server) answers(ctx context.Context) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.URL+"/readyz", nil)
	if err != nil {
		return false, err
	}
	client, err := v.client()
	if err != nil {
		return false, nil //nolint:nilerr // its keys are not made yet
	}
	resp, err := client.Do(req)
	if err != nil {
		return false, nil //nolint:nilerr // it does not listen yet
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK, nil
}

func (v *Server) tail() string {
	b, err := os.ReadFile(v.Log)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-3000):])
}

// Running reports whether the process lives.
func (v *Server) Running() bool {
	if v.cmd == nil {
		return false
	}
	select {
	case <-v.done:
		return false
	default:
		return true
	}
}

// Stop ends assentd as an init system would.
func (v *Server) Stop() error { return v.signal(syscall.SIGTERM) }

// Kill ends assentd with SIGKILL.
func (v *Server) Kill() error { return v.signal(syscall.SIGKILL) }

func (v *Server) signal(sig syscall.Signal) error {
	if !v.Running() {
		return nil
	}
	if err := syscall.Kill(-v.cmd.Process.Pid, sig); err != nil {
		return fmt.Errorf("signal assentd: %w", err)
	}
	select {
	case <-v.done:
		return nil
	case <-time.After(30 * time.Second):
		return fmt.Errorf("assentd did not end within 30 s of %s", sig)
	}
}

// Answer is what a program said.
type Answer struct {
	Stdout, Stderr string
	Code           int
}

// CLI runs `assent` on the host as the operator who signed in last.
func (s *Stage) CLI(ctx context.Context, args ...string) (Answer, error) {
	return s.CLIAs(ctx, "", args...)
}

// CLIAs runs `assent` with another operator's configuration directory.
func (s *Stage) CLIAs(ctx context.Context, who string, args ...string) (Answer, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.cfg.Bin, "assent"), args...)
	cmd.Env = append(os.Environ(), s.CLIEnv(who)...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	a := Answer{Stdout: out.String(), Stderr: errOut.String(), Code: cmd.ProcessState.ExitCode()}
	if _, exited := err.(*exec.ExitError); exited && ctx.Err() == nil { //nolint:errorlint // Run returns it unwrapped
		return a, nil
	}
	return a, err
}

// CLIEnv is the environment in which the CLI talks to this stage as who.
func (s *Stage) CLIEnv(who string) []string {
	return []string{"XDG_CONFIG_HOME=" + filepath.Join(s.dir, "operator"+who), "ASSENT_SERVER=" + s.URL(), "NO_COLOR=1"}
}

// signIn finds the one-time token in what assentd printed at its first start.
var signIn = regexp.MustCompile(`assent_[A-Za-z0-9_]+`)

// SignIn uses the first start's one-time token.
func (s *Stage) SignIn(ctx context.Context) error {
	b, err := os.ReadFile(filepath.Join(s.Server.Data, "first-sign-in"))
	if err != nil {
		return fmt.Errorf("read the first sign-in: %w", err)
	}
	token := signIn.FindString(string(b))
	if token == "" {
		return fmt.Errorf("no sign-in token in first-sign-in")
	}
	return s.Must(ctx, "login", "--server", s.URL(), "--token", token)
}

// URL is where people reach the server, or the load balancer before several ones.
func (s *Stage) URL() string { return cmp.Or(s.Front, s.Server.URL) }

// Must runs the CLI and fails unless it exits with 0.
func (s *Stage) Must(ctx context.Context, args ...string) error {
	_, err := s.Output(ctx, args...)
	return err
}

// Output runs the CLI, fails unless it exits with 0, and returns its standard output.
func (s *Stage) Output(ctx context.Context, args ...string) (string, error) {
	a, err := s.CLI(ctx, args...)
	if err == nil && a.Code != 0 {
		err = fmt.Errorf("assent %s: exit %d: %s", strings.Join(args, " "), a.Code, strings.TrimSpace(a.Stdout+a.Stderr))
	}
	return a.Stdout, err
}

// Another makes one more server of the installation, which is not started yet: name names its data directory, api and agents
// are where it listens inside the lab. The stage's end does not end it.
func (s *Stage) Another(name, api, agents string) (*Server, error) {
	addr, err := s.Lab.Forward("127.0.0.1:0", api)
	if err != nil {
		return nil, err
	}
	return &Server{URL: "http://" + addr, Data: filepath.Join(s.dir, name), Log: filepath.Join(s.dir, name+".log"), stage: s,
		Args: []string{"--listen", api, "--agent-listen", agents}}, nil
}

// AgentAddress is where devices look for the server.
func AgentAddress() string { return agentAddress }
