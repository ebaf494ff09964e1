package gateway

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"assent/fleet"
	"assent/wire"
)

func TestRehearsal_ReachesADeviceThatListensAtOnceAndAnotherWithItsNextCheckInOnce(t *testing.T) {
	b := newBench(t, Limits{})
	listening, away := b.agent(), b.agent()
	listening.settle()
	away.settle()
	listening.wait = 60
	got := make(chan wire.CheckInReply, 1)
	go func() { reply, _, _ := listening.once(); got <- reply }()
	<-b.w.polled
	b.gw.Rehearse([]fleet.DeviceID{listening.id, away.id})
	if reply := <-got; !reply.Rehearse || reply.Refresh {
		t.Errorf("the device that listens got %+v; want rehearse alone", reply)
	}
	b.gw.Refresh([]fleet.DeviceID{away.id})
	if reply, _, _ := away.once(); !reply.Rehearse || !reply.Refresh {
		t.Errorf("the other device's next check-in got %+v; want both", reply)
	}
	if reply, _, _ := away.once(); reply.Rehearse || reply.Refresh {
		t.Error("it was asked twice")
	}
}

func TestRehearsal_IsKeptWithItsCapsAndOneWithoutPlanIsRefused(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	long := strings.Repeat("x", 10_000)
	in := wire.Rehearsal{At: time.Now(), Plan: strings.Repeat("a", 64), Inventory: strings.Repeat("b", 64), Left: -3}
	for range wire.MaxRehearsed + 5 {
		in.Updates = append(in.Updates, wire.Rehearsed{Update: "u1"})
	}
	in.Updates[0] = wire.Rehearsed{Update: "u1", Cause: "no_space", Detail: long, Needs: []string{long}, Kept: make([]string, wire.MaxKept+1)}
	if code, problem := b.post(a.http, wire.PathRehearsal, in, nil); code != http.StatusNoContent {
		t.Fatalf("%d %s", code, problem)
	}
	got := b.w.rehearsed[a.id]
	if len(got.Updates) != wire.MaxRehearsed || got.Left != 5 || len(got.Updates[0].Detail) > 2<<10 || len(got.Updates[0].Needs[0]) > 512 || len(got.Updates[0].Kept) != wire.MaxKept {
		t.Errorf("%d updates, %d left, the first %.200v", len(got.Updates), got.Left, got.Updates[0])
	}
	in.Plan, in.Updates = "none", nil
	if code, problem := b.post(a.http, wire.PathRehearsal, in, nil); code != http.StatusBadRequest && code != http.StatusUnprocessableEntity || problem != "rehearsal_invalid" {
		t.Errorf("without a plan: %d %s", code, problem)
	}
}
