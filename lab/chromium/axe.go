package chromium

import (
	"fmt"
	"os"
	"strings"

	"github.com/chromedp/chromedp"
)

// Fault is an accessibility rule that a page breaks, with the first few elements that break it.
type Fault struct {
	Rule   string   `json:"rule"`
	Impact string   `json:"impact"` // minor, moderate, serious or critical
	Help   string   `json:"help"`
	Where  []string `json:"where"`
}

// String is one line.
func (f Fault) String() string {
	return fmt.Sprintf("%s (%s): %s: %s", f.Rule, f.Impact, f.Help, strings.Join(f.Where, " | "))
}

// check runs axe-core over the whole document. Style sheets are not fetched again (preload), for that would be one
// more request of the page.
const check = `axe.run(document, {preload: false, resultTypes: ["violations"]}).then((r) => r.violations.map((v) => ({
  rule: v.id, impact: v.impact || "minor", help: v.help,
  where: v.nodes.slice(0, 4).map((n) => n.target.join(" ") + " " + n.html.slice(0, 120) + (n.any[0]?.data?.contrastRatio ? " contrast " + n.any[0].data.contrastRatio + " of " + n.any[0].data.fgColor + " on " + n.any[0].data.bgColor : ""))})))`

// LoadAxe reads axe-core for Faults. It is fetched with the console's other packages by their lock file.
func LoadAxe(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("axe-core is not here; `make assets` fetches it: %w", err)
	}
	return string(b), nil
}

// Faults runs axe-core on the page as it is now. The page's script must be on.
func (b *Tab) Faults(axe string) []Fault {
	b.t.Helper()
	if !Eval[bool](b, `typeof window.axe === "object"`) {
		b.must(chromedp.Do(b.ctx, evaluated(axe)))
	}
	return Eval[[]Fault](b, check)
}

func evaluated(script string) Step {
	return chromedp.Evaluate[chromedp.Void](script)
}
