package notify_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"assent/client"
	"assent/ledger"
	"assent/server/internal/notify"
	"assent/server/internal/store"
)

// The variables that tell the test's own program to be a sender that is killed, or not.
const (
	senderDB = "ASSENT_TEST_SENDER_DB"
	killAt   = "ASSENT_TEST_SENDER_KILL"
)

// killed is an outbox that kills the process at one of its methods: nothing of ours runs after that.
type killed struct {
	notify.Outbox
	at string
}

func (k killed) NoteOutgoing(ctx context.Context, m store.Outgoing) error {
	if k.at == "before" {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	err := k.Outbox.NoteOutgoing(ctx, m)
	if k.at == "after" && err == nil {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	return err
}

// TestASenderThatIsKilledSendsEverythingAndRepeatsWithTheSameID kills a real process between sending a message and
// noting it, and after noting it.
func TestASenderThatIsKilledSendsEverythingAndRepeatsWithTheSameID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "assent.db")
	var mu sync.Mutex
	var ids []string
	r := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		ids = append(ids, q.Header.Get("webhook-id"))
	}))
	t.Cleanup(r.Close)
	w := openWorld(t, path, nil)
	_, err := w.notify.CreateChannel(t.Context(), admin(), client.ChannelRequest{Name: "ops", Kind: ledger.Webhook, Address: r.URL, Events: client.NoticeEvents()})
	w.must(err)
	for _, name := range []string{"one", "two", "three"} {
		w.decline(name, "root", "")
	}
	w.must(w.notify.Look(t.Context()))
	var want []string
	for _, d := range w.deliveries("ops") {
		want = append([]string{d.ID}, want...)
	}
	w.must(w.db.Close())
	for _, at := range []string{"before", "before", "after", "none"} {
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAsSender$")
		c.Env = append(os.Environ(), senderDB+"="+path, killAt+"="+at)
		out, err := c.CombinedOutput()
		if died := err != nil && !c.ProcessState.Exited(); died != (at != "none") {
			t.Fatalf("killed %s: %v\n%s", at, err, out)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	// Twice sent and not noted, sent and noted, then the rest.
	if got := strings.Join(ids, " "); got != strings.Join([]string{want[0], want[0], want[0], want[1], want[2]}, " ") {
		t.Errorf("of %v came %v", want, ids)
	}
}

// TestAsSender is the process that is killed; as a test of its own it does nothing.
func TestAsSender(t *testing.T) {
	path := os.Getenv(senderDB)
	if path == "" {
		return
	}
	w := openWorldWith(t, path, func(o notify.Outbox) notify.Outbox { return killed{o, os.Getenv(killAt)} })
	w.run()
	for {
		n := 0
		for _, d := range w.deliveries("ops") {
			if d.State == "sent" {
				n++
			}
		}
		if n == 3 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
