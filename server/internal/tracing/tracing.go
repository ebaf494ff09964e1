// Package tracing tells an OpenTelemetry collector how acts came to devices: the act in the ledger, the plans computed
// after it, their delivery to each device, and what the devices reported, down to the proof.
//
// Guarantees: it is off unless somebody names a collector. The trace of an act is found by the act alone: its id is made of
// the digest of the ledger's entry, so every server makes the same one, nothing is added to plans or to the protocol, and
// agents know nothing of it. What is sent more than once has the same span id. Spans name acts by number and kind, devices
// and updates by id, and no person, host or address. A collector that is away or slow holds up nothing: spans are dropped.
//
// It does not say whether anything is right: that is the business of the ledger. Spans may be lost.
package tracing

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/wire"
)

// Config is what Open needs. Without an endpoint, here or in the environment, nothing is traced.
type Config struct {
	Endpoint string  // URL of an OTLP/HTTP receiver, such as http://127.0.0.1:4318; empty: OTEL_EXPORTER_OTLP_ENDPOINT
	Sample   float64 // share of traces that are sent, above 0 up to 1; 0: OTEL_TRACES_SAMPLER_ARG, or all
	Version  string
	// Entries reads the ledger, for acts that were made before the start or by another server.
	Entries func(ctx context.Context, from, limit int64) ([][]byte, error)
	Log     *slog.Logger
}

// Bounds on what is kept in memory and sent.
const (
	maxActs   = 256  // acts whose traces are remembered
	maxSpans  = 2000 // of devices in the trace of one act
	reachBack = 16   // acts that one new plan of a device may stand for
)

// Tracer sends spans. A nil one does nothing.
type Tracer struct {
	conf     Config
	provider *sdk.TracerProvider
	tracer   trace.Tracer

	mu    sync.Mutex
	acts  map[int64]*act
	order []int64
	seen  map[fleet.DeviceID]int64 // up to which act each device got its plan
}

// act is what is remembered of an act.
type act struct {
	span  trace.SpanContext
	kind  ledger.Kind
	at    time.Time
	spans int
}

// Open starts tracing, or returns nil where nobody asked for it.
func Open(ctx context.Context, c Config) (*Tracer, error) {
	if c.Endpoint == "" && os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		return nil, nil //nolint:nilnil // a nil tracer is one that does nothing
	}
	share, err := c.share()
	if err != nil {
		return nil, err
	}
	var opts []otlptracehttp.Option
	if c.Endpoint != "" {
		opts = append(opts, otlptracehttp.WithEndpointURL(c.Endpoint+"/v1/traces"))
	}
	exporter, err := otlptracehttp.New(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("open the exporter of traces: %w", err)
	}
	what, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "assentd"), attribute.String("service.version", c.Version)), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("describe the server for traces: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { c.Log.Debug("traces could not be sent", "err", err) })) // it would write to standard error
	p := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(what), sdk.WithIDGenerator(ids{}), sdk.WithSampler(sdk.TraceIDRatioBased(share)))
	return &Tracer{conf: c, provider: p, tracer: p.Tracer("assent"), acts: map[int64]*act{}, seen: map[fleet.DeviceID]int64{}}, nil
}

// share is the share of traces that are sent.
func (c Config) share() (float64, error) {
	if c.Sample < 0 || c.Sample > 1 {
		return 0, fmt.Errorf("tracing: the sample is %v; it is a share from 0 to 1", c.Sample)
	}
	if c.Sample > 0 {
		return c.Sample, nil
	}
	text := os.Getenv("OTEL_TRACES_SAMPLER_ARG")
	if text == "" {
		return 1, nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v < 0 || v > 1 {
		return 0, fmt.Errorf("tracing: OTEL_TRACES_SAMPLER_ARG is %q; it is a share from 0 to 1", text)
	}
	return v, nil
}

// Close sends what is left.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		t.conf.Log.Warn("the last traces could not be sent", "err", err)
	}
	return nil
}

// idsKey carries ids that were made of what a span is about.
type idsKey struct{}

type given struct {
	trace trace.TraceID
	span  trace.SpanID
}

// ids makes the ids of spans: those that the context carries.
type ids struct{}

// NewIDs implements sdk.IDGenerator.
func (ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if g, ok := ctx.Value(idsKey{}).(given); ok {
		return g.trace, g.span
	}
	return random()
}

// NewSpanID implements sdk.IDGenerator.
func (ids) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	if g, ok := ctx.Value(idsKey{}).(given); ok {
		return g.span
	}
	_, s := random()
	return s
}

// spanContext is the root span of the act whose encoded entry this is.
func spanContext(entry []byte) trace.SpanContext {
	sum := sha256.Sum256(append([]byte("assent act\x00"), entry...))
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID(sum[:16]), SpanID: trace.SpanID(sum[16:24]), TraceFlags: trace.FlagsSampled, Remote: true})
}

// TraceID is the id of the trace of an act, for people who look for it.
func TraceID(entry []byte) string { return spanContext(entry).TraceID().String() }

// Act tells of an act that is in the ledger now. A span in ctx, of the request that made it, is linked.
func (t *Tracer) Act(ctx context.Context, e ledger.Entry) {
	if t == nil {
		return
	}
	raw, err := ledger.Encode(e)
	if err != nil {
		return // it was encoded to be written
	}
	a := t.remember(e, raw)
	opts := []trace.SpanStartOption{trace.WithNewRoot(), trace.WithTimestamp(e.At), trace.WithAttributes(attribute.Int64("assent.act", e.Seq), attribute.String("assent.kind", string(e.Kind)))}
	if from := trace.SpanContextFromContext(ctx); from.IsValid() {
		opts = append(opts, trace.WithLinks(trace.Link{SpanContext: from}))
		trace.SpanFromContext(ctx).AddLink(trace.Link{SpanContext: a.span, Attributes: []attribute.KeyValue{attribute.Int64("assent.act", e.Seq)}})
	}
	_, span := t.tracer.Start(context.WithValue(ctx, idsKey{}, given{a.span.TraceID(), a.span.SpanID()}), "act "+string(e.Kind), opts...)
	span.End()
}

func (t *Tracer) remember(e ledger.Entry, raw []byte) *act {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a, ok := t.acts[e.Seq]; ok {
		return a
	}
	a := &act{span: spanContext(raw), kind: e.Kind, at: e.At}
	t.acts[e.Seq], t.order = a, append(t.order, e.Seq)
	if len(t.order) > maxActs {
		delete(t.acts, t.order[0])
		t.order = t.order[1:]
	}
	return a
}

// of is what is known of an act, read from the ledger if need be.
func (t *Tracer) of(ctx context.Context, seq int64) *act {
	t.mu.Lock()
	a := t.acts[seq]
	t.mu.Unlock()
	if a != nil || t.conf.Entries == nil {
		return a
	}
	raw, err := t.conf.Entries(ctx, seq, 1)
	if err != nil || len(raw) != 1 {
		return nil // a trace is no reason to fail
	}
	e, err := ledger.Decode(raw[0])
	if err != nil {
		return nil
	}
	return t.remember(e, raw[0])
}

// span is a span in the trace of an act, told when it is over. Its id is made of about, what it is about.
func (t *Tracer) span(ctx context.Context, seq int64, name, about string, from, to time.Time, failed string, attrs ...attribute.KeyValue) {
	a := t.of(ctx, seq)
	if a == nil {
		return
	}
	t.mu.Lock()
	a.spans++
	over := a.spans > maxSpans
	t.mu.Unlock()
	if over {
		return
	}
	if from.IsZero() {
		from = a.at
	}
	sum := sha256.Sum256([]byte(name + "\x00" + about))
	ctx = trace.ContextWithRemoteSpanContext(context.WithValue(ctx, idsKey{}, given{a.span.TraceID(), trace.SpanID(sum[:8])}), a.span)
	_, span := t.tracer.Start(ctx, name, trace.WithTimestamp(from), trace.WithAttributes(append(attrs, attribute.Int64("assent.act", seq))...))
	if failed != "" {
		span.SetStatus(codes.Error, failed)
	}
	span.End(trace.WithTimestamp(to))
}

// Computed tells that a plan was computed on the ledger's first counter entries.
func (t *Tracer) Computed(device fleet.DeviceID, digest string, counter int64, took time.Duration) {
	if t == nil {
		return
	}
	t.mu.Lock()
	_, recent := t.acts[counter]
	t.mu.Unlock()
	if recent { // a plan that is computed for another reason, such as a new scan, belongs to no act
		now := time.Now()
		t.span(context.Background(), counter, "plan computed", digest, now.Add(-took), now, "", attribute.String("assent.device", string(device)), attribute.String("assent.plan", digest))
	}
}

// Delivered tells that a device was given a statement. It stands for every act since the device's last one.
func (t *Tracer) Delivered(ctx context.Context, device fleet.DeviceID, s wire.Statement, plan string) {
	if t == nil {
		return
	}
	var body wire.StatementBody
	if json.Unmarshal(s.Body, &body) != nil {
		return // the device refuses it
	}
	counter := body.Counter
	t.mu.Lock()
	before, known := t.seen[device]
	t.seen[device] = counter
	t.mu.Unlock()
	if !known {
		before = counter - 1
	}
	for seq := max(before, counter-reachBack) + 1; seq <= counter; seq++ {
		t.span(ctx, seq, "plan delivered", string(device)+plan, time.Time{}, time.Now(), "", attribute.String("assent.device", string(device)), attribute.String("assent.plan", plan))
	}
}

// Reported tells what a device reported of an update that the act decided on.
func (t *Tracer) Reported(ctx context.Context, device fleet.DeviceID, r wire.Report, seq int64) {
	if t == nil || seq < 1 {
		return
	}
	from, to, failed := r.At, r.At, ""
	attrs := []attribute.KeyValue{attribute.String("assent.device", string(device)), attribute.String("assent.update", string(r.Update)), attribute.String("assent.state", string(r.State))}
	if r.Cause != "" {
		attrs = append(attrs, attribute.String("assent.cause", string(r.Cause)))
	}
	if p := r.Proof; p != nil {
		from, to = p.Started, p.Finished
		attrs = append(attrs, attribute.String("assent.transaction", p.Transaction), attribute.String("assent.plan", p.Plan), attribute.Int64("assent.counter", p.Counter), attribute.Bool("assent.audit_clean", p.AuditClean))
	}
	if r.State == installation.Failed || r.State == installation.RemoveFailed || r.State == installation.ResultUnknown {
		failed = string(r.State)
	}
	t.span(ctx, seq, "device "+string(r.State), string(device)+r.ID, from, to, failed, attrs...)
}

// Handler traces the requests of people. A traceparent (W3C) that comes with one is its parent; route names it.
func (t *Tracer) Handler(face string, next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			next.ServeHTTP(w, r) // reading leads to no act
			return
		}
		ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := t.tracer.Start(ctx, face+" "+r.Method, trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
