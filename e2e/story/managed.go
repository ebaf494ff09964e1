package story

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"

	"assent/e2e/stage"
	"assent/lab/debrepo"
)

// vendor runs one of the vendor's commands and demands exit code 0.
func (t *Teller) vendor(args ...string) {
	if t.err != nil {
		return
	}
	a, err := t.Stage.CLI(t.ctx, args...)
	if err != nil {
		t.fail("assent %s: %w", quote(args), err)
		return
	}
	t.print("vendor$ assent ", quote(args), a.Stdout+a.Stderr)
	if a.Code != 0 {
		t.fail("assent %s: exit code %d: %s", quote(args), a.Code, a.Stderr)
	}
}

// publish signs the vendor's draft, puts it onto its web server and has the server look at once.
func (t *Teller) publish(v *stage.Vendor) {
	t.vendor("feed", "sign", v.Dir)
	t.vendor("feed", "publish", v.Dir, v.Out())
	t.assent("feed", "refresh", v.Name, "--wait")
}

// made fails the story if something of the vendor could not be made.
func made[T any](t *Teller) func(T, error) T {
	return func(x T, err error) T {
		if err != nil {
			t.fail("the vendor makes its release: %w", err)
		}
		return x
	}
}

// ledgerApp is a release of the vendor's application: a Debian package with a conffile and data of its own.
func ledgerApp(version string) debrepo.Package {
	return debrepo.Package{Name: "acme-ledger", Version: version, Description: "Acme's ledger for small shops",
		Files:     map[string]string{"/usr/lib/acme-ledger/version": version + "\n", "/etc/acme-ledger.conf": "currency=EUR\n"},
		Conffiles: []string{"/etc/acme-ledger.conf"},
		PostInst:  "#!/bin/sh\nset -e\n[ \"$1\" = configure ] || exit 0\nmkdir -p /var/lib/acme-ledger\n[ -e /var/lib/acme-ledger/books ] || echo opened > /var/lib/acme-ledger/books\n"}
}

// managed is the second half of the subject: applications that a vendor publishes in a signed feed.
func (t *Teller) managed() {
	if t.err != nil {
		return
	}
	v, err := t.Stage.NewVendor("acme")
	if err != nil {
		t.fail("%w", err)
		return
	}
	t.subscribe(v)
	t.deploy()
	t.agree(v)
	t.takeOff()
	t.gate(v)
	t.recall(v)
	t.content(v)
	t.stays(v)
	t.itself()
}

func (t *Teller) subscribe(v *stage.Vendor) {
	t.chapter("9. A vendor publishes applications in a feed that it signs itself")
	one := made[string](t)(v.Deb(ledgerApp("1.0")))
	t.vendor("feed", "init", v.Dir, "--name", v.Name)
	t.vendor("feed", "add", v.Dir, one, "--title", "Acme Ledger")
	t.vendor("feed", "sign", v.Dir)
	t.vendor("feed", "publish", v.Dir, v.Out())
	t.vendor("feed", "verify", v.Out())
	t.say("the server follows it from the root that the administrator got from the vendor; devices pin the same root and verify everything again")
	t.assent("feed", "subscribe", v.Name, v.URL, "--root", v.Root())
	t.until("its release is in the list", patience, func() bool { return len(t.updates("--view", "seamless")) == 1 })
	t.assent("update", "list", "--view", "seamless")
}

func (t *Teller) deploy() {
	t.chapter("10. Put it on devices that lack it: an installation package, through the same approval, queue, guard and proof")
	t.assent("update", "approve", "acme-ledger@1.0", "--reason", "bought")
	t.assent("package", "create", "--update", "acme-ledger@1.0", "--name", "Acme Ledger")
	t.until("web1 and web2 say that they could take it", patience, func() bool { return t.fresh("acme-ledger@1.0", "web1") && t.fresh("acme-ledger@1.0", "web2") })
	t.assent("package", "deploy", "Acme Ledger", "--to", "Web", "--dry-run")
	t.assent("package", "deploy", "Acme Ledger", "--to", "Web")
	t.has("acme-ledger", "1.0", "web1", "web2")
	t.version("db1", "acme-ledger", "")
	t.on("web1", "sh", "-c", "echo 'Monday: 12 EUR' >> /var/lib/acme-ledger/books; echo currency=CHF > /etc/acme-ledger.conf")
}

// fresh reports whether a device says that it could take an application that it lacks, and what would come with it.
func (t *Teller) fresh(ref, device string) bool {
	if t.err != nil {
		return false
	}
	a, err := t.Stage.CLI(t.ctx, "why", device, ref)
	return err == nil && strings.Contains(a.Stdout, "package deploy")
}

// has waits until devices have a package at a version.
func (t *Teller) has(pkg, version string, devices ...string) {
	t.until(strings.Join(devices, " and ")+" have "+strings.TrimSpace(pkg+" "+version), patience, func() bool {
		for _, d := range devices {
			if got, err := t.Stage.Device(d).Version(t.ctx, pkg); err != nil || got != version {
				return false
			}
		}
		return true
	})
	for _, d := range devices {
		t.version(d, pkg, version)
	}
}

// known waits until the devices' scans say that some of them have an update.
func (t *Teller) known(ref string, devices int) {
	t.until("the devices' scans show "+ref, patience, func() bool { return t.installed(ref) == devices })
}

func (t *Teller) agree(v *stage.Vendor) {
	t.chapter("11. Updates, and a licence agreement that must be accepted first")
	eula := made[string](t)(v.File("EULA.txt", []byte("You may use Acme Ledger in one shop.\nWe may change our minds.\n")))
	next := made[string](t)(v.Deb(ledgerApp("1.1")))
	two := made[string](t)(v.Deb(ledgerApp("2.0")))
	t.vendor("feed", "add", v.Dir, next, "--cve", "CVE-2026-12345", "--severity", "high")
	t.vendor("feed", "add", v.Dir, two, "--agreement", "eula:en="+eula, "--agreement-title", "eula=Acme Ledger licence")
	t.publish(v)
	t.until("the devices say that they could take both", patience, func() bool {
		n := 0
		for _, r := range t.updates("--view", "seamless", "--needed") {
			n += r.Needed
		}
		return n == 4
	})
	t.assent("update", "list", "--view", "seamless", "--sort", "version")
	t.assent("update", "approve", "acme-ledger@1.1", "--allow-superseded", "--wait")
	t.has("acme-ledger", "1.1", "web1", "web2")
	t.refused("agreements_pending", "update", "approve", "acme-ledger@2.0")
	t.assent("update", "agreements", "acme-ledger@2.0")
	t.assent("update", "approve", "acme-ledger@2.0", "--accept-agreements", "--wait")
	t.has("acme-ledger", "2.0", "web1", "web2")
	t.known("acme-ledger@2.0", 2)
	t.assent("agreement", "list")
}

func (t *Teller) takeOff() {
	t.chapter("12. Decline it: devices that have it go back by themselves, with their data and configuration")
	t.assent("update", "decline", "acme-ledger@2.0", "--reason", "adds up wrongly")
	t.has("acme-ledger", "1.1", "web1", "web2")
	out := t.on("web1", "cat", "/var/lib/acme-ledger/books", "/etc/acme-ledger.conf")
	if t.err == nil && (!strings.Contains(out, "Monday: 12 EUR") || !strings.Contains(out, "currency=CHF")) {
		t.fail("data or configuration were lost: %s", out)
	}
	t.onRefused("web1", "declined", "apt-get", "-y", "-q", "install", "acme-ledger=2.0")
	t.assent("why", "web1", "acme-ledger@2.0")
}

func (t *Teller) gate(v *stage.Vendor) {
	t.chapter("13. A release that needs a newer server: listed, not approvable, and approvable after the upgrade")
	three := made[string](t)(v.Deb(ledgerApp("3.0")))
	t.vendor("feed", "add", v.Dir, three, "--min-server-version", stage.NextVersion)
	t.publish(v)
	t.until("the devices say that they could take it", patience, func() bool {
		rows := t.updates("--gated")
		return len(rows) == 1 && rows[0].Needed == 2
	})
	t.assent("update", "list", "--gated")
	t.refused("server_too_old", "update", "approve", "acme-ledger@3.0")
	t.refused("server_too_old", "package", "create", "--update", "acme-ledger@3.0")
	t.assent("update", "approve", "--all-matching", "--view", "seamless", "--search", "acme-ledger", "--dry-run")
	t.say("the server is upgraded: another build, the same data directory")
	if t.err == nil {
		if err := t.Stage.Server.Upgrade(t.ctx); err != nil {
			t.fail("upgrade assentd: %w", err)
		}
	}
	t.assent("update", "approve", "acme-ledger@3.0", "--group", "Web")
	t.has("acme-ledger", "3.0", "web1", "web2")
	t.known("acme-ledger@3.0", 2)
}

func (t *Teller) recall(v *stage.Vendor) {
	t.chapter("14. The vendor recalls a release: an alarm, no new installs, and a decline takes it back")
	t.vendor("feed", "revoke", v.Dir, "acme-ledger", "3.0", "--reason", "loses entries at midnight")
	t.publish(v)
	out := t.assent("status")
	if t.err == nil && !strings.Contains(out, "recalled acme-ledger 3.0") {
		t.fail("the status does not speak of the recall: %s", out)
	}
	t.refused("revoked", "update", "approve", "acme-ledger@3.0", "--group", "Test")
	t.version("web1", "acme-ledger", "3.0")
	t.assent("update", "decline", "acme-ledger@3.0", "--reason", "recalled")
	t.has("acme-ledger", "1.1", "web1", "web2")
}

// signatures packs a set of Acme's signatures.
func (t *Teller) signatures(v *stage.Vendor, version, promised string) {
	text := "signatures of " + version + "\n"
	file := made[string](t)(v.Tree("signatures-"+version+".tar", map[string]string{"db": text}))
	if promised != "" {
		text = promised
	}
	sum := sha256.Sum256([]byte(text))
	t.vendor("feed", "add", v.Dir, file, "--class", "content", "--payload", "content", "--application", "acme-signatures", "--version", version,
		"--probe", "file:db="+hex.EncodeToString(sum[:]))
}

func (t *Teller) content(v *stage.Vendor) {
	t.chapter("15. Content: verified on the test device first, then released to all without approval; a bad set never leaves staging")
	t.assent("group", "test", "Test")
	t.signatures(v, "2026.11.1", "")
	t.publish(v)
	t.assent("package", "deploy", "--update", "acme-signatures@2026.11.1", "--to", "All devices")
	t.serves("2026.11.1", "test1", "web1", "web2", "db1")
	t.say("the next set is broken: its probe does not pass")
	t.signatures(v, "2026.11.2", "something else\n")
	t.publish(v)
	t.until("test1 refused it", patience, func() bool {
		var s struct{ Attention []string }
		t.ask(&s, "status")
		return strings.Contains(strings.Join(s.Attention, "\n"), "refused the content acme-signatures 2026.11.2")
	})
	t.assent("why", "web1", "acme-signatures@2026.11.2")
	t.serves("2026.11.1", "test1", "web1", "web2", "db1")
}

func (t *Teller) stays(v *stage.Vendor) {
	t.chapter("16. What cannot be uninstalled stays where it is, says so, and goes nowhere else")
	driver := made[string](t)(v.Deb(debrepo.Package{Name: "acme-driver", Version: "1.0", Description: "Acme's printer driver"}))
	t.vendor("feed", "add", v.Dir, driver, "--not-removable", "it has written its firmware")
	t.publish(v)
	t.assent("update", "approve", "acme-driver@1.0")
	t.assent("package", "deploy", "--update", "acme-driver@1.0", "--to", "web1")
	t.has("acme-driver", "1.0", "web1")
	t.known("acme-driver@1.0", 1)
	t.assent("update", "decline", "acme-driver@1.0", "--reason", "prints upside down")
	t.until("it says so", patience, func() bool {
		a, err := t.Stage.CLI(t.ctx, "why", "web1", "acme-driver@1.0")
		return err == nil && strings.Contains(a.Stdout, "cannot be uninstalled")
	})
	t.assent("why", "web1", "acme-driver@1.0")
	t.version("web1", "acme-driver", "1.0")
	t.version("web2", "acme-driver", "")
}

// agents reports which version of the agent a device runs.
func (t *Teller) agents(device string) string {
	var d struct{ Agent string }
	t.ask(&d, "device", "show", device)
	return d.Agent
}

func (t *Teller) itself() {
	t.chapter("17. Assent itself is a component: approved like any other, blocked where it is declined, never uninstalled")
	if t.err != nil {
		return
	}
	maker, err := t.Stage.NewVendor("assent")
	if err != nil {
		t.fail("%w", err)
		return
	}
	program := made[[]byte](t)(os.ReadFile(t.Stage.Next("assent-agent")))
	file := made[string](t)(maker.Tree("assent-agent.tar", map[string]string{"assent-agent": string(program)}))
	t.vendor("feed", "init", maker.Dir, "--name", maker.Name)
	t.vendor("feed", "add", maker.Dir, file, "--application", "assent-agent", "--version", stage.NextVersion, "--class", "component",
		"--platform", "linux///"+debrepo.HostArch(), "--not-removable", "it is Assent itself")
	t.vendor("feed", "sign", maker.Dir)
	t.vendor("feed", "publish", maker.Dir, maker.Out())
	t.assent("feed", "subscribe", maker.Name, maker.URL, "--root", maker.Root())
	ref := "assent-agent@" + stage.NextVersion
	t.until("the devices say that they could take it", patience, func() bool {
		rows := t.updates("--class", "component")
		return len(rows) == 1 && rows[0].Needed == 4
	})
	t.assent("update", "list", "--class", "component")
	t.assent("update", "decline", ref, "--group", "Production", "--reason", "after the holidays")
	t.assent("update", "approve", ref, "--group", "Test")
	t.until("test1 runs the newer agent, which has proven itself", patience, func() bool { return t.agents("test1") == stage.NextVersion })
	t.assent("why", "web1", ref)
	if t.err == nil && t.agents("web1") == stage.NextVersion {
		t.fail("web1 took a component that is declined there")
	}
}

// serves waits until devices have a set as the one in use.
func (t *Teller) serves(version string, devices ...string) {
	t.until(strings.Join(devices, ", ")+" use the set "+version, patience, func() bool {
		for _, d := range devices {
			out, _, code, err := t.Stage.Device(d).Run(t.ctx, "cat", "/var/lib/assent-content/acme/acme-signatures/current/db")
			if err != nil || code != 0 || out != "signatures of "+version+"\n" {
				return false
			}
		}
		return true
	})
}
