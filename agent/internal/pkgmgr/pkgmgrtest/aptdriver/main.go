// Command aptdriver is the agent of the devices on which pkgmgrtest tests the apt backend: it answers calls, is the guard of
// apt's hook, runs detached transactions, and follows feeds whose published folders lie on the device.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"assent/agent/internal/command"
	"assent/agent/internal/facts"
	"assent/agent/internal/feeds"
	"assent/agent/internal/guard"
	"assent/agent/internal/pkgmgr/apt"
	"assent/agent/internal/pkgmgr/pkgmgrtest"
	"assent/catalog"
	"assent/wire"
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
		exit(answer())
	case "follow":
		exit(follow())
	case "unfollow":
		f, err := openFeeds()
		if err == nil {
			err = f.Remove(context.Background())
		}
		exit(err)
	default:
		fmt.Fprintln(os.Stderr, "aptdriver: guard, call, follow, unfollow or", command.Subcommand)
		os.Exit(2)
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func answer() error {
	f, err := openFeeds()
	if err != nil {
		return err
	}
	m := apt.New(apt.Config{Command: command.New("/usr/bin/assent-agent"), StateDir: stateDir,
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Feeds: f})
	return pkgmgrtest.Serve(m, os.Stdin, os.Stdout)
}

// follow follows the feeds that a plan's list on standard input names, and tells how they are.
func follow() error {
	f, err := openFeeds()
	if err != nil {
		return err
	}
	var plan []wire.PlanFeed
	if err := json.NewDecoder(os.Stdin).Decode(&plan); err != nil {
		return err
	}
	if _, err := f.Follow(context.Background(), plan); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(f.Health())
}

func openFeeds() (*feeds.Feeds, error) {
	return feeds.Open(feeds.Config{StateDir: stateDir, Source: folders{}, Command: command.New("/usr/bin/assent-agent"),
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Platform: func() catalog.Platform {
			facts := facts.Read("/")
			return catalog.Platform{OS: "linux", Distribution: facts.OS, Version: facts.OSVersion, Arch: facts.Arch}
		}})
}

// folders are the published folders of feeds, below /srv/feeds, in place of the server's copy.
type folders struct{}

// Feed implements feeds.Source.
func (folders) Feed(_ context.Context, feed, path string, offset int64) (io.ReadCloser, int64, error) {
	f, err := os.OpenInRoot("/srv/feeds", filepath.Join(feed, path))
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil {
		_, err = f.Seek(offset, io.SeekStart)
	}
	return f, info.Size(), err
}
