package apt

import (
	"slices"
	"strings"
	"testing"

	"assent/agent/internal/command"
	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/installation"
	"assent/wire"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// transcript is what apt-get -s printed on real devices, with the shapes that parsers are known to lose.
const transcript = `Reading package lists...
Building dependency tree...
The following packages will be upgraded:
  apt apt-utils libapt-pkg6.0
3 upgraded, 1 newly installed, 1 to remove and 0 not upgraded.
Remv acme-y [1.0]
Remv libold:i386 [1:2.0-1] [libuser:i386 ]
Purg acme-p [1.0] []
Inst apt [2.6.1] (2.6.2 Debian:12.9/stable, Debian-Security:12/stable-security [amd64]) [apt-utils:amd64 ]
Inst libapt-pkg6.0 [2.6.1] (2.6.2 Debian:12.9/stable [amd64]) []
Inst apt-utils [2.6.1] (2.6.2 Debian:12.9/stable [amd64])
Inst acme-new (1:1.0~rc1+b1 Acme (Inc) [beta]:stable [all])
Inst local (3.0 [all])
Inst libc6:i386 (2.36-9 Debian:12.9/stable [i386])
Conf libapt-pkg6.0 (2.6.2 Debian:12.9/stable [amd64])
`

func TestParseSimulationLosesNoLine(t *testing.T) {
	got, err := parseSimulation(transcript)
	if err != nil {
		t.Fatal(err)
	}
	want := []step{
		{Remove: true, Name: "acme-y", From: "1.0"},
		{Remove: true, Name: "libold", Arch: "i386", From: "1:2.0-1"},
		{Remove: true, Name: "acme-p", From: "1.0"},
		{Name: "apt", Arch: "amd64", Version: "2.6.2", From: "2.6.1"},
		{Name: "libapt-pkg6.0", Arch: "amd64", Version: "2.6.2", From: "2.6.1"},
		{Name: "apt-utils", Arch: "amd64", Version: "2.6.2", From: "2.6.1"},
		{Name: "acme-new", Arch: "all", Version: "1:1.0~rc1+b1"},
		{Name: "local", Arch: "all", Version: "3.0"},
		{Name: "libc6", Arch: "i386", Version: "2.36-9"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseSimulationHoldsWhereItCannotRead(t *testing.T) {
	for _, line := range []string{"Inst", "Inst x", "Inst x 1.0", "Inst x (1.0)", "Inst x [1.0 (2.0 A:b [all])", "Inst X (1.0 A:b [all])",
		"Inst x (1_0 A:b [all])", "Inst x (1.0 A:b all])", "Remv", "Remv x", "Remv x [1.0", "Purg -x [1.0]"} {
		if steps, err := parseSimulation(line + "\n"); err == nil {
			t.Errorf("%q read as %+v", line, steps)
		}
	}
}

func FuzzParseSimulation(f *testing.F) {
	f.Add(transcript)
	f.Fuzz(func(t *testing.T, out string) {
		steps, err := parseSimulation(out)
		if err != nil {
			return
		}
		lines := 0
		for line := range strings.Lines(out) {
			op, _, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
			if op == "Inst" || op == "Remv" || op == "Purg" {
				lines++
			}
		}
		if lines != len(steps) {
			t.Errorf("%d lines gave %d steps", lines, len(steps))
		}
	})
}

func TestAptErrorsAreAptsOwnWords(t *testing.T) {
	out := "The following packages have unmet dependencies:\n acme-app : Depends: acme-lib (>= 1.1) but 1.0 is to be installed\n" +
		"            Breaks: x\nE: Unable to correct problems, you have held broken packages.\nW: other\n"
	want := []string{"acme-app : Depends: acme-lib (>= 1.1) but 1.0 is to be installed", "Breaks: x", "Unable to correct problems, you have held broken packages."}
	if diff := cmp.Diff(want, aptErrors(out)); diff != "" {
		t.Error(diff)
	}
}

func TestOutcomeReportsErrorsKeptConffilesAndABoundedLog(t *testing.T) {
	text := "Setting up a (2) ...\n\nConfiguration file '/etc/a b.conf'\n ==> Modified (by you or by a script) since installation.\n" +
		" ==> Package distributor has shipped an updated version.\n ==> Keeping old config file as default.\n" +
		"Configuration file '/etc/new.conf'\n ==> Using new config file as default.\n" +
		"dpkg: error processing package acme-svc (--configure):\n installed acme-svc package post-installation script subprocess returned error exit status 7\n" +
		"E: Sub-process /usr/bin/dpkg returned an error code (1)\n\x1b[31m" + strings.Repeat("x", 100_000)
	out := outcome(text, command.Exit{Codes: []int{100, 0}})
	if out.ExitCode != 100 || !cmp.Equal(out.Conffiles, []string{"/etc/a b.conf"}) ||
		!slices.Contains(out.Errors, "dpkg: error processing package acme-svc (--configure): installed acme-svc package post-installation script subprocess returned error exit status 7") || len(out.Errors) != 2 || len(out.Log) > maxOutcomeLog || strings.Contains(out.Log, "\x1b") {
		t.Errorf("code %d, conffiles %q, errors %q, log of %d", out.ExitCode, out.Conffiles, out.Errors, len(out.Log))
	}
	if out := outcome("", command.Exit{Lost: true}); out.ExitCode != -1 {
		t.Errorf("a lost run has exit code %d", out.ExitCode)
	}
}

func TestClassifyRunNamesTheCause(t *testing.T) {
	for text, cause := range map[string]installation.Cause{
		"E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (apt-get)": installation.ManagerBusy,
		"E: dpkg was interrupted, you must manually run":                                       installation.ManagerBroken,
		"dpkg: error: No space left on device":                                                 installation.NoSpace,
		"\nassent: this transaction is refused (declined). Nothing has been changed.\n":        installation.Declined,
		"\nassent: this transaction is refused (digest). Nothing has been changed.\n":          installation.DigestMismatch,
		"\nassent: this transaction is refused (diverged). Nothing has been changed.\n":        installation.UnapprovedDependency,
		"anything else": installation.InstallFailed,
	} {
		err := classifyRun(pkgmgr.Outcome{ExitCode: 100}, text)
		if r, ok := err.(*pkgmgr.Refusal); !ok || r.Cause != cause {
			t.Errorf("%q: %v, want %s", text, err, cause)
		}
	}
	if err := classifyRun(pkgmgr.Outcome{}, "E: noise"); err != nil {
		t.Errorf("exit code 0: %v", err)
	}
}

func TestMeterReadsTheStatusFileDescriptor(t *testing.T) {
	var got []pkgmgr.Progress
	m := newMeter(pkgmgr.Transaction{}, func(p pkgmgr.Progress) { got = append(got, p) })
	for _, line := range []string{"pmstatus:acme-lib:33.3:Unpacking acme-lib: now", "pmstatus:acme-lib:66.6:Configuring acme-lib", "pmerror:x:1:y",
		"pmstatus:x:NaN:z", "pmstatus:x:-1:z", "pmstatus:x:101:z", "pmstatus:x", "dlstatus:1:2:3", "", "\x00"} {
		m.status(line)
	}
	want := []pkgmgr.Progress{{Phase: "unpack", Package: "acme-lib", Percent: 33.3, Text: "Unpacking acme-lib: now"},
		{Phase: "configure", Package: "acme-lib", Percent: 66.6, Text: "Configuring acme-lib"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPinsLeaveOutWhatIsNoPackageAndKeepReasonsOnOneLine(t *testing.T) {
	a := New(Config{Root: t.TempDir()})
	item := func(name, version string) catalog.Item {
		return catalog.Item{Name: name, Arch: "amd64", Version: version}
	}
	pins := string(a.pins([]wire.PlanDeny{{Update: "u1", By: "eve\nPin-Priority: 1001", Reason: "a\n\nPackage: *\nPin: release *", Act: 3, Items: []catalog.Item{
		item("good", "1:2.0-1"), item("*", "1"), item("bad\nPackage", "1"), item("good", "*"), item("good", "1\nPin-Priority: 1001"), item("good", "1:2.0-1")}}}))
	if strings.Count(pins, "\nPackage: ") != 1 || strings.Count(pins, "\nPin-Priority: ") != 1 || !strings.Contains(pins, "\nPackage: good:any\nPin: version 1:2.0-1\nPin-Priority: -1\n") {
		t.Errorf("pins:\n%s", pins)
	}
	if a.pins(nil) != nil {
		t.Error("pins without declines")
	}
}

func TestCheckNeedsCountsDirectoriesOfOneFileSystemTogether(t *testing.T) {
	look := func(sizes map[string]room) func(string) (room, error) {
		return func(dir string) (room, error) { return sizes[dir], nil }
	}
	needs := []need{{"/a", 60 << 20, 10}, {"/b", 60 << 20, 10}}
	one := room{id: 1, bytes: 140 << 20, inodes: 100, counts: true}
	two := one
	two.id = 2
	if err := checkNeeds(needs, look(map[string]room{"/a": one, "/b": two})); err != nil {
		t.Errorf("on two file systems: %v", err)
	}
	err := checkNeeds(needs, look(map[string]room{"/a": one, "/b": one}))
	if r, ok := err.(*pkgmgr.Refusal); !ok || r.Cause != installation.NoSpace {
		t.Errorf("on one file system: %v", err)
	}
	few := one
	few.bytes, few.inodes = 1<<40, 15
	if err := checkNeeds(needs, look(map[string]room{"/a": few, "/b": few})); err == nil || !strings.Contains(err.Error(), "inodes") {
		t.Errorf("without inodes: %v", err)
	}
	few.counts = false // btrfs says zero of zero
	if err := checkNeeds(needs, look(map[string]room{"/a": few, "/b": few})); err != nil {
		t.Errorf("a file system without a fixed number of inodes: %v", err)
	}
}

func TestMaintainerScriptsAreToldFromOtherProcesses(t *testing.T) {
	for line, want := range map[string]bool{
		"/bin/sh /var/lib/dpkg/info/acme-slow.postinst configure 1.0":                true,
		"/bin/sh -e /var/lib/dpkg/info/acme-slow.prerm upgrade":                      true,
		"/var/lib/dpkg/info/x.postrm remove":                                         true,
		"/bin/sh /var/lib/dpkg/tmp.ci/preinst upgrade":                               true,
		"/usr/bin/perl -w /usr/share/debconf/frontend /var/lib/dpkg/info/x.postinst": false, // its child is one
		"vim /var/lib/dpkg/info/x.list":                                              false,
		"grep -r foo --include postinst /var/lib/dpkg/info/x.postinst":               false,
		"/usr/bin/dpkg --configure -a":                                               false,
		"":                                                                           false,
	} {
		if got := isMaintainerScript(strings.Fields(line)); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}

func TestT3_OnlyWhatIsNamedMayGoAlongAndNeverWhatTheDeviceNeeds(t *testing.T) {
	w := &world{native: "amd64", status: &status{}}
	want := pkgmgr.Want{Removable: []string{"old", wire.AgentPackage}}
	gone := func(name string, essential bool) wire.Change {
		return wire.Change{Op: wire.OpRemove, Name: name, Arch: "amd64", From: "1.0", Essent: essential}
	}
	for name, tc := range map[string]struct {
		change wire.Change
		want   installation.Cause
	}{
		"named":               {gone("old", false), ""},
		"not named":           {gone("older", false), installation.RemovalNeeded},
		"named and essential": {gone("old", true), installation.RemovalNeeded},
		"named and the agent": {gone(wire.AgentPackage, false), installation.RemovalNeeded},
	} {
		if got := w.fault(want, tc.change); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestRepairMayDoNothingBeyondTheLastTransaction(t *testing.T) {
	want := pkgmgr.Want{Items: []catalog.Item{{Name: "a", Arch: "all", Version: "2"}}, Extras: []catalog.Item{{Name: "b", Arch: "all", Version: "1"}}}
	steps := []step{{Name: "a", Arch: "all", Version: "2"}, {Name: "b", Arch: "all", Version: "1"}}
	if got := beyond(want, steps); len(got) != 0 {
		t.Errorf("within: %q", got)
	}
	steps = append(steps, step{Remove: true, Name: "c"}, step{Name: "a", Arch: "all", Version: "3"}, step{Name: "d", Arch: "all", Version: "1"})
	if diff := cmp.Diff([]string{"removing c", "installing a 3", "installing d 1"}, beyond(want, steps)); diff != "" {
		t.Error(diff)
	}
}

// TestCheckNameAcceptsOnlyWhatAptCannotTakeForSomethingElse is a property: whatever passes has no character that means anything to
// apt's command line or to a preferences file.
func TestCheckNameAcceptsOnlyWhatAptCannotTakeForSomethingElse(t *testing.T) {
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z0-9+.-]{1,8}[*?~^/=: \n-]?`)).Draw(t, "text")
		if checkName(text, "all", "1.0") == nil {
			accepted++
			if text[0] == '-' || text[0] == '.' || strings.ContainsAny(text, "*?[]~^$/=:, \n\t\x00_|()") {
				t.Fatalf("name %q accepted", text)
			}
		}
		if checkName("foo", "all", text) == nil && strings.ContainsAny(text, "*?[]/=, \n\t\x00_|()") {
			t.Fatalf("version %q accepted", text)
		}
	})
	if accepted == 0 {
		t.Error("nothing was accepted, so this showed nothing")
	}
}
