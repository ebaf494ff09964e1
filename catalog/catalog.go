// Package catalog says what an update is: one release of one piece of software that some device
// could take, with its items (the installable files) and everything an administrator needs to decide.
//
// The unit is the release of a source package, named by its package URL, for example
// pkg:deb/debian/openssl@3.0.17-1~deb12u3?arch=source; its binary packages are its items.
//
// Guarantees: identities are stable (the same release has the same ID on every server), item sets
// only grow, and each item carries the revision at which it was first seen, so an approval can bind
// to exactly what was on screen (promise 1). The package holds no state and does no I/O.
package catalog

import (
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// UpdateID is the short stable id of an update: "u" and 12 characters derived from its package URL.
// It may be used wherever a package URL may.
type UpdateID string

// Class says who knows the software (product.md, "Words").
type Class string

// The classes.
const (
	Component  Class = "component"
	Managed    Class = "managed"
	ThirdParty Class = "third_party"
	Content    Class = "content"
)

// Severity of an update. A missing severity is its own value, Unrated (T2).
type Severity string

// The severities, from the least to the worst.
const (
	Unrated  Severity = "unrated"
	Low      Severity = "low"
	Medium   Severity = "medium"
	High     Severity = "high"
	Critical Severity = "critical"
)

// Rank orders severities; Unrated and unknown values rank lowest.
func (s Severity) Rank() int {
	return slices.Index([]Severity{Low, Medium, High, Critical}, s) + 1
}

// Software names a piece of software across its releases: what a decline with a reach (A4) covers.
type Software struct {
	Ecosystem string `json:"ecosystem"` // "deb"
	Namespace string `json:"namespace"` // who publishes it, from the archive's Origin field, lower case: "debian"
	Name      string `json:"name"`      // the source package: "openssl"
}

// Key is the software as one string: "deb/debian/openssl".
func (s Software) Key() string { return s.Ecosystem + "/" + s.Namespace + "/" + s.Name }

// Release names one release of one piece of software: the identity of an update.
type Release struct {
	Software
	Version string `json:"version"` // the source version, epoch included
}

// PURL is the package URL of the release.
func (r Release) PURL() string {
	purl := "pkg:" + r.Ecosystem + "/" + escape(r.Namespace) + "/" + escape(r.Name) + "@" + escape(r.Version)
	if r.Ecosystem == Generic {
		return purl // there is nothing that it is built from
	}
	return purl + "?arch=source"
}

// idLetters are the letters of ids, none of which is taken for another.
var idLetters = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// ID is the short stable id of the release.
func (r Release) ID() UpdateID { return IDOf(r.PURL()) }

// IDOf is the short id of the release with this package URL.
func IDOf(purl string) UpdateID {
	sum := sha256.Sum256([]byte(purl))
	return UpdateID("u" + idLetters.EncodeToString(sum[:8])[:12])
}

// escape percent-encodes as the package URL specification says: everything but unreserved
// characters and the colon.
func escape(s string) string {
	const digits = "0123456789ABCDEF"
	var b []byte // nil as long as nothing is escaped, which is nearly always
	for i := range len(s) {
		c := s[i]
		switch plain := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~:", c) >= 0; {
		case plain && b != nil:
			b = append(b, c)
		case plain:
		default:
			if b == nil {
				b = append(make([]byte, 0, len(s)+8), s[:i]...)
			}
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	if b == nil {
		return s
	}
	return string(b)
}

// Role says why an item belongs to an update.
type Role string

// The roles.
const (
	// Own is a binary package built from the release.
	Own Role = "own"
	// Dependency is a package that was not on a device before and that the package manager would
	// add with this update there (T3 "allow new dependency packages").
	Dependency Role = "dependency"
)

// Item is one installable file.
type Item struct {
	Name    string `json:"name"`
	Arch    string `json:"arch"` // dpkg architecture; "all" for architecture-independent files
	Version string `json:"version"`
	Size    int64  `json:"size"`   // bytes
	SHA256  string `json:"sha256"` // 64 lower-case hex digits
	Format  Format `json:"format,omitempty"`
}

// Key is the item's identity without its content: "name:arch=version", the form given to apt.
func (i Item) Key() string { return i.Name + ":" + i.Arch + "=" + i.Version }

// Bound is an item of an update with the revision at which the server first saw it.
type Bound struct {
	Item
	Role   Role   `json:"role"`
	Rev    int    `json:"rev"`    // 1, 2, …; an approval at revision n covers items with Rev <= n
	Origin string `json:"origin"` // where it was seen: "Debian:bookworm-security", "Acme:acme"
}

// Update is one release that some device could take.
type Update struct {
	ID UpdateID `json:"id"`
	Release
	Class     Class     `json:"class"`
	Severity  Severity  `json:"severity"`
	Security  bool      `json:"security"` // offered by a security suite
	Origins   []string  `json:"origins"`  // sorted
	Phased    int       `json:"phased"`   // percentage of devices the publisher has released it to; 100 when not phased
	Summary   string    `json:"summary"`
	Items     []Bound   `json:"items"` // sorted by Rev, then Key, then SHA256
	FirstSeen time.Time `json:"first_seen"`
	// Published is what its feed says of it; nil for what only the devices' own package sources know.
	Published *Publication `json:"published,omitempty"`
}

// Rev is the newest revision of the update's item set.
func (u Update) Rev() int {
	rev := 0
	for _, it := range u.Items {
		rev = max(rev, it.Rev)
	}
	return rev
}

// Covered returns the items that an approval at revision rev binds.
func (u Update) Covered(rev int) []Bound {
	var out []Bound
	for _, it := range u.Items {
		if it.Rev <= rev {
			out = append(out, it)
		}
	}
	return out
}

// Digest is the SHA-256, in hex, over the items that revision rev covers, one line each:
// role, key, size, content digest. It is what an approval signs its name under.
func (u Update) Digest(rev int) string {
	var lines []string
	for _, it := range u.Covered(rev) {
		lines = append(lines, it.line())
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "")))
	return hex.EncodeToString(sum[:])
}

// Conflict is one item name with two contents: the same name, architecture and version with
// different digests. What is approved must be one content, so such an update cannot be approved.
type Conflict struct {
	Key     string
	Digests []string // sorted, at least two
}

// Conflicts lists the items of the update that exist with more than one content.
func (u Update) Conflicts() []Conflict {
	byKey := map[string][]string{}
	for _, it := range u.Items {
		if !slices.Contains(byKey[it.Key()], it.SHA256) {
			byKey[it.Key()] = append(byKey[it.Key()], it.SHA256)
		}
	}
	var out []Conflict
	for key, digests := range byKey {
		if len(digests) > 1 {
			slices.Sort(digests)
			out = append(out, Conflict{Key: key, Digests: digests})
		}
	}
	slices.SortFunc(out, func(a, b Conflict) int { return cmp.Compare(a.Key, b.Key) })
	return out
}

// SortItems puts items in the order that Update.Items promises.
func SortItems(items []Bound) {
	slices.SortFunc(items, func(a, b Bound) int {
		return cmp.Or(cmp.Compare(a.Rev, b.Rev), cmp.Compare(a.Key(), b.Key()), cmp.Compare(a.SHA256, b.SHA256))
	})
}
