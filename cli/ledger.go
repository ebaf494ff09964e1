package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"assent/client"
	"assent/fault"
	"assent/ledger"
)

func (a *app) ledger() *cobra.Command {
	return sub("ledger", "Read, export and verify the log of all decisions", a.ledgerList(), a.ledgerVerify(), a.ledgerExport(), a.ledgerCheckpoint())
}

func (a *app) ledgerList() *cobra.Command {
	var q client.LedgerQuery
	var kind string
	var all bool
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List who decided what, newest first", Args: args(0, 0, ""),
		Example: `  assent ledger list --by ada --limit 20
  assent ledger list --kind update.decide --all`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			q.Kind = ledger.Kind(kind)
			list, err := entries(cmd.Context(), c, q, all)
			if err != nil {
				return err
			}
			return a.answer(list, func(p *printer) {
				t := newTable(num("ACT"), col("AT"), flex("BY", 8), flex("WHAT", 30))
				for _, e := range list.Items {
					t.add(text(fmt.Sprint(e.Seq)), text(a.when(e.At)), text(e.By), text(e.Text))
				}
				p.table(t)
				if list.Next != "" {
					p.line("There are more; --all shows them.")
				}
			})
		},
	}
	c.Flags().StringVar(&kind, "kind", "", "only this kind, for example update.decide")
	c.Flags().StringVar(&q.By, "by", "", "only what this operator did")
	c.Flags().IntVar(&q.Limit, "limit", 50, "entries to show, 1 to 1000")
	c.Flags().BoolVar(&all, "all", false, "show all entries")
	return c
}

// entries reads the newest entries that match, up to the limit. Pages may be short when few match.
func entries(ctx ctx, c *client.Client, q client.LedgerQuery, all bool) (client.List[client.LedgerRow], error) {
	limit := q.Limit
	if all {
		limit = 1000
	}
	if limit < 1 || limit > 1000 {
		return client.List[client.LedgerRow]{}, usage("--limit must be 1 to 1000; --all shows everything")
	}
	q.Limit = limit
	whole, err := c.Ledger(ctx, q)
	for err == nil && whole.Next != "" && (all || len(whole.Items) < limit) {
		if _, err := fmt.Sscan(whole.Next, &q.Before); err != nil {
			return whole, fmt.Errorf("the server's next page %q is no number: %w", whole.Next, err)
		}
		if !all {
			q.Limit = limit - len(whole.Items)
		}
		var more client.List[client.LedgerRow]
		more, err = c.Ledger(ctx, q)
		whole.Items, whole.Next = append(whole.Items, more.Items...), more.Next
	}
	return whole, err
}

func (a *app) ledgerVerify() *cobra.Command {
	var key string
	c := &cobra.Command{
		Use: "verify FILE", Short: "Verify an export, offline",
		Long: `Verify an export without any server: the signature of its checkpoint, the Merkle root over all entries, their order,
and that every entry can be replayed. FILE may be - for the standard input.

KEY is the ledger's verifier key, or the name of a file that holds it. Get it from the server's host
(assentd ledger-key) and keep it apart: a key that comes with the export proves nothing. Without --key, the
key that the server showed at your first sign-in counts.`,
		Example: `  assent ledger export --output ledger.jsonl
  assent ledger verify ledger.jsonl --key ledger.key`,
		Args: args(1, 1, "the file of an export"),
		RunE: func(_ *cobra.Command, files []string) error { return a.verify(files[0], key) },
	}
	c.Flags().StringVar(&key, "key", "", "the verifier key, or a file with it")
	return c
}

func (a *app) verify(file, key string) error {
	origin := "given"
	if key == "" {
		settings, err := a.settings()
		if err != nil {
			return err
		}
		if key, origin = settings.Ledger, "of your first sign-in at "+settings.Server; key == "" {
			return usage("give the ledger's verifier key with --key; `assentd ledger-key` on the server's host prints it")
		}
	}
	if data, err := os.ReadFile(key); err == nil && len(data) < 4096 {
		key = strings.TrimSpace(string(data))
	}
	in := a.In
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return fault.New(fault.NotFound, "file_unreadable", "The export %s cannot be read: %v.", file, err)
		}
		defer f.Close()
		in = f
	}
	s, err := ledger.VerifyExport(in, key)
	var bad *ledger.TamperError
	switch {
	case errors.As(err, &bad):
		return fault.New(tampered, "ledger_tampered", "NOT VERIFIED. Do not trust this export.").Because(err)
	case err != nil:
		return fault.New(fault.Invalid, "ledger_unverifiable", "The export cannot be verified: %v.", err)
	}
	return a.answer(verified(s), func(p *printer) {
		p.raw(p.paint(good, "Verified.") + "\n")
		p.fields("Organisation", s.Checkpoint.Org, "Entries", fmt.Sprint(s.Checkpoint.Size), "First", a.exactly(s.First), "Last", a.exactly(s.Last), "Key", origin)
	})
}

// verified is a summary as JSON.
func verified(s ledger.Summary) any {
	return struct {
		Verified bool                `json:"verified"`
		Org      string              `json:"org"`
		Size     int64               `json:"size"`
		Kinds    map[ledger.Kind]int `json:"kinds"`
	}{true, s.Checkpoint.Org, s.Checkpoint.Size, s.Kinds}
}

func (a *app) ledgerExport() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "export", Short: "Write the whole ledger for keeping and verifying",
		Long:    `Write every entry byte for byte as it was hashed, under a signed checkpoint.`,
		Example: "  assent ledger export --output ledger.jsonl",
		Args:    args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if file == "" || file == "-" {
				return c.Export(cmd.Context(), a.Out)
			}
			if err := exportTo(cmd.Context(), c, file); err != nil {
				return err
			}
			return a.answer(map[string]string{"file": file}, func(p *printer) {
				p.line("Wrote %s. Verify it: assent ledger verify %s --key KEY", file, quote(file))
			})
		},
	}
	c.Flags().StringVarP(&file, "output", "o", "", "the file; the standard output by default")
	return c
}

// exportTo writes the file whole or not at all.
func exportTo(ctx ctx, c *client.Client, path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".ledger-*")
	if err != nil {
		return fault.New(fault.Invalid, "file_unwritable", "%s cannot be written: %v.", path, err)
	}
	defer os.Remove(f.Name())
	err = c.Export(ctx, f)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func (a *app) ledgerCheckpoint() *cobra.Command {
	return &cobra.Command{
		Use: "checkpoint", Short: "Print the ledger's signed head", Args: args(0, 0, ""),
		Long: `Print the ledger's signed head. Kept apart, it proves later that nothing before it was changed.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			cp, err := c.Checkpoint(cmd.Context())
			if err != nil {
				return err
			}
			return a.answer(cp, func(p *printer) {
				for line := range strings.Lines(cp.Note) {
					p.line("%s", strings.TrimSuffix(line, "\n"))
				}
				p.line("")
				p.line("Verifier key, as the server says: %s", cp.Key)
			})
		},
	}
}
