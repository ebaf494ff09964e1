package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"assent/client"
	"assent/fault"
)

func (a *app) login() *cobra.Command {
	var token, note string
	c := &cobra.Command{
		Use:   "login",
		Short: "Sign in to a server",
		Long: `Sign in to a server with a one-time sign-in token, which the server's first start prints and
administrators make with "assent access create --sign-in". It is exchanged for an access token that is kept in
$XDG_CONFIG_HOME/assent/config.json, readable only by you. An access token is accepted too.

Without --token, or with --token -, the token is read from the standard input.`,
		Example: `  assent login --server http://127.0.0.1:8480 --token assent_…
  assent login --server https://assent.example:8480 --ca FINGERPRINT < token-file`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.signIn(cmd, token, note) },
	}
	c.Flags().StringVar(&token, "token", "", "sign-in token or access token")
	c.Flags().StringVar(&note, "note", "", "where the access token is used (the host's name by default)")
	return c
}

func (a *app) signIn(cmd *cobra.Command, token, note string) error {
	if token == "" || token == "-" {
		var err error
		if token, err = a.readToken(); err != nil {
			return err
		}
	}
	settings, err := a.settings()
	if err != nil {
		return err
	}
	if note == "" {
		note, _ = os.Hostname()
	}
	settings.Token = ""
	me, text, err := a.exchange(cmd, settings, token, note)
	if err != nil {
		return err
	}
	settings.Token = text
	path, err := a.save(settings) // first of all: the token is spent
	if err != nil {
		return err
	}
	if err := a.remember(cmd.Context(), settings); err != nil {
		return err
	}
	return a.answer(me, func(p *printer) {
		p.line("Signed in to %s as %s (%s) until %s; kept in %s.", settings.Server, me.Name, string(me.Role), a.when(me.Expires), path)
	})
}

// remember keeps the ledger's verifier key of the first sign-in. A server that shows another one later has
// another ledger: the new key is not taken.
func (a *app) remember(ctx ctx, c config) error {
	api, err := a.dial(c)
	if err != nil {
		return err
	}
	cp, err := api.Checkpoint(ctx)
	switch {
	case errors.Is(err, fault.Forbidden):
		return nil // the ledger is not for this operator
	case err != nil:
		return err
	case c.Ledger == "":
		c.Ledger = cp.Key
		_, err = a.save(c)
		return err
	case c.Ledger != cp.Key:
		fmt.Fprintf(a.Err, "assent: The ledger of %s is signed with another key than at your first sign-in. If that was not announced, it may be another ledger. The first key is kept: %s [ledger_key_changed]\n",
			clean(c.Server), clean(c.Ledger))
	}
	return nil
}

// exchange tries the text as a sign-in token, then as an access token.
func (a *app) exchange(cmd *cobra.Command, settings config, token, note string) (client.Me, string, error) {
	c, err := a.dial(settings)
	if err != nil {
		return client.Me{}, "", err
	}
	signed, refused := c.SignIn(cmd.Context(), client.SignIn{Token: token, Note: note})
	if !errors.Is(refused, fault.Unauthenticated) {
		return signed.Me, signed.Text, refused
	}
	settings.Token = token
	if c, err = a.dial(settings); err != nil {
		return client.Me{}, "", err
	}
	me, err := c.Me(cmd.Context())
	if errors.Is(err, fault.Unauthenticated) {
		err = refused
	}
	return me, token, err
}

// readToken reads one line.
func (a *app) readToken() (string, error) {
	if a.Ask {
		fmt.Fprint(a.Err, "Token: ")
	}
	line, err := bufio.NewReader(io.LimitReader(a.In, 1000)).ReadString('\n')
	token := strings.TrimSpace(line)
	if token == "" || err != nil && !errors.Is(err, io.EOF) {
		return "", usage("give a token with --token, or on the standard input")
	}
	return token, nil
}

func (a *app) logout() *cobra.Command {
	return &cobra.Command{
		Use: "logout", Short: "End the access token and forget it", Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, err := a.load()
			if err != nil {
				return err
			}
			if file.Token == "" {
				return errSignedOut
			}
			c, err := a.dial(file)
			if err != nil {
				return err
			}
			_, ended := c.SignOut(cmd.Context())
			token := file.Token
			file.Token = ""
			if _, err := a.save(file); err != nil {
				return err
			}
			if ended != nil && !errors.Is(ended, fault.Unauthenticated) {
				return fault.New(fault.Unavailable, "not_ended", "The token is forgotten here, but %s did not end it; end it with `assent access revoke %s`.", file.Server, tokenID(token)).Because(ended)
			}
			return a.answer(struct{}{}, func(p *printer) { p.line("Signed out of %s.", file.Server) })
		},
	}
}

// tokenID is the part of a token that is no secret.
func tokenID(token string) string {
	if p := strings.Split(token, "_"); len(p) == 4 {
		return p[1]
	}
	return "ID"
}

func (a *app) status() *cobra.Command {
	var q client.TrendQuery
	var overTime bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show the state of the whole, and what needs you", Args: args(0, 0, ""),
		Example: `  assent status
  assent status --trend --group Web --days 30`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if overTime {
				return a.trend(cmd.Context(), c, q)
			}
			if q != (client.TrendQuery{}) {
				return usage("--group and --days go with --trend")
			}
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			return a.answer(s, func(p *printer) { a.showStatus(p, s) })
		},
	}
	cmd.Flags().BoolVar(&overTime, "trend", false, "show how it went over time instead")
	cmd.Flags().StringVarP(&q.Group, "group", "g", "", "with --trend: of this group (id or name)")
	cmd.Flags().IntVar(&q.Days, "days", 0, "with --trend: how many days back, 1 to 731; 90 by default")
	a.completeGroup(cmd, "group")
	return cmd
}

// compliance is the figure with what it is made of. Declined pairs count in it as accepted risk (A4).
func compliance(c client.Compliance) string {
	share, ok := c.Share()
	if !ok {
		return "no figure yet: nothing that was decided on applies to any device"
	}
	s := fmt.Sprintf("%.0f %%: %d of %d approved installs are in place", 100*share, c.Installed, c.Approved)
	if c.Risk > 0 {
		s += fmt.Sprintf("; %d declined ones count as accepted risk", c.Risk)
	}
	return s
}

// storage says what the database takes, how long it keeps what is no decision, and when a backup was made last.
func (a *app) storage(s client.Storage) string {
	if s.Bytes == 0 {
		return ""
	}
	text := fmt.Sprintf("%s; reports are kept %d days, trends %d", size(s.Bytes), s.ReportsDays, s.TrendsDays)
	if s.Backup == nil {
		return text + "; no backup by assentd yet"
	}
	return text + "; last backup " + a.exactly(*s.Backup)
}

func (a *app) showStatus(p *printer, s client.Status) {
	p.fields("Server", "Assent "+s.Version+", "+s.Engine, "Time", a.exactly(s.Now),
		"Devices", counts(s.Devices), "Updates", counts(s.Updates), "Queue", counts(s.Queue), "Blocked", counts(s.Blocked), "Beforehand", figuresLine(s.Rehearsal),
		"Compliance", compliance(s.Compliance), "Ledger", fmt.Sprintf("%d entries", s.Ledger), "Storage", a.storage(s.Storage))
	if len(s.Attention) == 0 {
		return
	}
	p.title("Needs you")
	for _, line := range s.Attention {
		p.line("- %s", line)
	}
}
