package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"assent/client"
	"assent/ledger"
)

func (a *app) token() *cobra.Command {
	c := sub("token", "Make and revoke enrolment tokens for devices", a.tokenCreate(), a.tokenList(), a.revocation("revoke ID", "Revoke an enrolment token", (*client.Client).RevokeToken))
	c.Aliases = []string{"tokens"}
	return c
}

// optionalSpan reads a span of time; empty is 0: the server's default.
func optionalSpan(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	return span(s)
}

func (a *app) tokenCreate() *cobra.Command {
	var r client.TokenRequest
	var ttl string
	c := &cobra.Command{
		Use: "create", Short: "Make an enrolment token", Args: args(0, 0, ""),
		Long:    `Make a token with which devices enrol themselves. It is shown once; it carries the fingerprint of the server's CA.`,
		Example: `  assent token create --group Test --uses 4 --ttl 1h`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if r.TTL, err = optionalSpan(ttl); err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			t, err := c.CreateToken(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.answer(t, func(p *printer) {
				p.line("Token %s for %s into %s, until %s. It is shown only now:", t.ID, many(t.Uses, "device"), t.Group, a.when(t.Expires))
				p.line("  %s", t.Text)
				if t.Command != "" {
					p.line("Run on the device:")
					p.line("  %s", t.Command)
				}
			})
		},
	}
	c.Flags().StringVarP(&r.Group, "group", "g", "", "the group (id or name) that devices enrol into; the root by default")
	c.Flags().IntVar(&r.Uses, "uses", 1, "how many devices may use it")
	c.Flags().StringVar(&ttl, "ttl", "", "how long it is good for, for example 1h (the default) or 7d")
	c.Flags().StringVar(&r.Note, "note", "", "what it is for")
	a.completeGroup(c, "group")
	return c
}

func (a *app) tokenList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List enrolment tokens", Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			list, err := c.Tokens(cmd.Context())
			if err != nil {
				return err
			}
			return a.answer(list, func(p *printer) {
				t := newTable(col("ID"), flex("GROUP", 8), num("USED"), col("STATE"), col("UNTIL"), flex("BY", 6), flex("NOTE", 10))
				for _, r := range list.Items {
					t.add(text(r.ID), text(r.Group), text(fmt.Sprintf("%d of %d", r.Used, r.Uses)), a.tokenState(r), text(a.when(r.Expires)), text(r.By), text(r.Note))
				}
				if len(list.Items) > 0 {
					p.table(t)
				}
				rest(p, list, "enrolment token")
			})
		},
	}
}

func (a *app) tokenState(r client.TokenRow) cell {
	switch {
	case r.Revoked:
		return toned("revoked", faint)
	case r.Used >= r.Uses:
		return toned("used up", faint)
	case !a.Now().Before(r.Expires):
		return toned("expired", faint)
	}
	return toned("good", good)
}

// revocation is a command that ends something by id.
func (a *app) revocation(use, short string, end func(*client.Client, ctx, string) (client.Act, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: args(1, 1, "an id"),
		RunE: func(cmd *cobra.Command, ids []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			act, err := end(c, cmd.Context(), ids[0])
			if err != nil {
				return err
			}
			return a.answer(act, func(p *printer) { p.line("Ended %s (act %d).", ids[0], act.Act) })
		},
	}
}

func (a *app) operator() *cobra.Command {
	c := sub("operator", "See and change who may use the server", a.operatorList(), a.operatorSet(),
		a.revocation("remove NAME", "Remove an operator with all access", (*client.Client).RemoveOperator), a.operatorPassword(), a.operatorSignOut())
	c.Aliases = []string{"operators"}
	return c
}

func (a *app) operatorList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List operators", Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			list, err := c.Operators(cmd.Context())
			if err != nil {
				return err
			}
			return a.answer(list, func(p *printer) {
				t := newTable(flex("NAME", 8), col("ROLE"), flex("IN", 8), num("TOKENS"))
				for _, o := range list.Items {
					t.add(toned(o.Name, strong), text(string(o.Role)), text(o.ScopeName), text(count(o.Accesses)))
				}
				p.table(t)
			})
		},
	}
}

func (a *app) operatorSet() *cobra.Command {
	var r client.OperatorRequest
	var role string
	c := &cobra.Command{
		Use: "set NAME", Short: "Add or change an operator", Example: "  assent operator set ada --role approver --group Web",
		Long: `Add or change an operator. Viewers see, approvers also approve and decline, administrators also change devices,
groups and operators; in the group and all below it. Then make a sign-in token: assent access create --operator NAME --sign-in`,
		Args: args(1, 1, "a name"),
		RunE: func(cmd *cobra.Command, names []string) error {
			if role == "" {
				return usage("say what the operator may do with --role viewer, approver or administrator")
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			r.Name, r.Role = names[0], ledger.Role(role)
			o, err := c.SetOperator(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.answer(o, func(p *printer) { p.line("%s is %s in %s.", o.Name, string(o.Role), o.ScopeName) })
		},
	}
	c.Flags().StringVar(&role, "role", "", "viewer, approver or administrator")
	c.Flags().StringVarP(&r.Scope, "group", "g", "", "the group (id or name) in which the role counts, with all below; the root by default")
	a.completeGroup(c, "group")
	_ = c.RegisterFlagCompletionFunc("role", cobra.FixedCompletions([]string{"viewer", "approver", "administrator"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *app) access() *cobra.Command {
	return sub("access", "Make and revoke access tokens for the API", a.accessCreate(), a.accessList(),
		a.revocation("revoke ID", "Revoke an access token", (*client.Client).RevokeAccess))
}

func (a *app) accessCreate() *cobra.Command {
	var r client.AccessRequest
	var ttl string
	c := &cobra.Command{
		Use: "create", Short: "Make an access token, or a one-time sign-in token", Args: args(0, 0, ""),
		Example: `  assent access create --note "nightly report" --ttl 30d
  assent access create --operator ada --sign-in`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if r.TTL, err = optionalSpan(ttl); err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			t, err := c.CreateAccess(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.answer(t, func(p *printer) {
				p.line("Token %s for %s, until %s. It is shown only now:", t.ID, t.Operator, a.when(t.Expires))
				p.line("  %s", t.Text)
			})
		},
	}
	c.Flags().StringVar(&r.Operator, "operator", "", "for whom; for yourself by default")
	c.Flags().StringVar(&ttl, "ttl", "", "how long it is good for; 90d by default, for sign-in tokens 24h")
	c.Flags().StringVar(&r.Note, "note", "", "what it is for")
	c.Flags().BoolVar(&r.SignIn, "sign-in", false, "make a one-time token for `assent login`")
	return c
}

func (a *app) accessList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List access tokens: yours, or all for an administrator", Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			list, err := c.Accesses(cmd.Context())
			if err != nil {
				return err
			}
			return a.answer(list, func(p *printer) {
				t := newTable(col("ID"), flex("OPERATOR", 8), col("KIND"), col("UNTIL"), col("LAST USED"), flex("NOTE", 10))
				for _, r := range list.Items {
					kind := "access"
					if r.OneTime {
						kind = "sign-in"
					}
					t.add(text(r.ID), text(r.Operator), text(kind), text(a.when(r.Expires)), text(a.when(r.LastUsed)), text(r.Note))
				}
				if len(list.Items) > 0 {
					p.table(t)
				}
				rest(p, list, "access token")
			})
		},
	}
}
