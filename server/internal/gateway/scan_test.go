package gateway

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/wire"
)

func usual() wire.CheckIn {
	d := wire.Digest([]byte("x"))
	return wire.CheckIn{Capability: 1, BootID: "b-1", Run: "r.2", Sequence: 1234567, Digests: map[wire.Kind]string{wire.KindFacts: d, wire.KindInventory: d, wire.KindAvailable: d},
		Plan: d, Counter: 99, Wait: 120, Progress: wire.Progress{LastScan: base, LastRefresh: base.Add(time.Millisecond), Doing: "scanning", Since: base, Error: "none"}}
}

func TestUsualCheckInTakesTheFastWay(t *testing.T) {
	body := mustJSON(t, usual())
	var got wire.CheckIn
	if _, ok := scanCheckIn(body, known{}, &got); !ok {
		t.Fatalf("gave up on %s", body)
	}
	if d := cmp.Diff(usual(), got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestSteadyReplyIsWhatEncodingJSONWrites(t *testing.T) {
	for _, now := range []time.Time{base, base.Add(123456789), time.Now(), time.Now().UTC()} {
		want := mustJSON(t, wire.CheckInReply{Now: now, Next: 60})
		if got := appendNothing(nil, now, 60); string(got) != string(want) {
			t.Errorf("got %s; want %s", got, want)
		}
	}
}

// FuzzScanCheckIn: whatever the fast way accepts, encoding/json reads the same.
func FuzzScanCheckIn(f *testing.F) {
	for _, s := range []string{`{}`, ` { "run" : "r" , "wait":-0 } `, `{"wait":01}`, `{"run":"a","run":"b"}`, `{"Run":"a"}`, `{"sequence":9223372036854775808}`,
		`{"digests":{}}`, `{"digests":null}`, `{"progress":{"since":"2026-11-23T12:00:00+24:00"}}`, `{"progress":{"since":"0000-01-01T00:00:00Z"}}`, `{"run":"é"}`, `{"run":"\u0041"}`, `{"wait":1e3}`, `{,}`, `{"run":"r",}`, `{}x`, `{"wait":-}`} {
		f.Add([]byte(s))
	}
	body, _, err := wire.Encode(usual())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Fuzz(func(t *testing.T, data []byte) {
		var fast, again, slow wire.CheckIn
		if _, ok := scanCheckIn(data, known{}, &fast); !ok {
			return
		}
		before := known{boot: fast.BootID, run: fast.Run, plan: fast.Plan, digests: fast.Digests}
		if same, ok := scanCheckIn(data, before, &again); !ok || !cmp.Equal(fast, again) || same && len(fast.Digests) != len(again.Digests) {
			t.Errorf("%q: with what it says known it is read as %+v; want %+v", data, again, fast)
		}
		if err := json.Unmarshal(data, &slow); err != nil {
			t.Fatalf("accepted what encoding/json refuses (%v): %q", err, data)
		}
		if d := cmp.Diff(slow, fast); d != "" {
			t.Errorf("%q (-encoding/json +fast):\n%s", data, d)
		}
	})
}
