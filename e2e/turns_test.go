package e2e

import "testing"

// TestI6_DevicesInstallInTurnsWhereATaskSaysHowMany shows the cap on real devices: while one is in the middle of its installation the
// other waits for its turn and says so, also after the server died; and it has its turn as soon as the first is through.
func TestI6_DevicesInstallInTurnsWhereATaskSaysHowMany(t *testing.T) {
	s := fleet(t, "web1", "web2")
	s.assent("task", "edit", "default", "--max-concurrent", "1")
	s.hold("web1")
	s.hold("web2")
	s.assent("update", "approve", "acme-slow@1.1")
	first, second := "web1", "web2"
	s.until("one of the two is in its postinst", func() bool {
		for one, other := range map[string]string{"web1": "web2", "web2": "web1"} {
			if _, _, code, err := s.Device(one).Run(t.Context(), "test", "-e", started); err == nil && code == 0 {
				first, second = one, other
				return true
			}
		}
		return false
	})
	if got := s.becomes(second, "acme-slow@1.1", "blocked"); got.Cause != "too_many_at_once" {
		t.Errorf("%s waits because of %q: %s", second, got.Cause, got.Detail)
	}
	s.explains(second, "acme-slow@1.1", "at most 1 device at the same time", "waits for its turn")
	s.try(s.Server.Kill())
	s.try(s.Server.Start(t.Context()))
	if got := s.becomes(second, "acme-slow@1.1", "blocked"); got.Cause != "too_many_at_once" {
		t.Errorf("after the server died %s waits because of %q", second, got.Cause)
	}
	s.has(second, "acme-slow", "1.0")
	s.release(first)
	s.release(second)
	s.proven(first, "acme-slow@1.1")
	s.proven(second, "acme-slow@1.1")
}
