package planner

import (
	"testing"

	"assent/installation"
	"assent/server/internal/index"
	"assent/wire"
)

func TestV3_TheProofOfARemovalIsNoneOfTheInstallationThatAnOlderScanShows(t *testing.T) {
	proof := &wire.Proof{Transaction: "t1"}
	for was, want := range map[installation.State]*wire.Proof{installation.Removed: nil, installation.Failed: nil, installation.Installed: proof} {
		got := fact(Stand{State: was, Proof: proof}, index.Device{}, index.Update{}, true)
		if got.State != installation.Installed || got.Proof != want {
			t.Errorf("reported as %s, there by the scan: %s with proof %v, want it with %v", was, got.State, got.Proof, want)
		}
	}
}
