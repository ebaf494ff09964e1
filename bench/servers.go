package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"assent/bench/daemon"
	"assent/client"
	"assent/server/seed"
)

// apart are the agents of P2s: few, so that the way between the servers counts and not how many statements are signed.
const apart = 100

// otherServers measures P2s: agents wait at one of two servers, and people decide at the other one, or at the same, in turns.
func otherServers(ctx context.Context, b *bench) (rows []Row, err error) {
	c, err := b.gather(ctx, seed.Postgres, common(apart))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	second, err := b.join(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, second.Stop()) }()
	other, err := c.ClientAt(ctx, second)
	if err != nil {
		return nil, err
	}
	if err := c.approve(ctx); err != nil {
		return nil, err
	}
	if err := c.Each(ctx, 32, func(ctx context.Context, i int) error { return c.Swarm.Agents[i].Settle(ctx) }); err != nil {
		return nil, err
	}
	var there, here []time.Duration
	rounds := min(max(b.rounds, 3), 15) // each declines two of the updates that there are
	for i := range rounds {
		for to, at := range map[*[]time.Duration]*client.Client{&there: other, &here: c.api} {
			told, _, err := c.decline(ctx, b, at, i)
			if err != nil {
				return nil, err
			}
			*to = append(*to, told...)
		}
	}
	const against = "the decision is made at the agents' own server"
	note := fmt.Sprintf("from sending the decision until the statement that names the new plan arrived; %d decisions each, by turns, %d agents told of each; two assentd, PostgreSQL and the swarm on the same cores", rounds, apart)
	return []Row{
		{ID: "P2s", What: "decision at one server → signed plan on the wire of agents that are connected to another, p99", Value: percentile(there, 0.99).Seconds(), Unit: "s",
			Baseline: percentile(here, 0.99).Seconds(), Against: against, Target: Target{Of: Value, Limit: 1}, Note: note},
		{ID: "P2s", What: "the same, p50", Value: percentile(there, 0.5).Seconds(), Unit: "s", Baseline: percentile(here, 0.5).Seconds(), Against: against},
	}, nil
}

// join starts one more server on the database of a crowd's.
func (b *bench) join(ctx context.Context, c *crowd) (*daemon.Daemon, error) {
	cfg := c.cfg
	var err error
	if cfg.Data, err = os.MkdirTemp(b.tmp, "second"); err != nil {
		return nil, err
	}
	word, file := filepath.Join(b.tmp, "passphrase"), filepath.Join(b.tmp, "keys")
	if err := os.WriteFile(word, []byte("correct horse battery\n"), 0o600); err != nil {
		return nil, fmt.Errorf("write a passphrase: %w", err)
	}
	env := append([]string{"env"}, cfg.Env...)
	for _, args := range [][]string{{"export", file, "--data", c.cfg.Data}, {"import", file, "--data", cfg.Data}} {
		args = append(append([]string{cfg.Program, "keys"}, args...), "--passphrase-file", word)
		if _, err := output(ctx, "", env[0], append(env[1:], args...)...); err != nil {
			return nil, fmt.Errorf("carry the keys: %w", err)
		}
	}
	return daemon.Start(ctx, cfg)
}
