package web

import (
	"strings"
	"testing"

	"assent/client"
)

// TestTrend_ADayWithoutFiguresIsAGapInTheChart and so is one on which nothing was approved.
func TestTrend_ADayWithoutFiguresIsAGapInTheChart(t *testing.T) {
	full := client.Compliance{Installed: 1, Approved: 2}
	var view trendView
	if err := view.draw(client.Trend{Days: []client.TrendDay{{Day: "2026-02-27", Compliance: full}, {Day: "2026-02-28", Compliance: client.Compliance{Risk: 3}}, {Day: "2026-03-02", Compliance: full}}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"data":["2026-02-27","2026-02-28","2026-03-01","2026-03-02"]`, `"data":[50.0,null,null,50.0]`} {
		if !strings.Contains(view.Compliance, want) {
			t.Errorf("%s lacks %s", view.Compliance, want)
		}
	}
}
