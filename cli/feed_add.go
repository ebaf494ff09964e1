package cli

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"assent/catalog"
	"assent/fault"
	"assent/feed"
	"assent/trust/payload"
	"assent/trust/publish"
)

func (a *app) feedAdd() *cobra.Command {
	var d description
	c := &cobra.Command{
		Use: "add DIR FILE…", Short: "Add a release with its files to the draft", Args: args(2, -1, "a feed's folder and the release's files"),
		Long: `Add one release to the draft; sign and publish it afterwards. The files are its payloads:

  .deb files      say their name, version and architecture themselves: several of one source package are one release
  .rpm files      likewise, for devices with dnf
  archives        (tar, also .gz, .zst, .xz) are trees that devices install side by side; give --application and --version
  any other file  is content (--class content), switched as a whole

A release that is there already with the same content changes nothing; with other content it is refused.
--manifest takes the description from a file instead of flags, as assent feed list --json prints it.`,
		Example: `  assent feed add acme-feed ledger_2.0.0_amd64.deb ledger_2.0.0_arm64.deb --notes-file NOTES --cve CVE-2026-1234
  assent feed add acme-feed ledger-2.0.0.tar.zst --application ledger --version 2.0.0 --platform linux/debian/12/amd64 --probe unit:ledger.service
  assent feed add acme-feed signatures.db --application signatures --version 2026.11.1 --class content
  assent feed add acme-feed ledger.tar --manifest release.json`,
		ValidArgsFunction: inFolder,
		RunE: func(cmd *cobra.Command, names []string) error {
			files, err := a.inspect(cmd.Context(), names[1:])
			if err != nil {
				return err
			}
			m, texts, err := d.manifest(cmd.Flags(), files)
			if err != nil {
				return err
			}
			for _, f := range files {
				if texts[f.sha256] = f.name; m.Payload == catalog.Tar {
					if err := f.checkTree(cmd.Context()); err != nil {
						return err
					}
				}
			}
			return a.inTree(names[0], func(t *publish.Tree) error {
				added, err := t.Add(cmd.Context(), publish.Addition{Manifest: m, Files: texts, Progress: a.progress(), Now: a.Now()})
				a.progressDone()
				if err != nil {
					return err
				}
				return a.answer(added, func(p *printer) {
					if added.Again {
						p.line("%s %s (%s) is in the feed already, the same in all.", added.Release.Name, added.Release.Version, string(added.ID))
						return
					}
					p.line("Added %s %s (%s) to the draft. Sign it with: assent feed sign %s", added.Release.Name, added.Release.Version, string(added.ID), names[0])
				})
			})
		},
	}
	d.register(c)
	return c
}

// given is a file that a release is made of.
type given struct {
	name   string
	size   int64
	sha256 string
	format catalog.Format // empty: none that is known
	pkg    payload.Deb    // what a package says of itself, an RPM package too
}

// inspect reads the files once, whole, and says what they are.
func (a *app) inspect(ctx context.Context, names []string) ([]given, error) {
	defer a.progressDone()
	seen := map[string]string{}
	var out []given
	for _, name := range names {
		g, err := inspectFile(ctx, name, a.progress())
		if err != nil {
			return nil, err
		}
		if other := seen[g.sha256]; other != "" {
			return nil, usage("%s and %s are the same file", clean(other), clean(name))
		}
		seen[g.sha256] = name
		out = append(out, g)
	}
	return out, nil
}

func inspectFile(ctx context.Context, name string, progress publish.Progress) (g given, err error) {
	f, err := openFile(name)
	if err != nil {
		return g, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return g, fmt.Errorf("look at %s: %w", name, err)
	}
	g = given{name: name}
	head := bufio.NewReader(f)
	if g.format, _, err = payload.Detect(head); err != nil {
		return g, err
	}
	switch g.format {
	case catalog.RPM:
		var p payload.RPM
		if p, err = payload.ReadRPM(head); err == nil {
			g.pkg = payload.Deb(p)
		}
	case catalog.Deb:
		g.pkg, err = payload.ReadDeb(head)
	}
	if err != nil {
		return g, named(name, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return g, fmt.Errorf("read %s: %w", name, err)
	}
	sum := sha256.New()
	buf := make([]byte, 1<<20)
	for {
		n, err := f.Read(buf)
		sum.Write(buf[:n])
		if g.size += int64(n); progress != nil {
			progress(name, g.size, info.Size())
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return g, fmt.Errorf("read %s: %w", name, err)
		}
	}
	if g.size == 0 {
		return g, fault.New(fault.Invalid, "payload_refused", "%s is empty.", name).On("files")
	}
	g.sha256 = hex.EncodeToString(sum.Sum(nil))
	return g, nil
}

func openFile(name string) (*os.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fault.New(fault.Invalid, "file_unreadable", "The file cannot be read: %v.", err).On("files")
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fault.New(fault.Invalid, "file_unreadable", "%s is no file.", name).On("files"), f.Close())
	}
	return f, nil
}

// named puts the file's name before a refusal.
func named(name string, err error) error {
	var f *fault.Error
	if !errors.As(err, &f) {
		return err
	}
	return fault.New(f.Kind, f.Code, "%s: %s", name, f.Message).On(f.Field)
}

func (g given) checkTree(ctx context.Context) (err error) {
	f, err := openFile(g.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return named(g.name, payload.CheckTree(ctx, f, g.size))
}

// manifestFile reads a description. Fields that it does not have are an error: a typing mistake must not publish less than
// was meant.
func manifestFile(name string) (feed.Manifest, error) {
	var m feed.Manifest
	b, err := os.ReadFile(name)
	if err != nil {
		return m, fault.New(fault.Invalid, "file_unreadable", "The manifest cannot be read: %v.", err).On("manifest")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil || dec.More() {
		if err == nil {
			err = errors.New("something follows the manifest")
		}
		return m, fault.New(fault.Invalid, "manifest_malformed", "The manifest %s cannot be understood: %v.", name, err).On("manifest")
	}
	return m, nil
}
