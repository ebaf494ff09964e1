// Command aptdriver is the agent of the devices on which pkgmgrtest tests the apt backend: it answers calls, is the guard of
// apt's hook, and runs detached transactions.
package main

import (
	"fmt"
	"log/slog"
	"os"

	"assent/agent/internal/command"
	"assent/agent/internal/guard"
	"assent/agent/internal/pkgmgr/apt"
	"assent/agent/internal/pkgmgr/pkgmgrtest"
)

const stateDir = "/var/lib/assent-agent"

func main() {
	verb := ""
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	switch verb {
	case "guard":
		os.Exit(guard.Main(os.Stdin, os.Stderr, guard.Config{PlanFile: stateDir + "/plan.json", EventDir: stateDir + "/events"}))
	case command.Subcommand:
		os.Exit(command.RunDetached(os.Args[2]))
	case "call":
		m := apt.New(apt.Config{Command: command.New("/usr/bin/assent-agent"), StateDir: stateDir,
			Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
		if err := pkgmgrtest.Serve(m, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		fmt.Fprintln(os.Stderr, "aptdriver: guard, call or", command.Subcommand)
		os.Exit(2)
	}
}
