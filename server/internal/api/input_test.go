package api_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"assent/fault"
	"assent/server/internal/api"
)

// TestN08_HostileBodiesAreRefusedBeforeAnyService sends bodies that a careless reader would accept, half
// accept or choke on, and expects the exact refusal.
func TestN08_HostileBodiesAreRefusedBeforeAnyService(t *testing.T) {
	w := newWorld(t)
	deep := strings.Repeat(`{"matching":`, 100_000) + "1" + strings.Repeat("}", 100_000)
	tests := []struct {
		name, body  string
		status      int
		code, field string
	}{
		{"empty", "", 400, "malformed", ""},
		{"no JSON", "hello", 400, "malformed", ""},
		{"not an object", `[]`, 422, "invalid_input", ""},
		{"null", `null`, 422, "invalid_input", ""},
		{"unknown field", `{"updates":["u1"],"status":"approved","force":true}`, 422, "invalid_input", "force"},
		{"unknown field within", `{"matching":{"stauts":["approved"]},"status":"declined"}`, 422, "invalid_input", "matching.stauts"},
		{"other case of a field", `{"updates":["u1"],"STATUS":"approved"}`, 400, "malformed", ""},
		{"duplicate key", `{"updates":["u1"],"status":"declined","status":"approved"}`, 400, "malformed", ""},
		{"trailing value", `{"updates":["u1"],"status":"approved"} {}`, 400, "malformed", ""},
		{"trailing text", `{"updates":["u1"],"status":"approved"}x`, 400, "malformed", ""},
		{"invalid UTF-8", "{\"updates\":[\"u1\"],\"status\":\"approved\",\"reason\":\"\xff\"}", 400, "malformed", ""},
		{"NaN", `{"updates":["u1"],"status":"approved","expires":NaN}`, 400, "malformed", ""},
		{"wrong type", `{"updates":"u1","status":"approved"}`, 422, "invalid_input", "updates"},
		{"wrong type in a list", `{"updates":[1],"status":"approved"}`, 422, "invalid_input", "updates[0]"},
		{"wrong time", `{"updates":["u1"],"status":"approved","expires":"tomorrow"}`, 422, "invalid_input", "expires"},
		{"missing field", `{"updates":["u1"]}`, 422, "invalid_input", "status"},
		{"unknown status", `{"updates":["u1"],"status":"maybe"}`, 422, "value_unknown", "status"},
		{"unknown class in a filter", `{"matching":{"class":["thirdparty"]},"status":"declined"}`, 422, "value_unknown", "matching.class"},
		{"both a list and a filter", `{"updates":["u1"],"matching":{},"status":"approved"}`, 422, "updates_missing", "updates"},
		{"neither", `{"status":"approved"}`, 422, "updates_missing", "updates"},
		{"nested 100,000 deep", deep, 413, "too_large", ""},
		{"nested too deep in little space", strings.Repeat("[", 1000) + strings.Repeat("]", 1000), 400, "malformed", ""},
		{"a million elements", `{"status":"approved","updates":["` + strings.Repeat(`u","`, 1_000_000) + `"]}`, 413, "too_large", ""},
	}
	for _, tt := range tests {
		w.calls = nil
		rec := w.call("POST", api.Prefix+"/decisions", w.tokens["administrator"], tt.body)
		p := problemIn(t, rec)
		if rec.Code != tt.status || p.Code != tt.code || p.Field != tt.field || len(w.calls) != 0 {
			t.Errorf("%s: got %d %s field %q after calls %v, want %d %s field %q: %s", tt.name, rec.Code, p.Code, p.Field, w.calls, tt.status, tt.code, tt.field, p.Detail)
		}
		for _, inside := range []string{"json:", "Go ", "client.", "strconv", "huma"} {
			if strings.Contains(rec.Body.String(), inside) {
				t.Errorf("%s: the answer shows the inside of the server: %s", tt.name, rec.Body)
			}
		}
	}
}

// TestBodiesWithoutTheJSONContentTypeAreRefused: forms are what a foreign page can send without asking.
func TestBodiesWithoutTheJSONContentTypeAreRefused(t *testing.T) {
	w := newWorld(t)
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=utf-16", "application/jsonp", "application/merge-patch+json"} {
		r := httptest.NewRequest("POST", api.Prefix+"/decisions", strings.NewReader(`{"updates":["u1"],"status":"approved"}`))
		r.Header.Set("Authorization", "Bearer "+w.tokens["administrator"])
		if kind != "" {
			r.Header.Set("Content-Type", kind)
		}
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, r)
		if p := problemIn(t, rec); rec.Code != 415 || p.Code != "content_type" || len(w.calls) != 0 {
			t.Errorf("content type %q: got %d %s after %v, want 415", kind, rec.Code, p.Code, w.calls)
		}
	}
}

func TestRequestsFromForeignPagesAreRefused(t *testing.T) {
	w := newWorld(t)
	for _, header := range [][2]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}} {
		r := httptest.NewRequest("POST", api.Prefix+"/decisions", strings.NewReader(`{"updates":["u1"],"status":"approved"}`))
		r.Header.Set("Authorization", "Bearer "+w.tokens["administrator"])
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set(header[0], header[1])
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, r)
		if p := problemIn(t, rec); rec.Code != 403 || p.Code != "cross_origin" || len(w.calls) != 0 {
			t.Errorf("%v: got %d %s after %v, want 403", header, rec.Code, p.Code, w.calls)
		}
	}
}

func TestUnknownQueryParametersAndValuesAreRefused(t *testing.T) {
	w := newWorld(t)
	tests := map[string]string{
		"/updates?stauts=approved":  "stauts",
		"/updates?status=aproved":   "status",
		"/updates?security=perhaps": "security",
		"/updates?limit=1001":       "limit",
		"/updates?limit=x":          "limit",
		"/queue?state=slow":         "state",
		"/devices?state=asleep":     "state",
		"/events?before=yesterday":  "before",
		"/exceptions?all=1":         "all",
	}
	for path, field := range tests {
		rec := w.call("GET", api.Prefix+path, w.tokens["viewer"], "")
		if p := problemIn(t, rec); rec.Code != 422 || p.Field != field {
			t.Errorf("GET %s: got %d field %q (%s), want 422 field %q", path, rec.Code, p.Field, p.Detail, field)
		}
	}
}

func TestUnknownAddressesAndMethodsAreProblemsToo(t *testing.T) {
	w := newWorld(t)
	tests := []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", api.Prefix + "/nothing", 404, "route_unknown"},
		{"GET", "/", 404, "route_unknown"},
		{"GET", api.Prefix + "/decisions", 405, "method_not_allowed"},
		{"DELETE", api.Prefix + "/updates", 405, "method_not_allowed"},
		{"GET", api.Prefix + "/updates/a/b/c", 404, "route_unknown"},
	}
	for _, tt := range tests {
		rec := w.call(tt.method, tt.path, w.tokens["administrator"], "")
		if p := problemIn(t, rec); rec.Code != tt.status || p.Code != tt.code {
			t.Errorf("%s %s: got %d %s, want %d %s", tt.method, tt.path, rec.Code, p.Code, tt.status, tt.code)
		}
	}
}

// TestFaultsKeepTheirKindCodeAndField maps every kind to its one status, and keeps causes inside.
func TestFaultsKeepTheirKindCodeAndField(t *testing.T) {
	w := newWorld(t)
	kinds := map[fault.Kind]int{fault.Invalid: 422, fault.NotFound: 404, fault.Conflict: 409, fault.Forbidden: 403,
		fault.Unauthenticated: 401, fault.Gone: 410, fault.TooLarge: 413, fault.Unavailable: 503, fault.Internal: 500}
	for kind, status := range kinds {
		w.err = fmt.Errorf("deep inside: %w", fault.New(kind, "some_code", "Say this.").On("place").Because(fmt.Errorf("secret path")))
		rec := w.call("GET", api.Prefix+"/status", w.tokens["viewer"], "")
		p := problemIn(t, rec)
		if rec.Code != status || p.Kind != string(kind) || p.Code != "some_code" || p.Field != "place" || p.Detail != "Say this." {
			t.Errorf("%s: got %d %+v", kind, rec.Code, p)
		}
		if strings.Contains(rec.Body.String(), "secret") || strings.Contains(rec.Body.String(), "inside") {
			t.Errorf("%s: the answer shows a cause: %s", kind, rec.Body)
		}
	}
	w.err = fmt.Errorf("open /var/lib/secret: permission denied")
	if rec := w.call("GET", api.Prefix+"/status", w.tokens["viewer"], ""); rec.Code != 500 || strings.Contains(rec.Body.String(), "secret") {
		t.Errorf("an ordinary error: got %d %s", rec.Code, rec.Body)
	}
}

func TestAnswersAreNeverCachedSniffedOrFramed(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/status", "/nothing", "/openapi.yaml"} {
		h := w.call("GET", api.Prefix+path, w.tokens["viewer"], "").Header()
		if h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: headers %v", path, h)
		}
	}
}
