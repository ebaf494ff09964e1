package main

import (
	"encoding/xml"
	"math"
	"strings"
	"testing"
)

func pointsOf(cost func(devices float64) float64) []point {
	var out []point
	for _, n := range []int{1000, 10_000, 100_000} {
		p := point{n, map[string]float64{}}
		for _, c := range curves() {
			p.cost[c.name] = cost(float64(n))
		}
		out = append(out, p)
	}
	return out
}

func TestSlope_IsThePower(t *testing.T) {
	for want, cost := range map[float64]func(float64) float64{0: func(float64) float64 { return 3 }, 1: func(n float64) float64 { return n / 7 }, 0.5: math.Sqrt} {
		if got := slope("why", pointsOf(cost)); math.Abs(got-want) > 1e-9 {
			t.Errorf("slope %g, want %g", got, want)
		}
	}
}

func TestPlot_IsWellFormedAndNamesEveryCurve(t *testing.T) {
	svg := plot("sqlite", pointsOf(math.Sqrt))
	if err := xml.Unmarshal([]byte(svg), new(struct{})); err != nil {
		t.Error(err)
	}
	for _, c := range curves() {
		if !strings.Contains(svg, ">"+c.name+"<") {
			t.Errorf("the plot does not name %q", c.name)
		}
	}
	if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
		t.Error(svg)
	}
}

func TestSizesOf_RefusesWhatIsNoAscendingList(t *testing.T) {
	if got, err := sizesOf("1000, 10000"); err != nil || len(got) != 2 {
		t.Error(got, err)
	}
	for _, bad := range []string{"", "1000", "10000,1000", "1,2", "1000,many"} {
		if _, err := sizesOf(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
