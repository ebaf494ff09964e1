// Package cli is `assent`, the operator's command line. It does everything through the API of package
// client and holds no logic of its own: what may be done and what follows is for the server to say.
//
// Guarantees: with --json the output is the API's answer and nothing else; every refusal ends with one
// sentence, its code and what to do next, and with an exit code for its kind; text that came from elsewhere
// is shown with control and direction characters escaped; colour appears only on a terminal; a token is only
// sent to the server that it came from.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// Env is everything that a run of the command touches outside its arguments.
type Env struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string
	Now      func() time.Time
	Zone     *time.Location // in which times are shown
	Width    int            // of the terminal behind Out in characters; 0: Out is no terminal
	Ask      bool           // In is a terminal: questions can be asked
	Version  string
}

// System is the Env of a real run.
func System(version string) Env {
	width, _ := terminal(os.Stdout)
	_, ask := terminal(os.Stdin)
	return Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Now: time.Now, Zone: time.Local,
		Width: width, Ask: ask, Version: version}
}

// Main runs one command and returns its exit code.
func Main(ctx context.Context, args []string, env Env) int {
	a := newApp(env)
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	return a.report(err)
}

// root builds the command tree.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "assent",
		Short: "Decide which software updates reach which devices",
		Long: `See every update that any device could take, try it on test devices, then approve or decline it.

Sign in first: assent login --server URL --token TOKEN`,
		Example: `  assent update list --security --status undefined
  assent update approve u0abc12345678 --group Test
  assent update approve --all-matching --security --dry-run
  assent why web1 openssl`,
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRun: func(cmd *cobra.Command, _ []string) { a.cmd = cmd },
	}
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%v", err) })
	f := root.PersistentFlags()
	f.BoolVar(&a.json, "json", false, "print the API's answer as JSON")
	f.BoolVar(&a.utc, "utc", false, "show times in UTC instead of the local zone")
	f.StringVar(&a.server, "server", "", "address of the server (or ASSENT_SERVER)")
	f.StringVar(&a.ca, "ca", "", "SHA-256 fingerprint of the server's certificate authority (or ASSENT_CA)")
	root.AddCommand(a.login(), a.logout(), a.status(), a.update(), a.why(), a.queue(), a.device(), a.group(), a.task(), a.plan(), a.apply(), a.diff(), a.export(), a.imports(), a.rollout(), a.rehearsal(), a.token(),
		a.operator(), a.access(), a.agreement(), a.pkg(), a.feed(), a.ledger(), a.event(), a.channel(), a.view(), a.version(), exitCodes())
	strict(root)
	for _, c := range root.Commands() {
		strict(c)
	}
	return root
}

// strict makes a group of commands refuse a verb that it does not have, where cobra would print help and succeed.
func strict(c *cobra.Command) {
	if c.HasSubCommands() && c.Run == nil && c.RunE == nil {
		c.Args, c.SuggestionsMinimumDistance = cobra.ArbitraryArgs, 2
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			meant := ""
			if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
				meant = ", did you mean " + s[0] + "?"
			}
			return usage("there is no command %q%s; see %s --help", cmd.CommandPath()+" "+clean(args[0]), meant, cmd.CommandPath())
		}
	}
}

// exitCodes is a help topic: assent help exit-codes.
func exitCodes() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: fmt.Sprintf(`The exit code says what sort of refusal it was; the code in brackets behind the message says which.

%3d  done
%3d  internal error
%3d  the call or its input is wrong
%3d  no such thing
%3d  the state of things forbids it now
%3d  not allowed
%3d  not signed in
%3d  was there, is not any more
%3d  too large
%3d  try again later: no answer, or out of time
%3d  ledger verify: not what was signed
%3d  --wait: an update was not installed on some device
%3d  interrupted`, exitOK, exitInternal, exitUsage, exitNotFound, exitConflict, exitForbidden, exitSignedOut, exitGone, exitTooLarge,
		exitUnavailable, exitTampered, exitFailed, exitInterrupted)}
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", Args: args(0, 0, ""), RunE: func(*cobra.Command, []string) error {
		return a.answer(map[string]string{"version": a.Version}, func(p *printer) { p.line("assent %s", a.Version) })
	}}
}
