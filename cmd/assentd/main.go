// Command assentd is the server of Assent. All of it is in package server.
package main

import (
	"context"
	"fmt"
	"os"
	_ "time/tzdata" // windows are known also where the host has no database of zones

	"assent/server"
)

var version = "0.0.0-dev" // set by the build

func main() {
	if err := server.Command(version).ExecuteContext(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "assentd:", err)
		os.Exit(1)
	}
}
