// Package aptrepo writes what feeds publish as Debian packages into local apt repositories, one for each feed, so that apt
// sees them like any other source: scans, simulations, pins and the guard need to know nothing of feeds.
//
// It guarantees: of a package's control fields only those of an allow-list get into a repository, each on one line of
// its own, so that no field, stanza or release can be smuggled in; name, version, architecture, source, size and digest
// are the manifest's and never the stanza's; what marks a package as essential, and so would make apt install it
// unasked, is left out; files change as a whole, and only when their content does; a repository's Date only grows. By
// default apt chooses nothing from it (NotAutomatic, and a pin with a negative priority): what a feed offers comes in
// by a decision or by name.
//
// The source is marked as trusted (Trusted: yes) instead of being signed again: its metadata was written by the agent from
// manifests that it verified against the feed's TUF chain, into a directory that only root can write, and whoever can
// write there could just as well write apt's own configuration.
//
// It does not verify feeds and does not fetch payloads: package feeds does.
package aptrepo

import (
	"cmp"
	"slices"
	"strings"

	"assent/catalog"
	"assent/feed"
)

// What is written on the device, by path below its root.
const (
	// Dir holds a directory for each feed, readable by the user that apt downloads as.
	Dir = "var/lib/assent-feeds"
	// SourceFile tells apt of the repositories.
	SourceFile = "etc/apt/sources.list.d/assent-feeds.sources"
	// PinFile keeps apt from choosing from them by itself. It sorts before other files of its directory, since the first
	// pin of a release counts.
	PinFile = "etc/apt/preferences.d/00assent-feeds"
	// PoolDir is where the payloads of a feed lie, below its directory, named by their digest.
	PoolDir = "pool"

	listsDir = "var/lib/apt/lists"
)

// uriPrefix starts the URIs of the repositories. apt copies files from them into its archive cache.
const uriPrefix = "copy:/" + Dir + "/"

// Owns says which feed a source of apt's belongs to, by the file that names it ("/etc/…"), its URI and its suite. A source
// that claims the name of a feed without being owned is somebody else's.
func Owns(file, uri, suite string) (feedID string, ok bool) {
	name, _, _ := strings.Cut(file, ":")
	id, found := strings.CutPrefix(strings.TrimSuffix(uri, "/"), uriPrefix)
	return id, found && name == "/"+SourceFile && suite == "./" && feed.CheckID(id) == nil
}

// PoolFile is the path of a payload below the device's root.
func PoolFile(feedID, sha256 string) string {
	return Dir + "/" + feedID + "/" + PoolDir + "/" + sha256 + ".deb"
}

// Device is what decides which items of a release matter.
type Device struct {
	Platform catalog.Platform
	Foreign  []string // dpkg's foreign architectures
}

// fits reports whether an item can be installed on the device.
func (d Device) fits(it feed.Item) bool {
	p := d.Platform
	if it.Platform.Arch != "" && slices.Contains(d.Foreign, it.Platform.Arch) {
		p.Arch = it.Platform.Arch
	}
	return it.Platform.Fits(p) && (it.Arch == "all" || it.Arch == d.Platform.Arch || slices.Contains(d.Foreign, it.Arch))
}

// Repository is what one feed has for the device.
type Repository struct {
	Feed     string
	packages []byte
	// Refused says of items, by "name:arch=version", why they are left out.
	Refused map[string]string
}

// New makes the repository of a feed out of its releases. Only those in the format deb count, and of them only items
// that fit the device and whose control fields are in order.
func New(feedID string, releases []feed.Release, device Device) Repository {
	r := Repository{Feed: feedID, Refused: map[string]string{}}
	var stanzas []string
	for _, rel := range releases {
		if rel.Manifest.Payload != catalog.Deb || rel.Namespace != catalog.FeedNamespace(feedID) {
			continue
		}
		for _, it := range rel.Manifest.Items {
			if !device.fits(it) {
				continue
			}
			text, err := stanza(rel, it)
			if err != nil {
				r.Refused[it.Name+":"+it.Arch+"="+it.Version] = err.Error()
				continue
			}
			stanzas = append(stanzas, text)
		}
	}
	slices.SortFunc(stanzas, cmp.Compare[string])
	r.packages = []byte(strings.Join(slices.Compact(stanzas), "\n"))
	return r
}

// Empty reports whether the feed has nothing for apt.
func (r Repository) Empty() bool { return len(r.packages) == 0 }
