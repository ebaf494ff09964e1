package restart_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"assent/agent/internal/journal"
	"assent/agent/internal/restart"
	"assent/wire"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func open(until time.Duration) restart.Window {
	return restart.Window{Open: true, Until: noon.Add(until)}
}

func policy(when wire.RestartWhen) restart.Policy {
	return restart.PolicyOf(&wire.PlanRestart{When: when})
}

func TestT5_EachPolicyDoesWhatItSays(t *testing.T) {
	asked := journal.Restart{Asked: noon.Add(-2 * time.Hour), Last: noon.Add(-10 * time.Minute)}
	ask := restart.PolicyOf(&wire.PlanRestart{When: wire.RestartAsked, Ask: wire.RestartAsk{Repeat: 3600, Deadline: 4 * 3600, Deferrals: 2}})
	due := restart.Moment{Now: noon, Window: open(time.Hour), Due: true}
	with := func(change func(*restart.Moment)) restart.Moment {
		m := due
		change(&m)
		return m
	}
	for name, c := range map[string]struct {
		p    restart.Policy
		m    restart.Moment
		st   journal.Restart
		do   restart.Do
		code string
		at   time.Time
	}{
		"the zero plan never restarts": {p: restart.PolicyOf(nil), m: due, do: restart.None, code: restart.CodeNever},
		"never":                        {p: policy(wire.RestartNever), m: due, do: restart.None, code: restart.CodeNever},
		"an unknown word holds":        {p: policy("sometimes"), m: due, do: restart.None, code: restart.CodeUnknown},
		"nothing is due":               {p: policy(wire.RestartIfRequired), m: with(func(m *restart.Moment) { m.Due = false; m.After = true }), do: restart.None, code: restart.CodeNothing},
		"if required":                  {p: policy(wire.RestartIfRequired), m: due, do: restart.Restart, code: restart.CodeGo, at: noon},
		"always, though nothing asks":  {p: policy(wire.RestartAlways), m: with(func(m *restart.Moment) { m.Due = false; m.After = true }), do: restart.Restart, code: restart.CodeGo, at: noon},
		"always, and nothing happened": {p: policy(wire.RestartAlways), m: with(func(m *restart.Moment) { m.Due = false }), do: restart.None, code: restart.CodeNothing},
		"the window is closed": {p: policy(wire.RestartIfRequired), m: with(func(m *restart.Moment) { m.Window = restart.Window{Next: noon.Add(time.Hour), Reason: "frozen"} }),
			do: restart.Wait, code: restart.CodeWindow, at: noon.Add(time.Hour)},
		"the window never opens":     {p: policy(wire.RestartIfRequired), m: with(func(m *restart.Moment) { m.Window = restart.Window{} }), do: restart.Wait, code: restart.CodeWindow},
		"a package manager runs":     {p: policy(wire.RestartIfRequired), m: with(func(m *restart.Moment) { m.Busy = "apt" }), do: restart.Wait, code: restart.CodeBusy, at: noon.Add(time.Minute)},
		"the clock is not trusted":   {p: policy(wire.RestartIfRequired), m: with(func(m *restart.Moment) { m.Held = "clock" }), do: restart.Wait, code: restart.CodeHeld, at: noon.Add(time.Minute)},
		"people are warned":          {p: policy(wire.RestartIfRequired), m: with(func(m *restart.Moment) { m.Present = 1 }), do: restart.Warn, code: restart.CodeNotice, at: noon},
		"people have their time":     {p: policy(wire.RestartIfRequired), m: with(func(m *restart.Moment) { m.Present = 1 }), st: journal.Restart{Warned: noon.Add(-time.Minute)}, do: restart.Wait, code: restart.CodeNotice, at: noon.Add(time.Minute)},
		"people had their time":      {p: policy(wire.RestartIfRequired), m: with(func(m *restart.Moment) { m.Present = 1 }), st: journal.Restart{Warned: noon.Add(-restart.Notice)}, do: restart.Restart, code: restart.CodeGo, at: noon},
		"a warning of yesterday":     {p: policy(wire.RestartIfRequired), m: with(func(m *restart.Moment) { m.Present = 1 }), st: journal.Restart{Warned: noon.Add(-24 * time.Hour)}, do: restart.Warn, code: restart.CodeNotice, at: noon},
		"the window ends before":     {p: policy(wire.RestartIfRequired), m: with(func(m *restart.Moment) { m.Present = 1; m.Window = open(45 * time.Second) }), st: journal.Restart{Warned: noon}, do: restart.Wait, code: restart.CodeNotice, at: noon.Add(15 * time.Second)},
		"ask, nobody is there":       {p: ask, m: due, do: restart.Restart, code: restart.CodeGo, at: noon},
		"ask, somebody is there":     {p: ask, m: with(func(m *restart.Moment) { m.Present = 1 }), do: restart.Ask, code: restart.CodeAsking, at: noon},
		"ask, and wait":              {p: ask, m: with(func(m *restart.Moment) { m.Present = 1 }), st: asked, do: restart.Wait, code: restart.CodeAsking, at: noon.Add(50 * time.Minute)},
		"ask again":                  {p: ask, m: with(func(m *restart.Moment) { m.Present = 1 }), st: journal.Restart{Asked: asked.Asked, Last: noon.Add(-time.Hour)}, do: restart.Ask, code: restart.CodeAsking, at: noon},
		"put off":                    {p: ask, m: with(func(m *restart.Moment) { m.Present = 1 }), st: journal.Restart{Asked: asked.Asked, Last: asked.Last, Until: noon.Add(30 * time.Minute), Deferred: 1}, do: restart.Wait, code: restart.CodeDeferred, at: noon.Add(30 * time.Minute)},
		"put off too often":          {p: ask, m: with(func(m *restart.Moment) { m.Present = 1 }), st: journal.Restart{Asked: asked.Asked, Last: asked.Last, Until: noon.Add(-time.Minute), Deferred: 2}, do: restart.Warn, code: restart.CodeNotice, at: noon},
		"past the deadline":          {p: ask, m: with(func(m *restart.Moment) { m.Present = 1 }), st: journal.Restart{Asked: noon.Add(-4 * time.Hour), Last: noon, Until: noon.Add(time.Hour)}, do: restart.Warn, code: restart.CodeNotice, at: noon},
		"ordered":                    {p: ask, m: with(func(m *restart.Moment) { m.Present = 1 }), st: journal.Restart{Ordered: noon}, do: restart.Restart, code: restart.CodeGo, at: noon},
		"ordered outside the window": {p: ask, m: with(func(m *restart.Moment) { m.Window = restart.Window{} }), st: journal.Restart{Ordered: noon}, do: restart.Wait, code: restart.CodeWindow},
		"ordered long ago":           {p: ask, m: with(func(m *restart.Moment) { m.Present = 1 }), st: journal.Restart{Ordered: noon.Add(-time.Hour)}, do: restart.Ask, code: restart.CodeAsking, at: noon},
		"a loop":                     {p: policy(wire.RestartAlways), m: due, st: journal.Restart{Begun: []time.Time{noon.Add(-23 * time.Hour), noon.Add(-2 * time.Hour), noon.Add(-time.Hour)}}, do: restart.Wait, code: restart.CodeLoop, at: noon.Add(time.Hour)},
		"a loop, ordered":            {p: policy(wire.RestartAlways), m: due, st: journal.Restart{Ordered: noon, Begun: slices.Repeat([]time.Time{noon}, 3)}, do: restart.Wait, code: restart.CodeLoop, at: noon.Add(24 * time.Hour)},
		"no loop any more":           {p: policy(wire.RestartAlways), m: due, st: journal.Restart{Begun: []time.Time{noon.Add(-25 * time.Hour), noon.Add(-2 * time.Hour), noon.Add(-time.Hour)}}, do: restart.Restart, code: restart.CodeGo, at: noon},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.p.Next(c.m, c.st)
			if got.Do != c.do || got.Code != c.code || !got.At.Equal(c.at) || got.Do != restart.Restart && got.Text == "" {
				t.Errorf("%+v, want %s %s %s", got, c.do, c.code, c.at)
			}
		})
	}
}

// life is one device over many days: what the engine says is done, restarts do or do not help, people come and put off.
type life struct {
	t      *rapid.T
	p      restart.Policy
	st     journal.Restart
	now    time.Time
	opens  []time.Time // each window lasts for length
	length time.Duration
	begun  []time.Time
}

func (l *life) window(at time.Time) restart.Window {
	w := restart.Window{}
	for _, o := range l.opens {
		switch {
		case !at.Before(o) && at.Before(o.Add(l.length)):
			return restart.Window{Open: true, Until: o.Add(l.length)}
		case o.After(at) && (w.Next.IsZero() || o.Before(w.Next)):
			w.Next = o
		}
	}
	return w
}

func (l *life) act(s restart.Step, m restart.Moment) {
	switch s.Do {
	case restart.Ask:
		if l.st.Asked.IsZero() {
			l.st.Asked = l.now
		}
		l.st.Last = l.now
		if rapid.Bool().Draw(l.t, "defers") && l.p.Deferrable(l.st, l.now) == "" {
			l.st.Deferred, l.st.Until = l.st.Deferred+1, l.now.Add(l.p.Repeat)
		}
	case restart.Warn:
		l.st.Warned = l.now
	case restart.Restart:
		if !m.Window.Open || !l.window(l.now).Open {
			l.t.Fatalf("I8: restarted at %s outside of the window", l.now)
		}
		if m.Busy != "" || m.Held != "" || l.p.When == wire.RestartNever || l.p.When == "odd" || !m.Due && !(l.p.When == wire.RestartAlways && m.After) {
			l.t.Fatalf("restarted although %+v", m)
		}
		if m.Present > 0 && !restart.Ordered(l.st, l.now) && l.st.Warned.IsZero() {
			l.t.Fatal("people were not told")
		}
		l.begun = append(l.begun, l.now)
		l.st = journal.Restart{Begun: append(slices.Clone(l.st.Begun), l.now)}
	}
}

func TestI8_NoLifeOfADeviceHasARestartOutsideOfItsWindowsOrALoop(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &life{t: t, now: noon, length: time.Duration(rapid.IntRange(1, 300).Draw(t, "minutes")) * time.Minute}
		l.p = restart.PolicyOf(&wire.PlanRestart{When: rapid.SampledFrom([]wire.RestartWhen{wire.RestartNever, wire.RestartIfRequired, wire.RestartAlways, wire.RestartAsked, "odd"}).Draw(t, "policy"),
			Ask: wire.RestartAsk{Repeat: rapid.IntRange(0, 10000).Draw(t, "repeat"), Deadline: rapid.IntRange(0, 100_000).Draw(t, "deadline"), Deferrals: rapid.IntRange(0, 4).Draw(t, "deferrals")}})
		for at, day := noon, 0; day < 4; day++ {
			at = at.Add(time.Duration(rapid.IntRange(0, 30*60).Draw(t, "opens")) * time.Minute)
			l.opens = append(l.opens, at)
		}
		for range 200 {
			m := restart.Moment{Now: l.now, Window: l.window(l.now), Due: rapid.IntRange(0, 9).Draw(t, "due") > 1, After: rapid.Bool().Draw(t, "after"), Present: rapid.IntRange(0, 2).Draw(t, "present"),
				Busy: rapid.SampledFrom([]string{"", "", "", "apt"}).Draw(t, "busy"), Held: rapid.SampledFrom([]string{"", "", "", "", "clock"}).Draw(t, "held")}
			if rapid.IntRange(0, 19).Draw(t, "orders") == 0 {
				l.st.Ordered = l.now
			}
			s := l.p.Next(m, l.st)
			l.act(s, m)
			if s.Do == restart.Wait && !s.At.IsZero() && !s.At.After(l.now) {
				t.Fatalf("at %s it waits until %s: a hot loop", l.now, s.At)
			}
			l.now = l.now.Add(time.Duration(rapid.IntRange(1, 4000).Draw(t, "seconds")) * time.Second)
			if rapid.IntRange(0, 49).Draw(t, "jump") == 0 {
				l.now = l.now.Add(time.Duration(rapid.IntRange(-5000, 5000).Draw(t, "by")) * time.Second) // somebody sets the clock
			}
		}
		for i, at := range l.begun {
			n := 0
			for _, other := range l.begun[:i] {
				if d := at.Sub(other); d >= 0 && d < 24*time.Hour-5000*time.Second {
					n++
				}
			}
			if n >= restart.MaxRestarts {
				t.Fatalf("%d restarts in the day before %s", n+1, at)
			}
		}
	})
}

func TestT5_AskingEndsAtTheDeadlineWhateverPeopleDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := restart.PolicyOf(&wire.PlanRestart{When: wire.RestartAsked, Ask: wire.RestartAsk{Repeat: rapid.IntRange(60, 20000).Draw(t, "repeat"), Deadline: rapid.IntRange(1, 100_000).Draw(t, "deadline")}})
		l := &life{t: t, p: p, now: noon, opens: []time.Time{noon}, length: 1000 * time.Hour}
		for len(l.begun) == 0 {
			if l.now.After(noon.Add(p.Deadline + restart.Notice + time.Second)) {
				t.Fatalf("no restart %s after the first question: %+v", l.now.Sub(noon), l.st)
			}
			s := p.Next(restart.Moment{Now: l.now, Window: l.window(l.now), Due: true, Present: 1}, l.st)
			l.act(s, restart.Moment{Window: l.window(l.now), Due: true, Present: 1})
			if s.Do == restart.Wait && !s.At.After(l.now) {
				t.Fatalf("at %s it waits until %s", l.now, s.At)
			}
			if s.Do == restart.Wait {
				l.now = s.At
			}
		}
		if l.begun[0].Before(noon.Add(restart.Notice)) {
			t.Fatalf("restarted %s after the first question", l.begun[0].Sub(noon))
		}
	})
}

func TestT5_QuestionsAndWarningsAreTextAndSayWhatHappens(t *testing.T) {
	p := restart.PolicyOf(&wire.PlanRestart{When: wire.RestartAsked, Ask: wire.RestartAsk{Text: "Bitte\x1b[2J neu\u202estarten\n", Deadline: 3600, Deferrals: 3}})
	got := p.Question(journal.Restart{Asked: noon, Deferred: 1}, noon.Add(time.Minute), nil)
	if !strings.HasPrefix(got, "Bitte[2J neustarten  It restarts by itself at 2026-11-23 13:00 UTC") || !strings.Contains(got, "2 more times") || strings.ContainsAny(got, "\x1b\u202e") {
		t.Errorf("question %q", got)
	}
	reasons := []wire.RestartReason{{Kind: wire.StalePackage, Name: "libc6"}, {Kind: wire.StaleService, Name: "cron.service"}}
	if got := policy(wire.RestartAsked).Question(journal.Restart{}, noon, reasons); !strings.Contains(got, "(libc6)") {
		t.Errorf("question %q", got)
	}
	if got := restart.Warning(restart.Moment{Now: noon, Window: open(time.Minute)}, reasons); !strings.Contains(got, "12:00") || !strings.Contains(got, "libc6") {
		t.Errorf("warning %q", got)
	}
	for _, st := range []journal.Restart{{Deferred: 3}, {Asked: noon.Add(-2 * time.Hour)}} {
		if p.Deferrable(st, noon) == "" {
			t.Errorf("can be put off after %+v", st)
		}
	}
	if policy(wire.RestartIfRequired).Deferrable(journal.Restart{}, noon) == "" || p.Deferrable(journal.Restart{Deferred: 2}, noon) != "" {
		t.Error("what can be put off is wrong")
	}
}
