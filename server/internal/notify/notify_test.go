package notify_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/rollout"
	"assent/server/internal/auth"
	"assent/server/internal/mirror"
)

func TestADeclineIsToldOnceSignedAndInOrder(t *testing.T) {
	w, r := newWorld(t, nil), newReceiver(t)
	w.decline("before", "root", "nobody is told of what was before")
	w.hook(r, nil)
	w.run()
	for i := range 4 {
		w.decline(fmt.Sprintf("lib%d", i), "root", "it breaks")
	}
	all := r.wait(4)
	ids := map[string]bool{}
	for i, g := range all {
		if want := fmt.Sprintf("ada declined lib%d 1.0 in All devices: it breaks.", i); g.sentence() != want || g.body["type"] != "assent.decline" {
			t.Errorf("message %d is %s", i, g.text)
		}
		if link := fmt.Sprint(g.data()["link"]); !strings.HasPrefix(link, "https://assent.test/ledger/") || g.data()["act"] == nil {
			t.Errorf("message %d has the link %q", i, link)
		}
		ids[g.id] = true
	}
	if len(ids) != 4 {
		t.Errorf("the ids are %v", ids)
	}
	w.eventually("all are noted as sent", func() bool {
		for _, d := range w.deliveries("ops") {
			if d.State != "sent" {
				return false
			}
		}
		return len(w.deliveries("ops")) == 4
	})
}

func TestAChannelOfAGroupHearsOnlyOfIt(t *testing.T) {
	w, r := newWorld(t, nil), newReceiver(t)
	w.hook(r, func(q *client.ChannelRequest) { q.Group = "Web" })
	w.run()
	w.decline("other", "g-db", "")
	w.decline("own", "g-web", "")
	w.decline("above", "root", "")
	all := r.wait(2)
	if len(all) != 2 || !strings.Contains(all[0].sentence(), "own 1.0 in Web") || !strings.Contains(all[1].sentence(), "above 1.0") {
		t.Errorf("it heard %+v", all)
	}
}

func TestAHaltOfManyRingsIsOneMessage(t *testing.T) {
	w, r := newWorld(t, nil), newReceiver(t)
	row := w.hook(r, nil)
	body := []byte(`{"task":"task1","update":"u1","release":{"ecosystem":"deb","publisher":"debian","name":"nginx","version":"2.0"},
		"transitions":[{"ring":"Pilot","from":"open","to":"halted","reason":{"code":"failures","text":"3 of 10 devices failed"}},{"ring":"Production","from":"waiting","to":"halted","reason":{"text":"an earlier ring halted"}}]}`)
	for i, c := range []struct {
		body string
		want string
	}{
		{string(body), "The rollout of nginx 2.0 was halted in the ring Pilot: 3 of 10 devices failed."},
		{`{"task":"task1","update":"u1","verb":"halt","ring":"","why":"I do not like it"}`, "The rollout of the update u1 was halted by ada: I do not like it."},
		{`{"task":"task1","transitions":[{"ring":"Pilot","from":"waiting","to":"open","reason":{}}]}`, ""},
		{`{"task":7}`, ""},
		{`nonsense`, ""},
	} {
		n, ok := notifyTold(row, ledger.Entry{Seq: int64(i + 1), Kind: "rollout.step", By: "ada", Body: []byte(c.body)})
		if ok != (c.want != "") || ok && n.Text != c.want && !strings.HasPrefix(n.Text, c.want[:len(c.want)-1]) {
			t.Errorf("%s tells %q, %v", c.body, n.Text, ok)
		}
	}
	real, err := ledger.Make(9, time.Now(), "server", ledger.RolloutStep{Task: "task1", Update: "u1", Transitions: []rollout.Transition{{Ring: "Pilot", From: rollout.Soaking, To: rollout.Halted, Reason: rollout.Reason{Text: "a probe fails"}}}})
	w.must(err)
	if n, ok := notifyTold(row, real); !ok || n.Text != "The rollout of the update u1 was halted in the ring Pilot: a probe fails." {
		t.Errorf("it tells %+v, %v", n, ok)
	}
	if n, ok := notifyTold(row, ledger.Entry{Seq: 1, Kind: "of.the.future", Body: []byte("{}")}); ok {
		t.Errorf("an unknown kind tells %+v", n)
	}
}

func TestWhatDevicesSayIsToldAndManyAreOneMessage(t *testing.T) {
	w, r := newWorld(t, nil), newReceiver(t)
	w.hook(r, func(q *client.ChannelRequest) {
		q.Events = []client.NoticeEvent{client.NoticeQuarantine, client.NoticeSilent}
	})
	w.device("d1", "g-web")
	w.run()
	w.act(ledger.DeviceState{IDs: []fleet.DeviceID{"d1"}, State: fleet.Quarantined, Reason: "two live boot ids\r\nSubject: owned\u202e"})
	first := r.wait(1)[0]
	if want := "name-d1 is quarantined and gets nothing until somebody looks at it: two live boot ids Subject: owned."; first.sentence() != want {
		t.Errorf("it says %q", first.sentence())
	}
	for i := range 6 {
		w.device(fmt.Sprintf("s%d", i), "g-web")
	}
	w.ahead.Store(int64(25 * time.Hour))
	w.notify.Soon()
	many := r.wait(2)[1]
	if !strings.HasPrefix(many.sentence(), "6 devices have said nothing for long: name-s0, name-s1, name-s2 and 3 more.") || len(many.data()["devices"].([]any)) != 6 || len(many.data()["lines"].([]any)) != 6 {
		t.Errorf("it says %s", many.text)
	}
}

func TestTheDigestComesOncePerDayAtItsTimeAndNotForNothing(t *testing.T) {
	w, r := newWorld(t, nil), newReceiver(t)
	at := func(s string) { // lets the clock be that time, tomorrow or later
		when, err := time.Parse("2006-01-02 15:04", s)
		w.must(err)
		w.ahead.Store(int64(time.Until(when)))
	}
	at("2027-03-01 12:00")
	w.status = client.Status{Undecided: map[string]int{"critical": 2, "unrated": 1}, Attention: []string{"The device web1 is <b>quarantined</b>."}}
	w.hook(r, func(q *client.ChannelRequest) {
		q.Events, q.Digest, q.Zone = []client.NoticeEvent{client.NoticeDigest}, "08:00", "Europe/Berlin"
	})
	look := func() { w.must(w.notify.Look(t.Context())) }
	look() // that of the day was due before the channel was made
	at("2027-03-02 06:59")
	look()
	if n := len(w.deliveries("ops")); n != 0 {
		t.Fatalf("%d digests before their time", n)
	}
	at("2027-03-02 07:00")
	look()
	look()
	at("2027-03-02 18:00")
	look()
	all := w.deliveries("ops")
	if len(all) != 1 || all[0].Text != "3 updates wait for a decision: 2 critical, 1 unrated." || !all[0].At.Equal(time.Date(2027, 3, 2, 7, 0, 0, 0, time.UTC)) {
		t.Fatalf("the digests are %+v", all)
	}
	w.status = client.Status{}
	at("2027-03-03 07:30")
	look()
	w.status = client.Status{Attention: []string{"Look!"}}
	at("2027-03-28 06:00") // the clocks went forward: 08:00 is 06:00 UTC now
	look()
	at("2027-03-29 23:00") // too late for that day
	look()
	if all = w.deliveries("ops"); len(all) != 2 || all[0].Text != "No update waits for a decision, but something needs you." {
		t.Errorf("the digests are %+v", all)
	}
}

func TestFeedAlarmsAreToldOnceWhileTheyLast(t *testing.T) {
	w, r := newWorld(t, nil), newReceiver(t)
	w.alarms = []mirror.Alarm{{Feed: "acme", FeedProblem: client.FeedProblem{Code: "feed_expired", Message: "Its signatures have expired."}}}
	w.hook(r, nil)
	for range 3 {
		w.must(w.notify.Look(t.Context()))
		w.ahead.Add(int64(2 * time.Hour))
	}
	all := w.deliveries("ops")
	if len(all) != 1 || all[0].Text != "Feed acme: Its signatures have expired." {
		t.Fatalf("it says %+v", all)
	}
	alarms := w.alarms
	w.alarms = nil
	w.must(w.notify.Look(t.Context()))
	w.alarms = alarms
	w.must(w.notify.Look(t.Context()))
	if n := len(w.deliveries("ops")); n != 2 {
		t.Errorf("it came back, and there are %d messages", n)
	}
}

func TestASlowReceiverHoldsUpNobodyElse(t *testing.T) {
	w, fast := newWorld(t, nil), newReceiver(t)
	block := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-block }))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(block) })
	w.hook(&receiver{t: t, Server: slow}, func(q *client.ChannelRequest) { q.Name = "slow" })
	w.hook(fast, nil)
	w.run()
	for i := range 3 {
		w.decline(fmt.Sprintf("lib%d", i), "root", "")
	}
	if all := fast.wait(3); len(all) != 3 {
		t.Errorf("%+v", all)
	}
	if d := w.deliveries("slow"); len(d) != 3 || d[2].State != "waiting" {
		t.Errorf("the slow one has %+v", d)
	}
}

func TestAReceiverThatFailsIsTriedAgainWithTheSameID(t *testing.T) {
	w, r := newWorld(t, nil), newReceiver(t)
	r.answer = func(n int) int {
		if n <= 1 {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	}
	w.hook(r, nil)
	w.run()
	w.decline("lib", "root", "")
	w.eventually("the first attempt failed", func() bool {
		d := w.deliveries("ops")
		return len(d) == 1 && d[0].Tries == 1 && strings.Contains(d[0].Error, "503") && d[0].State == "waiting"
	})
	w.ahead.Store(int64(time.Minute))
	w.notify.Wake("ops")
	if g := r.wait(1)[0]; g.id != w.deliveries("ops")[0].ID {
		t.Errorf("it came as %s, not %s", g.id, w.deliveries("ops")[0].ID)
	}
}

func TestQuietHoursAndFreezesHoldMessagesBack(t *testing.T) {
	w, r := newWorld(t, nil), newReceiver(t)
	now := time.Now().UTC()
	w.ahead.Store(int64(time.Date(now.Year(), now.Month(), now.Day()+1, 23, 0, 0, 0, time.UTC).Sub(now)))
	w.hook(r, func(q *client.ChannelRequest) { q.Quiet = "22:00-07:00" })
	w.run()
	w.decline("lib", "root", "")
	w.eventually("it waits", func() bool { d := w.deliveries("ops"); return len(d) == 1 && d[0].Tries == 0 })
	if d, err := w.notify.TestChannel(t.Context(), admin(), "ops"); err != nil || d.State != "sent" { // a test does not wait
		t.Errorf("the test: %+v, %v", d, err)
	}
	w.ahead.Add(int64(8*time.Hour + time.Minute))
	w.notify.Wake("ops")
	if all := r.wait(2); all[0].body["type"] != "assent.test" || all[1].body["type"] != "assent.decline" {
		t.Errorf("%+v", all)
	}
}

func TestSecretsAreShownNowhere(t *testing.T) {
	path := t.TempDir() + "/assent.db"
	w, r := openWorld(t, path, nil), newReceiver(t)
	r.answer = func(int) int { return http.StatusTeapot }
	hook := "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA=="
	chat := "generic+" + r.URL + "/T0K3NT0K3N?@authorization=Pa55w0rd&template=json"
	w.hook(r, func(q *client.ChannelRequest) { q.Secret = hook })
	w.hook(r, func(q *client.ChannelRequest) {
		q.Name, q.Kind, q.Address, q.Secret = "chat", ledger.Chat, "", chat
	})
	var shown strings.Builder
	for _, ref := range []string{"ops", "chat"} {
		d, err := w.notify.TestChannel(t.Context(), admin(), ref)
		if err != nil || d.State != "failed" || !strings.Contains(d.Error, "418") {
			t.Errorf("%s: %+v, %v", ref, d, err)
		}
	}
	r.Close()
	for _, ref := range []string{"ops", "chat"} {
		if d, err := w.notify.TestChannel(t.Context(), admin(), ref); err != nil || d.Error == "" {
			t.Errorf("%s: %+v, %v", ref, d, err)
		}
		one, err := w.notify.Channel(t.Context(), admin(), ref)
		w.must(err)
		if !one.HasSecret {
			t.Errorf("%s has no secret", ref)
		}
		w.must(json.NewEncoder(&shown).Encode(one))
	}
	raw, err := w.db.Entries(t.Context(), 1, 100)
	w.must(err)
	for _, e := range raw {
		shown.Write(e.Data)
	}
	w.must(w.db.Close())
	for _, name := range []string{path, path + "-wal"} {
		if b, err := os.ReadFile(name); err == nil {
			shown.Write(b)
		}
	}
	for _, secret := range []string{"T0K3NT0K3N", "Pa55w0rd", strings.TrimPrefix(hook, "whsec_"), "secret-secret"} {
		if strings.Contains(shown.String(), secret) {
			t.Errorf("%s is in what is shown or stored", secret)
		}
	}
}

func TestOnlyAdministratorsOfTheRootGroupMayDoAnythingWithChannels(t *testing.T) {
	w, r := newWorld(t, nil), newReceiver(t)
	w.hook(r, nil)
	q := client.ChannelRequest{Name: "x", Kind: ledger.Webhook, Address: r.URL, Events: client.NoticeEvents()}
	for _, who := range []auth.Actor{{Name: "v", Role: ledger.Viewer, Scope: fleet.Root}, {Name: "a", Role: ledger.Approver, Scope: fleet.Root}, {Name: "d", Role: ledger.Administrator, Scope: "g-web"}, {}} {
		_, list := w.notify.Channels(t.Context(), who)
		_, show := w.notify.Channel(t.Context(), who, "ops")
		_, create := w.notify.CreateChannel(t.Context(), who, q)
		_, change := w.notify.ChangeChannel(t.Context(), who, "ops", q)
		_, remove := w.notify.DeleteChannel(t.Context(), who, "ops")
		_, test := w.notify.TestChannel(t.Context(), who, "ops")
		for i, err := range []error{list, show, create, change, remove, test} {
			if !errors.Is(err, fault.Forbidden) {
				t.Errorf("%+v, %d: %v", who, i, err)
			}
		}
	}
	if len(r.all) > 0 {
		t.Error("something was sent")
	}
}

func TestBadChannelsAreRefusedByField(t *testing.T) {
	w := newWorld(t, nil)
	good := client.ChannelRequest{Name: "x", Kind: ledger.Webhook, Address: "https://example.org", Events: []client.NoticeEvent{client.NoticeHalt}}
	mail := client.ChannelRequest{Name: "x", Kind: ledger.Mail, Address: "smtp://mail.example.org", From: "a@example.org", To: []string{"b@example.org"}, Events: good.Events}
	chat := client.ChannelRequest{Name: "x", Kind: ledger.Chat, Secret: "slack://hook:AAAAAAAAA-BBBBBBBBB-123456789123456789123456@webhook", Events: good.Events}
	for i, c := range []struct {
		base   client.ChannelRequest
		change func(*client.ChannelRequest)
		field  string
	}{
		{good, func(q *client.ChannelRequest) { q.Name = "" }, "name"},
		{good, func(q *client.ChannelRequest) { q.Name = "a\nb" }, "name"},
		{good, func(q *client.ChannelRequest) { q.Kind = "pigeon" }, "kind"},
		{good, func(q *client.ChannelRequest) { q.Address = "file:///etc/passwd" }, "address"},
		{good, func(q *client.ChannelRequest) { q.Address = "https://user:password@example.org" }, "address"},
		{good, func(q *client.ChannelRequest) { q.Secret = "short" }, "secret"},
		{good, func(q *client.ChannelRequest) { q.Events = nil }, "events"},
		{good, func(q *client.ChannelRequest) { q.Events = []client.NoticeEvent{"rain"} }, "events"},
		{good, func(q *client.ChannelRequest) { q.Group = "nowhere" }, "group"},
		{good, func(q *client.ChannelRequest) { q.Quiet = "22-7" }, "quiet"},
		{good, func(q *client.ChannelRequest) { q.Quiet = "07:00-07:00" }, "quiet"},
		{good, func(q *client.ChannelRequest) { q.Digest = "25:00" }, "digest"},
		{good, func(q *client.ChannelRequest) { q.Zone = "Mars/Olympus" }, "zone"},
		{good, func(q *client.ChannelRequest) { q.To = []string{"a@example.org"} }, "to"},
		{mail, func(q *client.ChannelRequest) { q.Address = "http://mail.example.org" }, "address"},
		{mail, func(q *client.ChannelRequest) { q.Address = "smtp://u:p@mail.example.org" }, "address"},
		{mail, func(q *client.ChannelRequest) { q.Secret = "password" }, "secret"},
		{mail, func(q *client.ChannelRequest) { q.From = "nobody" }, "from"},
		{mail, func(q *client.ChannelRequest) { q.To = nil }, "to"},
		{mail, func(q *client.ChannelRequest) { q.To = []string{"a@example.org\r\nBcc: all@example.org"} }, "to"},
		{chat, func(q *client.ChannelRequest) { q.Secret = "" }, "secret"},
		{chat, func(q *client.ChannelRequest) { q.Secret = "logger://" }, "secret"},
		{chat, func(q *client.ChannelRequest) { q.Secret = "slack://nonsense" }, "secret"},
	} {
		q := c.base
		c.change(&q)
		_, err := w.notify.CreateChannel(t.Context(), admin(), q)
		var f *fault.Error
		if !errors.As(err, &f) || f.Field != c.field {
			t.Errorf("%d: %v, not refused on %s", i, err, c.field)
		}
	}
	for i, q := range []client.ChannelRequest{good, mail, chat} {
		q.Name += fmt.Sprint(i)
		made, err := w.notify.CreateChannel(t.Context(), admin(), q)
		w.must(err)
		if q.Kind == ledger.Chat && made.Channel.Address != "slack" {
			t.Errorf("the chat's address is shown as %q", made.Channel.Address)
		}
	}
}

func TestAChangedChannelKeepsItsSecretButSendsNoPasswordElsewhere(t *testing.T) {
	w, r := newWorld(t, nil), newReceiver(t)
	w.hook(r, nil)
	q := client.ChannelRequest{Name: "renamed", Kind: ledger.Webhook, Address: r.URL + "/other", Events: []client.NoticeEvent{client.NoticeHalt}, Paused: true}
	if _, err := w.notify.ChangeChannel(t.Context(), admin(), "ops", q); err != nil {
		t.Fatal(err)
	}
	if d, err := w.notify.TestChannel(t.Context(), admin(), "renamed"); err != nil || d.State != "sent" {
		t.Errorf("%+v, %v", d, err)
	}
	m := client.ChannelRequest{Name: "mail", Kind: ledger.Mail, Address: "smtp://me@mail.example.org", Secret: "password", From: "a@example.org", To: []string{"b@example.org"}, Events: q.Events}
	_, err := w.notify.CreateChannel(t.Context(), admin(), m)
	w.must(err)
	m.Secret, m.Address = "", "smtp://me@evil.example.org"
	if _, err := w.notify.ChangeChannel(t.Context(), admin(), "mail", m); !errors.Is(err, fault.Invalid) {
		t.Errorf("a password went along to another server: %v", err)
	}
	if _, err := w.notify.DeleteChannel(t.Context(), admin(), "mail"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.notify.Channel(t.Context(), admin(), "mail"); !errors.Is(err, fault.NotFound) {
		t.Errorf("%v", err)
	}
	if _, err := w.index.Act(context.Background(), "ada", nilBody); err != nil {
		t.Fatal(err)
	}
}
