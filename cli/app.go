package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"assent/client"
)

// app is one run of the command.
type app struct {
	Env
	cmd    *cobra.Command // the one that runs
	json   bool
	utc    bool
	server string
	ca     string
}

func newApp(env Env) *app { return &app{Env: env} }

// connect makes the client from flags, environment and configuration, in this order.
func (a *app) connect() (*client.Client, error) {
	c, err := a.settings()
	if err != nil {
		return nil, err
	}
	if c.Token == "" {
		return nil, errSignedOut
	}
	return a.dial(c)
}

func (a *app) dial(c config) (*client.Client, error) {
	return client.New(client.Config{Server: c.Server, Token: c.Token, CA: c.CA, Agent: "assent/" + a.Version, Trace: a.Getenv("TRACEPARENT")})
}

// answer prints v as JSON, or what show prints for people.
func (a *app) answer(v any, show func(*printer)) error {
	if !a.json {
		p := a.printer()
		show(p)
		return p.flush()
	}
	enc := json.NewEncoder(a.Out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// args checks how many arguments there are, in words: at most max, or any number when max is negative.
func args(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least {
			return usage("give %s; see %s --help", what, cmd.CommandPath())
		}
		if most >= 0 && len(args) > most {
			return usage("%q is one argument too many; see %s --help", clean(args[most]), cmd.CommandPath())
		}
		return nil
	}
}

// sub makes a command that only holds others.
func sub(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short}
	c.AddCommand(commands...)
	return c
}
