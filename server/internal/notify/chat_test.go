package notify_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"assent/client"
	"assent/ledger"
	"assent/server/internal/notify"
)

// chatServer keeps the bodies that it is sent.
func chatServer(t testing.TB) (*httptest.Server, func() []string) {
	t.Helper()
	got := make(chan string, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- r.Method + " " + r.URL.Path + " " + r.Header.Get("Content-Type") + " " + string(b)
		if strings.HasPrefix(r.URL.Path, "/away") {
			http.Redirect(w, r, "http://localhost:1/elsewhere", http.StatusTemporaryRedirect)
			return
		}
		if r.URL.Path == "/message" { // gotify's ids are numbers
			fmt.Fprint(w, `{"id":1}`)
			return
		}
		fmt.Fprint(w, `{"id":"1"}`)
	}))
	t.Cleanup(s.Close)
	return s, func() (all []string) {
		for {
			select {
			case g := <-got:
				all = append(all, g)
			default:
				return all
			}
		}
	}
}

func TestChatsGetMessagesThroughTheLibraryByOurClient(t *testing.T) {
	s, taken := chatServer(t)
	host := strings.TrimPrefix(s.URL, "http://")
	w := newWorld(t, nil)
	for name, c := range map[string]struct{ secret, want, fails string }{
		"generic":  {"generic+" + s.URL + "/generic?template=json", `POST /generic application/json {"message":"This is a test of the channel`, ""},
		"ntfy":     {"ntfy://" + host + "/alerts?scheme=http", "POST /alerts text/plain; charset=utf-8 This is a test", ""},
		"gotify":   {"gotify://" + host + "/AzyoeNS.D4iJLVa?disabletls=yes", "POST /message", ""},
		"away":     {"generic+" + s.URL + "/away?template=json", "POST /away", "redirects"},
		"awayntfy": {"ntfy://" + host + "/away?scheme=http", "POST /away", "ntfy"},
	} {
		q := client.ChannelRequest{Name: name, Kind: ledger.Chat, Secret: c.secret, Events: client.NoticeEvents()}
		_, err := w.notify.CreateChannel(t.Context(), admin(), q)
		w.must(err)
		d, err := w.notify.TestChannel(t.Context(), admin(), name)
		w.must(err)
		if all := taken(); len(all) != 1 || !strings.HasPrefix(all[0], c.want) || (d.State == "sent") != (c.fails == "") || !strings.Contains(d.Error, c.fails) {
			t.Errorf("%s: %q; %+v", name, all, d)
		}
	}
}

func TestAWebhookFollowsNoRedirectToAnotherHostAndReadsLittle(t *testing.T) {
	elsewhere := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	t.Cleanup(other.Close)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, other.URL, http.StatusPermanentRedirect)
		case "/get":
			http.Redirect(w, r, "/fine", http.StatusFound)
		case "/near":
			http.Redirect(w, r, "/fine", http.StatusTemporaryRedirect)
		case "/endless":
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}
	}))
	t.Cleanup(s.Close)
	w := newWorld(t, nil)
	for path, want := range map[string]string{"/away": "failed", "/get": "failed", "/near": "sent", "/endless": "sent"} {
		_, err := w.notify.CreateChannel(t.Context(), admin(), client.ChannelRequest{Name: path, Kind: ledger.Webhook, Address: s.URL + path, Events: client.NoticeEvents()})
		w.must(err)
		if d, err := w.notify.TestChannel(t.Context(), admin(), path); err != nil || d.State != want {
			t.Errorf("%s: %+v, %v", path, d, err)
		}
	}
	if elsewhere > 0 {
		t.Error("a message went to another host")
	}
	for address, ok := range map[string]bool{"169.254.169.254:80": false, "[fe80::1]:80": false, "0.0.0.0:80": false, "[::ffff:169.254.169.254]:80": false, "224.0.0.1:80": false, "10.0.0.1:443": true, "127.0.0.1:80": true, "192.0.2.1:25": true} {
		if err := notify.Permitted(address); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestNamesAreHarmlessInEachMedium: whatever a device is called, no medium reads markup, a mention or an address in it.
func TestNamesAreHarmlessInEachMedium(t *testing.T) {
	pieces := rapid.SampledFrom([]string{"<!channel>", "<@U1>", "<https://evil|click>", "@everyone", "[a](https://evil)", "<img src=x onerror=alert(1)>", "<b>", "&lt;", "`x`", "*b*", "\r\n", "\u202e", "\u200b",
		"https://evil.example", "x", "|", "~", "\\", "_", "\x00", "\xff", "Subject: y"})
	rapid.Check(t, func(t *rapid.T) {
		s := notify.Plain(strings.Join(rapid.SliceOfN(pieces, 0, 12).Draw(t, "pieces"), ""), 60)
		if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.In(r, unicode.Cf) }) || strings.Contains(s, "://") || len([]rune(s)) > 70 {
			t.Fatalf("plain let through %q", s)
		}
		for service, markup := range notify.Markups() {
			got := markup(s)
			bad := strings.ContainsAny(got, "<>")
			switch service {
			case "slack":
				bad = bad || strings.Contains(got, "@e") || strings.Contains(strings.NewReplacer("&amp;", "", "&lt;", "", "&gt;", "").Replace(got), "&")
			case "teams":
				plain := strings.NewReplacer(`\\`, "", `\[`, "", `\]`, "", `\*`, "", `\_`, "", "\\`", "", `\~`, "", `\|`, "").Replace(got)
				bad = bad || strings.ContainsAny(plain, "[]*_`~|\\")
			default:
				bad = bad || strings.ContainsAny(got, "@[]*`|&_\\~")
			}
			if bad {
				t.Fatalf("for %s %q became %q", service, s, got)
			}
		}
	})
}

func TestErrorsOfChatsTellNothingOfTheirAddress(t *testing.T) {
	w := newWorld(t, nil)
	closed := httptest.NewServer(nil)
	host := strings.TrimPrefix(closed.URL, "http://")
	closed.Close()
	for _, secret := range []string{"gotify://" + host + "/AzyoeNS.D4iJLVa?disabletls=yes", "ntfy://user:Pa55w0rd99@" + host + "/S3CRETTOPIC?scheme=http", "generic+http://" + host + "/S3CRETPATH?token=T0KEN99", "mattermost://" + host + "/T0KENT0KEN99?disabletls=yes"} {
		u, err := url.Parse(secret)
		w.must(err)
		q := client.ChannelRequest{Name: u.Scheme[:4], Kind: ledger.Chat, Secret: secret, Events: client.NoticeEvents()}
		made, err := w.notify.CreateChannel(t.Context(), admin(), q)
		w.must(err)
		d, err := w.notify.TestChannel(t.Context(), admin(), made.Channel.ID)
		w.must(err)
		if d.State != "failed" || d.Error == "" {
			t.Errorf("%s: %+v", u.Scheme, d)
		}
		for _, part := range []string{"AzyoeNS.D4iJLVa", "Pa55w0rd99", "S3CRETTOPIC", "S3CRETPATH", "T0KEN99", "T0KENT0KEN99"} {
			if strings.Contains(d.Error, part) {
				t.Errorf("%s: the error tells %q: %s", u.Scheme, part, d.Error)
			}
		}
	}
}
