package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// FeedNamespace is the namespace of the software that a feed publishes. No package source of a device may use it: the
// agent refuses it from anything but a feed that it verified itself.
func FeedNamespace(feed string) string { return "feed." + feed }

// FeedOf is the feed that publishes a namespace; false for the device's own package sources.
func FeedOf(namespace string) (string, bool) { return strings.CutPrefix(namespace, "feed.") }

// Generic is the ecosystem of what no package manager of the device knows: trees and content files.
const Generic = "generic"

// Format says what the items of an update are and so who installs them. It is empty for what the device's own
// package manager offers from its own sources.
type Format string

// The formats of feeds.
const (
	Deb         Format = "deb"     // installed through apt, with the guard on
	RPM         Format = "rpm"     // installed through dnf, with the guard on
	Tar         Format = "tar"     // a tree, installed side by side and switched atomically
	ContentFile Format = "content" // data files, switched atomically
)

// Ecosystem is the ecosystem of releases in this format; empty for a format that this build does not know.
func (f Format) Ecosystem() string {
	switch f {
	case Deb, RPM:
		return string(f)
	case Tar, ContentFile:
		return Generic
	}
	return ""
}

// Side reports whether items of this format are installed by Assent side by side, and not by a package manager.
func (f Format) Side() bool { return f == Tar || f == ContentFile }

// ReleaseKind says how much of an application a release is.
type ReleaseKind string

// The kinds of releases.
const (
	Full  ReleaseKind = "full"  // a full version
	Patch ReleaseKind = "patch" // fixes to a full version
	Data  ReleaseKind = "data"  // data only
)

// Restart says what must be restarted after an update.
type Restart string

// What may have to be restarted.
const (
	RestartNone    Restart = "none"
	RestartService Restart = "service" // the package sees to it itself
	RestartDevice  Restart = "device"
)

// Platform is what an item runs on. Empty fields fit everything.
type Platform struct {
	OS           string `json:"os,omitempty"`           // "linux"
	Distribution string `json:"distribution,omitempty"` // os-release ID: "debian"
	Version      string `json:"version,omitempty"`      // os-release VERSION_ID: "12"
	Arch         string `json:"arch,omitempty"`         // dpkg's name: "amd64"
}

// String is the platform in one word, as it stands in the architecture of an item that no package manager knows:
// "amd64", "debian-12-amd64", or "all".
func (p Platform) String() string {
	var parts []string
	for _, s := range []string{p.Distribution, p.Version, p.Arch} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if len(parts) == 0 {
		return "all"
	}
	return strings.Join(parts, "-")
}

// Fits reports whether what is made for p runs on the device d, all of whose fields are known.
func (p Platform) Fits(d Platform) bool {
	fits := func(want, have string) bool { return want == "" || want == have }
	return fits(p.OS, d.OS) && fits(p.Distribution, d.Distribution) && fits(p.Version, d.Version) && (p.Arch == "all" || fits(p.Arch, d.Arch))
}

// Requirement is a prerequisite of a release: another application of the same feed at this version or a newer one.
type Requirement struct {
	Application string `json:"application"`
	Version     string `json:"version"`
}

// Agreement is a licence that must be accepted before an update may install (A7).
type Agreement struct {
	ID    string          `json:"id"` // the vendor's name of it: "eula"
	Title string          `json:"title"`
	Texts []AgreementText `json:"texts"` // sorted by language
}

// AgreementText is an agreement in one language.
type AgreementText struct {
	Language string `json:"language"` // BCP 47: "en"
	SHA256   string `json:"sha256"`
	Size     int64  `json:"size"` // bytes
}

// Digest names exactly these texts: accepting is accepting this digest, so a changed text asks again.
func (a Agreement) Digest() string {
	lines := []string{a.ID + "\n"}
	for _, t := range a.Texts {
		lines = append(lines, t.Language+" "+t.SHA256+"\n")
	}
	slices.Sort(lines[1:])
	sum := sha256.Sum256([]byte(strings.Join(lines, "")))
	return hex.EncodeToString(sum[:])
}

// Removal says whether and how an update can be taken back (C1, C2).
type Removal struct {
	Removable bool   `json:"removable"`
	Reason    string `json:"reason,omitempty"` // why not, for people
}

// ProbeType is a kind of health probe. There is no free-form command among them.
type ProbeType string

// The probes.
const (
	ProbeFile    ProbeType = "file"    // a file below the application's tree has this digest
	ProbeUnit    ProbeType = "unit"    // a systemd unit is active
	ProbeProcess ProbeType = "process" // a process with this executable runs
	ProbeTCP     ProbeType = "tcp"     // a local port accepts connections
	ProbeHTTP    ProbeType = "http"    // a local URL answers with this status
)

// Probe is a typed health probe, declared by the publisher.
type Probe struct {
	Type    ProbeType `json:"type"`
	Path    string    `json:"path,omitempty"`    // file: relative to the tree; process: absolute path of the executable; http: path of the URL
	SHA256  string    `json:"sha256,omitempty"`  // file
	Unit    string    `json:"unit,omitempty"`    // unit
	Port    int       `json:"port,omitempty"`    // tcp, http: on the loopback address
	Status  int       `json:"status,omitempty"`  // http: 200 when zero
	Timeout int       `json:"timeout,omitempty"` // seconds for all attempts together; 30 when zero
}

// Revocation is a publisher's recall of a release (A8).
type Revocation struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

// Publication is what a feed says of a release beyond what a package manager could.
type Publication struct {
	Feed       string        `json:"feed"`
	Title      string        `json:"title,omitempty"`
	Kind       ReleaseKind   `json:"kind"`
	Format     Format        `json:"format"`
	Released   time.Time     `json:"released"`
	MinServer  string        `json:"min_server_version,omitempty"` // A6
	MinAgent   string        `json:"min_agent_version,omitempty"`
	AppliesTo  []string      `json:"applies_to,omitempty"` // constraints on the installed version, any of them; empty: all
	Requires   []Requirement `json:"requires,omitempty"`
	Supersedes []string      `json:"supersedes,omitempty"` // versions that this one replaces, besides all older ones
	Exclusive  bool          `json:"exclusive,omitempty"`  // installs alone
	CVEs       []string      `json:"cves,omitempty"`
	Exploited  []string      `json:"known_exploited,omitempty"` // those of CVEs that its publisher knows to be exploited
	Notes      string        `json:"notes,omitempty"`           // release notes, plain text
	Agreements []Agreement   `json:"agreements,omitempty"`
	Restart    Restart       `json:"restart"`
	Removal    Removal       `json:"removal"`
	Probe      *Probe        `json:"probe,omitempty"`
	Revoked    *Revocation   `json:"revoked,omitempty"`
	// Unknown lists what this build cannot read of the release, in words. Not empty: the release holds.
	Unknown []string `json:"unknown,omitempty"`
}

// Removable reports whether copies that are installed are taken back when the update is declined (C1). Components never
// are (C5).
func (u Update) Removable() bool {
	return (u.Class == Managed || u.Class == Content) && u.Published != nil && u.Published.Removal.Removable
}

// KnownExploited reports whether its publisher says that one of its vulnerabilities is known to be exploited. Of what only package
// sources know nobody says so.
func (u Update) KnownExploited() bool { return u.Published != nil && len(u.Published.Exploited) > 0 }

// Recalled reports whether the publisher took the release back (A8).
func (u Update) Recalled() bool { return u.Published != nil && u.Published.Revoked != nil }

// line is an item in the digest that an approval binds.
func (b Bound) line() string {
	s := fmt.Sprintf("%s %s %d %s", b.Role, b.Key(), b.Size, b.SHA256)
	if b.Format != "" {
		s += " " + string(b.Format)
	}
	return s + "\n"
}
