package e2e

import (
	"crypto/rand"
	"testing"

	"assent/e2e/stage"
)

func TestN49_AFullDiskUnderApplicationsOfAFeedBlocksThemAndTheOldOnesServeOn(t *testing.T) {
	v := enrolled(openWith(t, stage.DeviceSpec{Name: "small", DiskMB: 300}), t).opens("acme")
	v.deb(app("desk", "1.0"))
	v.tree("ledger", "1.0")
	v.issue()
	v.rolledOut("desk@1.0", "small")
	v.rolledOut("ledger@1.0", "small")

	// The package does not fit; the tree's archive does, and what is unpacked from it does not.
	desk := app("desk", "2.0")
	desk.Pad = 30_000_000
	v.deb(desk)
	file, err := v.Tree("ledger-2.0.tar", map[string]string{"version": "2.0\n", "book": string(noise(14_000_000))})
	v.try(err)
	v.add(file, "--application", "ledger", "--version", "2.0")
	v.issue()
	v.run("small", "sh", "-c", `head -c $(( ($(df -k --output=avail / | tail -1) - 20000) * 1024 )) /dev/zero > /filler`)
	v.assent("update", "approve", "desk@2.0", "ledger@2.0")
	for _, update := range []string{"desk@2.0", "ledger@2.0"} {
		if now := v.becomes("small", update, "blocked"); now.Cause != "no_space" || now.Detail == "" {
			t.Errorf("%s: the block does not name the space: %+v", update, now)
		}
		v.explains("small", update, "space")
	}
	v.has("small", "desk", "1.0")
	const serving = "/opt/assent/acme/ledger/current/version"
	if got := v.run("small", "cat", serving); got != "1.0\n" {
		t.Errorf("ledger serves %q", got)
	}
	v.run("small", "rm", "/filler")
	v.refresh()
	v.proven("small", "desk@2.0")
	v.proven("small", "ledger@2.0")
	if got := v.run("small", "cat", serving); got != "2.0\n" {
		t.Errorf("ledger serves %q", got)
	}
}

// noise does not get smaller when it is compressed.
func noise(bytes int) []byte {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return b
}
