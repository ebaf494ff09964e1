package staging_test

import (
	"testing"

	"assent/installation"
	"assent/server/internal/staging"
)

func TestC6_ASetLeavesStagingOnlyByTheOutcomeOfItsTestDevices(t *testing.T) {
	installed := staging.Outcome{Device: "d1", State: installation.Installed}
	for name, tc := range map[string]struct {
		outcomes        []staging.Outcome
		decided, passed bool
	}{
		"no test device":                 {nil, false, false},
		"all have it":                    {[]staging.Outcome{installed, {Device: "d2", State: installation.Installed}}, true, true},
		"one is still at it":             {[]staging.Outcome{installed, {Device: "d2", State: installation.Installing}}, false, false},
		"one has not said anything yet":  {[]staging.Outcome{installed, {Device: "d2"}}, false, false},
		"one fails":                      {[]staging.Outcome{installed, {Device: "d2", State: installation.Failed, Detail: "probe"}}, true, false},
		"one fails and one is not done":  {[]staging.Outcome{{Device: "d1"}, {Device: "d2", State: installation.Failed}}, true, false},
		"one is silent, others have it":  {[]staging.Outcome{installed, {Device: "d2", Silent: true}}, true, true},
		"silence alone is no success":    {[]staging.Outcome{{Device: "d2", Silent: true}}, false, false},
		"blocked is neither":             {[]staging.Outcome{installed, {Device: "d2", State: installation.Blocked}}, false, false},
		"a failure counts while silent":  {[]staging.Outcome{installed, {Device: "d2", State: installation.Failed, Silent: true}}, true, false},
		"a result that is not yet known": {[]staging.Outcome{{Device: "d2", State: installation.ResultUnknown}}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			out, decided := staging.Judge(tc.outcomes)
			if decided != tc.decided || out.Passed != tc.passed {
				t.Errorf("decided %v passed %v (%s), want %v %v", decided, out.Passed, out.Reason, tc.decided, tc.passed)
			}
			if decided && (len(out.Devices) == 0 || out.Reason == "") {
				t.Errorf("an outcome without devices or reason: %+v", out)
			}
		})
	}
}
