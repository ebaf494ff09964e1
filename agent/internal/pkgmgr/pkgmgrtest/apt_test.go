package pkgmgrtest

import (
	"testing"

	"assent/lab"
)

// The backend apt runs on the devices as this program, where the agent would be.
const (
	aptDriver = "assent/agent/internal/pkgmgr/pkgmgrtest/aptdriver"
	agentPath = "/usr/bin/assent-agent"
)

// everyRelease is what apt must show beyond the contract on each release of Debian.
func everyRelease() []behaviour {
	return []behaviour{
		{"A3_DeclinedVersionStaysOutWhoeverStartsApt", 0, declinedStaysOut},
		{"N01_RefreshTellsWhatIsWrongWithEachSource", 0, badSources},
		{"CloseNamesWhatAptWouldAddForEachOfferAlone", 0, closures},
	}
}

// oneRelease is what does not depend on the release.
func oneRelease() []behaviour {
	return []behaviour{
		{"AgentThatIsGoneDoesNotMakeTheDeviceUnmanageable", 0, agentGone},
		{"GuardThatCannotReadItsPlanRefusesEverything", 0, unreadablePlan},
		{"RefreshKeepsTheLastGoodLists", 0, lastGoodLists},
		{"ForeseesFilesThatVanishedAndChangedOnesAndChangesNothing", 0, foresees},
		{"ForeseesThatThereIsNoRoom", 120, foreseesNoRoom},
		{"ForeseesExactlyTheConfigurationFilesThatARunKeeps", 0, foreseesKept},
	}
}

func TestApt(t *testing.T) {
	b := NewBench(t, aptDriver, agentPath)
	t.Run("bookworm", func(t *testing.T) {
		Run(t, b, lab.MinimalBase("bookworm"), core(), faults(), everyRelease(), oneRelease())
	})
	t.Run("trixie", func(t *testing.T) { Run(t, b, lab.MinimalBase("trixie"), core(), everyRelease()) })
	t.Run("bullseye", func(t *testing.T) { Run(t, b, lab.MinimalBase("bullseye"), core(), everyRelease()) })
	t.Run("standard", func(t *testing.T) {
		Run(t, b, lab.StandardBase(), []behaviour{{"UnattendedUpgradesRespectsADecline", 0, unattendedUpgrades}})
	})
	t.Run("CloseEqualsAptsOwnAnswerForRealPendingUpdates", func(t *testing.T) { closuresOfRealUpdates(t, b) })
}
