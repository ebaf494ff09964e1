package mirror

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"assent/catalog"
	"assent/client"
	"assent/content"
	"assent/fault"
	"assent/feed"
	"assent/trust"
)

// draft is an edition in the making, without signatures: the lister sees only what was verified.
type draft struct {
	t    *testing.T
	docs map[string][]byte
	lister
}

var listTime = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func newDraft(t *testing.T) *draft {
	d := &draft{t: t, docs: map[string][]byte{}, lister: lister{feed: "acme", now: listTime, targets: map[string]trust.Target{}}}
	d.known = func(catalog.UpdateID) (catalog.Update, bool) { return catalog.Update{}, false }
	return d
}

func manifest(version string) feed.Manifest {
	return feed.Manifest{Format: feed.ManifestFormat, Application: "ledger", Version: version, Class: catalog.Managed, Kind: catalog.Full, Payload: catalog.Tar,
		Restart: catalog.RestartNone, Items: []feed.Item{{Name: "ledger", Arch: "all", Version: version, Size: 5, SHA256: content.Digest([]byte("bytes"))}}}
}

// add puts a manifest where it belongs, with its payloads.
func (d *draft) add(m feed.Manifest) catalog.UpdateID {
	d.t.Helper()
	b, err := json.Marshal(m)
	if err != nil {
		d.t.Fatal(err)
	}
	r, err := feed.Parse("acme", b)
	if err != nil {
		d.t.Fatal(err)
	}
	d.docs[feed.ReleaseTarget(r.Release.ID())] = b
	for _, it := range m.Items {
		d.targets[feed.PayloadTarget(it.SHA256)] = trust.Target{Size: it.Size, SHA256: it.SHA256}
	}
	return r.Release.ID()
}

func codes(list []client.FeedProblem) []string {
	var out []string
	for _, p := range list {
		out = append(out, p.Code)
	}
	slices.Sort(out)
	return out
}

// TestUnknownAlwaysHolds: each is listed, with what cannot be read.
func TestUnknownAlwaysHolds(t *testing.T) {
	for what, change := range map[string]func(*feed.Manifest){
		"payload format":         func(m *feed.Manifest) { m.Payload = "exe" },
		"manifest format":        func(m *feed.Manifest) { m.Format = 99 },
		"class":                  func(m *feed.Manifest) { m.Class = "firmware" },
		"minimum server version": func(m *feed.Manifest) { m.MinServer = "soon" },
		"platform":               func(m *feed.Manifest) { m.Items[0].Platform.OS = "plan9" },
		"which the feed does not have": func(m *feed.Manifest) {
			m.Agreements = []catalog.Agreement{{ID: "eula", Texts: []catalog.AgreementText{{Language: "en", SHA256: strings.Repeat("a", 64), Size: 1}}}}
		},
	} {
		d := newDraft(t)
		m := manifest("1.0")
		change(&m)
		if what == "platform" {
			m.Items[0].Arch = m.Items[0].Platform.String()
		}
		d.add(m)
		got := d.list(d.docs)
		if got.releases != 1 || len(got.updates) != 1 || len(got.held) != 1 || !strings.Contains(got.held[0].Message, what) || len(got.updates[0].Published.Unknown) == 0 {
			t.Errorf("%s: %+v", what, got)
		}
	}
}

func TestAPayloadThatTheFeedDidNotSignHolds(t *testing.T) {
	for what, change := range map[string]func(map[string]trust.Target, string){
		"missing":    func(m map[string]trust.Target, name string) { delete(m, name) },
		"other size": func(m map[string]trust.Target, name string) { x := m[name]; x.Size++; m[name] = x },
		"other file": func(m map[string]trust.Target, name string) {
			x := m[name]
			x.SHA256 = strings.Repeat("b", 64)
			m[name] = x
		},
	} {
		d := newDraft(t)
		d.add(manifest("1.0"))
		change(d.targets, feed.PayloadTarget(content.Digest([]byte("bytes"))))
		if got := d.list(d.docs); len(got.held) != 1 || len(got.updates) != 1 {
			t.Errorf("%s: %+v", what, got)
		}
	}
}

func TestDocumentsThatCannotBeReadCountForNothing(t *testing.T) {
	d := newDraft(t)
	good := d.add(manifest("1.0"))
	d.docs["releases/uaaaaaaaaaaaa.json"] = d.docs[feed.ReleaseTarget(good)]
	d.docs["releases/ubbbbbbbbbbbb.json"] = nil // too large to be fetched
	d.docs["releases/../escape.json"] = []byte("{}")
	d.docs["releases/ucccccccccccc.json"] = []byte(`{"manifest":1,"application":"../../etc"}`)
	d.docs["revoked/udddddddddddd.json"] = []byte(`{"application":"other","version":"1"}`)
	got := d.list(d.docs)
	if got.releases != 1 || len(got.updates) != 1 {
		t.Errorf("listed %+v", got)
	}
	if c := codes(got.refused); !slices.Equal(c, []string{"manifest_malformed", "manifest_malformed", "manifest_malformed", "manifest_name", "recall_unknown"}) {
		t.Errorf("refused %v", c)
	}
}

// TestA8_ARecallThatCannotBeReadRecalls: halting is always easier than going on.
func TestA8_ARecallThatCannotBeReadRecalls(t *testing.T) {
	for _, body := range []string{"", "{", `{"application":"other\u0000"}`} {
		d := newDraft(t)
		id := d.add(manifest("1.0"))
		d.docs[feed.RevocationTarget(id)] = []byte(body)
		got := d.list(d.docs)
		if len(got.updates) != 1 || !got.updates[0].Recalled() || got.recalled != 1 || !slices.Equal(codes(got.refused), []string{"recall_malformed"}) {
			t.Fatalf("%q: %+v", body, got)
		}
		known := got.updates[0]
		again := newDraft(t)
		again.docs, again.targets, again.now = d.docs, d.targets, listTime.Add(time.Hour)
		again.known = func(catalog.UpdateID) (catalog.Update, bool) { return known, true }
		if got := again.list(again.docs); len(got.updates) != 0 {
			t.Errorf("%q: the next look finds it changed: %+v", body, got.updates)
		}
	}
}

// TestA8_ARecallOfAReleaseThatIsNotOfferedAnyMoreCounts if it ever was this feed's.
func TestA8_ARecallOfAReleaseThatIsNotOfferedAnyMoreCounts(t *testing.T) {
	d := newDraft(t)
	id := d.add(manifest("1.0"))
	old := d.list(d.docs).updates[0]
	recall, err := json.Marshal(feed.Revoked{Application: "ledger", Version: "1.0", At: listTime, Reason: "r"})
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range []string{"acme", "other"} {
		later := newDraft(t)
		was := old
		published := *old.Published
		published.Feed, was.Published = of, &published
		later.known = func(x catalog.UpdateID) (catalog.Update, bool) { return was, x == id }
		later.docs[feed.RevocationTarget(id)] = recall
		got := later.list(later.docs)
		if of == "acme" && (len(got.updates) != 1 || !got.updates[0].Recalled() || got.updates[0].Published.Revoked.Reason != "r") || of == "other" && len(got.updates) != 0 {
			t.Errorf("of feed %s: %+v", of, got)
		}
		if was.Recalled() {
			t.Error("what the catalog holds was changed in place")
		}
	}
}

func TestWhatTheCatalogHasAlreadyIsNotPutAgain(t *testing.T) {
	d := newDraft(t)
	d.add(manifest("1.0"))
	u := d.list(d.docs).updates[0]
	u.FirstSeen = listTime.Add(-time.Hour)
	u.Items = append(slices.Clone(u.Items), catalog.Bound{Item: catalog.Item{Name: "libx"}, Role: catalog.Dependency, Rev: 2})
	again := newDraft(t)
	again.docs, again.targets = d.docs, d.targets
	again.known = func(catalog.UpdateID) (catalog.Update, bool) { return u, true }
	if got := again.list(again.docs); len(got.updates) != 0 || got.releases != 1 {
		t.Errorf("put again: %+v", got.updates)
	}
}

func TestAFeedWithTooManyReleasesIsRefusedWhole(t *testing.T) {
	targets := map[string]trust.Target{}
	for i := range 2*feed.MaxReleases + 1 {
		name := feed.ReleaseTarget(catalog.UpdateID(time.Duration(i).String()))
		targets[name] = trust.Target{Path: name}
	}
	if _, err := documents(targets); !errors.Is(err, fault.TooLarge) {
		t.Errorf("got %v", err)
	}
}
