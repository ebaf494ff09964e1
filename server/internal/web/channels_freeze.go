package web

import (
	"fmt"
	"strings"

	"assent/fault"
	"assent/window"
)

// freezeLines is freezes as people type them: one in a line.
func freezeLines(all []window.Freeze) string {
	var lines []string
	for _, f := range all {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s", f.From, f.To, f.Name)))
	}
	return strings.Join(lines, "\n")
}

// readFreezes reads what people typed: from, to, and a name for it.
func readFreezes(text string) ([]window.Freeze, error) {
	var out []window.Freeze
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
			continue
		case len(words) < 3:
			return nil, fault.New(fault.Invalid, "channel_freeze", "A freeze is a line such as: 12-20 01-06 Christmas.").On("freezes")
		}
		out = append(out, window.Freeze{From: words[0], To: words[1], Name: strings.Join(words[2:], " ")})
	}
	return out, nil
}
