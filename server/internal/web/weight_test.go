package web_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// What a page may weigh, in bytes as they are sent.
const (
	mostAtFirst   = 300_000 // with everything that it fetches
	mostAfterward = 60_000
)

// weight is how many bytes are sent to a browser that reads gzip.
func (b *browser) weight(path string) int {
	b.s.t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Cookie", "assent="+b.cookie)
	r.Header.Set("Accept-Encoding", "gzip")
	rec := httptest.NewRecorder()
	b.s.Handler.ServeHTTP(rec, r)
	if rec.Code != http.StatusOK {
		b.s.t.Fatalf("GET %s: %d", path, rec.Code)
	}
	return rec.Body.Len()
}

var fetched = regexp.MustCompile(`(?:href|src)="(/static/[^"#]+)`)

// TestNoPageWeighsMoreThanItMay also counts the library of charts for pages that draw one.
func TestNoPageWeighsMoreThanItMay(t *testing.T) {
	s, names := filled(t)
	b := s.browser(s.tokens["d"])
	files := map[string]int{}
	for _, path := range everyPage(t, names) {
		if path == "/no/such/page" {
			continue
		}
		res := b.get(path)
		if res.StatusCode != http.StatusOK {
			t.Errorf("GET %s: %d: the filled site should have one", path, res.StatusCode)
			continue
		}
		page := text(t, res)
		weight := b.weight(path)
		if weight > mostAfterward {
			t.Errorf("%s weighs %d bytes", path, weight)
		}
		once := map[string]bool{}
		for _, m := range fetched.FindAllStringSubmatch(page, -1) {
			once[m[1]] = true
		}
		if m := regexp.MustCompile(`data-echarts="([^"]+)"`).FindStringSubmatch(page); m != nil && strings.Contains(page, "data-chart=") {
			once[m[1]] = true
		}
		for file := range once {
			if files[file] == 0 {
				files[file] = b.weight(file)
			}
			weight += files[file]
		}
		if weight > mostAtFirst {
			t.Errorf("%s weighs %d bytes with what it fetches: %v", path, weight, files)
		}
	}
	if len(files) < 5 {
		t.Errorf("only %d files are fetched: were the assets built (make assets)?", len(files))
	}
}
