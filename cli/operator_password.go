package cli

import (
	"bytes"

	"github.com/spf13/cobra"

	"assent/client"
)

func (a *app) operatorPassword() *cobra.Command {
	var remove bool
	c := &cobra.Command{
		Use: "password NAME", Short: "Set or remove an operator's password for the web console",
		Long: `Set the password with which an operator signs in to the web console: your own, or that of an operator below you. It is
asked for at the terminal, or read as one line from the standard input; it is never an argument. It has at least 12
characters and does not contain the name. All browsers in which the operator is signed in are signed out.`,
		Example: `  assent operator password ada
  assent operator password ada < password-file
  assent operator password ada --remove`,
		Args: args(1, 1, "a name"),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if remove {
				act, err := c.RemovePassword(cmd.Context(), names[0])
				if err != nil {
					return err
				}
				return a.answer(act, func(p *printer) { p.line("Removed the password of %s (act %d).", names[0], act.Act) })
			}
			password, err := a.newPassword(names[0])
			if err != nil {
				return err
			}
			act, err := c.SetPassword(cmd.Context(), names[0], client.PasswordRequest{Password: string(password)})
			if err != nil {
				return err
			}
			return a.answer(act, func(p *printer) { p.line("Set the password of %s (act %d).", names[0], act.Act) })
		},
	}
	c.Flags().BoolVar(&remove, "remove", false, "remove the password instead")
	return c
}

func (a *app) operatorSignOut() *cobra.Command {
	c := a.revocation("sign-out NAME", "Sign an operator out of the web console everywhere", (*client.Client).SignOutOperator)
	c.Long = "Sign an operator out of the web console in every browser. What access tokens of theirs may do stays as it is."
	c.Example = "  assent operator sign-out ada"
	return c
}

// newPassword asks for a password; who is asked is asked twice.
func (a *app) newPassword(name string) ([]byte, error) {
	first, err := a.ask("New password of " + clean(name) + ": ")
	if err != nil || !a.Ask || a.json {
		return first, err
	}
	again, err := a.ask("The same again: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, again) {
		return nil, usage("these were two passwords; nothing was changed")
	}
	return first, nil
}
