package feeds

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"assent/agent/internal/feeds/aptrepo"
	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/feed"
	"assent/installation"
	"assent/trust"
	"assent/trust/publish"
	"assent/trust/trusttest"
	"assent/wire"

	"github.com/google/go-cmp/cmp"
)

// copies serves the published folders of feeds as the server does, with faults.
type copies struct {
	mu    sync.Mutex
	feeds map[string]*trusttest.Feed
	cut   int64 // every answer ends after that many bytes; 0 for never
	down  bool
	asked []int64 // the offsets of payloads
}

// Feed implements Source.
func (c *copies) Feed(_ context.Context, id, path string, offset int64) (io.ReadCloser, int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		return nil, 0, errors.New("connection refused")
	}
	if strings.Contains(path, feed.PayloadPrefix) {
		c.asked = append(c.asked, offset)
	}
	one := c.feeds[id]
	if one == nil {
		return nil, 0, os.ErrNotExist
	}
	b, err := os.ReadFile(filepath.Join(one.Dir, path))
	if err != nil {
		return nil, 0, err
	}
	size := int64(len(b))
	b = b[min(offset, size):]
	if c.cut > 0 {
		b = b[:min(int64(len(b)), c.cut)]
	}
	return io.NopCloser(bytes.NewReader(b)), size, nil
}

// bench is a device with one feed of its own.
type bench struct {
	*Feeds
	t      *testing.T
	feed   *trusttest.Feed
	copies *copies
	cfg    Config
	events []Event
}

var packages = [][]byte{[]byte("package one " + strings.Repeat("x", 100_000)), []byte("package two " + strings.Repeat("y", 100_000))}

func newBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, feed: trusttest.NewFeed(t, "acme")}
	b.copies = &copies{feeds: map[string]*trusttest.Feed{"acme": b.feed}}
	b.add("1.0", packages[0])
	b.feed.Publish()
	b.cfg = Config{StateDir: t.TempDir(), Root: t.TempDir(), Source: b.copies, Now: b.feed.Now, Event: func(e Event) { b.events = append(b.events, e) },
		Platform: func() catalog.Platform {
			return catalog.Platform{OS: "linux", Distribution: "debian", Version: "12", Arch: "amd64"}
		}}
	if change != nil {
		change(&b.cfg)
	}
	b.open()
	return b
}

// open starts anew from what is kept.
func (b *bench) open() {
	b.t.Helper()
	f, err := Open(b.cfg)
	b.must(err)
	b.Feeds = f
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// add adds a release of a Debian package to the draft.
func (b *bench) add(version string, payload []byte) catalog.UpdateID {
	m := trusttest.Manifest("app", version)
	m.Payload = catalog.Deb
	m.Items = []feed.Item{{Name: "app", Arch: "all", Version: version, Control: "Package: app\nVersion: " + version + "\nArchitecture: all\n"}}
	return b.feed.Add(m, payload)
}

// pinned pins the feed as the enrolment does and looks at it.
func (b *bench) pinned() *bench {
	b.t.Helper()
	b.must(b.Pin([]wire.FeedRoot{{ID: "acme", Root: b.feed.Root()}}))
	b.Refresh(b.t.Context())
	b.have("", "1.0")
	return b
}

// have wants the feed to be in a state and the releases to be exactly these.
func (b *bench) have(problem string, versions ...string) {
	b.t.Helper()
	var got []string
	for _, r := range b.Releases() {
		got = append(got, r.Version)
	}
	slices.Sort(got) // ids, by which releases are sorted, say nothing
	if diff := cmp.Diff(versions, got); diff != "" {
		b.t.Errorf("releases: %s", diff)
	}
	if h := b.Health(); len(h) != 1 || h[0].Problem != problem || h[0].Origin != "feed:acme" || problem != "" && h[0].Detail == "" {
		b.t.Errorf("health %+v, want problem %q", h, problem)
	}
}

func (b *bench) plan() []wire.PlanFeed {
	return []wire.PlanFeed{{ID: "acme", Root: wire.Digest(b.feed.Root()), Timestamp: 1_000}}
}

func TestFollow_PinsFromASignedPlanAndKeepsWorkingWithoutTheServer(t *testing.T) {
	b := newBench(t, nil)
	if b.Following() {
		t.Fatal("follows what nobody named")
	}
	changed, err := b.Follow(t.Context(), b.plan())
	if err != nil || !changed {
		t.Fatal(changed, err)
	}
	b.have("", "1.0")
	verified := b.Health()[0].Date
	b.copies.down = true
	b.open()
	b.have("", "1.0")
	if d := b.Health()[0].Date; !d.Equal(verified) || b.Health()[0].ExpiresAt.IsZero() {
		t.Errorf("health %+v, verified %v", b.Health(), verified)
	}
	if changed, err := b.Follow(t.Context(), b.plan()); err == nil || changed {
		t.Errorf("server out of reach: %v %v", changed, err)
	}
	b.have("unreachable", "1.0")
	b.copies.down = false
	b.add("2.0", packages[1])
	b.feed.Revoke("app", "1.0", "it eats data")
	b.feed.Publish()
	if changed, err := b.Follow(t.Context(), b.plan()); err != nil || !changed {
		t.Errorf("%v %v", changed, err)
	}
	b.have("", "1.0", "2.0")
	for _, r := range b.Releases() {
		if (r.Revoked != nil) != (r.Version == "1.0") || r.Revoked != nil && r.Revoked.Reason != "it eats data" {
			t.Errorf("%s: revoked %+v", r.Version, r.Revoked)
		}
	}
	// A plan that does not name it any more ends it, also over a restart; the pin stays.
	if changed, err := b.Follow(t.Context(), nil); err != nil || !changed || b.Following() {
		t.Errorf("%v %v", changed, err)
	}
	b.open()
	if b.Following() || len(b.Releases()) != 0 {
		t.Error("follows it again after a restart")
	}
	b.copies.feeds["acme"] = trusttest.NewFeed(t, "acme")
	if _, err := b.Follow(t.Context(), []wire.PlanFeed{{ID: "acme", Root: wire.Digest(b.copies.feeds["acme"].Root())}}); !errors.Is(err, ErrRoot) {
		t.Errorf("another root after it was not followed for a while: %v", err)
	}
}

func TestFollow_APinnedRootIsChangedByTheFeedsOwnKeysOnly(t *testing.T) {
	b := newBench(t, nil).pinned()
	b.feed.Rotate(publish.Root)
	b.feed.Rotate(publish.Targets)
	b.add("2.0", packages[1])
	b.feed.Publish()
	if _, err := b.Follow(t.Context(), b.plan()); err != nil {
		t.Fatal(err)
	}
	b.have("", "1.0", "2.0")
	// The newest root of the chain is as good as the first one.
	b.must(b.Pin([]wire.FeedRoot{{ID: "acme", Root: b.find("acme").client.Root()}}))
	if len(b.events) != 0 {
		t.Errorf("events %+v", b.events)
	}
	evil := trusttest.NewFeed(t, "acme")
	evil.Add(trusttest.Manifest("app", "6.6.6"), []byte("evil"))
	evil.Publish()
	b.copies.feeds["acme"] = evil
	for range 2 {
		if _, err := b.Follow(t.Context(), []wire.PlanFeed{{ID: "acme", Root: wire.Digest(evil.Root()), Timestamp: 5000}}); !errors.Is(err, ErrRoot) {
			t.Errorf("follow: %v", err)
		}
		b.have("bad_signature", "1.0", "2.0")
	}
	if err := b.Pin([]wire.FeedRoot{{ID: "acme", Root: evil.Root()}}); !errors.Is(err, ErrRoot) {
		t.Errorf("pin: %v", err)
	}
	if len(b.events) != 2 || b.events[0].Kind != EventRootRefused || b.events[0].Feed != "acme" || b.events[1].Kind != EventRefused {
		t.Errorf("events %+v, want one of the root and one of what is signed by others", b.events)
	}
	b.open()
	b.have("", "1.0", "2.0")
}

func TestFollow_SettingEnrolmentRefusesFeedsThatCameLater(t *testing.T) {
	b := newBench(t, func(c *Config) { c.EnrolmentOnly = true }).pinned()
	later := trusttest.NewFeed(t, "later")
	b.copies.feeds["later"] = later
	_, err := b.Follow(t.Context(), append(b.plan(), wire.PlanFeed{ID: "later", Root: wire.Digest(later.Root())}))
	if !errors.Is(err, ErrSetting) {
		t.Errorf("%v", err)
	}
	b.have("", "1.0") // the other one goes on
	if len(b.events) != 1 || b.events[0].Kind != EventRefused || b.events[0].Feed != "later" {
		t.Errorf("events %+v", b.events)
	}
}

func TestFollow_ServerCannotPinAnotherRootThanTheSignedPlanNames(t *testing.T) {
	b := newBench(t, nil)
	p := b.plan()
	b.copies.feeds["acme"] = trusttest.NewFeed(t, "acme") // the server serves another feed
	if _, err := b.Follow(t.Context(), p); !errors.Is(err, trust.ErrMismatch) || b.Following() {
		t.Errorf("%v", err)
	}
	for _, id := range []string{"../x", "", "ACME", "a/b"} {
		if _, err := b.Follow(t.Context(), []wire.PlanFeed{{ID: id, Root: p[0].Root}}); err == nil {
			t.Errorf("feed %q is followed", id)
		}
	}
	if err := b.Pin([]wire.FeedRoot{{ID: "junk", Root: []byte(`{"signed":null}`)}, {ID: "acme", Root: b.feed.Root()}}); err == nil || !b.Following() {
		t.Errorf("junk as a root: %v; the good one pinned: %v", err, b.Following())
	}
	b.open() // what could not be pinned does not count
	if b.find("junk") != nil || b.find("acme") == nil {
		t.Error("the wrong one was pinned")
	}
}

// TestN34_WhatIsExpiredRolledBackForgedOrOutOfReachChangesNothing is rule 1 of feeds on a device.
func TestN34_WhatIsExpiredRolledBackForgedOrOutOfReachChangesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		problem string
		attack  func(b *bench)
	}{
		"out of reach": {"unreachable", func(b *bench) { b.feed.Break() }},
		"frozen": {"expired", func(b *bench) {
			b.feed.Advance(400 * 24 * time.Hour)
		}},
		"out of reach until it expired": {"expired", func(b *bench) {
			b.feed.Break()
			b.feed.Advance(400 * 24 * time.Hour)
		}},
		"rolled back": {"rolled_back", func(b *bench) {
			replay := b.feed.Save()
			b.feed.Advance(time.Minute)
			b.feed.Refresh()
			b.Refresh(b.t.Context())
			b.have("", "1.0")
			replay()
		}},
		"forged": {"bad_signature", func(b *bench) {
			b.feed.Refresh()
			b.feed.Corrupt("metadata/timestamp.json", func(in []byte) []byte {
				return bytes.Replace(in, []byte(`"version":`), []byte(`"version":9`), 1)
			})
		}},
		"manifest swapped": {"tampered", func(b *bench) {
			id := b.add("2.0", packages[1])
			b.feed.Publish()
			found, err := filepath.Glob(filepath.Join(b.feed.Dir, "targets/releases/*"+string(id)+".json"))
			if err != nil || len(found) != 1 {
				b.t.Fatal(found, err)
			}
			b.feed.Corrupt(strings.TrimPrefix(found[0], b.feed.Dir+"/"), bytes.ToUpper)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil).pinned()
			c.attack(b)
			stamp := b.Stamp()
			b.Refresh(t.Context())
			b.have(c.problem, "1.0")
			if b.Stamp() != stamp {
				t.Error("the releases count as others")
			}
			b.Refresh(t.Context())
			if attack := c.problem != "unreachable" && c.problem != "expired"; len(b.events) > 1 || attack != (len(b.events) == 1 && b.events[0].Kind == EventRefused) {
				t.Errorf("events %+v", b.events)
			}
			b.open()
			b.Refresh(t.Context())
			b.have(c.problem, "1.0")
		})
	}
}

// TestFollow_AServerThatLagsBehindIsNoRollbackAndOneThatClaimsNewsAndServesOldIs moves a device from one server to another that
// has an older copy of the feed.
func TestFollow_AServerThatLagsBehindIsNoRollbackAndOneThatClaimsNewsAndServesOldIs(t *testing.T) {
	b := newBench(t, nil).pinned()
	named := func(timestamp int64) []wire.PlanFeed {
		return []wire.PlanFeed{{ID: "acme", Root: wire.Digest(b.feed.Root()), Timestamp: timestamp}}
	}
	own := func() int64 { return b.find("acme").client.State().TimestampVersion }
	look := func(problem string, timestamp int64) {
		t.Helper()
		for _, step := range []func(){func() { _, _ = b.Follow(t.Context(), named(timestamp)) }, func() { b.Refresh(t.Context()) }} {
			step()
			b.have(problem, "1.0", "2.0")
		}
	}
	lagging, behind := b.feed.Save(), own()
	b.add("2.0", packages[1])
	b.feed.Publish()
	_, err := b.Follow(t.Context(), named(behind+1))
	b.must(err)
	look("", own())
	lagging()
	look("", behind)
	look("", own()) // a replica of the first server may answer what it serves
	b.open()
	look("", behind) // over a restart too
	look("rolled_back", own()+1)
	look("rolled_back", own()+1)
	b.open()
	look("rolled_back", own()+1)
	look("", behind) // it does not claim that any more
	b.copies.down = true
	look("unreachable", own()+1)
	look("", behind)
}

func TestFollow_WhatWasLostOrBrokeOffIsLookedAtAgainThoughTheServerNamesNothingNewer(t *testing.T) {
	b := newBench(t, nil).pinned()
	_, err := b.Follow(t.Context(), b.plan())
	b.must(err)
	plan := []wire.PlanFeed{{ID: "acme", Timestamp: b.find("acme").client.State().TimestampVersion}}
	for _, lost := range []string{"tuf/targets.json", "verified.json", "document-*"} {
		found, err := filepath.Glob(filepath.Join(b.path("acme"), lost))
		if err != nil || len(found) == 0 {
			t.Fatal(found, err)
		}
		for _, f := range found {
			b.must(os.Remove(f))
		}
		b.open()
		_, err = b.Follow(t.Context(), plan)
		b.must(err)
		b.Refresh(t.Context())
		b.have("", "1.0")
	}
}

func TestReleaseUnderAnotherReleasesNameIsNotUsed(t *testing.T) {
	b := newBench(t, nil).pinned()
	one := b.find("acme")
	body, _, err := feed.Encode("acme", b.Releases()[0].Manifest)
	b.must(err)
	if _, err := one.release(trust.Target{Path: feed.ReleaseTarget("uother")}, body); err == nil {
		t.Error("taken for another release")
	}
	if r := revocation([]byte("{")); r == nil || r.Reason == "" {
		t.Errorf("an unreadable revocation recalls nothing: %+v", r)
	}
}

func change(payload []byte, op wire.Op) wire.Change {
	return wire.Change{Op: op, Name: "app", Arch: "all", Version: "1.0", Space: "feed.acme", SHA256: wire.Digest(payload), Size: int64(len(payload))}
}

func (b *bench) pool(payload []byte) string {
	return filepath.Join(b.cfg.Root, aptrepo.PoolFile("acme", wire.Digest(payload)))
}

func TestPrepare_PlacesOnlyWhatIsVerifiedContinuesAndPrunes(t *testing.T) {
	b := newBench(t, nil).pinned()
	b.copies.cut = 30_000
	var progress []pkgmgr.Progress
	changes := []wire.Change{change(packages[0], wire.OpUpgrade), change(packages[1], wire.OpRemove), {Op: wire.OpInstall, Name: "libc6", Space: "debian", SHA256: "x"}}
	b.must(b.Prepare(t.Context(), changes, func(p pkgmgr.Progress) { progress = append(progress, p) }))
	if got, err := os.ReadFile(b.pool(packages[0])); err != nil || !bytes.Equal(got, packages[0]) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if diff := cmp.Diff([]int64{0, 30_000, 60_000, 90_000}, b.copies.asked); diff != "" {
		t.Error(diff)
	}
	if n := len(progress); n == 0 || progress[n-1].Percent != 100 || progress[n-1].Package != "app" {
		t.Errorf("progress %+v", progress)
	}
	b.copies.asked = nil
	b.must(b.Prepare(t.Context(), changes, nil))
	if len(b.copies.asked) != 0 {
		t.Error("fetched again what was there")
	}
	b.must(os.WriteFile(b.pool(packages[0]), []byte("other"), 0o644))
	b.must(b.Prepare(t.Context(), changes, nil))
	if got, _ := os.ReadFile(b.pool(packages[0])); !bytes.Equal(got, packages[0]) {
		t.Error("other content stayed")
	}
	b.Keep(map[string]bool{wire.Digest(packages[0]): true})
	if _, err := os.Stat(b.pool(packages[0])); err != nil {
		t.Error("what is installed was dropped")
	}
	b.Keep(nil)
	if left, _ := os.ReadDir(filepath.Dir(b.pool(nil))); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestPrepare_ResumesAfterARestartAndRefusesOtherContent(t *testing.T) {
	b := newBench(t, nil).pinned()
	_, target, err := b.payload(wire.Digest(packages[0]))
	b.must(err)
	partial := filepath.Join(filepath.Dir(b.pool(packages[0])), partialName+target.SHA256)
	b.must(os.MkdirAll(filepath.Dir(partial), 0o755))
	b.must(os.WriteFile(partial, packages[0][:70_000], 0o600))
	changes := []wire.Change{change(packages[0], wire.OpInstall)}
	b.must(b.Prepare(t.Context(), changes, nil))
	if diff := cmp.Diff([]int64{70_000}, b.copies.asked); diff != "" {
		t.Error(diff)
	}
	b.must(os.Remove(b.pool(packages[0])))
	b.feed.Corrupt(trusttest.Payload(packages[0]), func(in []byte) []byte { in[50] ^= 1; return in })
	err = b.Prepare(t.Context(), changes, nil)
	var no *pkgmgr.Refusal
	if !errors.As(err, &no) || no.Cause != installation.DigestMismatch {
		t.Errorf("changed payload: %v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(partial)); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	unknown := change([]byte("nobody signed this"), wire.OpInstall)
	if err := b.Prepare(t.Context(), []wire.Change{unknown}, nil); !errors.As(err, &no) || no.Cause != installation.ContentUnavailable {
		t.Errorf("unsigned payload: %v", err)
	}
	b.must(os.Remove(filepath.Join(b.feed.Dir, trusttest.Payload(packages[0]))))
	if err := b.Prepare(t.Context(), changes, nil); !errors.As(err, &no) || no.Cause != installation.ContentUnavailable {
		t.Errorf("missing payload: %v", err)
	}
}

func TestN49_PayloadThatDoesNotFitIsRefusedAndGivesItsRoomBack(t *testing.T) {
	b := newBench(t, nil).pinned()
	dir := filepath.Join(b.cfg.Root, aptrepo.Dir)
	b.must(os.MkdirAll(dir, 0o755))
	b.must(syscall.Mount("small", dir, "tmpfs", 0, "size=48k"))
	t.Cleanup(func() { b.must(syscall.Unmount(dir, 0)) })
	err := b.Prepare(t.Context(), []wire.Change{change(packages[0], wire.OpInstall)}, nil)
	var no *pkgmgr.Refusal
	if !errors.As(err, &no) || no.Cause != installation.NoSpace {
		t.Errorf("%v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(b.pool(packages[0]))); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestRemove_LeavesNothing(t *testing.T) {
	b := newBench(t, nil).pinned()
	b.must(b.Remove(t.Context()))
	if left, _ := os.ReadDir(b.cfg.StateDir); len(left) != 0 || b.Following() {
		t.Errorf("left: %v", left)
	}
}
