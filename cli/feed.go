package cli

import (
	"github.com/spf13/cobra"
)

// feed holds both sides of a feed: publishing (local: it needs no server) and what a server follows.
func (a *app) feed() *cobra.Command {
	c := sub("feed", "Publish applications in a signed feed", append(a.publishing(), a.feedSubscriptions()...)...)
	c.Aliases = []string{"feeds"}
	c.Long = `Publish applications as a feed: a static folder on any web server, signed so that servers and devices verify it
themselves (The Update Framework).

A vendor's day: init once; then add, sign and publish for each release; and a job that signs freshness.`
	c.Example = `  assent feed init acme-feed --name acme
  assent feed add acme-feed ledger_2.0.0_amd64.deb --notes-file NOTES
  assent feed sign acme-feed
  assent feed publish acme-feed /srv/www/feed
  assent feed verify https://updates.example.com/feed --root acme.root.json`
	return c
}
