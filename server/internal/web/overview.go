package web

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"assent/catalog"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/installation"
)

// overviewRoutes are the part of the table about the first page.
func (s *server) overviewRoutes() []Route {
	return []Route{
		page(Viewer, http.MethodGet, "/{$}", "overview", s.overview),
		fragment(Viewer, http.MethodGet, "/overview/coverage", "coverage", s.coverage),
	}
}

// overviewView says what needs the administrator, each with a count and the list behind it.
type overviewView struct {
	Group      string
	Pieces     string // the query of the parts that come later
	Now        time.Time
	Attention  []notice
	Decisions  []tally // what waits for a decision
	Trouble    []tally // what went wrong, or is held up
	Rehearsal  []tally // what devices found beforehand
	Fleet      []tally
	Causes     []tally // of blocked installs
	Compliance complianceView
	Ledger     int64
	Version    string
	First      bool // there is no device yet
	MayEnrol   bool
}

// notice is a sentence that asks for attention, with the list behind it where there is one.
type notice struct{ Text, Href string }

// notices are the sentences of the status. They name commands of the CLI; here the list itself is the way on.
func notices(sentences []string) []notice {
	return mapped(sentences, func(text string) notice {
		before, after, ok := strings.Cut(text, "; see `assent ")
		if !ok {
			return notice{Text: text}
		}
		command, _, _ := strings.Cut(after, "`")
		if href := listOf(strings.Fields(command)); href != "" {
			return notice{before + ".", href}
		}
		return notice{Text: text}
	})
}

// listOf is the page of what a command of the CLI lists; "" if there is none.
func listOf(command []string) string {
	pages := map[string]string{"rehearsal list": "/rehearsals", "queue list": "/queue", "event list": "/events", "update agreements": "/updates?agreements=true&status=approved"}
	if len(command) < 2 {
		return ""
	}
	href := pages[command[0]+" "+command[1]]
	if href != "" && len(command) == 4 && strings.HasPrefix(command[2], "--") {
		href += "?" + url.QueryEscape(strings.TrimPrefix(command[2], "--")) + "=" + url.QueryEscape(command[3])
	}
	return href
}

// tally is a number that opens the list behind it. Grave ones are shown in their tone when they are not zero.
type tally struct {
	Label, Tone, Icon, Href string
	N                       int
	Note                    string // what to do about it, if it is not zero
}

// complianceView is the figure with what it is made of: the risk that was accepted stands beside it and never
// improves it (A4).
type complianceView struct {
	Known                     bool // somebody decided on something that applies
	Percent                   string
	Installed, Approved, Risk int
	Missing                   int // approved, and not there yet
	Decided                   int
}

func complianceOf(c client.Compliance) complianceView {
	out := complianceView{Installed: c.Installed, Approved: c.Approved, Risk: c.Risk, Missing: c.Approved - c.Installed, Decided: c.Approved + c.Risk}
	share, ok := c.Share()
	out.Known, out.Percent = ok, percent(share)
	return out
}

func (s *server) overview(v *Visit) (overviewView, error) {
	v.Title = "Overview"
	who := v.Within(v.Group().ID)
	status, err := s.Decide.Status(v.Context(), who)
	if err != nil {
		return overviewView{}, err
	}
	view := overviewView{Group: v.Group().Name, Pieces: url.Values{"group": {string(v.Group().ID)}}.Encode(), Now: status.Now, Attention: notices(status.Attention), Compliance: complianceOf(status.Compliance),
		Ledger: status.Ledger, Version: status.Version, MayEnrol: v.May(Administrator), Causes: causes(status.Blocked)}
	view.First = sum(status.Devices, "active", "quarantined", "retired") == 0
	view.Fleet = fleetTallies(status)
	view.Trouble = troubleTallies(status)
	view.Rehearsal = rehearsalTallies(status.Rehearsal)
	view.Decisions = decisionTallies(status)
	return view, s.addFeeds(v, &view)
}

// addFeeds counts the feeds that something is wrong with, for those who may see feeds.
func (s *server) addFeeds(v *Visit, view *overviewView) error {
	if !v.May(AdministratorOfAll) {
		return nil
	}
	feeds, err := s.Feeds.Feeds(v.Context(), v.Who())
	if err != nil {
		return err
	}
	stale := tally{Label: "Feeds stale", Tone: "orange", Icon: "rss", Href: "/feeds"}
	t := tally{Label: "Feeds in trouble", Tone: "red", Icon: "rss", Href: "/feeds"}
	for _, f := range feeds.Items {
		if staleFeed(f, view.Now) {
			stale.N++
		}
		if f.Error != nil || len(f.Alarms) > 0 {
			t.N++
		}
	}
	view.Trouble = append(view.Trouble, stale, t)
	return nil
}

// staleAfter is how old the last good look at a feed may be; the mirror looks far more often.
const staleAfter = 24 * time.Hour

// staleFeed tells whether what is known of a feed is old: its signatures expired, or nobody could look for long.
func staleFeed(f client.FeedRow, now time.Time) bool {
	return !f.Expires.IsZero() && f.Expires.Before(now) || !f.LastTry.IsZero() && now.Sub(f.LastSuccess) > staleAfter
}

// upgradeNote says which server version the gated updates wait for (A6).
func upgradeNote(gates map[string]int) string {
	if len(gates) == 0 {
		return ""
	}
	return "Upgrade the server to " + strings.Join(slices.Sorted(maps.Keys(gates)), ", ") + " or newer."
}

// decisionTallies say what waits for a decision. Each number is the total of the very list that it opens.
func decisionTallies(status client.Status) []tally {
	const open = "/updates?status=undefined&needed=true&superseded=false&"
	n := status.Undecided
	return []tally{
		{Label: "Undecided: critical", Tone: "red", Icon: "shield", N: n[string(catalog.Critical)], Href: open + "severity=critical"},
		{Label: "Undecided: high", Tone: "orange", Icon: "shield", N: n[string(catalog.High)], Href: open + "severity=high"},
		{Label: "Undecided: medium", Tone: "azure", Icon: "shield", N: n[string(catalog.Medium)], Href: open + "severity=medium"},
		{Label: "Undecided: low or unrated", Tone: "secondary", Icon: "shield", N: n[string(catalog.Low)] + n[string(catalog.Unrated)], Href: open + "severity=low&severity=unrated"},
		{Label: "Known exploited, undecided", Tone: "red", Icon: "alert-triangle", N: status.Updates["exploited_undecided"], Href: open + "exploited=true"},
		{Label: "Security, undecided", Tone: "red", Icon: "shield-x", N: status.Updates["security_undecided"], Href: open + "security=true"},
		{Label: "Recalled", Tone: "red", Icon: "alert-triangle", N: status.Recalled, Href: "/updates?revoked=true"},
		{Label: "Recalled, but installed", Tone: "red", Icon: "alert-triangle", N: status.Updates["recalled_installed"], Href: "/updates?revoked=true&installed=true&status=undefined&status=approved", Note: "Decline them to take them back."},
		{Label: "Agreements to accept", Tone: "orange", Icon: "file-text", N: status.Updates["agreements"], Href: "/updates?agreements=true&gated=false&revoked=false&status=approved"},
		{Label: "Wait for a newer server", Tone: "orange", Icon: "clock", N: status.Updates["gated"], Href: "/updates?gated=true&revoked=false&status=undefined&status=approved", Note: upgradeNote(status.Gates)},
		{Label: "Approved, but grown since", Tone: "orange", Icon: "refresh", N: status.Updates["changed"], Href: "/updates?changed=true", Note: "Approve them again to cover the new files."},
	}
}

func troubleTallies(status client.Status) []tally {
	queue := func(label, tone, icon string, states ...installation.State) tally {
		t := tally{Label: label, Tone: tone, Icon: icon}
		q := url.Values{"overdue": {"false"}}
		for _, state := range states {
			t.N += status.Queue[string(state)]
			q.Add("state", string(state))
		}
		t.Href = "/queue?" + q.Encode()
		return t
	}
	return []tally{
		queue("Failed", "red", "x", installation.Failed, installation.RemoveFailed),
		{Label: "Blocked", Tone: "red", Icon: "ban", N: sum(status.Blocked, slices.Collect(maps.Keys(status.Blocked))...), Href: "/queue?state=blocked"},
		{Label: "Overdue", Tone: "orange", Icon: "clock", N: status.Queue["overdue"], Href: "/queue?overdue=true"},
		queue("Under way", "azure", "list-check", installation.Assigned, installation.Downloading, installation.Downloaded, installation.Installing, installation.Removing),
	}
}

func fleetTallies(status client.Status) []tally {
	d := status.Devices
	return []tally{
		{Label: "Devices", Tone: "secondary", Icon: "devices", N: d["active"], Href: "/devices?state=active"},
		{Label: "Connected now", Tone: "green", Icon: "check", N: d["connected"], Href: "/devices?only=connected"},
		{Label: "Silent for long", Tone: "orange", Icon: "clock", N: d["silent"], Href: "/devices?only=silent"},
		{Label: "Quarantined", Tone: "red", Icon: "alert-triangle", N: d["quarantined"], Href: "/devices?state=quarantined"},
		{Label: "Need a restart", Tone: "orange", Icon: "refresh", N: d["restart"], Href: "/devices?only=restart"},
		{Label: "Package sources expired", Tone: "orange", Icon: "clock", N: d["stale"], Href: "/devices?only=stale"},
	}
}

// causes are the causes of blocked installs, the most frequent first.
func causes(blocked map[string]int) []tally {
	out := mapped(slices.Sorted(maps.Keys(blocked)), func(cause string) tally {
		return tally{Label: words(cause), Tone: "red", N: blocked[cause], Href: "/queue?" + url.Values{"state": {"blocked"}, "cause": {cause}}.Encode()}
	})
	slices.SortStableFunc(out, func(a, b tally) int { return cmp.Compare(b.N, a.N) })
	return out
}

func sum(counts map[string]int, keys ...string) int {
	n := 0
	for _, key := range keys {
		n += counts[key]
	}
	return n
}

// maxCoverage bounds how many groups the coverage shows.
const maxCoverage = 24

// coverageView is the compliance of each group.
type coverageView struct {
	Groups []coverageRow
	More   int // groups that are not shown
}

type coverageRow struct {
	Name    string
	Href    string
	Depth   int
	Devices int
	complianceView
}

// coverage is the compliance of the group that the person looks from and of those right below it.
func (s *server) coverage(v *Visit) (coverageView, error) {
	v.Title = "Coverage by group"
	groups := slices.DeleteFunc(slices.Clone(v.Groups()), func(g client.GroupRow) bool { return g.ID != v.Group().ID && g.Parent != v.Group().ID })
	shown := groups[:min(len(groups), maxCoverage)]
	view := coverageView{More: len(groups) - len(shown)}
	if len(shown) == 0 {
		return view, fault.New(fault.NotFound, "group_unknown", "There is no such group.").On("group")
	}
	figures, err := s.Decide.Coverage(v.Context(), v.Who(), mapped(shown, func(g client.GroupRow) fleet.GroupID { return g.ID }))
	if err != nil {
		return view, err
	}
	for i, g := range shown {
		view.Groups = append(view.Groups, coverageRow{Name: g.Name, Href: "/?group=" + url.QueryEscape(string(g.ID)), Devices: g.Below, complianceView: complianceOf(figures[i])})
	}
	return view, nil
}
