package decide

import (
	"fmt"
	"slices"
	"strings"

	"assent/catalog"
	"assent/client"
	"assent/fault"
	"assent/ledger"
	"assent/pkgver"
	"assent/server/internal/index"
)

// The codes of what a publisher asks for.
const (
	codeGated      = "server_too_old"
	codeRevoked    = "revoked"
	codeUnreadable = "unreadable"
	codeNoFeed     = "feed_unknown"
	codeAgreements = "agreements_pending"
	codeContent    = "content_class"
)

// gated returns the server version that an update waits for (A6), and whether that holds it back. What cannot be
// compared holds.
func gated(u catalog.Update, server string) (least string, held bool) {
	if u.Published == nil || u.Published.MinServer == "" {
		return "", false
	}
	least = u.Published.MinServer
	order, err := pkgver.Compare(catalog.Generic, server, least)
	return least, err != nil || order < 0
}

// refusePublished refuses an approval that the update's publisher, or its class, does not allow.
func (j *judge) refusePublished(u index.Update) *fault.Error {
	p := u.Published
	if p == nil {
		if feed, ok := catalog.FeedOf(u.Namespace); ok {
			return fault.New(fault.Conflict, codeNoFeed, "%s comes from the feed %q, which this server does not follow; subscribe to it first: `assent feed subscribe`.", title(u), feed)
		}
		return nil
	}
	least, held := gated(*u.Update, j.Version())
	switch {
	case p.Revoked != nil:
		return fault.New(fault.Conflict, codeRevoked, "%s was recalled by its publisher on %s (%q); it can be declined, not approved.", title(u), day(p.Revoked.At), shorten(p.Revoked.Reason))
	case held && pkgver.Check(catalog.Generic, j.Version()) == nil && pkgver.Check(catalog.Generic, least) == nil:
		return fault.New(fault.Conflict, codeGated, "%s needs server %s or newer, and this server is %s; upgrade the server first, then approve it.", title(u), least, j.Version())
	case len(p.Unknown) > 0 || held:
		return fault.New(fault.Conflict, codeUnreadable, "This server (%s) cannot read all that the publisher says of %s (%s), so it holds; a newer server may.", j.Version(), title(u),
			strings.Join(append(slices.Clone(p.Unknown), "minimum server version "+least)[:1], ", "))
	case u.Class == catalog.Content:
		return fault.New(fault.Conflict, codeContent, "%s is content: it installs without approval once the test devices have verified it. It can be declined.", title(u))
	}
	return j.refusePending(u)
}

// refusePending refuses to approve what has agreements that nobody accepted, its prerequisites' among them (A7).
func (j *judge) refusePending(u index.Update) *fault.Error {
	var open []string
	for _, a := range agreements(j.View, u) {
		if !a.Accepted && !slices.Contains(j.request.AcceptAgreements, a.Digest) {
			open = append(open, fmt.Sprintf("%q of %s %s", a.Title, a.Update.Name, a.Update.Version))
		}
	}
	if len(open) == 0 {
		return nil
	}
	return fault.New(fault.Conflict, codeAgreements, "%s has agreements that must be accepted first: %s. Read them with `assent update agreements %s`, then approve with --accept-agreements.",
		title(u), strings.Join(open, ", "), u.ID).On("accept_agreements")
}

// agreements lists the agreements of an update and of its prerequisites, each once.
func agreements(v *index.View, u index.Update) []client.AgreementRow {
	var out []client.AgreementRow
	for _, w := range withPrerequisites(v, u) {
		if w.Published == nil {
			continue
		}
		for _, a := range w.Published.Agreements {
			digest := a.Digest()
			if slices.ContainsFunc(out, func(r client.AgreementRow) bool { return r.Digest == digest }) {
				continue
			}
			row := client.AgreementRow{Update: ref(w), Feed: w.Published.Feed, ID: a.ID, Title: a.Title, Digest: digest, Texts: a.Texts}
			if row.Title == "" {
				row.Title = a.ID
			}
			if acc, ok := v.State().Agreements[digest]; ok {
				row.Accepted, row.By, row.At, row.Act = true, acc.By, acc.At, acc.Act
			}
			out = append(out, row)
		}
	}
	return out
}

// withPrerequisites lists an update and the newest releases that meet its requirements, theirs too.
func withPrerequisites(v *index.View, u index.Update) []index.Update {
	out := []index.Update{u}
	for i := 0; i < len(out); i++ {
		if out[i].Published == nil {
			continue
		}
		for _, req := range out[i].Published.Requires {
			if w, ok := prerequisite(v, out[i], req); ok && !slices.ContainsFunc(out, func(o index.Update) bool { return o.ID == w.ID }) {
				out = append(out, w)
			}
		}
	}
	return out
}

// prerequisite is the newest release that meets a requirement and was not recalled.
func prerequisite(v *index.View, u index.Update, req catalog.Requirement) (index.Update, bool) {
	for _, ecosystem := range []string{u.Ecosystem, catalog.Generic, string(catalog.Deb), string(catalog.RPM)} {
		for _, w := range v.Releases(catalog.Software{Ecosystem: ecosystem, Namespace: u.Namespace, Name: req.Application}) {
			order, err := pkgver.Compare(ecosystem, w.Version, req.Version)
			if err == nil && order >= 0 && !w.Recalled() {
				return w, true
			}
		}
	}
	return index.Update{}, false
}

// accepts lists the agreements that an act on updates accepts: those that are asked for and not accepted yet.
func accepts(v *index.View, request client.Decide, updates []index.Update) []ledger.Accepted {
	var out []ledger.Accepted
	for _, u := range updates {
		for _, a := range agreements(v, u) {
			if !a.Accepted && slices.Contains(request.AcceptAgreements, a.Digest) && !slices.ContainsFunc(out, func(o ledger.Accepted) bool { return o.Digest == a.Digest }) {
				out = append(out, ledger.Accepted{ID: a.ID, Title: a.Title, Digest: a.Digest})
			}
		}
	}
	return out
}
