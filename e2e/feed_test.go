package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"assent/e2e/stage"
	"assent/lab/debrepo"
)

// publisher is a vendor with a feed that the server of a script follows.
type publisher struct {
	*stage.Vendor
	*script
}

// opens makes a vendor with an empty feed and subscribes to it.
func (s *script) opens(name string) *publisher {
	s.t.Helper()
	v, err := s.NewVendor(name)
	s.try(err)
	s.assent("feed", "init", v.Dir, "--name", name)
	s.try(v.Publish(s.t.Context()))
	s.assent("feed", "subscribe", name, v.URL, "--root", v.Root())
	return &publisher{v, s}
}

// in is the publisher in a test below.
func (v *publisher) in(t *testing.T) *publisher { return &publisher{v.Vendor, &script{v.Stage, t}} }

// add puts a release with what a vendor says of it into the draft.
func (v *publisher) add(file string, says ...string) {
	v.t.Helper()
	v.assent(append([]string{"feed", "add", v.Dir, file}, says...)...)
}

// issue publishes the draft and waits until the server has it.
func (v *publisher) issue() {
	v.t.Helper()
	v.try(v.Vendor.Publish(v.t.Context()))
	v.assent("feed", "refresh", v.Name, "--wait")
}

// deb adds a release of app.
func (v *publisher) deb(p debrepo.Package, says ...string) {
	v.t.Helper()
	file, err := v.Deb(p)
	v.try(err)
	v.add(file, says...)
}

// tree adds a release that is unpacked side by side.
func (v *publisher) tree(name, version string, says ...string) {
	v.t.Helper()
	file, err := v.Tree(name+"-"+version+".tar", map[string]string{"version": version + "\n"})
	v.try(err)
	v.add(file, append([]string{"--application", name, "--version", version}, says...)...)
}

// app is an application as a Debian package. It writes down what dpkg does with it, see effects, and waits in the middle of
// that while a device has its hold file.
func app(name, version string) debrepo.Package {
	script := func(when, what string) string {
		return fmt.Sprintf("#!/bin/sh\nset -e\n[ \"$1\" = %[1]s ] || exit 0\necho %[2]s >> /var/log/%[3]s.effects\necho > /run/%[3]s.started\n"+
			"while [ -e /etc/%[3]s.hold ]; do sleep 0.05; done\nrm -f /run/%[3]s.started\n", when, what, name)
	}
	return debrepo.Package{Name: name, Version: version, Description: name,
		Files:    map[string]string{"/usr/lib/" + name + "/version": version + "\n"},
		PostInst: script("configure", version), PreRm: script("remove", "gone")}
}

// effects are the versions of app that were configured on a device, and "gone" for each removal, in order.
func (s *script) effects(device, name string) string {
	s.t.Helper()
	log, err := s.Device(device).ReadFile("/var/log/" + name + ".effects")
	s.try(err)
	return strings.Join(strings.Fields(string(log)), " ")
}

// holds makes app wait in the middle of the next step, and goesOn ends that.
func (s *script) holds(device, name string) {
	s.t.Helper()
	s.try(s.Device(device).WriteFile("/etc/"+name+".hold", nil, 0o644))
}

func (s *script) goesOn(device, name string) {
	s.t.Helper()
	s.try(s.Device(device).Remove("/etc/" + name + ".hold"))
}

// inTheMiddle waits until app waits on its device.
func (s *script) inTheMiddle(device, name string) {
	s.t.Helper()
	s.until(name+" is in the middle of its step on "+device, func() bool {
		_, _, code, err := s.Device(device).Run(s.t.Context(), "test", "-e", "/run/"+name+".started")
		return err == nil && code == 0
	})
}

// rolledOut approves an update, has all devices get it that lack the application, and waits until these have it.
func (s *script) rolledOut(update string, devices ...string) {
	s.t.Helper()
	s.assent("update", "approve", update, "--allow-superseded")
	s.assent("package", "deploy", "--update", update, "--to", "All devices")
	s.installed(update, devices...)
}

// approved approves an update and waits until devices have it.
func (s *script) approved(update string, devices ...string) {
	s.t.Helper()
	s.assent("update", "approve", update, "--allow-superseded")
	s.installed(update, devices...)
}

func (s *script) installed(update string, devices ...string) {
	s.t.Helper()
	for _, d := range devices {
		s.proven(d, update)
	}
}

// goes waits until a device has a version of a package; none when it is empty.
func (s *script) goes(device, pkg, version string) {
	s.t.Helper()
	s.until(strings.TrimSpace(device+" goes to "+pkg+" "+version), func() bool { return s.version(device, pkg) == version })
}

// explains waits until `assent why` says all of these.
func (s *script) explains(device, update string, words ...string) {
	s.t.Helper()
	out := ""
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("why %s %s:\n%s", device, update, out)
		}
	})
	s.until("why "+device+" "+update+" says "+strings.Join(words, ", "), func() bool {
		a, err := s.CLI(s.t.Context(), "why", device, update)
		s.try(err)
		out = a.Stdout + a.Stderr
		return a.Code == 0 && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(out, w) })
	})
}

// laterComers enrols all devices but these, which enrol when they are told to.
func laterComers(of *stage.Stage, t *testing.T, late ...string) *script {
	t.Helper()
	all := of.Devices
	of.Devices = slices.DeleteFunc(slices.Clone(all), func(d *stage.Device) bool { return slices.Contains(late, d.Name()) })
	s := enrolled(of, t)
	of.Devices = all
	return s
}

func TestC7_ADeclineOfAnApplicationLetsEverythingUnderWayFinishAndThenGoesBack(t *testing.T) {
	v := laterComers(open(t, "web1", "web2", "late"), t, "late").opens("acme")
	v.deb(app("desk", "1.0"))
	v.issue()
	v.rolledOut("desk@1.0", "web1", "web2")
	v.deb(app("desk", "2.0"))
	v.deb(app("pad", "1.0"))
	v.issue()
	v.approved("desk@2.0", "web1", "web2")

	t.Run("while a device is off, and one enrols that never had it", func(t *testing.T) {
		v := v.in(t)
		web2, late := v.Device("web2"), v.Device("late")
		v.try(web2.PowerCut(t.Context()))
		v.assent("update", "decline", "desk@2.0", "--reason", "adds up wrongly")
		v.goes("web1", "desk", "1.0")
		v.becomes("web1", "desk@2.0", "removed")
		v.try(late.WriteFile("/etc/assent-agent/config.json", []byte(`{"scan": "1s"}`), 0o644))
		v.try(late.Enrol(t.Context(), "All devices"))
		v.try(web2.Boot(t.Context()))
		v.goes("web2", "desk", "1.0")
		v.becomes("web2", "desk@2.0", "removed")
		v.installed("desk@1.0", "late")
		v.explains("late", "desk@2.0", "adds up wrongly")
		if got := v.effects("late", "desk"); got != "1.0" {
			t.Errorf("dpkg configured on a device that came later: %s", got)
		}
		if got := v.effects("web2", "desk"); got != "1.0 2.0 1.0" {
			t.Errorf("dpkg configured on the device that was off: %s", got)
		}
	})

	t.Run("while it installs", func(t *testing.T) {
		v := v.in(t)
		v.deb(app("desk", "3.0"))
		v.issue()
		v.holds("web1", "desk")
		v.assent("update", "approve", "desk@3.0")
		v.inTheMiddle("web1", "desk")
		v.assent("update", "decline", "desk@3.0", "--reason", "no better")
		v.until("the wall stands on the device", func() bool {
			out, _, _, err := v.Device("web1").Run(t.Context(), "assent-agent", "why", "desk")
			return err == nil && strings.Contains(out, "no better")
		})
		if got := v.version("web1", "desk"); got != "" {
			t.Errorf("the package manager's transaction was ended: desk is %s", got)
		}
		v.goesOn("web1", "desk")
		v.becomes("web1", "desk@3.0", "removed")
		v.has("web1", "desk", "1.0")
		if got := v.effects("web1", "desk"); got != "1.0 2.0 1.0 3.0 1.0" {
			t.Errorf("dpkg configured: %s", got)
		}
		if audit := v.run("web1", "dpkg", "--audit"); audit != "" {
			t.Errorf("dpkg --audit: %s", audit)
		}
	})

	t.Run("and is lifted while it is removed", func(t *testing.T) {
		v := v.in(t)
		v.rolledOut("pad@1.0", "web1")
		v.holds("web1", "pad")
		v.assent("update", "decline", "pad@1.0", "--reason", "by mistake")
		v.inTheMiddle("web1", "pad")
		v.assent("update", "approve", "pad@1.0", "--lift", "--reason", "it was a mistake")
		v.becomes("web1", "pad@1.0", "removing")
		v.goesOn("web1", "pad")
		v.until("pad is back", func() bool { return v.effects("web1", "pad") == "1.0 gone 1.0" })
		v.proven("web1", "pad@1.0")
	})
}
