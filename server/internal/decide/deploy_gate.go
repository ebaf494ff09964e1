package decide

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/approval"
	"assent/catalog"
	"assent/fault"
	"assent/fleet"
	"assent/pkgver"
	"assent/server/internal/index"
)

// The codes of what cannot be put onto devices that lack it, besides those of an approval.
const (
	codeNotManaged = "not_managed"
	codePart       = "not_full"
	codeNoPayload  = "no_payload"
)

// ungiven says why an update is nothing that could be put onto devices that lack it, whatever anybody decided: it does
// not come from a feed, its publisher took it back or asks for a newer server (A6, A8), or it is only a part.
func ungiven(v *index.View, u index.Update) *fault.Error {
	p := u.Published
	if p == nil {
		if feed, ok := catalog.FeedOf(u.Namespace); ok {
			return fault.New(fault.Conflict, codeNoFeed, "%s comes from the feed %q, which this server does not follow; subscribe to it first: `assent feed subscribe`.", title(u), feed)
		}
		return fault.New(fault.Conflict, codeNotManaged, "%s comes from the devices' own package sources; only what a feed publishes can be put onto devices that lack it.", title(u))
	}
	least, held := gated(*u.Update, v.Version())
	switch {
	case p.Revoked != nil:
		return fault.New(fault.Conflict, codeRevoked, "%s was recalled by its publisher on %s (%q): it goes onto no further device.", title(u), day(p.Revoked.At), shorten(p.Revoked.Reason))
	case held && pkgver.Check(catalog.Generic, v.Version()) == nil && pkgver.Check(catalog.Generic, least) == nil:
		return fault.New(fault.Conflict, codeGated, "%s needs server %s or newer, and this server is %s; upgrade the server first.", title(u), least, v.Version())
	case held:
		return fault.New(fault.Conflict, codeUnreadable, "Whether this server (%s) is new enough for %s (minimum server version %s) cannot be judged, so it holds.", v.Version(), title(u), shorten(least))
	case len(p.Unknown) > 0:
		return fault.New(fault.Conflict, codeUnreadable, "This server (%s) cannot read all that the publisher says of %s (%s), so it holds; a newer server may.", v.Version(), title(u), shorten(p.Unknown[0]))
	case u.Class != catalog.Content && p.Kind != catalog.Full:
		return fault.New(fault.Conflict, codePart, "%s is no full version (its kind is %s), so a device that lacks the application cannot begin with it.", title(u), p.Kind)
	case len(u.Items) == 0:
		return fault.New(fault.Conflict, codeNoPayload, "%s has no files.", title(u))
	}
	return nil
}

// kept says which decline keeps an update out of a group (A3), and how to lift it.
func kept(v *index.View, u index.Update, group fleet.GroupID, now time.Time) *fault.Error {
	res := v.Status(u.Release, group, now)
	if res.Status != approval.Declined || res.Decision == nil {
		return nil
	}
	d := res.Decision
	what := "it"
	if d.Update != u.ID {
		what = d.Release.Version + ", with a reach that covers it,"
	}
	because := ""
	if d.Reason != "" {
		because = fmt.Sprintf(": %q", shorten(d.Reason))
	}
	return fault.New(fault.Conflict, codeDeclined, "%s stays out of %s: %s declined %s in %s (act %d)%s. Lift that decline first if it is to come in.",
		title(u), groupName(v, group), d.By, what, groupName(v, d.Scope), d.Act, because)
}

// unagreed says which agreements of an update and of its prerequisites nobody accepted (A7).
func unagreed(v *index.View, u index.Update) *fault.Error {
	var open []string
	for _, a := range agreements(v, u) {
		if !a.Accepted {
			open = append(open, fmt.Sprintf("%q of %s %s", a.Title, a.Update.Name, a.Update.Version))
		}
	}
	if len(open) == 0 {
		return nil
	}
	return fault.New(fault.Conflict, codeAgreements, "%s has agreements that must be accepted first: %s. Read them with `assent update agreements %s`, then accept them with `assent agreement accept %s`.",
		title(u), strings.Join(open, ", "), u.ID, u.ID)
}

// firstRefusal runs checks until one refuses.
func firstRefusal(checks ...func() *fault.Error) *fault.Error {
	for _, check := range checks {
		if refusal := check(); refusal != nil {
			return refusal
		}
	}
	return nil
}

// own are the files that a feed publishes of an update.
func own(u index.Update) []catalog.Item {
	var out []catalog.Item
	for _, it := range u.Items {
		if it.Role == catalog.Own {
			out = append(out, it.Item)
		}
	}
	return out
}

// runsOn reports whether a file fits a platform. The architecture of a tree is its platform in words.
func runsOn(it catalog.Item, p catalog.Platform) bool {
	if arch := catalog.DpkgArch(it.Arch); arch == "all" || arch == p.Arch {
		return true
	}
	if !it.Format.Side() {
		return false
	}
	some := []catalog.Platform{{Distribution: p.Distribution}, {Distribution: p.Distribution, Version: p.Version}, {Distribution: p.Distribution, Arch: p.Arch}, p}
	return slices.ContainsFunc(some, func(q catalog.Platform) bool { return it.Arch == q.String() })
}

// platform is what a device said that it is; false while it has not.
func platform(d index.Device) (catalog.Platform, bool) {
	if d.Facts == nil {
		return catalog.Platform{}, false
	}
	return catalog.Platform{Distribution: d.Facts.OS, Version: d.Facts.OSVersion, Arch: d.Facts.Arch}, true
}

// fits reports whether an update has a file for a device, and whether that is known.
func fits(d index.Device, u index.Update) (fit, known bool) {
	p, known := platform(d)
	return known && slices.ContainsFunc(own(u), func(it catalog.Item) bool {
		return runsOn(it, p) || slices.ContainsFunc(d.Facts.Foreign, func(arch string) bool { return !it.Format.Side() && catalog.DpkgArch(it.Arch) == arch })
	}), known
}
