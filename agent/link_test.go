package agent

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"assent/agent/internal/identity"
	"assent/agent/internal/uplink"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

// refusals lists the events with which the agent refused plans, and their codes.
func (s *simServer) refusals() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, r := range s.reports {
		if r.Event == "plan_refused" {
			code, _, _ := strings.Cut(r.Detail, ":")
			out = append(out, code)
		}
	}
	return out
}

// resign signs another body with a key.
func resign(t *testing.T, st *wire.Statement, key ed25519.PrivateKey, change func(*wire.StatementBody)) {
	t.Helper()
	var body wire.StatementBody
	if err := json.Unmarshal(st.Body, &body); err != nil {
		t.Fatal(err)
	}
	change(&body)
	var err error
	if *st, err = wire.Sign(key, body); err != nil {
		t.Fatal(err)
	}
}

func TestN12_N13_N14_AStatementThatDoesNotHoldIsRefusedReportedOnceAndNeverActedUpon(t *testing.T) {
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	app := file("app", "2")
	cases := []struct {
		name, code string
		do         func(t *testing.T, s *simServer)
	}{
		{"N12: one byte of the body changed", "plan_signature", func(_ *testing.T, s *simServer) {
			s.tamper = func(st *wire.Statement) {
				st.Body = bytes.Replace(st.Body, []byte(`"counter":`), []byte(`"counter":9`), 1)
			}
		}},
		{"N12: one byte of the signature changed", "plan_signature", func(_ *testing.T, s *simServer) { s.tamper = func(st *wire.Statement) { st.Sig[0] ^= 1 } }},
		{"N12: no signature", "plan_signature", func(_ *testing.T, s *simServer) { s.tamper = func(st *wire.Statement) { st.Sig = nil } }},
		{"N12: another plan under the statement", "plan_digest", func(t *testing.T, s *simServer) {
			evil := installs(file("evil", "6"))
			evil.Format = wire.PlanFormat
			raw, _, err := wire.Encode(evil)
			if err != nil {
				t.Fatal(err)
			}
			s.raw = raw
		}},
		{"N15: signed by a key that is not trusted", "plan_key_unknown", func(t *testing.T, s *simServer) {
			s.tamper = func(st *wire.Statement) { resign(t, st, stranger, func(*wire.StatementBody) {}) }
		}},
		{"N15: signed by a stranger under the trusted key's name", "plan_signature", func(t *testing.T, s *simServer) {
			s.tamper = func(st *wire.Statement) {
				name := st.Key
				resign(t, st, stranger, func(*wire.StatementBody) {})
				st.Key = name
			}
		}},
		{"N13: for another device", "plan_foreign", func(t *testing.T, s *simServer) {
			s.tamper = func(st *wire.Statement) {
				resign(t, st, s.planKey, func(b *wire.StatementBody) { b.Device = "another" })
			}
		}},
		{"N14: expired", "plan_expired", func(t *testing.T, s *simServer) {
			s.tamper = func(st *wire.Statement) {
				resign(t, st, s.planKey, func(b *wire.StatementBody) { b.Expires = time.Now().Add(-time.Second) })
			}
		}},
		{"N14: without an expiry", "plan_expired", func(t *testing.T, s *simServer) {
			s.tamper = func(st *wire.Statement) {
				resign(t, st, s.planKey, func(b *wire.StatementBody) { b.Expires = time.Time{} })
			}
		}},
		{"N45: from the future", "untrusted_clock", func(t *testing.T, s *simServer) {
			s.tamper = func(st *wire.Statement) {
				resign(t, st, s.planKey, func(b *wire.StatementBody) {
					b.Issued = b.Issued.AddDate(10, 0, 0)
					b.Expires = b.Issued.AddDate(0, 0, 1)
				})
			}
		}},
		{"a format of a later agent", "plan_format", func(_ *testing.T, s *simServer) { s.plan.Format = wire.PlanFormat + 1 }},
		{"a guard mode that is not known", "plan_format", func(_ *testing.T, s *simServer) { s.plan.Guard = "lenient" }},
		{"an install that binds to no content", "plan_format", func(_ *testing.T, s *simServer) {
			s.plan.Install[0].Items = []catalog.Item{{Name: "app", Arch: "amd64", Version: "2"}}
		}},
		{"an install of nothing", "plan_format", func(_ *testing.T, s *simServer) { s.plan.Install[0].Items = nil }},
		{"garbage that is signed", "plan_format", func(_ *testing.T, s *simServer) {
			s.tamper = func(st *wire.Statement) { st.Body = []byte("[]"); *st = signRaw(s.planKey, st.Body) }
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, []simFile{app, file("evil", "6")}, "app", "evil")
				b.s.set(installs(app))
				b.s.with(func() { c.do(t, b.s) })
				b.start(t)
				b.pass(20 * time.Minute)
				if got := b.s.refusals(); !slices.Equal(got, []string{c.code}) {
					t.Errorf("refused with %v; want %s, once", got, c.code)
				}
				if len(b.executed()) != 0 || b.m.world().Fenced != nil {
					t.Errorf("executed %v", b.executed())
				}
				if n := len(b.s.checkIns); n > 40 {
					t.Errorf("%d check-ins in 20 minutes of refusals", n)
				}
				if !strings.Contains(b.progress().Error, c.code) {
					t.Errorf("error %q does not say %s", b.progress().Error, c.code)
				}
				// The server comes to its senses.
				b.s.with(func() { b.s.tamper, b.s.raw = nil, nil })
				b.s.set(installs(app))
				b.pass(10 * time.Minute)
				if got := b.executed(); !slices.Equal(got, []string{"app:amd64=2"}) || b.progress().Error != "" {
					t.Errorf("executed %v, error %q", got, b.progress().Error)
				}
			})
		})
	}
}

// signRaw signs bytes that are no statement body, as only a broken or evil server would.
func signRaw(key ed25519.PrivateKey, body []byte) wire.Statement {
	pae := []byte("DSSEv1 " + itoa(len(wire.StatementType)) + " " + wire.StatementType + " " + itoa(len(body)) + " " + string(body))
	return wire.Statement{Body: body, Key: wire.KeyID(key.Public().(ed25519.PublicKey)), Sig: ed25519.Sign(key, pae)}
}

func itoa(n int) string {
	b, err := json.Marshal(n)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestN14_N44_ALowerCounterIsRefusedAlsoAfterARestartAndWithoutThePlanFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		for range 5 {
			b.s.set(wire.Plan{})
		}
		b.start(t)
		b.pass(time.Minute)
		b.s.with(func() { b.s.counter = 2 }) // restored from yesterday's backup, where app was approved
		b.s.set(installs(app))
		b.pass(10 * time.Minute)
		b.stop()
		if err := b.opt.Dir.Remove(planFile); err != nil {
			t.Fatal(err)
		}
		b.start(t)
		b.pass(10 * time.Minute)
		if len(b.executed()) != 0 {
			t.Errorf("executed %v under a lower counter", b.executed())
		}
		if got := b.s.refusals(); len(got) == 0 || got[0] != "plan_counter" {
			t.Errorf("refusals %v", got)
		}
		b.s.with(func() { b.s.counter = 100 })
		b.pass(10 * time.Minute)
		if len(b.executed()) != 1 {
			t.Errorf("after the counter was brought forward: executed %v", b.executed())
		}
	})
}

func TestV5_ThePlanIsActedUponWithoutTheServerUntilItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		soon, late := file("soon", "2"), file("late", "2")
		soon.Missing = true
		late.Needs = []string{"ghost=1"}
		b := newBench(t, []simFile{soon, late}, "soon", "late")
		b.s.expires = 2 * time.Hour
		b.s.set(installs(soon, late))
		b.start(t)
		b.pass(time.Minute)
		b.s.with(func() { b.s.fail = errors.New("connection refused") })
		b.m.change(func(w *simWorld) { w.Pool[0].Missing = false })
		b.pass(time.Hour)
		if got := b.executed(); !slices.Equal(got, []string{"soon:amd64=2"}) {
			t.Errorf("without the server: executed %v", got)
		}
		b.pass(2 * time.Hour)
		b.m.change(func(w *simWorld) { w.Pool[1].Needs = nil })
		b.stop()
		b.start(t) // a restart makes an expired plan no fresher
		b.pass(24 * time.Hour)
		if got := b.executed(); len(got) != 1 {
			t.Errorf("after the plan expired: executed %v", got)
		}
		if e := b.progress().Error; !strings.Contains(e, "plan expired at") {
			t.Errorf("error %q", e)
		}
		if b.m.world().Fenced == nil {
			t.Error("the walls fell with the plan")
		}
		b.s.with(func() { b.s.fail = nil })
		b.pass(10 * time.Minute)
		if got := b.executed(); len(got) != 2 || b.progress().Error != "" {
			t.Errorf("after the server came back: executed %v, error %q", got, b.progress().Error)
		}
	})
}

func TestN57_ServerThatIsAwayForDaysIsAskedWithPatienceAndFoundAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		b.s.fail = &uplink.Refused{Status: 503}
		b.start(t)
		b.pass(72 * time.Hour)
		n := len(b.s.checkIns)
		if least, most := 72*12, 72*24+20; n < least || n > most {
			t.Errorf("%d check-ins in 3 days; want one every 2.5 to 5 minutes (%d to %d)", n, least, most)
		}
		b.s.with(func() { b.s.fail = nil })
		b.s.set(installs(app))
		b.pass(6 * time.Minute)
		if len(b.executed()) != 1 {
			t.Errorf("executed %v", b.executed())
		}
	})
}

func TestN57_RetryAfterOfTheServerIsObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil, "app")
		b.s.fail = &uplink.Refused{Status: 429, RetryAfter: 30 * time.Minute}
		b.start(t)
		b.pass(29 * time.Minute)
		if n := len(b.s.checkIns); n != 1 {
			t.Errorf("%d check-ins within the 30 minutes that the server asked for", n)
		}
	})
}

// eager answers every check-in at once, whatever it asks for.
type eager struct {
	*simServer
	reply wire.CheckInReply
	n     int
}

func (e *eager) CheckIn(context.Context, wire.CheckIn) (wire.CheckInReply, error) {
	e.n++
	return e.reply, nil
}

func TestServerThatNeverHoldsACheckInIsNotAskedInAHotLoop(t *testing.T) {
	for name, reply := range map[string]wire.CheckInReply{
		"empty":        {},
		"negative":     {Next: -5},
		"needs always": {Need: wire.Kinds(), Resend: true},
		"unknown kind": {Need: []wire.Kind{"moods"}},
		"refresh":      {Refresh: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil, "app")
				e := &eager{simServer: b.s, reply: reply}
				b.opt.Dial = func(identity.Identity) (Link, error) { return e, nil }
				b.start(t)
				b.pass(10 * time.Minute)
				if e.n < 5 || e.n > 620 {
					t.Errorf("%d check-ins in 10 minutes", e.n)
				}
				if n := b.m.world().Refreshes; n > 250 {
					t.Errorf("%d refreshes in 10 minutes", n)
				}
			})
		})
	}
}

func TestReportsWhoseAnswersGetLostAreSentAgainAndCountOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		b.s.loseReports = 7
		b.s.set(installs(app))
		b.start(t)
		b.pass(time.Hour)
		want := []installation.State{installation.Assigned, installation.Downloading, installation.Downloaded, installation.Installing, installation.Installed}
		if got := b.s.history(app.install()); !slices.Equal(got, want) {
			t.Errorf("history %v; want %v", got, want)
		}
		if b.s.posts < 8 {
			t.Errorf("%d posts", b.s.posts)
		}
		if left := b.a.journal.Outbox(1 << 20); len(left) != 0 {
			t.Errorf("still owed: %v", left)
		}
	})
}

// picky never takes reports about one update.
type picky struct {
	*simServer
	poison catalog.UpdateID
}

func (p picky) Report(ctx context.Context, reports []wire.Report) ([]string, error) {
	if slices.ContainsFunc(reports, func(r wire.Report) bool { return r.Update == p.poison }) {
		return nil, &uplink.Refused{Status: 422}
	}
	return p.simServer.Report(ctx, reports)
}

func TestReportThatTheServerNeverTakesDoesNotKeepTheOthersBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad, good := file("bad", "2"), file("good", "2")
		b := newBench(t, []simFile{bad, good}, "bad", "good")
		b.opt.Dial = func(identity.Identity) (Link, error) { return picky{b.s, bad.release().ID()}, nil }
		b.s.set(installs(bad, good))
		b.start(t)
		b.pass(12 * time.Hour)
		if b.state(good.install()) != installation.Installed || len(b.a.journal.Outbox(1<<20)) != 0 {
			t.Errorf("good is %s, %d reports left", b.state(good.install()), len(b.a.journal.Outbox(1<<20)))
		}
	})
}

func TestNewsFromTheDeviceEndsTheLongPollAndDecisionsReachItWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		b.start(t)
		b.pass(time.Minute)
		before := b.s.document(wire.KindInventory)
		b.m.change(func(w *simWorld) { w.Installed["new:amd64"] = simPackage{Version: "1", Status: "ii"} })
		b.pass(61 * time.Second)
		if bytes.Equal(b.s.document(wire.KindInventory), before) {
			t.Error("the server does not know the new package a minute later")
		}
		b.s.set(installs(app))
		b.pass(time.Second)
		if len(b.executed()) != 1 {
			t.Error("the decision did not reach a connected device within a second")
		}
	})
}

func TestADeviceThatWasAskedToLookHearsOfDecisionsAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		b.start(t)
		b.pass(10 * time.Second)                              // its long poll is young
		b.s.with(func() { b.s.refresh, b.s.next = true, 60 }) // nothing is new there, and the server names a long pause
		b.pass(time.Second)
		b.s.set(installs(app))
		b.pass(time.Second)
		if len(b.executed()) != 1 {
			t.Error("the decision did not reach a connected device within a second of a refresh")
		}
	})
}

func TestSequenceOfCheckInsGrowsAcrossRestartsAndEachRunHasItsOwnName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil, "app")
		for range 3 {
			b.start(t)
			b.pass(10 * time.Minute)
			b.stop()
		}
		last, runs := int64(0), map[string]bool{}
		for _, m := range b.s.checkIns {
			if m.Sequence <= last {
				t.Fatalf("%d after %d", m.Sequence, last)
			}
			last, runs[m.Run] = m.Sequence, true
		}
		if len(runs) != 3 {
			t.Errorf("%d names for 3 runs", len(runs))
		}
	})
}

func TestN45_UntrustedClockInstallsNothingAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		var skew atomic.Int64
		b.opt.Now = func() time.Time { return time.Now().Add(time.Duration(skew.Load())) }
		b.s.set(wire.Plan{})
		b.start(t)
		b.pass(time.Minute)
		b.stop()
		skew.Store(int64(-10 * 365 * 24 * time.Hour))
		b.s.set(installs(app))
		b.start(t)
		b.pass(time.Hour)
		if len(b.executed()) != 0 || !strings.Contains(b.progress().Error, "untrusted clock") {
			t.Errorf("executed %v, error %q", b.executed(), b.progress().Error)
		}
		skew.Store(0)
		b.pass(10 * time.Minute)
		if len(b.executed()) != 1 {
			t.Errorf("after the clock was set: executed %v, error %q", b.executed(), b.progress().Error)
		}
	})
}

// brisk answers a check-in with nothing new, right after what happened on the device while it was on its way.
type brisk struct {
	*simServer
	meanwhile func()
}

func (b brisk) CheckIn(context.Context, wire.CheckIn) (wire.CheckInReply, error) {
	b.meanwhile()
	time.Sleep(settle / 2)
	return wire.CheckInReply{Now: time.Now(), Next: 600}, nil
}

func TestNewsThatComeUpWhileACheckInIsAnsweredDoNotWaitForTheNextOne(t *testing.T) {
	for name, news := range map[string]bool{"with news": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				var a *Agent
				b.opt.Dial = func(identity.Identity) (Link, error) {
					return brisk{b.s, func() {
						if news {
							signal(a.wake)
						}
					}}, nil
				}
				a, err := New(b.opt)
				if err != nil {
					t.Fatal(err)
				}
				pause, err := a.exchange(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if news == (pause > 0) {
					t.Errorf("the next check-in is made after %s", pause)
				}
			})
		})
	}
}

// hoarder has no document until it was uploaded, and answers every check-in at once.
type hoarder struct {
	*simServer
	has       map[string]bool
	announced []map[wire.Kind]string
}

func (h *hoarder) CheckIn(_ context.Context, m wire.CheckIn) (wire.CheckInReply, error) {
	h.announced = append(h.announced, m.Digests)
	reply := wire.CheckInReply{Now: time.Now(), Next: 1, Resend: len(m.Digests) == 0}
	for kind, digest := range m.Digests {
		if !h.has[digest] {
			reply.Need = append(reply.Need, kind)
		}
	}
	return reply, nil
}

func (h *hoarder) Upload(_ context.Context, _ wire.Kind, digest string, _ []byte) error {
	h.has[digest] = true
	return nil
}

// TestV3_AScanIsNotAnnouncedAfterTheDeviceChanged: what a transaction did is reported at once, and the scan from before it, had
// it not been announced by then, would seem to say that it was undone.
func TestV3_AScanIsNotAnnouncedAfterTheDeviceChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil, "app")
		h := &hoarder{simServer: b.s, has: map[string]bool{}}
		b.opt.Dial = func(identity.Identity) (Link, error) { return h, nil }
		a, err := New(b.opt)
		if err != nil {
			t.Fatal(err)
		}
		scanned := func() {
			if err := a.look(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		settled := func(version string) {
			b.m.change(func(w *simWorld) { w.Installed["app:amd64"] = simPackage{Version: version, Status: "ii"} })
			scanned()
			if err := a.closures(t.Context(), a.snap); err != nil {
				t.Fatal(err)
			}
		}
		exchanged := func() map[wire.Kind]string {
			if _, err := a.exchange(t.Context()); err != nil {
				t.Fatal(err)
			}
			return h.announced[len(h.announced)-1]
		}
		settled("1")
		exchanged()
		first := exchanged() // all is uploaded
		settled("2")
		exchanged() // uploads what is at version 2; the next check-in would make it count
		b.m.change(func(w *simWorld) { w.Installed["app:amd64"] = simPackage{Version: "1", Status: "ii"} })
		scanned() // as at the end of a transaction, whose result is reported now
		if got := exchanged(); got[wire.KindInventory] != first[wire.KindInventory] {
			t.Errorf("announces a scan from before the transaction: %v, want %v", got, first)
		}
		settled("3")
		exchanged()
		if third := exchanged(); third[wire.KindInventory] == first[wire.KindInventory] || !h.has[third[wire.KindInventory]] {
			t.Errorf("the scan after it does not count: %v", third)
		}
		scanned()
		if got := exchanged(); got[wire.KindInventory] != h.announced[len(h.announced)-2][wire.KindInventory] {
			t.Errorf("a scan without news takes back what counts: %v", got)
		}
	})
}
