package mirror

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"assent/catalog"
	"assent/client"
	"assent/fault"
	"assent/feed"
	"assent/trust"
)

// listing is what an edition says of releases.
type listing struct {
	updates  []catalog.Update // for the catalog, where they differ from what it has
	releases int
	held     []client.FeedProblem // with something that this build cannot read
	refused  []client.FeedProblem // documents that count for nothing, and second contents of one version
	recalled int
}

var (
	errMany     = fault.New(fault.TooLarge, "feed_releases", "A feed may have %d releases at most.", feed.MaxReleases)
	errOther    = fault.New(fault.Conflict, "release_changed", "There are two releases with one version and other content. The first one counts.")
	errName     = fault.New(fault.Invalid, "manifest_name", "The manifest does not lie where a release of this name and version of this feed does.")
	errNoRecall = fault.New(fault.Invalid, "recall_unknown", "It recalls a release that the feed does not have.")
	errRecall   = fault.New(fault.Invalid, "recall_malformed", "The recall cannot be read. The release counts as recalled.")
)

// isDocument reports whether a target is a manifest or a recall.
func isDocument(name string) bool {
	return strings.HasPrefix(name, feed.ReleasePrefix) || strings.HasPrefix(name, feed.RevocationPrefix)
}

// isFile reports whether a target is a payload or a text, which are fetched ahead of need. What else a feed has is no
// business of this server's; a device that asks for it gets it.
func isFile(t trust.Target) bool {
	return strings.HasPrefix(t.Path, feed.PayloadPrefix) && t.Size <= feed.MaxPayload || strings.HasPrefix(t.Path, feed.AgreementPrefix) && t.Size <= feed.MaxAgreement
}

// documents lists the targets that say what the feed publishes. It refuses a feed with too many.
func documents(targets map[string]trust.Target) ([]trust.Target, error) {
	var out []trust.Target
	for _, name := range slices.Sorted(maps.Keys(targets)) {
		if isDocument(name) {
			out = append(out, targets[name])
		}
	}
	if len(out) > 2*feed.MaxReleases {
		return nil, errMany
	}
	return out, nil
}

// lister makes a listing. It is pure: documents come in as bytes and the catalog as a function.
type lister struct {
	feed    string
	now     time.Time
	targets map[string]trust.Target
	known   func(catalog.UpdateID) (catalog.Update, bool)

	out     listing
	recalls map[catalog.UpdateID]*catalog.Revocation
	listed  map[catalog.UpdateID]bool
}

// list reads the documents of an edition; those that are larger than they may be are nil.
func (l *lister) list(docs map[string][]byte) listing {
	l.recalls, l.listed = map[catalog.UpdateID]*catalog.Revocation{}, map[catalog.UpdateID]bool{}
	names := slices.Sorted(maps.Keys(docs))
	var revoked []feed.Revoked
	var of []string
	for _, name := range names {
		if strings.HasPrefix(name, feed.RevocationPrefix) {
			revoked, of = append(revoked, l.recall(name, docs[name])), append(of, name)
		}
	}
	for _, name := range names {
		if strings.HasPrefix(name, feed.ReleasePrefix) {
			if err := l.release(name, docs[name]); err != nil {
				l.refuse(name, err)
			}
		}
	}
	for i, r := range revoked {
		l.leftover(of[i], r)
	}
	return l.out
}

func (l *lister) refuse(name string, err error) {
	f := fault.From(err)
	l.out.refused = append(l.out.refused, client.FeedProblem{Target: name, Code: f.Code, Message: f.Message})
}

// recall notes a recall under the name of its release. One that cannot be read still recalls: halting is always easier
// than going on.
func (l *lister) recall(name string, b []byte) feed.Revoked {
	id := idOf(name, feed.RevocationPrefix)
	r, err := feed.ParseRevoked(b)
	if err != nil {
		l.refuse(name, errRecall.Because(err))
		l.recalls[id] = &catalog.Revocation{At: l.now, Reason: "The publisher recalls it; the recall itself cannot be read."}
		if old, ok := l.known(id); ok && old.Recalled() {
			l.recalls[id] = old.Published.Revoked
		}
		return r
	}
	l.recalls[id] = &catalog.Revocation{At: r.At, Reason: r.Reason}
	return r
}

func idOf(name, prefix string) catalog.UpdateID {
	return catalog.UpdateID(strings.TrimSuffix(strings.TrimPrefix(name, prefix), ".json"))
}

// release takes one manifest.
func (l *lister) release(name string, b []byte) error {
	r, err := feed.Parse(l.feed, b)
	if err != nil {
		return err
	}
	id := r.Release.ID()
	if name != feed.ReleaseTarget(id) {
		return errName
	}
	r.Revoked = l.recalls[id]
	r.Unknown = append(r.Unknown, l.absent(r)...)
	u := r.Update(l.feed, l.now)
	l.listed[id] = true
	l.count(name, u)
	old, seen := l.known(id)
	if seen && old.Published != nil && !sameItems(old, u) {
		l.put(withRecall(old, r.Revoked), old)
		return errOther
	}
	l.put(u, old)
	return nil
}

// count counts a release that is listed.
func (l *lister) count(name string, u catalog.Update) {
	l.out.releases++
	if u.Recalled() {
		l.out.recalled++
	}
	if unknown := u.Published.Unknown; len(unknown) > 0 {
		l.out.held = append(l.out.held, client.FeedProblem{Target: name, Code: "release_unknown",
			Message: fmt.Sprintf("%s %s holds: it has what this server does not know: %s.", u.Name, u.Version, strings.Join(unknown, "; "))})
	}
}

// absent names what the release needs and the feed did not sign.
func (l *lister) absent(r feed.Release) []string {
	var out []string
	signed := func(name string, size int64) bool { t, ok := l.targets[name]; return ok && t.Size == size }
	for _, it := range r.Manifest.Items {
		if t := feed.PayloadTarget(it.SHA256); !signed(t, it.Size) || l.targets[t].SHA256 != it.SHA256 {
			out = append(out, fmt.Sprintf("payload of %s, which the feed does not have", it.Name))
		}
	}
	for _, a := range r.Manifest.Agreements {
		for _, text := range a.Texts {
			if t := feed.AgreementTarget(text.SHA256); !signed(t, text.Size) || l.targets[t].SHA256 != text.SHA256 {
				out = append(out, fmt.Sprintf("text of the agreement %s (%s), which the feed does not have", a.ID, text.Language))
			}
		}
	}
	return out
}

// leftover takes a recall whose release the feed does not list (any more): if it ever did, it is recalled.
func (l *lister) leftover(name string, r feed.Revoked) {
	id := idOf(name, feed.RevocationPrefix)
	if l.listed[id] {
		return
	}
	old, ok := l.known(id)
	if !ok || old.Published == nil || old.Published.Feed != l.feed || r.Application != "" && (r.Application != old.Name || r.Version != old.Version) {
		l.refuse(name, errNoRecall)
		return
	}
	l.out.recalled++
	l.put(withRecall(old, l.recalls[id]), old)
}

// withRecall is a release as the catalog has it, recalled or not.
func withRecall(old catalog.Update, r *catalog.Revocation) catalog.Update {
	published := *old.Published
	published.Revoked = r
	old.Published = &published
	old.Items = own(old)
	return old
}

// put takes an update unless the catalog says the same.
func (l *lister) put(u, old catalog.Update) {
	if a, b := essence(u), essence(old); !bytes.Equal(a, b) {
		l.out.updates = append(l.out.updates, u)
	}
}

// essence is what a feed says of an update, as bytes.
func essence(u catalog.Update) []byte {
	u.FirstSeen, u.Items = time.Time{}, own(u)
	b, err := json.Marshal(u)
	if err != nil {
		return nil // times that JSON cannot say differ from everything
	}
	return b
}

// own are the items that the feed publishes of an update.
func own(u catalog.Update) []catalog.Bound {
	return slices.DeleteFunc(slices.Clone(u.Items), func(b catalog.Bound) bool { return b.Role != catalog.Own })
}

// sameItems reports whether two releases have the same content.
func sameItems(a, b catalog.Update) bool {
	return slices.Equal(contents(a), contents(b))
}

func contents(u catalog.Update) []string {
	var out []string
	for _, it := range own(u) {
		out = append(out, fmt.Sprintf("%s %d %s %s", it.Item.Key(), it.Size, it.SHA256, it.Format))
	}
	slices.Sort(out)
	return out
}

// rightName refuses a feed whose releases are all made for another name: what a release is called depends on its feed's
// name, so a subscription must use the publisher's.
func rightName(id string, docs map[string][]byte) error {
	releases, foreign := 0, 0
	for name, b := range docs {
		if !strings.HasPrefix(name, feed.ReleasePrefix) {
			continue
		}
		releases++
		if r, err := feed.Parse(id, b); err == nil && name != feed.ReleaseTarget(r.Release.ID()) {
			foreign++
		}
	}
	if foreign == 0 || foreign < releases {
		return nil
	}
	return fault.New(fault.Invalid, "feed_name_other", "The feed's publisher gave it another name than %q: its releases are made for that one. Subscribe under the publisher's name.", id).
		On("name").Because(errors.New("no release lies where one of this name would"))
}
