package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"assent/agent/internal/command"
	"assent/wire"
)

// Config says where the guard finds its plan and leaves its events.
type Config struct {
	// PlanFile holds the plan in force: a wire.Plan in JSON, alone or as the member "plan" of an object (as an
	// object, or as its bytes in base64). No file: the device is not enrolled, everything is let in.
	PlanFile string
	EventDir string
}

// maxPlan caps the plan file, in bytes.
const maxPlan = 256 << 20

// Main is the hook. It returns the exit code: 0 lets the transaction go on, anything else ends it before the
// package manager changed anything.
func Main(stdin io.Reader, stderr io.Writer, cfg Config) int {
	plan, enrolled, err := readPlan(cfg.PlanFile)
	if !enrolled {
		_, _ = io.Copy(io.Discard, stdin)
		return 0
	}
	var tx Transaction
	if err == nil {
		tx, err = Parse(stdin)
	}
	if err != nil {
		fmt.Fprint(stderr, explainBroken(err))
		leave(stderr, cfg.EventDir, Event{Event: EventRefused, Text: clean(err.Error())})
		return 1
	}
	d := Check(plan, tx, readFiles(context.Background(), plan, tx, command.New("")))
	if len(d.Findings) == 0 {
		return 0
	}
	e := Event{Event: EventObserved, Own: tx.Own, Command: clean(tx.Command), Findings: d.Findings}
	if d.Refuse {
		e.Event, e.Text = EventRefused, explain(d.Findings)
		fmt.Fprint(stderr, e.Text)
	}
	leave(stderr, cfg.EventDir, e)
	if d.Refuse {
		return 1
	}
	return 0
}

// leave writes an event. Where that fails the decision stands: it does not depend on being reported.
func leave(stderr io.Writer, dir string, e Event) {
	e.At = time.Now().UTC()
	e.ID = newEventID(e.At)
	if err := e.write(dir); err != nil {
		fmt.Fprintln(stderr, "assent: this could not be reported:", err)
	}
}

// readPlan reads the plan in force; enrolled is false where there is none.
func readPlan(path string) (p wire.Plan, enrolled bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, false, nil
	}
	if err != nil {
		return p, true, fmt.Errorf("read the plan: %w", err)
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, maxPlan))
	if err == nil {
		p, err = decodePlan(body)
	}
	if err != nil {
		return p, true, fmt.Errorf("read the plan %s: %w", path, err)
	}
	return p, true, nil
}

func decodePlan(body []byte) (wire.Plan, error) {
	var p wire.Plan
	var outer struct {
		Plan json.RawMessage `json:"plan"`
	}
	if err := json.Unmarshal(body, &outer); err != nil {
		return p, err
	}
	if len(outer.Plan) > 0 {
		body = outer.Plan
		if body[0] == '"' {
			var raw []byte
			if err := json.Unmarshal(body, &raw); err != nil {
				return p, err
			}
			body = raw
		}
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return p, err
	}
	if p.Format < 1 || p.Format > wire.PlanFormat {
		return p, wire.ErrPlanFormat
	}
	return p, nil
}

// maxExplained is how many findings a person is shown.
const maxExplained = 20

// explain tells the person at the keyboard what was refused, why, by whom, and what to do.
func explain(findings []Finding) string {
	var b strings.Builder
	// The code in parentheses is for the agent, which reads it in the output of its own runs.
	fmt.Fprintf(&b, "\nassent: this transaction is refused (%s). Nothing has been changed.\n\n", findings[0].Code)
	for _, f := range findings[:min(len(findings), maxExplained)] {
		fmt.Fprintf(&b, "  %s\n", f.sentence())
	}
	if more := len(findings) - maxExplained; more > 0 {
		fmt.Fprintf(&b, "  … and %d more.\n", more)
	}
	b.WriteString("\nWhat to do: ask for the decision to be changed in Assent, or run the package manager without these packages.\n" +
		"`assent-agent why PACKAGE` on this device shows all reasons.\n\n")
	return b.String()
}

// sentence puts a finding in words.
func (f Finding) sentence() string {
	what := clean(fmt.Sprintf("%s %s (%s)", f.Name, f.Version, f.Arch))
	switch f.Code {
	case Declined:
		s := what + " was declined"
		if f.By != "" {
			s += " by " + clean(f.By)
		}
		if f.Reason != "" {
			s += ": " + clean(f.Reason)
		}
		return fmt.Sprintf("%s (update %s, decision %d)", s, f.Update, f.Act)
	case Digest:
		return fmt.Sprintf("%s is not the file that Assent knows under this name and version:\n    found %s\n    known %s",
			what, f.Found, strings.Join(f.Known, ", "))
	case NotApproved:
		return what + " is not approved, and this device takes only what is approved."
	case Unreadable:
		return what + " could not be read: " + clean(f.Detail)
	}
	return what + " is not part of what the plan orders. " + clean(f.Detail)
}

// explainBroken tells what to do where the guard itself cannot work.
func explainBroken(err error) string {
	return fmt.Sprintf("\nassent: this transaction is refused, because it cannot be checked: %s\nNothing has been changed.\n\n"+
		"What to do: `assent-agent status` says how the agent is; restarting it fetches the plan anew.\n"+
		"`assent-agent leave` takes this device out of Assent, and this check away.\n\n", clean(err.Error()))
}

// clean makes text from elsewhere safe for a terminal and short.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > 300 {
		return string(r[:300]) + "…"
	}
	return s
}
