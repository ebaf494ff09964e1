package server

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"assent/approval"
	"assent/client"
	"assent/installation"
	"assent/ledger"
	"assent/server/internal/tracing"
	"assent/wire"
)

// receiver is an OTLP/HTTP receiver: it decodes what it gets.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	spans []*spans.Span
	raw   bytes.Buffer
}

func receive(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var body io.Reader = req.Body
		if req.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(req.Body)
			if err != nil {
				t.Error(err)
				return
			}
			body = z
		}
		b, err := io.ReadAll(body)
		var got collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(b, &got)
		}
		if err != nil || req.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", req.URL.Path, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.raw.Write(b)
		for _, resource := range got.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				r.spans = append(r.spans, scope.Spans...)
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// of lists the spans of a trace by name.
func (r *receiver) of(trace string) map[string]*spans.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]*spans.Span{}
	for _, s := range r.spans {
		if hex.EncodeToString(s.TraceId) == trace {
			out[s.Name] = s
		}
	}
	return out
}

func TestTraces_LeadFromTheActToTheDevicesProofAndNameNobody(t *testing.T) {
	r := receive(t)
	l := start(t, t.TempDir(), func(c *Config) { c.Tracing.Endpoint = r.URL })
	admin := l.admin()
	_, dev, _ := l.enrolAs(admin, "secret-host-name")
	s := &swarm{agents: l.agents}
	docs, digests, release := documents()
	s.docs, s.digests = docs, digests
	d := &drone{http: dev}
	checkIn := func() {
		t.Helper()
		if _, err := s.checkIn(t.Context(), d, 0); err != nil {
			t.Fatal(err)
		}
	}
	for d.plan == "" {
		checkIn()
	}
	const parent = "4bf92f3577b34da6a3ce929d0e0e4736"
	body, err := json.Marshal(client.Decide{Updates: []string{string(release.ID())}, Status: approval.Approved, Reason: "secret reason"})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+l.api+"/api/v1/decisions", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+admin)
	req.Header.Set("Traceparent", "00-"+parent+"-00f067aa0ba902b7-01")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	var outcome client.Outcome
	if err := json.NewDecoder(resp.Body).Decode(&outcome); err != nil || resp.StatusCode != 200 {
		t.Fatalf("approve: %d, %v", resp.StatusCode, err)
	}
	resp.Body.Close()
	checkIn() // gets the new plan
	now := time.Now().UTC()
	proof := &wire.Proof{Transaction: "tx1", Plan: d.plan, Counter: outcome.Act, Started: now.Add(-time.Second), Finished: now, AuditClean: true}
	for i, state := range []installation.State{installation.Assigned, installation.Downloading, installation.Downloaded, installation.Installing, installation.Installed} {
		report := wire.Report{ID: "r" + string(rune('0'+i)), At: now, Update: release.ID(), State: state}
		if state == installation.Installed {
			report.Proof = proof
		}
		if code := l.send(dev, wire.PathReports, wire.Reports{Reports: []wire.Report{report}}, nil); code != 200 {
			t.Fatalf("report %s: %d", state, code)
		}
	}
	if err := l.stop(); err != nil { // sends what is left
		t.Fatal(err)
	}

	trace := ""
	r.mu.Lock()
	for _, span := range r.spans {
		if span.Name == "act "+string(ledger.UpdateDecide{}.Kind()) {
			trace = hex.EncodeToString(span.TraceId)
			if len(span.Links) != 1 || hex.EncodeToString(span.Links[0].TraceId) != parent {
				t.Errorf("the act links %v, want the trace of the request", span.Links)
			}
		}
	}
	r.mu.Unlock()
	all := r.of(trace)
	root := all["act update.decide"]
	for _, name := range []string{"plan computed", "plan delivered", "device installing", "device installed"} {
		span := all[name]
		if span == nil {
			t.Errorf("the trace of the act has no span %q", name)
			continue
		}
		if !bytes.Equal(span.ParentSpanId, root.GetSpanId()) {
			t.Errorf("%q does not hang below the act", name)
		}
	}
	if span := all["device installed"]; span != nil {
		text := span.String()
		for _, has := range []string{"tx1", "assent.audit_clean", d.plan} {
			if !strings.Contains(text, has) {
				t.Errorf("the proof's span says nothing of %s: %s", has, text)
			}
		}
	}
	if face := r.of(parent)["api POST"]; face == nil || len(face.Links) != 1 || hex.EncodeToString(face.Links[0].TraceId) != trace {
		t.Errorf("the request's span does not lead to the act: %v", face)
	}
	for _, secret := range []string{"secret-host-name", "secret reason", "admin"} {
		if bytes.Contains(r.raw.Bytes(), []byte(secret)) {
			t.Errorf("the traces hold %q", secret)
		}
	}
}

func TestTraces_AreOffUnlessSomebodyNamesACollector(t *testing.T) {
	if tr, err := tracing.Open(t.Context(), tracing.Config{}); tr != nil || err != nil {
		t.Errorf("%v, %v; want none", tr, err)
	}
	for _, share := range []float64{-1, 1.5} {
		if _, err := tracing.Open(t.Context(), tracing.Config{Endpoint: "http://127.0.0.1:1", Sample: share}); err == nil {
			t.Errorf("a sample of %v is taken", share)
		}
	}
}

func TestTraces_ACollectorThatIsAwayHoldsUpNothing(t *testing.T) {
	l := start(t, t.TempDir(), func(c *Config) { c.Tracing.Endpoint = "http://127.0.0.1:1" })
	admin := l.admin()
	if code := l.call(http.MethodPost, "/api/v1/groups", admin, map[string]string{"name": "g"}, nil); code/100 != 2 {
		t.Errorf("an act: %d", code)
	}
}
