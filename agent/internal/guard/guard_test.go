package guard

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assent/catalog"
	"assent/fleet"
	"assent/wire"

	"github.com/google/go-cmp/cmp"
)

var (
	good  = strings.Repeat("a", 64)
	other = strings.Repeat("b", 64)
)

func item(name, version, sum string) catalog.Item {
	return catalog.Item{Name: name, Arch: "amd64", Version: version, Size: 1, SHA256: sum}
}

func unpack(name, old, direction, version string) Line {
	return Line{Name: name, OldVersion: old, OldArch: "amd64", Direction: direction, NewVersion: version, NewArch: "amd64",
		Op: Install, Path: "/a/" + name + "_" + version + ".deb"}
}

func denyOpenssl() wire.PlanDeny {
	return wire.PlanDeny{Update: "u1", Software: catalog.Software{Ecosystem: "deb", Namespace: "debian", Name: "openssl"},
		Version: "3.0.18-1", Items: []catalog.Item{item("libssl3", "3.0.18-1", good)}, Reason: "breaks VPN", By: "alice", Act: 17}
}

func planOf(mode fleet.GuardMode) wire.Plan {
	return wire.Plan{Format: 1, Guard: mode,
		Install: []wire.PlanInstall{{Update: "u2", Items: []catalog.Item{item("app", "1.1", good)}, Extras: []catalog.Item{item("new", "1.0", good)}}},
		Allow:   []wire.PlanAllow{{Update: "u3", Items: []catalog.Item{item("tool", "2.0", good)}}},
		Rollback: []wire.PlanRollback{{Act: 5, Update: "u4",
			Items: []wire.RestoreItem{{Name: "back", Arch: "amd64", Version: "1.0", SHA256: good}}}},
		Remove: []wire.PlanRemove{{Act: 6, Update: "u5", Items: []catalog.Item{item("leaving", "1.0", good)}}},
		Deny:   []wire.PlanDeny{denyOpenssl()},
	}
}

func removal(name, arch, version string) Line {
	return Line{Name: name, OldVersion: version, OldArch: arch, Direction: ">", Op: Remove}
}

// check runs one unpack step through the guard.
func check(c checks, plan wire.Plan, own string, l Line, f File) (Code, bool) {
	d := c.check(plan, Transaction{Own: own, Lines: []Line{l}}, map[string]File{l.Path: f})
	if len(d.Findings) == 0 {
		return "", d.Refuse
	}
	return d.Findings[0].Code, d.Refuse
}

// rows is the whole decision table. Its last column says which single wall the row depends on.
var rows = []struct {
	name string
	mode fleet.GuardMode
	own  string
	line Line
	file File
	want Code
	pass bool
	wall string
}{
	{"a declined version", fleet.BlockDeclined, "", unpack("libssl3", "3.0.17-1", "<", "3.0.18-1"), File{SHA256: good}, Declined, false, "declined"},
	{"a declined version with other content", fleet.BlockDeclined, "", unpack("libssl3", "3.0.17-1", "<", "3.0.18-1"), File{SHA256: other}, Declined, false, "declined"},
	{"a declined version as a downgrade", fleet.BlockDeclined, "", unpack("libssl3", "3.0.19-1", ">", "3.0.18-1"), File{SHA256: good}, Declined, false, "declined"},
	{"another binary of the declined source release", fleet.BlockDeclined, "", unpack("openssl", "3.0.17-1", "<", "3.0.18-1"),
		File{SHA256: other, Source: "openssl", SourceVersion: "3.0.18-1"}, Declined, false, "declined"},
	{"a later release than the declined one", fleet.BlockDeclined, "", unpack("libssl3", "3.0.17-1", "<", "3.0.19-1"),
		File{SHA256: other, Source: "openssl", SourceVersion: "3.0.19-1"}, "", true, ""},
	{"an unknown package", fleet.BlockDeclined, "", unpack("vim", "", "<", "9"), File{SHA256: other, Source: "vim", SourceVersion: "9"}, "", true, ""},
	{"an approved file", fleet.BlockDeclined, "", unpack("app", "1.0", "<", "1.1"), File{SHA256: good}, "", true, ""},
	{"other content under an approved name", fleet.BlockDeclined, "", unpack("app", "1.0", "<", "1.1"), File{SHA256: other}, Digest, false, "digest"},
	{"other content under an allowed name", fleet.BlockDeclined, "", unpack("tool", "1.0", "<", "2.0"), File{SHA256: other}, Digest, false, "digest"},
	{"other content under a name to roll back to", fleet.BlockDeclined, "", unpack("back", "2.0", ">", "1.0"), File{SHA256: other}, Digest, false, "digest"},
	{"an unreadable file", fleet.BlockDeclined, "", unpack("vim", "", "<", "9"), File{Err: errors.New("gone")}, Unreadable, false, ""},
	{"observing a declined version", fleet.Observe, "", unpack("libssl3", "3.0.17-1", "<", "3.0.18-1"), File{SHA256: good}, Declined, true, ""},
	{"observing other content", fleet.Observe, "", unpack("app", "1.0", "<", "1.1"), File{SHA256: other}, Digest, true, ""},
	{"approved only: ordered", fleet.ApprovedOnly, "", unpack("app", "1.0", "<", "1.1"), File{SHA256: good}, "", true, ""},
	{"approved only: an extra", fleet.ApprovedOnly, "", unpack("new", "", "<", "1.0"), File{SHA256: good}, "", true, ""},
	{"approved only: allowed", fleet.ApprovedOnly, "", unpack("tool", "1.0", "<", "2.0"), File{SHA256: good}, "", true, ""},
	{"approved only: rolled back", fleet.ApprovedOnly, "", unpack("back", "2.0", ">", "1.0"), File{SHA256: good}, "", true, ""},
	{"approved only: anything else", fleet.ApprovedOnly, "", unpack("vim", "", "<", "9"), File{SHA256: other, Source: "vim", SourceVersion: "9"}, NotApproved, false, "approved"},
	{"an unknown mode counts as approved only", "surprise", "", unpack("vim", "", "<", "9"), File{SHA256: other, Source: "vim", SourceVersion: "9"}, NotApproved, false, "approved"},
	{"approved only: configuring", fleet.ApprovedOnly, "", Line{Name: "vim", Op: Configure}, File{}, "", true, ""},
	{"approved only: removing", fleet.ApprovedOnly, "", Line{Name: "vim", OldVersion: "1", Op: Remove}, File{}, "", true, ""},
	{"ours: ordered", fleet.Observe, "t1", unpack("app", "1.0", "<", "1.1"), File{SHA256: good}, "", true, ""},
	{"ours: an extra", fleet.BlockDeclined, "t1", unpack("new", "", "<", "1.0"), File{SHA256: good}, "", true, ""},
	{"ours: a rollback", fleet.BlockDeclined, "t1", unpack("back", "2.0", ">", "1.0"), File{SHA256: good}, "", true, ""},
	{"ours: only allowed, not ordered", fleet.BlockDeclined, "t1", unpack("tool", "1.0", "<", "2.0"), File{SHA256: good}, Diverged, false, "own"},
	{"ours: not in the plan, even when observing", fleet.Observe, "t1", unpack("vim", "", "<", "9"), File{SHA256: other, Source: "vim", SourceVersion: "9"}, Diverged, false, "own"},
	{"ours: other content, even when observing", fleet.Observe, "t1", unpack("app", "1.0", "<", "1.1"), File{SHA256: other}, Digest, false, ""},
	{"ours: an order turned into a downgrade", fleet.BlockDeclined, "t1", unpack("app", "1.2", ">", "1.1"), File{SHA256: good}, Diverged, false, "own"},
	{"ours: a removal", fleet.BlockDeclined, "t1", Line{Name: "vim", OldVersion: "1", Op: Remove}, File{}, Diverged, false, "own"},
	{"ours: an ordered removal", fleet.ApprovedOnly, "t1", removal("leaving", "amd64", "1.0"), File{}, "", true, ""},
	{"ours: a removal of another version", fleet.BlockDeclined, "t1", removal("leaving", "amd64", "1.1"), File{}, Diverged, false, "own"},
	{"ours: a removal of another architecture", fleet.BlockDeclined, "t1", removal("leaving", "i386", "1.0"), File{}, Diverged, false, "own"},
	{"ours: a removal of something else with it", fleet.BlockDeclined, "t1", removal("needs-leaving", "amd64", "1.0"), File{}, Diverged, false, "own"},
	{"ours: what is to go is installed instead", fleet.BlockDeclined, "t1", unpack("leaving", "", "<", "1.0"), File{SHA256: good}, Diverged, false, "own"},
	{"ours: configuring", fleet.BlockDeclined, "t1", Line{Name: "vim", Op: Configure}, File{}, "", true, ""},
}

func TestCheckDecisionTable(t *testing.T) {
	for _, r := range rows {
		code, refuse := check(allChecks(), planOf(r.mode), r.own, r.line, r.file)
		if code != r.want || refuse == r.pass {
			t.Errorf("%s: code %q, refused %v; want %q, %v", r.name, code, refuse, r.want, !r.pass)
		}
	}
}

// TestTakingAwayAnyWallLetsSomethingThrough is the mutation check: a wall that no row depends on would be
// decoration, and a row that no wall holds would be a test that cannot fail.
func TestTakingAwayAnyWallLetsSomethingThrough(t *testing.T) {
	without := map[string]checks{}
	for name, take := range map[string]func(*checks){
		"declined": func(c *checks) { c.declined = false }, "digest": func(c *checks) { c.digest = false },
		"approved": func(c *checks) { c.approved = false }, "own": func(c *checks) { c.own = false },
	} {
		c := allChecks()
		take(&c)
		without[name] = c
	}
	red := map[string]int{}
	for _, r := range rows {
		if r.wall == "" {
			continue
		}
		if code, refuse := check(without[r.wall], planOf(r.mode), r.own, r.line, r.file); code != r.want || refuse == r.pass {
			red[r.wall]++
		} else {
			t.Errorf("%s: still %q without the wall %q", r.name, code, r.wall)
		}
	}
	for name := range without {
		if red[name] == 0 {
			t.Errorf("no row goes red without the wall %q", name)
		}
	}
}

func TestA4_ReachOfADeclineByVersion(t *testing.T) {
	for _, c := range []struct {
		later   bool
		through string
		version string
		want    bool
	}{
		{false, "", "3.0.18-1", true}, {false, "", "3.0.18-1+b1", false}, {false, "", "3.0.19-1", false},
		{true, "", "3.0.17-9", false}, {true, "", "3.0.18-1", true}, {true, "", "1:0.1", true}, {true, "", "3.0.18-1~bpo12", false},
		{true, "3.1", "3.1", true}, {true, "3.1", "3.1-1", false}, {true, "3.1", "3.0.99", true},
		{false, "", "not a version", true}, {true, "nonsense version", "3.5", true},
	} {
		d := denyOpenssl()
		d.Later, d.Through = c.later, c.through
		if got := reaches(d, "deb", c.version); got != c.want {
			t.Errorf("later %v through %q: %s reached %v, want %v", c.later, c.through, c.version, got, c.want)
		}
	}
}

func TestContentThatThePlanOrdersPassesAReachButNotADeclineThatNamesIt(t *testing.T) {
	plan := planOf(fleet.BlockDeclined)
	plan.Deny[0].Later = true
	vendor := item("openssl", "9-vendor", good)
	plan.Install = append(plan.Install, wire.PlanInstall{Update: "u9", Items: []catalog.Item{vendor}})
	line := unpack("openssl", "3", "<", "9-vendor")
	f := File{SHA256: good, Source: "openssl", SourceVersion: "9-vendor"}
	if code, _ := check(allChecks(), plan, "", line, f); code != "" {
		t.Errorf("ordered content behind a reach: %q", code)
	}
	plan.Deny[0].Items = append(plan.Deny[0].Items, vendor)
	if code, _ := check(allChecks(), plan, "", line, f); code != Declined {
		t.Errorf("ordered content that a decline names: %q, want declined", code)
	}
}

// sideBySide is planOf, but everything in it is a tree or content that bears a package's name.
func sideBySide(mode fleet.GuardMode) wire.Plan {
	p := planOf(mode)
	mark := func(items []catalog.Item) {
		for i := range items {
			items[i].Format = []catalog.Format{catalog.Tar, catalog.ContentFile}[i%2]
		}
	}
	for _, in := range p.Install {
		mark(in.Items)
		mark(in.Extras)
	}
	mark(p.Allow[0].Items)
	p.Rollback[0].Items[0].Format = catalog.Tar
	mark(p.Remove[0].Items)
	mark(p.Deny[0].Items)
	p.Deny[0].Software = catalog.Software{Ecosystem: catalog.Generic, Namespace: "feed:acme", Name: "openssl"}
	p.Deny[0].Later = true
	return p
}

// TestNoPackageIsJudgedByATreeOfItsName takes the decision table's plan and makes trees of all that it orders, allows and
// forbids: nothing of that may let a package in, or keep one out.
func TestNoPackageIsJudgedByATreeOfItsName(t *testing.T) {
	for _, c := range []struct {
		name string
		mode fleet.GuardMode
		own  string
		line Line
		file File
		want Code
	}{
		{"ordered", fleet.ApprovedOnly, "", unpack("app", "1.0", "<", "1.1"), File{SHA256: good}, NotApproved},
		{"an extra", fleet.ApprovedOnly, "", unpack("new", "", "<", "1.0"), File{SHA256: good}, NotApproved},
		{"allowed", fleet.ApprovedOnly, "", unpack("tool", "1.0", "<", "2.0"), File{SHA256: good}, NotApproved},
		{"rolled back", fleet.ApprovedOnly, "", unpack("back", "2.0", ">", "1.0"), File{SHA256: good}, NotApproved},
		{"ours: ordered", fleet.BlockDeclined, "t1", unpack("app", "1.0", "<", "1.1"), File{SHA256: good}, Diverged},
		{"ours: rolled back", fleet.BlockDeclined, "t1", unpack("back", "2.0", ">", "1.0"), File{SHA256: good}, Diverged},
		{"ours: removed", fleet.BlockDeclined, "t1", removal("leaving", "amd64", "1.0"), File{}, Diverged},
		{"other content of an order", fleet.BlockDeclined, "", unpack("app", "1.0", "<", "1.1"), File{SHA256: other}, ""},
		{"other content of what is allowed", fleet.BlockDeclined, "", unpack("tool", "1.0", "<", "2.0"), File{SHA256: other}, ""},
		{"other content of what goes back", fleet.BlockDeclined, "", unpack("back", "2.0", ">", "1.0"), File{SHA256: other}, ""},
		{"declined", fleet.BlockDeclined, "", unpack("libssl3", "3.0.17-1", "<", "3.0.18-1"), File{SHA256: good}, ""},
		{"within a decline's reach", fleet.BlockDeclined, "", unpack("libssl3", "3.0.17-1", "<", "3.0.19-1"), File{SHA256: other, Source: "openssl", SourceVersion: "3.0.19-1"}, ""},
	} {
		if code, _ := check(allChecks(), sideBySide(c.mode), c.own, c.line, c.file); code != c.want {
			t.Errorf("%s: %q, want %q", c.name, code, c.want)
		}
	}
	// A decline of a feed's packages walls those in, and not the tree that one release of it was.
	p := planOf(fleet.BlockDeclined)
	p.Deny[0].Items = append(p.Deny[0].Items, item("tree", "1.0", good))
	p.Deny[0].Items[1].Format = catalog.Tar
	if code, _ := check(allChecks(), p, "", unpack("tree", "", "<", "1.0"), File{SHA256: other, Source: "tree", SourceVersion: "1.0"}); code != "" {
		t.Errorf("a tree among declined packages: %q", code)
	}
	if code, _ := check(allChecks(), p, "", unpack("libssl3", "3.0.17-1", "<", "3.0.18-1"), File{SHA256: good}); code != Declined {
		t.Errorf("a package beside a declined tree: %q", code)
	}
}

func TestOwnTransactionMayRemoveForAMomentWhatItUnpacksAgain(t *testing.T) {
	l := unpack("app", "1.0", "<", "1.1")
	tx := Transaction{Own: "t", Lines: []Line{{Name: "app", OldVersion: "1.0", Op: Remove}, l}}
	if d := Check(planOf(fleet.BlockDeclined), tx, map[string]File{l.Path: {SHA256: good}}); d.Refuse {
		t.Errorf("refused: %+v", d.Findings)
	}
}

func TestT3_APackageGoesOnlyAlongWithWhatThePlanLetsItGoWith(t *testing.T) {
	p := planOf(fleet.BlockDeclined)
	p.Install = append(p.Install, wire.PlanInstall{Update: "u6", Items: []catalog.Item{item("bare", "1.1", good)}})
	p.Install[0].Terms, p.Terms = 1, []wire.PlanTerms{{Removable: []string{"old", wire.AgentPackage, "libssl3"}}}
	app, bare := unpack("app", "1.0", "<", "1.1"), unpack("bare", "1.0", "<", "1.1")
	for name, tc := range map[string]struct {
		own   string
		lines []Line
		pass  bool
	}{
		"along with what names it":              {"t", []Line{app, removal("old", "amd64", "1.0")}, true},
		"in whatever version":                   {"t", []Line{removal("old", "amd64", "0.9"), app}, true},
		"alone":                                 {"t", []Line{removal("old", "amd64", "1.0")}, false},
		"along with something else of the plan": {"t", []Line{bare, removal("old", "amd64", "1.0")}, false},
		"another package":                       {"t", []Line{app, removal("old", "amd64", "1.0"), removal("older", "amd64", "1.0")}, false},
		"a declined one":                        {"t", []Line{app, removal("libssl3", "amd64", "3.0.18-1")}, false},
		"the agent":                             {"t", []Line{app, removal(wire.AgentPackage, "amd64", "1.0")}, false},
		"in somebody else's transaction":        {"", []Line{removal("older", "amd64", "1.0")}, true},
	} {
		files := map[string]File{app.Path: {SHA256: good}, bare.Path: {SHA256: good}}
		if d := Check(p, Transaction{Own: tc.own, Lines: tc.lines}, files); d.Refuse == tc.pass {
			t.Errorf("%s: refused %v: %+v", name, d.Refuse, d.Findings)
		}
	}
}

const hookInput = `VERSION 3
APT::Architecture=amd64
CommandLine::AsString=apt-get%20install%20-o%20x%3dy
Assent::Transaction=t-1
DPkg::Tools::options::/usr/bin/assent-agent::Version=3

app 1.0 amd64 none < 1.1 amd64 same /var/cache/apt/archives/app_1.1_amd64.deb
new - - none < 2:1.0 all foreign /home/a b/new file.deb
gone 1.0 all none > - - none **REMOVE**
app 1.1 amd64 none = 1.1 amd64 none **CONFIGURE**
`

func TestParseReadsHookProtocol3(t *testing.T) {
	got, err := Parse(strings.NewReader(hookInput))
	if err != nil {
		t.Fatal(err)
	}
	want := Transaction{Own: "t-1", Command: "apt-get install -o x=y", Lines: []Line{
		{Name: "app", OldVersion: "1.0", OldArch: "amd64", Direction: "<", NewVersion: "1.1", NewArch: "amd64", Op: Install, Path: "/var/cache/apt/archives/app_1.1_amd64.deb"},
		{Name: "new", Direction: "<", NewVersion: "2:1.0", NewArch: "all", Op: Install, Path: "/home/a b/new file.deb"},
		{Name: "gone", OldVersion: "1.0", OldArch: "all", Direction: ">", Op: Remove},
		{Name: "app", OldVersion: "1.1", OldArch: "amd64", Direction: "=", NewVersion: "1.1", NewArch: "amd64", Op: Configure},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseRefusesWhatItDoesNotUnderstand(t *testing.T) {
	for _, in := range []string{"", "VERSION 2\n\n", "/var/cache/x.deb\n", "VERSION 3\nA=b\n", "VERSION 3\n\nshort line\n",
		"VERSION 3\n\napp 1 amd64 none < 2 amd64 none **ERROR**\n", "VERSION 3\n\napp 1 amd64 none < 2 amd64 none relative.deb\n",
		"VERSION 3\n\napp 1 amd64 none ? 2 amd64 none /a.deb\n", "VERSION 3\n\napp 1 amd64 none < - - none /a.deb\n",
		"VERSION 3\n\n" + strings.Repeat("x", 2<<20)} {
		if _, err := Parse(strings.NewReader(in)); err == nil {
			t.Errorf("accepted %.60q", in)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(hookInput))
	f.Add([]byte("VERSION 3\n\nx - - none < 1 all none /x\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		tx, err := Parse(bytes.NewReader(in))
		if err != nil {
			return
		}
		for _, l := range tx.Lines {
			if l.Name == "" || l.Op == Install && (l.NewVersion == "" || !strings.HasPrefix(l.Path, "/")) {
				t.Errorf("accepted a step that cannot be judged: %+v", l)
			}
		}
	})
}

func TestParseSourceOfControlData(t *testing.T) {
	for in, want := range map[string][2]string{
		"Package: libssl3\nVersion: 3.0.18-1\nSource: openssl\n": {"openssl", "3.0.18-1"},
		"Package: a\nVersion: 1+b1\nSource: b (1:1.0)\n":         {"b", "1:1.0"},
		"Package: a\nVersion: 1\n":                               {"a", "1"},
		"":                                                       {"", ""},
	} {
		if name, version := parseSource(in); name != want[0] || version != want[1] {
			t.Errorf("%q: %q %q, want %q", in, name, version, want)
		}
	}
}

// run calls Main as apt would, with one real file.
func run(t *testing.T, plan any, own string) (code int, stderr string, events []Event) {
	t.Helper()
	dir := t.TempDir()
	deb := filepath.Join(dir, "app_1.1_amd64.deb")
	if err := os.WriteFile(deb, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := Config{PlanFile: filepath.Join(dir, "plan.json"), EventDir: filepath.Join(dir, "events")}
	if raw, ok := plan.(string); ok && raw != "" {
		write(t, cfg.PlanFile, []byte(raw))
	} else if !ok {
		body, err := json.Marshal(plan)
		if err != nil {
			t.Fatal(err)
		}
		write(t, cfg.PlanFile, body)
	}
	in := fmt.Sprintf("VERSION 3\nAssent::Transaction=%s\n\napp 1.0 amd64 none < 1.1 amd64 none %s\n", own, deb)
	var out bytes.Buffer
	code = Main(strings.NewReader(in), &out, cfg)
	events, err := Events(cfg.EventDir)
	if err != nil {
		t.Fatal(err)
	}
	return code, out.String(), events
}

func write(t *testing.T, path string, body []byte) {
	t.Helper()
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
}

func orders(sum string) wire.Plan {
	return wire.Plan{Format: 1, Guard: fleet.BlockDeclined, Install: []wire.PlanInstall{{Items: []catalog.Item{item("app", "1.1", sum)}}}}
}

func TestN03_MainRefusesSwappedContentAndLeavesAnEventWithBothDigests(t *testing.T) {
	real := fmt.Sprintf("%x", sha256.Sum256([]byte("content")))
	code, text, events := run(t, orders(good), "")
	if code == 0 || len(events) != 1 {
		t.Fatalf("code %d, %d events", code, len(events))
	}
	f := events[0].Findings[0]
	if events[0].Event != EventRefused || f.Code != Digest || f.Found != real || !cmp.Equal(f.Known, []string{good}) {
		t.Errorf("event %+v", events[0])
	}
	for _, want := range []string{"refused", "Nothing has been changed", real, good, "What to do"} {
		if !strings.Contains(text, want) {
			t.Errorf("missing %q in the text:\n%s", want, text)
		}
	}
	if code, text, events := run(t, orders(real), ""); code != 0 || text != "" || len(events) != 0 {
		t.Errorf("the right content: code %d, text %q, events %v", code, text, events)
	}
}

func TestMainLetsEverythingInWithoutAPlanAndNothingWithAnUnreadableOne(t *testing.T) {
	if code, text, events := run(t, "", ""); code != 0 || text != "" || len(events) != 0 {
		t.Errorf("not enrolled: code %d, text %q, events %v", code, text, events)
	}
	for _, plan := range []string{"{", "[]", `{"format":99}`, `{}`, `{"plan":"%%"}`, `{"plan":{"format":0}}`, `{"format":1,"deny":7}`} {
		code, text, events := run(t, plan, "")
		if code == 0 || !strings.Contains(text, "cannot be checked") || len(events) != 1 {
			t.Errorf("plan %s: code %d, %d events, text %q", plan, code, len(events), text)
		}
	}
}

func TestMainReadsThePlanAloneAndInsideAnEnvelope(t *testing.T) {
	bare := orders(good)
	raw, err := json.Marshal(bare)
	if err != nil {
		t.Fatal(err)
	}
	for name, plan := range map[string]any{
		"bare": bare, "object": map[string]any{"statement": "s", "plan": bare}, "bytes": map[string]any{"plan": raw},
	} {
		if code, _, events := run(t, plan, ""); code == 0 || len(events) != 1 || events[0].Findings[0].Code != Digest {
			t.Errorf("%s: code %d, events %+v", name, code, events)
		}
	}
}

func TestRefusalTextIsSafeForATerminalAndBounded(t *testing.T) {
	var findings []Finding
	for range 100 {
		findings = append(findings, Finding{Code: Declined, Name: "a\x1b[31m", By: "eve\r\n\u202e", Reason: strings.Repeat("x\x00", 5000)})
	}
	text := explain(findings)
	if strings.ContainsAny(text, "\x1b\r\x00\u202e") || len(text) > 32<<10 || !strings.Contains(text, "80 more") {
		t.Errorf("%d bytes: %.300q", len(text), text)
	}
}

func TestEventsAreForgottenOneByOneAndBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range maxEvents + 5 {
		at := time.Unix(int64(i), 0)
		_ = Event{ID: newEventID(at), At: at}.write(dir)
	}
	events, err := Events(dir)
	if err != nil || len(events) != maxEvents {
		t.Fatalf("%d events, error %v", len(events), err)
	}
	if err := Forget(dir, events[0].ID); err != nil {
		t.Fatal(err)
	}
	if err := Forget(dir, "../x"); err == nil {
		t.Error("forgot a path")
	}
	if left, _ := Events(dir); len(left) != maxEvents-1 || left[0].ID != events[1].ID {
		t.Errorf("%d events left", len(left))
	}
}
