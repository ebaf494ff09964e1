package notify

import (
	"fmt"
	"html"
	"strings"
	"unicode"
)

// Lengths of what came from elsewhere, in characters.
const (
	maxName   = 100
	maxDetail = 300
)

// plain makes text that came from elsewhere fit for one line: no control or direction characters, nothing that is
// invisible, no addresses that programs turn into links, and no more than n characters.
func plain(s string, n int) string {
	var b strings.Builder
	left := n
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		switch {
		case unicode.IsSpace(r) || unicode.IsControl(r):
			r = ' '
		case unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Cs): // direction marks, zero width and the like
			continue
		}
		if left--; left < 0 {
			b.WriteString("…")
			break
		}
		b.WriteRune(r)
	}
	return strings.ReplaceAll(strings.Join(strings.Fields(b.String()), " "), "://", "[:]//")
}

// name is plain for names.
func name(s string) string { return plain(s, maxName) }

// because is a reason at the end of a sentence, if there is one.
func because(reason string) string {
	if reason = strings.TrimRight(plain(reason, maxDetail), ". "); reason == "" {
		return ""
	}
	return ": " + reason
}

// plural is a number with the right word.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// maxListed is how many names a sentence holds.
const maxListed = 3

// some names the first few.
func some(names []string) string {
	if len(names) <= maxListed {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:maxListed], ", "), len(names)-maxListed)
}

// A markup says how a medium reads text, and so what has to be escaped in ours. The text is plain before.

// slackText escapes what Slack reads: <!channel>, <@user> and <https://…|text> are made of these.
func slackText(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "@", "@\u2060").Replace(s)
}

// teamsText escapes HTML and what Markdown reads.
func teamsText(s string) string {
	s = html.EscapeString(s)
	return strings.NewReplacer(`\`, `\\`, "[", `\[`, "]", `\]`, "*", `\*`, "_", `\_`, "`", "\\`", "~", `\~`, "|", `\|`).Replace(s)
}

// lookalikes replaces what some medium may read as markup or as a mention by characters that look alike.
func lookalikes(s string) string {
	return strings.NewReplacer("<", "‹", ">", "›", "&", "＆", "@", "＠", "[", "［", "]", "］", "`", "ˋ", "*", "∗", "|", "❘", "~", "∼", "_", "＿", `\`, "＼").Replace(s)
}
