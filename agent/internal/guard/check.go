package guard

import (
	"cmp"
	"fmt"
	"iter"
	"slices"

	"assent/catalog"
	"assent/fleet"
	"assent/pkgver"
	"assent/wire"
)

// File is what the guard itself found in a file that is about to be unpacked.
type File struct {
	SHA256        string
	Source        string // source package, from the file's control data; empty where it was not needed or not readable
	SourceVersion string
	Ecosystem     string // of the package, by which versions are ordered; empty: "deb"
	Err           error  // the file could not be read: what cannot be read is not let in
}

// Code says why a file or step is not let in.
type Code string

// The codes.
const (
	Declined    Code = "declined"     // the plan has a wall against this version
	Digest      Code = "digest"       // the content is not the one that the plan knows under this name
	NotApproved Code = "not_approved" // approved_only mode, and nobody approved it
	Diverged    Code = "diverged"     // a transaction of Assent's own does more than the plan orders
	Unreadable  Code = "unreadable"   // the file could not be read
)

// Finding is one thing that is wrong with a transaction.
type Finding struct {
	Code    Code             `json:"code"`
	Name    string           `json:"name"`
	Arch    string           `json:"arch"`
	Version string           `json:"version"`
	Update  catalog.UpdateID `json:"update,omitempty"` // the declined update, for Declined
	By      string           `json:"by,omitempty"`
	Reason  string           `json:"reason,omitempty"`
	Act     int64            `json:"act,omitempty"`   // ledger sequence of the decline
	Found   string           `json:"found"`           // SHA-256 of the file
	Known   []string         `json:"known,omitempty"` // the SHA-256 values that the plan knows, for Digest
	Detail  string           `json:"detail,omitempty"`
}

// Decision is the guard's answer.
type Decision struct {
	Refuse   bool
	Findings []Finding // also filled in observe mode, where they do not refuse
}

// checks are the single walls, so that a test can take one away and see that another test notices.
type checks struct{ declined, digest, approved, own bool }

func allChecks() checks { return checks{true, true, true, true} }

// Check decides about a transaction. files has an entry for the Path of each Install line. A transaction of
// Assent's own is held to the plan's orders in every mode; one of others' according to the plan's guard mode, and
// an unknown mode counts as the strictest.
func Check(plan wire.Plan, tx Transaction, files map[string]File) Decision {
	return allChecks().check(plan, tx, files)
}

func (c checks) check(plan wire.Plan, tx Transaction, files map[string]File) Decision {
	rules := newRules(plan)
	var d Decision
	for _, l := range tx.Lines {
		if f, ok := c.line(rules, tx, l, files[l.Path]); ok {
			d.Findings = append(d.Findings, f)
		}
	}
	d.Refuse = len(d.Findings) > 0 && (tx.Own != "" || plan.Guard != fleet.Observe)
	return d
}

// line looks for the first thing that is wrong with a step.
func (c checks) line(r rules, tx Transaction, l Line, file File) (Finding, bool) {
	f := Finding{Name: l.Name, Arch: cmp.Or(l.NewArch, l.OldArch), Version: cmp.Or(l.NewVersion, l.OldVersion), Found: file.SHA256}
	if l.Op != Install {
		f.Code, f.Detail = Diverged, "The plan orders no such removal."
		ordered := r.removals[itemKey{l.Name, l.OldArch, l.OldVersion}] || r.mayGo(tx, l)
		return f, c.own && tx.Own != "" && l.Op == Remove && !ordered && !reinstalled(tx, l)
	}
	if file.Err != nil || file.SHA256 == "" {
		f.Code, f.Detail = Unreadable, fmt.Sprint(file.Err)
		return f, true
	}
	key := itemKey{l.Name, l.NewArch, l.NewVersion}
	if deny, ok := r.denies(key, file); ok && c.declined {
		f.Code, f.Update, f.By, f.Reason, f.Act = Declined, deny.Update, deny.By, deny.Reason, deny.Act
		return f, true
	}
	if known := r.known[key]; c.digest && len(known) > 0 && !slices.Contains(known, file.SHA256) {
		f.Code, f.Known = Digest, known
		return f, true
	}
	content := itemContent{key, file.SHA256}
	switch {
	case tx.Own != "" && c.own:
		f.Code, f.Detail = Diverged, "The plan does not order it."
		return f, !r.ordered[content] || l.Direction == ">" && !r.rollback[content]
	case r.approvedOnly && c.approved:
		f.Code = NotApproved
		return f, !r.ordered[content] && !r.allowed[content]
	}
	return Finding{}, false
}

// mayGo reports whether a package may go along with something that the transaction installs: the plan names it in the terms of
// that (T3). What is declined stays as it is, and so does the agent itself.
func (r rules) mayGo(tx Transaction, l Line) bool {
	if _, declined := r.deniedItems[[2]string{l.Name, l.OldVersion}]; declined || l.Name == wire.AgentPackage {
		return false
	}
	return slices.ContainsFunc(tx.Lines, func(o Line) bool {
		return o.Op == Install && slices.Contains(r.removable[itemKey{o.Name, o.NewArch, o.NewVersion}], l.Name)
	})
}

// reinstalled reports whether the transaction also unpacks the package that l removes: apt breaks dependency
// circles that way.
func reinstalled(tx Transaction, l Line) bool {
	return slices.ContainsFunc(tx.Lines, func(o Line) bool { return o.Op == Install && o.Name == l.Name })
}

type itemKey struct{ name, arch, version string }

type itemContent struct {
	itemKey
	sha256 string
}

// rules is a plan, arranged for looking things up.
type rules struct {
	approvedOnly bool
	ordered      map[itemContent]bool // installs, their extras, rollbacks
	rollback     map[itemContent]bool
	allowed      map[itemContent]bool
	removals     map[itemKey]bool            // what is to go, in exactly this version
	removable    map[itemKey][]string        // names that may go along with an ordered install
	known        map[itemKey][]string        // every digest that the plan mentions
	deniedItems  map[[2]string]wire.PlanDeny // by name and version, whatever the architecture and content
	deny         []wire.PlanDeny
}

func newRules(p wire.Plan) rules {
	r := rules{
		approvedOnly: p.Guard != fleet.Observe && p.Guard != fleet.BlockDeclined,
		ordered:      map[itemContent]bool{}, rollback: map[itemContent]bool{}, allowed: map[itemContent]bool{},
		removals: map[itemKey]bool{}, removable: map[itemKey][]string{}, known: map[itemKey][]string{}, deniedItems: map[[2]string]wire.PlanDeny{},
	}
	for _, in := range p.Install {
		r.add(r.ordered, in.Items)
		r.add(r.ordered, in.Extras)
		if in.Terms > 0 && in.Terms <= len(p.Terms) {
			for it := range packages(in.Items) {
				r.removable[itemKey{it.Name, it.Arch, it.Version}] = p.Terms[in.Terms-1].Removable
			}
		}
	}
	for _, back := range p.Rollback {
		for _, it := range back.Items {
			items := []catalog.Item{{Name: it.Name, Arch: it.Arch, Version: it.Version, SHA256: it.SHA256, Format: it.Format}}
			r.add(r.ordered, items)
			r.add(r.rollback, items)
		}
	}
	for _, rm := range p.Remove {
		for it := range packages(rm.Items) {
			r.removals[itemKey{it.Name, it.Arch, it.Version}] = true
		}
	}
	for _, a := range p.Allow {
		r.add(r.allowed, a.Items)
	}
	for _, d := range p.Deny {
		if d.Software.Ecosystem == catalog.Generic {
			continue
		}
		r.deny = append(r.deny, d)
		r.add(nil, d.Items)
		for it := range packages(d.Items) {
			r.deniedItems[[2]string{it.Name, it.Version}] = d
		}
	}
	return r
}

// packages are the items that the package manager installs. What lies side by side with them (trees, content) may bear a
// package's name and version without having to do with it: no package is judged by it.
func packages(items []catalog.Item) iter.Seq[catalog.Item] {
	return func(yield func(catalog.Item) bool) {
		for _, it := range items {
			if !it.Format.Side() && !yield(it) {
				return
			}
		}
	}
}

func (r rules) add(to map[itemContent]bool, items []catalog.Item) {
	for it := range packages(items) {
		key := itemKey{it.Name, it.Arch, it.Version}
		if it.SHA256 == "" {
			continue
		}
		if to != nil {
			to[itemContent{key, it.SHA256}] = true
		}
		if !slices.Contains(r.known[key], it.SHA256) {
			r.known[key] = append(r.known[key], it.SHA256)
		}
	}
}

// denies finds the wall that a file stands behind: its name and version are declined; or its source release is;
// or its source version lies in the reach of a decline. The reach counts by the name of the source, since a file
// does not say who published it; so content that the plan orders or allows by its digest passes a reach, though
// never a decline that names it.
func (r rules) denies(key itemKey, file File) (wire.PlanDeny, bool) {
	if d, ok := r.deniedItems[[2]string{key.name, key.version}]; ok {
		return d, true
	}
	content := itemContent{key, file.SHA256}
	if r.ordered[content] || r.allowed[content] {
		return wire.PlanDeny{}, false
	}
	for _, d := range r.deny {
		if d.Software.Name == file.Source && reaches(d, cmp.Or(file.Ecosystem, "deb"), file.SourceVersion) {
			return d, true
		}
	}
	return wire.PlanDeny{}, false
}

// reaches reports whether a decline covers a source version. What cannot be compared is covered: unknown holds.
func reaches(d wire.PlanDeny, ecosystem, version string) bool {
	from, err := pkgver.Compare(ecosystem, version, d.Version)
	if err != nil {
		return true
	}
	if !d.Later || from <= 0 {
		return from == 0
	}
	if d.Through == "" {
		return true
	}
	through, err := pkgver.Compare(ecosystem, version, d.Through)
	return err != nil || through <= 0
}
