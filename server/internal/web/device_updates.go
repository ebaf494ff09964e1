package web

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"assent/client"
	"assent/fault"
	"assent/installation"
	"assent/plan"
)

// verdicts are all verdicts, those that ask for something first.
func verdicts() []plan.Action {
	return []plan.Action{plan.Hold, plan.Install, plan.Remove, plan.None}
}

// verdictWord is a verdict in the words of a list.
func verdictWord(a plan.Action) string {
	switch a {
	case plan.Install:
		return "To install"
	case plan.Hold:
		return "Held"
	case plan.Remove:
		return "To take back"
	case plan.None:
		return "Nothing to do"
	}
	return words(a)
}

func verdictTone(a plan.Action) string {
	switch a {
	case plan.Install:
		return "azure"
	case plan.Hold:
		return "orange"
	case plan.Remove:
		return "red"
	}
	return "secondary"
}

// underWay tells whether the device is about to do something for a state.
func underWay(st installation.State) bool {
	return slices.Contains([]installation.State{installation.Assigned, installation.Downloading, installation.Downloaded, installation.Installing, installation.Removing}, st)
}

func updateHref(id string) string { return "/updates/" + url.PathEscape(id) }

func whyHref(u client.DeviceUpdate) string {
	return deviceHref(u.Device) + "/why/" + url.PathEscape(string(u.Update))
}

// deviceUpdatesView is the list of a device's updates.
type deviceUpdatesView struct{ Table Table }

func (s *server) deviceUpdatesPage(v *Visit) (deviceUpdatesView, error) {
	p, err := paging(v)
	if err != nil {
		return deviceUpdatesView{}, err
	}
	t, err := s.deviceUpdatesTable(v, p)
	return deviceUpdatesView{t}, err
}

// deviceUpdatesTable is one page of a device's updates: what it could take, has or had, by verdict.
func (s *server) deviceUpdatesTable(v *Visit, p client.Page) (Table, error) {
	d, err := s.Roster.Device(v.Context(), v.Who(), v.Path("device"))
	if err != nil {
		return Table{}, err
	}
	here := deviceHref(d.ID)
	v.Title, v.Crumbs = "Updates of "+d.Name, []Crumb{{"Devices", "/devices"}, {d.Name, here}}
	match, err := updateMatch(v.Query())
	if err != nil {
		return Table{}, err
	}
	if !slices.Contains(sortsOfUpdates(), strings.TrimPrefix(p.Sort, "-")) {
		return Table{}, fault.New(fault.Invalid, "sort_unknown", "The list cannot be sorted by %.80q.", p.Sort).On("sort")
	}
	all := slices.DeleteFunc(sortedUpdates(d.Updates, p.Sort), func(u client.DeviceUpdate) bool { return !match(u) })
	rows, next, err := slicePage(all, p)
	if err != nil {
		return Table{}, err
	}
	t := Table{ID: "device-updates", One: "update", Many: "updates", Total: len(all), Next: next, Search: "name or version", Sort: "verdict", Export: true,
		Filters: []Filter{{Key: "verdict", Label: "Verdict", Many: true, Options: mapped(verdicts(), func(a plan.Action) Option { return Option{string(a), verdictWord(a)} })},
			{Key: "state", Label: "State", Many: true, Options: options(installation.States()...)}},
		Columns: []Column{{Key: "name", Label: "Update", Sorts: true}, {Key: "from", Label: "On the device", Wide: true}, {Key: "verdict", Label: "Verdict", Sorts: true},
			{Key: "state", Label: "State", Sorts: true}, {Key: "cause", Label: "Cause", Wide: true}, {Key: "since", Label: "Since", Sorts: true, Wide: true}, {Key: "why", Label: "Why?"},
			{Key: "how", Label: "How it came", Extra: true}, {Key: "deadline", Label: "Due", Extra: true}, {Key: "id", Label: "Id", Extra: true}},
		Empty: Empty{Text: "The device has not reported any update yet."}}
	t.Rows = mapped(rows, deviceUpdateRow)
	return t.finish(v)
}

func deviceUpdateRow(u client.DeviceUpdate) Row {
	why := whyHref(u)
	state := badge(string(u.State))
	switch {
	case u.Overdue:
		state.Sub = "overdue"
	case u.Against:
		state.Sub = "installed though declined"
	}
	return Row{ID: string(u.Update), Label: u.Name, Href: why, Value: u, Cells: []Cell{linked(u.Name, updateHref(string(u.Update))).with(u.Version), plain(u.From),
		{Text: verdictWord(u.Verdict), Tone: verdictTone(u.Verdict)}, state, plain(words(u.Cause)).with(u.Detail), moment(u.Since), linked("Why?", why),
		plain(u.How), moment(u.Deadline), plain(string(u.Update))}}
}

// updateMatch reads the filter of the list. Verdicts and states that do not exist are refused.
func updateMatch(q url.Values) (func(client.DeviceUpdate) bool, error) {
	actions, err := oneOf(q, "verdict", verdicts()...)
	if err != nil {
		return nil, err
	}
	states, err := oneOf(q, "state", installation.States()...)
	text := q.Get("search")
	return func(u client.DeviceUpdate) bool {
		return (len(actions) == 0 || slices.Contains(actions, u.Verdict)) && (len(states) == 0 || slices.Contains(states, u.State)) && hasWords(u.Name+" "+u.Version, text)
	}, err
}

func sortsOfUpdates() []string { return []string{"", "name", "verdict", "state", "since"} }

// sortedUpdates is a sorted copy; by verdict, those that ask for something first, if nothing is said.
func sortedUpdates(in []client.DeviceUpdate, by string) []client.DeviceUpdate {
	column, down := strings.CutPrefix(by, "-")
	out := slices.Clone(in)
	slices.SortStableFunc(out, func(a, b client.DeviceUpdate) int {
		n := 0
		switch column {
		case "name":
		case "state":
			n = cmp.Compare(a.State, b.State)
		case "since":
			n = a.Since.Compare(b.Since)
		default:
			n = cmp.Compare(slices.Index(verdicts(), a.Verdict), slices.Index(verdicts(), b.Verdict))
		}
		n = cmp.Or(n, strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), strings.Compare(a.Version, b.Version))
		if down {
			return -n
		}
		return n
	})
	return out
}

// slicePage is one page of a list that a service gives whole. The cursor is the number of the first row.
func slicePage[T any](all []T, p client.Page) ([]T, string, error) {
	from := 0
	if p.Cursor != "" {
		var err error
		if from, err = strconv.Atoi(p.Cursor); err != nil || from < 0 {
			return nil, "", fault.New(fault.Invalid, "cursor_invalid", "%.80q is no page of this list.", p.Cursor).On("cursor")
		}
	}
	from = min(from, len(all))
	to := min(from+cmp.Or(p.Limit, 100), len(all))
	if to == len(all) {
		return all[from:to], "", nil
	}
	return all[from:to], fmt.Sprint(to), nil
}
