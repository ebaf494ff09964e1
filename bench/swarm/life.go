package swarm

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// Life is how an agent lives.
type Life struct {
	Every time.Duration       // between two check-ins, spread by half
	Away  int                 // percent of the rounds in which it is away: it hangs up and comes back later
	Round func(installed int) // called after each check-in
}

// Live lets one agent check in, take what its plan says, and be away now and then, until ctx ends.
func (s *Swarm) Live(ctx context.Context, number int, l Life) error {
	a := s.Agents[number]
	random := rand.New(rand.NewPCG(5, uint64(number))) // the same life each time
	for {
		pause := time.NewTimer(l.Every/2 + time.Duration(random.Int64N(int64(l.Every))))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
		if random.IntN(100) < l.Away {
			a.Close()
			continue
		}
		installed := 0
		err := a.patiently(ctx, func(ctx context.Context) (err error) { installed, err = Tick(ctx, a); return err })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return errors.Join(err, ctx.Err())
		}
		l.Round(installed)
	}
}
