package notify_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/client"
	"assent/ledger"
)

// mailServer speaks SMTP (RFC 5321) with STARTTLS or TLS from the start, and AUTH.
type mailServer struct {
	net.Listener
	t        testing.TB
	conf     *tls.Config
	implicit bool
	startTLS bool
	methods  string // of AUTH; empty: none
	refuse   string // what DATA is answered with; empty: it is taken

	mu    sync.Mutex
	mails []string // From the envelope's sender and recipients to the end of the text
	auth  []string
	plain bool // a mail came without TLS
}

// newMailServer starts one on loopback, with a certificate for "localhost" that roots knows.
func newMailServer(t testing.TB, change func(*mailServer)) (*mailServer, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	roots.AddCert(cert)
	s := &mailServer{t: t, startTLS: true, methods: "PLAIN LOGIN", conf: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}}
	if change != nil {
		change(s)
	}
	if s.Listener, err = net.Listen("tcp", "localhost:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	go func() {
		for {
			c, err := s.Accept()
			if err != nil {
				return
			}
			go s.talk(c)
		}
	}()
	return s, roots
}

func (s *mailServer) port() string {
	_, port, _ := net.SplitHostPort(s.Addr().String())
	return port
}

func (s *mailServer) talk(c net.Conn) {
	defer c.Close()
	secure := s.implicit
	if s.implicit {
		c = tls.Server(c, s.conf)
	}
	r := bufio.NewReader(c)
	say := func(format string, args ...any) { fmt.Fprintf(c, format+"\r\n", args...) }
	read := func() string { line, _ := r.ReadString('\n'); return strings.TrimRight(line, "\r\n") }
	say("220 mail.test ESMTP")
	envelope := ""
	for {
		line := read()
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO", "HELO":
			fmt.Fprintf(c, "250-mail.test\r\n")
			if s.startTLS && !secure {
				fmt.Fprintf(c, "250-STARTTLS\r\n")
			}
			if s.methods != "" {
				fmt.Fprintf(c, "250-AUTH %s\r\n", s.methods)
			}
			say("250 8BITMIME")
		case "STARTTLS":
			say("220 go ahead")
			c = tls.Server(c, s.conf)
			r, secure = bufio.NewReader(c), true
		case "AUTH":
			if !s.login(rest, say, read) {
				say("535 5.7.8 who?")
				continue
			}
			say("235 welcome")
		case "MAIL", "RCPT":
			envelope += line + "\n"
			say("250 fine")
		case "DATA":
			if s.refuse != "" {
				say("%s", s.refuse)
				continue
			}
			say("354 go on")
			var text strings.Builder
			for l := read(); l != "."; l = read() {
				text.WriteString(strings.TrimPrefix(l, ".") + "\r\n")
			}
			s.mu.Lock()
			s.mails, s.plain, envelope = append(s.mails, envelope+"\n"+text.String()), s.plain || !secure, ""
			s.mu.Unlock()
			say("250 queued")
		case "QUIT":
			say("221 bye")
			return
		case "":
			return
		default:
			say("250 fine")
		}
	}
}

func (s *mailServer) login(rest string, say func(string, ...any), read func() string) bool {
	method, first, _ := strings.Cut(rest, " ")
	text := func(b64 string) string { b, _ := base64.StdEncoding.DecodeString(b64); return string(b) }
	got := ""
	switch method {
	case "PLAIN":
		got = strings.ReplaceAll(strings.TrimPrefix(text(first), "\x00"), "\x00", ":")
	case "LOGIN":
		say("334 %s", base64.StdEncoding.EncodeToString([]byte("Username:")))
		got = text(read())
		say("334 %s", base64.StdEncoding.EncodeToString([]byte("Password:")))
		got += ":" + text(read())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auth = append(s.auth, method+" "+got)
	return got == "assent:open sesame"
}

func (s *mailServer) taken() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.mails...)
}

func mailRequest(address, secret string) client.ChannelRequest {
	return client.ChannelRequest{Name: "Ops <mail>\u00e9", Kind: ledger.Mail, Address: address, Secret: secret, From: "Assent <assent@example.org>", To: []string{"a@example.org", "B <b@example.org>"}, Events: client.NoticeEvents()}
}

func TestMailGoesOverTLSWithItsHeadersWhateverNamesSay(t *testing.T) {
	for name, c := range map[string]struct {
		scheme string
		change func(*mailServer)
		auth   string
	}{
		"STARTTLS":     {"smtp", nil, "PLAIN"},
		"implicit TLS": {"smtps", func(s *mailServer) { s.implicit = true }, "PLAIN"},
		"LOGIN":        {"smtp", func(s *mailServer) { s.methods = "LOGIN" }, "LOGIN"},
	} {
		t.Run(name, func(t *testing.T) {
			s, roots := newMailServer(t, c.change)
			w := newWorld(t, func(w *world) { w.roots = roots })
			_, err := w.notify.CreateChannel(t.Context(), admin(), mailRequest(c.scheme+"://assent@localhost:"+s.port(), "open sesame"))
			w.must(err)
			w.run()
			w.decline("lib", "root", "no\r\nBcc: all@example.org\r\n\r\n.\r\nMAIL FROM:<evil@example.org>\u202e")
			w.eventually("the mail came", func() bool { return len(s.taken()) > 0 })
			envelope, text, _ := strings.Cut(s.taken()[0], "\n\n")
			if envelope != "MAIL FROM:<assent@example.org> BODY=8BITMIME\nRCPT TO:<a@example.org>\nRCPT TO:<b@example.org>" {
				t.Errorf("the envelope is %q", envelope)
			}
			m, err := mail.ReadMessage(strings.NewReader(text))
			w.must(err)
			subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
			w.must(err)
			body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
			w.must(err)
			id := w.deliveries("Ops <mail>\u00e9")[0].ID
			if m.Header.Get("Bcc") != "" || !strings.HasPrefix(subject, "Assent: ada declined lib 1.0 in All devices: no Bcc: all@example.org") || m.Header.Get("Message-ID") != "<"+id+"@example.org>" ||
				!strings.HasSuffix(m.Header.Get("List-Id"), ".assent.localhost>") || m.Header.Get("Auto-Submitted") != "auto-generated" || !strings.HasPrefix(m.Header.Get("Content-Type"), "text/plain") {
				t.Errorf("the headers are %+v, the subject %q", m.Header, subject)
			}
			if !strings.HasPrefix(string(body), "ada declined lib") || !strings.Contains(string(body), "\r\nhttps://assent.test/ledger/") {
				t.Errorf("the text is %q", body)
			}
			if s.plain || len(s.auth) != 1 || s.auth[0] != c.auth+" assent:open sesame" || len(s.taken()) != 1 {
				t.Errorf("plain %v, auth %q, %d mails", s.plain, s.auth, len(s.taken()))
			}
		})
	}
}

func TestAMailServerThatIsNotTrustedOrOffersNoTLSGetsNoPassword(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*mailServer)
		trusted bool
		want    string
	}{
		"an unknown certificate": {nil, false, "certificate"},
		"no STARTTLS":            {func(s *mailServer) { s.startTLS = false }, true, "STARTTLS"},
		"another password":       {nil, true, "refuses the password"},
		"a refused mail":         {func(s *mailServer) { s.refuse = "554 5.7.1 spam" }, true, "554"},
	} {
		t.Run(name, func(t *testing.T) {
			s, roots := newMailServer(t, c.change)
			w := newWorld(t, func(w *world) {
				if w.roots = x509.NewCertPool(); c.trusted {
					w.roots = roots
				}
			})
			secret := "open sesame"
			if c.want == "refuses the password" {
				secret = "wrong-password"
			}
			made, err := w.notify.CreateChannel(t.Context(), admin(), mailRequest("smtp://assent@localhost:"+s.port(), secret))
			w.must(err)
			d, err := w.notify.TestChannel(t.Context(), admin(), made.Channel.ID)
			if err != nil || d.State != "failed" || !strings.Contains(d.Error, c.want) || strings.Contains(d.Error, "wrong-password") {
				t.Errorf("%+v, %v", d, err)
			}
			if len(s.taken()) > 0 || len(s.auth) > 0 && c.want != "refuses the password" && c.want != "554" {
				t.Errorf("it got %q and %q", s.taken(), s.auth)
			}
		})
	}
}

func TestARelayOnThisMachineNeedsNoTLSAndNoPassword(t *testing.T) {
	s, _ := newMailServer(t, func(s *mailServer) { s.startTLS, s.methods = false, "" })
	w := newWorld(t, nil)
	made, err := w.notify.CreateChannel(t.Context(), admin(), mailRequest("smtp://localhost:"+s.port(), ""))
	w.must(err)
	if d, err := w.notify.TestChannel(t.Context(), admin(), made.Channel.ID); err != nil || d.State != "sent" || len(s.taken()) != 1 {
		t.Errorf("%+v, %v", d, err)
	}
}
