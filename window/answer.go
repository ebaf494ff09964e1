package window

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"time"
)

// Code says why an answer is as it is; it is part of the API's contract.
type Code string

// The codes.
const (
	Open        Code = "open"         // a window is open for this device
	Anytime     Code = "any_time"     // there are no windows, and no freeze is on
	Closed      Code = "closed"       // between windows
	Frozen      Code = "frozen"       // in a freeze; Answer.Freeze is its name
	Spread      Code = "spread"       // in a window, and this device's share of the spread comes later in it
	NeverAgain  Code = "never_again"  // no window opens any more (in the next Horizon years)
	ZoneUnknown Code = "zone_unknown" // the device's zone is not known: unknown holds
	TooShort    Code = "too_short"    // what is left of the window is shorter than what is needed
	TooLong     Code = "too_long"     // none of the next windows is as long as what is needed
	NotMissed   Code = "not_missed"   // no window passed without its run
	Behind      Code = "clock_behind" // the clock shows a time before the last run
	CatchUp     Code = "catch_up"     // a run was missed and may be caught up now
	CatchLater  Code = "catch_later"  // a run was missed and is caught up later
)

// Answer says whether an installation may start.
type Answer struct {
	Open   bool      `json:"open"`
	Window Window    `json:"window,omitzero"` // the one that it lies in
	Opens  time.Time `json:"opens,omitzero"`  // when this device may start, with its share of the spread; zero: since ever, or never
	Next   Window    `json:"next,omitzero"`   // the one that begins next
	Freeze string    `json:"freeze,omitempty"`
	Code   Code      `json:"code"`
	Text   string    `json:"text"` // one sentence for people, in the zone that was asked for
}

// At answers whether an installation may start on a device at now. zone is the device's own; a schedule with
// a zone of its own does not look at it. device keys the spread.
func (w Windows) At(now time.Time, zone Zone, device string) Answer {
	v, held := w.view(zone)
	if held != "" {
		return Answer{Code: ZoneUnknown, Text: held}
	}
	now = now.In(v.loc)
	current, ok := v.after(now)
	if !ok {
		return v.frozenAt(now, Answer{Code: NeverAgain, Text: fmt.Sprintf("No window opens any more in the next %d years.", Horizon)})
	}
	if !current.Contains(now) {
		a := Answer{Next: current, Opens: v.opens(current, device), Code: Closed}
		a.Text = "The window is closed; it opens for this device on " + clock(a.Opens) + "."
		return v.frozenAt(now, a)
	}
	a := Answer{Open: true, Window: current, Opens: v.opens(current, device), Code: Open}
	if !current.End.IsZero() {
		a.Next, _ = v.after(current.End)
	}
	switch {
	case now.Before(a.Opens):
		a.Open, a.Code = false, Spread
		a.Text = "The window is open, and devices start one after another; this one starts on " + clock(a.Opens) + "."
	case w.rule == nil:
		a.Code = Anytime
		a.Text = "Installations may start at any time" + ending(", until a freeze on ", current.End) + "."
	default:
		a.Text = "The window is open" + ending(" until ", current.End) + "."
	}
	return a
}

// view is the windows in the zone that counts, or the reason why there is none.
func (w Windows) view(zone Zone) (view, string) {
	if w.zone.Known() {
		zone = w.zone
	}
	switch {
	case zone.Known():
		return w.in(zone.loc), ""
	case zone.name == "":
		return view{}, "The device's time zone is not known, so its windows are not either."
	}
	return view{}, fmt.Sprintf("The device's time zone %q is not known here, so its windows are not either.", zone.name)
}

// frozenAt names the freeze in an answer that is not open, if one is on.
func (v view) frozenAt(now time.Time, a Answer) Answer {
	spans := v.frozen(now, now.Add(1))
	if len(spans) == 0 {
		return a
	}
	a.Freeze = spans[0].name
	opens := "; no window opens after it."
	if a.Code != NeverAgain {
		a.Code = Frozen
		opens = "; it opens for this device on " + clock(a.Opens) + "."
	}
	a.Text = fmt.Sprintf("Frozen by %q until %s%s", a.Freeze, clock(spans[0].to), opens)
	return a
}

// opens is when a window opens for one device: its start and the device's share of the spread. The share is
// uniform, in whole seconds, and depends only on the device and the window's start. It is less than half of
// the window, also where the spread is longer: each device keeps at least half of it.
func (v view) opens(w Window, device string) time.Time {
	room := min(v.spread, w.Length()/2) / time.Second
	if room < 1 {
		return w.Start
	}
	var start [8]byte
	binary.BigEndian.PutUint64(start[:], uint64(w.Start.Unix()))
	sum := sha256.Sum256(append([]byte("assent window spread\x00"+device+"\x00"), start[:]...))
	share, _ := bits.Mul64(binary.BigEndian.Uint64(sum[:8]), uint64(room))
	return w.Start.Add(time.Duration(share) * time.Second)
}

// MaxNext is the most windows that Next gives.
const MaxNext = 100

// Next lists up to n windows that begin after now, for previews. In a zone that is not known there are none.
func (w Windows) Next(now time.Time, zone Zone, n int) []Window {
	v, held := w.view(zone)
	if held != "" {
		return nil
	}
	return v.next(now.In(v.loc), min(n, MaxNext))
}

func (v view) next(now time.Time, n int) []Window {
	var out []Window
	for at := now; len(out) < n; {
		w, ok := v.after(at)
		if !ok {
			break
		}
		if w.Start.After(now) {
			out = append(out, w)
		}
		if w.End.IsZero() {
			break
		}
		at = w.End
	}
	return out
}

// Fit says whether what is needed fits into a window.
type Fit struct {
	Fits bool      `json:"fits"`          // it may start now and is done before the window ends
	When time.Time `json:"when,omitzero"` // when it fits first; zero: not in the windows that were looked at
	Code Code      `json:"code"`
	Text string    `json:"text"`
}

// fitAhead is how many windows Fits looks at.
const fitAhead = 12

// Fits answers whether an installation that needs so long (as measured on devices like this one) fits if it
// starts at now. need 0 means that nothing was measured yet: then an open window is enough, and the text says so.
func (w Windows) Fits(now time.Time, zone Zone, device string, need time.Duration) Fit {
	a := w.At(now, zone, device)
	switch {
	case a.Code == ZoneUnknown || a.Code == NeverAgain:
		return Fit{Code: a.Code, Text: a.Text}
	case need <= 0 && a.Open:
		return Fit{Fits: true, When: now, Code: a.Code, Text: "How long it takes has not been measured yet, so the open window is enough."}
	case need <= 0:
		return Fit{When: a.Opens, Code: a.Code, Text: a.Text}
	}
	v, _ := w.view(zone)
	now = now.In(v.loc)
	when := v.firstFit(now, a, device, need)
	switch {
	case a.Open && when.Equal(now):
		return Fit{Fits: true, When: now, Code: a.Code, Text: fmt.Sprintf("It takes %s; the window has %s.", atLeast(need), left(a, now))}
	case when.IsZero():
		return Fit{Code: TooLong, Text: fmt.Sprintf("It takes %s, and no window among the next %d leaves this device so long.", atLeast(need), fitAhead)}
	case a.Open:
		return Fit{When: when, Code: TooShort, Text: fmt.Sprintf("It takes %s; the window has only %s. It fits on %s.", atLeast(need), left(a, now), clock(when))}
	}
	return Fit{When: when, Code: a.Code, Text: fmt.Sprintf("%s It takes %s and fits on %s.", a.Text, atLeast(need), clock(when))}
}

// left says how much of the window is left, never more than that.
func left(a Answer, now time.Time) string {
	if a.Window.End.IsZero() {
		return "no end"
	}
	rest := a.Window.End.Sub(now)
	if rest > time.Minute {
		rest = rest.Truncate(time.Minute)
	}
	return human(rest) + " left"
}

// atLeast says a duration, never less than it is.
func atLeast(d time.Duration) string {
	if d > time.Minute {
		d = (d + time.Minute - 1).Truncate(time.Minute)
	}
	return human(d)
}

// firstFit is the first moment from now at which need fits, zero if none of the next windows has the room.
func (v view) firstFit(now time.Time, a Answer, device string, need time.Duration) time.Time {
	candidates := v.next(now, fitAhead)
	if a.Window != (Window{}) || a.Code == Anytime {
		candidates = append([]Window{a.Window}, candidates...)
	}
	for _, w := range candidates {
		begin := later(now, v.opens(w, device))
		if w.End.IsZero() || !begin.Add(need).After(w.End) {
			return begin
		}
	}
	return time.Time{}
}

// Catch says whether a run was missed and what to do about it.
type Catch struct {
	Missed bool      `json:"missed"`
	Window Window    `json:"window,omitzero"` // the latest that passed without a run
	Run    bool      `json:"run"`             // catch it up now
	When   time.Time `json:"when,omitzero"`   // when it is caught up, if not now; zero: no window opens any more
	Mark   time.Time `json:"mark,omitzero"`   // with Run: what to hand in as last from now on
	Code   Code      `json:"code"`
	Text   string    `json:"text"`
}

// Missed answers whether a window passed without a run, and what is to be done. last is the mark of the run
// before: the start of its window (Answer.Window.Start, or Catch.Mark after catching up), never the time at
// which it ran; without a run before, since when the device has the task. Only windows that begin after
// last count, so one that was done or caught up is never given again, also when the clock goes back.
func (w Windows) Missed(now time.Time, zone Zone, device string, last time.Time) Catch {
	v, held := w.view(zone)
	if held != "" {
		return Catch{Code: ZoneUnknown, Text: held}
	}
	if now.Before(last) {
		return Catch{Code: Behind, Text: "The clock shows a time before the last run on " + clock(last.In(v.loc)) + ", so nothing counts as missed."}
	}
	now = now.In(v.loc)
	passed, ok := v.before(now, last)
	if !ok {
		return Catch{Code: NotMissed, Text: "No window passed without its run."}
	}
	c := Catch{Missed: true, Window: passed, Code: CatchLater}
	what := "The run of " + clock(passed.Start) + " was missed; it is caught up "
	a := w.At(now, zone, device)
	if w.missed == AtOnce && a.Window == (Window{}) {
		c.When, _ = v.thaw(now)
		c.Run, c.Mark = c.When.Equal(now), passed.Start
	} else {
		c.When = a.Opens
		c.Run, c.Mark = a.Open, a.Window.Start
	}
	switch {
	case c.Run:
		c.When, c.Code, c.Text = now, CatchUp, what+"now."
	case c.When.IsZero():
		c.Mark, c.Text = time.Time{}, "The run of "+clock(passed.Start)+" was missed, and no window opens any more."
	default:
		c.Mark, c.Text = time.Time{}, what+"on "+clock(c.When)+"."
	}
	return c
}
