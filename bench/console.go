package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// consolePackage is the console, which has its own benchmark with a large fleet.
const consolePackage = "./server/internal/web"

// consoles measures P14: every page of the console on 10,000 devices and 5,000 updates, and what Chromium sees of it.
func consoles(ctx context.Context, b *bench) ([]Row, error) {
	if err := b.quiet(ctx); err != nil {
		return nil, err
	}
	samples, err := b.goBench(ctx, consolePackage, "BenchmarkConsole", "40x", 1)
	if err != nil {
		return nil, err
	}
	return consoleRows(samples[0])
}

// pageFigures are what was measured of one page.
type pageFigures struct {
	name                          string
	half, most, spent, bare, size float64
}

// consoleRows makes the rows of one run's figures.
func consoleRows(m sample) ([]Row, error) {
	var pages []pageFigures
	for unit, most := range m {
		if name, ok := strings.CutSuffix(unit, "-p95-ms"); ok && !strings.HasPrefix(unit, "paint-") {
			pages = append(pages, pageFigures{name: name, most: most, half: m[name+"-p50-ms"], spent: m[name+"-cpu-ms"], bare: m[name+"-bare-ms"], size: m[name+"-kB"]})
		}
	}
	if len(pages) == 0 {
		return nil, fmt.Errorf("the console's benchmark reported no page")
	}
	slices.SortFunc(pages, func(a, b pageFigures) int { return int(1e6 * (b.most - a.most)) })
	heaviest := slices.MaxFunc(pages, func(a, b pageFigures) int { return int(1e6 * (a.size - b.size)) })
	var each []string
	for _, p := range pages {
		each = append(each, fmt.Sprintf("%s %s/%s (%s)", p.name, number(p.half), number(p.most), number(p.spent)))
	}
	fleet := "10,000 devices of 20 groups, 40 of 5,000 updates applicable to each; a device reports before each request"
	return []Row{
		{ID: "P14", What: "console: server time of the slowest page, " + pages[0].name + ", p95", Value: pages[0].most, Unit: "ms", Baseline: pages[0].bare,
			Against: "a bare net/http handler that sends as much HTML from a template, p95", Target: Target{Of: Value, Limit: 50},
			Note: fleet + "; through the real handler, services and SQLite, gzip included; every page p50/p95 in ms (CPU of the whole process, p50): " + strings.Join(each, ", ")},
		{ID: "P14b", What: "console: first contentful paint, nothing kept by the browser, p50", Value: m["paint-first-p50-ms"], Unit: "ms", Baseline: m["paint-bare-p50-ms"],
			Against: "the list of updates as plain HTML without style sheet and script", Target: Target{Of: Value, Limit: 300},
			Note: fmt.Sprintf("Debian's headless Chromium on loopback and the same cores, eight pages; p95 %s ms; with the files kept %s ms, p95 %s ms",
				number(m["paint-first-p95-ms"]), number(m["paint-after-p50-ms"]), number(m["paint-after-p95-ms"]))},
		{ID: "P14c", What: "console: bytes of a first load, compressed, at most", Value: m["first-load-kB"], Unit: "kB", Target: Target{Of: Value, Limit: 300}, Note: "the page with style sheets, scripts, icons and what they fetch"},
		{ID: "P14d", What: "console: bytes of a page afterwards, compressed, at most", Value: heaviest.size, Unit: "kB", Target: Target{Of: Value, Limit: 60}, Note: "the page " + heaviest.name},
	}, nil
}
