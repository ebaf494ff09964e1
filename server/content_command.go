package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"assent/content"
	"assent/content/dir"
)

// sayEvery is how often the commands about files say how far they are.
const sayEvery = 2 * time.Second

func (c *command) content() *cobra.Command {
	cmd := &cobra.Command{Use: "content", Short: "Copy and verify the files of feeds, in the data directory or in a bucket", Args: cobra.NoArgs}
	cmd.AddCommand(c.contentCopy(), c.contentVerify())
	return cmd
}

func (c *command) contentCopy() *cobra.Command {
	var to string
	var asJSON bool
	cmd := &cobra.Command{Use: "copy --to s3|dir", Short: "Copy all files to the other place, before content.kind is changed", Args: cobra.NoArgs,
		Long: "Copies the files of feeds from the data directory to the bucket that content.s3 names, or back. Every file is checked on\n" +
			"the way; damaged ones are named and left out, the server fetches them again. What is there already is passed over, so\n" +
			"a copy that broke off goes on where it was. Copying to the bucket may be done while the server runs, as often as\n" +
			"wanted; copying back needs it stopped. Then change content.kind and start the server. What came meanwhile it fetches.",
		Example: "  assentd content copy --to s3",
		RunE: func(cmd *cobra.Command, _ []string) error {
			from := map[string]string{contentInS3: contentInDir, contentInDir: contentInS3}[to]
			if from == "" {
				return fmt.Errorf("--to is %q, not %s or %s", to, contentInS3, contentInDir)
			}
			return c.withFiles(cmd, asJSON, func(ctx context.Context, conf Config, data *os.Root, tell func(content.Transfer)) (t content.Transfer, err error) {
				source, err := conf.lookContent(ctx, from, data)
				if err != nil {
					return t, err
				}
				defer func() { err = errors.Join(err, source.Close()) }()
				sink, err := conf.takeContent(ctx, to, data)
				if err != nil {
					return t, err
				}
				defer func() { err = errors.Join(err, sink.Close()) }()
				return content.Copy(ctx, sink, source, tell)
			})
		}}
	cmd.Flags().StringVar(&to, "to", "", "where to: s3 or dir")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the outcome as JSON")
	completeKinds(cmd, "to")
	return cmd
}

func (c *command) contentVerify() *cobra.Command {
	var in string
	var asJSON bool
	cmd := &cobra.Command{Use: "verify", Short: "Read all files through and name those that are damaged", Args: cobra.NoArgs,
		Long: "Reads every file of feeds and compares it with the digest that it is named by. It changes nothing: a running server finds\n" +
			"and replaces damaged files itself, within a day or when somebody refreshes the feed.",
		Example: "  assentd content verify --in s3 --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withFiles(cmd, asJSON, func(ctx context.Context, conf Config, data *os.Root, tell func(content.Transfer)) (t content.Transfer, err error) {
				switch in {
				case "":
					in = conf.Content.Kind
				case contentInDir, contentInS3:
				default:
					return t, fmt.Errorf("--in is %q, not %s or %s", in, contentInS3, contentInDir)
				}
				source, err := conf.lookContent(ctx, in, data)
				if err != nil {
					return t, err
				}
				defer func() { err = errors.Join(err, source.Close()) }()
				return content.Verify(ctx, source, tell)
			})
		}}
	cmd.Flags().StringVar(&in, "in", "", "where: s3 or dir (default: content.kind of the configuration)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the outcome as JSON")
	completeKinds(cmd, "in")
	return cmd
}

// completeKinds completes a flag that names a place of files.
func completeKinds(cmd *cobra.Command, flag string) {
	kinds := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{contentInDir, contentInS3}, cobra.ShellCompDirectiveNoFileComp
	}
	if err := cmd.RegisterFlagCompletionFunc(flag, kinds); err != nil {
		panic(err) // there is no such flag
	}
}

// withFiles runs what looks through files until it ends or is told to stop, says how far it is and what came of it.
func (c *command) withFiles(cmd *cobra.Command, asJSON bool, work func(context.Context, Config, *os.Root, func(content.Transfer)) (content.Transfer, error)) (err error) {
	conf, err := c.config()
	if err != nil {
		return err
	}
	if conf, err = conf.normal(); err != nil {
		return err
	}
	data, err := os.OpenRoot(conf.Data)
	if err != nil {
		return fmt.Errorf("open the data directory: %w", err)
	}
	defer func() { err = errors.Join(err, data.Close()) }()
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	t, err := work(ctx, conf, data, sayer(cmd.ErrOrStderr()))
	if t.Damaged != nil { // it came so far that there is something to tell
		err = errors.Join(err, tellTransfer(cmd.OutOrStdout(), t, asJSON))
	}
	if err == nil && len(t.Damaged) > 0 {
		err = fmt.Errorf("%d files are damaged", len(t.Damaged))
	}
	return err
}

// sayer says now and then how far it is.
func sayer(w io.Writer) func(content.Transfer) {
	last := time.Now()
	return func(t content.Transfer) {
		if now := time.Now(); now.Sub(last) >= sayEvery {
			last = now
			fmt.Fprintf(w, "%d of %d files, %s of %s\n", t.Done, t.Files, megabytes(t.BytesDone), megabytes(t.Bytes))
		}
	}
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

func tellTransfer(w io.Writer, t content.Transfer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(t)
	}
	for _, digest := range t.Damaged {
		fmt.Fprintf(w, "damaged: %s\n", digest)
	}
	_, err := fmt.Fprintf(w, "%d of %d files looked at (%s), %d copied (%s), %d damaged\n", t.Done, t.Files, megabytes(t.BytesDone), t.Copied, megabytes(t.BytesCopied), len(t.Damaged))
	return err
}

// source is an open store that is only read.
type source struct {
	content.Source
	Close func() error
}

// lookContent opens the store of a kind beside a server that may use it.
func (c Config) lookContent(ctx context.Context, kind string, data *os.Root) (source, error) {
	if kind != contentInDir {
		s, err := c.openContent(ctx, contentInS3, data)
		if err != nil {
			return source{}, err
		}
		return source{s, s.Close}, nil
	}
	root, err := data.OpenRoot(contentDir)
	if err != nil {
		return source{}, fmt.Errorf("open the directory of files: %w", err)
	}
	return source{dir.Look(root), root.Close}, nil
}

// taken is a store that is written, with what keeps a server away from it.
type taken struct {
	files
	release func() error
}

// Close gives the store back.
func (t taken) Close() error { return errors.Join(t.files.Close(), t.release()) }

// takeContent opens the store of a kind for writing. A directory must be nobody else's meanwhile.
func (c Config) takeContent(ctx context.Context, kind string, data *os.Root) (_ taken, err error) {
	release := func() error { return nil }
	if kind == contentInDir {
		if release, err = lock(data); err != nil {
			return taken{}, fmt.Errorf("stop the server first: %w", err)
		}
	}
	s, err := c.openContent(ctx, kind, data)
	if err != nil {
		return taken{}, errors.Join(err, release())
	}
	return taken{s, release}, nil
}
