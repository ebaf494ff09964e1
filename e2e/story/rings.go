package story

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"assent/e2e/stage"
	"assent/lab/debrepo"
)

// tillApp is an application that says in a file whether it is well. 2.0 is not where a device has the old card reader.
func tillApp(version string) debrepo.Package {
	broken := "false"
	if version == "2.0" {
		broken = "[ -e /etc/old-card-reader ]"
	}
	return debrepo.Package{Name: "acme-till", Version: version, Description: "Acme's till",
		Files: map[string]string{"/usr/lib/acme-till/version": version + "\n"},
		PostInst: fmt.Sprintf("#!/bin/sh\nset -e\n[ \"$1\" = configure ] || exit 0\nmkdir -p /var/lib/acme-till\n"+
			"if %s; then echo no card reader > /var/lib/acme-till/health; else echo well > /var/lib/acme-till/health; fi\n", broken)}
}

// tillTask lets security updates of the till go through Test and Pilot before Production has them, by their outcome.
func tillTask() string {
	sum := sha256.Sum256([]byte("well\n"))
	ring := func(name, soak string) string {
		return "  - name: " + name + "\n    groups: [" + name + "]\n    success_per_mille: 1000\n    failure_limit: 1\n    probes_required: true\n    soak: " + soak + "\n"
	}
	return "id: tills\nname: Tills\ntargets:\n  groups: [Test, Production]\nrules:\n  - name: security updates of the till\n    admits: approved\n" +
		"    criteria: security && name == \"acme-till\"\nprobes:\n  - type: file\n    path: /var/lib/acme-till/health\n    sha256: " + hex.EncodeToString(sum[:]) +
		"\n    timeout: 2\non_failure: restore\nrings:\n" + ring("Test", "5s") + ring("Pilot", "5s") + ring("Production", "0s")
}

// rings tells how updates reach the devices by outcome: ring after ring, and no further when one fails.
func (t *Teller) rings() {
	t.chapter("19. Rings: security updates reach Pilot by their outcome in Test, and a bad one stops there and goes back by itself")
	if t.err != nil {
		return
	}
	v, err := t.Stage.NewVendor("tills")
	if err != nil {
		t.fail("%w", err)
		return
	}
	t.tills(v)
	t.say("two days in ring Test are what the recipe asks for; this story has seconds")
	t.assent("task", "recipe", "security-test")
	file := filepath.Join(t.Stage.Dir(), "tills.yaml")
	if err := os.WriteFile(file, []byte(tillTask()), 0o600); err != nil && t.err == nil {
		t.fail("write a task: %w", err)
	}
	t.assent("task", "create", "-f", file)
	t.passes(v)
	t.halts(v)
}

// tills puts the till onto all devices, one of them with the old card reader in ring Pilot.
func (t *Teller) tills(v *stage.Vendor) {
	one := made[string](t)(v.Deb(tillApp("1.0")))
	t.vendor("feed", "init", v.Dir, "--name", v.Name)
	t.vendor("feed", "add", v.Dir, one)
	t.vendor("feed", "sign", v.Dir)
	t.vendor("feed", "publish", v.Dir, v.Out())
	t.assent("feed", "subscribe", v.Name, v.URL, "--root", v.Root())
	t.assent("feed", "refresh", v.Name, "--wait")
	t.assent("group", "create", "Pilot", "--parent", "Production")
	t.assent("device", "move", "web2", "--to", "Pilot")
	t.assent("update", "approve", "acme-till@1.0")
	t.assent("package", "deploy", "--update", "acme-till@1.0", "--to", "All devices")
	t.has("acme-till", "1.0", "test1", "web1", "web2", "db1")
	t.on("web2", "touch", "/etc/old-card-reader")
}

// release publishes a security update of the till and approves it for all.
func (t *Teller) release(v *stage.Vendor, version, cve string) {
	file := made[string](t)(v.Deb(tillApp(version)))
	t.vendor("feed", "add", v.Dir, file, "--cve", cve, "--severity", "high")
	t.publish(v)
	t.until("the devices say that they could take it", patience, func() bool {
		for _, r := range t.updates("--search", "acme-till", "--needed") {
			if r.Version == version {
				return r.Needed == 4
			}
		}
		return false
	})
	t.assent("update", "approve", "acme-till@"+version)
}

// passes is a good update: Test, then Pilot, then Production.
func (t *Teller) passes(v *stage.Vendor) {
	t.release(v, "1.1", "CVE-2026-20001")
	t.has("acme-till", "1.1", "test1", "web1", "web2", "db1")
	t.until("the rollout is through all rings", patience, func() bool { return t.rollout("acme-till@1.1").Phase == "finished" })
	t.assent("rollout", "show", "Tills", "acme-till@1.1")
}

// halts is a bad one: it is well in Test and not in Pilot, which halts it for everybody and takes it back where it is.
func (t *Teller) halts(v *stage.Vendor) {
	t.release(v, "2.0", "CVE-2026-20002")
	t.has("acme-till", "2.0", "test1")
	t.until("the rollout is halted at ring Pilot, by its probe", patience, func() bool {
		r := t.rollout("acme-till@2.0")
		return r.Phase == "halted" && r.Ring == "Pilot"
	})
	t.has("acme-till", "1.1", "web2")
	t.say("nobody acted: web2 went back by itself, web1 and db1 never had it, and every reason can be read")
	t.assent("rollout", "list")
	out := t.assent("rollout", "show", "Tills", "acme-till@2.0") + t.assent("why", "web2", "acme-till@2.0") + t.assent("why", "web1", "acme-till@2.0") + t.assent("status")
	for _, word := range []string{"halted", "web2", "its health probe failed on this device", `halted at ring "Pilot"`, `The rollout of acme-till 2.0 by "Tills" is halted`} {
		if t.err == nil && !strings.Contains(out, word) {
			t.fail("nothing says %q: %s", word, out)
		}
	}
	t.version("test1", "acme-till", "2.0")
	t.version("web1", "acme-till", "1.1")
	t.version("db1", "acme-till", "1.1")
}

// rollout is where a rollout of the till stands; the zero value if it has not begun.
func (t *Teller) rollout(update string) (r struct{ Phase, Ring string }) {
	var list struct {
		Items []struct{ Phase, Ring string }
	}
	t.ask(&list, "rollout", "list", "--task", "Tills", "--update", update)
	if len(list.Items) > 0 {
		r = list.Items[0]
	}
	return r
}
