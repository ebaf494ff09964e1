package cli

import (
	"context"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/installation"
)

// filterFlags are the flags that select updates: the same for lists and for bulk acts.
type filterFlags struct {
	search, group, device                  string
	status, class, severity, origin, state []string
	security, needed, superseded           bool
	view                                   string
	gated, revoked, exploited              bool
	installed, changed, agreements         bool
	set                                    func(string) bool // was the flag given?
}

// addFilter adds the flags. In an act --group is the scope, which the list's counts are seen from too.
func addFilter(c *cobra.Command, f *filterFlags, groupHelp string) {
	flags := c.Flags()
	f.set = flags.Changed
	flags.StringVar(&f.search, "search", "", "words, each found in name, version, package URL, summary or package names")
	flags.StringVarP(&f.group, "group", "g", "", groupHelp)
	flags.StringVar(&f.device, "device", "", "only what this device could take")
	flags.StringSliceVar(&f.status, "status", nil, "undefined, approved, declined")
	flags.StringSliceVar(&f.class, "class", nil, "third_party, managed, component, content")
	flags.StringSliceVar(&f.severity, "severity", nil, "unrated, low, medium, high, critical")
	flags.StringArrayVar(&f.origin, "origin", nil, "where it comes from, for example Debian:bookworm-security")
	flags.StringSliceVar(&f.state, "state", nil, "some device has it in this state, for example failed or blocked")
	flags.BoolVar(&f.security, "security", false, "only security updates (--security=false: only others)")
	flags.BoolVar(&f.needed, "needed", false, "only what some device needs (--needed=false: only what none needs)")
	flags.StringVar(&f.view, "view", "", "a saved view, or seamless (managed applications and components of Assent); lists take both, acts only seamless")
	flags.BoolVar(&f.gated, "gated", false, "only what waits for a newer server")
	flags.BoolVar(&f.exploited, "exploited", false, "only those with a vulnerability that is known to be exploited")
	flags.BoolVar(&f.revoked, "revoked", false, "only what its publisher recalled")
	flags.BoolVar(&f.installed, "installed", false, "only what some device has (--installed=false: only what none has)")
	flags.BoolVar(&f.changed, "changed", false, "only what has new files since it was approved")
	flags.BoolVar(&f.agreements, "agreements", false, "only what waits for an agreement to be accepted")
	flags.BoolVar(&f.superseded, "superseded", false, "only superseded ones (--superseded=false: only others)")
}

// filter is what the flags say.
func (f *filterFlags) filter() client.Filter {
	tri := func(name string, value bool) *bool {
		if !f.set(name) {
			return nil
		}
		return &value
	}
	return client.Filter{Search: f.search, Status: typed[approval.Status](f.status), Class: typed[catalog.Class](f.class),
		Severity: typed[catalog.Severity](f.severity), Origin: f.origin, State: typed[installation.State](f.state),
		Security: tri("security", f.security), Needed: tri("needed", f.needed), Superseded: tri("superseded", f.superseded),
		Group: f.group, Device: f.device, View: f.view, Gated: tri("gated", f.gated), Revoked: tri("revoked", f.revoked), Exploited: tri("exploited", f.exploited),
		Installed: tri("installed", f.installed), Changed: tri("changed", f.changed), Agreements: tri("agreements", f.agreements)}
}

// any reports whether a flag other than --group was given.
func (f *filterFlags) any() bool {
	return slices.ContainsFunc([]string{"search", "device", "status", "class", "severity", "origin", "state", "security", "needed", "superseded", "view", "gated", "revoked", "exploited", "installed", "changed", "agreements"}, f.set)
}

func typed[T ~string](in []string) []T {
	var out []T
	for _, s := range in {
		out = append(out, T(s))
	}
	return out
}

// pageFlags are the flags of lists that come in pages.
type pageFlags struct {
	sort  string
	limit int
	all   bool
}

func addPage(c *cobra.Command, p *pageFlags, sort string) {
	c.Flags().StringVar(&p.sort, "sort", "", "column to sort by, with - before it for descending: "+sort)
	c.Flags().IntVar(&p.limit, "limit", 100, "rows to show, 1 to 1000")
	c.Flags().BoolVar(&p.all, "all", false, "show all rows")
	c.MarkFlagsMutuallyExclusive("limit", "all")
}

// pages reads one page, or all with --all.
func pages[T any](ctx context.Context, p pageFlags, read func(context.Context, client.Page) (client.List[T], error)) (client.List[T], error) {
	if !p.all {
		if p.limit < 1 || p.limit > 1000 {
			return client.List[T]{}, usage("--limit must be 1 to 1000, not %s; --all shows everything", strconv.Itoa(p.limit))
		}
		return read(ctx, client.Page{Sort: p.sort, Limit: p.limit})
	}
	whole, err := read(ctx, client.Page{Sort: p.sort, Limit: 1000})
	for err == nil && whole.Next != "" {
		var more client.List[T]
		more, err = read(ctx, client.Page{Sort: p.sort, Limit: 1000, Cursor: whole.Next})
		whole.Items = append(whole.Items, more.Items...)
		whole.Total, whole.Next = more.Total, more.Next
	}
	return whole, err
}

// rest says how many rows were not shown.
func rest[T any](p *printer, l client.List[T], what string) {
	if len(l.Items) == 0 {
		p.line("No %ss.", what)
	} else if l.Total > len(l.Items) {
		p.line("%d of %s; --all shows the rest.", len(l.Items), many(l.Total, what))
	}
}
