package web

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"assent/catalog"
	"assent/client"
)

// trendRoutes are the part of the table about how things went over time.
func (s *server) trendRoutes() []Route {
	return slices.Concat([]Route{
		fragment(Viewer, http.MethodGet, "/overview/trend", "trend", s.trend),
	}, s.exports(Viewer, "/overview/trend", s.trendTable))
}

// trendView is how a group did: each chart has its figures as a table too.
type trendView struct {
	Group      string
	Ranges     []trendRange
	Days       []trendDay // the newest first
	Weeks      []client.TrendWeek
	Compliance string // charts, as options of ECharts; empty where there is nothing to draw
	Undecided  string
	Times      string
	Happened   string
	CSV, JSON  string // the days as data
}

// trendRange is a choice of how far back to look.
type trendRange struct {
	Label, Href string
	Chosen      bool
}

// trendDay is a day in words.
type trendDay struct {
	client.TrendDay
	Share                      string // "nothing approved" where there is none
	Critical, High, Medium     int
	Rest                       int
	DecideHalf, DecideMost     string
	InstallHalf, InstallMost   string
	DecideCases, InstallCases  int
	Installed, Approved, Risky int
}

func (s *server) trend(v *Visit) (trendView, error) {
	v.Title, v.Crumbs = "Over time", []Crumb{{"Overview", "/"}}
	t, err := s.trendOf(v)
	if err != nil {
		return trendView{}, err
	}
	view := trendView{Group: t.Name, Weeks: slices.Clone(t.Weeks), Ranges: trendRanges(v, string(t.Group))}
	slices.Reverse(view.Weeks)
	for _, d := range slices.Backward(t.Days) {
		view.Days = append(view.Days, trendDayOf(d))
	}
	q := url.Values{"group": {string(t.Group)}, "days": {v.Query().Get("days")}}.Encode()
	view.CSV, view.JSON = "/overview/trend.csv?"+q, "/overview/trend.json?"+q
	return view, view.draw(t)
}

// trendOf asks for the trend of the group that the person looks from.
func (s *server) trendOf(v *Visit) (client.Trend, error) {
	days, err := v.Number("days")
	if err != nil {
		return client.Trend{}, err
	}
	return s.Trends.Trend(v.Context(), v.Who(), client.TrendQuery{Group: string(v.Group().ID), Days: int(days)})
}

func trendRanges(v *Visit, group string) []trendRange {
	now := cmp.Or(v.Query().Get("days"), "90")
	return mapped([]Option{{"30", "30 days"}, {"90", "90 days"}, {"365", "a year"}, {"731", "two years"}}, func(o Option) trendRange {
		return trendRange{o.Label, "/overview/trend?" + url.Values{"group": {group}, "days": {o.Value}}.Encode(), o.Value == now}
	})
}

func trendDayOf(d client.TrendDay) trendDay {
	at := func(s catalog.Severity) int { return d.Undecided[string(s)] }
	out := trendDay{TrendDay: d, Share: "nothing approved", Critical: at(catalog.Critical), High: at(catalog.High), Medium: at(catalog.Medium), Rest: at(catalog.Low) + at(catalog.Unrated),
		DecideHalf: spanOf(d.Decision, d.Decision.Median), DecideMost: spanOf(d.Decision, d.Decision.P90), InstallHalf: spanOf(d.Install, d.Install.Median), InstallMost: spanOf(d.Install, d.Install.P90),
		DecideCases: d.Decision.Cases, InstallCases: d.Install.Cases, Installed: d.Compliance.Installed, Approved: d.Compliance.Approved, Risky: d.Compliance.Risk}
	if share, ok := shareOf(d.Compliance); ok {
		out.Share = percent(share)
	}
	return out
}

// shareOf is the figure of compliance; there is none where nothing is approved.
func shareOf(c client.Compliance) (float64, bool) {
	share, ok := c.Share()
	return share, ok && c.Approved > 0
}

// spanOf is a length of time for people; a dash where there was no case.
func spanOf(t client.TrendTime, d time.Duration) string {
	if t.Cases == 0 {
		return "–"
	}
	return spanText(d)
}

func spanText(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "under a minute"
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%.1f h", d.Hours())
	}
	return fmt.Sprintf("%.1f days", d.Hours()/24)
}

// trendTable is the days as data.
func (s *server) trendTable(v *Visit, p client.Page) (Table, error) {
	t, err := s.trendOf(v)
	if err != nil {
		return Table{}, err
	}
	rows, next, err := slicePage(t.Days, p)
	if err != nil {
		return Table{}, err
	}
	out := Table{ID: "trend", One: "day", Many: "days", Total: len(t.Days), Next: next, Columns: mapped([]string{"Day", "Taken", "Installed", "Approved", "Accepted risk",
		"Undecided: critical", "high", "medium", "low or unrated", "Devices", "Reporting", "Silent", "Decisions", "Seconds to decide: median", "p90", "Installs", "Seconds to install: median", "p90"},
		func(label string) Column { return Column{Key: label, Label: label} })}
	out.Rows = mapped(rows, func(d client.TrendDay) Row {
		w := trendDayOf(d)
		cells := []Cell{plain(d.Day), moment(d.At)}
		for _, n := range []int{w.Installed, w.Approved, w.Risky, w.Critical, w.High, w.Medium, w.Rest, d.Devices, d.Reporting, d.Silent} {
			cells = append(cells, number(n))
		}
		for _, t := range []client.TrendTime{d.Decision, d.Install} {
			cells = append(cells, number(t.Cases), seconds(t, t.Median), seconds(t, t.P90))
		}
		return Row{ID: d.Day, Label: d.Day, Value: d, Cells: cells}
	})
	return out.finish(v)
}

func seconds(t client.TrendTime, d time.Duration) Cell {
	if t.Cases == 0 {
		return plain("")
	}
	return number(int64(d.Seconds()))
}

// The charts. A value of nil is a gap: no line goes over a day without figures.

type chart struct {
	Series  []chartSeries  `json:"series"`
	XAxis   chartAxis      `json:"xAxis"`
	YAxis   map[string]any `json:"yAxis"`
	Legend  map[string]any `json:"legend"`
	Tooltip map[string]any `json:"tooltip"`
	Grid    map[string]any `json:"grid"`
}

type chartAxis struct {
	Type string   `json:"type"`
	Data []string `json:"data"`
}

type chartSeries struct {
	Name  string `json:"name"`
	Type  string `json:"type"` // "line" or "bar"
	Stack string `json:"stack,omitempty"`
	Data  []any  `json:"data"`
}

// lines is a chart of some series over x, as ECharts reads it.
func lines(x []string, unit string, series ...chartSeries) (string, error) {
	c := chart{Series: series, XAxis: chartAxis{"category", x}, YAxis: map[string]any{"type": "value", "name": unit, "min": 0}, Legend: map[string]any{"bottom": 0},
		Tooltip: map[string]any{"trigger": "axis"}, Grid: map[string]any{"top": 30, "bottom": 50, "left": 45, "right": 15}}
	text, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("draw a chart: %w", err)
	}
	return string(text), nil
}

// plot is what the charts by day are drawn from.
type plot struct {
	x  []string // every day from the first to the last
	by map[string]client.TrendDay
}

// line is one value of each day.
func (p plot) line(name string, of func(client.TrendDay) any) chartSeries {
	s := chartSeries{Name: name, Type: "line"}
	for _, d := range p.x {
		var value any
		if one, ok := p.by[d]; ok {
			value = of(one)
		}
		s.Data = append(s.Data, value)
	}
	return s
}

// hours is a line of how long something took.
func (p plot) hours(name string, of func(client.TrendDay) (client.TrendTime, time.Duration)) chartSeries {
	return p.line(name, func(d client.TrendDay) any {
		if t, span := of(d); t.Cases > 0 {
			return rounded(span.Hours())
		}
		return nil
	})
}

// open is the part of a bar that stands for undecided updates of some severities.
func (p plot) open(name string, all ...catalog.Severity) chartSeries {
	s := p.line(name, func(d client.TrendDay) any {
		n := 0
		for _, one := range all {
			n += d.Undecided[string(one)]
		}
		return n
	})
	s.Type, s.Stack = "bar", "undecided"
	return s
}

// draw makes the charts.
func (view *trendView) draw(t client.Trend) (err error) {
	if view.Happened, err = weeksChart(t.Weeks); err != nil || len(t.Days) == 0 {
		return err
	}
	var p plot
	p.x, p.by = calendar(t.Days)
	view.Compliance, err = lines(p.x, "%", p.line("Approved and installed, of all that was decided", func(d client.TrendDay) any {
		if share, ok := shareOf(d.Compliance); ok {
			return rounded(share * 100)
		}
		return nil
	}))
	if err != nil {
		return err
	}
	view.Undecided, err = lines(p.x, "updates", p.open("critical", catalog.Critical), p.open("high", catalog.High), p.open("medium", catalog.Medium), p.open("low or unrated", catalog.Low, catalog.Unrated))
	if err != nil {
		return err
	}
	view.Times, err = lines(p.x, "hours",
		p.hours("release to decision, median", func(d client.TrendDay) (client.TrendTime, time.Duration) { return d.Decision, d.Decision.Median }),
		p.hours("release to decision, p90", func(d client.TrendDay) (client.TrendTime, time.Duration) { return d.Decision, d.Decision.P90 }),
		p.hours("decision to installed, median", func(d client.TrendDay) (client.TrendTime, time.Duration) { return d.Install, d.Install.Median }),
		p.hours("decision to installed, p90", func(d client.TrendDay) (client.TrendTime, time.Duration) { return d.Install, d.Install.P90 }))
	return err
}

func weeksChart(weeks []client.TrendWeek) (string, error) {
	bar := func(name string, of func(client.TrendWeek) int) chartSeries {
		return chartSeries{Name: name, Type: "bar", Data: mapped(weeks, func(w client.TrendWeek) any { return of(w) })}
	}
	return lines(mapped(weeks, func(w client.TrendWeek) string { return w.Monday }), "",
		bar("first seen", func(w client.TrendWeek) int { return w.Seen }), bar("approved", func(w client.TrendWeek) int { return w.Approved }),
		bar("declined", func(w client.TrendWeek) int { return w.Declined }))
}

func rounded(f float64) json.Number { return json.Number(strconv.FormatFloat(f, 'f', 1, 64)) }

// calendar is every day from the first with figures to the last.
func calendar(days []client.TrendDay) (all []string, by map[string]client.TrendDay) {
	by = map[string]client.TrendDay{}
	for _, d := range days {
		by[d.Day] = d
	}
	if len(days) == 0 {
		return nil, by
	}
	at, err := time.Parse(time.DateOnly, days[0].Day)
	for last := days[len(days)-1].Day; err == nil && len(all) < 1000; at = at.AddDate(0, 0, 1) {
		all = append(all, at.Format(time.DateOnly))
		if all[len(all)-1] >= last {
			break
		}
	}
	return all, by
}
