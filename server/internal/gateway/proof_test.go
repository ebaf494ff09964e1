package gateway

import (
	"context"
	"net/http"
	"testing"

	"assent/fault"
	"assent/wire"
)

func TestADatabaseThatDoesNotAnswerIsNoShortenedLedger(t *testing.T) {
	away := fault.New(fault.Unavailable, "storage_unavailable", "The database does not answer.")
	b := openBench(&bench{t: t, w: newWorld(), clock: &clock{}, behind: func(c *Config) {
		c.Prove = func(context.Context, int64, int64) ([]string, error) { return nil, away }
	}})
	a := b.agent()
	a.settle()
	for _, plan := range []string{`{"format":1}`, `{"format":1,"install":[]}`} {
		b.w.replan(a.id, plan)
	}
	a.seq++
	var reply wire.CheckInReply
	// The device followed a ledger of one entry; the statement rests on a longer one.
	code, problem := b.post(a.http, wire.PathCheckIn, wire.CheckIn{Capability: 1, BootID: a.boot, Run: a.run, Sequence: a.seq, Digests: a.digests(), Plan: a.plan, Counter: 1}, &reply)
	if code != http.StatusServiceUnavailable || problem != "storage_unavailable" || reply.Statement != nil {
		t.Errorf("%d %s %+v; a statement without a proof would be refused as one of a restored backup", code, problem, reply)
	}
}
