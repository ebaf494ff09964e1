package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"time"
)

// hostName is what a DNS name in a server certificate may look like.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`)

// Server is the server's own certificate. It lives in memory only: each start makes a new key, and the
// certificate is renewed at half of its life without a restart. It is safe for concurrent use.
type Server struct {
	ca    *CA
	dns   []string
	ips   []net.IP
	mu    sync.Mutex
	cert  *tls.Certificate
	renew time.Time
}

// Server makes the certificate of a listener that answers to names (host names and IP addresses).
func (c *CA) Server(names []string) (*Server, error) {
	s := &Server{ca: c}
	for _, n := range names {
		ip := net.ParseIP(strings.Trim(n, "[]"))
		switch {
		case ip != nil:
			s.ips = append(s.ips, ip)
		case len(n) <= 253 && hostName.MatchString(n):
			s.dns = append(s.dns, strings.TrimSuffix(n, "."))
		default:
			return nil, fmt.Errorf("%q is neither a host name nor an IP address", n)
		}
	}
	if len(s.dns)+len(s.ips) == 0 {
		return nil, errors.New("a server certificate needs at least one name")
	}
	if _, err := s.Certificate(nil); err != nil {
		return nil, err
	}
	return s, nil
}

// Certificate gives the certificate for a handshake; it fits tls.Config.GetCertificate.
func (s *Server) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.ca.now(); s.cert == nil || !now.Before(s.renew) {
		cert, err := s.make()
		if err != nil {
			return nil, err
		}
		s.cert, s.renew = cert, now.Add(serverLife/2)
	}
	return s.cert, nil
}

func (s *Server) make() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the server's key: %w", err)
	}
	tmpl := &x509.Certificate{Subject: pkix.Name{CommonName: "Assent server"}, DNSNames: s.dns, IPAddresses: s.ips,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := s.ca.sign(tmpl, key.Public(), serverLife)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the server's new certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der, s.ca.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}
