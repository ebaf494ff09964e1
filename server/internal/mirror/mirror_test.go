package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"assent/catalog"
	"assent/client"
	"assent/content"
	"assent/fault"
	"assent/feed"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/trust"
	"assent/trust/publish"
	"assent/trust/trusttest"
	"assent/wire"
)

var payload = bytes.Repeat([]byte("payload "), 1000)

func TestAFeedIsVerifiedListedAndServed(t *testing.T) {
	s := newSite(t)
	id := s.AddWith(func() feed.Manifest {
		m := trusttest.Manifest("ledger", "1.0")
		m.Agreements = []catalog.Agreement{trusttest.Agreement("eula", "Be nice.")}
		return m
	}(), [][]byte{[]byte("Be nice.")}, payload)
	s.Publish()
	s.start()
	s.subscribe()
	u, ok := s.shelf.Update(id)
	if !ok || u.Published == nil || u.Published.Feed != "acme" || u.Namespace != "feed.acme" || len(u.Items) != 1 {
		t.Fatalf("the catalog has %+v", u)
	}
	r := s.filled()
	if r.Releases != 1 || r.Files != 2 || r.BytesHere != int64(len(payload)+8) || r.Error != nil || len(r.Alarms)+len(r.Refused)+len(r.Held) != 0 {
		t.Errorf("the status is %+v", r)
	}
	c := s.verify()
	want := c.State().TimestampVersion
	if got := s.m.Followed(); len(got) != 1 || got[0].ID != "acme" || got[0].Root != content.Digest(s.Root()) || got[0].Timestamp != want {
		t.Errorf("plans would say %+v", got)
	}
	if got := s.m.Roots(); len(got) != 1 || !bytes.Equal(got[0].Root, s.Root()) {
		t.Errorf("devices would pin %+v", got)
	}
	b, err := device{s.m, "acme"}.Read(t.Context(), rootFile, trust.MaxRoot)
	if err != nil || !bytes.Equal(b, s.Root()) {
		t.Errorf("the first root is served as %d bytes, %v", len(b), err)
	}
	text, err := s.m.AgreementText(t.Context(), "acme", content.Digest([]byte("Be nice.")))
	if err != nil || string(text) != "Be nice." {
		t.Errorf("the agreement says %q, %v", text, err)
	}
	if _, err := s.m.AgreementText(t.Context(), "acme", content.Digest(payload)); err == nil {
		t.Error("a payload was given out as an agreement's text")
	}
}

func TestNewReleasesAndRecallsArriveWithTheNextLook(t *testing.T) {
	s := newSite(t)
	s.start()
	s.subscribe()
	first := s.m.Followed()[0].Timestamp
	id := s.Add(trusttest.Manifest("ledger", "1.0"), payload)
	s.Publish()
	s.must(s.look())
	puts := s.shelf.puts
	if got := s.shelf.versions("ledger"); !slices.Equal(got, []string{"1.0"}) || s.m.Followed()[0].Timestamp <= first {
		t.Fatalf("the catalog has %v; followed %+v", got, s.m.Followed())
	}
	s.must(s.look())
	if s.shelf.puts != puts {
		t.Error("a look without news wrote into the catalog")
	}
	s.Revoke("ledger", "1.0", "It eats data.")
	s.Add(trusttest.Manifest("ledger", "1.1"), []byte("fixed"))
	s.Publish()
	s.must(s.look())
	u, _ := s.shelf.Update(id)
	if !u.Recalled() || u.Published.Revoked.Reason != "It eats data." || s.row().Recalled != 1 {
		t.Errorf("the recall is not seen: %+v, %+v", u.Published, s.row())
	}
	s.filled()
	s.verify()
}

func TestRotatedRootsAreFollowedAndServedFromTheFirst(t *testing.T) {
	s := newSite(t)
	s.Add(trusttest.Manifest("ledger", "1.0"), payload)
	s.Publish()
	s.start()
	s.subscribe()
	for _, role := range []publish.Role{publish.Root, publish.Targets, publish.Timestamp, publish.Root} {
		s.Rotate(role)
	}
	s.must(s.look())
	s.filled()
	if c := s.verify(); c.State().RootVersion < 5 || s.row().Versions.Root != c.State().RootVersion {
		t.Errorf("a device is at %+v, the server at %+v", c.State(), s.row().Versions)
	}
	s.restart()
	s.verify()
}

// TestTheLastVerifiedStateOutlivesWhateverHappensToTheFeed: rolled back, forged, expired, gone.
func TestTheLastVerifiedStateOutlivesWhateverHappensToTheFeed(t *testing.T) {
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	for _, test := range []struct {
		name  string
		harm  func(*site)
		code  string
		alarm bool
	}{
		{"rolled back", func(s *site) {
			replay := s.Save()
			s.Add(trusttest.Manifest("ledger", "1.1"), []byte("later"))
			s.Publish()
			s.must(s.look())
			replay()
		}, "feed_rolled_back", true},
		{"expired", func(s *site) { s.Advance(10 * 365 * 24 * time.Hour) }, "feed_expired", true},
		{"snapshot swapped", func(s *site) {
			s.Add(trusttest.Manifest("ledger", "1.1"), []byte("later"))
			s.Publish()
			s.handle(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if strings.HasSuffix(r.URL.Path, ".snapshot.json") {
					fmt.Fprint(w, "{}")
					return
				}
				next.ServeHTTP(w, r)
			})
		}, "feed_mismatch", false},
		{"manifest swapped", func(s *site) {
			s.Add(trusttest.Manifest("ledger", "1.1"), []byte("later"))
			s.Publish()
			s.handle(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if strings.HasPrefix(r.URL.Path, "/targets/releases/") {
					fmt.Fprint(w, "{}")
					return
				}
				next.ServeHTTP(w, r)
			})
		}, "feed_mismatch", false},
		{"manifest missing", func(s *site) {
			s.Add(trusttest.Manifest("ledger", "1.1"), []byte("later"))
			s.Publish()
			s.must(os.RemoveAll(filepath.Join(s.Dir, "targets", "releases")))
		}, "feed_unreachable", false},
		{"timestamp garbled", func(s *site) { s.Refresh(); s.Corrupt("metadata/timestamp.json", flip) }, "", true},
		{"a captive portal", func(s *site) {
			s.handle(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { fmt.Fprint(w, "<html>Please log in") })
		}, "feed_malformed", false},
		{"unreachable", func(s *site) { s.Break() }, "feed_unreachable", false},
		{"a redirect elsewhere", func(s *site) {
			s.handle(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if strings.HasPrefix(r.Host, "localhost") { // all would be well there
					next.ServeHTTP(w, r)
					return
				}
				http.Redirect(w, r, strings.Replace(s.address, "127.0.0.1", "localhost", 1)+r.URL.Path, http.StatusFound)
			})
		}, "feed_unreachable", false},
		{"an endless answer", func(s *site) {
			s.handle(func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
				if !strings.HasSuffix(r.URL.Path, "timestamp.json") {
					http.NotFound(w, r)
					return
				}
				for {
					if _, err := w.Write(make([]byte, 32<<10)); err != nil {
						return
					}
				}
			})
		}, "feed_too_large", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t)
			s.Add(trusttest.Manifest("ledger", "1.0"), payload)
			s.Publish()
			s.start()
			s.subscribe()
			s.filled()
			kept := s.kept()
			test.harm(s)
			if test.name == "rolled back" {
				kept = s.kept()
			}
			err := s.look()
			if err == nil {
				t.Fatal("the look went well")
			}
			if test.code != "" {
				s.refused(err, test.code, test.alarm)
			}
			if s.kept() != kept {
				t.Error("the copy changed")
			}
			if got := s.shelf.versions("ledger"); test.name != "rolled back" && !slices.Equal(got, []string{"1.0"}) {
				t.Errorf("the catalog has %v", got)
			}
			s.restart()
			if s.kept() != kept {
				t.Error("the copy changed with a restart")
			}
			if err := s.look(); err == nil {
				t.Error("after a restart the look went well")
			}
		})
	}
}

// kept is what a device is served, in one string.
func (s *site) kept() string {
	e := s.m.follower(s.ID).edition()
	out := []string{fmt.Sprintf("%+v", s.m.Followed())}
	for name, f := range e.files {
		out = append(out, name+" "+content.Digest(f.body)+f.target.SHA256)
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func TestAnUnreachableFeedIsAnAlarmAfterADayAndWellAgainWhenItComesBack(t *testing.T) {
	s := newSite(t)
	s.Expiry(publish.Timestamp, 30*24*time.Hour)
	s.Refresh()
	s.start()
	s.subscribe()
	mend := s.Break()
	s.refused(s.look(), "feed_unreachable", false)
	s.Advance(23 * time.Hour)
	s.restart() // when it was verified last is known across restarts
	s.refused(s.look(), "feed_unreachable", false)
	s.Advance(time.Hour)
	s.refused(s.look(), "feed_unreachable", true)
	if got := s.m.Sentences(); len(got) != 1 || !strings.HasPrefix(got[0], "Feed acme: ") {
		t.Errorf("the status would say %q", got)
	}
	mend()
	s.must(s.look())
	if r := s.row(); r.Error != nil || len(r.Alarms) != 0 || len(s.m.Alarms()) != 0 {
		t.Errorf("after it came back: %+v", r)
	}
}

// TestAFeedThatExpiresWhileItIsAwayIsAnAlarmAtOnce and what was verified is served on.
func TestAFeedThatExpiresWhileItIsAwayIsAnAlarmAtOnce(t *testing.T) {
	s := newSite(t)
	s.Expiry(publish.Timestamp, 2*time.Hour)
	s.Add(trusttest.Manifest("ledger", "1.0"), payload)
	s.Publish()
	s.start()
	s.subscribe()
	s.filled()
	kept := s.kept()
	s.Break()
	s.refused(s.look(), "feed_unreachable", false)
	s.Advance(3 * time.Hour)
	if a := s.m.Alarms(); len(a) != 1 || a[0].Code != "feed_expired" || s.kept() != kept {
		t.Errorf("alarms %+v", a)
	}
}

// TestARedirectOnTheSameHostIsFollowed.
func TestARedirectOnTheSameHostIsFollowed(t *testing.T) {
	s := newSite(t)
	s.Add(trusttest.Manifest("ledger", "1.0"), payload)
	s.Publish()
	s.handle(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if moved, ok := strings.CutPrefix(r.URL.Path, "/moved"); ok {
			r.URL.Path = moved
			next.ServeHTTP(w, r)
			return
		}
		http.Redirect(w, r, "/moved"+r.URL.Path, http.StatusFound)
	})
	s.start()
	s.subscribe()
	s.filled()
	s.verify()
}

func TestARestartServesWhatWasVerifiedBeforeWithoutTheFeed(t *testing.T) {
	s := newSite(t)
	id := s.Add(trusttest.Manifest("ledger", "1.0"), payload)
	s.Publish()
	s.start()
	s.subscribe()
	s.filled()
	before := s.m.Followed()
	s.end()
	s.Break()
	delete(s.shelf.updates, id) // the last run ended before the catalog had it
	s.start()
	if got := s.m.Followed(); !slices.Equal(got, before) {
		t.Errorf("followed %+v, before %+v", got, before)
	}
	s.verify()
	_ = s.look()
	if _, ok := s.shelf.Update(id); !ok || s.row().Releases != 1 {
		t.Error("what was kept is not listed")
	}
}

func TestADamagedCopyIsMadeAnew(t *testing.T) {
	for _, damage := range []string{"{", `{"roots":{}}`, `{"timestamp":"e30=","snapshot":"e30=","targets":"e30="}`, ""} {
		s := newSite(t)
		s.Add(trusttest.Manifest("ledger", "1.0"), payload)
		s.Publish()
		s.start()
		s.subscribe()
		s.end()
		found, err := filepath.Glob(filepath.Join(s.data, "feeds", "*", editionFile))
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
		s.must(os.WriteFile(found[0], []byte(damage), 0o600))
		s.start()
		s.must(s.look())
		s.filled()
		s.verify()
		s.end()
	}
}

// TestN47_AServerThatEndsAtAnyRequestConverges: it ends at the first, second, … request of a look; the copy that it serves
// is the old one or the new one, and the next run finishes the work.
func TestN47_AServerThatEndsAtAnyRequestConverges(t *testing.T) {
	for n := 1; ; n++ {
		s := newSite(t)
		s.Add(trusttest.Manifest("ledger", "1.0"), payload)
		s.Publish()
		s.start()
		s.subscribe()
		s.filled()
		old := s.m.Followed()[0].Timestamp
		s.Add(trusttest.Manifest("ledger", "1.1"), []byte("new"))
		s.Rotate(publish.Root)
		requests, cut := 0, make(chan struct{})
		s.handle(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			s.mu.Lock()
			requests++
			now := requests == n
			s.mu.Unlock()
			if now {
				close(cut)
				<-r.Context().Done() // until the server is gone
				return
			}
			next.ServeHTTP(w, r)
		})
		done := make(chan error, 1)
		go func() { done <- s.look() }()
		over := false
		select {
		case <-cut:
		case err := <-done:
			s.must(err)
			over = s.filledUnless(cut)
		}
		s.end()
		s.handle(nil)
		mend := s.Break()
		s.start()
		if got := s.m.Followed(); len(got) != 1 || got[0].Timestamp < old {
			t.Fatalf("ended at request %d: followed %+v, before %d", n, got, old)
		}
		s.metadata()
		mend()
		s.must(s.look())
		s.filled()
		if got := s.shelf.versions("ledger"); len(got) != 2 || s.verify().State().RootVersion != 2 {
			t.Errorf("ended at request %d: the catalog has %v", n, got)
		}
		s.end()
		if over {
			if n < 6 {
				t.Fatalf("a look has only %d requests: the test looks at nothing", n)
			}
			return
		}
	}
}

func TestACatalogThatCannotTakeReleasesKeepsTheEditionBack(t *testing.T) {
	s := newSite(t)
	s.start()
	s.subscribe()
	before := s.m.Followed()
	s.Add(trusttest.Manifest("ledger", "1.0"), payload)
	s.Publish()
	s.shelf.fail = errors.New("the database is full")
	if err := s.look(); err == nil || !slices.Equal(s.m.Followed(), before) {
		t.Errorf("%v; followed %+v", err, s.m.Followed())
	}
	s.shelf.fail = nil
	s.must(s.look())
	if len(s.shelf.versions("ledger")) != 1 {
		t.Error("the release did not come after all")
	}
}

// TestTwoReleasesWithOneVersionAndOtherContent_TheFirstStands whoever signs the second one.
func TestTwoReleasesWithOneVersionAndOtherContent_TheFirstStands(t *testing.T) {
	s := newSite(t)
	id := s.Add(trusttest.Manifest("ledger", "1.0"), payload)
	s.Publish()
	s.start()
	s.shelf.updates[id] = func() catalog.Update { // what was seen first had another content
		u := catalog.Update{ID: id, Class: catalog.Managed, Published: &catalog.Publication{Feed: "acme"}}
		u.Name, u.Version = "ledger", "1.0"
		u.Items = []catalog.Bound{{Item: catalog.Item{Name: "ledger", SHA256: strings.Repeat("a", 64)}, Role: catalog.Own, Rev: 1}}
		return u
	}()
	s.subscribe()
	u, _ := s.shelf.Update(id)
	if len(u.Items) != 1 || u.Items[0].SHA256 != strings.Repeat("a", 64) {
		t.Errorf("the first content is gone: %+v", u.Items)
	}
	r := s.row()
	if len(r.Refused) != 1 || r.Refused[0].Code != "release_changed" || !strings.Contains(r.Refused[0].Message, "two releases with one version and other content") || len(r.Alarms) != 1 {
		t.Errorf("the status is %+v", r)
	}
	s.Revoke("ledger", "1.0", "Both of them.")
	s.Publish()
	s.must(s.look())
	if u, _ := s.shelf.Update(id); !u.Recalled() || u.Items[0].SHA256 != strings.Repeat("a", 64) {
		t.Errorf("a recall must count for the first one: %+v", u)
	}
}

func TestASubscriptionIsRefusedWhenTheFeedDoesNotVerify(t *testing.T) {
	s := newSite(t)
	s.Add(trusttest.Manifest("ledger", "1.0"), payload)
	s.Publish()
	other := trusttest.NewFeed(t, "other")
	s.start()
	good := client.FeedRequest{Name: "acme", URL: s.address, Root: s.Root()}
	with := func(change func(*client.FeedRequest)) client.FeedRequest { r := good; change(&r); return r }
	for code, r := range map[string]client.FeedRequest{
		"feed_name":         with(func(r *client.FeedRequest) { r.Name = "../acme" }),
		"feed_name_other":   with(func(r *client.FeedRequest) { r.Name = "ac-me" }),
		"feed_address":      with(func(r *client.FeedRequest) { r.URL = "gopher://feed" }),
		"feed_unreachable":  with(func(r *client.FeedRequest) { r.URL = "http://127.0.0.1:1/" }),
		"feed_root_missing": with(func(r *client.FeedRequest) { r.Root = nil }),
		"feed_root_large":   with(func(r *client.FeedRequest) { r.Root = make([]byte, trust.MaxRoot+1) }),
		"feed_malformed":    with(func(r *client.FeedRequest) { r.Root = []byte("{}") }),
		"feed_root_foreign": with(func(r *client.FeedRequest) { r.Root = other.Root() }),
		"feed_root_digest":  with(func(r *client.FeedRequest) { r.Root, r.RootSHA256 = nil, "abc" }),
		"feed_root_other":   with(func(r *client.FeedRequest) { r.Root, r.RootSHA256 = nil, strings.Repeat("0", 64) }),
	} {
		_, err := s.m.Subscribe(t.Context(), admin, r)
		if f := fault.From(err); f == nil || f.Code != code || f.Field == "" || f.Kind == fault.Internal {
			t.Errorf("%s: got %+v", code, err)
		}
	}
	if len(s.book.Feeds()) != 0 {
		t.Fatal("something is subscribed")
	}
	s.Advance(10 * 365 * 24 * time.Hour)
	if _, err := s.m.Subscribe(t.Context(), admin, good); !errors.Is(err, trust.ErrExpired) && fault.From(err).Code != "feed_expired" {
		t.Errorf("an expired feed: %v", err)
	}
}

func TestASubscriptionByDigestFetchesTheRootAndByFolderNeedsNoServer(t *testing.T) {
	s := newSite(t)
	s.Add(trusttest.Manifest("ledger", "1.0"), payload)
	s.Rotate(publish.Root)
	s.start()
	act, err := s.m.Subscribe(t.Context(), admin, client.FeedRequest{Name: "acme", URL: s.address, RootSHA256: content.Digest(s.Root())})
	s.must(err)
	if act.Act.Act == 0 || act.Feed.RootSHA256 != content.Digest(s.Root()) {
		t.Errorf("got %+v", act)
	}
	s.must(s.look())
	if _, err := s.m.Subscribe(t.Context(), admin, client.FeedRequest{Name: "acme", URL: s.address, Root: s.Root()}); fault.From(err) == nil || fault.From(err).Code != "feed_subscribed" {
		t.Errorf("again: %v", err)
	}
	_, err = s.m.Subscribe(t.Context(), admin, client.FeedRequest{Name: "acme", URL: "file://" + s.Dir, Root: s.Root()})
	s.must(err)
	s.must(s.look())
	s.filled()
	if r := s.row(); r.URL != "file://"+s.Dir || r.Releases != 1 {
		t.Errorf("from the folder: %+v", r)
	}
	s.verify()
}

func TestOnlyAdministratorsOfTheWholeTouchFeeds(t *testing.T) {
	s := newSite(t)
	s.start()
	s.subscribe()
	for _, who := range []auth.Actor{{}, {Name: "v", Role: ledger.Viewer, Scope: fleet.Root}, {Name: "a", Role: ledger.Approver, Scope: fleet.Root}, {Name: "d", Role: ledger.Administrator, Scope: "g-one"}} {
		ctx := t.Context()
		_, list := s.m.Feeds(ctx, who)
		_, show := s.m.Feed(ctx, who, "acme")
		_, subscribe := s.m.Subscribe(ctx, who, client.FeedRequest{Name: "x", URL: s.address, Root: s.Root()})
		_, unsubscribe := s.m.Unsubscribe(ctx, who, "acme")
		_, refresh := s.m.Refresh(ctx, who, "acme", client.FeedRefresh{})
		for what, err := range map[string]error{"list": list, "show": show, "subscribe": subscribe, "unsubscribe": unsubscribe, "refresh": refresh} {
			if !errors.Is(err, fault.Forbidden) {
				t.Errorf("%s as %+v: %v", what, who, err)
			}
		}
	}
}

func TestAnUnsubscribedFeedIsGoneAndItsReleasesStay(t *testing.T) {
	s := newSite(t)
	s.Add(trusttest.Manifest("ledger", "1.0"), payload)
	s.Publish()
	told := make(chan int, 100)
	s.start(func(c *Config) { c.Changed = func(f []wire.PlanFeed) { told <- len(f) } })
	s.subscribe()
	s.filled()
	if !s.m.Keeps(content.Digest(payload)) || s.m.Keeps(content.Digest([]byte("other"))) {
		t.Error("a sweep would take the payload, or leave anything")
	}
	for len(told) > 0 {
		<-told
	}
	_, err := s.m.Unsubscribe(t.Context(), admin, "acme")
	s.must(err)
	if n := <-told; n != 0 {
		t.Errorf("%d feeds are followed", n)
	}
	if s.m.Keeps(content.Digest(payload)) || len(s.m.Roots()) != 0 || len(s.shelf.versions("ledger")) != 1 {
		t.Error("not all is as it should be")
	}
	if _, _, err := s.m.File(t.Context(), "acme", "metadata/timestamp.json"); !errors.Is(err, fault.NotFound) {
		t.Errorf("a device is served: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(s.data, "feeds")); err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	if _, err := s.m.Unsubscribe(t.Context(), admin, "acme"); !errors.Is(err, fault.NotFound) {
		t.Errorf("again: %v", err)
	}
	s.subscribe() // and it may come back
	s.verify()
}

func TestF11_OnlyFilesOfTheVerifiedLayoutAreServed(t *testing.T) {
	s := newSite(t)
	s.Add(trusttest.Manifest("ledger", "1.0"), payload)
	s.Publish()
	s.start()
	s.subscribe()
	s.must(os.WriteFile(filepath.Join(s.Dir, "secret"), []byte("secret"), 0o600))
	for _, path := range []string{"", ".", "secret", "../feeds", "metadata", "metadata/2.root.json", "metadata/../root.json", "targets", "metadata/root.json", "edition.json",
		"targets/payloads/" + content.Digest(payload), "/root.json", "targets/payloads/" + strings.Repeat("0", 64) + "." + strings.Repeat("0", 64)} {
		if _, _, err := s.m.File(t.Context(), "acme", path); !errors.Is(err, fault.NotFound) {
			t.Errorf("%q: %v", path, err)
		}
	}
	for _, name := range []string{"", "ACME", "../acme", "other"} {
		if _, _, err := s.m.File(t.Context(), name, rootFile); !errors.Is(err, fault.NotFound) {
			t.Errorf("feed %q: %v", name, err)
		}
	}
}

func TestADeviceInTheMiddleOfAnEditionMayFinishIt(t *testing.T) {
	s := newSite(t)
	s.Add(trusttest.Manifest("ledger", "1.0"), payload)
	s.Publish()
	s.start()
	s.subscribe()
	snapshot := fmt.Sprintf("metadata/%d.snapshot.json", s.row().Versions.Snapshot)
	s.Add(trusttest.Manifest("ledger", "1.1"), []byte("new"))
	s.Publish()
	s.must(s.look())
	if _, _, err := s.m.File(context.Background(), "acme", snapshot); err != nil {
		t.Errorf("the snapshot of a moment ago: %v", err)
	}
	s.verify()
}
