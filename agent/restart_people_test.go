package agent

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"assent/agent/internal/journal"
	"assent/agent/internal/restart"
	"assent/agent/internal/statedir"
	"assent/window"
	"assent/wire"
)

func TestT5_PeopleAreAskedMayPutItOffAndAreWarned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, r, _ := restartBench(t, &wire.PlanRestart{When: wire.RestartAsked, Ask: wire.RestartAsk{Text: "Please restart.", Repeat: 1800, Deadline: 6 * 3600, Deferrals: 2}})
		r.people, r.answer = []restart.Person{{Name: "ann"}}, restart.PutOff
		from := time.Now()
		b.start(t)
		b.pass(29 * time.Minute)
		if _, asked, _ := r.said(); len(asked) != 1 || !strings.HasPrefix(asked[0], "Please restart.") || len(b.events("restart_deferred")) != 1 {
			t.Fatalf("asked %q\n%s", asked, b.s.story())
		}
		b.stop()
		b.start(t) // what was asked and answered is not forgotten
		b.pass(20 * time.Minute)
		if st := b.a.journal.Restart(); st.Deferred != 2 {
			t.Fatalf("%+v", st)
		}
		b.pass(15 * time.Minute)
		got := r.times()
		told, _, _ := r.said()
		if len(got) != 1 || len(told) != 1 || !strings.Contains(told[0], "Save your work") {
			t.Fatalf("restarts at %v, told %q", got, told)
		}
		if after := got[0].Sub(from); after < time.Hour || after > 70*time.Minute {
			t.Errorf("restarted after %s, want after both deferrals of half an hour and the notice", after)
		}
	})
}

func TestT5_SomebodyAtTheDeviceOrdersTheRestartInTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, r, _ := restartBench(t, &wire.PlanRestart{When: wire.RestartAsked})
		r.people = []restart.Person{{Name: "ann"}}
		b.start(t)
		b.pass(time.Minute)
		s, err := readRestart(b.opt.Dir, "boot-1")
		if err != nil || !s.Due || s.orderable() != nil || s.deferrable() != nil {
			t.Fatalf("%+v, %v", s, err)
		}
		must(t, sendOrder(b.opt.Dir, restartOrder{Act: orderNow, At: time.Now().Add(-time.Hour), By: "old"}))
		b.pass(2 * time.Minute)
		if len(r.times()) != 0 {
			t.Fatal("an order of an hour ago was followed")
		}
		must(t, sendOrder(b.opt.Dir, restartOrder{Act: orderNow, At: time.Now(), By: "ann\x1b (as root)"}))
		b.pass(2 * time.Minute)
		if got := b.events("restart_ordered"); len(r.times()) != 1 || len(got) != 1 || !strings.Contains(got[0], "ann (as root)") {
			t.Errorf("restarts %v, events %q", r.times(), got)
		}
	})
}

func TestT5_ServicesThatRunOldFilesAreRestartedOnceInTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, r, _ := restartBench(t, &wire.PlanRestart{Services: true, Schedule: schedule(t, window.Schedule{Rule: "FREQ=DAILY", Start: "2000-01-01T02:00", Length: window.Duration(time.Hour)})})
		stale := func(kind wire.RestartKind, name string) wire.RestartReason {
			return wire.RestartReason{Kind: kind, Name: name, Detail: "It still runs x."}
		}
		r.found.Reasons = restart.Sorted([]wire.RestartReason{stale(wire.StaleService, "nginx.service"), stale(wire.StaleService, "sick.service"), stale(wire.StaleCore, "dbus.service"), stale(wire.StaleSession, "user 7")})
		r.sick = map[string]error{"sick.service": errors.New("it failed")}
		b.start(t)
		b.pass(time.Hour)
		var facts wire.Facts
		must(t, json.Unmarshal(b.s.document(wire.KindFacts), &facts))
		_, _, tried := r.said()
		if len(tried) != 0 || len(facts.Stale) != 5 || !slices.Equal(facts.Restart, []string{"libc6"}) {
			t.Fatalf("tried %v before the window; facts %+v", tried, facts)
		}
		b.pass(6 * time.Hour)
		if _, _, tried := r.said(); !slices.Equal(tried, []string{"nginx.service", "sick.service"}) {
			t.Errorf("tried %v", tried)
		}
		if ok, bad := b.events("service_restarted"), b.events("service_failed"); len(ok) != 1 || len(bad) != 1 || !strings.Contains(bad[0], "it failed") {
			t.Errorf("events %q %q", ok, bad)
		}
		must(t, json.Unmarshal(b.s.document(wire.KindFacts), &facts))
		if len(facts.Stale) != 4 || len(r.times()) != 0 {
			t.Errorf("facts %+v, restarts %v", facts.Stale, r.times())
		}
	})
}

func TestT5_TheCommandRefusesWhatTheAgentWould(t *testing.T) {
	due := RestartStatus{Due: true, Policy: wire.RestartAsked, Open: true, Do: restart.Wait, Code: restart.CodeAsking}
	with := func(f func(*RestartStatus)) RestartStatus { s := due; f(&s); return s }
	if due.orderable() != nil || due.deferrable() != nil {
		t.Errorf("%v, %v", due.orderable(), due.deferrable())
	}
	for name, s := range map[string]RestartStatus{
		"nothing is due":    with(func(s *RestartStatus) { s.Due = false }),
		"never":             with(func(s *RestartStatus) { s.Policy, s.Fixed = wire.RestartNever, "x" }),
		"a closed window":   with(func(s *RestartStatus) { s.Open, s.Fixed = false, "x" }),
		"too many restarts": with(func(s *RestartStatus) { s.Code, s.Fixed = restart.CodeLoop, "x" }),
	} {
		if s.orderable() == nil || s.deferrable() == nil {
			t.Errorf("%s: %v, %v", name, s.orderable(), s.deferrable())
		}
	}
	dir, err := statedir.Open(t.TempDir() + "/state")
	must(t, err)
	defer dir.Close()
	if _, err := readRestart(dir, "boot-1"); err == nil {
		t.Error("something was read from nothing")
	}
	must(t, dir.Root().Mkdir(askedDir, 0o700))
	must(t, dir.WriteSoft(orderFile, []byte("rubbish")))
	if _, ok, err := takeOrder(dir); ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	if _, ok, err := takeOrder(dir); ok || err != nil {
		t.Errorf("it is still there: %v, %v", ok, err)
	}
	var text strings.Builder
	with(func(s *RestartStatus) {
		s.Text, s.Deferred, s.Reasons = "Asked.", 2, []wire.RestartReason{{Kind: wire.StaleKernel, Name: "kernel", Detail: "Old."}}
		s.Last = &journal.RestartStep{Problem: "no disk", Back: time.Unix(0, 0)}
	}).Print(&text)
	for _, want := range []string{"Asked.", "kernel: Old.", "2 times", "no disk", "policy:   ask"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
}
