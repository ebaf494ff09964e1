package client

import (
	"context"
	"time"

	"assent/fleet"
)

// Trend is how a group, with all below it, did over time.
type Trend struct {
	Group fleet.GroupID `json:"group"`
	Name  string        `json:"name"` // of the group
	Now   time.Time     `json:"now"`
	// Days are the figures of each day, the oldest first. A day on which nobody took them is not there: nothing is
	// made up for it.
	Days []TrendDay `json:"days"`
	// Weeks are the last weeks, the oldest first, all of them: they are counted from the catalog and the ledger.
	Weeks []TrendWeek `json:"weeks"`
}

// TrendDay is what was so at the end of a day (UTC), or on the running day when it was last looked at.
type TrendDay struct {
	Day        string         `json:"day"` // 2026-11-23
	At         time.Time      `json:"at"`  // when the figures were taken
	Compliance Compliance     `json:"compliance"`
	Undecided  map[string]int `json:"undecided"` // updates that devices need and nobody decided on, by severity
	Devices    int            `json:"devices"`   // active
	Reporting  int            `json:"reporting"` // of these, heard of lately
	Silent     int            `json:"silent"`    // of these, not heard of for long
	// Decision is the time from the release of an update (when this server first saw it, where its publisher says no date) to
	// the decision that counts in the group, of the decisions of the last 30 days.
	Decision TrendTime `json:"decision"`
	// Install is the time from that decision, an approval, to the installed update, for each device, of the installs of the last
	// 30 days. What came by other means is not counted (V4).
	Install TrendTime `json:"install"`
}

// TrendTime is how long something took. Without a case there is no figure.
type TrendTime struct {
	Cases  int           `json:"cases"`
	Median time.Duration `json:"median,omitempty"` // nanoseconds: half of the cases took no longer
	P90    time.Duration `json:"p90,omitempty"`    // nine of ten took no longer
}

// TrendWeek counts what happened in a week (UTC).
type TrendWeek struct {
	Monday   string `json:"monday"`     // 2026-11-23
	Seen     int    `json:"first_seen"` // updates that this server saw for the first time
	Approved int    `json:"approved"`   // approvals of updates that concern the group: in it, above it or below it
	Declined int    `json:"declined"`   // declines of updates, likewise
}

// TrendQuery asks for a trend.
type TrendQuery struct {
	Group string // id or name; the caller's scope by default
	Days  int    // 1 to 731; 90 by default
}

// Trend is how a group did over time.
func (c *Client) Trend(ctx context.Context, q TrendQuery) (Trend, error) {
	return get[Trend](ctx, c, "/trend", values("group", q.Group, "days", number(q.Days)))
}
