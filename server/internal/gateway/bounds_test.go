package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"assent/wire"
)

func TestN05_BombsAndOversizeBodiesAreRefusedWithoutBeingHeldInMemory(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	enc.Reset(&packed)
	zeros := make([]byte, 1<<20)
	for range 512 {
		if _, err := enc.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := enc.Close(); err != nil {
		t.Fatal(err)
	}
	bomb := packed.Bytes()
	if len(bomb) > 1<<20 {
		t.Fatalf("the bomb has %d bytes: it proves nothing", len(bomb))
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for path, want := range map[string]int{wire.PathCheckIn: 413, wire.PathReports: 413, wire.PathRenew: 413} {
		if code, problem := b.send(a.http, http.MethodPost, path, bytes.NewReader(bomb), nil); code != want {
			t.Errorf("512 MiB of zeros to %s: %d %s; want %d", path, code, problem, want)
		}
	}
	if code, problem := b.send(b.client(), http.MethodPost, wire.PathEnrol, bytes.NewReader(bomb), nil); code != 413 {
		t.Errorf("512 MiB of zeros from a stranger: %d %s; want 413", code, problem)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 96<<20 {
		t.Errorf("refusing four bombs took %d MiB of allocations", grown>>20)
	}
	plain := bytes.Repeat([]byte(" "), wire.MaxMessage+1)
	if code, _ := b.send(a.http, http.MethodPost, wire.PathCheckIn, bytes.NewReader(plain), nil); code != 413 {
		t.Errorf("a message over the cap: %d; want 413", code)
	}
	if code, _ := b.send(a.http, http.MethodPost, wire.PathCheckIn, struct{ io.Reader }{bytes.NewReader(plain)}, nil); code != 413 {
		t.Errorf("a chunked message over the cap: %d; want 413", code)
	}
}

func TestN08_DeepBrokenAndWronglyCompressedJSONIsRefused(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	for name, tc := range map[string]struct{ body, problem string }{
		"100,000 levels":      {strings.Repeat("[", 100_000), "body_too_deep"},
		"levels in a field":   {`{"progress":` + strings.Repeat(`{"a":`, 1000) + "1" + strings.Repeat("}", 1001), "body_too_deep"},
		"no JSON":             {"hello", "body_malformed"},
		"NaN":                 {`{"sequence":NaN}`, "body_malformed"},
		"empty":               {"", "body_malformed"},
		"two values":          {`{} {}`, "body_malformed"},
		"a broken zstd frame": {"\x28\xb5\x2f\xfd" + strings.Repeat("\xff", 100), "body_compression"},
		"brackets in a text":  {`{"plan":"` + strings.Repeat("[", 100) + `"}`, "checkin_invalid"},
	} {
		if code, problem := b.send(a.http, http.MethodPost, wire.PathCheckIn, strings.NewReader(tc.body), nil); code != 400 || problem != tc.problem {
			t.Errorf("%s: %d %s; want 400 %s", name, code, problem, tc.problem)
		}
	}
}

func TestN11_OtherSpellingsOfAPathLeadNowhere(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	conf := a.http.Transport.(*http.Transport).TLSClientConfig
	for _, path := range []string{"//agent/v1/checkin", "/agent/v1/../v1/checkin", "/agent/v1/checkin/", "/agent/v1/%63heckin", "/agent/v1/plan/%2e%2e", "/AGENT/v1/checkin", "/", "*", "/agent/v1/checkin;x"} {
		c, err := tls.Dial("tcp", b.addr, conf)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", path)
		answer, _ := io.ReadAll(c)
		if !bytes.HasPrefix(answer, []byte("HTTP/1.1 404")) && !bytes.HasPrefix(answer, []byte("HTTP/1.1 400")) {
			t.Errorf("%s: %.60q; want 404 or 400, and no redirect", path, answer)
		}
		c.Close()
	}
}

func TestN09_SlowStrangersAreBoundedInNumberAndTime(t *testing.T) {
	limits := Limits{PerAddress: 8, HeaderTimeout: 300 * time.Millisecond}
	b := newBench(t, limits)
	var held []net.Conn
	for range limits.PerAddress {
		c, err := net.Dial("tcp", b.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte{0x16}); err != nil { // the first byte of a handshake, and no more
			t.Fatal(err)
		}
		held = append(held, c)
	}
	for strangers := 0; strangers < limits.PerAddress; strangers, _ = b.gw.conns.counts() {
		runtime.Gosched() // until the server has accepted them all
	}
	over, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer over.Close()
	_ = over.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := over.Read(make([]byte, 1)); err == nil {
		t.Error("a stranger over the limit was served")
	}
	for _, c := range held { // each ends by itself
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("a slow handshake was not ended by the server: %v", err)
		}
	}
	for strangers := 1; strangers > 0; strangers, _ = b.gw.conns.counts() {
		runtime.Gosched()
	}
	b.agent().settle()
}

func TestN09_SlowHeaderAndSlowBodyEnd(t *testing.T) {
	b := newBench(t, Limits{HeaderTimeout: 300 * time.Millisecond, BodyTimeout: 300 * time.Millisecond})
	a := b.agent()
	a.settle()
	conf := a.http.Transport.(*http.Transport).TLSClientConfig
	for name, start := range map[string]string{
		"header": "POST /agent/v1/checkin HTTP/1.1\r\nHost: x\r\nX-A: ",
		"body":   "POST /agent/v1/checkin HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
	} {
		c, err := tls.Dial("tcp", b.addr, conf)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(c, start); err != nil {
			t.Fatal(err)
		}
		if answer, err := io.ReadAll(c); err != nil || bytes.Contains(answer, []byte("200 OK")) {
			t.Errorf("slow %s: %.60q, %v; want the server to end it", name, answer, err)
		}
		c.Close()
	}
}

func TestN28_OneDevicesRequestsAndConnectionsAreBounded(t *testing.T) {
	b := newBench(t, Limits{DeviceFlight: 2, PerDevice: 3})
	a, neighbour := b.agent(), b.agent()
	a.settle()
	conf := a.http.Transport.(*http.Transport).TLSClientConfig
	body := make([]net.Conn, 2)
	for i := range body { // two requests that never finish their bodies
		c, err := tls.Dial("tcp", b.addr, conf)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", wire.PathReports)
		body[i] = c
	}
	s := b.gw.session(a.id)
	for flight := 0; flight < 2; {
		flight = int(s.flight.Load())
		runtime.Gosched()
	}
	if _, code, problem := a.once(); code != 503 || problem != "device_busy" {
		t.Errorf("a third request: %d %s; want 503 device_busy", code, problem)
	}
	second := b.client(a.cert)
	if code, problem := b.send(second, http.MethodGet, wire.PathPlan+"/"+a.plan, nil, nil); code != 503 || problem != "device_connections" {
		t.Errorf("a fourth connection: %d %s; want 503 device_connections", code, problem)
	}
	neighbour.settle()
}

func TestRefusedRequestDoesNotWaitForTheRestOfItsBody(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	c, err := tls.Dial("tcp", b.addr, a.http.Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(c, "PUT %s/facts/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", wire.PathDocument)
	if answer, err := io.ReadAll(c); err != nil || !bytes.Contains(answer, []byte("409 Conflict")) {
		t.Errorf("%.60q, %v; want a refusal and the end of the connection", answer, err)
	}
}

func TestOverloadIsRefusedWithRetryAfterAndRecovers(t *testing.T) {
	b := newBench(t, Limits{Requests: 1})
	a := b.agent()
	a.settle()
	var held call
	if !b.gw.enter(&held) {
		t.Fatal("no place")
	}
	resp, err := a.http.Post(b.url(wire.PathCheckIn), "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%d, Retry-After %q; want 503 with one", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	b.gw.leave(&held)
	a.settle()
}

func TestParkedLongPollsTakeNoWorkingPlace(t *testing.T) {
	b := newBench(t, Limits{Requests: 1})
	var group sync.WaitGroup
	agents := []*agent{b.agent(), b.agent(), b.agent()}
	for _, a := range agents {
		a.settle()
		a.wait = 60
	}
	for _, a := range agents {
		group.Go(func() { _, _, _ = a.once() })
		<-b.w.polled
	}
	b.agent().settle()
	for _, a := range agents {
		b.w.replan(a.id, `{"format":1,"new":"`+string(a.id)+`"}`)
	}
	group.Wait()
}

func TestCallOfAHungUpDeviceEndsItsLongPoll(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	ctx, cancel := context.WithCancel(t.Context())
	body := mustJSON(t, wire.CheckIn{BootID: a.boot, Run: a.run, Sequence: a.seq + 1, Digests: a.digests(), Plan: a.plan, Wait: 300})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url(wire.PathCheckIn), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := a.http.Do(req); done <- err }()
	<-b.w.polled
	cancel()
	if err := <-done; err == nil {
		t.Fatal("the call went through")
	}
	for open := 1; open > 0; {
		b.w.mu.Lock()
		open = b.w.polls
		b.w.mu.Unlock()
		runtime.Gosched()
	}
}

func FuzzDecompress(f *testing.F) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(enc.EncodeAll([]byte(`{"a":[1,2,3]}`), nil))
	f.Add([]byte(`{"plain":true}`))
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd})
	f.Fuzz(func(t *testing.T, data []byte) {
		var buf bytes.Buffer
		const limit = 1 << 16
		if err := new(codec).decompress(bytes.NewReader(data), limit, &buf); err == nil && len(data) <= limit && buf.Len() > limit {
			t.Errorf("%d bytes came out; the limit is %d", buf.Len(), limit)
		}
		shallow(buf.Bytes(), maxDepth)
	})
}
