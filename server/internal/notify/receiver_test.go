package notify_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// got is a message that a receiver took.
type got struct {
	id   string
	body map[string]any
	text string
}

// receiver is a webhook's receiver as somebody else would write it, after docs/notifications.md.
type receiver struct {
	*httptest.Server
	t      testing.TB
	secret string
	answer func(n int) int // the status of the n-th request; nil: 204
	now    func() time.Time

	mu    sync.Mutex
	all   []got
	tries int
	bad   []string
	news  chan struct{}
}

func newReceiver(t testing.TB) *receiver {
	t.Helper()
	r := &receiver{t: t, news: make(chan struct{}, 1000), now: time.Now}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// verify is the check of docs/notifications.md.
func verify(secret string, h http.Header, body []byte, now time.Time) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return err
	}
	sent, err := strconv.ParseInt(h.Get("webhook-timestamp"), 10, 64)
	if err != nil || now.Sub(time.Unix(sent, 0)).Abs() > 5*time.Minute {
		return fmt.Errorf("the time %q is not now", h.Get("webhook-timestamp"))
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(h.Get("webhook-id") + "." + h.Get("webhook-timestamp") + "."))
	mac.Write(body)
	for s := range strings.FieldsSeq(h.Get("webhook-signature")) {
		given, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, "v1,"))
		if err == nil && hmac.Equal(given, mac.Sum(nil)) {
			return nil
		}
	}
	return fmt.Errorf("no signature is right: %q", h.Get("webhook-signature"))
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tries++
	if r.secret != "" {
		if err := verify(r.secret, q.Header, body, r.now()); err != nil {
			r.bad = append(r.bad, err.Error())
			w.WriteHeader(http.StatusUnauthorized)
			r.news <- struct{}{}
			return
		}
	}
	status := http.StatusNoContent
	if r.answer != nil {
		status = r.answer(r.tries)
	}
	if status < 300 {
		g := got{id: q.Header.Get("webhook-id"), text: string(body)}
		_ = json.Unmarshal(body, &g.body)
		r.all = append(r.all, g)
	}
	w.WriteHeader(status)
	r.news <- struct{}{}
}

// wait waits until a number of messages were taken.
func (r *receiver) wait(n int) []got {
	r.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		r.mu.Lock()
		all, bad := append([]got{}, r.all...), append([]string{}, r.bad...)
		r.mu.Unlock()
		if len(bad) > 0 {
			r.t.Fatalf("the receiver refuses: %s", bad)
		}
		if len(all) >= n {
			return all
		}
		select {
		case <-r.news:
		case <-deadline:
			r.t.Fatalf("%d messages came, not %d: %+v", len(all), n, all)
		}
	}
}

func (g got) data() map[string]any {
	d, _ := g.body["data"].(map[string]any)
	return d
}

func (g got) sentence() string { return fmt.Sprint(g.data()["text"]) }
