package slot

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"assent/fleet"
)

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// machine is a simulated device: what it really does, the plan that it holds, and what the server knows of it.
type machine struct {
	id       fleet.DeviceID
	online   bool
	order    bool      // its plan orders the install …
	until    time.Time // … and counts so long
	began    time.Time // when it began what it is at …
	busy     time.Time // … and when that ends; zero: nothing
	done     bool
	failures int // that are still to come

	seen     time.Time // by the server
	saidBusy time.Time // as it reported: since when it is at it; zero: it is not
	saidDone bool
}

// sim is a server with its devices, one of which may be silent, another failing, a third withdrawn.
type sim struct {
	now      time.Time
	limit    int
	wanted   map[fleet.DeviceID]bool
	machines []*machine
	state    State
	stored   []byte // what a restart of the server finds
	away     bool
	most     int
}

func newSim(devices, limit int) *sim {
	s := &sim{now: start, limit: limit, wanted: map[fleet.DeviceID]bool{}, state: State{Task: "t"}}
	for i := range devices {
		m := &machine{id: fleet.DeviceID(fmt.Sprintf("d%02d", i)), online: true}
		s.machines, s.wanted[m.id] = append(s.machines, m), true
	}
	s.keep()
	return s
}

func (s *sim) keep() { s.stored, _ = json.Marshal(s.state) }

// restart loses what was not stored.
func (s *sim) restart() {
	s.state = State{}
	if err := json.Unmarshal(s.stored, &s.state); err != nil {
		panic(err)
	}
}

// pass lets time go by in small steps, in each of which devices begin and end, talk, and the server gives.
func (s *sim) pass(d time.Duration) {
	for end := s.now.Add(d); s.now.Before(end); s.now = s.now.Add(time.Minute) {
		for _, m := range s.machines {
			s.work(m)
		}
		if s.away {
			continue
		}
		for _, m := range s.machines {
			s.hear(m)
		}
		next := Give(s.state, s.demands(), s.limit, s.now)
		if same := next.Same(s.state); !same {
			s.state = next
			s.keep() // durable before any device can see it
		}
		s.state = next
		for _, m := range s.machines {
			s.tell(m)
		}
	}
}

func (s *sim) work(m *machine) {
	if !m.busy.IsZero() && !s.now.Before(m.busy) {
		m.busy = time.Time{}
		if m.failures--; m.failures < 0 {
			m.done = true
		}
	}
	if m.busy.IsZero() && m.order && !m.done && s.now.Before(m.until) {
		m.began, m.busy = s.now, s.now.Add(time.Duration(1+s.now.Minute()*2)*time.Minute)
	}
	n := 0
	for _, o := range s.machines {
		if !o.busy.IsZero() {
			n++
		}
	}
	s.most = max(s.most, n)
}

func (s *sim) hear(m *machine) {
	if !m.online {
		return
	}
	m.seen, m.saidDone, m.saidBusy = s.now, m.done, time.Time{}
	if !m.busy.IsZero() {
		m.saidBusy = m.began
	}
}

func (s *sim) demands() []Demand {
	var out []Demand
	for _, m := range s.machines {
		pending := s.wanted[m.id] && !m.saidDone
		busy := !m.saidBusy.IsZero() && s.now.Sub(m.saidBusy) < Grace
		out = append(out, Demand{Device: m.id, Ready: pending && !busy, Busy: busy, Idle: !pending && !busy, Seen: m.seen})
	}
	return out
}

func (s *sim) tell(m *machine) {
	if !m.online {
		return
	}
	until, ok := s.state.Until(m.id, s.now)
	m.order, m.until = ok && s.wanted[m.id], until
}

func TestI6_NeverMoreDevicesThanTheCapAreAtItWhateverHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSim(rapid.IntRange(2, 8).Draw(t, "devices"), rapid.IntRange(1, 3).Draw(t, "cap"))
		for range rapid.IntRange(1, 30).Draw(t, "events") {
			m := rapid.SampledFrom(s.machines).Draw(t, "device")
			switch rapid.IntRange(0, 6).Draw(t, "event") {
			case 0:
				m.online = !m.online
			case 1:
				m.failures = rapid.IntRange(0, 50).Draw(t, "failures")
			case 2:
				s.wanted[m.id] = !s.wanted[m.id] // declined, or approved again
			case 3:
				m.done = false // something new for it
			case 4:
				s.restart()
			case 5:
				s.away = !s.away
			}
			s.pass(time.Duration(rapid.SampledFrom([]int{1, 3, 19, 21, 70, 200}).Draw(t, "minutes")) * time.Minute)
			if s.most > s.limit {
				t.Fatalf("%d devices were at it at the same time, the cap is %d", s.most, s.limit)
			}
		}
		s.away = false // and at last, everybody who can is through: nobody waits for ever
		for _, m := range s.machines {
			m.online, m.failures, s.wanted[m.id] = true, 0, true
		}
		s.pass(Longest + Grace + time.Duration(len(s.machines))*2*time.Hour)
		for _, m := range s.machines {
			if !m.done {
				t.Fatalf("%s never had its turn: %+v", m.id, s.state)
			}
		}
		if s.most > s.limit {
			t.Fatalf("%d devices were at it at the same time, the cap is %d", s.most, s.limit)
		}
	})
}
