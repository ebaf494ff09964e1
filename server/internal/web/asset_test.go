package web_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// fetch asks as a browser does, and returns the answer with its body as it went over the wire.
func (b *browser) fetch(path string) (*http.Response, []byte) {
	b.s.t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept-Encoding", "gzip, deflate, br")
	r.Header.Set("Cookie", "assent="+b.cookie)
	rec := httptest.NewRecorder()
	b.s.Handler.ServeHTTP(rec, r)
	return rec.Result(), rec.Body.Bytes()
}

var asset = regexp.MustCompile(`(?:src|href)="(/static/[^"#]+)`)

// TestTheFirstPageIsLightAndTheNextOnesLighter counts what goes over the wire: at most 300 kB with everything that
// the first page needs, at most 60 kB after it.
func TestTheFirstPageIsLightAndTheNextOnesLighter(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.tokens["d"])
	for _, path := range []string{"/", "/devices", "/account"} {
		res, page := b.fetch(path)
		if res.Header.Get("Content-Encoding") != "gzip" || len(page) > 60_000 {
			t.Errorf("%s: %d bytes, encoding %q", path, len(page), res.Header.Get("Content-Encoding"))
		}
		whole, total, seen := unzip(t, page), len(page), map[string]bool{}
		for _, m := range asset.FindAllStringSubmatch(whole, -1) {
			if seen[m[1]] {
				continue
			}
			seen[m[1]] = true
			res, body := b.fetch(m[1])
			total += len(body)
			if res.StatusCode != 200 || !strings.Contains(res.Header.Get("Cache-Control"), "immutable") || res.Header.Get("Content-Type") == "" {
				t.Errorf("%s: %d %v", m[1], res.StatusCode, res.Header)
			}
		}
		if !strings.Contains(whole, "vendor/tabler.min.css") {
			t.Fatal("the console's files are not built; run `make assets`")
		}
		if total > 300_000 {
			t.Errorf("%s needs %d bytes at first", path, total)
		}
		if strings.Contains(whole, `src="/static/`) && regexp.MustCompile(`src="[^"]*echarts`).MatchString(whole) {
			t.Errorf("%s loads the charts at once", path)
		}
	}
}

func unzip(t *testing.T, body []byte) string {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestAssets_OfAnotherVersionAreServedButNotKept(t *testing.T) {
	s := newSite(t)
	res, body := s.browser("").fetch("/static/000000000000/console.css")
	if res.StatusCode != 200 || res.Header.Get("Cache-Control") != "no-store" || len(body) == 0 {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	for _, path := range []string{"/static/x/vendor/.keep", "/static/x/../web.go", "/static/x/nothing.css"} {
		if res, _ := s.browser("").fetch(path); res.StatusCode == 200 {
			t.Errorf("%s is served", path)
		}
	}
}

func TestReportsOfBrowsersAreCountedWhateverTheySay(t *testing.T) {
	s := newSite(t)
	for i, body := range []string{`{"csp-report":{"violated-directive":"script-src","blocked-uri":"inline","document-uri":"http://x/y?z"}}`,
		`[{"type":"csp-violation","body":{"effectiveDirective":"style-src","blockedURL":"inline"}}]`, "garbage", ""} {
		if res := s.browser("").send(http.MethodPost, "/csp-report", body); res.StatusCode != http.StatusNoContent || s.Violations() != int64(i+1) {
			t.Errorf("report %d: %d, counted %d", i, res.StatusCode, s.Violations())
		}
	}
}
