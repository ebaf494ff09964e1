package web

import (
	"fmt"
	"html/template"
	"math"
	"strings"
)

// tone is the colour of a word that stands in a badge: one word has one colour everywhere. It is never the only
// sign; the word itself stands in the badge.
func tone(word any) string {
	switch text(word) {
	case "approved", "installed", "active", "connected", "released", "success", "info ok", "current":
		return "green"
	case "declined", "failed", "remove_failed", "revoked", "critical", "quarantined", "blocked", "danger", "refused", "rolled_back":
		return "red"
	case "high", "warning", "overdue", "silent", "restart_required", "gated", "staged", "result_unknown":
		return "orange"
	case "medium", "downloading", "installing", "removing", "downloaded", "assigned":
		return "azure"
	}
	return "secondary"
}

// words is a code as people read it: "restart_required" is "restart required".
func words(code any) string { return strings.ReplaceAll(text(code), "_", " ") }

// inCode is a sentence in which what stands between backticks is shown as code.
func inCode(sentence string) template.HTML {
	var out strings.Builder
	for i, part := range strings.Split(onPages(sentence), "`") {
		escaped := template.HTMLEscapeString(part)
		if i%2 == 1 {
			escaped = "<code>" + escaped + "</code>"
		}
		out.WriteString(escaped)
	}
	return template.HTML(out.String()) //nolint:gosec // every part is escaped
}

// text is a value as text.
func text(v any) string { return fmt.Sprint(v) }

// percent is a share for people. It never rounds up to 100 %: that is said only when nothing is missing.
func percent(share float64) string {
	if share >= 1 {
		return "100 %"
	}
	return fmt.Sprintf("%.1f %%", math.Floor(share*1000)/10)
}
