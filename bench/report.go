package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is the result of one run.
type Report struct {
	Command string    `json:"command"`
	Machine Machine   `json:"machine"`
	Rows    []Row     `json:"rows"`
	Failed  []Failure `json:"failed,omitempty"`
	// Disturbed counts measurements during which the machine was busy with other things.
	Disturbed int `json:"disturbed,omitempty"`
}

// Failure is a target that could not be measured.
type Failure struct {
	Row string `json:"row"`
	Why string `json:"why"`
}

// Row is one figure beside its baseline.
type Row struct {
	Measure  string  `json:"measure"` // the target that it was measured for, such as P8 for P8b
	ID       string  `json:"row"`
	What     string  `json:"what"`
	Value    float64 `json:"value"`
	Unit     string  `json:"unit"`
	Baseline float64 `json:"baseline,omitempty"` // in the same unit; 0 where there is none
	Against  string  `json:"against,omitempty"`  // what the baseline is
	Target   Target  `json:"target,omitzero"`
	// Paired is the median ratio of turns taken in pairs, where the measurement knows it: better than that of two medians.
	Paired float64 `json:"paired_ratio,omitempty"`
	Note   string  `json:"note,omitempty"`
	// Constants are what `assentd sizing` counts with, by their names in its file.
	Constants map[string]float64 `json:"constants,omitempty"`
}

// Target is what a row should reach. The zero value is a row for information.
type Target struct {
	Of    Figure  `json:"of"`
	Least bool    `json:"least,omitempty"` // at least Limit; else at most
	Limit float64 `json:"limit"`
}

// Figure is the part of a row that a target is about.
type Figure string

// The figures.
const (
	Ratio Figure = "ratio"
	Value Figure = "value"
)

// Ratio is the value over the baseline; 0 without one.
func (r Row) Ratio() float64 {
	if r.Paired != 0 {
		return r.Paired
	}
	if r.Baseline == 0 {
		return 0
	}
	return r.Value / r.Baseline
}

// Met says whether the target is reached; meaningless without one.
func (r Row) Met() bool {
	got := r.Value
	if r.Target.Of == Ratio {
		got = r.Ratio()
	}
	if r.Target.Least {
		return got >= r.Target.Limit
	}
	return got <= r.Target.Limit
}

// cells are the columns of the table.
func (r Row) cells() []string {
	baseline, ratio, target, met := "–", "–", "–", "–"
	if r.Baseline != 0 {
		baseline, ratio = number(r.Baseline)+" "+r.Unit, strconv.FormatFloat(r.Ratio(), 'f', 3, 64)
	}
	if r.Target.Of != "" {
		target, met = r.Target.text(r.Unit), "**no**"
		if r.Met() {
			met = "yes"
		}
	}
	return []string{r.ID, r.What, number(r.Value) + " " + r.Unit, baseline, ratio, target, met}
}

func (t Target) text(unit string) string {
	sign := "≤"
	if t.Least {
		sign = "≥"
	}
	if t.Of == Ratio {
		return sign + " " + strconv.FormatFloat(t.Limit, 'f', 2, 64) + " ×"
	}
	return sign + " " + strconv.FormatFloat(t.Limit, 'f', -1, 64) + " " + unit
}

// number keeps three significant digits, and all before the point.
func number(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case v >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

var columns = []string{"row", "what", "Assent", "baseline", "ratio", "target", "met"}

func (r Report) print(out io.Writer) {
	fmt.Fprintln(out, r.Machine.line())
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(columns, "\t"))
	for _, row := range r.Rows {
		fmt.Fprintln(w, strings.ReplaceAll(strings.Join(row.cells(), "\t"), "**", ""))
	}
	_ = w.Flush() // a closed terminal is nobody's loss
	for _, row := range r.Rows {
		fmt.Fprintf(out, "%s: %s\n", row.ID, row.details())
	}
	if r.Disturbed > 0 {
		fmt.Fprintln(out, disturbed(r.Disturbed))
	}
	for _, f := range r.Failed {
		fmt.Fprintf(out, "%s: NOT MEASURED: %s\n", f.Row, f.Why)
	}
}

func disturbed(n int) string {
	return fmt.Sprintf("The machine was busy with other things before %d of the measurements: wall times of this run are worth less.", n)
}

func (r Row) details() string {
	against := "no baseline"
	if r.Against != "" {
		against = "baseline: " + r.Against
	}
	return strings.TrimSuffix(against+"; "+r.Note, "; ")
}

// median of the samples; 0 of none.
func median[T cmp.Ordered](samples []T) T {
	var zero T
	if len(samples) == 0 {
		return zero
	}
	return slices.Sorted(slices.Values(samples))[len(samples)/2]
}

// paired is the median ratio of samples taken in pairs, one right after the other.
func paired(own, other []time.Duration) float64 {
	var ratios []float64
	for i := range min(len(own), len(other)) {
		ratios = append(ratios, own[i].Seconds()/other[i].Seconds())
	}
	return median(ratios)
}

// spread shows all samples, in order, for a note.
func spread(samples []time.Duration) string {
	var out []string
	for _, s := range samples {
		out = append(out, number(float64(s)/float64(time.Millisecond)))
	}
	return strings.Join(out, ", ") + " ms"
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
