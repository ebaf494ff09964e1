package web

import (
	"regexp"
	"strings"
)

// Services name the command of the CLI that helps. On a page the act itself is at hand, or a link to it, so the command
// is left out or said in the words of the page. The test of this reads the sentences of all services.

// command is one command, or two in a row.
const command = "`assent(?:-agent)? [^`]*`(?:,? (?:and|then) `assent [^`]*`)?"

// inPageWords replaces what a page says in its own words, then what it leaves out.
var inPageWords = []struct {
	from *regexp.Regexp
	to   string
}{
	{regexp.MustCompile(` Read them with ` + command + `, then approve with --accept-agreements\.`), " Read and accept them with the approval."},
	{regexp.MustCompile(` Read them with ` + command + `, then accept them with ` + command + `\.`), " Read and accept them on the update's page."},
	{regexp.MustCompile(`: name it and add --lift\b`), ": tick that it shall be lifted"},
	{regexp.MustCompile(`Leave --group-on-install out`), "Leave the group out"},
	{regexp.MustCompile(`give another --name\b`), "give another name"},
	{regexp.MustCompile("`assent package deploy` puts"), "a deployment puts"},
	{regexp.MustCompile("`assent update show` says"), "its page says"},
	{regexp.MustCompile(`: ` + command + ` shows them all`), ""},
	{regexp.MustCompile(`; ` + command + ` (?:shows?|lists?) (?:all|those that stand)`), ""},
	{regexp.MustCompile(` \((?:` + command + `|--[a-z-]+)\)`), ""},
	{regexp.MustCompile(`; see ` + command), ""},
	{regexp.MustCompile(` See ` + command + `\.`), ""},
	{regexp.MustCompile(`: ` + command), ""},
	{regexp.MustCompile(` with ` + command), ""},
	{regexp.MustCompile(` with --[a-z-]+`), ""},
}

// onPages is a sentence of a service in the words of the console.
func onPages(sentence string) string {
	if !strings.Contains(sentence, "`assent") && !strings.Contains(sentence, "--") {
		return sentence
	}
	for _, r := range inPageWords {
		sentence = r.from.ReplaceAllString(sentence, r.to)
	}
	return sentence
}
