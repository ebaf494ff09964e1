package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Shape of a plot, in pixels.
const (
	plotWidth, plotHeight = 720, 420
	plotLeft, plotBottom  = 70, 50
	plotRight, plotTop    = 280, 30
)

// colours tell curves apart, also for people who see colours differently (Okabe and Ito).
func colours() []string {
	return []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"}
}

// plot draws the curves of P6 over the number of devices, both axes logarithmic: a straight line is a power.
func plot(engine string, points []point) string {
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12"><title>What a server costs over the number of devices, %s</title><rect width="100%%" height="100%%" fill="#fff"/>`+"\n",
		plotWidth, plotHeight, html.EscapeString(engine))
	first, last := math.Log10(float64(points[0].devices)), math.Log10(float64(points[len(points)-1].devices))
	low, high := bounds(points)
	x := func(devices int) float64 {
		return plotLeft + (math.Log10(float64(devices))-first)/(last-first)*(plotWidth-plotLeft-plotRight)
	}
	y := func(ms float64) float64 {
		return plotHeight - plotBottom - (math.Log10(max(ms, 1e-6))-low)/(high-low)*(plotHeight-plotBottom-plotTop)
	}
	for e := low; e <= high; e++ {
		at := y(math.Pow(10, e))
		fmt.Fprintf(&out, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%g ms</text>`+"\n", plotLeft, at, plotWidth-plotRight, plotLeft-6, at+4, math.Pow(10, e))
	}
	for _, p := range points {
		fmt.Fprintf(&out, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x(p.devices), plotHeight-plotBottom+18, thousands(p.devices))
	}
	fmt.Fprintf(&out, `<text x="%d" y="%d">devices, %s</text>`+"\n", plotLeft, plotHeight-12, html.EscapeString(engine))
	for i, c := range curves() {
		colour := colours()[i%len(colours())]
		var path strings.Builder
		for j, p := range points {
			fmt.Fprintf(&path, "%s%.1f %.1f", map[bool]string{true: "M", false: "L"}[j == 0], x(p.devices), y(p.cost[c.name]))
		}
		fmt.Fprintf(&out, `<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`, path.String(), colour)
		fmt.Fprintf(&out, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", plotWidth-plotRight+14, plotTop+20*i+10, colour, html.EscapeString(c.name))
	}
	out.WriteString("</svg>\n")
	return out.String()
}

// bounds are the powers of ten around all costs.
func bounds(points []point) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, p := range points {
		for _, c := range curves() {
			e := math.Log10(max(p.cost[c.name], 1e-6))
			low, high = min(low, math.Floor(e)), max(high, math.Ceil(e))
		}
	}
	return low, max(high, low+1)
}
