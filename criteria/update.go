package criteria

import (
	"slices"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"assent/catalog"
)

// Update is an update as rules see it, perhaps on one device.
type Update struct {
	catalog.Update
	// Installed is the version of the same software on the device; empty where nothing of it is installed.
	Installed string
	// Unplaced says that there is no device (a list, a preview), or that the device has not yet said what it has: what depends
	// on the device is not known then.
	Unplaced bool
	// Advisories is what vulnerability data says; nil while the server has none. What a feed says of CVEs counts in any case.
	Advisories *Advisories
	Now        time.Time
}

// Advisories is what vulnerability data says of an update.
type Advisories struct {
	IDs  []string // "DSA-5764-1"
	CVEs []string // "CVE-2024-6119"
	KEV  bool     // one of the CVEs is known to be exploited
}

// Match reports whether an update meets the criteria. The error is an *Unknown: hold then.
func (r Rule) Match(u Update) (bool, error) { return r.eval(u.field) }

// field is the value of a field; nil when nobody knows it.
func (u Update) field(name string) ref.Val {
	switch name {
	case "class":
		return updates().one(name, string(u.Class))
	case "ecosystem":
		return updates().one(name, u.Ecosystem)
	case "origin":
		return known(u.Namespace)
	case "name":
		return known(u.Name)
	case "version":
		return known(u.Version)
	case "severity":
		return updates().one(name, string(u.severity()))
	case "security":
		return types.Bool(u.Security)
	case "phased":
		return types.Int(u.Phased)
	case "removable":
		return types.Bool(u.Removable())
	case "new_major":
		return u.newMajor()
	case "age_seen":
		return since(u.FirstSeen, u.Now)
	case "age_release":
		return since(u.released(), u.Now)
	case "origins":
		return list(u.Origins)
	case "packages", "size":
		return u.contents(name)
	case "feed", "restart":
		return u.published(name)
	}
	return u.advice(name)
}

// severity of an update of which nobody said one is a value of its own (T2).
func (u Update) severity() catalog.Severity {
	if u.Severity == "" {
		return catalog.Unrated
	}
	return u.Severity
}

// released is when the publisher released it; when it was first seen where nobody says (T2).
func (u Update) released() time.Time {
	if u.Published != nil && !u.Published.Released.IsZero() {
		return u.Published.Released
	}
	return u.FirstSeen
}

func (u Update) newMajor() ref.Val {
	if u.Unplaced {
		return nil
	}
	major, err := NewMajor(u.Ecosystem, u.Installed, u.Version)
	if err != nil {
		return nil
	}
	return types.Bool(major)
}

// contents answers for the files of the release itself.
func (u Update) contents(name string) ref.Val {
	if len(u.Items) == 0 {
		return nil
	}
	var size int64
	var names []string
	for _, it := range u.Items {
		if it.Role == catalog.Own {
			size += it.Size
			names = append(names, it.Name)
		}
	}
	if name == "size" {
		return types.Int(size)
	}
	slices.Sort(names)
	return list(slices.Compact(names))
}

// published answers for what only a feed says.
func (u Update) published(name string) ref.Val {
	switch {
	case name == "feed" && u.Published != nil:
		return types.String(u.Published.Feed)
	case name == "feed":
		return types.String("")
	case u.Published == nil || u.Published.Restart == "":
		return types.String("unknown")
	}
	return updates().one(name, string(u.Published.Restart))
}

// advice answers for vulnerability data.
func (u Update) advice(name string) ref.Val {
	switch {
	case name == "cves" && u.Published != nil:
		cves := slices.Clone(u.Published.CVEs)
		if u.Advisories != nil {
			cves = append(cves, u.Advisories.CVEs...)
		}
		slices.Sort(cves)
		return list(slices.Compact(cves))
	case name == "kev" && u.KnownExploited():
		return types.Bool(true)
	case u.Advisories == nil:
		return nil
	case name == "cves":
		return list(u.Advisories.CVEs)
	case name == "advisories":
		return list(u.Advisories.IDs)
	case name == "kev":
		return types.Bool(u.Advisories.KEV)
	}
	return nil
}
