package signin

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// Site is where browsers reach the console. Passkeys are bound to its host; the zero value has none.
type Site struct {
	Host   string // what passkeys are made for
	Origin string // scheme, host and port; answers of pages elsewhere are refused
}

// ReadSite reads the public address of a server. Browsers offer passkeys only to a host name, and only over TLS or to
// the machine itself: on a loopback address the site is that of "localhost", and on another address without a name, or
// without TLS, there is none, without an error.
func ReadSite(address string) (Site, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return Site{}, fmt.Errorf("the public address %q is not that of a site, such as https://assent.example.org", address)
	}
	host := strings.ToLower(u.Hostname())
	ip, err := netip.ParseAddr(host)
	switch {
	case err == nil && ip.IsLoopback():
		host = "localhost"
	case err == nil, u.Scheme != "https" && host != "localhost" && !strings.HasSuffix(host, ".localhost"):
		return Site{}, nil
	}
	origin := u.Scheme + "://" + host
	if port := u.Port(); port != "" && (u.Scheme != "https" || port != "443") && (u.Scheme != "http" || port != "80") {
		origin += ":" + port
	}
	return Site{Host: host, Origin: origin}, nil
}

// PasskeyOrigin is where browsers offer passkeys; empty: nowhere.
func (s *Service) PasskeyOrigin() string { return s.Site.Origin }
