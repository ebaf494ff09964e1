package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"assent/e2e/stage"
	"assent/trust/publish"
)

// evil is a server in the hands of an attacker: it is assentd in all, but gives devices what lies in a folder instead of its
// own copy of a feed, by the path below the feed's root.
type evil struct {
	t   *testing.T
	dir string
}

// hijacked is a stage whose server is evil.
func hijacked(t *testing.T, devices ...stage.DeviceSpec) (*stage.Stage, evil) {
	t.Helper()
	e := evil{t, t.TempDir()}
	programs := t.TempDir()
	for _, name := range []string{"assent", "assent-agent"} {
		if err := os.Symlink(filepath.Join(bin, name), filepath.Join(programs, name)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-X main.version=0.1.0", "-overlay", mutant(t, "../server/internal/mirror/mirror.go",
		"	f := m.follower(feed)\n	if f == nil {\n		return nil, \"\", errNoFile\n	}\n",
		"	if b, err := os.ReadFile(filepath.Join(os.Getenv(\"ASSENT_EVIL\"), path)); err == nil {\n		return inMemory(b), content.Digest(b), nil\n	}\n"),
		"-o", filepath.Join(programs, "assentd"), "assent/cmd/assentd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the evil server: %v\n%s", err, out)
	}
	s := raiseFrom(t, programs, devices...)
	s.Server.Env = append(s.Server.Env, "ASSENT_EVIL="+e.dir)
	return begun(t, s), e
}

// mutant is an overlay for go build in which something stands before a text that is in a file once.
func mutant(t *testing.T, file, before, stands string) (overlay string) {
	t.Helper()
	path, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(path)
	if err != nil || bytes.Count(source, []byte(before)) != 1 {
		t.Fatalf("%q does not stand in %s once (%v)", before, file, err)
	}
	changed, overlay := filepath.Join(t.TempDir(), "mutant.go"), filepath.Join(t.TempDir(), "overlay.json")
	text, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	if err == nil {
		err = errors.Join(os.WriteFile(changed, bytes.Replace(source, []byte(before), []byte(stands+before), 1), 0o600), os.WriteFile(overlay, text, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	return overlay
}

// gives has the server give devices this instead of a file of the feed.
func (e evil) gives(path string, b []byte) {
	e.t.Helper()
	name := filepath.Join(e.dir, filepath.FromSlash(path))
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, b, 0o600)); err != nil {
		e.t.Fatal(err)
	}
}

// repents has the server give what is right again.
func (e evil) repents() {
	e.t.Helper()
	if err := errors.Join(os.RemoveAll(e.dir), os.Mkdir(e.dir, 0o700)); err != nil {
		e.t.Fatal(err)
	}
}

// published reads the one published file that matches.
func (v *publisher) published(pattern string) (path string, b []byte) {
	v.t.Helper()
	found, err := filepath.Glob(filepath.Join(v.Out(), pattern))
	v.try(err)
	if len(found) != 1 {
		v.t.Fatalf("published as %s: %v", pattern, found)
	}
	b, err = os.ReadFile(found[0])
	v.try(err)
	path, err = filepath.Rel(v.Out(), found[0])
	v.try(err)
	return path, b
}

// feedProblem is what a device says is wrong with a feed; empty when it is well.
func (s *script) feedProblem(device, feed string) string {
	s.t.Helper()
	var d struct {
		Facts struct {
			Origins []struct{ Origin, Problem string }
		}
	}
	s.ask(&d, "device", "show", device)
	for _, o := range d.Facts.Origins {
		if o.Origin == "feed:"+feed {
			return o.Problem
		}
	}
	return "the device does not follow it"
}

// swapped is a payload with other content of the same length.
func swapped(b []byte) []byte {
	out := bytes.Clone(b)
	for i := len(out) / 2; i < len(out)/2+16; i++ {
		out[i] ^= 0xff
	}
	return out
}

func TestPromise1_AHijackedServerBringsNothingOfAFeedOntoADevice(t *testing.T) {
	s, server := hijacked(t, stage.DeviceSpec{Name: "web1"})
	v := enrolled(s, t).opens("acme")
	v.deb(app("desk", "1.0"))
	v.tree("ledger", "1.0")
	v.issue()
	v.rolledOut("desk@1.0", "web1")
	v.rolledOut("ledger@1.0", "web1")
	stranger := v.stranger()
	_, oldest := v.published("metadata/timestamp.json")

	for i, attack := range []struct {
		name, problem, says string
		make                func(v *publisher) // what lies in the feed is newer than what the server and the device have
	}{
		{"the targets are edited", "tampered", "not the one that was signed", func(v *publisher) {
			path, b := v.published("metadata/3.targets.json")
			at := bytes.LastIndex(b, []byte(`"sha256"`))
			server.gives(path, slices.Concat(b[:at], bytes.Map(func(c rune) rune {
				if c == '7' {
					return '8'
				}
				return c
			}, b[at:])))
		}},
		{"the timestamp is an older one", "rolled_back", "older state", func(*publisher) { server.gives("metadata/timestamp.json", oldest) }},
		{"the root is another feed's", "bad_signature", "not signed by the keys", func(*publisher) { server.gives("metadata/2.root.json", stranger) }},
	} {
		t.Run(attack.name, func(t *testing.T) {
			v := v.in(t)
			defer server.repents()
			version, last := fmt.Sprintf("%d.0", i+2), fmt.Sprintf("%d.0", i+1)
			v.deb(app("desk", version))
			v.try(v.Vendor.Publish(t.Context()))
			attack.make(v)
			v.assent("feed", "refresh", "acme", "--wait")
			v.assent("update", "approve", "desk@"+version)
			v.refresh()
			v.until("the device names the problem "+attack.problem, func() bool { return v.feedProblem("web1", "acme") == attack.problem })
			v.tells("feed_refused", "acme", attack.says)
			if text := v.assent("device", "show", "web1"); !strings.Contains(text, "feed acme: "+attack.problem) {
				t.Errorf("the problem is not shown:\n%s", text)
			}
			if status := v.assent("status"); !strings.Contains(status, "web1") {
				t.Errorf("the status does not name the device:\n%s", status)
			}
			v.has("web1", "desk", last)
			if now := v.on("web1", "desk@"+last); now.State != "installed" {
				t.Errorf("what was verified last does not count any more: %+v", now)
			}
			server.repents()
			v.refresh()
			v.proven("web1", "desk@"+version)
			v.until("the feed is well", func() bool { return v.feedProblem("web1", "acme") == "" })
		})
	}

	t.Run("payloads are swapped for some of the same length", func(t *testing.T) {
		v := v.in(t)
		v.deb(app("desk", "9.0"))
		v.tree("ledger", "9.0")
		v.try(v.Vendor.Publish(t.Context()))
		sums := map[string]string{}
		for _, file := range []string{"desk_9.0_all.deb", "ledger-9.0.tar"} {
			b, err := os.ReadFile(filepath.Join(v.Dir, "..", "made-acme", file))
			v.try(err)
			sums[file] = fmt.Sprintf("%x", sha256.Sum256(b))
			path, _ := v.published("targets/payloads/*" + sums[file])
			server.gives(path, swapped(b))
		}
		v.assent("feed", "refresh", "acme", "--wait")
		v.assent("update", "approve", "desk@9.0", "ledger@9.0")
		for _, update := range []string{"desk@9.0", "ledger@9.0"} {
			if now := v.becomes("web1", update, "blocked"); now.Cause != "digest_mismatch" {
				t.Errorf("%s: %+v", update, now)
			}
		}
		v.has("web1", "desk", "4.0")
		if got := v.run("web1", "cat", "/opt/assent/acme/ledger/current/version"); got != "1.0\n" {
			t.Errorf("ledger is %s", got)
		}
		server.repents()
		v.refresh()
		v.proven("web1", "desk@9.0")
		v.proven("web1", "ledger@9.0")
	})
}

// stranger is the second root of a feed with other keys.
func (v *publisher) stranger() []byte {
	v.t.Helper()
	dir := filepath.Join(v.t.TempDir(), "stranger")
	tree, err := publish.Init(dir, publish.Options{ID: "acme"}, time.Now())
	v.try(err)
	v.try(tree.Rotate(publish.Rotation{Role: publish.Timestamp, Now: time.Now()}))
	_, err = tree.Sign(publish.SignOptions{Now: time.Now()})
	v.try(err)
	b, _, err := tree.Root(2)
	v.try(errors.Join(err, tree.Close()))
	return b
}
