package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"assent/agent/internal/facts"
	"assent/agent/internal/identity"
	"assent/agent/internal/statedir"
	"assent/agent/internal/uplink"
	"assent/wire"
)

// feedsDir is where package feeds keeps the pinned roots, below the state directory.
const feedsDir = "feeds"

// Enrolment is what a device needs to become one of a server's devices.
type Enrolment struct {
	Dir        *statedir.Dir
	Server     string // https://host:port
	ServerName string
	Token      string
	Force      bool // replace an identity that is there
	Root       string
	Now        func() time.Time
	Dial       func(ctx context.Context, network, addr string) (net.Conn, error) // nil for TCP
	// Pin makes the roots of feeds durable that the server names with the enrolment; nil: the device follows no feeds.
	Pin func([]wire.FeedRoot) error
}

// Enrol gets the device its identity. Where there is one already it is returned with fresh false, unless Force is set.
// The caller holds the state directory's lock.
func Enrol(ctx context.Context, e Enrolment) (id identity.Identity, fresh bool, err error) {
	machine := facts.MachineID(e.Root)
	id, err = identity.Load(e.Dir)
	if err == nil && !e.Force {
		return id, false, id.CheckMachine(machine)
	}
	if err != nil && !errors.Is(err, identity.ErrNone) && !e.Force {
		return id, false, fmt.Errorf("%w; `--force` replaces it", err)
	}
	token, err := wire.ParseToken(e.Token)
	if err != nil {
		return id, false, err
	}
	key, err := identity.NextKey(e.Dir, id)
	if err != nil {
		return id, false, err
	}
	opt := uplink.Options{Server: e.Server, ServerName: e.ServerName, Now: e.Now, Dial: e.Dial}
	resp, err := uplink.Enrol(ctx, opt, token, key, facts.Read(e.Root))
	if err != nil {
		return id, false, fmt.Errorf("enrol with %s: %w", e.Server, err)
	}
	base := identity.Identity{Server: e.Server, ServerName: e.ServerName, MachineID: machine, CA: resp.CA, EnrolledAt: e.Now().UTC()}
	if id, err = identity.Grant(base, key, resp, e.Now()); err != nil {
		return id, false, err
	}
	if err := forget(e.Dir); err != nil {
		return id, false, err
	}
	if e.Pin != nil {
		if err := e.Pin(resp.Feeds); err != nil {
			return id, false, err // without an identity nothing counts yet: enrolling again pins again
		}
	}
	if err := id.Save(e.Dir); err != nil {
		return id, false, err
	}
	return id, true, identity.DropNextKey(e.Dir)
}

// forget removes what belonged to an earlier identity: its plan means nothing to the new one, its feeds are another
// server's, and its numbers start anew.
func forget(dir *statedir.Dir) error {
	errs := []error{dir.Root().RemoveAll(feedsDir)}
	for _, name := range []string{"identity.json", planFile, floorFile, progressFile, "journal", "sequence"} {
		errs = append(errs, dir.Remove(name))
	}
	return errors.Join(errs...)
}
