package gateway

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"assent/server/internal/store"
)

// lines are the lineages of one device at several servers, and the one that is stored.
type lines struct {
	at     []lineage
	stored *store.Contact
}

// saw has a server judge a check-in.
func (l *lines) saw(server int, boot, run string, seq int64) (word, string) {
	return l.at[server].judge(boot, run, seq)
}

// flush writes down what a server saw, as Gateway.save does, and says whether that shows a clone.
func (l *lines) flush(server int) (why string) {
	mine := &l.at[server]
	if l.stored != nil {
		why = mine.join(lineageOf(*l.stored))
	}
	mine.own = 0
	l.stored = &store.Contact{BootID: mine.boot, Run: mine.run, Sequence: mine.high, Line: mine.line()}
	return why
}

// follow has a server take in what is stored.
func (l *lines) follow(server int) (why string) {
	if l.stored == nil {
		return ""
	}
	return l.at[server].join(lineageOf(*l.stored))
}

// TestN31_OneAgentServedBySeveralIsNeverCalledAClone: an agent restarts, reboots, skips sequences and goes to any server; the
// servers write down and read what they saw at any time.
func TestN31_OneAgentServedBySeveralIsNeverCalledAClone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := lines{at: make([]lineage, 3)}
		var seq int64
		boot, run := 1, 1
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			server := rapid.IntRange(0, 2).Draw(t, "server")
			switch rapid.IntRange(0, 11).Draw(t, "event") {
			case 0:
				run++
				seq = (seq/1000 + 1) * 1000
			case 1:
				boot, run = boot+1, run+1
				seq = (seq/1000 + 1) * 1000
			case 2, 3:
				if why := l.flush(server); why != "" {
					t.Fatalf("flush: %s", why)
				}
				continue
			case 4, 5:
				if why := l.follow(server); why != "" {
					t.Fatalf("follow: %s", why)
				}
				continue
			}
			seq += int64(rapid.IntRange(1, 3).Draw(t, "skip"))
			if w, why := l.saw(server, fmt.Sprint("b", boot), fmt.Sprint("r", run), seq); w != fresh {
				t.Fatalf("sequence %d at %d: %v %s", seq, server, w, why)
			}
		}
	})
}

func TestN31_ACloneThatIsSplitOverTwoServersIsFoundOut(t *testing.T) {
	l := lines{at: make([]lineage, 2)}
	for seq := int64(1); seq <= 5; seq++ {
		for server := range 2 { // each copy has a server of its own, a process of its own and the same sequences
			if w, why := l.saw(server, fmt.Sprint("b", server), fmt.Sprint("r", server), seq); w == clone {
				t.Fatalf("no server sees more than one of them, and yet one judged so at %d: %s", seq, why)
			}
		}
	}
	if l.flush(0) == "" && l.flush(1) == "" {
		t.Error("two copies, each at its own server, were taken for one when the servers told each other what they saw")
	}
}

func TestN31_CopiesOfARunningMachineAtTwoServersAreFoundOut(t *testing.T) {
	l := lines{at: make([]lineage, 2)}
	for seq := int64(1); seq < 200; seq++ {
		for server := range 2 { // one process and one boot, twice
			if w, _ := l.saw(server, "b", "r", seq); w == clone {
				t.Fatalf("no server sees more than one of them, and yet one judged so at %d", seq)
			}
		}
		for server := range 2 {
			if l.flush(server) != "" {
				return
			}
		}
	}
	t.Error("two copies of a running machine, each at its own server, were taken for one")
}

func TestN31_WhoWasLetBackInStartsAnewAtAllServers(t *testing.T) {
	l := lines{at: make([]lineage, 2)}
	for _, run := range []string{"r", "s"} {
		l.saw(0, "b", run, 5)
	}
	l.flush(0)
	l.at[1] = lineage{epoch: 7} // released; the other server has not heard of it
	if w, why := l.saw(1, "b", "r", 3); w != fresh {
		t.Fatalf("%v %s", w, why)
	}
	if why := l.flush(1); why != "" {
		t.Fatal(why)
	}
	if why := l.follow(0); why != "" || l.at[0].high != 3 || l.at[0].epoch != 7 {
		t.Errorf("%q %+v", why, l.at[0])
	}
}

func TestAContactIsReadAsItWasWritten(t *testing.T) {
	var l lineage
	for i, run := range []string{"r", "s", "u"} {
		l.judge(fmt.Sprint("b", i), run, int64(10*i+1))
		l.judge(fmt.Sprint("b", i), run, int64(10*i+3))
	}
	got := lineageOf(store.Contact{BootID: l.boot, Run: l.run, Sequence: l.high, Line: l.line()})
	if fmt.Sprint(got.line()) != fmt.Sprint(l.line()) || got.boot != l.boot || got.run != l.run || got.high != l.high || got.low != 21 || len(got.ended) != 2 {
		t.Errorf("%+v, want %+v", got, l)
	}
}
