package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"assent/client"
	"assent/fault"
	"assent/installation"
)

// queueRoutes are the part of the table about what is on its way.
func (s *server) queueRoutes() []Route {
	return slices.Concat([]Route{
		page(Viewer, http.MethodGet, "/queue", "queue", s.queuePage),
	}, s.exports(Viewer, "/queue", s.queueTable))
}

// queueView is the queue. With script it follows what happens: Live asks for the page again as soon as something
// changed. It stops after a while, so that a page that nobody looks at does not keep a session alive for ever.
type queueView struct {
	Table  Table
	Live   string // where to ask; empty: it stopped
	Resume string
}

// queueWait is how long a page waits for a change; queueRounds how often it asks: for 10 minutes at least.
const (
	queueWait   = 20 * time.Second
	queueRounds = 30
)

func (s *server) queuePage(v *Visit) (queueView, error) {
	v.Title = "Queue"
	round, err := s.queueFollow(v)
	if err != nil {
		return queueView{}, err
	}
	p, err := paging(v)
	if err != nil {
		return queueView{}, err
	}
	seq := s.Changes.Seq() // before the list is read, so that no change is missed
	t, err := s.queueTable(v, p)
	if err != nil {
		return queueView{}, err
	}
	view := queueView{Table: t, Resume: v.Request.URL.RequestURI()}
	if round < queueRounds {
		q := v.Query()
		q.Set("after", strconv.FormatUint(seq, 10))
		q.Set("round", strconv.Itoa(round+1))
		view.Live = "/queue?" + q.Encode()
	}
	return view, nil
}

// queueFollow waits for a change, if the address says what was seen, and takes that out of the address: links of the
// list do not wait.
func (s *server) queueFollow(v *Visit) (round int, err error) {
	q := v.Query()
	after, text := q.Get("after"), q.Get("round")
	if after == "" {
		return 0, nil
	}
	q.Del("after")
	q.Del("round")
	v.Request = v.Request.Clone(v.Context())
	v.Request.URL = &url.URL{Path: v.Request.URL.Path, RawQuery: q.Encode()}
	seen, err := strconv.ParseUint(after, 10, 64)
	if err != nil {
		return 0, fault.New(fault.Invalid, "number_invalid", "%.80q is not the number of a change.", after).On("after")
	}
	if round, err = strconv.Atoi(text); err != nil || round < 0 || round > queueRounds {
		round = queueRounds
	}
	if s.Changes.Seq() < seen {
		return round, nil // the server started anew
	}
	ctx, cancel := context.WithTimeout(v.Context(), queueWait)
	defer cancel()
	if _, err := s.Changes.WaitChange(ctx, seen); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return round, err
	}
	return round, s.live(v) // access may have ended meanwhile
}

// queueTable is one page of the queue, as the address asks for it.
func (s *server) queueTable(v *Visit, p client.Page) (Table, error) {
	q, err := queueQuery(v)
	if err != nil {
		return Table{}, err
	}
	list, err := s.Decide.Queue(v.Context(), v.Who(), q, p)
	if err != nil {
		return Table{}, err
	}
	t := Table{ID: "queue", Saved: "queue", One: "install or rollback", Many: "installs and rollbacks", Total: list.Total, Next: list.Next, Sort: "device", Export: true,
		Filters: []Filter{{Key: "state", Label: "State", Many: true, Options: options(installation.States()...)}, {Key: "overdue", Label: "Overdue", Options: []Option{{"true", "longer than it may"}, {"false", "in time"}}}},
		Columns: []Column{{Key: "device", Label: "Device", Sorts: true}, {Key: "name", Label: "Update", Sorts: true}, {Key: "from", Label: "From", Wide: true}, {Key: "state", Label: "State", Sorts: true},
			{Key: "verdict", Label: "Verdict", Sorts: true, Wide: true}, {Key: "download", Label: "Download", Sorts: true, Number: true, Wide: true}, {Key: "since", Label: "Since", Wide: true},
			{Key: "deadline", Label: "Due", Sorts: true, Extra: true}, {Key: "cause", Label: "Cause", Sorts: true}, {Key: "detail", Label: "Detail", Wide: true}, {Key: "why", Label: "Why?"}},
		Empty: Empty{Text: "Nothing is on its way. What is approved, or ordered back, stands here until it is done."}}
	if q.Cause != "" {
		t.Filters = append(t.Filters, Filter{Key: "cause", Label: "Cause", Options: options(q.Cause)})
	}
	if q.Device != "" {
		t.Filters = append(t.Filters, Filter{Key: "device", Label: "Device", Options: []Option{{q.Device, q.Device}}})
	}
	t.Rows = mapped(list.Items, queueRow)
	return t.finish(v)
}

// queueQuery reads the filter of the queue from the address.
func queueQuery(v *Visit) (client.QueueQuery, error) {
	q := v.Query()
	states, err := oneOf(q, "state", installation.States()...)
	if err != nil {
		return client.QueueQuery{}, err
	}
	overdue, err := yesOrNo(q, "overdue")
	return client.QueueQuery{Group: string(v.Group().ID), Device: q.Get("device"), State: states, Cause: installation.Cause(q.Get("cause")), Overdue: overdue}, err
}

func queueRow(r client.QueueRow) Row {
	d := r.DeviceUpdate
	why := whyHref(d)
	rest := d
	rest.Cause = ""
	return Row{ID: string(d.Device) + " " + string(d.Update), Label: d.Name + " on " + d.DeviceName, Href: why, Value: r, Cells: []Cell{linked(d.DeviceName, deviceHref(d.Device)).with(d.Group),
		linked(d.Name, updateHref(string(d.Update))).with(d.Version), plain(d.From), stateCell(d), {Text: verdictWord(d.Verdict), Tone: verdictTone(d.Verdict)}, plain(bytesText(r.Download)),
		moment(d.Since), moment(d.Deadline), plain(words(d.Cause)), plain(deviceRemark(rest)), linked("Why?", why)}}
}
