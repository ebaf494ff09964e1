package publish_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"assent/catalog"
	"assent/fault"
	"assent/feed"
	"assent/trust"
	"assent/trust/publish"
	"assent/trust/trusttest"
)

// TestMain keeps the random histories few unless more are asked for: each publishes with its files on disk for good.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("12")
	}
	m.Run()
}

var start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func tree(t *testing.T, o publish.Options) *publish.Tree {
	t.Helper()
	o.ID = "acme"
	x, err := publish.Init(t.TempDir(), o, start)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	return x
}

// addition is a release with one file of this content.
func addition(t *testing.T, application, version, content string, requires ...catalog.Requirement) publish.Addition {
	t.Helper()
	name := filepath.Join(t.TempDir(), "payload")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(content))
	digest := hex.EncodeToString(sum[:])
	m := trusttest.Manifest(application, version)
	m.Requires = requires
	m.Items = []feed.Item{{Name: application, Arch: "all", Version: version, Size: int64(len(content)), SHA256: digest}}
	return publish.Addition{Manifest: m, Files: map[string]string{digest: name}, Now: start}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func code(err error) string {
	if err == nil {
		return ""
	}
	return fault.From(err).Code
}

func TestAdd_TheSameAgainIsNoChangeAndOtherContentOfAVersionIsRefused(t *testing.T) {
	x := tree(t, publish.Options{})
	add := must[publish.Added](t)
	first := add(x.Add(t.Context(), addition(t, "ledger", "1.0", "one")))
	later := addition(t, "ledger", "1.0", "one")
	later.Now = start.Add(time.Hour)
	if again := add(x.Add(t.Context(), later)); !again.Again || again.ID != first.ID {
		t.Errorf("%+v", again)
	}
	_, err := x.Add(t.Context(), addition(t, "ledger", "1.0", "two"))
	if code(err) != "feed_version_taken" {
		t.Error(err)
	}
}

func TestAdd_AFileThatChangedSinceItWasLookedAtIsRefusedAndLeavesNothing(t *testing.T) {
	x := tree(t, publish.Options{})
	a := addition(t, "ledger", "1.0", "one")
	for _, name := range a.Files {
		if err := os.WriteFile(name, []byte("two"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := x.Add(t.Context(), a); !errors.Is(err, trust.ErrMismatch) {
		t.Error(err)
	}
	if left := must[[]feed.Release](t)(x.Releases()); len(left) != 0 {
		t.Errorf("%v", left)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := x.Add(ctx, addition(t, "ledger", "1.0", "one")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestAdd_PrerequisitesMustBeThere(t *testing.T) {
	x := tree(t, publish.Options{})
	needs := catalog.Requirement{Application: "database", Version: "2.0"}
	_, err := x.Add(t.Context(), addition(t, "ledger", "1.0", "one", needs))
	if code(err) != "feed_prerequisite_missing" {
		t.Error(err)
	}
	add := must[publish.Added](t)
	add(x.Add(t.Context(), addition(t, "database", "2.1", "db")))
	add(x.Add(t.Context(), addition(t, "ledger", "1.0", "one", needs)))
	if err := x.Remove("database", "2.1"); code(err) != "feed_release_required" {
		t.Error(err)
	}
	deb := addition(t, "ledger", "1.1", "a deb")
	deb.Manifest.Payload = catalog.Deb
	if _, err := x.Add(t.Context(), deb); code(err) != "feed_format_changed" {
		t.Error(err)
	}
}

func TestOpen_TwoProcessesDoNotWorkInOneTree(t *testing.T) {
	x := tree(t, publish.Options{})
	if _, err := publish.Open(x.Dir()); code(err) != "feed_tree_busy" {
		t.Error(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := publish.Open(x.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if _, err := publish.Open(t.TempDir()); !errors.Is(err, fault.NotFound) {
		t.Error(err)
	}
}

// Two holders of targets keys, each with a medium of their own.
func TestSign_AThresholdIsMetByHoldersOneAfterTheOther(t *testing.T) {
	x := tree(t, publish.Options{Roles: map[publish.Role]publish.Policy{publish.Targets: {Keys: 2, Threshold: 2}}})
	holders := []string{t.TempDir(), t.TempDir()}
	names := must[[]string](t)(filepath.Glob(filepath.Join(x.KeyDir(), "targets-*")))
	for i, name := range names {
		if err := os.Rename(name, filepath.Join(holders[i], filepath.Base(name))); err != nil {
			t.Fatal(err)
		}
	}
	must[publish.Added](t)(x.Add(t.Context(), addition(t, "ledger", "1.0", "one")))
	if _, err := x.Sign(publish.SignOptions{Now: start}); code(err) != "feed_key_missing" {
		t.Error(err)
	}
	sign := func(holder int) publish.Signed {
		t.Helper()
		return must[[]publish.Signed](t)(x.Sign(publish.SignOptions{Now: start, Keys: holders[holder : holder+1]}))[1]
	}
	for range 2 { // the same holder twice is one signature
		if s := sign(0); s.Made || s.Missing != 1 || s.Version != 0 {
			t.Errorf("%+v", s)
		}
	}
	must[publish.Added](t)(x.Add(t.Context(), addition(t, "ledger", "1.1", "two")))
	if s := sign(1); s.Made || s.Missing != 1 {
		t.Errorf("a signature for another draft counts: %+v", s)
	}
	if s := sign(0); !s.Made || s.Version != 1 {
		t.Errorf("%+v", s)
	}
	if s := sign(0); s.Made || s.Missing != 0 {
		t.Errorf("signed again without a change: %+v", s)
	}
}

func TestSign_HalfOfTheTimeBeforeTheEndAllIsSignedAnew(t *testing.T) {
	x := tree(t, publish.Options{Roles: map[publish.Role]publish.Policy{publish.Timestamp: {Expires: 10 * time.Hour}}})
	made := func(at time.Time) (out []publish.Role) {
		for _, s := range must[[]publish.Signed](t)(x.Sign(publish.SignOptions{Now: at})) {
			if s.Made {
				out = append(out, s.Role)
			}
		}
		return out
	}
	for _, tc := range []struct {
		after time.Duration
		want  []publish.Role
	}{
		{0, []publish.Role{publish.Targets, publish.Snapshot, publish.Timestamp}},
		{4 * time.Hour, nil},
		{6 * time.Hour, []publish.Role{publish.Timestamp}},
		{31 * 24 * time.Hour, []publish.Role{publish.Snapshot, publish.Timestamp}},
		{200 * 24 * time.Hour, []publish.Role{publish.Targets, publish.Snapshot, publish.Timestamp}},
	} {
		if got := made(start.Add(tc.after)); !slices.Equal(got, tc.want) {
			t.Errorf("after %s: %v, want %v", tc.after, got, tc.want)
		}
	}
}

func TestSign_AKeyThatOthersMayReadOrThatIsDamagedIsRefused(t *testing.T) {
	x := tree(t, publish.Options{})
	names := must[[]string](t)(filepath.Glob(filepath.Join(x.KeyDir(), "timestamp-*")))
	if err := os.Chmod(names[0], 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Sign(publish.SignOptions{Now: start}); code(err) != "feed_key_open" {
		t.Error(err)
	}
	if err := os.WriteFile(names[0], []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Sign(publish.SignOptions{Now: start}); code(err) != "feed_key_malformed" {
		t.Error(err)
	}
}

func TestPublish_WhatClientsWouldRefuseIsNotPublished(t *testing.T) {
	x := tree(t, publish.Options{})
	out := t.TempDir()
	if _, err := x.Publish(t.Context(), out, start, nil); code(err) != "feed_unsigned" {
		t.Error(err)
	}
	must[publish.Added](t)(x.Add(t.Context(), addition(t, "ledger", "1.0", "one")))
	must[[]publish.Signed](t)(x.Sign(publish.SignOptions{Now: start}))
	if _, err := x.Publish(t.Context(), out, start.Add(20*24*time.Hour), nil); !errors.Is(err, trust.ErrExpired) {
		t.Error(err)
	}
	err := filepath.WalkDir(x.Dir(), func(p string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Base(filepath.Dir(p)) == "payloads" {
			err = os.WriteFile(p, []byte("xxx"), 0o600)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Publish(t.Context(), out, start, nil); !errors.Is(err, trust.ErrMismatch) {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(out, "metadata", "timestamp.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("published all the same: %v", err)
	}
}

// written lists the files below a folder in the order in which they were put there. Files of one tick of the disk's clock
// come in the order that is promised; what the clock cannot tell apart is watched while it is written.
func written(t *testing.T, dir string) []string {
	t.Helper()
	at := map[string]time.Time{}
	var names []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		name, _ := filepath.Rel(dir, p)
		names, at[name] = append(names, name), info.ModTime()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	rank := func(name string) int {
		switch {
		case name == "metadata/timestamp.json":
			return 3
		case strings.HasPrefix(name, "metadata/"):
			return 2
		case strings.HasPrefix(name, "targets/releases/"):
			return 1
		}
		return 0
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Or(at[a].Compare(at[b]), cmp.Compare(rank(a), rank(b))) })
	return names
}

// Whoever reads while a publication is written, or after it broke off at any file, sees the old state or the new one.
func TestPublish_AReaderSeesTheOldStateOrTheNewOneAtEveryFile(t *testing.T) {
	x := tree(t, publish.Options{})
	dir := t.TempDir()
	live, next := filepath.Join(dir, "live"), filepath.Join(dir, "next")
	release := func(version, to string) {
		must[publish.Added](t)(x.Add(t.Context(), addition(t, "ledger", version, version)))
		must[[]publish.Signed](t)(x.Sign(publish.SignOptions{Now: start}))
		begun := false
		must[publish.Published](t)(x.Publish(t.Context(), to, start, func(file string, _, _ int64) {
			_, err := os.Stat(filepath.Join(to, "metadata", "timestamp.json"))
			if to == next && err == nil {
				t.Errorf("%s came after the timestamp", file)
			}
			begun = true
		}))
		if !begun {
			t.Error("nobody was told of a file")
		}
	}
	release("1.0", live)
	root, _, err := x.Root(1)
	if err != nil {
		t.Fatal(err)
	}
	release("2.0", next)
	names := written(t, next)
	if names[len(names)-1] != "metadata/timestamp.json" {
		t.Errorf("the timestamp is not last: %v", names)
	}
	seen := map[int]bool{}
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(next, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(live, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(live, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := trust.Open(root, trusttest.NewStore())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Refresh(t.Context(), trust.Dir(live), start); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
		for path := range c.Targets() {
			if _, err := c.Target(t.Context(), trust.Dir(live), path); err != nil {
				t.Errorf("after %s: %v", name, err)
			}
		}
		seen[len(c.Targets())] = true
	}
	if !seen[2] || !seen[4] {
		t.Errorf("old and new were not both seen: %v", seen)
	}
}

// Whatever a publisher does, in whatever order, clients that come by now and then always follow.
func TestPublisher_ClientsFollowWhateverItDoes(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		f := trusttest.NewFeed(t, "acme")
		store := trusttest.NewStore()
		versions := 0
		for range rapid.IntRange(1, 8).Draw(r, "steps") {
			switch rapid.IntRange(0, 5).Draw(r, "act") {
			case 0, 1:
				versions++
				f.Add(trusttest.Manifest("ledger", fmt.Sprintf("1.%d", versions)), []byte{byte(versions)})
				f.Publish()
			case 2:
				f.Rotate(rapid.SampledFrom(publish.Roles()).Draw(r, "role"))
			case 3:
				if versions > 0 {
					f.Revoke("ledger", fmt.Sprintf("1.%d", rapid.IntRange(1, versions).Draw(r, "version")), "broken")
				}
				f.Publish()
			case 4:
				f.Advance(time.Duration(rapid.IntRange(1, 40).Draw(r, "days")) * 24 * time.Hour)
				f.Publish()
			case 5:
				c, err := trust.Open(f.Root(), store)
				if err == nil {
					err = c.Refresh(t.Context(), f.Source(), f.Now())
				}
				if err != nil {
					r.Fatal(err)
				}
			}
		}
		c, err := trust.Open(f.Root(), store)
		if err == nil {
			err = c.Refresh(t.Context(), f.Source(), f.Now())
		}
		if err != nil {
			r.Fatal(err)
		}
	})
}
