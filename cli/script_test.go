package cli_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"assent/catalog"
	"assent/cli"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/server/servertest"
	"assent/wire"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"assent": func() { os.Exit(cli.Main(context.Background(), os.Args[1:], cli.System("test"))) },
	})
}

// stage is the server of one script with its devices and identities.
type stage struct {
	*servertest.World
	devices map[string]*servertest.Device
	tokens  map[string]string
}

type stageKey struct{}

// TestScripts runs each file of testdata/script against a server of its own: two devices in the group Web,
// one in the root group, and operators for every role. Commands beside testscript's own:
//
//	as NAME assent …            run the command as this operator
//	code N NAME assent …        the same, and expect exit code N
//	has DEVICE PACKAGE VERSION  put a package onto a device
//	offer DEVICE PACKAGE VERSION [VAR]  make it an update that the device could take; $VAR (or $PACKAGE) is its id
//	install DEVICE PACKAGE      the device installs what it was offered, and reports it
//	report DEVICE ID STATE [CAUSE [DETAIL]]  the device reports a state
//	event DEVICE EVENT DETAIL   the device reports an event
//	signin VAR NAME             make a one-time sign-in token; $VAR is its text
//	decided ID                  wait until somebody decided on the update
//	rehearse DEVICE ID [CAUSE [DETAIL]]  the device tells what would become of an update
//	conduct                     take every rollout as far as it goes now
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			s := newStage(env.T().(testing.TB))
			env.Values[stageKey{}] = s
			env.Vars = append(env.Vars, "XDG_CONFIG_HOME="+env.WorkDir+"/config", "ASSENT_SERVER="+s.URL, "SERVER="+s.URL, "KEY="+s.Key, "TZ=UTC")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"as": as, "code": code, "has": has, "offer": offer, "install": install, "report": report, "event": event, "signin": signin, "decided": decided, "conduct": conduct, "rehearse": rehearse,
		},
	})
}

func newStage(t testing.TB) *stage {
	s := &stage{World: servertest.New(t), devices: map[string]*servertest.Device{}, tokens: map[string]string{"nobody": ""}}
	s.Group("g-web", "Web", fleet.Root)
	s.Group("g-test", "Test", "g-web")
	for name, o := range map[string]struct {
		role  ledger.Role
		scope fleet.GroupID
	}{"admin": {ledger.Administrator, fleet.Root}, "approver": {ledger.Approver, fleet.Root}, "viewer": {ledger.Viewer, fleet.Root},
		"webapprover": {ledger.Approver, "g-web"}, "testviewer": {ledger.Viewer, "g-test"}} {
		s.tokens[name] = s.Operator(name, o.role, o.scope)
	}
	for name, group := range map[string]fleet.GroupID{"web1": "g-web", "web2": "g-test", "db1": fleet.Root} {
		s.devices[name] = s.Device(name, group)
	}
	return s
}

func on(ts *testscript.TestScript) *stage { return ts.Value(stageKey{}).(*stage) }

func (s *stage) device(ts *testscript.TestScript, args []string, least int) *servertest.Device {
	if len(args) < least || s.devices[args[0]] == nil {
		ts.Fatalf("usage: see TestScripts; got %q", args)
	}
	return s.devices[args[0]]
}

// run runs a command as an operator and returns its exit code.
func run(ts *testscript.TestScript, args []string) int {
	token, ok := on(ts).tokens[args[0]]
	if !ok || len(args) < 2 {
		ts.Fatalf("usage: as NAME assent …; got %q", args)
	}
	ts.Setenv("ASSENT_TOKEN", token)
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	ts.Check(err)
	return 0
}

func as(ts *testscript.TestScript, neg bool, args []string) {
	if got := run(ts, args); (got != 0) != neg {
		ts.Fatalf("exit code %d", got)
	}
}

func code(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := run(ts, args[1:]); got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func has(ts *testscript.TestScript, _ bool, args []string) {
	d := on(ts).device(ts, args, 3)
	d.Has(args[1], args[2])
	d.CheckIn()
}

func offer(ts *testscript.TestScript, _ bool, args []string) {
	d := on(ts).device(ts, args, 3)
	id := d.Offer(args[1], args[2], func(o *wire.Offer) {
		if o.Items[0].Origin = "Debian:bookworm"; args[1] == "openssl" {
			o.Items[0].Origin, o.Items[0].Security, o.Items[0].Severity = "Debian:bookworm-security", true, catalog.High
		}
	})
	name := args[1]
	if len(args) > 3 {
		name = args[3]
	}
	ts.Setenv(name, string(id))
	d.CheckIn()
}

func install(ts *testscript.TestScript, _ bool, args []string) {
	on(ts).device(ts, args, 2).Install(args[1])
}

func report(ts *testscript.TestScript, _ bool, args []string) {
	d := on(ts).device(ts, args, 3)
	args = append(args, "", "")
	d.Report(catalog.UpdateID(args[1]), installation.State(args[2]), installation.Cause(args[3]), args[4])
}

func event(ts *testscript.TestScript, _ bool, args []string) {
	on(ts).device(ts, args, 3).Event(args[1], args[2])
}

func rehearse(ts *testscript.TestScript, _ bool, args []string) {
	d := on(ts).device(ts, args, 2)
	args = append(args, "", "")
	d.Rehearse(wire.Rehearsed{Update: catalog.UpdateID(args[1]), Cause: installation.Cause(args[2]), Detail: args[3]})
}

func signin(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], on(ts).Access(args[1], time.Hour, true))
}

func conduct(ts *testscript.TestScript, _ bool, _ []string) { on(ts).Conduct() }

func decided(ts *testscript.TestScript, _ bool, args []string) {
	on(ts).AwaitDecision(catalog.UpdateID(args[0]))
}
