package server

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"testing"
	"time"
)

// TestConsole_TheFirstLinkSignsInOnceWithACookieFitForTheListener follows the link that a first start prints, over
// plain HTTP on loopback and over TLS off it.
func TestConsole_TheFirstLinkSignsInOnceWithACookieFitForTheListener(t *testing.T) {
	for _, c := range []struct {
		listen, scheme, cookie string
	}{{"127.0.0.1:0", "http", "assent"}, {"0.0.0.0:0", "https", "__Host-assent"}} {
		l := start(t, t.TempDir(), func(conf *Config) { conf.Listen = c.listen })
		_, port, err := net.SplitHostPort(l.api)
		if err != nil {
			t.Fatal(err)
		}
		token := regexp.MustCompile(`/sign-in#(\S+)`).FindStringSubmatch(l.out.String())
		if token == nil {
			t.Fatalf("no link in %q", l.out.String())
		}
		dir, err := openData(l.data)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		k, err := openKeys(dir, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		browser := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: k.ca.Pool()}},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		at := c.scheme + "://127.0.0.1:" + port
		resp, err := browser.Get(at + "/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if to := resp.Header.Get("Location"); resp.StatusCode != 303 || to != "/sign-in?next=%2F" {
			t.Errorf("%s: a stranger gets %d to %q", at, resp.StatusCode, to)
		}
		for _, want := range []int{303, 401} {
			resp, err := browser.PostForm(at+"/sign-in", url.Values{"token": {token[1]}})
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Fatalf("%s: signing in: %d, want %d", at, resp.StatusCode, want)
			}
			if want != 303 {
				continue
			}
			got := resp.Cookies()[0]
			if got.Name != c.cookie || got.Secure != (c.scheme == "https") || !got.HttpOnly || got.SameSite != http.SameSiteStrictMode || got.Domain != "" || got.Path != "/" {
				t.Errorf("%s: the cookie %+v", at, got)
			}
		}
	}
}
