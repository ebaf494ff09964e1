// Package feed says what a publisher writes into a feed: one signed manifest for each release, the payloads and
// agreement texts it names by digest, and revocations. Where each of them lies in the feed is said here too; that they
// are what the publisher signed is the business of package trust.
//
// It guarantees: what Parse returns has sound names, sizes and digests and nothing that could be a path, an option or a
// command; a value that this build does not know (a payload format, a class, a version that cannot be ordered) does not
// make the release disappear but is listed in Publication.Unknown, so that it is shown and held (unknown holds). It does
// no I/O.
package feed

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"assent/catalog"
	"assent/fault"
)

// ManifestFormat is the format of manifests that this build writes and the highest it reads whole.
const ManifestFormat = 1

// Limits of what is read from a feed.
const (
	MaxManifest  = 1 << 20   // bytes of one manifest
	MaxAgreement = 1 << 20   // bytes of one agreement text
	MaxReleases  = 10_000    // releases of one feed
	MaxPayload   = 64 << 30  // bytes of one payload
	maxItems     = 1_000     // items of one release
	maxText      = 64 << 10  // bytes of release notes
	maxShort     = 1_000     // bytes of a title or reason
	maxList      = 1_000     // entries of any list
	maxControl   = 256 << 10 // bytes of a package's control fields
)

// Targets of a feed, below its root.
const (
	ReleasePrefix    = "releases/"   // + update id + ".json": a Manifest
	RevocationPrefix = "revoked/"    // + update id + ".json": a Revoked
	PayloadPrefix    = "payloads/"   // + SHA-256
	AgreementPrefix  = "agreements/" // + SHA-256: plain text, UTF-8
)

// ReleaseTarget is where the manifest of a release lies.
func ReleaseTarget(id catalog.UpdateID) string { return ReleasePrefix + string(id) + ".json" }

// RevocationTarget is where the recall of a release lies.
func RevocationTarget(id catalog.UpdateID) string { return RevocationPrefix + string(id) + ".json" }

// PayloadTarget is where a payload lies.
func PayloadTarget(sha256 string) string { return PayloadPrefix + sha256 }

// AgreementTarget is where an agreement's text lies.
func AgreementTarget(sha256 string) string { return AgreementPrefix + sha256 }

// Manifest is the document that describes one release.
type Manifest struct {
	Format      int                   `json:"manifest"` // ManifestFormat
	Application string                `json:"application"`
	Version     string                `json:"version"`
	Class       catalog.Class         `json:"class"`
	Severity    catalog.Severity      `json:"severity,omitempty"`
	Summary     string                `json:"summary,omitempty"`
	Title       string                `json:"title,omitempty"`
	Kind        catalog.ReleaseKind   `json:"kind"`
	Payload     catalog.Format        `json:"payload"`
	Released    time.Time             `json:"released"`
	MinServer   string                `json:"min_server_version,omitempty"`
	MinAgent    string                `json:"min_agent_version,omitempty"`
	AppliesTo   []string              `json:"applies_to,omitempty"`
	Requires    []catalog.Requirement `json:"requires,omitempty"`
	Supersedes  []string              `json:"supersedes,omitempty"`
	Exclusive   bool                  `json:"exclusive,omitempty"`
	CVEs        []string              `json:"cves,omitempty"`
	Exploited   []string              `json:"known_exploited,omitempty"` // those of CVEs that are known to be exploited
	Notes       string                `json:"notes,omitempty"`
	Agreements  []catalog.Agreement   `json:"agreements,omitempty"`
	Restart     catalog.Restart       `json:"restart"`
	Removal     catalog.Removal       `json:"removal"`
	Probe       *catalog.Probe        `json:"probe,omitempty"`
	Items       []Item                `json:"items"`
}

// Item is one payload of a release.
type Item struct {
	Name     string           `json:"name"` // the package's name; the application's where no package manager knows it
	Arch     string           `json:"arch"` // dpkg's architecture; Platform.String() where no package manager knows it
	Version  string           `json:"version"`
	Size     int64            `json:"size"` // bytes
	SHA256   string           `json:"sha256"`
	Platform catalog.Platform `json:"platform"`
	// Control holds the package's own control fields (deb: the stanza of its control file), from which a local
	// repository is written. Empty where there are none.
	Control string `json:"control,omitempty"`
}

// Revoked is the document that recalls a release (A8).
type Revoked struct {
	Application string    `json:"application"`
	Version     string    `json:"version"`
	At          time.Time `json:"at"`
	Reason      string    `json:"reason"`
}

// Release is one release of a feed as Assent knows it.
type Release struct {
	catalog.Release
	Manifest Manifest
	Unknown  []string            // what this build cannot read, in words
	Revoked  *catalog.Revocation // set by whoever finds its revocation
}

// ErrManifest is the refusal of a document that is no manifest, or one whose names or digests are unsound.
var ErrManifest = fault.New(fault.Invalid, "manifest_malformed", "The release's manifest cannot be used.")

// Encode is the bytes of a manifest. It refuses what Parse would refuse or not know.
func Encode(feedID string, m Manifest) ([]byte, Release, error) {
	m.Format = ManifestFormat
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, Release{}, fmt.Errorf("encode manifest: %w", err)
	}
	b = append(b, '\n')
	r, err := Parse(feedID, b)
	if err == nil && len(r.Unknown) > 0 {
		err = fault.New(fault.Invalid, "manifest_unknown", "The release says something that Assent does not know: %s.", r.Unknown[0])
	}
	return b, r, err
}

// Parse reads a manifest of a feed. Fields of later formats are ignored, but such a release holds.
func Parse(feedID string, b []byte) (Release, error) {
	if len(b) > MaxManifest {
		return Release{}, fault.New(fault.TooLarge, "manifest_too_large", "A manifest may have %d bytes at most.", MaxManifest)
	}
	var m Manifest
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&m); err != nil {
		return Release{}, ErrManifest.Because(err)
	}
	c := checker{m: m}
	if err := c.check(); err != nil {
		return Release{}, err
	}
	r := Release{Manifest: m, Unknown: c.unknown}
	ecosystem := m.Payload.Ecosystem()
	if ecosystem == "" {
		ecosystem = catalog.Generic // so that it has an identity at all; it holds
	}
	r.Release = catalog.Release{Software: catalog.Software{Ecosystem: ecosystem, Namespace: catalog.FeedNamespace(feedID), Name: m.Application}, Version: m.Version}
	return r, nil
}

// ParseRevoked reads a revocation.
func ParseRevoked(b []byte) (Revoked, error) {
	var r Revoked
	if len(b) > MaxManifest {
		return r, fault.New(fault.TooLarge, "manifest_too_large", "A revocation may have %d bytes at most.", MaxManifest)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, ErrManifest.Because(err)
	}
	if !application.MatchString(r.Application) || !sound(r.Version, 1, maxVersion) || !sound(r.Reason, 0, maxShort) {
		return r, ErrManifest.Because(fmt.Errorf("revocation of %.80q %.80q", r.Application, r.Version))
	}
	return r, nil
}

// Update is the release as an update of the catalog, with all its items at revision 1.
func (r Release) Update(feedID string, firstSeen time.Time) catalog.Update {
	m := r.Manifest
	severity := m.Severity
	if severity == "" {
		severity = catalog.Unrated
	}
	u := catalog.Update{ID: r.Release.ID(), Release: r.Release, Class: m.Class, Severity: severity, Security: len(m.CVEs) > 0,
		Origins: []string{"feed:" + feedID}, Phased: 100, Summary: m.Summary, FirstSeen: firstSeen,
		Published: &catalog.Publication{Feed: feedID, Title: m.Title, Kind: m.Kind, Format: m.Payload, Released: m.Released, MinServer: m.MinServer,
			MinAgent: m.MinAgent, AppliesTo: m.AppliesTo, Requires: m.Requires, Supersedes: m.Supersedes, Exclusive: m.Exclusive, CVEs: m.CVEs, Exploited: m.Exploited, Notes: m.Notes,
			Agreements: m.Agreements, Restart: m.Restart, Removal: m.Removal, Probe: m.Probe, Revoked: r.Revoked, Unknown: r.Unknown}}
	for _, it := range r.Manifest.Items {
		u.Items = append(u.Items, catalog.Bound{Item: r.item(it), Role: catalog.Own, Rev: 1, Origin: "feed:" + feedID})
	}
	catalog.SortItems(u.Items)
	return u
}

// item is an item as the catalog knows it. What a package manager installs has no format: it is a package like any other.
func (r Release) item(it Item) catalog.Item {
	c := catalog.Item{Name: it.Name, Arch: it.Arch, Version: it.Version, Size: it.Size, SHA256: it.SHA256}
	if r.Manifest.Payload.Side() {
		c.Format = r.Manifest.Payload
	}
	return c
}

// For lists the items of the release that run on a device.
func (r Release) For(device catalog.Platform) []catalog.Item {
	var out []catalog.Item
	for _, it := range r.Manifest.Items {
		if it.Platform.Fits(device) {
			out = append(out, r.item(it))
		}
	}
	return out
}
