package ledger

import (
	"time"

	"assent/catalog"
	"assent/fault"
	"assent/fleet"
)

// The acts on feeds and what they publish.
type (
	// FeedSubscribe follows a feed, or follows it from another address.
	FeedSubscribe struct {
		Feed Feed `json:"feed"`
	}
	// FeedUnsubscribe stops following a feed. What it published stays in the catalog.
	FeedUnsubscribe struct {
		ID string `json:"id"`
	}
	// AgreementAccept accepts agreements apart from an approval (A7).
	AgreementAccept struct {
		Update  catalog.UpdateID `json:"update"` // whose agreements were shown
		Accepts []Accepted       `json:"accepts"`
	}
	// AgreementWithdraw takes an acceptance back: nothing that needs it installs from then on.
	AgreementWithdraw struct {
		Digest string `json:"digest"`
		Reason string `json:"reason,omitempty"`
	}
	// UpdateDeploy puts an application onto devices that lack it, through the same verdicts as any update. Its id is the
	// entry's Seq.
	UpdateDeploy struct {
		Update  catalog.UpdateID `json:"update"`
		Release catalog.Release  `json:"release"`
		Scope   fleet.GroupID    `json:"scope,omitempty"`   // every device below it, later ones too …
		Devices []fleet.DeviceID `json:"devices,omitempty"` // … or exactly these
		Package string           `json:"package,omitempty"` // the installation package it was made from
		Reason  string           `json:"reason,omitempty"`
	}
	// DeployEnd ends a deployment: devices that still lack the application do not get it any more.
	DeployEnd struct {
		Deploy int64 `json:"deploy"`
	}
	// PackageCreate makes an installation package from an update.
	PackageCreate struct {
		Package Package `json:"package"`
	}
	// PackageDelete removes an installation package.
	PackageDelete struct {
		ID string `json:"id"`
	}
	// ContentVerify is the outcome of a content set on the test devices (C6): passed, it is released to all; not passed,
	// it never leaves staging.
	ContentVerify struct {
		Update  catalog.UpdateID `json:"update"`
		Release catalog.Release  `json:"release"`
		Passed  bool             `json:"passed"`
		Devices []fleet.DeviceID `json:"devices"` // whose outcome it is
		Reason  string           `json:"reason"`
	}
)

// Feed is a subscribed feed.
type Feed struct {
	ID   string `json:"id"`
	URL  string `json:"url"`  // where its static folder is
	Root []byte `json:"root"` // its first root.json, exactly these bytes: what devices pin
}

// Accepted is one agreement that was accepted: exactly the texts that the digest names.
type Accepted struct {
	ID     string `json:"id"`
	Title  string `json:"title,omitempty"`
	Digest string `json:"digest"` // catalog.Agreement.Digest
}

// Acceptance is an agreement that stands accepted.
type Acceptance struct {
	Accepted
	Update catalog.UpdateID `json:"update"` // one of those it was accepted for
	Act    int64            `json:"act"`
	By     string           `json:"by"`
	At     time.Time        `json:"at"`
}

// Deploy is a deployment that stands.
type Deploy struct {
	Act int64     `json:"act"`
	By  string    `json:"by"`
	At  time.Time `json:"at"`
	UpdateDeploy
}

// Package is an installation package: an installable made from an update, to put the application on devices that lack it.
type Package struct {
	ID      string           `json:"id"`
	Name    string           `json:"name"`
	Update  catalog.UpdateID `json:"update"`
	Release catalog.Release  `json:"release"`
	Group   fleet.GroupID    `json:"group,omitempty"` // for a package of the agent: the group that machines enrol into
	By      string           `json:"by,omitempty"`    // set from the entry
	At      time.Time        `json:"at,omitzero"`     // set from the entry
}

// Content is what the test devices said of a content set.
type Content struct {
	Act int64     `json:"act"`
	At  time.Time `json:"at"`
	ContentVerify
}

// Kind names what each act is.
func (FeedSubscribe) Kind() Kind     { return "feed.subscribe" }
func (FeedUnsubscribe) Kind() Kind   { return "feed.unsubscribe" }
func (AgreementAccept) Kind() Kind   { return "agreement.accept" }
func (AgreementWithdraw) Kind() Kind { return "agreement.withdraw" }
func (UpdateDeploy) Kind() Kind      { return "update.deploy" }
func (DeployEnd) Kind() Kind         { return "deploy.end" }
func (PackageCreate) Kind() Kind     { return "package.create" }
func (PackageDelete) Kind() Kind     { return "package.delete" }
func (ContentVerify) Kind() Kind     { return "content.verify" }

// subscribe follows a feed. Another root is another feed: it needs another name, or the old one to be given up first.
func (s *State) subscribe(b FeedSubscribe) error {
	if old, ok := s.Feeds[b.Feed.ID]; ok && string(old.Root) != string(b.Feed.Root) {
		return fault.New(fault.Conflict, "feed_root", "The feed %q is subscribed with another root; unsubscribe it first if the change is right.", b.Feed.ID).On("root")
	}
	s.Feeds[b.Feed.ID] = b.Feed
	return nil
}

// accept notes agreements as accepted.
func (s *State) accept(e Entry, update catalog.UpdateID, list []Accepted) {
	for _, a := range list {
		s.Agreements[a.Digest] = Acceptance{Accepted: a, Update: update, Act: e.Seq, By: e.By, At: e.At}
	}
}

func (s *State) deploy(e Entry, b UpdateDeploy) error {
	if (b.Scope == "") == (len(b.Devices) == 0) {
		return fault.New(fault.Invalid, "deploy_target", "A deployment names one group or some devices.").On("to")
	}
	if b.Scope != "" {
		if _, ok := s.Groups[b.Scope]; !ok {
			return unknownGroup(b.Scope)
		}
	}
	for _, id := range b.Devices {
		if _, ok := s.Devices[id]; !ok {
			return fault.New(fault.NotFound, "device_unknown", "There is no device %q.", id).On("device")
		}
	}
	s.Deploys[e.Seq] = Deploy{Act: e.Seq, By: e.By, At: e.At, UpdateDeploy: b}
	return nil
}

func (s *State) createPackage(e Entry, b PackageCreate) error {
	if _, dup := s.Packages[b.Package.ID]; dup {
		return fault.New(fault.Conflict, "package_exists", "There is an installation package %q already.", b.Package.ID).On("package")
	}
	if b.Package.Group != "" {
		if _, ok := s.Groups[b.Package.Group]; !ok {
			return unknownGroup(b.Package.Group)
		}
	}
	p := b.Package
	p.By, p.At = e.By, e.At
	s.Packages[p.ID] = p
	return nil
}

func (s *State) verifyContent(e Entry, b ContentVerify) error {
	if old, ok := s.Contents[b.Update]; ok {
		return fault.New(fault.Conflict, "content_verified", "The test devices' answer on %s %s stands since act %d.", b.Release.Name, b.Release.Version, old.Act)
	}
	s.Contents[b.Update] = Content{Act: e.Seq, At: e.At, ContentVerify: b}
	return nil
}
