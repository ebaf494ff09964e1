package gateway

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/fleet"
	"assent/server/internal/store"
	"assent/wire"
)

func TestAgentEnrolsUploadsAndGetsItsPlanThenCheckInsTouchNoDatabase(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.docs[wire.KindInventory] = []byte(`{"ecosystem":"deb","packages":[]}`)
	a.settle()
	if got := b.w.seen[a.id].Digests; !cmp.Equal(got, a.digests()) {
		t.Errorf("the presence knows %v; want %v", got, a.digests())
	}
	before := b.w.db
	for range 20 {
		if reply, code, problem := a.once(); code != 200 || reply.Statement != nil || len(reply.Need) > 0 {
			t.Fatalf("steady check-in: %d %s %+v", code, problem, reply)
		}
	}
	if b.w.db != before || b.w.saves != 0 {
		t.Errorf("20 steady check-ins made %d database calls and %d saves; want none", b.w.db-before, b.w.saves)
	}
}

func TestSharedDocumentIsAskedForOnceOfAllDevices(t *testing.T) {
	b := newBench(t, Limits{})
	first, second := b.agent(), b.agent()
	first.settle()
	reply, code, problem := second.once()
	if code != 200 || len(reply.Need) != 0 || reply.Statement == nil {
		t.Errorf("the second device with the same documents: %d %s %+v; want its statement at once", code, problem, reply)
	}
}

func TestLongPollEndsAtOnceWhenThePlanChanges(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	a.wait = 60
	got := make(chan wire.CheckInReply, 1)
	go func() { reply, _, _ := a.once(); got <- reply }()
	<-b.w.polled
	b.w.replan(a.id, `{"format":1,"install":[]}`)
	reply := <-got
	if reply.Statement == nil {
		t.Fatalf("reply %+v; want the new statement", reply)
	}
	if b.w.polls != 0 {
		t.Errorf("%d long polls still count as open", b.w.polls)
	}
}

func TestRefreshReachesADeviceThatListensAtOnceAndAnotherWithItsNextCheckInOnce(t *testing.T) {
	b := newBench(t, Limits{})
	listening, away := b.agent(), b.agent()
	listening.settle()
	away.settle()
	listening.wait = 60
	got := make(chan wire.CheckInReply, 1)
	go func() { reply, _, _ := listening.once(); got <- reply }()
	<-b.w.polled
	b.gw.Refresh([]fleet.DeviceID{listening.id, away.id})
	if reply := <-got; !reply.Refresh {
		t.Errorf("the device that listens got %+v; want refresh", reply)
	}
	if reply, _, _ := away.once(); !reply.Refresh {
		t.Errorf("the other device's next check-in got %+v; want refresh", reply)
	}
	if reply, _, _ := away.once(); reply.Refresh {
		t.Error("it was asked twice")
	}
}

func TestServers_WhatSomebodyAsksForIsNewsThoughAnotherServersClockIsAhead(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	ahead := time.Now().Add(2 * time.Hour)
	b.gw.Heard(t.Context(), []store.Contact{{Device: a.id, Refresh: ahead, Rehearse: ahead}})
	for _, from := range []string{"another server", "this one"} {
		if reply, _, _ := a.once(); !reply.Refresh || !reply.Rehearse {
			t.Errorf("asked for at %s: %+v", from, reply)
		}
		b.gw.Refresh([]fleet.DeviceID{a.id})
		b.gw.Rehearse([]fleet.DeviceID{a.id})
	}
}

func TestLongPollOutlivesTheDeadlineOfTheRequestThatOpenedIt(t *testing.T) {
	b := newBench(t, Limits{HeaderTimeout: 200 * time.Millisecond})
	a := b.agent()
	a.settle()
	a.wait = 1
	start := time.Now()
	if _, code, problem := a.once(); code != 200 || time.Since(start) < 900*time.Millisecond {
		t.Errorf("after %v: %d %s; want an answer after the wait of 1 s", time.Since(start), code, problem)
	}
}

func TestNewerCheckInEndsTheDevicesEarlierLongPoll(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	a.wait = 60
	old := a.copy()
	a.seq += 2
	got := make(chan int, 1)
	go func() { _, code, _ := old.at(a.seq - 1); got <- code }()
	<-b.w.polled
	go func() { _, _, _ = a.at(a.seq) }()
	<-b.w.polled
	if code := <-got; code != 200 {
		t.Errorf("the earlier long poll ended with %d; want an empty answer", code)
	}
}

func TestRetiringADeviceEndsItsLongPollAndItsConnection(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	a.wait = 60
	got := make(chan string, 1)
	go func() { _, _, problem := a.once(); got <- problem }()
	<-b.w.polled
	b.w.setState(a.id, fleet.Retired)
	b.gw.Interrupt([]fleet.DeviceID{a.id})
	if problem := <-got; problem != "device_retired" {
		t.Errorf("the open long poll ended with %q; want device_retired", problem)
	}
}

func TestServerShutdownEndsLongPollsWithAnAnswer(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	a.wait = 300
	type answer struct {
		reply wire.CheckInReply
		code  int
	}
	got := make(chan answer, 1)
	go func() { reply, code, _ := a.once(); got <- answer{reply, code} }()
	<-b.w.polled
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	if r := <-got; r.code != 200 || r.reply.Next < 1 || r.reply.Next > 10 {
		t.Errorf("answer %+v; want an empty one that spreads the return over 10 s", r)
	}
}

func TestDeviceGetsOnlyItsOwnPlan(t *testing.T) {
	b := newBench(t, Limits{})
	a, other := b.agent(), b.agent()
	a.settle()
	other.settle()
	if code, problem := b.send(a.http, http.MethodGet, wire.PathPlan+"/"+other.plan, nil, nil); code != 404 || problem != "plan_superseded" {
		t.Errorf("another device's plan: %d %s; want 404", code, problem)
	}
	var plan struct{ Format int }
	req, err := http.NewRequest(http.MethodGet, b.url(wire.PathPlan+"/"+a.plan), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	if err := new(codec).decompress(resp.Body, 1<<20, &body); err != nil || wire.Digest(body.Bytes()) != a.plan {
		t.Errorf("own plan: %v, digest %s; want %s (%v)", err, wire.Digest(body.Bytes()), a.plan, plan)
	}
	told := a.plan
	b.w.replan(a.id, `{"format":1}`)
	if code, _ := b.send(a.http, http.MethodGet, wire.PathPlan+"/"+told, nil, nil); code != 404 {
		t.Errorf("a plan that is nobody's any more: %d; want 404", code)
	}
}

func TestStatementIsRepeatedAfterADayAndAfterLossButNotInAHotLoop(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	if reply, _, _ := a.once(); reply.Statement != nil {
		t.Error("the statement was repeated to a device that has it")
	}
	a.plan = ""
	if reply, _, _ := a.once(); reply.Statement != nil {
		t.Error("a device that lacks its plan was given the statement twice within 5 s")
	}
	b.clock.Advance(repeatSoon)
	if reply, _, _ := a.once(); reply.Statement == nil {
		t.Error("the lost statement was not repeated after 5 s")
	}
	a.plan = wire.Digest(b.w.plans[a.id])
	b.clock.Advance(repeatLate)
	if reply, _, _ := a.once(); reply.Statement == nil {
		t.Error("the statement was not repeated after a day")
	}
}

func TestDocumentIsTakenOnlyIfAnnouncedAndWithItsOwnDigest(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	if code, problem := a.upload(wire.KindFacts, a.docs[wire.KindFacts]); code != 409 || problem != "document_unannounced" {
		t.Errorf("before any check-in: %d %s", code, problem)
	}
	a.settle()
	put := func(kind, digest, body string) (int, string) {
		return b.send(a.http, http.MethodPut, wire.PathDocument+"/"+kind+"/"+digest, bytes.NewReader([]byte(body)), nil)
	}
	own := wire.Digest(a.docs[wire.KindFacts])
	for name, tc := range map[string]struct {
		kind, digest, body string
		code               int
		problem            string
	}{
		"other content":          {"facts", own, `{}`, 400, "document_digest"},
		"unannounced kind":       {"inventory", own, string(a.docs[wire.KindFacts]), 409, "document_unannounced"},
		"unknown kind":           {"secrets", own, `{}`, 404, "document_kind"},
		"no digest":              {"facts", "x", `{}`, 409, "document_unannounced"},
		"again (its reply lost)": {"facts", own, string(a.docs[wire.KindFacts]), 204, ""},
	} {
		if code, problem := put(tc.kind, tc.digest, tc.body); code != tc.code || problem != tc.problem {
			t.Errorf("%s: %d %s; want %d %s", name, code, problem, tc.code, tc.problem)
		}
	}
}

func TestN29_ReportsAreAppliedOnceHoweverOftenAndInWhateverOrderTheyCome(t *testing.T) {
	b := newBench(t, Limits{})
	a, other := b.agent(), b.agent()
	report := func(id, detail string) wire.Report {
		return wire.Report{ID: id, Event: "test", Detail: detail, At: base}
	}
	for _, batch := range [][]wire.Report{{report("r2", "two")}, {report("r1", "one"), report("r2", "two")}, {report("r2", "forged later"), report("r1", "one")}} {
		var reply wire.ReportsReply
		if code, problem := b.post(a.http, wire.PathReports, wire.Reports{Reports: batch}, &reply); code != 200 || len(reply.Applied) != len(batch) {
			t.Fatalf("%d %s %v; want all acknowledged", code, problem, reply.Applied)
		}
	}
	if code, _ := b.post(other.http, wire.PathReports, wire.Reports{Reports: []wire.Report{report("r1", "another device's")}}, nil); code != 200 {
		t.Fatalf("another device's report with the same id: %d", code)
	}
	want := map[string]string{string(a.id) + "/r1": "one", string(a.id) + "/r2": "two", string(other.id) + "/r1": "another device's"}
	got := map[string]string{}
	for k, r := range b.w.reports {
		got[k] = r.Detail
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("reports (-want +got):\n%s", d)
	}
}

func TestReportsOverTheCapsAreCutAndNeverStickInTheAgentsJournal(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	long := wire.Report{ID: "r1", At: base, Detail: string(bytes.Repeat([]byte("x"), 100_000)), Proof: &wire.Proof{Log: string(bytes.Repeat([]byte("y"), 200_000)) + "END"}}
	if code, problem := b.post(a.http, wire.PathReports, wire.Reports{Reports: []wire.Report{long}}, nil); code != 200 {
		t.Fatalf("%d %s", code, problem)
	}
	got := b.w.reports[string(a.id)+"/r1"]
	if len(got.Detail) > wire.MaxString || len(got.Proof.Log) > maxLog+3 || got.Proof.Log[len(got.Proof.Log)-3:] != "END" {
		t.Errorf("kept %d bytes of detail and %d of log ending %q", len(got.Detail), len(got.Proof.Log), got.Proof.Log[len(got.Proof.Log)-3:])
	}
	if code, problem := b.post(a.http, wire.PathReports, wire.Reports{Reports: []wire.Report{{ID: ""}}}, nil); code != 400 || problem != "report_id" {
		t.Errorf("a report without id: %d %s", code, problem)
	}
	if code, problem := b.post(a.http, wire.PathReports, wire.Reports{Reports: make([]wire.Report, maxReports+1)}, nil); code != 413 || problem != "too_many_reports" {
		t.Errorf("too many: %d %s", code, problem)
	}
}

func TestRestartKeepsContactsAndTheSequenceFloor(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.seq = 1000
	a.settle()
	reached := a.seq
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	b.start()
	t.Cleanup(func() { _ = b.stop() })
	kept := b.w.saved[a.id]
	if kept.Sequence != reached || kept.Run != a.run || !cmp.Equal(kept.Digests, a.digests()) {
		t.Fatalf("the contact kept is %+v; want sequence %d, run %s", kept, reached, a.run)
	}
	fresh := a.copy()
	fresh.run = "run2"
	if _, _, problem := fresh.at(reached - 500); problem != "device_quarantined" {
		t.Errorf("a copy with an older sequence after the restart: %q; want quarantine", problem)
	}
}

func TestContactsThatCannotBeWrittenAreKeptAndTriedAgain(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	b.w.saveErr = http.ErrAbortHandler
	if err := b.gw.flush(t.Context()); err == nil {
		t.Fatal("the failure was not told")
	}
	b.w.saveErr = nil
	if err := b.gw.flush(t.Context()); err != nil || b.w.saved[a.id].Sequence != a.seq {
		t.Errorf("after the store is back: %v, sequence %d; want %d", err, b.w.saved[a.id].Sequence, a.seq)
	}
	saves := b.w.saves
	if err := b.gw.flush(t.Context()); err != nil || b.w.saves != saves {
		t.Errorf("a flush without news: %v, %d saves; want none", err, b.w.saves-saves)
	}
}

func TestWaitIsBoundedAndMalformedCheckInsAreRefused(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	for name, in := range map[string]wire.CheckIn{
		"no run":            {BootID: "b", Sequence: 9999, Digests: a.digests()},
		"no boot":           {Run: "r", Sequence: 9999, Digests: a.digests()},
		"no sequence":       {BootID: "b", Run: "r", Digests: a.digests()},
		"huge sequence":     {BootID: "b", Run: "r", Sequence: 1<<63 - 1, Digests: a.digests()},
		"control in run":    {BootID: "b", Run: "r\n", Sequence: 9999, Digests: a.digests()},
		"digest of no sort": {BootID: "b", Run: "r", Sequence: 9999, Digests: map[wire.Kind]string{wire.KindFacts: "zz"}},
	} {
		if code, problem := b.post(a.http, wire.PathCheckIn, in, nil); code != 400 || problem != "checkin_invalid" {
			t.Errorf("%s: %d %s; want 400", name, code, problem)
		}
	}
	if d, _ := b.w.Device(a.id); d.State != fleet.Active {
		t.Errorf("malformed check-ins made the device %s", d.State)
	}
	if reply, _, _ := a.once(); reply.Next != int(time.Minute.Seconds()) {
		t.Errorf("next = %d; want 60", reply.Next)
	}
}

func TestEmptyCheckInIsAskedToResend(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.docs = nil
	if reply, code, _ := a.once(); code != 200 || !reply.Resend {
		t.Errorf("%d %+v; want resend", code, reply)
	}
}
