package server

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"assent/ledger"
	"assent/server/internal/store"
)

// defaultConfig is the configuration file that is read when none is named, if it is there.
const defaultConfig = "/etc/assent/assentd.json"

// command is the program's command line: the flags that override the file.
type command struct {
	file    string
	flags   Config
	version string
	root    *cobra.Command
}

// Command is the command line of assentd.
func Command(version string) *cobra.Command {
	c := &command{version: version}
	c.root = &cobra.Command{
		Use:   "assentd",
		Short: "The server of Assent: decides which software updates reach which devices, and proves it",
		Long: `assentd serves the API for people and the protocol of devices.

At its first start it makes its keys and database in the data directory, an operator "admin", and one
sign-in for it, which it prints and writes to the file first-sign-in in the data directory.

The configuration file is one JSON object; an unknown key is an error. Flags win over it. A PostgreSQL
address is a secret and stands in the file that database.url_file names, or in ASSENT_DATABASE_URL.`,
		Example: "  assentd --data /var/lib/assent --server-name assent.example.org",
		Args:    cobra.NoArgs, Version: version, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := c.config()
			if err != nil {
				return err
			}
			conf.Out = cmd.OutOrStdout()
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return Run(ctx, conf)
		},
	}
	c.addFlags()
	c.root.AddCommand(c.ledgerKey(), c.signIn(), c.backup(), c.restore(), c.ready(), c.keysCommand(), c.sizing(), c.content(), &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version)
			return err
		}})
	return c.root
}

func (c *command) addFlags() {
	f := c.root.PersistentFlags()
	f.StringVar(&c.file, "config", "", "configuration file; "+defaultConfig+" if it is there")
	f.StringVar(&c.flags.Data, "data", "", "data directory (default /var/lib/assent)")
	own := c.root.Flags()
	own.StringVar(&c.flags.Listen, "listen", "", "address of the API (default 127.0.0.1:8480); TLS unless it is on loopback")
	own.StringVar(&c.flags.AgentListen, "agent-listen", "", "address for devices (default :8443)")
	own.StringArrayVar(&c.flags.ServerNames, "server-name", nil, "host name or IP address by which devices reach the server; may be repeated, the first one goes into enrolment commands")
	own.StringVar(&c.flags.LogLevel, "log-level", "", "debug, info, warn or error (default info)")
	own.BoolVar(&c.flags.Pprof, "pprof", false, "serve profiles under /debug/pprof to programs of this machine")
}

// config is the file with the flags over it.
func (c *command) config() (Config, error) {
	var conf Config
	var err error
	if c.file != "" {
		conf, err = Load(c.file)
	} else if conf, err = Load(defaultConfig); errors.Is(err, fs.ErrNotExist) {
		conf, err = Config{}, nil
	}
	if err != nil {
		return conf, err
	}
	for _, o := range []struct{ to, from *string }{{&conf.Data, &c.flags.Data}, {&conf.Listen, &c.flags.Listen},
		{&conf.AgentListen, &c.flags.AgentListen}, {&conf.LogLevel, &c.flags.LogLevel}} {
		if *o.from != "" {
			*o.to = *o.from
		}
	}
	if len(c.flags.ServerNames) > 0 {
		conf.ServerNames = c.flags.ServerNames
	}
	conf.Pprof = conf.Pprof || c.flags.Pprof
	conf.Version = c.version
	return conf, nil
}

// offline opens the data directory and the database for a command that works beside a running server. It
// makes nothing that is not there.
func (c *command) offline(ctx context.Context, use func(Config, *os.Root, *store.DB) error) (err error) {
	conf, err := c.config()
	if err != nil {
		return err
	}
	if conf, err = conf.normal(); err != nil {
		return err
	}
	dir, err := os.OpenRoot(conf.Data)
	if err != nil {
		return fmt.Errorf("open the data directory: %w", err)
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if _, err := dir.Stat(ledgerKeyFile); err != nil {
		return fmt.Errorf("there is no server in %s yet; start assentd once: %w", conf.Data, err)
	}
	dc, err := conf.database()
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, dc)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return use(conf, dir, db)
}

func (c *command) ledgerKey() *cobra.Command {
	return &cobra.Command{Use: "ledger-key", Short: "Print the key that verifies the ledger's checkpoints", Args: cobra.NoArgs,
		Long: "Prints the verifier key of the ledger's checkpoints. Keep it apart from the server: with it,\n`assent ledger verify` proves offline that an export is complete and unaltered.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.offline(cmd.Context(), func(_ Config, dir *os.Root, db *store.DB) error {
				text, err := verifier(cmd.Context(), dir, db)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
				return err
			})
		}}
}

// verifier is the text of the key that verifies checkpoints.
func verifier(ctx context.Context, dir *os.Root, db *store.DB) (string, error) {
	key, err := openKey(dir, ledgerKeyFile)
	if err != nil {
		return "", err
	}
	state, err := db.LoadState(ctx)
	if err != nil {
		return "", fmt.Errorf("load the ledger's state: %w", err)
	}
	return ledger.VerifierKey(state.Server.Org, key.Public().(ed25519.PublicKey))
}

func (c *command) signIn() *cobra.Command {
	operator := firstOperator
	cmd := &cobra.Command{Use: "sign-in", Short: "Make a one-time sign-in for an operator, on the server itself", Args: cobra.NoArgs,
		Long:    "Makes a sign-in that works once, within 24 hours, for an operator that lost access. It needs to read\nthe server's data directory, so only root can do it, and it is an entry of the ledger like any other act.",
		Example: "  assentd sign-in --operator admin",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.offline(cmd.Context(), func(conf Config, dir *os.Root, db *store.DB) error {
				if _, err := openKey(dir, ledgerKeyFile); err != nil { // who may not read the keys may not let people in
					return err
				}
				text, err := signIn(cmd.Context(), db, operator, time.Now())
				if err != nil {
					return err
				}
				state, err := db.LoadState(cmd.Context())
				if err != nil {
					return fmt.Errorf("load the ledger's state: %w", err)
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), loginLine(conf, state.Server.CA, text))
				return err
			})
		}}
	cmd.Flags().StringVar(&operator, "operator", operator, "name of the operator")
	return cmd
}
