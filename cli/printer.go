package cli

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// printer writes for people. It remembers the first error of writing; flush returns it.
type printer struct {
	a     *app
	w     *bufio.Writer
	color bool
	width int // 0: no terminal, nothing is cut off
	err   error
}

func (a *app) printer() *printer { return a.printerTo(a.Out, a.Width) }

func (a *app) printerTo(w io.Writer, width int) *printer {
	color := width > 0 && a.Getenv("NO_COLOR") == "" && a.Getenv("TERM") != "dumb"
	return &printer{a: a, w: bufio.NewWriter(w), color: color, width: width}
}

// line prints one line. Arguments that are strings are cleaned.
func (p *printer) line(format string, args ...any) {
	for i, v := range args {
		if s, ok := v.(string); ok {
			args[i] = clean(s)
		}
	}
	p.raw(fmt.Sprintf(format, args...) + "\n")
}

// raw prints text that is clean already.
func (p *printer) raw(text string) {
	if _, err := p.w.WriteString(text); err != nil && p.err == nil {
		p.err = err
	}
}

func (p *printer) flush() error {
	if err := p.w.Flush(); err != nil && p.err == nil {
		p.err = err
	}
	if p.err != nil {
		return fmt.Errorf("write the answer: %w", p.err)
	}
	return nil
}

// clean makes text from elsewhere safe to show on one line: control characters could rule the terminal, and
// direction marks could make one version look like another. What cannot be shown is written out.
func clean(s string) string {
	fine := func(r rune) bool { return unicode.IsPrint(r) && r != utf8.RuneError }
	if !strings.ContainsFunc(s, func(r rune) bool { return !fine(r) }) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case fine(r):
			b.WriteRune(r)
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String()
}

// tone is a colour by meaning.
type tone int

const (
	plain tone = iota
	good
	bad
	warn
	faint
	strong
)

// paint colours text that is clean already.
func (p *printer) paint(t tone, text string) string {
	codes := [...]string{good: "32", bad: "31", warn: "33", faint: "2", strong: "1"}
	if !p.color || t == plain || text == "" {
		return text
	}
	return "\x1b[" + codes[t] + "m" + text + "\x1b[0m"
}

// tones of the words that Assent uses.
func toneOf(word string) tone {
	switch word {
	case "approved", "installed", "active", "connected", "install":
		return good
	case "declined", "failed", "critical", "high", "quarantined", "remove_failed", "result_unknown":
		return bad
	case "undefined", "blocked", "restart_required", "medium", "hold", "silent":
		return warn
	case "unrated", "not_applicable", "retired", "none", "unknown", "removed":
		return faint
	}
	return plain
}
