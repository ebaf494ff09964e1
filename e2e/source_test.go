package e2e

import (
	"strings"
	"testing"
	"time"

	"assent/lab"
	"assent/lab/debrepo"
)

// shown is what `assent device show` knows of a device's health.
type shown struct {
	State      string
	Connected  bool
	Reason     string
	LastSeen   time.Time `json:"last_seen"`
	LastUseful time.Time `json:"last_useful"`
	Progress   struct {
		Doing       string
		LastRefresh time.Time `json:"last_refresh"`
	}
	Guard string
	Facts struct {
		Guard         string
		ManagerHealth string `json:"manager_health"`
		Origins       []struct{ Suite, Problem, Detail string }
	}
}

func (s *script) show(device string) shown {
	s.t.Helper()
	var d shown
	s.ask(&d, "device", "show", device)
	return d
}

// problem is what a device says is wrong with a suite.
func (s *script) problem(device, suite string) string {
	s.t.Helper()
	for _, o := range s.show(device).Facts.Origins {
		if o.Suite == suite {
			return o.Problem
		}
	}
	return "no such source"
}

func TestSources_AFaultySourceIsNamedAndTheOthersGoOn(t *testing.T) {
	s := fleet(t, "web1")
	healthy, _ := lab.AcmeSuites(1)
	newer, _ := lab.AcmeSuites(2)
	changed := func(seal debrepo.Seal, date time.Time, valid time.Duration) func() error {
		return func() error {
			suite := newer
			suite.Seal, suite.Date, suite.ValidFor = seal, date, valid
			return s.Repo.Publish(suite)
		}
	}
	for _, fault := range []struct {
		name, problem string
		make          func() error
	}{
		// Each problem differs from the one before, so that it is seen to be told anew.
		{"unsigned", "bad_signature", changed(debrepo.Unsigned, time.Time{}, 0)},
		{"expired", "expired", changed(debrepo.Signed, time.Time{}, -time.Hour)},
		{"signed by a stranger", "bad_signature", changed(debrepo.WrongKey, time.Time{}, 0)},
		{"rolled back", "rolled_back", changed(debrepo.Signed, time.Now().Add(-48*time.Hour), 0)},
		{"changed after signing", "bad_signature", changed(debrepo.BadSignature, time.Time{}, 0)},
		{"tampered index", "tampered", func() error {
			if err := s.Repo.Publish(newer); err != nil {
				return err
			}
			return s.Repo.TamperPackages("acme")
		}},
		{"not answering", "unreachable", func() error {
			return s.Repo.SetFaults(debrepo.Fault{Match: "dists/acme/", Kind: debrepo.Status, Code: 503})
		}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			s := &script{s.Stage, t}
			s.try(fault.make())
			s.refresh()
			s.until("the device names the problem "+fault.problem, func() bool { return s.problem("web1", "acme") == fault.problem })
			if p := s.problem("web1", "acme-security"); p != "" {
				t.Errorf("the other source has a problem too: %s", p)
			}
			if text := s.assent("device", "show", "web1"); !strings.Contains(text, fault.problem) {
				t.Errorf("the problem is not shown:\n%s", text)
			}
			if u := s.on("web1", "acme-lib@2.0"); u.State == "" || u.State == "not_applicable" {
				t.Errorf("the last good lists are gone: %+v", u)
			}
			if u := s.on("web1", "acme-lib@2.1"); u.State != "" {
				t.Errorf("what the faulty source says was believed: %+v", u)
			}
		})
	}
	s.tells("origin_rollback", "acme")
	s.assent("update", "approve", "acme-sec@1.1")
	s.proven("web1", "acme-sec@1.1") // what the other source has goes on
	s.try(s.Repo.SetFaults())
	s.try(s.Repo.Publish(healthy))
	s.refresh()
	s.until("the source is well again", func() bool { return s.problem("web1", "acme") == "" })
}

func TestSources_AHangingSourceDoesNotLookLikeWork(t *testing.T) {
	s := fleet(t, "web1")
	before := s.show("web1")
	s.try(s.Repo.SetFaults(debrepo.Fault{Match: "dists/", Kind: debrepo.Hang}))
	s.refresh()
	s.assent("update", "decline", "acme-lib@2.0", "--reason", "while it hangs")
	s.walled("web1", "acme-lib", "while it hangs") // decisions arrive all the same
	s.until("the device is seen to hang in its refresh", func() bool {
		now := s.show("web1")
		return now.LastSeen.After(before.LastSeen) && strings.Contains(now.Progress.Doing, "refreshing")
	})
	if now := s.show("web1"); !now.Progress.LastRefresh.Equal(before.Progress.LastRefresh) {
		t.Errorf("a refresh that hangs counts as one that worked: %+v", now.Progress)
	}
}
