package guard

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"assent/agent/internal/command"
	"assent/catalog"
	"assent/lab"
	"assent/wire"
)

func TestA4_ReachOfADeclineHoldsForRPMPackagesInRpmsOrder(t *testing.T) {
	plan := wire.Plan{Format: 1, Guard: "block_declined", Deny: []wire.PlanDeny{{Update: "u1", Later: true, Through: "1:2.0-9", Version: "1:1.0-1",
		Software: catalog.Software{Ecosystem: "rpm", Namespace: "feed.acme", Name: "ledger"}}}}
	for version, want := range map[string]bool{"0.9": false, "1.0": true, "1.0^git1": true, "2.0~rc1": true, "2.0": true, "2.1": false} {
		b, err := lab.BuildRPM(t.Context(), lab.RPM{Name: "ledger", Version: version, Epoch: 1})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "harmless.rpm")
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		tx := Transaction{Lines: []Line{{Name: "ledger", NewVersion: "1:" + version + "-1", NewArch: "noarch", Direction: "<", Op: Install, Path: path}}}
		d := Check(plan, tx, readFiles(t.Context(), plan, tx, command.New("")))
		if d.Refuse != want || want && d.Findings[0].Code != Declined {
			t.Errorf("%s: %+v", version, d)
		}
	}
}

func TestABrokenRPMPackageIsNotLetIn(t *testing.T) {
	plan := wire.Plan{Format: 1, Guard: "block_declined", Deny: []wire.PlanDeny{{Update: "u1", Version: "1-1", Software: catalog.Software{Ecosystem: "rpm", Name: "ledger"}}}}
	path := filepath.Join(t.TempDir(), "x.rpm")
	if err := os.WriteFile(path, []byte("\xed\xab\xee\xdb"+strings.Repeat("x", 200)), 0o644); err != nil {
		t.Fatal(err)
	}
	tx := Transaction{Lines: []Line{{Name: "x", NewVersion: "1-1", NewArch: "noarch", Direction: "<", Op: Install, Path: path}}}
	if d := Check(plan, tx, readFiles(t.Context(), plan, tx, command.New(""))); !d.Refuse || d.Findings[0].Code != Unreadable {
		t.Errorf("%+v", d)
	}
}
