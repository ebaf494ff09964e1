package indextest

import (
	"assent/catalog"
	"assent/wire"
)

// Version is the server's version in a world.
const Version = "1.4.0"

// Published is a release as the feed "acme" publishes it: a removable managed application, in one Debian package.
func Published(name, version string) catalog.Update {
	r := Release(name, version)
	r.Namespace = catalog.FeedNamespace("acme")
	return catalog.Update{ID: r.ID(), Release: r, Class: catalog.Managed, Severity: catalog.Unrated, Origins: []string{"feed:acme"}, Phased: 100,
		Items:     []catalog.Bound{{Item: Item(name, version), Role: catalog.Own, Rev: 1, Origin: "feed:acme"}},
		Published: &catalog.Publication{Feed: "acme", Kind: catalog.Full, Format: catalog.Deb, Restart: catalog.RestartNone, Removal: catalog.Removal{Removable: true}}}
}

// Publish makes the server's mirror see releases.
func (w *World) Publish(releases ...catalog.Update) {
	w.T.Helper()
	w.must(w.Index.PutReleases(w.T.Context(), releases))
}

// FeedOffer is Offer for a release of the feed "acme". With nothing installed the device lacks the application.
func FeedOffer(name, version, installed string) wire.Offer {
	o := Offer(name, version, installed)
	o.Namespace, o.New, o.Fresh = catalog.FeedNamespace("acme"), installed == "", installed == ""
	return o
}
