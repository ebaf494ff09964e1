package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"assent/client"
	"assent/fault"
)

// downloaded is what `assent package download --json` prints.
type downloaded struct {
	File   string    `json:"file"`
	Size   int64     `json:"size"`
	SHA256 string    `json:"sha256"`
	Token  string    `json:"token,omitempty"` // id of the enrolment token inside
	Until  time.Time `json:"token_expires,omitzero"`
}

func (a *app) packageDownload() *cobra.Command {
	var r client.PackageDownload
	var output, ttl string
	c := &cobra.Command{
		Use: "download PACKAGE", Short: "Download an installation package as one file that installs offline",
		Long: `Download an installation package as one file: the vendor's own Debian package where that is all, else a script with
everything in it. It needs no network: sh FILE. The agent's package carries the server's address, the fingerprint of
its certificate authority and a token that enrols one machine: keep that file as you would a password.`,
		Example: `  assent package download 'Acme Ledger' --arch amd64 --output ledger.deb
  assent package download 'Agent for Web' --ttl 2h`,
		Args: args(1, 1, "an installation package"), ValidArgsFunction: a.complete(1, packageNames),
		RunE: func(cmd *cobra.Command, names []string) error {
			if ttl != "" {
				var err error
				if r.TTL, err = span(ttl); err != nil {
					return err
				}
			}
			if output != "" { // before a token is made for nothing
				if err := absent(output); err != nil {
					return err
				}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			return a.download(cmd.Context(), c, names[0], output, r)
		},
	}
	c.Flags().StringVar(&r.Arch, "arch", "", "for which architecture, where there are several (amd64, arm64 …)")
	c.Flags().StringVarP(&output, "output", "o", "", "the file to write; the package's own name in this directory by default")
	c.Flags().StringVar(&ttl, "ttl", "", "for the agent's package: how long it can enrol a machine, for example 2h; an hour by default")
	return c
}

// absent refuses to write over something.
func absent(name string) error {
	_, err := os.Lstat(name)
	switch {
	case err == nil:
		return usage("%s is there already; give another --output", clean(name))
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("look at the output: %w", err)
}

func (a *app) download(ctx ctx, c *client.Client, pkg, output string, r client.PackageDownload) error {
	d, err := c.DownloadPackage(ctx, pkg, r)
	if err != nil {
		return err
	}
	defer d.Body.Close()
	if output == "" {
		if output = filepath.Base(d.Name); output != d.Name || strings.HasPrefix(output, ".") {
			return fault.New(fault.Unavailable, "download_name", "The server's name of the file, %q, cannot be used; give --output.", clean(d.Name))
		}
		if err := absent(output); err != nil {
			return err
		}
	}
	out := downloaded{File: output, Size: d.Size, Token: d.Token, Until: d.Until}
	if out.SHA256, err = save(output, d); err != nil {
		return err
	}
	return a.answer(out, func(p *printer) {
		p.line("Wrote %s, %s, SHA-256 %s.", out.File, size(out.Size), out.SHA256)
		if d.Token != "" {
			p.line("It enrols one machine until %s (token %s): keep it like a password. Revoke it: assent token revoke %s", a.when(d.Until), d.Token, d.Token)
		}
		if strings.HasSuffix(output, ".deb") {
			p.line("Install it as root: apt-get install %s", quote("./"+filepath.Base(output)))
			return
		}
		p.line("Install it as root: sh %s", quote(output))
	})
}

// save writes a download so that the file is there whole or not at all. One with a secret in it is for its owner alone.
func save(name string, d client.Download) (sum string, err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".assent-download-*")
	if err != nil {
		return "", fmt.Errorf("write the download: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	h := sha256.New()
	if err := receive(io.MultiWriter(f, h), d, h); err != nil {
		return "", err
	}
	if d.Token == "" {
		if err := f.Chmod(0o644); err != nil {
			return "", fmt.Errorf("write the download: %w", err)
		}
	}
	if err := errors.Join(f.Sync(), os.Link(f.Name(), name)); err != nil { // unlike a rename it replaces nothing
		return "", fmt.Errorf("write the download: %w", err)
	}
	if err := errors.Join(os.Remove(f.Name()), f.Close()); err != nil {
		return "", fmt.Errorf("write the download: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// receive reads a download to its end and checks that it is what was announced.
func receive(w io.Writer, d client.Download, h hash.Hash) error {
	n, err := io.Copy(w, d.Body)
	if err != nil {
		return err
	}
	if n != d.Size || d.SHA256 != "" && d.SHA256 != hex.EncodeToString(h.Sum(nil)) {
		return fault.New(fault.Unavailable, "download_broken", "What came is not the file that was announced; start it again.")
	}
	return nil
}
