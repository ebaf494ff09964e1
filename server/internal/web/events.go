package web

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"assent/catalog"
	"assent/client"
	"assent/fault"
	"assent/fleet"
)

// eventRoutes are the part of the table about what devices reported.
func (s *server) eventRoutes() []Route {
	return slices.Concat([]Route{
		page(Viewer, http.MethodGet, "/events", "events", s.eventsPage),
	}, s.exports(Viewer, "/events", s.eventTable))
}

// eventsView is the list of events, the newest first.
type eventsView struct{ Table Table }

func (s *server) eventsPage(v *Visit) (eventsView, error) {
	v.Title = "Events"
	p, err := paging(v)
	if err != nil {
		return eventsView{}, err
	}
	t, err := s.eventTable(v, p)
	if err != nil {
		return eventsView{}, err
	}
	t.Total = t.First() - 1 + len(t.Rows)
	if t.Next != "" {
		t.Many = "events and more" // how many there are is known only when all were read
	}
	return eventsView{t}, nil
}

// eventTable is one page of the events.
func (s *server) eventTable(v *Visit, p client.Page) (Table, error) {
	q := v.Query()
	query := client.EventQuery{Device: q.Get("device"), Update: q.Get("update"), Event: q.Get("event"), Limit: cmp.Or(p.Limit, 100)}
	if p.Sort != "" {
		return Table{}, fault.New(fault.Invalid, "sort_unknown", "Events stand in the order in which they came.").On("sort")
	}
	var err error
	if query.Before, query.BeforeID, err = readEventCursor(p.Cursor); err != nil {
		return Table{}, err
	}
	list, err := s.Audit.Events(v.Context(), v.Who(), query)
	if err != nil {
		return Table{}, err
	}
	t := Table{ID: "events", Saved: "events", One: "event", Many: "events", Total: list.Total, Export: true,
		Filters: []Filter{{Key: "event", Label: "Event", Options: eventOptions(list.Items, query.Event)}},
		Columns: []Column{{Key: "at", Label: "When"}, {Key: "device", Label: "Device"}, {Key: "event", Label: "What"}, {Key: "detail", Label: "Detail"}, {Key: "update", Label: "Update", Wide: true}},
		Empty:   Empty{Text: "No device has reported anything unusual."}}
	if query.Device != "" {
		t.Filters = append(t.Filters, Filter{Key: "device", Label: "Device", Options: []Option{{query.Device, deviceName(list.Items, query.Device)}}})
	}
	if query.Update != "" {
		t.Filters = append(t.Filters, Filter{Key: "update", Label: "Update", Options: []Option{{query.Update, query.Update}}})
	}
	if n := len(list.Items); n > 0 && list.Next != "" {
		t.Next = eventCursor(list.Items[n-1])
	}
	t.Rows = mapped(list.Items, eventRow)
	return t.finish(v)
}

func eventRow(e client.Event) Row {
	update := Cell{}
	if e.Update != catalog.UpdateID("") {
		update = linked(string(e.Update), updateHref(string(e.Update)))
	}
	device := deviceHref(e.Device)
	return Row{ID: fmt.Sprint(e.ID), Label: e.Event, Href: device, Value: e, Cells: []Cell{moment(e.At), linked(e.DeviceName, device), plain(words(e.Event)), plain(e.Detail), update}}
}

// eventOptions are the sorts of events on this page, and the chosen one.
func eventOptions(items []client.Event, chosen string) []Option {
	var names []string
	for _, e := range items {
		names = append(names, e.Event)
	}
	names = append(names, given([]string{chosen})...)
	slices.Sort(names)
	return options(slices.Compact(names)...)
}

// deviceName is what the events call a device; what was asked for if there is none.
func deviceName(items []client.Event, ref string) string {
	for _, e := range items {
		if e.Device == fleet.DeviceID(ref) {
			return e.DeviceName
		}
	}
	return ref
}

// eventCursor says where the page after an event begins.
func eventCursor(e client.Event) string {
	return e.At.UTC().Format(time.RFC3339Nano) + "_" + strconv.FormatInt(e.ID, 10)
}

func readEventCursor(cursor string) (time.Time, int64, error) {
	if cursor == "" {
		return time.Time{}, 0, nil
	}
	at, id, _ := strings.Cut(cursor, "_")
	when, err := time.Parse(time.RFC3339Nano, at)
	number, bad := strconv.ParseInt(id, 10, 64)
	if err != nil || bad != nil {
		return time.Time{}, 0, fault.New(fault.Invalid, "cursor_invalid", "%.80q is no page of the events.", cursor).On("cursor")
	}
	return when, number, nil
}
