package pkgmgrtest

import (
	"testing"

	"assent/lab"
)

const aptDriver = "assent/agent/internal/pkgmgr/pkgmgrtest/aptdriver"

func aptBench(t *testing.T) *Bench {
	t.Helper()
	return NewBench(t, aptDriver, "/usr/bin/assent-agent")
}

func TestAptKeepsTheContract(t *testing.T) {
	b := aptBench(t)
	for _, suite := range []string{"bookworm", "trixie", "bullseye"} {
		t.Run(suite, func(t *testing.T) { Run(t, b, lab.MinimalBase(suite), suite == "bookworm") })
	}
}
