package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"assent/fleet"
	"assent/ledger"
	"assent/server/servertest"
)

// TestTheManualsExamplesOfMigratingComeToWhatItSays runs each source of docs/migrating.md and compares the fleet file with the one below it.
func TestTheManualsExamplesOfMigratingComeToWhatItSays(t *testing.T) {
	manual, err := os.ReadFile("../docs/migrating.md")
	if err != nil {
		t.Fatal(err)
	}
	w := servertest.New(t)
	w.Group("g-web", "Web", fleet.Root)
	for i, offer := range []struct{ name, from, to string }{{"nginx", "1.18.0-6", "1.22.1-9"}, {"nginx", "1.22.1-9", "1.26.3-3"}, {"telnetd", "0.17-40", "0.17-44"}} {
		d := w.Device("web"+string(rune('1'+i)), "g-web")
		d.Has(offer.name, offer.from)
		d.Offer(offer.name, offer.to, nil)
		d.CheckIn()
	}
	s := newSession(t, w, w.Operator("ada", ledger.Administrator, fleet.Root), "")
	examples := 0
	for _, section := range strings.Split(string(manual), "\n## ")[1:] {
		blocks := strings.Split(section, "\n```")
		if len(blocks) < 4 {
			continue
		}
		head, source, _ := strings.Cut(blocks[1], "\n")
		_, want, _ := strings.Cut(blocks[3], "\n")
		words := strings.Fields(head)[1:]
		file := filepath.Join(t.TempDir(), "source")
		if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
		args := append(append([]string{"import"}, words...), file, "-o", "-")
		if words[0] != "wsus" {
			args = append(args, "--group", "Web")
		}
		if code := s.do(t, args...); code != 0 {
			t.Fatalf("%v: exit %d, %s", args, code, s.err.String())
		}
		if diff := cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(s.out.String())); diff != "" {
			t.Errorf("%s: %s", words, diff)
		}
		examples++
	}
	if examples != 3 {
		t.Errorf("%d examples in the manual", examples)
	}
}

// TestThePublishedSchemaIsTheOneOfTheProgram: editors read docs/fleet.schema.json; `assent apply --schema > docs/fleet.schema.json` writes it.
func TestThePublishedSchemaIsTheOneOfTheProgram(t *testing.T) {
	published, err := os.ReadFile("../docs/fleet.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(t, servertest.New(t), "", "")
	if code := s.do(t, "apply", "--schema"); code != 0 || !bytes.Equal(s.out.Bytes(), published) {
		t.Errorf("docs/fleet.schema.json is not what `assent apply --schema` prints (exit %d); write it anew", code)
	}
	if !json.Valid(published) {
		t.Error("it is not JSON")
	}
}
