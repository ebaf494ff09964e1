// Package story is the walk through Assent that `make demo` shows and the end-to-end test repeats: each
// step is a real command on a real device or of the real CLI, printed with its outcome, and each claim is
// checked. A story whose claim does not hold stops and says which.
package story

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"assent/e2e/stage"
)

// Teller tells a story on a stage. After the first claim that does not hold it does nothing more; Err says
// what it was.
type Teller struct {
	Stage *stage.Stage
	Out   io.Writer
	// MaxLines cuts the printed output of one command; 0 prints all.
	MaxLines int

	ctx context.Context
	err error
}

// Err is the first claim that did not hold.
func (t *Teller) Err() error { return t.err }

func (t *Teller) fail(format string, args ...any) {
	if t.err == nil {
		t.err = fmt.Errorf(format, args...)
	}
}

// chapter prints a heading.
func (t *Teller) chapter(format string, args ...any) {
	if t.err == nil {
		fmt.Fprintf(t.Out, "\n== %s\n", fmt.Sprintf(format, args...))
	}
}

// say prints a remark.
func (t *Teller) say(format string, args ...any) {
	if t.err == nil {
		fmt.Fprintf(t.Out, "   %s\n", fmt.Sprintf(format, args...))
	}
}

func (t *Teller) print(prompt, command, output string) {
	fmt.Fprintf(t.Out, "\n%s%s\n", prompt, command)
	lines := strings.Split(strings.TrimRight(output, "\n"), "\n")
	if n := len(lines); t.MaxLines > 0 && n > t.MaxLines {
		lines = append(lines[:t.MaxLines], fmt.Sprintf("… %d more lines", n-t.MaxLines))
	}
	for _, l := range lines {
		fmt.Fprintf(t.Out, "  %s\n", l)
	}
}

// quote writes a command as one would type it.
func quote(argv []string) string {
	var out []string
	for _, a := range argv {
		if a == "" || strings.ContainsAny(a, " '\"$&|;<>*?()~") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		out = append(out, a)
	}
	return strings.Join(out, " ")
}

// assent runs the CLI, prints it and demands exit code 0.
func (t *Teller) assent(args ...string) string {
	a := t.run(args)
	if t.err == nil && a.Code != 0 {
		t.fail("assent %s: exit code %d: %s", quote(args), a.Code, a.Stderr)
	}
	return a.Stdout
}

// refused runs the CLI and demands that it refuses with this code.
func (t *Teller) refused(code string, args ...string) {
	a := t.run(args)
	if t.err == nil && (a.Code == 0 || !strings.Contains(a.Stdout+a.Stderr, code)) {
		t.fail("assent %s: exit code %d without %q: %s", quote(args), a.Code, code, a.Stdout+a.Stderr)
	}
}

func (t *Teller) run(args []string) stage.Answer {
	if t.err != nil {
		return stage.Answer{}
	}
	a, err := t.Stage.CLI(t.ctx, args...)
	if err != nil {
		t.fail("assent %s: %w", quote(args), err)
	}
	t.print("$ assent ", quote(args), a.Stdout+a.Stderr)
	return a
}

// ask runs the CLI quietly with --json and reads the answer into v.
func (t *Teller) ask(v any, args ...string) {
	if t.err != nil {
		return
	}
	out, err := t.Stage.Output(t.ctx, append(args, "--json")...)
	if err != nil {
		t.fail("%w", err)
		return
	}
	if err := json.Unmarshal([]byte(out), v); err != nil {
		t.fail("assent %s --json: %w", quote(args), err)
	}
}

// on runs a command on a device, prints it and demands exit code 0.
func (t *Teller) on(device string, argv ...string) string {
	out, code := t.device(device, argv)
	if t.err == nil && code != 0 {
		t.fail("%s# %s: exit code %d: %s", device, quote(argv), code, out)
	}
	return out
}

// onRefused runs a command on a device and demands that it fails and says so.
func (t *Teller) onRefused(device, says string, argv ...string) {
	out, code := t.device(device, argv)
	if t.err == nil && (code == 0 || !strings.Contains(out, says)) {
		t.fail("%s# %s: exit code %d without %q: %s", device, quote(argv), code, says, out)
	}
}

func (t *Teller) device(device string, argv []string) (string, int) {
	if t.err != nil {
		return "", 0
	}
	out, errOut, code, err := t.Stage.Device(device).Run(t.ctx, argv...)
	if err != nil {
		t.fail("%s# %s: %w", device, quote(argv), err)
	}
	t.print(device+"# ", quote(argv), out+errOut)
	return out + errOut, code
}

// version demands that a package is installed in exactly this version.
func (t *Teller) version(device, pkg, want string) {
	if t.err != nil {
		return
	}
	got, err := t.Stage.Device(device).Version(t.ctx, pkg)
	switch {
	case err != nil:
		t.fail("version of %s on %s: %w", pkg, device, err)
	case got != want:
		t.fail("%s on %s is %q, want %q", pkg, device, got, want)
	default:
		fmt.Fprintf(t.Out, "   checked: %s has %s %s\n", device, pkg, got)
	}
}

// until waits for a condition and says how long it took.
func (t *Teller) until(what string, limit time.Duration, holds func() bool) {
	if t.err != nil {
		return
	}
	start := time.Now()
	for !holds() {
		if t.err != nil {
			return
		}
		if time.Since(start) > limit {
			t.fail("%s did not happen within %s", what, limit)
			return
		}
		select {
		case <-t.ctx.Done():
			t.fail("%s: %w", what, t.ctx.Err())
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
	fmt.Fprintf(t.Out, "   %s (after %.1f s)\n", what, time.Since(start).Seconds())
}
