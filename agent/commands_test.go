package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assent/agent/internal/identity"
	"assent/agent/internal/journal"
	"assent/agent/internal/statedir"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

// shell is a device's command line.
type shell struct {
	t    *testing.T
	p    program
	out  bytes.Buffer
	errs bytes.Buffer
}

func newShell(t *testing.T) *shell {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{"etc/machine-id": "machine-1\n", "var/lib/dpkg/status": "", "etc/apt/apt.conf.d/keep": "", "etc/apt/preferences.d/keep": ""} {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return &shell{t: t, p: program{build: Build{Version: "1.2.3"}, state: filepath.Join(root, "var/lib/assent-agent"), root: root}}
}

// run gives a command and returns its exit code.
func (s *shell) run(stdin string, args ...string) int {
	s.t.Helper()
	s.out.Reset()
	s.errs.Reset()
	p := s.p
	p.in, p.out, p.err = strings.NewReader(stdin), &s.out, &s.errs
	return p.main(s.t.Context(), append(args, "--state", s.p.state, "--root", s.p.root, "--config", filepath.Join(s.p.root, "config.json")))
}

func TestEnrolMakesAnIdentityAndSaysSoTheSecondTime(t *testing.T) {
	sh, s := newShell(t), newServer(t)
	url := s.listen(t)
	if code := sh.run("", "status"); code != 1 || !strings.Contains(sh.errs.String(), "not_enrolled") {
		t.Errorf("status before: %d %s", code, sh.errs.String())
	}
	if code := sh.run(s.token.String()+"\n", "enrol", "--server", url, "--token", "-"); code != 0 {
		t.Fatalf("enrol: %d %s", code, sh.errs.String())
	}
	dir, err := statedir.Open(sh.p.state)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	id, err := identity.Load(dir)
	if err != nil || id.Device != s.device || id.MachineID != "machine-1" || id.Server != url {
		t.Errorf("identity %+v, %v", id, err)
	}
	for _, name := range []string{"identity.json", "."} {
		if info, err := os.Stat(filepath.Join(sh.p.state, name)); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if code := sh.run("", "enrol", "--server", url, "--token", s.token.String()); code != 0 || !strings.Contains(sh.out.String(), "enrolled already, as "+string(s.device)) {
		t.Errorf("second time: %d %s%s", code, sh.out.String(), sh.errs.String())
	}
	if code := sh.run("", "status", "--json"); code != 0 {
		t.Errorf("status: %s", sh.errs.String())
	}
	var st Status
	if err := json.Unmarshal(sh.out.Bytes(), &st); err != nil || !st.Enrolled || st.Running || st.Device != s.device {
		t.Errorf("status %+v, %v", st, err)
	}
}

func TestEnrolForceStartsAnewAndForgetsTheOldPlan(t *testing.T) {
	sh, s := newShell(t), newServer(t)
	url := s.listen(t)
	if code := sh.run("", "enrol", "--server", url, "--token", s.token.String()); code != 0 {
		t.Fatal(sh.errs.String())
	}
	for _, name := range []string{planFile, floorFile, "journal", "sequence"} {
		if err := os.WriteFile(filepath.Join(sh.p.state, name), []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.device = ""
	if code := sh.run("", "enrol", "--server", url, "--token", s.token.String(), "--force"); code != 0 {
		t.Fatal(sh.errs.String())
	}
	left, err := os.ReadDir(sh.p.state)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		if e.Name() != "identity.json" && e.Name() != "lock" {
			t.Errorf("left: %s", e.Name())
		}
	}
}

func TestEnrolWithATokenOfAnotherServerIsRefusedAndLeavesNoIdentity(t *testing.T) {
	sh, s, other := newShell(t), newServer(t), newServer(t)
	if code := sh.run("", "enrol", "--server", s.listen(t), "--token", other.token.String()); code != 1 || !strings.Contains(sh.errs.String(), "ca_mismatch") {
		t.Errorf("%d %s", code, sh.errs.String())
	}
	if len(s.device) != 0 {
		t.Error("the server enrolled the device")
	}
	if code := sh.run("", "status"); code != 0 || !strings.Contains(sh.out.String(), "not enrolled") {
		t.Errorf("status: %d %s%s", code, sh.out.String(), sh.errs.String())
	}
}

func TestUsageErrorsExitWithTwoAndNameWhatIsMissing(t *testing.T) {
	sh := newShell(t)
	for _, args := range [][]string{{"enrol"}, {"enrol", "--server", "https://h", "--token", "x"}, {"enrol", "--server", "http://h", "--token", wire.NewToken(nil).String()}, {"why"}, {"status", "extra"}, {"run", "--nonsense"}} {
		if code := sh.run("", args...); code != 2 || sh.errs.Len() == 0 {
			t.Errorf("%v: %d %s", args, code, sh.errs.String())
		}
	}
}

// enrolled is a shell of a device that is enrolled and has a plan.
func enrolled(t *testing.T, plan wire.Plan, rec journal.Record) *shell {
	t.Helper()
	sh, s := newShell(t), newServer(t)
	dir, err := statedir.Open(sh.p.state)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	id := s.identity(t)
	id.MachineID = "machine-1"
	plan.Format = wire.PlanFormat
	raw, digest, err := wire.Encode(plan)
	if err != nil {
		t.Fatal(err)
	}
	st, err := wire.Sign(s.planKey, wire.StatementBody{Device: id.Device, Counter: 7, Issued: time.Now(), Expires: time.Now().Add(time.Hour), Plan: digest})
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(stored{Statement: st, Plan: raw})
	if err := errors.Join(err, id.Save(dir), dir.Write(planFile, body)); err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := j.Write(rec); err != nil {
		t.Fatal(err)
	}
	return sh
}

func TestPromise3_WhyAnswersForIdsPackagesAndTheirSources(t *testing.T) {
	ssl := file("libssl3", "3.1")
	ssl.Source = "openssl"
	rel := ssl.release()
	bad := file("bad", "2")
	plan := wire.Plan{Install: []wire.PlanInstall{{Update: rel.ID(), Release: rel, Items: []catalog.Item{ssl.Item}}},
		Verdicts: []wire.PlanVerdict{{Update: rel.ID(), Release: rel, Verdict: "install", Reasons: []string{"approved by ann in All devices"}}},
		Deny:     []wire.PlanDeny{{Update: bad.release().ID(), Software: bad.release().Software, Version: "2", Later: true, Items: []catalog.Item{bad.Item}, Reason: "breaks mail", By: "bob", Act: 12}}}
	sh := enrolled(t, plan, journal.Record{Reports: []wire.Report{{ID: "1", Update: rel.ID(), State: installation.Blocked, Cause: installation.NoSpace, Detail: "12 MB are missing", Needs: []string{"pkg:deb/x"}}}})
	for _, words := range []string{string(rel.ID()), rel.PURL(), "openssl", "openssl=3.1", "libssl3", "libssl3:amd64", "libssl3=3.1"} {
		if code := sh.run("", "why", words); code != 0 {
			t.Errorf("why %s: %s", words, sh.errs.String())
		}
		for _, text := range []string{"openssl 3.1", "verdict: install", "approved by ann", "blocked (no_space): 12 MB are missing", "needs: pkg:deb/x"} {
			if !strings.Contains(sh.out.String(), text) {
				t.Errorf("why %s: no %q in\n%s", words, text, sh.out.String())
			}
		}
	}
	if sh.run("", "why", "bad"); !strings.Contains(sh.out.String(), "declined: 2 and all later ones by bob: breaks mail (act 12)") {
		t.Errorf("why bad:\n%s", sh.out.String())
	}
	for _, words := range []string{"libssl3=3.0", "openss", "u0"} {
		if code := sh.run("", "why", words); code != 1 || !strings.Contains(sh.errs.String(), "not_in_plan") {
			t.Errorf("why %s: %d %s", words, code, sh.out.String())
		}
	}
	if code := sh.run("", "why", "--json", "openssl"); code != 0 {
		t.Error(sh.errs.String())
	}
	var answers []Answer
	if err := json.Unmarshal(sh.out.Bytes(), &answers); err != nil || len(answers) != 1 || answers[0].Verdict != "install" {
		t.Errorf("%+v, %v", answers, err)
	}
	if code := sh.run("", "status"); code != 0 || !strings.Contains(sh.out.String(), "1 to install, 0 to roll back, 0 to take off, 1 declined") || !strings.Contains(sh.out.String(), "openssl 3.1 (no_space)") {
		t.Errorf("status:\n%s", sh.out.String())
	}
}

func TestN12_WhyDoesNotAnswerFromAPlanThatWasTamperedWith(t *testing.T) {
	sh := enrolled(t, wire.Plan{}, journal.Record{Forget: []catalog.UpdateID{"x"}})
	path := filepath.Join(sh.p.state, planFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var s stored
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	s.Plan = append(s.Plan, ' ')
	if b, err = json.Marshal(s); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if code := sh.run("", "why", "x"); code != 1 || !strings.Contains(sh.errs.String(), "plan_digest") {
		t.Errorf("%d %s", code, sh.errs.String())
	}
}

func TestN31_RunRefusesTheIdentityOfAnotherMachine(t *testing.T) {
	sh := enrolled(t, wire.Plan{}, journal.Record{Forget: []catalog.UpdateID{"x"}})
	if err := os.WriteFile(filepath.Join(sh.p.root, "etc/machine-id"), []byte("machine-2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"run"}, {"enrol", "--server", "https://h", "--token", "x"}} {
		if code := sh.run("", args...); code != 1 || !strings.Contains(sh.errs.String(), "cloned_identity") {
			t.Errorf("%v: %d %s", args, code, sh.errs.String())
		}
	}
	if code := sh.run("", "status"); code != 0 || !strings.Contains(sh.out.String(), "copy of a device") {
		t.Errorf("status:\n%s", sh.out.String())
	}
}

func TestLeaveRemovesIdentityStateAndWallsButAsksFirst(t *testing.T) {
	for _, args := range [][]string{{"leave", "--yes"}, {"prepare-image"}} {
		bad := file("bad", "2")
		sh := enrolled(t, wire.Plan{}, journal.Record{Forget: []catalog.UpdateID{"x"}})
		if code := sh.run("n\n", "leave"); code != 1 || !strings.Contains(sh.out.String(), "Nothing was changed") {
			t.Errorf("%d %s", code, sh.out.String())
		}
		p := sh.p
		if err := p.manager(discard()).Fence(context.Background(), wire.Plan{Deny: []wire.PlanDeny{{Items: []catalog.Item{bad.Item}}}}); err != nil {
			t.Fatal(err)
		}
		if walls := assentFiles(t, sh.p.root); len(walls) < 3 {
			t.Fatalf("walls and state: %v", walls)
		}
		if code := sh.run("", args...); code != 0 {
			t.Fatalf("%v: %s", args, sh.errs.String())
		}
		if left := assentFiles(t, sh.p.root); len(left) != 0 {
			t.Errorf("%v left traces: %v", args, left)
		}
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// assentFiles lists everything below root that bears Assent's name.
func assentFiles(t *testing.T, root string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err == nil && strings.Contains(strings.TrimPrefix(path, root), "assent") {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestLeaveIsRefusedWhileTheAgentRuns(t *testing.T) {
	sh := enrolled(t, wire.Plan{}, journal.Record{Forget: []catalog.UpdateID{"x"}})
	dir, err := statedir.Open(sh.p.state)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	release, err := dir.Lock()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	for _, args := range [][]string{{"leave", "--yes"}, {"run"}} {
		if code := sh.run("", args...); code != 1 || !strings.Contains(sh.errs.String(), "already running") {
			t.Errorf("%v: %d %s", args, code, sh.errs.String())
		}
	}
	if sh.run("", "status", "--json"); !strings.Contains(sh.out.String(), `"running": true`) {
		t.Errorf("status:\n%s", sh.out.String())
	}
}

func TestN41_SettingsThatOthersCouldChangeOrThatSayTooMuchAreRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.json")
	good := `{"server":"https://h:1","refresh":"2h","log_level":"DEBUG"}`
	put := func(text string, mode os.FileMode) {
		t.Helper()
		if err := errors.Join(os.RemoveAll(path), os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	put(good, 0o644)
	if c, err := ReadConfig(path); err != nil || time.Duration(c.Refresh) != 2*time.Hour || c.Server != "https://h:1" || c.LogLevel != slog.LevelDebug {
		t.Errorf("%+v, %v", c, err)
	}
	for name, do := range map[string]func(){
		"group may write":   func() { put(good, 0o664) },
		"others may write":  func() { put(good, 0o602) },
		"unknown key":       func() { put(`{"sever":"x"}`, 0o600) },
		"trailing text":     func() { put(good+"{}", 0o600) },
		"byte order mark":   func() { put("\xef\xbb\xbf"+good, 0o600) },
		"huge":              func() { put(good+strings.Repeat(" ", maxConfig), 0o600) },
		"a bad duration":    func() { put(`{"refresh":"soon"}`, 0o600) },
		"negative duration": func() { put(`{"refresh":"-1h"}`, 0o600) },
		"empty":             func() { put("", 0o600) },
		"directory":         func() { os.Remove(path); os.Mkdir(path, 0o755) },
		"symbolic link": func() {
			put(good, 0o600)
			os.Rename(path, path+".real")
			os.Symlink(path+".real", path)
		},
		"another user's": func() {
			put(good, 0o600)
			if err := os.Chown(path, 12345, 12345); err != nil {
				t.Fatal("needs root: ", err)
			}
		},
	} {
		do()
		if c, err := ReadConfig(path); err == nil {
			t.Errorf("%s: taken as %+v", name, c)
		} else if !strings.Contains(err.Error(), "config") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if c, err := ReadConfig(path); err != nil || c != (Config{}) {
		t.Errorf("no file: %+v, %v", c, err)
	}
}

func TestVersionAndCompletionWork(t *testing.T) {
	sh := newShell(t)
	if code := sh.run("", "version"); code != 0 || sh.out.String() != "1.2.3\n" {
		t.Errorf("%d %q", code, sh.out.String())
	}
	if code := sh.run("", "completion", "bash"); code != 0 || !strings.Contains(sh.out.String(), "assent-agent") {
		t.Errorf("%d %.100q", code, sh.out.String())
	}
}

func TestGuardLetsEverythingInOnADeviceThatIsNotEnrolled(t *testing.T) {
	sh := newShell(t)
	if code := sh.run("VERSION 3\n\n", "guard"); code != 0 {
		t.Errorf("%d %s", code, sh.errs.String())
	}
}
