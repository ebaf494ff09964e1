package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"assent/client"
)

func (a *app) agreement() *cobra.Command {
	c := sub("agreement", "See and withdraw accepted licence agreements", a.agreementList(), a.agreementAccept(), a.agreementWithdraw())
	c.Aliases = []string{"agreements"}
	return c
}

// updateAgreements shows what must be accepted before an update may install.
func (a *app) updateAgreements() *cobra.Command {
	var text string
	c := &cobra.Command{
		Use: "agreements UPDATE", Short: "Show the licence agreements of an update and of its prerequisites",
		Long: `Show the licence agreements that must be accepted before an update may install, those of its prerequisites among
them, with their texts. "assent update approve UPDATE --accept-agreements" accepts them as they are then.`,
		Example: `  assent update agreements ledger-app@2.0
  assent update agreements ledger-app@2.0 --language de`,
		Args: args(1, 1, "an update"), ValidArgsFunction: a.completeUpdates(1),
		RunE: func(cmd *cobra.Command, refs []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			list, err := c.Agreements(cmd.Context(), refs[0])
			if err != nil || a.json {
				return firstError(err, func() error { return a.answer(list, func(*printer) {}) })
			}
			texts, err := a.agreementTexts(cmd.Context(), c, refs[0], list, text)
			if err != nil {
				return err
			}
			return a.answer(list, func(p *printer) { a.showAgreements(p, list, texts) })
		},
	}
	c.Flags().StringVar(&text, "language", "en", "the language of the texts, where there are several")
	return c
}

func firstError(err error, then func() error) error {
	if err != nil {
		return err
	}
	return then()
}

// agreementTexts reads the texts, in the language that was asked for or else in the first.
func (a *app) agreementTexts(ctx ctx, c *client.Client, update string, list client.List[client.AgreementRow], language string) (map[string]string, error) {
	out := map[string]string{}
	for _, row := range list.Items {
		for i, t := range row.Texts {
			if t.Language != language && i > 0 || out[row.Digest] != "" && t.Language != language {
				continue
			}
			text, err := c.AgreementText(ctx, update, t.SHA256)
			if err != nil {
				return nil, err
			}
			out[row.Digest] = text.Text
		}
	}
	return out, nil
}

func (a *app) showAgreements(p *printer, list client.List[client.AgreementRow], texts map[string]string) {
	if len(list.Items) == 0 {
		p.line("It has no agreements.")
		return
	}
	for _, r := range list.Items {
		state := "not accepted"
		if r.Accepted {
			state = "accepted by " + r.By + " on " + a.exactly(r.At) + " (act " + count(int(r.Act)) + ")"
		}
		p.title(r.Title + " (" + r.Update.Name + " " + r.Update.Version + ")")
		p.fields("State", state, "Digest", r.Digest, "Languages", languages(r))
		for line := range strings.Lines(texts[r.Digest]) {
			p.line("  %s", strings.TrimRight(line, "\r\n"))
		}
	}
}

func languages(r client.AgreementRow) string {
	var out []string
	for _, t := range r.Texts {
		out = append(out, t.Language)
	}
	return strings.Join(out, ", ")
}

func (a *app) agreementList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the agreements that stand accepted, and by whom", Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			list, err := c.Accepted(cmd.Context())
			if err != nil {
				return err
			}
			return a.answer(list, func(p *printer) {
				if len(list.Items) > 0 {
					t := newTable(col("DIGEST"), flex("TITLE", 10), flex("UPDATE", 10), col("BY"), col("AT"), num("ACT"))
					for _, r := range list.Items {
						t.add(text(r.Digest[:min(12, len(r.Digest))]), toned(r.Title, strong), text(r.Update.Name+" "+r.Update.Version), text(r.By), text(a.when(r.At)), text(count(int(r.Act))))
					}
					p.table(t)
				}
				rest(p, list, "agreement")
			})
		},
	}
}

func (a *app) agreementAccept() *cobra.Command {
	return &cobra.Command{
		Use: "accept UPDATE", Short: "Accept the agreements of an update without approving it", Example: "  assent agreement accept ledger-app@2.0",
		Args: args(1, 1, "an update"), ValidArgsFunction: a.completeUpdates(1),
		RunE: func(cmd *cobra.Command, refs []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			digests, err := pendingAgreements(cmd.Context(), c, refs)
			if err != nil {
				return err
			}
			act, err := c.Accept(cmd.Context(), client.AcceptRequest{Update: refs[0], Digests: digests})
			if err != nil {
				return err
			}
			return a.answer(act, func(p *printer) {
				if act.Act == 0 {
					p.line("Nothing was left to accept.")
					return
				}
				p.line("Accepted %s (act %d).", many(len(digests), "agreement"), act.Act)
			})
		},
	}
}

// pendingAgreements lists the digests of what must still be accepted for some updates, as it is now.
func pendingAgreements(ctx ctx, c *client.Client, updates []string) ([]string, error) {
	var out []string
	for _, u := range updates {
		list, err := c.Agreements(ctx, u)
		if err != nil {
			return nil, err
		}
		for _, r := range list.Items {
			if !r.Accepted {
				out = append(out, r.Digest)
			}
		}
	}
	return out, nil
}

func (a *app) agreementWithdraw() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "withdraw DIGEST", Short: "Take the acceptance of an agreement back: nothing that needs it installs any more",
		Example: "  assent agreement withdraw 3f9a1c0b77aa --reason 'legal says no'",
		Args:    args(1, 1, "the digest of an accepted agreement"),
		RunE: func(cmd *cobra.Command, digest []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			act, err := c.Withdraw(cmd.Context(), client.WithdrawRequest{Digest: digest[0], Reason: reason})
			if err != nil {
				return err
			}
			return a.answer(act, func(p *printer) { p.line("Withdrawn (act %d).", act.Act) })
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the ledger")
	return c
}
