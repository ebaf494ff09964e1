// Package uplink is the agent's side of the device protocol (wire, docs/protocol.md).
//
// It guarantees: TLS 1.3 only; the server's certificate must chain to the one CA the device was enrolled
// with, never to the operating system's; no proxy settings are read and no redirect is followed; every
// answer has a size cap, before and after decompression; every call has a deadline. It holds no opinion
// on what the messages mean and does not retry: see Backoff for how long to wait.
package uplink

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"assent/agent/internal/facts"
	"assent/agent/internal/identity"
	"assent/fault"
	"assent/wire"
)

const (
	dialTimeout = 15 * time.Second
	callTimeout = time.Minute      // any call but a long poll or a document
	bulkTimeout = 10 * time.Minute // documents and plans over slow lines
	pollGrace   = 30 * time.Second // how much longer than asked for a long poll may take
	squeeze     = 1 << 10          // bodies from this size on are compressed
	maxRetry    = time.Hour        // the longest Retry-After that is obeyed
)

// ErrRedirect is the refusal of an answer that points elsewhere.
var ErrRedirect = errors.New("the server answered with a redirect, which is never followed")

// Refused is an answer of the server that is not a success.
type Refused struct {
	Status     int
	Code       string        // the server's error code; may be empty
	Message    string        // for people; may be empty
	RetryAfter time.Duration // 0 when the server named none
}

// Error describes the refusal.
func (r *Refused) Error() string {
	s := fmt.Sprintf("the server refused (%d)", r.Status)
	if r.Code != "" {
		s += " " + r.Code
	}
	if r.Message != "" {
		s += ": " + r.Message
	}
	return s
}

// Client speaks for one device. It is safe for concurrent use.
type Client struct {
	base string
	http *http.Client
	enc  *zstd.Encoder // in its smallest form; EncodeAll may be called concurrently
}

// Options say whom to talk to and how the time is read.
type Options struct {
	Server     string           // https://host:port
	ServerName string           // expected in the certificate; the host of Server when empty
	Now        func() time.Time // for certificates; time.Now when nil
	// Dial replaces the network in tests; nil for TCP.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// New makes the client of an enrolled device.
func New(id identity.Identity, opt Options) (*Client, error) {
	cert, err := id.TLS()
	if err != nil {
		return nil, err
	}
	ca, err := x509.ParseCertificate(id.CA)
	if err != nil {
		return nil, fmt.Errorf("read the CA: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	return build(opt, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}})
}

// build makes a client whose TLS settings start from conf.
func build(opt Options, conf *tls.Config) (*Client, error) {
	base, err := CheckURL(opt.Server)
	if err != nil {
		return nil, err
	}
	conf.MinVersion = tls.VersionTLS13
	conf.ServerName = opt.ServerName
	conf.Time = opt.Now
	conf.ClientSessionCache = tls.NewLRUClientSessionCache(2) // a connection that is made anew costs both ends less
	if conf.ServerName == "" {
		conf.ServerName = base.Hostname()
	}
	dial := opt.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(256<<10))
	if err != nil {
		return nil, fmt.Errorf("set up compression: %w", err)
	}
	return &Client{base: base.String(), enc: enc, http: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return ErrRedirect },
		Transport: &http.Transport{
			Proxy:                  nil, // not even from the environment
			DialContext:            dial,
			TLSClientConfig:        conf,
			TLSHandshakeTimeout:    dialTimeout,
			DisableCompression:     true,
			MaxIdleConns:           2,
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 64 << 10,
			ExpectContinueTimeout:  time.Second,
			ReadBufferSize:         4 << 10,
			WriteBufferSize:        4 << 10,
		},
	}}, nil
}

// CheckURL accepts https://host:port and nothing with a path, a query or a password.
func CheckURL(server string) (*url.URL, error) {
	u, err := url.Parse(server)
	if err != nil {
		return nil, fmt.Errorf("read server address: %w", err)
	}
	if u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return nil, fault.New(fault.Invalid, "server_url", "The server's address must look like https://host:8443.").On("server")
	}
	u.Path = ""
	return u, nil
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// CheckIn sends a check-in; with m.Wait > 0 the answer may take that long.
func (c *Client) CheckIn(ctx context.Context, m wire.CheckIn) (wire.CheckInReply, error) {
	var reply wire.CheckInReply
	ctx, cancel := context.WithTimeout(ctx, callTimeout+time.Duration(m.Wait)*time.Second+pollGrace)
	defer cancel()
	return reply, c.post(ctx, wire.PathCheckIn, m, &reply)
}

// Upload puts a document's encoded bytes onto the server.
func (c *Client) Upload(ctx context.Context, kind wire.Kind, digest string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	packed := c.enc.EncodeAll(body, make([]byte, 0, len(body)/4+64))
	path := wire.PathDocument + "/" + url.PathEscape(string(kind)) + "/" + url.PathEscape(digest)
	_, err := c.call(ctx, http.MethodPut, path, packed, true, wire.MaxMessage)
	return err
}

// Plan fetches a plan's bytes.
func (c *Client) Plan(ctx context.Context, digest string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	return c.call(ctx, http.MethodGet, wire.PathPlan+"/"+url.PathEscape(digest), nil, false, wire.MaxDocument)
}

// Report sends reports and returns the ids that the server has made durable.
func (c *Client) Report(ctx context.Context, reports []wire.Report) ([]string, error) {
	var reply wire.ReportsReply
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return reply.Applied, c.post(ctx, wire.PathReports, wire.Reports{Reports: reports}, &reply)
}

// Renew asks for a new certificate.
func (c *Client) Renew(ctx context.Context, csr []byte) (wire.EnrolResponse, error) {
	var resp wire.EnrolResponse
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return resp, c.post(ctx, wire.PathRenew, wire.RenewRequest{CSR: csr}, &resp)
}

// Enrol asks for a first certificate. The server must show a chain that ends in the CA whose fingerprint is in the
// token, before the token is sent: nothing is trusted on first use.
func Enrol(ctx context.Context, opt Options, token wire.Token, key ed25519.PrivateKey, hint wire.Facts) (wire.EnrolResponse, error) {
	var resp wire.EnrolResponse
	host, err := CheckURL(opt.Server)
	if err != nil {
		return resp, err
	}
	name := opt.ServerName
	if name == "" {
		name = host.Hostname()
	}
	now := opt.Now
	if now == nil {
		now = time.Now
	}
	c, err := build(opt, &tls.Config{
		InsecureSkipVerify: true, // VerifyConnection does it, against the fingerprint instead of a store
		VerifyConnection:   func(s tls.ConnectionState) error { return pinned(s.PeerCertificates, token.CA, name, now()) },
	})
	if err != nil {
		return resp, err
	}
	defer c.Close()
	csr, err := identity.CSR(key)
	if err != nil {
		return resp, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err = c.post(ctx, wire.PathEnrol, wire.EnrolRequest{Capability: wire.Capability, Token: token.String(), CSR: csr, Hostname: hint.Hostname, MachineID: hint.MachineID}, &resp)
	if err != nil {
		return resp, err
	}
	if wire.Digest(resp.CA) != token.CA {
		return resp, ErrCA
	}
	return resp, nil
}

// ErrCA is the refusal of a server that is not the one the token was made on.
var ErrCA = fault.New(fault.Forbidden, "ca_mismatch", "The server does not prove itself with the CA of the enrolment token: this is another server, or somebody is in between.")

// pinned checks that the chain the server showed ends in the CA with this fingerprint.
func pinned(chain []*x509.Certificate, fingerprint, name string, now time.Time) error {
	if len(chain) == 0 {
		return ErrCA
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	found := false
	for _, cert := range chain[1:] {
		sum := sha256.Sum256(cert.Raw)
		if hex.EncodeToString(sum[:]) == fingerprint && cert.IsCA {
			roots.AddCert(cert)
			found = true
			continue
		}
		between.AddCert(cert)
	}
	if !found {
		return ErrCA
	}
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if err != nil {
		return ErrCA.Because(err)
	}
	return nil
}

// post sends one JSON message and decodes the answer into out.
func (c *Client) post(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode message for %s: %w", path, err)
	}
	packed := len(body) >= squeeze
	if packed {
		body = c.enc.EncodeAll(body, nil)
	}
	answer, err := c.call(ctx, http.MethodPost, path, body, packed, wire.MaxMessage)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("decode the server's answer to %s: %w", path, err)
	}
	return nil
}

// call makes one request and returns the plain bytes of a successful answer, at most limit.
func (c *Client) call(ctx context.Context, method, path string, body []byte, packed bool, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request for %s: %w", path, err)
	}
	req.Header.Set("Accept-Encoding", "zstd")
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "assent-agent")
	if packed {
		req.Header.Set("Content-Encoding", "zstd")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("call server: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, c.refused(resp)
	}
	return c.read(resp, limit)
}

// read returns the body of an answer, decompressed, within limit.
func (c *Client) read(resp *http.Response, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read the server's answer: %w", err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("the server's answer is longer than %d bytes", limit)
	}
	switch encoding := resp.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
		return b, nil
	case "zstd":
		return c.unpack(b, limit)
	default:
		return nil, fmt.Errorf("the server's answer is encoded as %q", facts.Clean(encoding))
	}
}

// unpack decompresses b as a stream, so that a frame that claims little and holds much stops at limit.
func (c *Client) unpack(b []byte, limit int64) ([]byte, error) {
	var head zstd.Header
	if err := head.Decode(b); err == nil && head.HasFCS && head.FrameContentSize > uint64(limit) {
		return nil, fmt.Errorf("the server's answer unpacks to more than %d bytes", limit)
	}
	dec, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderMaxMemory(wire.MaxDocument))
	if err != nil {
		return nil, fmt.Errorf("unpack the server's answer: %w", err)
	}
	defer dec.Close()
	out, err := io.ReadAll(io.LimitReader(dec, limit+1))
	if err != nil {
		return nil, fmt.Errorf("unpack the server's answer: %w", err)
	}
	if int64(len(out)) > limit {
		return nil, fmt.Errorf("the server's answer unpacks to more than %d bytes", limit)
	}
	return out, nil
}

// refused makes an error of an answer that is not a success.
func (c *Client) refused(resp *http.Response) error {
	r := &Refused{Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header.Get("Retry-After"))}
	b, err := c.read(resp, 64<<10)
	if err != nil {
		return r // the status alone must do
	}
	var problem struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Detail  string `json:"detail"`
	}
	if json.Unmarshal(b, &problem) == nil {
		r.Code, r.Message = facts.Clean(problem.Code), facts.Clean(problem.Message)
		if r.Message == "" {
			r.Message = facts.Clean(problem.Detail)
		}
	}
	return r
}

// retryAfter reads the seconds of a Retry-After header. Dates are not used: clocks differ.
func retryAfter(h string) time.Duration {
	n, err := strconv.ParseInt(strings.TrimSpace(h), 10, 32)
	if err != nil || n < 0 {
		return 0
	}
	return min(time.Duration(n)*time.Second, maxRetry)
}
