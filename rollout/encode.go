package rollout

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"assent/fleet"
)

// MaxState is the most bytes that an encoded state may have: one with half a million devices fits.
const MaxState = 64 << 20

// Encode returns the state as it is stored: its JSON on one line, keys of marks in order, times in UTC. There is exactly one encoding of a state.
func Encode(s State) ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("encode rollout of %s by %s: %w", s.Update, s.Task, err)
	}
	data, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode rollout of %s by %s: %w", s.Update, s.Task, err)
	}
	if len(data) > MaxState {
		return nil, fmt.Errorf("encode rollout of %s by %s: it has %d bytes, more than %d", s.Update, s.Task, len(data), MaxState)
	}
	return data, nil
}

// Decode reads what Encode wrote, and refuses everything else: unknown or repeated fields, another order, trailing bytes, phases that do not exist or
// that cannot stand beside each other. A rollout that cannot be read must not look as if it had not begun.
func Decode(data []byte) (State, error) {
	var s State
	if len(data) > MaxState {
		return State{}, fmt.Errorf("decode rollout: it has %d bytes, more than %d", len(data), MaxState)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return State{}, fmt.Errorf("decode rollout: %w", err)
	}
	again, err := Encode(s)
	if err != nil {
		return State{}, fmt.Errorf("decode rollout: %w", err)
	}
	if !bytes.Equal(data, again) {
		return State{}, fmt.Errorf("decode rollout of %s by %s: it is not in the one form that Encode writes", s.Update, s.Task)
	}
	return s, nil
}

// DecodeRings reads rings from JSON, strictly: what an unknown field would have limited must not be left out silently. It does not Validate.
func DecodeRings(data []byte) ([]Ring, error) {
	var rings []Ring
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&rings); err != nil {
		return nil, fmt.Errorf("decode rings: %w", err)
	}
	if len(bytes.TrimSpace(data[dec.InputOffset():])) > 0 {
		return nil, errors.New("decode rings: bytes follow the value")
	}
	return rings, nil
}

// WorthSaving reports whether the store should get after, having before: something changed besides the passing of time, or so much time passed that a restart
// of the server would look like a gap.
func WorthSaving(before, after State) bool {
	if after.Clock.Sub(before.Clock).Abs() >= Gap/3 {
		return true
	}
	return !reflect.DeepEqual(before.timeless(), after.timeless())
}

// timeless is the state without what changes with every Advance.
func (s State) timeless() State {
	s = s.clone()
	s.Clock = time.Time{}
	for i := range s.Rings {
		s.Rings[i].Soaked = 0
	}
	return s
}

// check refuses what no sequence of calls leads to.
func (s State) check() error {
	switch {
	case s.Task == "" || s.Update == "":
		return errors.New("it names no task or no update")
	case s.Started.IsZero() || s.Run < 1 || s.Rings == nil:
		return errors.New("it was not made by Start")
	case s.Stop != nil && !known(s.Stop.Reason):
		return fmt.Errorf("its halt has the reason %q", s.Stop.Reason.Code)
	}
	for _, t := range []time.Time{s.Started, s.Clock, s.Listening} {
		if !stored(t) {
			return fmt.Errorf("its time %v is not UTC in microseconds", t)
		}
	}
	return s.checkRings()
}

func known(r Reason) bool { return slices.Contains(codes, r.Code) && r.Text != "" }

func stored(t time.Time) bool {
	return t.Location() == time.UTC && t.Equal(t.Truncate(time.Microsecond))
}

func (s State) checkRings() error {
	names, homes, closed := map[string]bool{}, map[fleet.DeviceID]string{}, false
	for _, r := range s.Rings {
		switch {
		case r.Ring == "" || names[r.Ring]:
			return fmt.Errorf("ring %q has no name of its own", r.Ring)
		case !r.Phase.Valid() || !known(r.Reason):
			return fmt.Errorf("ring %q has the phase %q with the reason %q", r.Ring, r.Phase, r.Reason.Code)
		case r.Phase == Halted && s.Stop == nil:
			return fmt.Errorf("ring %q is halted, the rollout is not", r.Ring)
		case r.Phase.Open() && closed && s.Stop == nil:
			return fmt.Errorf("ring %q is open before its turn", r.Ring)
		case r.Phase.Open() == r.Opened.IsZero() && r.Phase != Halted:
			return fmt.Errorf("ring %q is %s and was opened at %v", r.Ring, r.Phase, r.Opened)
		case r.Soaked < 0 || !stored(r.Since) || !stored(r.Opened):
			return fmt.Errorf("ring %q has times that are none", r.Ring)
		}
		names[r.Ring], closed = true, closed || !r.Phase.done()
		for d, m := range r.Marks {
			if other, twice := homes[d]; twice {
				return fmt.Errorf("device %s is counted in ring %q and ring %q", d, other, r.Ring)
			}
			if !slices.Contains([]Standing{Succeeded, Failed, Silent, Pending}, m.Standing) || !stored(m.Since) {
				return fmt.Errorf("device %s is counted in ring %q as %q", d, r.Ring, m.Standing)
			}
			homes[d] = r.Ring
		}
	}
	return nil
}
