package dnf

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"assent/agent/internal/pkgmgr"
	"assent/installation"
	"assent/wire"
)

// plain makes a tool's words safe to pass on and short: lines stay, other control characters go.
func plain(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r == '\t' || r == '\r':
			return ' '
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s)
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return s
}

// words are dnf's own reasons: what follows "Error:", in one line.
func words(output string) string {
	_, reason, found := strings.Cut("\n"+output, "\nError:")
	if !found {
		reason = output
	}
	var out []string
	for line := range strings.Lines(reason) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "(try to add") && !strings.HasPrefix(line, "No repository match") && line != "Operation aborted." {
			out = append(out, line)
		}
	}
	return plain(strings.Join(out, " "), 600)
}

func refuse(cause installation.Cause, changes []wire.Change, format string, args ...any) *pkgmgr.Refusal {
	return &pkgmgr.Refusal{Cause: cause, Changes: changes, Detail: fmt.Sprintf(format, args...)}
}

// names puts changes in words, a few of them.
func names(changes []wire.Change) string {
	const most = 8
	var out []string
	for _, c := range changes[:min(len(changes), most)] {
		out = append(out, strings.TrimSpace(c.Name+" "+c.Version))
	}
	if more := len(changes) - most; more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(out, ", ")
}
