package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"assent/fault"
	"assent/trust"
	"assent/trust/publish"
)

// publishing are the commands of a feed's publisher.
func (a *app) publishing() []*cobra.Command {
	return []*cobra.Command{a.feedInit(), a.feedAdd(), a.feedSign(), a.feedPublish(), a.feedVerify(), a.feedRevoke(), a.feedRemove(), a.feedRotate(), a.feedReleases()}
}

// inTree works in a feed's work tree.
func (a *app) inTree(dir string, work func(*publish.Tree) error) error {
	t, err := publish.Open(dir)
	if err != nil {
		return err
	}
	return told(errors.Join(work(t), t.Close()))
}

// told puts what a feed was refused for into the sentence: here it is the publisher's own feed, and there is nobody to
// hide it from.
func told(err error) error {
	var r *trust.Refusal
	if !errors.As(err, &r) {
		return err
	}
	f := fault.From(r)
	if f.Cause == nil {
		return err
	}
	return fault.New(f.Kind, f.Code, "%s (%v)", f.Message, f.Cause).Because(f.Cause)
}

// inFolder completes the first argument with folders and the others with files.
func inFolder(_ *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(given) == 0 {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	return nil, cobra.ShellCompDirectiveDefault
}

func roleNames() []string {
	var out []string
	for _, r := range publish.Roles() {
		out = append(out, string(r))
	}
	return out
}

// initialised is the answer of feed init.
type initialised struct {
	Name   string `json:"name"`
	Dir    string `json:"dir"`
	Keys   string `json:"keys"`
	Root   string `json:"root"` // file
	SHA256 string `json:"root_sha256"`
}

func (a *app) feedInit() *cobra.Command {
	var o publish.Options
	var s secretFlags
	policies := map[publish.Role]*publish.Policy{}
	lasts := map[publish.Role]*string{}
	c := &cobra.Command{
		Use: "init DIR --name NAME", Short: "Make a feed's work tree, its keys and its root", Args: args(1, 1, "a folder"),
		Long: `Make a work tree for a feed. NAME is what servers and devices call the feed; it cannot change later.

The keys of root and targets are needed for changes only: keep them on another medium (--keys, or move the files) and
name their folder with --keys when you sign. Those of snapshot and timestamp are for a job that signs freshness.`,
		Example: `  assent feed init acme-feed --name acme
  assent feed init acme-feed --name acme --keys /media/usb/keys --encrypt
  assent feed init acme-feed --name acme --threshold-root 2 --root-keys 3 --expires-timestamp 3d`,
		ValidArgsFunction: inFolder,
		RunE: func(_ *cobra.Command, names []string) error {
			if o.ID == "" {
				return usage("name the feed with --name NAME")
			}
			o.Roles = map[publish.Role]publish.Policy{}
			for r, p := range policies {
				if *lasts[r] != "" {
					d, err := span(*lasts[r])
					if err != nil {
						return err
					}
					p.Expires = d
				}
				o.Roles[r] = *p
			}
			var err error
			if o.Secret, err = a.newSecret(s); err != nil {
				return err
			}
			if o.Keys != "" {
				if o.Keys, err = filepath.Abs(o.Keys); err != nil {
					return fmt.Errorf("find the folder of keys: %w", err)
				}
			}
			return a.makeFeed(names[0], o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.ID, "name", "", "the feed's name: lower-case letters, digits and dashes")
	f.StringVar(&o.Keys, "keys", "", "folder for the private keys; keys in DIR by default")
	for _, r := range publish.Roles() {
		p, last := &publish.Policy{}, new(string)
		policies[r], lasts[r] = p, last
		f.IntVar(&p.Keys, string(r)+"-keys", 0, "keys of the role "+string(r)+"; 1 by default")
		f.IntVar(&p.Threshold, "threshold-"+string(r), 0, "signatures that the role "+string(r)+" needs; 1 by default")
		f.StringVar(last, "expires-"+string(r), "", "how long signatures of "+string(r)+" last, like 365d or 12h")
	}
	s.register(f, true)
	return c
}

func (a *app) makeFeed(dir string, o publish.Options) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fault.New(fault.Invalid, "folder_unwritable", "The folder %s cannot be made: %v.", dir, err)
	}
	t, err := publish.Init(dir, o, a.Now())
	if err != nil {
		return err
	}
	_, sum, err := t.Root(1)
	if err = errors.Join(err, t.Close()); err != nil {
		return err
	}
	out := initialised{Name: o.ID, Dir: dir, Keys: t.KeyDir(), Root: t.RootFile(1), SHA256: sum}
	return a.answer(out, func(p *printer) {
		p.line("Made the feed %s in %s.", out.Name, out.Dir)
		p.line("Keys:  %s", out.Keys)
		p.line("Root:  %s", out.Root)
		p.line("       SHA-256 %s", out.SHA256)
		p.line("Whoever follows the feed pins this root: give them the file, and the digest on another way.")
	})
}

func (a *app) feedSign() *cobra.Command {
	var o publish.SignOptions
	var roles []string
	var s secretFlags
	c := &cobra.Command{
		Use: "sign DIR", Short: "Sign what is due: the draft, rotations, freshness", Args: args(1, 1, "a feed's folder"),
		Long: `Sign what is due, as far as keys are at hand: a rotation that waits, the targets if the draft changed, snapshot and
timestamp if what they name changed; and each of them if half of its time is over.

With thresholds above one, run it once with each holder's keys: root and targets wait for signatures in DIR/pending.
--role signs only the roles named; a root or timestamp that is named is signed anew in any case. A job that keeps the feed
fresh needs no other keys than these two: assent feed sign DIR --role snapshot --role timestamp`,
		Example: `  assent feed sign acme-feed
  assent feed sign acme-feed --keys /media/usb/keys
  assent feed sign acme-feed --role snapshot --role timestamp`,
		ValidArgsFunction: inFolder,
		RunE: func(_ *cobra.Command, names []string) error {
			o.Secret, o.Now = a.secret(s), a.Now()
			for _, r := range roles {
				o.Roles = append(o.Roles, publish.Role(r))
			}
			return a.inTree(names[0], func(t *publish.Tree) error {
				signed, err := t.Sign(o)
				if err != nil {
					return err
				}
				return a.answer(map[string]any{"roles": signed}, func(p *printer) { a.showSigned(p, signed) })
			})
		},
	}
	c.Flags().StringSliceVar(&roles, "role", nil, "only this role: root, targets, snapshot or timestamp (may be given again)")
	c.Flags().StringArrayVar(&o.Keys, "keys", nil, "another folder of private keys (may be given again)")
	s.register(c.Flags(), false)
	_ = c.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(roleNames(), cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *app) showSigned(p *printer, signed []publish.Signed) {
	t := newTable(col("ROLE"), num("VERSION"), col(""), col("EXPIRES"))
	for _, s := range signed {
		what := text("unchanged")
		switch {
		case s.Missing > 0:
			what = toned("waits for "+many(s.Missing, "signature"), warn)
		case s.Made:
			what = toned("signed", good)
		}
		t.add(text(string(s.Role)), text(fmt.Sprint(s.Version)), what, text(a.exactly(s.Expires)))
	}
	p.table(t)
}

func (a *app) feedPublish() *cobra.Command {
	return &cobra.Command{
		Use: "publish DIR OUT", Short: "Write the signed feed into a folder for a web server", Args: args(2, 2, "a feed's folder and where to publish it"),
		Long: `Write the newest signed state into the folder OUT, which any web server can offer as it is. The feed is read back
first, as a client reads it, and nothing is written that a client would refuse.

Payloads are written first and the timestamp last, so a client that reads meanwhile sees the old state or the new one.
Nothing is deleted. To copy the folder elsewhere keep that order: first targets/, then metadata/ without timestamp.json,
then all of it.`,
		Example: "  assent feed publish acme-feed /srv/www/feed", ValidArgsFunction: inFolder,
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.inTree(names[0], func(t *publish.Tree) error {
				done, err := t.Publish(cmd.Context(), names[1], a.Now(), a.progress())
				a.progressDone()
				if err != nil {
					return err
				}
				return a.answer(done, func(p *printer) {
					p.line("Published %s (%s) to %s, version %d, fresh until %s.", many(done.Files, "file"), sizeOrNone(done.Bytes), names[1], done.State.TargetsVersion, a.exactly(done.State.Expires))
					if done.Unsigned > 0 {
						p.line("Not published: %s of the draft that nobody signed yet; run assent feed sign %s.", many(done.Unsigned, "change"), names[0])
					}
				})
			})
		},
	}
}

func sizeOrNone(n int64) string {
	if n == 0 {
		return "empty"
	}
	return size(n)
}

func (a *app) feedRevoke() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "revoke DIR APPLICATION VERSION --reason TEXT", Short: "Recall a release", Args: args(3, 3, "a feed's folder, an application and a version"),
		Long: `Recall a release: servers stop new installations and list the devices that have it. Sign and publish afterwards. The
release stays in the feed, marked, for what was installed must still be found. A recall cannot be taken back.`,
		Example: "  assent feed revoke acme-feed ledger 2.0.0 --reason 'Loses bookings of leap days'", ValidArgsFunction: inFolder,
		RunE: func(_ *cobra.Command, names []string) error {
			if strings.TrimSpace(reason) == "" {
				return usage("say why with --reason TEXT; administrators read it")
			}
			return a.inTree(names[0], func(t *publish.Tree) error {
				r, err := t.Revoke(names[1], names[2], reason, a.Now())
				if err != nil {
					return err
				}
				return a.answer(row(r), func(p *printer) {
					p.line("Recalled %s %s in the draft. Sign and publish it: assent feed sign %s", r.Name, r.Version, names[0])
				})
			})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for administrators")
	return c
}

func (a *app) feedRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove DIR APPLICATION VERSION", Aliases: []string{"rm"}, Short: "Drop a release from the draft that was never signed",
		Args:    args(3, 3, "a feed's folder, an application and a version"),
		Example: "  assent feed remove acme-feed ledger 2.0.0", ValidArgsFunction: inFolder,
		RunE: func(_ *cobra.Command, names []string) error {
			return a.inTree(names[0], func(t *publish.Tree) error {
				if err := t.Remove(names[1], names[2]); err != nil {
					return err
				}
				return a.answer(map[string]string{"application": names[1], "version": names[2]}, func(p *printer) { p.line("Dropped %s %s from the draft.", names[1], names[2]) })
			})
		},
	}
}

func (a *app) feedRotate() *cobra.Command {
	var o publish.Rotation
	var s secretFlags
	var role string
	var keys []string
	c := &cobra.Command{
		Use: "rotate DIR --role ROLE", Short: "Replace the keys of a role", Args: args(1, 1, "a feed's folder"),
		Long: `Make new keys for a role and sign them in with a new version of the root; then sign anew what the role had signed.
Clients follow by themselves. The root's keys must be at hand (--keys); with a threshold the new root waits in DIR/pending
for the other holders, who run assent feed sign. Then publish. The old key files stay; destroy them when all is published.

Rotating timestamp and snapshot is also how clients recover when versions of the feed ran ahead of what they should be.`,
		Example: `  assent feed rotate acme-feed --role timestamp
  assent feed rotate acme-feed --role root --keys /media/usb/keys --new-keys 3 --threshold 2`,
		ValidArgsFunction: inFolder,
		RunE: func(_ *cobra.Command, names []string) (err error) {
			if role == "" {
				return usage("name the role with --role: root, targets, snapshot or timestamp")
			}
			o.Role, o.Now = publish.Role(role), a.Now()
			if o.Secret, err = a.newSecret(s); err != nil {
				return err
			}
			return a.inTree(names[0], func(t *publish.Tree) error {
				if err := t.Rotate(o); err != nil {
					return err
				}
				signed, err := a.afterRotation(t, publish.SignOptions{Keys: keys, Secret: a.secret(s), Now: o.Now})
				if err != nil {
					return err
				}
				return a.answer(map[string]any{"roles": signed}, func(p *printer) {
					a.showSigned(p, signed)
					p.line("New keys: %s", t.KeyDir())
				})
			})
		},
	}
	c.Flags().StringVar(&role, "role", "", "root, targets, snapshot or timestamp")
	c.Flags().IntVar(&o.Keys, "new-keys", 0, "how many new keys; as many as now by default")
	c.Flags().IntVar(&o.Threshold, "threshold", 0, "signatures that the role needs from now on; as now by default")
	c.Flags().StringArrayVar(&keys, "keys", nil, "another folder of private keys to sign with (may be given again)")
	s.register(c.Flags(), true)
	_ = c.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(roleNames(), cobra.ShellCompDirectiveNoFileComp))
	return c
}

// afterRotation signs the new root, and what it changes if it is complete.
func (a *app) afterRotation(t *publish.Tree, o publish.SignOptions) ([]publish.Signed, error) {
	o.Roles = nil
	only := o
	only.Roles = []publish.Role{publish.Root}
	signed, err := t.Sign(only)
	if err != nil || len(signed) == 0 || !signed[0].Made {
		return signed, err
	}
	rest, err := t.Sign(o)
	if len(rest) > 0 {
		rest[0] = signed[0]
	}
	return rest, err
}
