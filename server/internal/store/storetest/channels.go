package storetest

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/store"
)

// outgoing is a message to a channel.
func outgoing(channel, id string) store.Outgoing {
	return store.Outgoing{ID: id, Channel: channel, Event: "halt", At: at(1), Text: "halted", Message: json.RawMessage(`{"a":"\u0000"}`)}
}

// withChannels begins a ledger with two channels, one of them oddly named.
func withChannels(t testing.TB, db *store.DB) (s *ledger.State, odd string) {
	t.Helper()
	s, odd = begin(t, db), "c\x00\\é"
	for _, id := range []string{"c1", odd} {
		c := ledger.Channel{ID: id, Name: "name of " + id, Kind: ledger.Webhook, Address: "https://example.org", Events: []string{"halt"}, Group: fleet.Root}
		must(t, actBeside(t, db, s, ledger.ChannelSet{Channel: c, Secret: true}, store.PutChannelSecret(id, []byte("sealed of "+id))))
	}
	return s, odd
}

func channels(t *testing.T, fresh func(testing.TB) store.Config) {
	cfg := fresh(t)
	db := open(t, cfg)
	s, odd := withChannels(t, db)
	for _, id := range []string{"c1", odd} {
		got, ok, err := open(t, cfg).ChannelSecret(t.Context(), id)
		if !ok || err != nil || string(got) != "sealed of "+id {
			t.Fatalf("the secret of %q is %q, %v, %v", id, got, ok, err)
		}
	}
	must(t, actBeside(t, db, s, ledger.ChannelSet{Channel: s.Channels["c1"], Secret: true}, store.PutChannelSecret("c1", []byte("other"))))
	if got, _, _ := db.ChannelSecret(t.Context(), "c1"); string(got) != "other" {
		t.Fatalf("the replaced secret is %q", got)
	}
	Consistent(t, db)
	must(t, db.Queue(t.Context(), store.Queued{Messages: []store.Outgoing{outgoing("c1", "m1")}, Told: map[string][]store.Told{"c1": {{Subject: "x", At: at(1)}}}}))
	must(t, act(t.Context(), db, s, "admin", ledger.ChannelRemove{ID: "c1"}))
	if _, ok, err := db.ChannelSecret(t.Context(), "c1"); ok || err != nil {
		t.Errorf("the secret outlives its channel: %v, %v", ok, err)
	}
	if _, ok, err := db.NextOutgoing(t.Context(), "c1"); ok || err != nil {
		t.Errorf("a message outlives its channel: %v, %v", ok, err)
	}
	must(t, db.Queue(t.Context(), store.Queued{Messages: []store.Outgoing{outgoing("c1", "m2")}, Told: map[string][]store.Told{"c1": {{Subject: "x", At: at(1)}}}}))
	if list, err := db.Outgoings(t.Context(), "c1", 10); len(list) > 0 || err != nil {
		t.Errorf("a message was queued for a channel that is gone: %v, %v", list, err)
	}
	Consistent(t, db)
}

func outbox(t *testing.T, fresh func(testing.TB) store.Config) {
	cfg := fresh(t)
	db := open(t, cfg)
	_, odd := withChannels(t, db)
	var all []store.Outgoing
	for i := range 5 {
		all = append(all, outgoing("c1", fmt.Sprintf("m%d", i)))
	}
	must(t, db.Queue(t.Context(), store.Queued{Messages: append(all, outgoing(odd, "odd\x00"))}))
	must(t, db.Queue(t.Context(), store.Queued{Messages: all[:2]})) // what is there already is left as it is
	for i := range all {
		m, ok, err := open(t, cfg).NextOutgoing(t.Context(), "c1")
		must(t, err)
		if !ok || m.ID != all[i].ID {
			t.Fatalf("the message after %d is %q (%v)", i, m.ID, ok)
		}
		want := all[i]
		want.Seq, want.State, want.Done = m.Seq, store.Waiting, at(1)
		same(t, "message", m, want)
		m.Tries, m.First, m.Next, m.Error = 1, at(2), at(3), "refused\x00"
		must(t, db.NoteOutgoing(t.Context(), m))
		again, _, err := db.NextOutgoing(t.Context(), "c1")
		must(t, err)
		m.Done = again.Done
		same(t, "message after an attempt", again, m)
		m.State, m.Done = store.Sent, at(4)
		if i == 0 {
			m.State = store.GaveUp
		}
		must(t, db.NoteOutgoing(t.Context(), m))
		late := m
		late.State, late.Tries = store.Waiting, 9
		must(t, db.NoteOutgoing(t.Context(), late)) // a server whose lease ended
	}
	must(t, db.Queue(t.Context(), store.Queued{Messages: all})) // sent ones do not come back
	counts, err := db.CountOutgoing(t.Context(), "c1", at(4))
	must(t, err)
	same(t, "counts", counts, map[store.OutState]int{store.Sent: 4, store.GaveUp: 1})
	list, err := db.Outgoings(t.Context(), "c1", 3)
	must(t, err)
	if len(list) != 3 || list[0].ID != "m4" || list[0].State != store.Sent || !list[0].Done.Equal(at(4)) || list[0].Tries != 1 {
		t.Errorf("the last messages are %+v", list)
	}
	n, err := db.PruneOutgoing(t.Context(), at(4).Add(time.Second))
	must(t, err)
	same(t, "how many were forgotten", n, int64(5))
	if _, ok, err := db.NextOutgoing(t.Context(), odd); !ok || err != nil {
		t.Errorf("a message that waits was forgotten: %v", err)
	}
}

func toldOf(t *testing.T, fresh func(testing.TB) store.Config) {
	cfg := fresh(t)
	db := open(t, cfg)
	_, odd := withChannels(t, db)
	if seq, ok, err := db.ToldLedger(t.Context()); seq != 0 || ok || err != nil {
		t.Fatal(seq, ok, err)
	}
	one, two := store.Told{Subject: "a\x00", Mark: "1", At: at(1)}, store.Told{Subject: "b", Mark: "2", At: at(2)}
	must(t, db.Queue(t.Context(), store.Queued{Ledger: 7, Told: map[string][]store.Told{"c1": {one, two}, odd: {two}}}))
	must(t, db.Queue(t.Context(), store.Queued{Ledger: 5}))
	one.Mark = "3"
	must(t, open(t, cfg).Queue(t.Context(), store.Queued{Told: map[string][]store.Told{"c1": {one}}, Forget: map[string][]string{"c1": {"b", "none"}}}))
	got, err := db.Told(t.Context(), "c1")
	must(t, err)
	same(t, "what the channel was told", got, []store.Told{one})
	got, err = db.Told(t.Context(), odd)
	must(t, err)
	same(t, "what the other was told", got, []store.Told{two})
	if seq, ok, err := db.ToldLedger(t.Context()); seq != 7 || !ok || err != nil {
		t.Fatal(seq, ok, err)
	}
}
