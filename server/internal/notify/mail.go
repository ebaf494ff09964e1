package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"net/netip"
	"net/smtp"
	"net/textproto"
	"net/url"
	"strings"
	"syscall"
	"time"

	"assent/fault"
	"assent/ledger"
)

// mail sends messages as mail in plain text. A password is sent, and mail leaves the machine, only over TLS.
type mail struct {
	roots *x509.CertPool
	now   func() time.Time
}

// relay is the mail server of a channel.
type relay struct {
	host, port, user string
	implicit         bool // TLS from the first byte
}

func readRelay(address string) (relay, error) {
	bad := fault.New(fault.Invalid, "channel_address", "The address of a mail server is smtp://[user@]host[:port], with STARTTLS, or smtps://… .").On("address")
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return relay{}, bad
	}
	if _, has := u.User.Password(); has {
		return relay{}, fault.New(fault.Invalid, "channel_address", "The password does not belong into the address but into the secret.").On("address")
	}
	r := relay{host: u.Hostname(), port: u.Port(), user: u.User.Username()}
	switch u.Scheme {
	case "smtp":
		if r.port == "" {
			r.port = "587"
		}
	case "smtps":
		if r.implicit = true; r.port == "" {
			r.port = "465"
		}
	default:
		return relay{}, bad
	}
	return r, nil
}

func (mail) check(c ledger.Channel, secret string) error {
	r, err := readRelay(c.Address)
	if err != nil {
		return err
	}
	if (r.user == "") != (secret == "") {
		return fault.New(fault.Invalid, "channel_secret", "A mail server takes a user in the address and a password as the secret, or neither.").On("secret")
	}
	if _, err := mailbox(c.From); err != nil {
		return fault.New(fault.Invalid, "channel_from", "The sender is no mail address.").On("from")
	}
	if len(c.To) == 0 {
		return fault.New(fault.Invalid, "channel_to", "Say to whom mail goes.").On("to")
	}
	for _, to := range c.To {
		if _, err := mailbox(to); err != nil {
			return fault.New(fault.Invalid, "channel_to", "%.80q is no mail address.", to).On("to")
		}
	}
	return nil
}

// mailbox reads a mail address, which has one line and no characters beyond ASCII.
func mailbox(s string) (*netmail.Address, error) {
	a, err := netmail.ParseAddress(s)
	if err != nil || strings.ContainsAny(s, "\r\n\x00") || strings.ContainsFunc(a.Address, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.Join(errors.New("this is no mail address"), err)
	}
	return a, nil
}

func (s mail) send(ctx context.Context, c ledger.Channel, secret, id string, m message) error {
	r, err := readRelay(c.Address)
	if err != nil {
		return err
	}
	text, err := s.compose(c, r.host, id, m)
	if err != nil {
		return err
	}
	client, err := s.connect(ctx, r, secret)
	if err != nil {
		return err
	}
	defer client.Close()
	stop := context.AfterFunc(ctx, func() { _ = client.Close() })
	defer stop()
	if err := deliver(client, c, text); err != nil {
		return err
	}
	_ = client.Quit() // it was accepted: what follows does not matter
	return nil
}

// connect reaches the server, over TLS, and signs in.
func (s mail) connect(ctx context.Context, r relay, secret string) (*smtp.Client, error) {
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: func(_, address string, _ syscall.RawConn) error { return permitted(address) }}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(r.host, r.port))
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline) // where it cannot be set, the context closes the connection
	}
	remote := conn.RemoteAddr().String()
	conf := &tls.Config{ServerName: r.host, RootCAs: s.roots, MinVersion: tls.VersionTLS12}
	if r.implicit {
		conn = tls.Client(conn, conf)
	}
	client, err := smtp.NewClient(conn, r.host)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the mail server does not answer: %w", err), conn.Close())
	}
	if err := s.enter(client, r, conf, remote, secret); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return client, nil
}

func (s mail) enter(client *smtp.Client, r relay, conf *tls.Config, remote, secret string) error {
	if err := client.Hello("assent"); err != nil {
		return fmt.Errorf("the mail server refuses to talk: %w", err)
	}
	if !r.implicit {
		offered, _ := client.Extension("STARTTLS")
		switch {
		case offered:
			if err := client.StartTLS(conf); err != nil {
				return fmt.Errorf("no TLS with the mail server: %w", err)
			}
		case !local(remote) || secret != "":
			return errors.New("the mail server offers no STARTTLS, and without TLS nothing is sent to another machine")
		}
	}
	if secret == "" {
		return nil
	}
	_, methods := client.Extension("AUTH")
	auth := smtp.PlainAuth("", r.user, secret, r.host)
	if !strings.Contains(" "+methods+" ", " PLAIN ") && strings.Contains(" "+methods+" ", " LOGIN ") {
		auth = &loginAuth{user: r.user, password: secret}
	}
	if err := client.Auth(auth); err != nil {
		return fmt.Errorf("the mail server refuses the password: %s", strings.ReplaceAll(err.Error(), secret, "…"))
	}
	return nil
}

// local reports whether an address is on this machine.
func local(address string) bool {
	ap, err := netip.ParseAddrPort(address)
	return err == nil && ap.Addr().IsLoopback()
}

// deliver hands the mail over. It is accepted when deliver returns nil.
func deliver(client *smtp.Client, c ledger.Channel, text []byte) error {
	from, err := mailbox(c.From)
	if err != nil {
		return err
	}
	if err := client.Mail(from.Address); err != nil {
		return refusedMail(err)
	}
	for _, t := range c.To {
		to, err := mailbox(t)
		if err != nil {
			return err
		}
		if err := client.Rcpt(to.Address); err != nil {
			return refusedMail(err)
		}
	}
	w, err := client.Data()
	if err != nil {
		return refusedMail(err)
	}
	if _, err := w.Write(text); err != nil {
		return fmt.Errorf("send the mail: %w", err)
	}
	if err := w.Close(); err != nil {
		return refusedMail(err)
	}
	return nil
}

// refusedMail says whether the server does not want this mail (5xx), or only not now.
func refusedMail(err error) error {
	var p *textproto.Error
	if errors.As(err, &p) && p.Code >= 550 && p.Code < 560 {
		return fmt.Errorf("%w: the mail server says %d %s", errRefused, p.Code, p.Msg)
	}
	return fmt.Errorf("the mail server says: %w", err)
}

// compose writes the mail. Names in it are plain, so no header gets a second line.
func (s mail) compose(c ledger.Channel, host, id string, m message) ([]byte, error) {
	var b bytes.Buffer
	from, err := mailbox(c.From)
	if err != nil {
		return nil, err
	}
	var to []string
	for _, t := range c.To {
		a, err := mailbox(t)
		if err != nil {
			return nil, err
		}
		to = append(to, a.String())
	}
	_, domain, _ := strings.Cut(from.Address, "@")
	for _, h := range [][2]string{{"From", from.String()}, {"To", strings.Join(to, ",\r\n ")}, {"Subject", mime.QEncoding.Encode("utf-8", "Assent: "+plain(m.Data.Text, 120))},
		{"Date", s.now().Format(time.RFC1123Z)}, {"Message-ID", "<" + id + "@" + domain + ">"}, {"List-Id", mime.QEncoding.Encode("utf-8", phrase(c.Name)) + " <" + c.ID + ".assent." + host + ">"},
		{"Auto-Submitted", "auto-generated"}, {"MIME-Version", "1.0"}, {"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "quoted-printable"}} {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	body := m.text(func(s string) string { return s }) + "\n\n-- \nAssent, " + m.Data.event() + ", " + id + "\n"
	if _, err := w.Write([]byte(strings.ReplaceAll(body, "\n", "\r\n"))); err != nil {
		return nil, fmt.Errorf("write the mail: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("write the mail: %w", err)
	}
	return b.Bytes(), nil
}

func (n Notice) event() string { return string(n.Event) }

// phrase is a name without what a header reads.
func phrase(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(`<>()[]"\,;:@=?`, r) {
			return ' '
		}
		return r
	}, plain(s, 60))
}

// loginAuth is the LOGIN mechanism, which some servers offer alone.
type loginAuth struct{ user, password string }

// Start begins it, over TLS only.
func (a *loginAuth) Start(server *smtp.ServerInfo) (string, []byte, error) {
	if !server.TLS {
		return "", nil, errors.New("no password without TLS")
	}
	return "LOGIN", nil, nil
}

// Next answers the server's questions.
func (a *loginAuth) Next(asked []byte, more bool) ([]byte, error) {
	switch {
	case !more:
		return nil, nil
	case bytes.HasPrefix(bytes.ToLower(asked), []byte("user")):
		return []byte(a.user), nil
	case bytes.HasPrefix(bytes.ToLower(asked), []byte("pass")):
		return []byte(a.password), nil
	}
	return nil, errors.New("the mail server asks something unknown")
}
