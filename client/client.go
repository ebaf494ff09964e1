package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"assent/fault"
)

// Prefix is where the API lives on a server.
const Prefix = "/api/v1"

// Config says how to reach a server.
type Config struct {
	Server string        // "https://assent.example:8480"; http is accepted for loopback addresses only
	Token  string        // access token; empty for what needs none
	CA     string        // SHA-256 of a certificate in the server's chain, hex; empty: the system's certificates
	Wait   time.Duration // for one answer; 60 s by default. Streams and long polls have their own limits
	Agent  string        // User-Agent, "assent/1.2.3"
	Trace  string        // traceparent (W3C) that goes with each request; empty: none
}

// Client speaks to one server. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	token string
	wait  time.Duration
	agent string
	trace string
	http  *http.Client
}

// maxAnswer caps what is read of one answer, in bytes; exports are streamed and have no cap.
const maxAnswer = 256 << 20

// New checks c and makes a Client. It does not connect.
func New(c Config) (*Client, error) {
	base, err := parseServer(c.Server)
	if err != nil {
		return nil, err
	}
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS13}
	if c.CA != "" {
		if err := pin(tlsConfig, c.CA, base.Hostname()); err != nil {
			return nil, err
		}
	}
	if c.Wait <= 0 {
		c.Wait = time.Minute
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:       tlsConfig,
		TLSHandshakeTimeout:   10 * time.Second,
		IdleConnTimeout:       time.Minute,
		MaxIdleConns:          4,
		ForceAttemptHTTP2:     true,
		ResponseHeaderTimeout: 2 * time.Minute,
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // a token is for one server
	return &Client{base: base, token: c.Token, wait: c.Wait, agent: c.Agent, trace: c.Trace, http: &http.Client{Transport: transport, CheckRedirect: stay}}, nil
}

// parseServer reads the address of a server. Over a network only TLS will do: the token is a password.
func parseServer(text string) (*url.URL, error) {
	bad := func(why string) error {
		return fault.New(fault.Invalid, "server_invalid", "The server's address %q %s; give one like https://assent.example:8480.", text, why).On("server")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return nil, bad("cannot be used")
	case u.Scheme == "https":
	case u.Scheme == "http" && loopback(u.Hostname()):
	case u.Scheme == "http":
		return nil, bad("would send the token in the clear")
	default:
		return nil, bad("has no scheme that is known here")
	}
	u.Path = ""
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// pin trusts exactly the chain that holds the certificate with this fingerprint: the name and the validity
// are checked as always, with the pinned certificate as the only root.
func pin(config *tls.Config, fingerprint, host string) error {
	want, err := hex.DecodeString(strings.ReplaceAll(fingerprint, ":", ""))
	if err != nil || len(want) != sha256.Size {
		return fault.New(fault.Invalid, "ca_invalid", "The CA's fingerprint must be 64 hex digits.").On("ca")
	}
	config.InsecureSkipVerify = true // replaced by VerifyConnection below, which is stricter
	config.VerifyConnection = func(state tls.ConnectionState) error {
		return verifyPinned(state.PeerCertificates, want, host)
	}
	return nil
}

var errPin = errors.New("the server shows no certificate with the pinned fingerprint")

func verifyPinned(chain []*x509.Certificate, want []byte, host string) error {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	found := false
	for _, c := range chain {
		if sum := sha256.Sum256(c.Raw); bytes.Equal(sum[:], want) {
			roots.AddCert(c)
			found = true
			continue
		}
		between.AddCert(c)
	}
	if !found || len(chain) == 0 {
		return errPin
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: host})
	return err
}

// call sends one request and reads its answer into out, which may be nil.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, body, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	resp, err := c.send(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return c.unreachable(err)
	}
	if len(data) > maxAnswer {
		return fault.New(fault.TooLarge, "answer_too_large", "The server's answer is larger than %d bytes; ask for less.", maxAnswer)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return notAssent(resp).Because(err)
	}
	return nil
}

// send sends one request. An answer that is not a success comes back as a *fault.Error.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, body any) (*http.Response, error) {
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		reader = bytes.NewReader(data)
	}
	address := c.base.String() + Prefix + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, address, reader)
	if err != nil {
		return nil, fmt.Errorf("make the request %s %s: %w", method, path, err)
	}
	if body != nil || method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.agent != "" {
		req.Header.Set("User-Agent", c.agent)
	}
	if c.trace != "" {
		req.Header.Set("Traceparent", c.trace)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, refusal(resp)
}

// unreachable says that there was no answer.
func (c *Client) unreachable(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	if errors.Is(err, errPin) {
		return fault.New(fault.Unavailable, "server_not_trusted", "The server at %s does not show the certificate that was pinned; check the address and the fingerprint.", c.base.Host).Because(err)
	}
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return fault.New(fault.Unavailable, "server_not_trusted", "The certificate of %s is not signed by an authority that this machine knows; pin it with --ca FINGERPRINT.", c.base.Host).Because(err)
	}
	return fault.New(fault.Unavailable, "server_unreachable", "The server at %s does not answer; check the address and that it runs.", c.base.Host).Because(err)
}

// refusal turns a problem into the fault that it was.
func refusal(resp *http.Response) error {
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	var p Problem
	if err := json.Unmarshal(data, &p); err != nil || kind != "application/problem+json" || p.Code == "" {
		return notAssent(resp)
	}
	if len(p.Errors) > 1 {
		all := make(fault.List, len(p.Errors))
		for i, e := range p.Errors {
			all[i] = &fault.Error{Kind: fault.Kind(e.Kind), Code: e.Code, Message: e.Detail, Field: e.Field}
		}
		return all
	}
	return &fault.Error{Kind: fault.Kind(p.Kind), Code: p.Code, Message: p.Detail, Field: p.Field}
}

func notAssent(resp *http.Response) *fault.Error {
	return fault.New(fault.Unavailable, "not_assent", "The server answered with status %d in a way that Assent never does; check the address.", resp.StatusCode)
}

// escape is one segment of a path.
func escape(segment string) string { return url.PathEscape(segment) }
