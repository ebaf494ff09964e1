package swarm

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/klauspost/compress/zstd"

	"assent/wire"
)

// line is one connection to the server, made when it is needed and made anew after it broke. It costs little memory:
// net/http's client would need more for ten thousand agents than the server.
type line struct {
	addr string
	conf *tls.Config
	conn *tls.Conn
	in   *bufio.Reader

	unpack *zstd.Decoder // shared by all: one for each would cost more than the server
}

func (s *Swarm) newLine(addr string, conf *tls.Config) *line {
	return &line{addr: addr, conf: conf, unpack: s.dec}
}

// Close ends the connection.
func (l *line) Close() {
	if l.conn != nil {
		l.conn.Close()
		l.conn, l.in = nil, nil
	}
}

// dial connects with a handshake.
func (l *line) dial(ctx context.Context) error {
	if l.conn != nil {
		return nil
	}
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 30 * time.Second}, Config: l.conf}
	c, err := d.DialContext(ctx, "tcp", l.addr)
	if err != nil {
		return err
	}
	l.conn, l.in = c.(*tls.Conn), bufio.NewReaderSize(c, 1<<10)
	return nil
}

// Refused is an answer of the server that is not a success.
type Refused struct {
	Status int
	Code   string
}

// Error describes the refusal.
func (r *Refused) Error() string { return fmt.Sprintf("the server refused: %d %s", r.Status, r.Code) }

// post sends one JSON message and reads the answer into out.
func (l *line) post(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	answer, err := l.call(ctx, http.MethodPost, path, body, false)
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, out)
}

// call makes one request. It ends early when ctx does.
func (l *line) call(ctx context.Context, method, path string, body []byte, packed bool) (answer []byte, err error) {
	if err := l.dial(ctx); err != nil {
		return nil, err
	}
	conn := l.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // fails only on a closed connection
	defer func() {
		stop()
		var refused *Refused
		if err != nil && !errors.As(err, &refused) {
			l.Close()
		}
	}()
	if _, err := l.conn.Write(request(method, path, body, packed)); err != nil {
		return nil, err
	}
	return l.read()
}

func request(method, path string, body []byte, packed bool) []byte {
	b := make([]byte, 0, 200+len(body))
	b = append(b, method+" "+path+" HTTP/1.1\r\nHost: assent\r\nContent-Type: application/json\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	if packed {
		b = append(b, "\r\nContent-Encoding: zstd"...)
	}
	return append(append(b, "\r\n\r\n"...), body...)
}

// read reads one answer.
func (l *line) read() ([]byte, error) {
	resp, err := http.ReadResponse(l.in, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, wire.MaxDocument))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		var p struct {
			Code string `json:"code"`
		}
		_ = json.Unmarshal(body, &p) // the status says enough
		if resp.Close {
			l.Close()
		}
		return nil, &Refused{resp.StatusCode, p.Code}
	}
	if resp.Header.Get("Content-Encoding") == "zstd" {
		return l.unpack.DecodeAll(body, nil)
	}
	return body, nil
}

// newKey makes a key pair and the request for its certificate.
func newKey() (ed25519.PrivateKey, []byte, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	return key, csr, err
}

// strangersTLS trusts the server whose CA has the fingerprint in the token.
func (s *Swarm) strangersTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, ServerName: "127.0.0.1", InsecureSkipVerify: true, VerifyConnection: func(state tls.ConnectionState) error {
		roots := x509.NewCertPool()
		for _, c := range state.PeerCertificates[1:] {
			if wire.Digest(c.Raw) == s.cfg.Token.CA && c.IsCA {
				roots.AddCert(c)
			}
		}
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: "127.0.0.1"})
		return err
	}}
}

// deviceTLS is what an enrolled device connects with.
func (s *Swarm) deviceTLS(resp wire.EnrolResponse, key ed25519.PrivateKey) (*tls.Config, error) {
	if wire.Digest(resp.CA) != s.cfg.Token.CA {
		return nil, errors.New("the server's CA is not the token's")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.roots == nil {
		ca, err := x509.ParseCertificate(resp.CA)
		if err != nil {
			return nil, fmt.Errorf("read the CA: %w", err)
		}
		s.roots = x509.NewCertPool()
		s.roots.AddCert(ca)
		s.CA = resp.CA
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: s.roots, ServerName: "127.0.0.1", ClientSessionCache: tls.NewLRUClientSessionCache(1),
		Certificates: []tls.Certificate{{Certificate: [][]byte{resp.Certificate}, PrivateKey: key}}}, nil
}
