package migrate

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"assent/approval"
	"assent/criteria"
	"assent/fault"
	"assent/task"
	"assent/wire"
)

func kinds(d Draft) (out []string) {
	for _, n := range d.Notes {
		out = append(out, string(n.Kind)+" "+n.At)
	}
	return out
}

func readPins(t *testing.T, text string) Draft {
	t.Helper()
	d, err := Preferences("p", []byte(text), "Web")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestEveryPinBecomesAWishOrANote is the table of what apt_preferences(5) can say.
func TestEveryPinBecomesAWishOrANote(t *testing.T) {
	for _, c := range []struct {
		name, pin string
		wishes    []string // status, then what distinguishes it
		note      string   // kind and a part of the text
	}{
		{"all versions of a package, never", "Package: telnetd\nPin: version *\nPin-Priority: -1", []string{"declined telnetd later"}, ""},
		{"the same by release", "Package: telnetd\nPin: release *\nPin-Priority: -1", []string{"declined telnetd later"}, ""},
		{"one version, never", "Package: nginx\nPin: version 1.22.1-9\nPin-Priority: -1", []string{"declined nginx 1.22.1-9"}, ""},
		{"some versions, never", "Package: nginx\nPin: version 1.22*\nPin-Priority: -1", []string{"declined nginx 1.22*"}, "differs: one that comes later"},
		{"kept at a version", "Package: perl\nPin: version 5.32*\nPin-Priority: 999", []string{"approved perl 5.32* newest", "declined perl later >5.32 !5.32*"}, ""},
		{"kept at a version, downgrading", "Package: perl\nPin: version 5.32*\nPin-Priority: 1001", []string{"approved perl 5.32* newest", "declined perl later >5.32 !5.32*"}, "differs: Nothing goes back by itself"},
		{"a version preferred by nobody", "Package: perl\nPin: version 5.32*\nPin-Priority: 500", nil, "as_is: not preferred"},
		{"a version of everything", "Package: *\nPin: version 1*\nPin-Priority: -1", nil, "left_out: all packages together"},
		{"versions that cannot be ordered", "Package: perl\nPin: version *deb11*\nPin-Priority: 1001", nil, "left_out: cannot be told"},
		{"no version", "Package: perl\nPin: version\nPin-Priority: 1001", nil, "left_out: names no version"},
		{"packages of an archive, never", "Package: nginx\nPin: release o=Debian, n=bookworm-backports\nPin-Priority: -1", []string{"declined nginx Debian:bookworm-backports"}, "differs: what comes there later"},
		{"an archive, never", "Package: *\nPin: release o=Debian,n=bookworm-backports\nPin-Priority: -1", nil, `left_out: "Debian:bookworm-backports" in origins`},
		{"an archive by its alias, never", "Package: *\nPin: release a=stable-backports\nPin-Priority: -1", nil, "left_out: a=stable-backports"},
		{"a component, never", "Package: nginx\nPin: release c=contrib\nPin-Priority: -1", nil, "left_out: c=contrib"},
		{"an archive preferred", "Package: *\nPin: release a=stable, v=12\nPin-Priority: 900", nil, "as_is: orders archives"},
		{"an archive hardly wanted", "Package: *\nPin: release a=unstable\nPin-Priority: 50", nil, "as_is: takes nothing from there"},
		{"a host, never", "Package: *\nPin: origin deb.example.org\nPin-Priority: -1", nil, "left_out: from which host"},
		{"a host preferred", "Package: nodejs\nPin: origin deb.nodesource.com\nPin-Priority: 600", nil, "as_is: orders hosts"},
		{"globs, expressions and sources", "Package: gnome* /kde[0-9]/ src:apt src:*ssl*:any libc6:any\nPin: version *\nPin-Priority: -1", []string{"declined gnome* /kde[0-9]/ src:apt src:*ssl* libc6 later"}, ""},
		{"one architecture", "Package: libc6:i386\nPin: version *\nPin-Priority: -1", []string{"declined libc6 later"}, "differs: architecture i386"},
		{"an expression that is none", "Package: /kde(/\nPin: version *\nPin-Priority: -1", nil, "left_out: can be read"},
		{"priority zero", "Package: x\nPin: version *\nPin-Priority: 0", nil, "left_out: priority"},
		{"no priority", "Package: x\nPin: version *", nil, "left_out: priority"},
		{"no pin", "Package: x\nPin-Priority: 5", nil, "left_out: without Package or Pin"},
		{"another pin", "Package: x\nPin: moon full\nPin-Priority: 5", nil, `left_out: "moon"`},
		{"only an explanation", "Explanation: nothing here", nil, ""},
	} {
		d := readPins(t, c.pin)
		var got []string
		for _, w := range d.Wishes {
			got = append(got, describe(w))
		}
		if diff := cmp.Diff(c.wishes, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		kind, text, _ := strings.Cut(c.note, ": ")
		if (c.note == "") != (len(d.Notes) == 0) || c.note != "" && (string(d.Notes[0].Kind) != kind || !strings.Contains(d.Notes[0].Text, text)) {
			t.Errorf("%s: %+v, want %s", c.name, d.Notes, c.note)
		}
		if len(d.Wishes)+len(d.Notes) == 0 && !strings.HasPrefix(c.pin, "Explanation") {
			t.Errorf("%s: dropped silently", c.name)
		}
	}
}

func describe(w Wish) string {
	out := []string{string(w.Status)}
	for _, p := range w.Names {
		out = append(out, p.String())
	}
	for _, a := range w.Archives {
		out = append(out, a.Origin+":"+a.Name)
	}
	for _, one := range []struct {
		is   bool
		text string
	}{{w.Version != "", w.Version}, {w.Later, "later"}, {w.Newest, "newest"}, {w.Newer != "", ">" + w.Newer}, {w.Not != "", "!" + w.Not}, {w.Needed, "needed"}} {
		if one.is {
			out = append(out, one.text)
		}
	}
	return strings.Join(out, " ")
}

func TestPreferencesFoldTheirLinesAndTellWhereTheyStand(t *testing.T) {
	d := readPins(t, "# a comment\n\nExplanation: kept\n for the printer\nPACKAGE: a\n b\nPin: version 1\r\nPin-Priority: -5\n\n\nPackage: c\nPin: version 2\nPin-Priority: -5\n")
	if len(d.Wishes) != 2 || describe(d.Wishes[0]) != "declined a b 1" || d.Wishes[0].Reason != "kept for the printer (apt pin -5)" || d.Wishes[0].At != "p, line 3" || d.Wishes[1].At != "p, line 11" || d.Wishes[0].Group != "Web" {
		t.Errorf("%+v", d.Wishes)
	}
	for text, want := range map[string]string{"what is this": "Line 1 is no field", " begins folded": "Line 1 goes on", "Package: \xff": "UTF-8"} {
		if _, err := Preferences("p", []byte(text), ""); !errors.Is(err, fault.Invalid) || !strings.Contains(fault.From(err).Message, want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := Preferences("p", make([]byte, MaxInput+1), ""); !errors.Is(err, fault.TooLarge) {
		t.Error(err)
	}
	for name, reads := range map[string]bool{"backports": true, "a_b-1.pref": true, "x.bak": false, "x~": false, "x.pref.dpkg-old": false} {
		if PreferencesName(name) != reads {
			t.Errorf("%s: %v", name, !reads)
		}
	}
}

func TestHoldsAreReadAsDpkgAndAptMarkPrintThem(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"status":     {"Package: libssl3\nStatus: hold ok installed\nSource: openssl (3.0.1-1)\nVersion: 3.0.1-1+b1\nDescription: x\n more\n\nPackage: perl\nStatus: install ok installed\nVersion: 5\n", "declined src:openssl later >3.0.1-1"},
		"own source": {"Package: sudo\nStatus: hold ok installed\nVersion: 1.9\n", "declined src:sudo later >1.9"},
		"selections": {"sudo\t\t\t\thold\nperl\tinstall\n", "declined sudo later needed"},
		"showhold":   {"sudo:amd64\n", "declined sudo later needed"},
	} {
		d, err := Holds("h", []byte(c.in), "")
		if err != nil || len(d.Wishes) != 1 || describe(d.Wishes[0]) != c.want || len(d.Notes) != 1 || d.Notes[0].Kind != AsIs {
			t.Errorf("%s: %v %+v", name, err, d)
		}
	}
	if d, err := Holds("h", nil, ""); err != nil || len(d.Wishes) != 0 {
		t.Error(d, err)
	}
	if _, err := Holds("h", []byte("one two three\n"), ""); !errors.Is(err, fault.Invalid) {
		t.Error(err)
	}
}

const uu = `// as shipped, shortened
Unattended-Upgrade::Origins-Pattern {
        "origin=Debian,codename=${distro_codename},label=Debian";
        "origin=Debian,codename=${distro_codename}-security,label=Debian-Security";
        "origin=Debian,archive=stable";   # moves
};
/* nothing of
   these */
Unattended-Upgrade::Package-Blacklist { "linux-"; "libc6$"; };
Unattended-Upgrade { Mail "root"; Automatic-Reboot "true"; };
Unattended-Upgrade::InstallOnShutdown "true";
Unattended-Upgrade::Update-Days {"Sun";"3"};
#clear Unattended-Upgrade::Nothing;
`

func TestUnattendedUpgradesBecomeATaskThatAdmitsTheSame(t *testing.T) {
	conf := AptConf{}
	if err := conf.Read("50uu", []byte(uu)); err != nil {
		t.Fatal(err)
	}
	d := Unattended(conf, Archive{Origin: "Debian", Name: "bookworm"}, "Web")
	if len(d.Tasks) != 1 {
		t.Fatalf("%+v", d)
	}
	got := d.Tasks[0]
	want := `("Debian:bookworm" in origins || security && "Debian:bookworm-security" in origins) && !packages.exists(p, p.matches("^(linux-)")) && !packages.exists(p, p.matches("^(libc6$)"))`
	if got.Rules[0].Criteria != want || got.Rules[0].Admits != task.ApprovedOrUndefined || got.Targets.Groups[0] != "Web" || !got.Options.AtShutdown || got.Restart.When != wire.RestartIfRequired || got.Schedule.Rule != "FREQ=WEEKLY;BYDAY=SU,WE" {
		t.Errorf("%+v", got)
	}
	if diff := cmp.Diff([]string{"left_out apt.conf, unattended-upgrade::origins-pattern", "left_out apt.conf, unattended-upgrade::mail", "differs apt.conf, unattended-upgrade::"}, kinds(d)); diff != "" {
		t.Error(diff)
	}
}

func TestUnattendedUpgradesNeverWiden(t *testing.T) {
	base := "Unattended-Upgrade::Allowed-Origins { \"Debian:bookworm\"; };\n"
	for name, c := range map[string]struct {
		more  string
		tasks int
	}{
		"an expression that cannot be read":   {`Unattended-Upgrade::Package-Blacklist { "(?<!x)y"; };`, 0},
		"one that is too long":                {`Unattended-Upgrade::Package-Blacklist { "` + strings.Repeat("a", 300) + `"; };`, 0},
		"days that are none":                  {`Unattended-Upgrade::Update-Days { "Someday"; };`, 0},
		"a restart at a time is a window":     {`Unattended-Upgrade::Automatic-Reboot "1"; Unattended-Upgrade::Automatic-Reboot-Time "02:00";`, 1},
		"a variable without a value":          {`#clear Unattended-Upgrade::Allowed-Origins; Unattended-Upgrade::Allowed-Origins { "${distro_id}:${distro_codename}"; };`, 0},
		"a list that a later file puts aside": {`#clear Unattended-Upgrade::Allowed-Origins;`, 0},
	} {
		conf := AptConf{}
		if err := conf.Read("c", []byte(base+c.more)); err != nil {
			t.Fatal(name, err)
		}
		d := Unattended(conf, Archive{}, "")
		if len(d.Tasks) != c.tasks || name != "a list that a later file puts aside" && len(d.Notes) == 0 {
			t.Errorf("%s: %+v", name, d)
		}
		for _, made := range d.Tasks {
			if made.Restart.When != "" {
				t.Errorf("%s: it restarts at any time", name)
			}
		}
	}
	for _, text := range []string{`A "x`, `A {`, `A "x"`, `}`, `{`, `/* x`, `#include "/etc/x";`, strings.Repeat("a {", 30)} {
		if err := (AptConf{}).Read("c", []byte(text)); !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestArchivesAreTheSameAsAnExpression(t *testing.T) {
	seen := []string{"Debian:bookworm", "Debian:bookworm-security", "Debian Backports:bookworm-backports", "Ubuntu:jammy-updates", ":x", "Debian:bookworm:x"}
	for _, a := range []Archive{{Origin: "Debian"}, {Name: "bookworm"}, {Name: "bookworm*"}, {Name: "*-security"}, {Origin: "Deb*"}, {Origin: "Debian", Name: "bookworm"}, {Origin: "Debian", Name: "bookworm*"}, {Origin: "Deb*", Name: "*-backports"}} {
		source, ok := a.criteria()
		if !ok {
			t.Fatalf("%+v", a)
		}
		rule, err := criteria.CompileRule(source)
		if err != nil {
			t.Fatalf("%+v: %s: %v", a, source, err)
		}
		for _, s := range seen[:4] {
			u := criteria.Update{Unplaced: true}
			u.Origins = []string{s}
			if met, err := rule.Match(u); err != nil || met != a.has(s) {
				t.Errorf("%s of %q: %v %v, has says %v", source, s, met, err, a.has(s))
			}
		}
	}
	for _, a := range []Archive{{}, {Name: "b?okworm"}, {Origin: "*x"}, {Name: "*a*"}} {
		if source, ok := a.criteria(); ok {
			t.Errorf("%+v: %s", a, source)
		}
	}
}

func known(name, version string, more ...func(*Known)) Known {
	k := Known{PURL: "pkg:deb/debian/" + name + "@" + version + "?arch=source", Name: name, Version: version, Packages: []string{name}, Origins: []string{"Debian:bookworm"}, Needed: 1}
	for _, m := range more {
		m(&k)
	}
	return k
}

func TestA4_AHoldDeclinesTheOldestNewerReleaseWithAllLaterOnes(t *testing.T) {
	d := readPins(t, "Package: nginx\nPin: version 1.18*\nPin-Priority: 999")
	updates := []Known{known("nginx", "1.22.1-9"), known("nginx", "1.18.0-6"), known("nginx", "1.18.0-9"), known("nginx", "1.20.0-1"), known("nginx", "1.10.0-1"), known("perl", "9")}
	got, notes := d.Resolve(updates)
	want := []Decision{{At: "p, line 1", Update: updates[2].PURL, Status: approval.Approved, Group: "Web", Reason: "apt pin: version 1.18*, priority 999"},
		{At: "p, line 1", Update: updates[3].PURL, Status: approval.Declined, Group: "Web", Reason: "apt pin: version 1.18*, priority 999", Reach: approval.Reach{Later: true}}}
	if diff := cmp.Diff(want, got); diff != "" || len(notes) != 0 {
		t.Error(diff, notes)
	}
}

func TestResolveTellsWhatItDidNotFindAndWhatIsWider(t *testing.T) {
	d := readPins(t, "Package: libssl3 nothing\nPin: version 3*\nPin-Priority: -1\n\nPackage: gone\nPin: version 1\nPin-Priority: -1\n\nPackage: openssl\nPin: version 3.0.2\nPin-Priority: 999")
	wider := func(k *Known) { k.Packages = []string{"openssl", "libssl3"} }
	got, notes := d.Resolve([]Known{known("openssl", "3.0.2", wider)})
	if len(got) != 1 || got[0].Status != approval.Declined {
		t.Errorf("a decline loses: %+v", got)
	}
	var said []string
	for _, n := range notes {
		said = append(said, string(n.Kind))
	}
	if diff := cmp.Diff([]string{"differs", "not_known", "left_out", "differs", "not_known"}, said); diff != "" {
		t.Errorf("%s\n%+v", diff, notes)
	}
	d = readPins(t, "Package: openssl\nPin: version 3.0.2\nPin-Priority: 999")
	got, notes = d.Resolve([]Known{known("openssl", "3.0.2", func(k *Known) { k.Declined = []string{"web"} })})
	if len(got) != 0 || notes[0].Kind != LeftOut || !strings.Contains(notes[0].Text, "no import lifts") {
		t.Errorf("%+v %+v", got, notes)
	}
	only := readPins(t, "Package: x\nPin: release o=Backports\nPin-Priority: -1")
	if got, _ := only.Resolve([]Known{known("x", "1", func(k *Known) { k.Origins = []string{"Backports:a", "Debian:b"} })}); len(got) != 0 {
		t.Errorf("what another archive has too is declined: %+v", got)
	}
}

func TestARecordThatOverridesAGlobInAptIsTold(t *testing.T) {
	d := readPins(t, "Package: linux-*\nPin: version *\nPin-Priority: -1\n\nPackage: linux-tools perl\nPin: version *\nPin-Priority: 500")
	if diff := cmp.Diff([]string{"as_is p, line 5", "differs p, line 5"}, kinds(d)); diff != "" || !strings.Contains(d.Notes[1].Text, "linux-tools than linux-* at p, line 1") {
		t.Error(diff, d.Notes)
	}
}
