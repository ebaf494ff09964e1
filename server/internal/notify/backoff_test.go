package notify_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"assent/client"
	"assent/server/internal/notify"
	"assent/server/internal/store"
)

// TestAMessageIsTriedLaterAndLaterAndGivenUpAfterThreeDays follows one message for days of a clock that is made up.
func TestAMessageIsTriedLaterAndLaterAndGivenUpAfterThreeDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := store.Outgoing{ID: "m", State: store.Waiting}
		begin := time.Now()
		var pauses []time.Duration
		for m.State == store.Waiting {
			time.Sleep(time.Until(m.Next))
			m = notify.After(m, errors.New("down"), time.Now())
			if m.State == store.Waiting {
				pauses = append(pauses, time.Until(m.Next))
			}
		}
		if m.State != store.GaveUp || time.Since(begin) != 3*24*time.Hour || m.Tries != len(pauses)+1 || m.Tries < 72 || m.Tries > 170 {
			t.Errorf("after %v and %d attempts it is %s", time.Since(begin), m.Tries, m.State)
		}
		for i, p := range pauses[:len(pauses)-1] {
			if most := notify.Backoff(i + 1); p > most || p < most/2 {
				t.Errorf("pause %d is %v, not between %v and %v", i, p, most/2, most)
			}
		}
		if first, last := notify.Backoff(1), notify.Backoff(1000); first != 5*time.Second || last != time.Hour {
			t.Errorf("pauses go from %v to %v", first, last)
		}
	})
}

func TestAMessageThatItsReceiverRefusesIsGivenUpSoonerSoThatOthersGetThrough(t *testing.T) {
	m := store.Outgoing{State: store.Waiting}
	n := 0
	for ; m.State == store.Waiting; n++ {
		m = notify.After(m, fmt.Errorf("%w: spam", notify.Refused()), time.Now())
	}
	if n != 5 || m.State != store.GaveUp {
		t.Errorf("after %d refusals it is %s", n, m.State)
	}
	if m = notify.After(store.Outgoing{Refused: 4, Error: "x"}, nil, time.Now()); m.State != store.Sent || m.Error != "" {
		t.Errorf("%+v", m)
	}
}

// TestAFlappingDeviceIsToldOfAtMostOncePerHour plays conditions that come and go and checks what is told.
func TestAFlappingDeviceIsToldOfAtMostOncePerHour(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
		memory := map[string]store.Told{}
		last, lastMark := map[string]time.Time{}, map[string]string{}
		for range rapid.IntRange(1, 60).Draw(t, "looks") {
			now = now.Add(time.Duration(rapid.IntRange(1, 50).Draw(t, "minutes")) * time.Minute)
			var all []notify.Condition
			marks := map[string]string{}
			for _, subject := range []string{"a", "b"} {
				if mark := rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "mark"); mark != "" {
					all = append(all, notify.Condition{Event: client.NoticeFailed, Subject: subject, Mark: mark})
					marks[subject] = mark
				}
			}
			var before []store.Told
			for _, m := range memory {
				before = append(before, m)
			}
			tell, told, forget := notify.Due(all, before, now)
			saying := map[string]bool{}
			for _, c := range tell {
				saying[c.Subject] = true
				if at, ok := last[c.Subject]; ok && now.Sub(at) < time.Hour {
					t.Fatalf("%s was told of after %v", c.Subject, now.Sub(at))
				}
				last[c.Subject], lastMark[c.Subject] = now, c.Mark
			}
			for subject, mark := range marks { // nothing that is new and due is kept back
				if at, ok := last[subject]; !saying[subject] && (!ok || lastMark[subject] != mark && now.Sub(at) >= time.Hour) {
					t.Fatalf("%s was not told of", subject)
				}
			}
			for _, m := range told {
				memory[m.Subject] = m
			}
			for _, f := range forget {
				delete(memory, f)
			}
		}
	})
}

func TestWhatMustLastIsToldOnlyThen(t *testing.T) {
	now := time.Now()
	all := []notify.Condition{{Event: client.NoticeRestart, Subject: "r", After: 7 * 24 * time.Hour}}
	tell, told, _ := notify.Due(all, nil, now)
	if len(tell) > 0 || len(told) != 1 {
		t.Fatalf("told of at once: %v %v", tell, told)
	}
	if tell, more, _ := notify.Due(all, told, now.Add(6*24*time.Hour)); len(tell)+len(more) > 0 {
		t.Errorf("told of after six days: %v", tell)
	}
	if _, _, forget := notify.Due(nil, told, now.Add(time.Minute)); len(forget) != 1 {
		t.Error("a restart that was made counts on")
	}
	tell, told, _ = notify.Due(all, told, now.Add(7*24*time.Hour))
	if len(tell) != 1 || len(told) != 1 {
		t.Errorf("not told of after seven days")
	}
	if tell, _, _ = notify.Due(all, told, now.Add(30*24*time.Hour)); len(tell) > 0 {
		t.Error("told of twice")
	}
}

func TestAGivenUpMessageIsToldByTheOtherChannels(t *testing.T) {
	w, r := newWorld(t, nil), newReceiver(t)
	broken := newReceiver(t)
	broken.answer = func(int) int { return 422 }
	w.hook(broken, func(q *client.ChannelRequest) { q.Name = "broken" })
	w.hook(r, func(q *client.ChannelRequest) { q.Events = []client.NoticeEvent{client.NoticeChannel} })
	w.run()
	w.decline("lib", "root", "")
	w.eventually("it was given up", func() bool {
		w.ahead.Add(int64(2 * time.Minute))
		w.notify.Wake("broken")
		d := w.deliveries("broken")
		return len(d) == 1 && d[0].State == "gave_up" && d[0].Tries == 5
	})
	w.notify.Soon()
	if g := r.wait(1)[0]; g.sentence() != "The channel broken does not get through: 1 message was given up." {
		t.Errorf("it says %s", g.text)
	}
}
