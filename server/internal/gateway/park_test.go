package gateway

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/fleet"
	"assent/wire"
)

// wiredAgent is an agent on one connection that it never leaves.
type wiredAgent struct {
	*agent
	conn *tls.Conn
	in   *bufio.Reader
}

func (a *agent) wired() *wiredAgent {
	t := a.b.t
	t.Helper()
	c, err := tls.Dial("tcp", a.b.addr, a.http.Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return &wiredAgent{a, c, bufio.NewReader(c)}
}

// text is a check-in with the next sequence.
func (w *wiredAgent) text(wait int) string {
	w.seq++
	body, err := json.Marshal(wire.CheckIn{Capability: 1, BootID: w.boot, Run: w.run, Sequence: w.seq, Digests: w.digests(), Plan: w.plan, Wait: wait})
	if err != nil {
		w.b.t.Fatal(err)
	}
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", wire.PathCheckIn, len(body), body)
}

func (w *wiredAgent) send(text string) {
	w.b.t.Helper()
	if _, err := io.WriteString(w.conn, text); err != nil {
		w.b.t.Fatal(err)
	}
}

// answer reads one answer: its status, or the code of its refusal.
func (w *wiredAgent) answer() (reply wire.CheckInReply, said string, last bool) {
	w.b.t.Helper()
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil {
		w.b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.b.t.Fatal(err)
	}
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(body, &reply); err != nil {
			w.b.t.Fatal(err)
		}
		return reply, "ok", resp.Close
	}
	var p problem
	_ = json.Unmarshal(body, &p)
	return reply, p.Code, resp.Close
}

// park opens a long poll and returns when it is open.
func (w *wiredAgent) park() {
	w.b.t.Helper()
	w.send(w.text(300))
	select {
	case <-w.b.w.polled:
	case <-time.After(20 * time.Second):
		w.b.t.Fatal("the long poll was not opened")
	}
}

// closed waits until the server has closed the connection.
func (w *wiredAgent) closed() {
	w.b.t.Helper()
	if n, err := w.in.Read(make([]byte, 1)); n != 0 || err == nil || strings.Contains(err.Error(), "timeout") {
		w.b.t.Errorf("read %d bytes, %v; want the end of the connection", n, err)
	}
}

// want waits for one answer and compares it.
func (w *wiredAgent) want(when, want string) wire.CheckInReply {
	w.b.t.Helper()
	reply, said, last := w.answer()
	if said != want || last {
		w.b.t.Errorf("%s: %s, the last one: %v; want %s and the connection kept", when, said, last, want)
	}
	return reply
}

func TestManyLongPollsAndOtherRequestsTakeTurnsOnOneConnection(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	w := a.wired()
	for i := range 3 * b.gw.Limits.DeviceFlight {
		w.park()
		b.w.replan(a.id, fmt.Sprintf(`{"format":1,"turn":%d}`, i))
		if reply := w.want("long poll", "ok"); reply.Statement == nil {
			t.Fatalf("turn %d: %+v; want the new statement", i, reply)
		}
		w.send(w.text(0))
		w.want("a request after it", "ok")
	}
	if n := b.gw.session(a.id).flight.Load(); n != 0 {
		t.Errorf("%d places of the device are still taken", n)
	}
	if _, devices := b.gw.conns.counts(); devices != 1 {
		t.Errorf("%d devices are connected; want 1", devices)
	}
}

func TestWhatADeviceSaysWhileItsLongPollIsHeldEndsItAndIsAnsweredNext(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	w := a.wired()
	w.park()
	w.send(w.text(0))
	w.want("the long poll", "ok")
	w.want("the next request", "ok")
}

func TestARequestThatCameWithALongPollIsNotLostBetweenBuffers(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	w := a.wired()
	first := w.text(300)
	w.send(first + w.text(0))
	if _, said, last := w.answer(); said != "ok" || !last {
		t.Errorf("the long poll: %s, the last one: %v; want an answer that ends the connection, so that the device asks again", said, last)
	}
	w.closed()
}

func TestALongPollOfAConnectionThatShallCloseEndsIt(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	w := a.wired()
	w.send(strings.Replace(w.text(300), "Host: x\r\n", "Host: x\r\nConnection: close\r\n", 1))
	<-b.w.polled
	b.w.replan(a.id, `{"format":1,"new":true}`)
	if reply, said, last := w.answer(); said != "ok" || !last || reply.Statement == nil {
		t.Errorf("%s, the last one: %v, %+v; want the statement, and the end", said, last, reply)
	}
	w.closed()
}

func TestAWakeThatComesLateDisturbsNoLaterRequest(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	w := a.wired()
	w.park()
	b.gw.session(a.id).mu.Lock()
	p := b.gw.session(a.id).poll
	b.gw.session(a.id).mu.Unlock()
	b.w.replan(a.id, `{"format":1,"new":true}`)
	w.want("long poll", "ok")
	p.again() // while the connection rests
	p.end()
	w.send(w.text(0))
	w.want("a request after it", "ok")
	p.again() // while net/http has it
	p.end()
	w.send(w.text(0))
	w.want("a request after a late wake", "ok")
}

func TestADeviceThatIsCutOffLeavesNothingOfItsLongPoll(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	w := a.wired()
	a.http.CloseIdleConnections()
	w.park()
	tcp := w.conn.NetConn().(*net.TCPConn)
	_ = tcp.SetLinger(0) // as if its network were gone and the kernel had found out
	tcp.Close()
	for held := true; held; runtime.Gosched() {
		b.w.mu.Lock()
		held = b.w.polls != 0
		b.w.mu.Unlock()
		b.gw.polls.mu.Lock()
		held = held || len(b.gw.polls.held) != 0
		b.gw.polls.mu.Unlock()
		strangers, devices := b.gw.conns.counts()
		held = held || b.gw.session(a.id).flight.Load() != 0 || b.gw.parked.Load() != 0 || strangers+devices != 0
	}
}

func TestAConnectionThatRestsAfterALongPollIsClosedInTheEnd(t *testing.T) {
	b := newBench(t, Limits{IdleTimeout: 50 * time.Millisecond})
	a := b.agent()
	a.settle()
	w := a.wired()
	w.park()
	b.w.replan(a.id, `{"format":1,"new":true}`)
	w.want("long poll", "ok")
	w.closed()
}

func TestAConnectionThatRestsAfterALongPollHoldsUpNoShutdown(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	w := a.wired()
	w.park()
	b.w.replan(a.id, `{"format":1,"new":true}`)
	w.want("long poll", "ok")
	if err := b.stop(); err != nil {
		t.Error(err)
	}
	w.closed()
}

func TestN32_WhoLosesTheRightToAPlanWhileItWaitsGetsNone(t *testing.T) {
	all := losses()
	all["device_quarantined"] = func(b *bench, a *agent) { b.w.setState(a.id, fleet.Quarantined) }
	for want, lose := range all {
		t.Run(want, func(t *testing.T) {
			b := newBench(t, Limits{})
			a := b.agent()
			a.settle()
			w := a.wired()
			w.park()
			lose(b, a)
			b.w.replan(a.id, `{"format":1,"new":true}`)
			w.want("the long poll that was held", want)
		})
	}
}

func TestPlansThatChangeWhileManyWaitReachAllOfThem(t *testing.T) {
	const agents, changes = 16, 20
	b := newBench(t, Limits{DeviceBurst: 10_000})
	go func() {
		for range b.w.polled { // nobody counts them here
		}
	}()
	var group sync.WaitGroup
	for range agents {
		a := b.agent()
		a.settle()
		group.Go(func() {
			w := a.wired()
			for last := ""; last != fmt.Sprintf(`"to":%d`, changes); {
				w.send(w.text(300))
				reply, said, end := w.answer()
				if said != "ok" || end {
					t.Errorf("%s, the last one: %v", said, end)
					return
				}
				if reply.Statement == nil {
					continue
				}
				var body wire.StatementBody
				if err := json.Unmarshal(reply.Statement.Body, &body); err != nil {
					t.Error(err)
					return
				}
				w.plan = body.Plan
				plan, _ := b.w.PlanBytes(body.Plan)
				_, text, _ := strings.Cut(string(plan), ",")
				last = strings.TrimSuffix(text, "}")
			}
		})
		group.Go(func() {
			for i := range changes + 1 {
				b.w.replan(a.id, fmt.Sprintf(`{"for":%q,"to":%d}`, strings.ReplaceAll(string(a.id), ",", ""), i))
				runtime.Gosched()
			}
		})
	}
	group.Wait()
}

// What is written after net/http let go of a request is what net/http would have written.
func TestTheAnswerOfALongPollIsWhatNetHTTPWrites(t *testing.T) {
	for name, serve := range map[string]http.HandlerFunc{
		"small": func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{"application/json"}
			_, _ = w.Write([]byte(`{"now":1}`))
		},
		"large": func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{"application/json"}
			w.Header()["Content-Length"] = []string{"100000"}
			_, _ = w.Write(bytes.Repeat([]byte("x"), 100_000))
		},
		"refusal": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"code":"a\r\nb"}`))
		},
	} {
		for _, last := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, the last one: %v", name, last), func(t *testing.T) {
				server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/plain" {
						serve(w, r)
						return
					}
					c, _, err := http.NewResponseController(w).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					s := newSheet(c.(*tls.Conn))
					serve(s, r)
					if err := s.send(last); err != nil {
						t.Error(err)
					}
				}))
				defer server.Close()
				type answer struct {
					Status string
					Proto  string
					Header http.Header
					Length int64
					Close  bool
					Body   string
				}
				ask := func(path string) answer {
					c, err := tls.Dial("tcp", server.Listener.Addr().String(), server.Client().Transport.(*http.Transport).TLSClientConfig)
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					closing := ""
					if last {
						closing = "Connection: close\r\n"
					}
					if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: example.com\r\n%s\r\n", path, closing); err != nil {
						t.Fatal(err)
					}
					resp, err := http.ReadResponse(bufio.NewReader(c), nil)
					if err != nil {
						t.Fatal(err)
					}
					defer resp.Body.Close()
					body, err := io.ReadAll(resp.Body)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := http.ParseTime(resp.Header.Get("Date")); err != nil {
						t.Errorf("%s has no date: %v", path, err)
					}
					resp.Header.Del("Date")
					return answer{resp.Status, resp.Proto, resp.Header, resp.ContentLength, resp.Close, string(body)}
				}
				if diff := cmp.Diff(ask("/plain"), ask("/by-hand")); diff != "" {
					t.Errorf("net/http (-), the sheet (+):\n%s", diff)
				}
			})
		}
	}
}
