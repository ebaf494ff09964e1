package web

import (
	"net/http"
	"strings"
	"time"

	"assent/client"
	"assent/installation"
)

// updateLiveRoutes are the part of the table about what happens to an update now.
func (s *server) updateLiveRoutes() []Route {
	return []Route{
		fragment(Viewer, http.MethodGet, "/updates/{update}/live", "update_live", s.updateLivePage),
		answer(Viewer, http.MethodGet, "/updates/{update}/stream", func(w http.ResponseWriter, v *Visit) error {
			return s.stream(w, v, "update_live", streamPulse, func() (any, error) { return s.updateLive(v) })
		}),
	}
}

// liveEvents is how many events are shown of an update.
const liveEvents = 10

// updateLiveView is where an update stands, and what devices reported of it.
type updateLiveView struct {
	Group  string
	States []tally
	Under  []liveInstall
	More   int // under way, and not in Under
	Events []updateEvent
	All    string // the list of all events
}

type updateEvent struct {
	At                  time.Time
	Event, Device, Href string
	Detail              string
}

// updateLive looks at an update now.
func (s *server) updateLive(v *Visit) (updateLiveView, error) {
	u, err := s.Decide.Get(v.Context(), v.Who(), v.Path("update"), string(v.Group().ID))
	if err != nil {
		return updateLiveView{}, err
	}
	return s.updateLiveOf(v, u)
}

func (s *server) updateLiveOf(v *Visit, u client.UpdateDetail) (updateLiveView, error) {
	view := updateLiveView{Group: v.Group().Name, States: statesOf(v, u), All: "/events?update=" + string(u.ID)}
	for _, d := range u.Devices {
		if !underWay(d.State) {
			continue
		}
		if len(view.Under) == liveEvents {
			view.More++
			continue
		}
		view.Under = append(view.Under, liveInstall{Name: d.DeviceName, Version: d.Group, State: string(d.State), Detail: d.Detail, Why: whyHref(d), Since: d.Since})
	}
	events, err := s.Audit.Events(v.Context(), v.Who(), client.EventQuery{Update: string(u.ID), Limit: liveEvents})
	for _, e := range events.Items {
		view.Events = append(view.Events, updateEvent{e.At, e.Event, e.DeviceName, deviceHref(e.Device), strings.TrimSpace(e.Detail)})
	}
	return view, err
}

func (s *server) updateLivePage(v *Visit) (updateLiveView, error) {
	u, err := s.Decide.Get(v.Context(), v.Who(), v.Path("update"), string(v.Group().ID))
	if err != nil {
		return updateLiveView{}, err
	}
	v.Title, v.Crumbs = "What happens", []Crumb{{"Updates", "/updates"}, {u.Name + " " + u.Version, updateHref(string(u.ID))}}
	return s.updateLiveOf(v, u)
}

// statesOf counts the devices by installation state; each number opens the list of them.
func statesOf(v *Visit, u client.UpdateDetail) (out []tally) {
	count := map[installation.State]int{}
	for _, d := range u.Devices {
		count[d.State]++
	}
	for _, state := range installation.States() {
		if n := count[state]; n > 0 {
			out = append(out, tally{Label: words(state), Tone: tone(state), N: n, Href: seenHref(v, u.ID, state)})
		}
	}
	return out
}
