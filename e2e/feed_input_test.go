package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"assent/catalog"
	"assent/feed"
	"assent/lab/debrepo"
	"assent/trust"
)

// forges changes the manifest of a release in the draft past all checks of the publisher's commands; it is signed like any.
func (v *publisher) forges(application, version string, change func(m map[string]any)) {
	v.t.Helper()
	draft := map[string]struct {
		Size   int64  `json:"size"`
		SHA256 string `json:"sha256"`
	}{}
	list := filepath.Join(v.Dir, "draft.json")
	v.reads(list, &draft)
	for target, f := range draft {
		if !strings.HasPrefix(target, feed.ReleasePrefix) {
			continue
		}
		m := map[string]any{}
		v.reads(filepath.Join(v.Dir, trust.TargetFile(trust.Target{Path: target, SHA256: f.SHA256})), &m)
		if m["application"] != application || m["version"] != version {
			continue
		}
		change(m)
		b, err := json.Marshal(m)
		v.try(err)
		f.Size, f.SHA256 = int64(len(b)), fmt.Sprintf("%x", sha256.Sum256(b))
		draft[target] = f
		v.try(os.WriteFile(filepath.Join(v.Dir, trust.TargetFile(trust.Target{Path: target, SHA256: f.SHA256})), b, 0o644))
		b, err = json.Marshal(draft)
		v.try(err)
		v.try(os.WriteFile(list, b, 0o644))
		return
	}
	v.t.Fatalf("the feed has no %s %s", application, version)
}

func (s *script) reads(file string, into any) {
	s.t.Helper()
	b, err := os.ReadFile(file)
	s.try(err)
	s.try(json.Unmarshal(b, into))
}

// text is a file with an agreement's text.
func (v *publisher) text(name, words string) string {
	v.t.Helper()
	file, err := v.File(name, []byte(words))
	v.try(err)
	return file
}

func TestUnknownHolds_WhatAPublisherSaysThatNobodyUnderstandsIsListedAndHeldWithAReason(t *testing.T) {
	v := laterComers(open(t, "web1", "late"), t, "late").opens("acme")
	for _, odd := range []string{"odd-format", "odd-platform", "odd-server"} {
		v.tree(odd, "1.0")
	}
	v.forges("odd-format", "1.0", func(m map[string]any) { m["payload"] = "flatpak" })
	v.forges("odd-platform", "1.0", func(m map[string]any) {
		item := m["items"].([]any)[0].(map[string]any)
		item["platform"], item["arch"] = map[string]any{"os": "beos"}, catalog.Platform{OS: "beos"}.String()
	})
	v.forges("odd-server", "1.0", func(m map[string]any) { m["min_server_version"] = "soon!" })
	v.tree("ledger", "1.0")
	v.deb(app("desk", "1.0"))
	v.issue()

	t.Run("held", func(t *testing.T) {
		v := v.in(t)
		feeds := v.assent("feed", "subscriptions", "--json")
		for update, reason := range map[string]string{"odd-format@1.0": "flatpak", "odd-platform@1.0": "beos", "odd-server@1.0": "soon!"} {
			if !strings.Contains(feeds, reason) {
				t.Errorf("the feed does not say what nobody understands of %s:\n%s", update, feeds)
			}
			if list := v.assent("update", "list", "--view", "seamless"); !strings.Contains(list, strings.TrimSuffix(update, "@1.0")) {
				t.Errorf("%s is not listed:\n%s", update, list)
			}
			v.refused(4, reason, "update", "approve", update)
			v.refused(4, reason, "package", "deploy", "--update", update, "--to", "All devices")
		}
		v.rolledOut("ledger@1.0", "web1") // all others go on
		if left := strings.TrimSpace(v.run("web1", "ls", "/opt/assent/acme")); left != "ledger" {
			t.Errorf("the device has the trees %q", left)
		}
	})

	t.Run("one version with two contents", func(t *testing.T) {
		v := v.in(t)
		v.tree("ledger", "2.0")
		v.tree("trap", "2.1")
		v.issue()
		v.until("the device could take ledger 2.0", func() bool { return v.on("web1", "ledger@2.0").State == "applicable" })
		var other any
		v.forges("trap", "2.1", func(m map[string]any) { other = m["items"].([]any)[0].(map[string]any)["sha256"] })
		v.forges("ledger", "2.0", func(m map[string]any) {
			item := m["items"].([]any)[0].(map[string]any)
			item["sha256"] = other // of the same size
		})
		v.issue()
		v.until("the status speaks of it", func() bool { return strings.Contains(v.assent("status"), "two releases with one version") })
		v.assent("update", "approve", "ledger@2.0")
		v.refresh()
		// Whether the device saw the second content before the approval or after it: only the first one may come.
		var now standing
		v.until("the device settled it", func() bool {
			now = v.on("web1", "ledger@2.0")
			return now.State == "blocked" || now.State == "installed"
		})
		got := v.run("web1", "cat", "/opt/assent/acme/ledger/current/version")
		if now.State == "blocked" && (now.Cause != "digest_mismatch" || got != "1.0\n") || now.State == "installed" && got != "2.0\n" {
			t.Errorf("ledger is %q, and %+v", got, now)
		}
	})

	t.Run("A7 a text that changed is asked for again, and a withdrawn acceptance counts no more", func(t *testing.T) {
		v := v.in(t)
		v.rolledOut("desk@1.0", "web1")
		first, second := v.text("EULA-1.txt", "One shop.\n"), v.text("EULA-2.txt", "One shop, one till.\n")
		v.deb(app("desk", "2.0"), "--agreement", "eula:en="+first)
		v.deb(app("desk", "3.0"), "--agreement", "eula:en="+first)
		v.deb(app("desk", "4.0"), "--agreement", "eula:en="+second)
		v.issue()
		v.assent("update", "approve", "desk@2.0", "--allow-superseded", "--accept-agreements")
		v.proven("web1", "desk@2.0")
		v.assent("update", "approve", "desk@3.0", "--allow-superseded") // the same text
		v.proven("web1", "desk@3.0")
		v.refused(4, "agreements_pending", "update", "approve", "desk@4.0")
		var list struct{ Items []struct{ Digest string } }
		v.ask(&list, "agreement", "list")
		if len(list.Items) != 1 {
			t.Fatalf("accepted: %+v", list.Items)
		}
		v.assent("agreement", "withdraw", list.Items[0].Digest, "--reason", "legal says no")
		late := v.Device("late")
		v.try(late.WriteFile("/etc/assent-agent/config.json", []byte(`{"scan": "1s"}`), 0o644))
		v.try(late.Enrol(t.Context(), "All devices"))
		v.installed("ledger@1.0", "late") // so it has a plan
		if got := v.version("late", "desk"); got != "" && got != "1.0" {
			t.Errorf("a withdrawn acceptance let desk %s in", got)
		}
		v.has("web1", "desk", "3.0") // what is there stays
	})
}

func TestT3_PrerequisitesAreNamedComeFirstAndKeepWhatNeedsThem(t *testing.T) {
	v := enrolled(open(t, "web1"), t).opens("acme")
	eula := v.text("EULA.txt", "Books are yours.\n")
	v.deb(app("engine", "1.0"), "--agreement", "eula:en="+eula)
	v.deb(after(app("books", "1.0"), "engine"), "--requires", "engine>=1.0")
	v.deb(after(app("till", "1.0"), "books"), "--requires", "books>=1.0")
	v.deb(app("core", "1.0"))
	v.deb(stuck(), "--title", "Stuck")
	v.issue()

	// It takes a minute to be tried again, in which the rest goes on.
	v.rolledOut("stuck@1.0", "web1")
	v.assent("update", "decline", "stuck@1.0", "--reason", "not licensed")
	failed := v.becomes("web1", "stuck@1.0", "remove_failed")
	if failed.Cause != "install_failed" || !strings.Contains(failed.Detail, "pre-removal") || !strings.Contains(failed.Detail, "next after") {
		t.Errorf("the failed removal does not say why, or when it is tried again: %+v", failed)
	}
	v.has("web1", "stuck", "1.0")
	v.run("web1", "rm", "/etc/stuck.refuse")

	t.Run("a chain", func(t *testing.T) {
		v := v.in(t)
		v.refused(4, "agreements_pending", "update", "approve", "till@1.0") // A7: those of the prerequisite of its prerequisite count
		v.assent("update", "approve", "till@1.0", "--accept-agreements")
		v.assent("package", "deploy", "--update", "till@1.0", "--to", "All devices")
		v.explains("web1", "till@1.0", "books 1.0")
		v.has("web1", "till", "")
		v.assent("update", "approve", "books@1.0")
		v.explains("web1", "till@1.0", "engine 1.0")
		v.has("web1", "books", "")
		v.assent("update", "approve", "engine@1.0")
		for _, update := range []string{"engine@1.0", "books@1.0", "till@1.0"} {
			v.proven("web1", update) // each refuses to be unpacked before the one that it needs works
		}
	})

	t.Run("C1 a removal that would take something else along fails, says what, and works once that is gone", func(t *testing.T) {
		v := v.in(t)
		v.rolledOut("core@1.0", "web1")
		b, err := debrepo.Deb(debrepo.Package{Name: "own-tool", Version: "1", Description: "made here", Depends: "core"})
		v.try(err)
		v.try(v.Device("web1").WriteFile("/root/own-tool.deb", b, 0o644))
		v.run("web1", "dpkg", "-i", "/root/own-tool.deb")
		v.assent("update", "decline", "core@1.0", "--reason", "not licensed")
		now := v.becomes("web1", "core@1.0", "blocked")
		if now.Cause != "removal_needed" || !strings.Contains(now.Detail, "own-tool") {
			t.Errorf("the block does not name what needs it: %+v", now)
		}
		v.explains("web1", "core@1.0", "own-tool")
		v.has("web1", "core", "1.0")
		v.has("web1", "own-tool", "1")
		v.run("web1", "dpkg", "-r", "own-tool")
		v.becomes("web1", "core@1.0", "removed")
		v.has("web1", "core", "")
		if got := v.effects("web1", "core"); got != "1.0 gone" {
			t.Errorf("dpkg did %s", got)
		}
	})

	t.Run("C1 a removal that failed is tried again by itself", func(t *testing.T) {
		v := v.in(t)
		v.becomes("web1", "stuck@1.0", "removed")
		v.has("web1", "stuck", "")
	})
}

// after is an application that refuses to be unpacked while another one does not work. Nothing but its publisher's word
// says so: it has no dependency that a package manager could see.
func after(p debrepo.Package, other string) debrepo.Package {
	p.PreInst = "#!/bin/sh\ndpkg-query -W -f '${db:Status-Status}' " + other + " | grep -qx installed\n"
	return p
}

// stuck is an application that refuses to go while /etc/stuck.refuse is there.
func stuck() debrepo.Package {
	return debrepo.Package{Name: "stuck", Version: "1.0", Description: "does not want to go", Files: map[string]string{"/usr/lib/stuck/version": "1.0\n"},
		PostInst: "#!/bin/sh\n[ -z \"$2\" ] && [ \"$1\" = configure ] && echo > /etc/stuck.refuse\nexit 0\n", PreRm: "#!/bin/sh\n[ ! -e /etc/stuck.refuse ]\n"}
}
