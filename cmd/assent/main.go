// Command assent is the operator's command line: see, approve and decline updates, and ask why.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"assent/cli"
)

// version is set by the build.
var version = "0.0.0-dev" // set by the build

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Main(ctx, os.Args[1:], cli.System(version))
	stop()
	os.Exit(code)
}
