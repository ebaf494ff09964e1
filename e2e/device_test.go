package e2e

import (
	"fmt"
	"strings"
	"testing"

	"assent/e2e/stage"
)

func TestV2_AnotherAptAtWorkIsWaitedForByName(t *testing.T) {
	s := fleet(t, "web1")
	s.hold("web1")
	other, err := s.Device("web1").Start(t.Context(), "other", "apt-get", "-y", "install", "acme-slow=1.1")
	s.try(err)
	s.inPostinst("web1")
	s.assent("update", "approve", "acme-lib@1.1", "--allow-superseded")
	now := s.becomes("web1", "acme-lib@1.1", "blocked")
	if now.Cause != "package_manager_busy" || !strings.Contains(now.Detail, "apt-get -y install acme-slow=1.1") {
		t.Errorf("the block does not say who is at work: %+v", now)
	}
	s.has("web1", "acme-lib", "1.0")
	s.release("web1")
	s.try(other.Wait(t.Context()))
	s.has("web1", "acme-slow", "1.1") // nobody ended it
	s.proven("web1", "acme-lib@1.1")
	if now := s.becomes("web1", "acme-slow@1.1", "installed"); !strings.HasPrefix(now.How, "by hand") {
		t.Errorf("acme-slow came by hand: %+v", now)
	}
}

func TestV2_AFullDiskBlocksAndTheDeviceRecovers(t *testing.T) {
	s := enrolled(openWith(t, stage.DeviceSpec{Name: "small", DiskMB: 200}), t)
	s.updates()
	filler := `head -c $(( ($(df -k --output=avail / | tail -1) - 20000) * 1024 )) /dev/zero > /filler`
	s.run("small", "sh", "-c", filler)
	s.assent("update", "approve", "acme-big@1.1")
	now := s.becomes("small", "acme-big@1.1", "blocked")
	if now.Cause != "no_space" || now.Detail == "" {
		t.Errorf("the block does not name the space: %+v", now)
	}
	s.has("small", "acme-big", "1.0")
	s.until("the administrator sees it", func() bool { return strings.Contains(s.assent("status"), "no space") })
	s.run("small", "rm", "/filler")
	s.refresh()
	s.proven("small", "acme-big@1.1")
}

func TestCLI_BadInputIsRefusedWithACodeAndChangesNothing(t *testing.T) {
	s := fleet(t, "web1")
	before := s.acts()
	const usage, notFound, conflict = 2, 3, 4
	for _, c := range []struct {
		exit int
		code string
		args string
	}{
		{notFound, "update_unknown", "update approve u000000000000"},
		{notFound, "update_unknown", "update approve acme-lib@9.9"},
		{notFound, "update_unknown", "update show no-such-thing@1"},
		{notFound, "group_unknown", "update approve acme-data@1.1 --group Nowhere"},
		{notFound, "device_unknown", "device show nobody"},
		{notFound, "device_unknown", "why nobody acme-lib@1.1"},
		{notFound, "update_unknown", "why web1 acme-lib@9.9"},
		{notFound, "device_unknown", "device move nobody --to root"},
		{notFound, "group_unknown", "device move web1 --to Nowhere"},
		{conflict, "superseded", "update approve acme-lib@1.1"},
		{usage, "usage", "update approve acme-data@1.1 --expires tomorrow-ish"},
		{usage, "expires", "update decline acme-data@1.1 --expires 2001-01-01"},
		{usage, "reach", "update decline acme-data@1.1 --reach sideways"},
		{usage, "usage", "update approve"},
		{usage, "usage", "update approve --all-matching"},
		{usage, "value_unknown, guard", "group guard root lenient"},
		{usage, "uses_invalid", "token create --uses -1"},
		{conflict, "not_declined", "update except acme-data@1.1 --group root --reason x --expires 1d"},
		{conflict, "nothing_to_roll_back", "update rollback acme-data@1.1 --decline"},
		{usage, "name", "group create " + strings.Repeat("x", 5000)},
	} {
		s.refused(c.exit, c.code, strings.Fields(c.args)...)
	}
	if a, err := s.CLIAs(t.Context(), "stranger", "device", "list"); err != nil || a.Code != 6 {
		t.Errorf("a stranger sees devices: exit code %d, %v: %s", a.Code, err, a.Stdout)
	}
	if after := s.acts(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("refused acts left entries: %v", after[:len(after)-len(before)])
	}
}
