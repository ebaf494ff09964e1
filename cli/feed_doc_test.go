package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// vendor are the files that the manual speaks of.
const vendor = `
-- NOTES --
Faster.
-- EULA.txt --
You may.
-- signatures.db --
one
-- tree/bin/ledgerd --
#!/bin/sh
-- deb/DEBIAN/control --
Package: ledger
Version: 2.0.0
Architecture: amd64
Maintainer: Acme <acme@example.com>
Description: keeps books
`

// TestManual_TheCommandsOfFeedsAreRun runs what docs/feeds.md tells a vendor to type, in its order.
func TestManual_TheCommandsOfFeedsAreRun(t *testing.T) {
	text, err := os.ReadFile("../docs/feeds.md")
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	script.WriteString("env ASSENT_SERVER=http://127.0.0.1:1\nexec dpkg-deb --root-owner-group -b deb ledger_2.0.0_amd64.deb\nexec tar -C tree --zstd -cf ledgerd-1.4.0.tar.zst .\n")
	commands, inside := 0, false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```sh"
		case inside && line != "":
			commands++
			script.WriteString("exec " + line + "\n")
		}
	}
	if commands < 10 {
		t.Fatalf("only %d commands found: this test looks at nothing", commands)
	}
	script.WriteString("exec assent feed verify www --root acme/metadata/1.root.json\nstdout 'recalled'\n")
	name := filepath.Join(t.TempDir(), "feeds.txtar")
	if err := os.WriteFile(name, []byte(script.String()+vendor), 0o600); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{Files: []string{name}})
}
