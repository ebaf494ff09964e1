package server

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"assent/client"
	"assent/ledger"
)

// TestChannelsWorkOnARunningServerAndAfterItsRestart: what was sealed before opens again, and what is told comes signed.
func TestChannelsWorkOnARunningServerAndAfterItsRestart(t *testing.T) {
	type taken struct {
		header http.Header
		body   []byte
	}
	got := make(chan taken, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- taken{r.Header, b}
	}))
	t.Cleanup(hook.Close)
	data := t.TempDir()
	l := start(t, data, nil)
	admin := l.admin()
	var made client.ChannelAct
	q := client.ChannelRequest{Name: "ops", Kind: ledger.Webhook, Address: hook.URL, Events: client.NoticeEvents()}
	if status := l.call(http.MethodPost, "/api/v1/channels", admin, q, &made); status != 200 || made.Secret == "" {
		t.Fatalf("making a channel: %d, %+v", status, made)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(made.Secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var d client.Delivery
		if status := l.call(http.MethodPost, "/api/v1/channels/ops/test", admin, nil, &d); status != 200 || d.State != "sent" {
			t.Fatalf("the test: %d, %+v", status, d)
		}
		m := <-got
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(m.header.Get("webhook-id") + "." + m.header.Get("webhook-timestamp") + "."))
		mac.Write(m.body)
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); m.header.Get("webhook-signature") != want {
			t.Errorf("it is signed %s, not %s", m.header.Get("webhook-signature"), want)
		}
		if err := l.stop(); err != nil {
			t.Fatal(err)
		}
		l = start(t, data, nil)
	}
}
