package agent

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"assent/agent/internal/feeds"
	"assent/agent/internal/identity"
	"assent/agent/internal/pkgmgr/multi"
	"assent/agent/internal/statedir"
	"assent/agent/internal/uplink"
	"assent/installation"
	"assent/wire"
)

// simFeeds are feeds that answer at once, or never.
type simFeeds struct {
	mu      sync.Mutex
	told    [][]wire.PlanFeed
	news    bool // the next look finds something
	err     error
	hang    bool
	health  []wire.OriginHealth
	refresh int
	found   func() // called when a look finds something
}

func (f *simFeeds) Follow(ctx context.Context, feeds []wire.PlanFeed) (bool, error) {
	f.mu.Lock()
	f.told = append(f.told, feeds)
	hang, news, err, found := f.hang, f.news, f.err, f.found
	f.mu.Unlock()
	if hang {
		<-ctx.Done()
		return false, ctx.Err()
	}
	if news && found != nil {
		found()
	}
	return news, err
}

func (f *simFeeds) Health() []wire.OriginHealth {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.health
}

func (f *simFeeds) Following() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.told) > 0 && len(f.told[len(f.told)-1]) > 0
}

func (f *simFeeds) Refresh(context.Context) []wire.OriginHealth {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refresh++
	return f.health
}

func (f *simFeeds) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *simFeeds) times() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.told)
}

// withFeeds gives a bench feeds and a manager of what they publish.
func (b *bench) withFeeds(t *testing.T, f *simFeeds) (side *simManager) {
	side = b.withSide(t, nil)
	b.opt.Manager = multi.New(b.m, side, f)
	b.opt.Feeds = f
	return side
}

func acme(timestamp int64) []wire.PlanFeed {
	return []wire.PlanFeed{{ID: "acme", Root: "r", Timestamp: timestamp}}
}

func TestFeedsOfThePlanAreFollowedOnceAndTheirNewsAreOffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		f := &simFeeds{}
		side := b.withFeeds(t, f)
		side.installed(treeFile("app", "1"))
		b.s.set(wire.Plan{Feeds: acme(1)})
		b.start(t)
		b.pass(time.Minute)
		if f.times() != 1 || len(f.told[0]) != 1 || f.told[0][0].ID != "acme" {
			t.Fatalf("told %v", f.told)
		}
		b.pass(time.Hour)
		if f.times() != 1 {
			t.Errorf("told %d times of the same", f.times())
		}
		f.set(func() {
			f.news = true
			f.found = func() { side.change(func(w *simWorld) { w.Pool = []simFile{treeFile("app", "2")} }) }
		})
		f.set(func() { f.health = []wire.OriginHealth{{Origin: "feed:acme", Problem: "expired"}} })
		b.s.set(wire.Plan{Feeds: acme(2)})
		b.pass(10 * time.Second) // at once, not with the next scan
		var facts wire.Facts
		if err := json.Unmarshal(b.s.document(wire.KindFacts), &facts); err != nil || len(facts.Origins) != 1 || facts.Origins[0].Problem != "expired" {
			t.Errorf("how the feed is was not told: %+v, %v", facts.Origins, err)
		}
		var av wire.Available
		if err := json.Unmarshal(b.s.document(wire.KindAvailable), &av); err != nil {
			t.Fatal(err)
		}
		if len(av.Updates) != 1 || av.Updates[0].Name != "app" || av.Updates[0].Ecosystem != "generic" || av.Agent != "test" {
			t.Errorf("available %+v", av)
		}
		b.s.set(wire.Plan{})
		b.pass(time.Minute)
		if last := f.told[len(f.told)-1]; len(last) != 0 {
			t.Errorf("feeds that the plan does not name any more are followed: %v", last)
		}
		if err := json.Unmarshal(b.s.document(wire.KindAvailable), &av); err != nil || f.Following() {
			t.Errorf("following %v, %v", f.Following(), err)
		}
	})
}

func TestAFeedThatCannotBeFollowedIsSaidAndTriedAgainAndKeepsNothingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deb := file("deb", "2")
		b := newBench(t, []simFile{deb}, "deb")
		f := &simFeeds{err: errors.New("the server has no root with that digest")}
		b.withFeeds(t, f)
		p := installs(deb)
		p.Feeds = acme(1)
		b.s.set(p)
		b.start(t)
		b.pass(2 * time.Minute)
		if b.state(deb.install()) != installation.Installed {
			t.Errorf("the package is %s", b.state(deb.install()))
		}
		if e := b.progress().Error; !strings.Contains(e, "no root with that digest") {
			t.Errorf("error %q", e)
		}
		b.pass(12 * time.Hour)
		if n := f.times(); n < 4 || n > 20 {
			t.Errorf("tried %d times in half a day", n)
		}
		f.set(func() { f.err = nil })
		b.pass(6 * time.Hour)
		if e := b.progress().Error; e != "" {
			t.Errorf("error %q", e)
		}
	})
}

func TestF18_AFeedThatHangsIsEndedAndGivesWayToWhatWasApproved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deb := file("deb", "2")
		b := newBench(t, []simFile{deb}, "deb")
		f := &simFeeds{hang: true}
		b.withFeeds(t, f)
		b.s.set(wire.Plan{Feeds: acme(1)})
		b.start(t)
		b.pass(10 * time.Second)
		if b.progress().Doing != "looking at 1 feeds" {
			t.Fatalf("doing %q", b.progress().Doing)
		}
		p := installs(deb)
		p.Feeds = acme(1)
		b.s.set(p)
		b.pass(3 * time.Second)
		if b.state(deb.install()) != installation.Installed {
			t.Errorf("while the feed hangs the package is %s", b.state(deb.install()))
		}
		b.pass(3 * time.Minute)
		if d := b.progress().Doing; d != "" || f.times() < 2 {
			t.Errorf("doing %q after %d looks", d, f.times())
		}
	})
}

func TestHealthOfFeedsIsAmongTheFactsOfTheDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.withFeeds(t, &simFeeds{health: []wire.OriginHealth{{Site: "acme", Origin: "feed:acme", Label: "fine"}, {Site: "beta", Origin: "feed:beta", Problem: "expired"}}})
		b.s.set(wire.Plan{Feeds: acme(1)})
		b.start(t)
		b.pass(time.Minute)
		var facts wire.Facts
		if err := json.Unmarshal(b.s.document(wire.KindFacts), &facts); err != nil {
			t.Fatal(err)
		}
		if len(facts.Origins) != 2 || facts.Origins[0].Origin != "feed:acme" || facts.Origins[1].Problem != "expired" {
			t.Errorf("origins %+v", facts.Origins)
		}
	})
}

func TestARefusedFeedIsAnEventAndToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.start(t)
		b.pass(time.Second)
		for range 3 {
			b.a.noteFeed(feeds.Event{Kind: feeds.EventRootRefused, Feed: "acme", Detail: "another root"})
		}
		b.pass(time.Minute)
		if n := strings.Count(b.s.story(), "feed_root_refused another root"); n != 1 {
			t.Errorf("told %d times:\n%s", n, b.s.story())
		}
	})
}

func TestEnrolmentPinsTheRootsOfFeedsBeforeTheDeviceCountsAsEnrolled(t *testing.T) {
	s := newServer(t)
	s.feeds = []wire.FeedRoot{{ID: "acme", Root: []byte("{}")}}
	dir, err := statedir.Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	opt := Enrolment{Dir: dir, Server: s.listen(t), Token: s.token.String(), Root: t.TempDir(), Now: time.Now}
	boom := errors.New("no space left on device")
	opt.Pin = func([]wire.FeedRoot) error { return boom }
	if _, fresh, err := Enrol(t.Context(), opt); fresh || !errors.Is(err, boom) {
		t.Fatalf("enrolled without its feeds: %v", err)
	}
	var pinned []wire.FeedRoot
	opt.Pin = func(roots []wire.FeedRoot) error { pinned = roots; return nil }
	if err := opt.Dir.Root().MkdirAll(feedsDir+"/old", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, fresh, err := Enrol(t.Context(), opt); !fresh || err != nil || len(pinned) != 1 || string(pinned[0].Root) != "{}" {
		t.Errorf("pinned %v, %v", pinned, err)
	}
	if _, err := opt.Dir.Root().Stat(feedsDir + "/old"); err == nil {
		t.Error("a root that an earlier server named is pinned still")
	}
}

// TestAgentWorksWithAnOlderServer has a plan as a server wrote it before there were feeds.
func TestAgentWorksWithAnOlderServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		f := &simFeeds{}
		b.withFeeds(t, f)
		in, err := json.Marshal(map[string]any{"format": 1, "guard": "block_declined", "install": []any{map[string]any{"update": app.release().ID(),
			"release": map[string]any{"ecosystem": "deb", "namespace": "acme", "name": "app", "version": "2"},
			"items":   []any{map[string]any{"name": "app", "arch": "amd64", "version": "2", "size": 1000, "sha256": app.SHA256}}}}})
		if err != nil {
			t.Fatal(err)
		}
		b.s.setRaw(t, in)
		b.start(t)
		b.pass(time.Minute)
		if b.state(app.install()) != installation.Installed {
			t.Errorf("it is %s\n%s", b.state(app.install()), b.s.story())
		}
	})
}

// TestAgentWorksWithANewerServer has answers and plans with fields that this agent does not know.
func TestAgentWorksWithANewerServer(t *testing.T) {
	app := file("app", "2")
	w := deviceWith("1", "app")
	w.Pool = []simFile{app}
	m, s := newSim(t, w), newServer(t)
	s.future = true
	opt := options(t, s, m)
	opt.Identity.Server = s.listen(t)
	opt.Dial = func(id identity.Identity) (Link, error) { return uplink.New(id, uplink.Options{Server: id.Server}) }
	start(t, opt)
	raw, err := json.Marshal(map[string]any{"format": 1, "guard": "block_declined", "weather": "rain", "feeds": []any{map[string]any{"id": "acme", "root": "r", "timestamp": 1, "mood": "good"}},
		"install": []any{map[string]any{"update": app.release().ID(), "release": app.release(), "items": []any{app.Item}, "music": []string{"loud"}}}})
	if err != nil {
		t.Fatal(err)
	}
	s.setRaw(t, raw)
	s.wait(t, "app is installed", s.at(app.install(), installation.Installed))
}

func TestWhyAndStatusSayWhatIsToBeTakenBack(t *testing.T) {
	old, back, gone, probed := file("back", "1"), file("back", "2"), treeFile("gone", "2"), healthy(file("probed", "2"))
	p := probed
	p.Rollback, p.Remove = []wire.PlanRollback{back.stepBack(7, old)}, []wire.PlanRemove{gone.removal(8)}
	for _, f := range []simFile{back, gone} {
		p.Verdicts = append(p.Verdicts, wire.PlanVerdict{Update: f.release().ID(), Release: f.release(), Verdict: "remove", Reasons: []string{"C1: declined"}})
	}
	for words, want := range map[string]string{"back": "it goes back to back 1 (act 7)", "gone": "it is taken off this device; its data and configuration stay (act 8)", "probed": "it is installed, and counts as such once its health probe (tcp) passes"} {
		answers, err := Why(p, nil, words)
		if err != nil || len(answers) != 1 || answers[0].Order != want {
			t.Fatalf("%s: %+v %v", words, answers, err)
		}
		var out strings.Builder
		answers[0].Print(&out)
		if !strings.Contains(out.String(), "ordered: "+want) {
			t.Errorf("%s", out.String())
		}
	}
	var out strings.Builder
	Status{Enrolled: true, Plan: &PlanStatus{Rollback: 1, Removals: 2, Feeds: []string{"acme", "beta"}}}.Print(&out)
	if !strings.Contains(out.String(), "1 to roll back, 2 to take off") || !strings.Contains(out.String(), "feeds:    acme, beta") {
		t.Errorf("%s", out.String())
	}
}

func TestConfig_AnUnknownFeedPolicyIsRefused(t *testing.T) {
	var c Config
	for text, ok := range map[string]bool{`"signed"`: true, `"enrolment"`: true, `"all"`: false, `""`: false} {
		if err := json.Unmarshal([]byte(`{"feeds":`+text+`}`), &c); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}
