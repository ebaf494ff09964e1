package notify

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// Bounds of a request.
const (
	maxAnswer    = 64 << 10 // bytes of an answer that are read
	httpPatience = 15 * time.Second
)

// guarded is a client for receivers: bounded in time and in what it reads, without redirects to other hosts, and never
// to link-local addresses, where clouds tell machines their secrets. Other addresses of a private network are where
// receivers usually are.
func guarded(roots *x509.CertPool) *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: func(_, address string, _ syscall.RawConn) error { return permitted(address) }}
	return &http.Client{Timeout: httpPatience, CheckRedirect: sameHost, Transport: capped{&http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: httpPatience, MaxResponseHeaderBytes: maxAnswer, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
	}}}
}

// permitted refuses addresses to which nothing is sent. It is asked with the address that a name led to.
func permitted(address string) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("the address %q cannot be read", address)
	}
	ip := ap.Addr().Unmap()
	if ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() {
		return fmt.Errorf("nothing is sent to the address %s", ip)
	}
	return nil
}

// sameHost follows redirects only to the same host, and only those that keep the request as it is.
func sameHost(r *http.Request, via []*http.Request) error {
	first := via[0].URL
	if r.URL.Scheme != first.Scheme || r.URL.Host != first.Host || r.Method != via[0].Method || len(via) > 3 {
		return http.ErrUseLastResponse
	}
	return nil
}

// capped lets nobody read more than maxAnswer of an answer.
type capped struct{ http.RoundTripper }

// RoundTrip is that of http.RoundTripper.
func (c capped) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := c.RoundTripper.RoundTrip(r)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxAnswer), res.Body}
	}
	return res, err
}

// answered says what an HTTP answer means for a message.
func answered(status int) error {
	switch {
	case status >= 200 && status < 300:
		return nil
	case status >= 300 && status < 400:
		return fmt.Errorf("the receiver answers %d: it redirects, which is not followed; give its new address", status)
	case status == http.StatusBadRequest, status == http.StatusRequestEntityTooLarge, status == http.StatusUnsupportedMediaType, status == http.StatusUnprocessableEntity:
		return fmt.Errorf("%w: it answers %d %s", errRefused, status, http.StatusText(status))
	}
	return fmt.Errorf("the receiver answers %d %s", status, http.StatusText(status))
}

// without returns an error without the address in it, which may hold a secret.
func without(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// redacted is the text of an error without anything of a secret address: neither addresses nor their parts.
func redacted(text string, secret *url.URL) string {
	text = regexp.MustCompile(`[a-z+]+://[^\s"']+`).ReplaceAllString(text, "…")
	password, _ := secret.User.Password()
	parts := append(strings.FieldsFunc(secret.Path, func(r rune) bool { return r == '/' || r == '-' || r == ':' }), secret.User.Username(), password)
	for key, values := range secret.Query() {
		if key != "title" {
			parts = append(parts, values...)
		}
	}
	for _, p := range parts {
		if len(p) >= 4 {
			text = strings.ReplaceAll(text, p, "…")
		}
	}
	return text
}
