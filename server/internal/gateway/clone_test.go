package gateway

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"assent/fleet"
)

// step is one check-in of a lineage test.
type step struct {
	boot, run string
	seq       int64
	want      word
}

func TestN31_LineageTellsRestartsFromClones(t *testing.T) {
	for name, steps := range map[string][]step{
		"one agent": {{"b", "r", 1, fresh}, {"b", "r", 2, fresh}, {"b", "r", 900, fresh}},
		"the agent restarts, having reserved sequences ahead":    {{"b", "r", 1, fresh}, {"b", "s", 1001, fresh}, {"b", "s", 1002, fresh}, {"b", "u", 2001, fresh}},
		"the machine restarts":                                   {{"b", "r", 1, fresh}, {"c", "s", 1001, fresh}, {"d", "u", 2001, fresh}},
		"the network delivers a check-in twice":                  {{"b", "r", 5, fresh}, {"b", "r", 5, fresh}, {"b", "r", 6, fresh}},
		"a check-in is overtaken by the next":                    {{"b", "r", 5, fresh}, {"b", "r", 7, fresh}, {"b", "r", 6, stale}, {"b", "r", 8, fresh}},
		"the last check-in of a killed agent arrives late":       {{"b", "r", 5, fresh}, {"b", "s", 7, fresh}, {"b", "r", 6, stale}, {"b", "s", 8, fresh}},
		"two copies of a disk run at once from the same reserve": {{"b", "r", 1001, fresh}, {"c", "s", 1001, clone}},
		"two copies of a disk, the second ahead":                 {{"b", "r", 1001, fresh}, {"c", "s", 2001, fresh}, {"b", "r", 1002, clone}},
		"two copies of a disk take turns":                        {{"b", "r", 1001, fresh}, {"c", "s", 2001, fresh}, {"b", "r", 2002, clone}},
		"the original restarts after the copy ran":               {{"b", "r", 1, fresh}, {"c", "s", 1001, fresh}, {"b", "u", 1001, clone}},
		"the original's boot comes back with a higher sequence":  {{"b", "r", 1, fresh}, {"c", "s", 1001, fresh}, {"b", "u", 2001, clone}},
		"a disk is set back to yesterday":                        {{"b", "r", 5001, fresh}, {"c", "s", 3001, clone}},
		"a running machine is set back far":                      {{"b", "r", 5, fresh}, {"b", "r", 500, fresh}, {"b", "r", 6, clone}},
		"a running machine is set back a little":                 {{"b", "r", 5, fresh}, {"b", "r", 6, fresh}, {"b", "r", 7, fresh}, {"b", "r", 6, clone}},
		"one process on two boots":                               {{"b", "r", 5, fresh}, {"c", "r", 6, clone}},
		"a killed agent that goes on and on":                     {{"b", "r", 5, fresh}, {"b", "s", 20, fresh}, {"b", "r", 6, stale}, {"b", "r", 7, stale}, {"b", "r", 8, clone}},
	} {
		var l lineage
		for i, s := range steps {
			got, why := l.judge(s.boot, s.run, s.seq)
			if got != s.want || (got == clone) != (why != "") {
				t.Errorf("%s: step %d: %v %q; want %v", name, i+1, got, why, s.want)
			}
		}
	}
}

func TestN31_TwoCopiesOfARunningMachineInStepAreFoundOut(t *testing.T) {
	var l lineage
	for seq := int64(1); seq < 100; seq++ {
		for range 2 {
			if got, _ := l.judge("b", "r", seq); got == clone {
				return
			}
		}
	}
	t.Error("two machines sent the same 100 sequences and were taken for one")
}

// TestN31_NoOrderOfOneAgentsLifeIsEverCalledAClone: an agent that restarts, reboots, skips sequences and
// whose check-ins overtake each other a little is never quarantined.
func TestN31_NoOrderOfOneAgentsLifeIsEverCalledAClone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l lineage
		var seq int64
		boot, run := 1, 1
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "event") {
			case 0: // restart: sequences are reserved ahead
				run++
				seq = (seq/1000 + 1) * 1000
			case 1: // reboot
				boot, run = boot+1, run+1
				seq = (seq/1000 + 1) * 1000
			case 2: // two check-ins overtake each other
				seq += 2
				for _, s := range []int64{seq, seq - 1} {
					if w, why := l.judge(fmt.Sprint("b", boot), fmt.Sprint("r", run), s); w == clone {
						t.Fatalf("overtaken: %s", why)
					}
				}
				continue
			}
			seq += int64(rapid.IntRange(1, 3).Draw(t, "skip"))
			if w, why := l.judge(fmt.Sprint("b", boot), fmt.Sprint("r", run), seq); w != fresh {
				t.Fatalf("sequence %d: %v %s", seq, w, why)
			}
		}
	})
}

// TestN31_TwoAgentsThatBothKeepCheckingInAreAlwaysFoundOut: whatever the copies' sequences and restarts,
// once each has checked in a few times in turn the certificate is quarantined.
func TestN31_TwoAgentsThatBothKeepCheckingInAreAlwaysFoundOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l lineage
		start := rapid.Int64Range(1, 5000).Draw(t, "start")
		seqs := []int64{start, start + rapid.Int64Range(0, 3000).Draw(t, "ahead")}
		for i := range 12 {
			who := i % 2
			seqs[who] += rapid.Int64Range(1, 50).Draw(t, "skip")
			if w, _ := l.judge(fmt.Sprint("b", who), fmt.Sprint("r", who), seqs[who]); w == clone {
				return
			}
		}
		t.Fatal("two agents took turns 12 times and were taken for one")
	})
}

func TestN31_CloneIsQuarantinedLoudlyAndGetsNothingUntilReleased(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	other := a.copy()
	other.boot, other.run = "boot2", "run2"
	other.seq += 1000
	if _, code, problem := other.once(); code != 200 {
		t.Fatalf("the copy's first check-in looks like a restart, but: %d %s", code, problem)
	}
	if _, code, problem := a.once(); code != 403 || problem != "device_quarantined" {
		t.Fatalf("the original's next check-in: %d %s; want quarantine", code, problem)
	}
	d, _ := b.w.Device(a.id)
	if d.State != fleet.Quarantined || len(b.w.reasons) != 1 || !strings.Contains(b.w.reasons[0], "two agents take turns") {
		t.Fatalf("device %s, reasons %q; want one act with the reason", d.State, b.w.reasons)
	}
	for who, agent := range map[string]*agent{"the original": a, "the copy": other} {
		if reply, code, problem := agent.once(); code != 403 || problem != "device_quarantined" || reply.Statement != nil {
			t.Errorf("%s while quarantined: %d %s %+v", who, code, problem, reply)
		}
	}
	b.w.setState(a.id, fleet.Active)
	b.gw.Forget([]fleet.DeviceID{a.id}, 7)
	if reply, code, problem := a.once(); code != 200 || reply.Statement == nil {
		t.Errorf("released, with a sequence far below the copy's: %d %s %+v; want its plan", code, problem, reply)
	}
	if len(b.w.reasons) != 1 {
		t.Errorf("%d quarantines; want one act, however often the clone came", len(b.w.reasons))
	}
}

func TestN31_QuarantineEndsTheOtherCopysLongPoll(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.settle()
	other := a.copy()
	other.boot, other.run, other.wait = "boot2", "run2", 60
	other.seq += 1000
	got := make(chan string, 1)
	go func() { _, _, problem := other.once(); got <- problem }()
	<-b.w.polled
	if _, _, problem := a.once(); problem != "device_quarantined" {
		t.Fatalf("original: %s", problem)
	}
	if problem := <-got; problem != "device_quarantined" {
		t.Errorf("the copy's open long poll ended with %q", problem)
	}
}

func TestReleaseBeforeTheNextCheckInStillStartsClean(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	a.seq = 5000
	a.settle()
	b.w.setState(a.id, fleet.Quarantined)
	if _, _, problem := a.once(); problem != "device_quarantined" {
		t.Fatalf("quarantined by a person: %s", problem)
	}
	b.w.setState(a.id, fleet.Active)
	a.seq, a.run = 10, "after-reinstall"
	if _, code, problem := a.once(); code != 200 {
		t.Errorf("a released device with a lower sequence: %d %s; want accepted", code, problem)
	}
}
