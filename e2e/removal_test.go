package e2e

import (
	"strings"
	"testing"
)

// TestT3_APackageGoesAlongWithAnUpdateOnlyOnceTheTaskNamesIt shows removals on a real device: two updates conflict with packages that
// are installed. Both are held back by name; naming one of the packages lets exactly that one go.
func TestT3_APackageGoesAlongWithAnUpdateOnlyOnceTheTaskNamesIt(t *testing.T) {
	s := fleet(t, "web1")
	s.assent("update", "approve", "acme-removes@2.0", "acme-tool@2.0")
	for update, pkg := range map[string]string{"acme-removes@2.0": "acme-removed", "acme-tool@2.0": "acme-old"} {
		if got := s.becomes("web1", update, "blocked"); got.Cause != "removal_needed" || !strings.Contains(got.Detail, pkg+" 1.0") || !strings.Contains(got.Detail, "--may-remove "+pkg) {
			t.Errorf("%s is blocked by %s: %s", update, got.Cause, got.Detail)
		}
	}
	if out := s.assent("task", "edit", "default", "--may-remove", "acme-removed", "--dry-run"); !strings.Contains(out, "removed along with it") || !strings.Contains(out, "acme-removed") {
		t.Errorf("the preview does not say what would go:\n%s", out)
	}
	s.assent("task", "edit", "default", "--may-remove", "acme-removed")
	s.proven("web1", "acme-removes@2.0")
	s.has("web1", "acme-removed", "")
	s.has("web1", "acme-old", "1.0")
	s.has("web1", "acme-tool", "1.0")
	if got := s.on("web1", "acme-tool@2.0"); got.State != "blocked" || got.Cause != "removal_needed" {
		t.Errorf("acme-tool: %+v", got)
	}
	s.tells("removed_along", "acme-removes 2.0", "acme-removed 1.0")
}
