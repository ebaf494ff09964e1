package dnf

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

// table is what dnf 4.14 prints, with these lines below the heading.
func table(lines ...string) string {
	bar := strings.Repeat("=", 80)
	return "No repository match: *\nDependencies resolved.\n" + bar + "\n Package          Architecture     Version         Repository              Size\n" + bar + "\n" +
		strings.Join(lines, "\n") + "\n\nTransaction Summary\n" + bar + "\nInstall  1 Package\n\nTotal size: 6.2 k\n"
}

func TestParseTable_ReadsWhatRealDnfPrints(t *testing.T) {
	got, err := parseTable(table(
		"Installing:",
		" uses             noarch           1.0-1           @commandline           6.2 k",
		" tiny             x86_64           3:1.0~rc1-1.fc40  @commandline           8  ",
		" a-very-long-package-name-that-will-not-fit-into-the-column-of-a-table",
		"                  noarch           1.0.0.20261123.gitdeadbeef-1.fc40.really.long.release",
		"                                                   @commandline           7.1 k",
		"Upgrading:",
		" slow             noarch           2.0-1           @commandline           6.3 M",
		"     replacing  slow.noarch 1.0-1",
		"     replacing  old.i686 7:1.0-1",
		"Removing dependent packages:",
		" needy            noarch           1.0-1           @@commandline            8  "))
	if err != nil {
		t.Fatal(err)
	}
	want := []step{
		{Op: wire.OpInstall, Name: "uses", Arch: "noarch", Version: "1.0-1"},
		{Op: wire.OpInstall, Name: "tiny", Arch: "x86_64", Version: "3:1.0~rc1-1.fc40"},
		{Op: wire.OpInstall, Name: "a-very-long-package-name-that-will-not-fit-into-the-column-of-a-table", Arch: "noarch", Version: "1.0.0.20261123.gitdeadbeef-1.fc40.really.long.release"},
		{Op: wire.OpUpgrade, Name: "slow", Arch: "noarch", Version: "2.0-1", Replaces: []replaced{{"slow", "noarch", "1.0-1"}, {"old", "i686", "7:1.0-1"}}},
		{Op: wire.OpRemove, Name: "needy", Arch: "noarch", Version: "1.0-1"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, err := parseTable("Package x is already installed.\nDependencies resolved.\nNothing to do.\nComplete!\n"); got != nil || err != nil {
		t.Errorf("%v %v", got, err)
	}
}

func TestParseTable_WhatIsNotUnderstoodIsRefused(t *testing.T) {
	row := " uses             noarch           1.0-1           @commandline           6.2 k"
	for name, text := range map[string]string{
		"empty":              "",
		"no heading":         "Dependencies resolved.\n" + row + "\n",
		"other columns":      strings.Replace(table("Installing:", row), "Repository", "Origin    ", 1),
		"unknown section":    table("Enabling module streams:", " perl   5.30"),
		"skipped":            table("Installing:", row, "Skipping packages with conflicts:", row),
		"row first":          table(row),
		"missing column":     table("Installing:", " uses             noarch           1.0-1           6.2 k"),
		"one column more":    table("Installing:", row+" odd"),
		"bad version":        table("Installing:", " uses noarch 1.0 1 @commandline 6.2 k"),
		"glob":               table("Installing:", " use* noarch 1.0-1 @commandline 6.2 k"),
		"replacing first":    table("Installing:", "     replacing  slow.noarch 1.0-1"),
		"replacing what":     table("Installing:", row, "     replacing  slow 1.0-1"),
		"cut off":            strings.Split(table("Installing:", row), "\nTransaction Summary")[0],
		"words in the table": table("Installing:", row, "something else"),
	} {
		if got, err := parseTable(text); err == nil {
			t.Errorf("%s: read as %+v", name, got)
		}
	}
	if _, err := parseTable("Error: \n Problem: conflicting requests\n"); !errors.Is(err, errNoTable) {
		t.Errorf("%v", err)
	}
}

func FuzzParseTable(f *testing.F) {
	f.Add(table("Installing:", " uses noarch 1.0-1 @commandline 6.2 k", "     replacing  slow.noarch 1.0-1"))
	f.Fuzz(func(t *testing.T, text string) {
		steps, err := parseTable(text)
		for _, s := range steps {
			if err == nil && checkName(s.Name, s.Arch, s.Version) != nil {
				t.Errorf("%+v", s)
			}
		}
	})
}

func item(name, version string) catalog.Item {
	return catalog.Item{Name: name, Arch: "noarch", Version: version, SHA256: strings.Repeat("a", 64), Size: 1}
}

func TestJudge_NothingButTheOrderMayHappen(t *testing.T) {
	app, dep := item("app", "2.0-1"), item("dep", "1.0-1")
	up := step{Op: wire.OpUpgrade, Name: "app", Arch: "noarch", Version: "2.0-1"}
	with := func(change func(*step)) []step {
		s := up
		change(&s)
		return []step{s}
	}
	more := step{Op: wire.OpInstall, Name: "dep", Arch: "noarch", Version: "1.0-1"}
	order := []catalog.Item{app}
	for name, c := range map[string]struct {
		want  pkgmgr.Want
		items []catalog.Item
		steps []step
		cause installation.Cause
	}{
		"as ordered":           {pkgmgr.Want{Items: order}, order, []step{up}, ""},
		"nothing happens":      {pkgmgr.Want{Items: order}, order, nil, installation.Unresolvable},
		"other version":        {pkgmgr.Want{Items: order}, order, with(func(s *step) { s.Version = "2.0-2" }), installation.UnapprovedDependency},
		"other architecture":   {pkgmgr.Want{Items: order}, order, with(func(s *step) { s.Arch = "x86_64" }), installation.UnapprovedDependency},
		"more comes in":        {pkgmgr.Want{Items: order}, order, []step{up, more}, installation.UnapprovedDependency},
		"an extra":             {pkgmgr.Want{Items: order, Extras: []catalog.Item{dep}}, []catalog.Item{app, dep}, []step{up, more}, ""},
		"an extra is upgraded": {pkgmgr.Want{Items: order, Extras: []catalog.Item{dep}}, []catalog.Item{app, dep}, []step{up, {Op: wire.OpUpgrade, Name: "dep", Arch: "noarch", Version: "1.0-1"}}, installation.UnapprovedDependency},
		"downgrade":            {pkgmgr.Want{Items: order}, order, with(func(s *step) { s.Op = wire.OpDowngrade }), installation.DowngradeNeeded},
		"step back":            {pkgmgr.Want{Items: order, Downgrade: true}, order, with(func(s *step) { s.Op = wire.OpDowngrade }), ""},
		"removal":              {pkgmgr.Want{Items: order}, order, []step{up, {Op: wire.OpRemove, Name: "other", Arch: "noarch", Version: "1-1"}}, installation.RemovalNeeded},
		"obsoletes":            {pkgmgr.Want{Items: order}, order, with(func(s *step) { s.Replaces = []replaced{{"other", "noarch", "1-1"}} }), installation.RemovalNeeded},
		"replaces its own":     {pkgmgr.Want{Items: order}, order, with(func(s *step) { s.Replaces = []replaced{{"app", "noarch", "1-1"}} }), ""},
	} {
		err := judge(c.want, c.items, c.steps)
		var got installation.Cause
		if no := (*pkgmgr.Refusal)(nil); errors.As(err, &no) {
			got = no.Cause
		}
		if got != c.cause {
			t.Errorf("%s: %v, want %q", name, err, c.cause)
		}
	}
}

func TestParseQuery_ReadsSoundPackagesAndCountsOthers(t *testing.T) {
	db := parseQuery("ledger\t0\t2.0-1\tnoarch\tledger-2.0-1.src.rpm\ngpg-pubkey\t0\t1-2\t(none)\t(none)\nlib-x\t3\t1.0~rc1-1.fc40\tx86_64\tmy-src-9-1.src.rpm\n" +
		"ledger\t0\t10.0-1\tnoarch\tledger-10.0-1.src.rpm\nbare\t0\t1-1\tnoarch\t(none)\nb*d\t0\t1-1\tnoarch\t(none)\nshort\t0\n")
	want := []installed{
		{"bare", "noarch", "1-1", "bare", "1-1"},
		{"ledger", "noarch", "2.0-1", "ledger", "2.0-1"},
		{"ledger", "noarch", "10.0-1", "ledger", "10.0-1"},
		{"lib-x", "x86_64", "3:1.0~rc1-1.fc40", "my-src", "3:9-1"},
	}
	if diff := cmp.Diff(want, db.Packages); diff != "" || db.Odd != 2 || !db.doubled() {
		t.Errorf("%d odd, doubled %v: %s", db.Odd, db.doubled(), diff)
	}
}

func TestFailedScriptlets_AndKeptFilesAreFoundInRpmsWords(t *testing.T) {
	text := "  Running scriptlet: bad-1.0-1.noarch    2/2 \nwarning: %post(bad-1.0-1.noarch) scriptlet failed, exit status 3\n\nError in POSTIN scriptlet in rpm package bad\n" +
		"warning: /etc/a.conf created as /etc/a.conf.rpmnew\nwarning: /etc/b.conf saved as /etc/b.conf.rpmsave\n"
	if diff := cmp.Diff(map[string]string{"bad-1.0-1.noarch": "%post"}, failedScriptlets(text)); diff != "" {
		t.Error(diff)
	}
	if got := rpmName("bad", "noarch", "4:1.0-1"); got != "bad-1.0-1.noarch" {
		t.Error(got)
	}
	if m := keptLine.FindAllString(text, -1); len(m) != 1 {
		t.Errorf("%q", m)
	}
}
