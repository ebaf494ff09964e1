package agent

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"assent/agent/internal/facts"
	"assent/agent/internal/journal"
	"assent/agent/internal/restart"
	"assent/agent/internal/statedir"
	"assent/fault"
	"assent/wire"
)

const (
	restartFile = "restart.json" // what the agent thinks of a restart now, for the command line
	askedDir    = "asked"        // what somebody at the device said, for the agent
	orderFile   = askedDir + "/restart.json"
	maxOrder    = 4 << 10
	// orderWait is how long the command waits for the agent to take an order.
	orderWait = 10 * time.Second
)

// What somebody can say of a restart.
const (
	orderNow   = "now"
	orderDefer = "defer"
)

// restartOrder is what somebody at the device said.
type restartOrder struct {
	Act string    `json:"act"`
	At  time.Time `json:"at"`
	By  string    `json:"by"`
}

// sendOrder leaves an order for the agent. The directory is the agent's alone, so only root can.
func sendOrder(dir *statedir.Dir, o restartOrder) error { return sendAsked(dir, orderFile, o) }

func sendAsked(dir *statedir.Dir, file string, o restartOrder) error {
	if err := dir.Root().Mkdir(askedDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("leave an order for the agent: %w", err)
	}
	b, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("leave an order for the agent: %w", err)
	}
	return dir.WriteSoft(file, b)
}

// takeOrder reads the order that was left, if any, and takes it away. What is no order is none.
func takeOrder(dir *statedir.Dir) (o restartOrder, ok bool, err error) {
	b, err := dir.Read(orderFile, maxOrder)
	if errors.Is(err, fs.ErrNotExist) {
		return o, false, nil
	}
	ok = err == nil && json.Unmarshal(b, &o) == nil
	o.By = facts.Clean(o.By)
	return o, ok, dir.Remove(orderFile)
}

// RestartStatus is what the agent thinks of a restart of the device.
type RestartStatus struct {
	At       time.Time            `json:"at"`
	Boot     string               `json:"boot"`
	Policy   wire.RestartWhen     `json:"policy"`
	Due      bool                 `json:"due"`
	Reasons  []wire.RestartReason `json:"reasons"`
	Do       restart.Do           `json:"do"`
	Next     time.Time            `json:"next,omitzero"`
	Code     string               `json:"code"`
	Text     string               `json:"text"`
	Open     bool                 `json:"window_open"`
	Opens    time.Time            `json:"window_opens,omitzero"`
	Deferred int                  `json:"deferred,omitempty"`
	// Fixed says why it cannot be put off; empty: it can.
	Fixed string `json:"fixed,omitempty"`
	// Heard is when the last order was given that the agent took, whether it followed it or not.
	Heard time.Time `json:"heard,omitzero"`
	// Last is how the last restart that Assent began ended.
	Last *journal.RestartStep `json:"last,omitempty"`
}

// tellRestart leaves what the agent thinks for the command line. Losing it harms nothing.
func (a *Agent) tellRestart(t thought, step restart.Step) {
	s := RestartStatus{Boot: a.opt.Device.BootID(), Policy: cmp.Or(t.policy.When, wire.RestartNever), Due: t.moment.Due || t.moment.After && t.policy.When == wire.RestartAlways, Reasons: orEmpty(t.reasons),
		Do: step.Do, Next: step.At, Code: step.Code, Text: step.Text, Open: t.moment.Window.Open, Opens: t.moment.Window.Next, Deferred: t.state.Deferred, Heard: a.restarts.heard,
		Fixed: t.policy.Deferrable(t.state, t.moment.Now), Last: t.state.Step}
	b, err := json.Marshal(s)
	if err != nil || bytes.Equal(b, a.restarts.told) {
		return
	}
	a.restarts.told = b
	s.At = t.moment.Now
	if b, err = json.Marshal(s); err == nil {
		err = a.opt.Dir.WriteSoft(restartFile, b)
	}
	if err != nil {
		a.opt.Log.Debug("what is thought of a restart is not saved", "err", err)
	}
}

func (p *program) restartCommand() *cobra.Command {
	var now, later, asJSON bool
	c := &cobra.Command{Use: "restart [--now | --defer]", Short: "Show whether the device needs a restart, and order it or put it off",
		Long: "Shows what on this device still runs as it was before an update, and when the plan restarts it.\n" +
			"--now restarts it without more questions, but inside the plan's windows only; --defer puts it off as long and as often as the plan lets.",
		Args: noArgs, RunE: func(c *cobra.Command, _ []string) error {
			if now && later {
				return &usageError{errors.New("--now and --defer contradict each other")}
			}
			dir, err := p.dir()
			if err != nil {
				return err
			}
			defer dir.Close()
			s, err := readRestart(dir, machine(p.root).BootID())
			if err != nil {
				return err
			}
			switch {
			case now:
				err = p.order(c.Context(), dir, s.orderable(), orderNow)
			case later:
				err = p.order(c.Context(), dir, s.deferrable(), orderDefer)
			case asJSON:
				return p.json(s)
			default:
				s.Print(p.out)
			}
			return err
		}}
	c.Flags().BoolVar(&now, "now", false, "restart the device now")
	c.Flags().BoolVar(&later, "defer", false, "put the restart off")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// readRestart reads what the agent thinks in this boot.
func readRestart(dir *statedir.Dir, boot string) (RestartStatus, error) {
	var s RestartStatus
	unknown := fault.New(fault.NotFound, "restart_unknown", "The agent has not looked at this device since it was started: `assent-agent status` says how it is.")
	b, err := dir.Read(restartFile, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return s, unknown
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return s, fmt.Errorf("read what the agent thinks of a restart: %w", err)
	}
	if s.Boot != boot {
		return s, unknown
	}
	return s, nil
}

func conflict(code, format string, args ...any) error {
	return fault.New(fault.Conflict, code, format, args...)
}

// orderable says why the device cannot be restarted by the agent now.
func (s RestartStatus) orderable() error {
	switch {
	case !s.Due:
		return conflict("restart_not_due", "Nothing on this device asks for a restart.")
	case s.Policy == wire.RestartNever:
		return conflict("restart_never", "The plan leaves restarts of this device to you: `systemctl reboot` restarts it.")
	case s.Code == restart.CodeUnknown || s.Code == restart.CodeHeld || s.Code == restart.CodeLoop:
		return conflict(s.Code, "%s", s.Text)
	case !s.Open:
		return conflict("window_closed", "The agent restarts this device inside its windows only. %s `systemctl reboot` restarts it without the agent.", s.Text)
	}
	return nil
}

// deferrable says why the restart cannot be put off.
func (s RestartStatus) deferrable() error {
	switch {
	case !s.Due:
		return conflict("restart_not_due", "Nothing on this device asks for a restart.")
	case s.Fixed != "":
		return conflict("restart_fixed", "%s", s.Fixed)
	}
	return nil
}

// order gives the agent an order and waits until it was taken.
func (p *program) order(ctx context.Context, dir *statedir.Dir, refusal error, act string) error {
	if refusal != nil {
		return refusal
	}
	release, err := dir.Lock()
	if err == nil {
		release()
		return conflict("agent_not_running", "The agent does not run: nobody would take the order.")
	}
	if !errors.Is(err, statedir.ErrLocked) {
		return err
	}
	before, err := journal.Read(dir)
	if err != nil {
		return err
	}
	at := time.Now()
	if err := sendOrder(dir, restartOrder{Act: act, At: at, By: caller()}); err != nil {
		return err
	}
	for limit := at.Add(orderWait); sleep(ctx, 50*time.Millisecond); {
		if s, err := readRestart(dir, machine(p.root).BootID()); err == nil && !s.Heard.Before(at.Round(0)) {
			return p.orderTaken(dir, before.Restart, act)
		}
		if time.Now().After(limit) {
			fmt.Fprintln(p.out, "The agent is busy; it takes the order when it is done.")
			return nil
		}
	}
	return ctx.Err()
}

// orderTaken says what became of an order.
func (p *program) orderTaken(dir *statedir.Dir, before *journal.Restart, act string) error {
	state, err := journal.Read(dir)
	if err != nil {
		return err
	}
	var was, is journal.Restart
	if before != nil {
		was = *before
	}
	if state.Restart != nil {
		is = *state.Restart
	}
	switch {
	case act == orderDefer && is.Deferred > was.Deferred:
		fmt.Fprintf(p.out, "The restart is put off until %s.\n", is.Until.Local().Format("2006-01-02 15:04 MST"))
	case act == orderNow && (is.Ordered.After(was.Ordered) || is.Step != nil):
		fmt.Fprintln(p.out, "The device restarts now.")
	default:
		return conflict("restart_refused", "The agent did not take the order: something changed meanwhile. Look with `assent-agent restart`.")
	}
	return nil
}

// caller is who calls, as far as it can be told: root, and who became root.
func caller() string {
	name := "root"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if sudo := os.Getenv("SUDO_USER"); sudo != "" && sudo != name {
		name = sudo + " (as " + name + ")"
	}
	return name
}

// Print writes the status for a person.
func (s RestartStatus) Print(w io.Writer) {
	fmt.Fprintf(w, "%s\n", cmp.Or(s.Text, "The agent is at work."))
	if !s.Due && s.Policy != wire.RestartNever && s.Code != restart.CodeNothing {
		fmt.Fprintln(w, "Nothing asks for a restart.")
	}
	for _, r := range s.Reasons {
		fmt.Fprintf(w, "  %-12s %s: %s\n", r.Kind, r.Name, r.Detail)
	}
	fmt.Fprintf(w, "policy:   %s\n", strings.ReplaceAll(string(s.Policy), "_", " "))
	if s.Deferred > 0 {
		fmt.Fprintf(w, "put off:  %d times\n", s.Deferred)
	}
	if l := s.Last; l != nil {
		fmt.Fprintf(w, "last:     begun %s", l.At.UTC().Format(time.RFC3339))
		if !l.Back.IsZero() {
			fmt.Fprintf(w, ", back %s: %s", l.Back.UTC().Format(time.RFC3339), cmp.Or(l.Problem, "all is well"))
		}
		fmt.Fprintln(w)
	}
}
