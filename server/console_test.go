package server

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
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

// TestConsole_ASessionOutlivesARestartAndItsEndCounts signs in with a password, restarts the server and signs out.
func TestConsole_ASessionOutlivesARestartAndItsEndCounts(t *testing.T) {
	data := t.TempDir()
	l := start(t, data, nil)
	token := l.admin()
	if code := l.call(http.MethodPut, "/api/v1/operators/admin/password", token, map[string]string{"password": "correct horse battery"}, nil); code != 200 {
		t.Fatalf("set a password: %d", code)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	status := func(resp *http.Response, err error) int {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if code := status(browser.PostForm("http://"+l.api+"/sign-in", url.Values{"name": {"admin"}, "password": {"wrong"}})); code != 401 {
		t.Errorf("a wrong password: %d", code)
	}
	if code := status(browser.PostForm("http://"+l.api+"/sign-in", url.Values{"name": {"admin"}, "password": {"correct horse battery"}})); code != 303 {
		t.Fatalf("the password: %d", code)
	}
	resp, err := http.Get("http://" + l.api + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	metrics, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{`assent_sign_ins_total{means="password",outcome="admitted"} 1`, `assent_sign_ins_total{means="password",outcome="refused"} 1`} {
		if !strings.Contains(string(metrics), line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
	file := save(t, data)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	l = start(t, data, func(c *Config) { c.Listen = l.api })
	if code := status(browser.Get("http://" + l.api + "/account")); code != 200 {
		t.Errorf("after a restart the session is gone: %d", code)
	}
	if code := l.call(http.MethodDelete, "/api/v1/operators/admin/sessions", token, nil, nil); code != 200 {
		t.Fatalf("sign out: %d", code)
	}
	if code := status(browser.Get("http://" + l.api + "/account")); code != 303 {
		t.Errorf("still signed in: %d", code)
	}
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := restore(t.Context(), kept(t, data), file, time.Now()); err != nil {
		t.Fatal(err)
	}
	l = start(t, data, func(c *Config) { c.Listen = l.api })
	if code := status(browser.Get("http://" + l.api + "/account")); code != 303 {
		t.Errorf("a session that ended came back with a backup: %d", code)
	}
	if code := status(browser.PostForm("http://"+l.api+"/sign-in", url.Values{"name": {"admin"}, "password": {"correct horse battery"}})); code != 303 {
		t.Errorf("the password of the backup: %d", code)
	}
}

func TestConfig_ThePublicAddressIsASite(t *testing.T) {
	if why := fails(t, Config{Data: t.TempDir(), PublicURL: "assent.example.org"}); !strings.Contains(why, "public address") {
		t.Errorf("an address without a scheme: %s", why)
	}
	l := start(t, t.TempDir(), func(c *Config) { c.PublicURL = "https://assent.example.org" })
	if !strings.Contains(l.out.String(), "https://assent.example.org/sign-in#assent_") {
		t.Errorf("the first link is another: %s", l.out)
	}
	resp, err := http.Get("http://" + l.api + "/sign-in")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(body), `data-origin="https://assent.example.org"`) {
		t.Errorf("passkeys are offered elsewhere: %v", err)
	}
}
