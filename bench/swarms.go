package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"assent/approval"
	"assent/bench/bare"
	"assent/bench/daemon"
	"assent/bench/population"
	"assent/bench/process"
	"assent/bench/swarm"
	"assent/client"
	"assent/server/seed"
	"assent/wire"
)

// common is a fleet in which all devices could take the same updates, on different sets of other packages.
func common(agents int) population.Size {
	return population.Size{Devices: agents, Updates: 40, Each: 40, Packages: 200, Kinds: max(agents/20, 1)}
}

// crowd is an assentd with a swarm that is enrolled with it.
type crowd struct {
	*daemon.Daemon
	*swarm.Swarm
	api *client.Client
	cfg daemon.Config
}

func (c *crowd) stop() error {
	c.Swarm.Close()
	return c.Daemon.Stop()
}

// gather starts an assentd on an empty database and enrols a swarm with it.
func (b *bench) gather(ctx context.Context, engine string, size population.Size) (_ *crowd, err error) {
	if err := process.AllowFiles(2 * size.Devices); err != nil {
		return nil, err
	}
	bin, err := b.programs(ctx, serverProgram)
	if err != nil {
		return nil, err
	}
	f, err := b.population(ctx, size)
	if err != nil {
		return nil, err
	}
	cfg := daemon.Config{Program: filepath.Join(bin, serverProgram)}
	if cfg.Data, err = os.MkdirTemp(b.tmp, "crowd"); err != nil {
		return nil, err
	}
	if engine == seed.Postgres {
		url, err := b.postgres()
		if err != nil {
			return nil, err
		}
		cfg.Env = []string{"ASSENT_DATABASE_URL=" + url}
	}
	c := &crowd{cfg: cfg}
	if c.Daemon, err = daemon.Start(ctx, cfg); err != nil {
		return nil, err
	}
	if err := c.enrol(ctx, b, f); err != nil {
		return nil, errors.Join(err, c.Daemon.Stop())
	}
	return c, nil
}

func (c *crowd) enrol(ctx context.Context, b *bench, f *population.Fleet) (err error) {
	if c.api, err = c.Client(ctx); err != nil {
		return err
	}
	row, err := c.api.CreateToken(ctx, client.TokenRequest{Uses: f.Size.Devices, TTL: 24 * time.Hour})
	if err != nil {
		return err
	}
	token, err := wire.ParseToken(row.Text)
	if err != nil {
		return err
	}
	b.sayf("  enrolling %d agents", f.Size.Devices)
	c.Swarm, err = swarm.Gather(ctx, swarm.Config{Agents: c.Daemon.Agents, Token: token, Fleet: f, Say: b.sayf})
	return err
}

// approve approves everything in one act.
func (c *crowd) approve(ctx context.Context) error {
	_, err := c.api.Decide(ctx, client.Decide{Matching: &client.Filter{}, Status: approval.Approved, Reason: "measured"})
	return err
}

// metric is the value of one of the server's metrics.
func (c *crowd) metric(ctx context.Context, name string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("read the server's metrics: %w", err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("the server has no metric %s", name)
}

// until waits until something is at least n.
func until(ctx context.Context, what string, n float64, get func(context.Context) (float64, error)) error {
	for limit := time.Now().Add(5 * time.Minute); time.Now().Before(limit); {
		v, err := get(ctx)
		if err != nil || v >= n {
			return err
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("there never were %.0f %s", n, what)
}

// parked waits until all agents have a long poll open.
func (c *crowd) parked(ctx context.Context) error {
	return until(ctx, "parked long polls", float64(len(c.Swarm.Agents)), func(ctx context.Context) (float64, error) { return c.metric(ctx, "assent_parked_polls") })
}

// stateChanges measures P1b on both engines.
func stateChanges(ctx context.Context, b *bench) (rows []Row, err error) {
	for _, engine := range []string{seed.SQLite, seed.Postgres} {
		row, err := b.stateChange(ctx, engine)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", engine, err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// reporters are the agents of P1b: enough that none sends more than the server takes from one device.
const reporters = 1000

func (b *bench) stateChange(ctx context.Context, engine string) (row Row, err error) {
	c, err := b.gather(ctx, engine, common(reporters))
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	if err := c.approve(ctx); err != nil {
		return row, err
	}
	if err := c.Each(ctx, 32, func(ctx context.Context, i int) error { return c.Swarm.Agents[i].Settle(ctx) }); err != nil {
		return row, err
	}
	if err := b.quiet(ctx); err != nil {
		return row, err
	}
	var r swarm.Result
	const lasts = 10 * time.Second
	before, own := process.CPU(c.PID), process.CPU(os.Getpid())
	if err := b.profile(ctx, c.Daemon, "P1b-"+engine, lasts, func() (err error) {
		r, err = c.Hammer(ctx, lasts, swarm.Change)
		return err
	}); err != nil {
		return row, err
	}
	spent, swarms := process.CPU(c.PID)-before, process.CPU(os.Getpid())-own
	constants := map[string]float64{"state_change_us": spent.Seconds() * 1e6 / float64(r.Done)}
	if engine != seed.SQLite { // the database's own part is not in it
		constants = nil
	}
	return Row{Constants: constants, ID: "P1b", What: "message that changes a device's state, acknowledged when it is durable, " + engine, Value: r.Rate(), Unit: "/s", Target: Target{Of: Value, Least: true, Limit: 10_000},
		Note: fmt.Sprintf("%d agents report how far an update is, one report in a message, each when the one before is acknowledged, for %s s; %s reports per CPU-second of the server (that of the database not counted), p50 %s ms, p99 %s ms; the swarm is on the same cores and used %s µs for each",
			reporters, number(r.Took.Seconds()), number(float64(r.Done)/spent.Seconds()), number(milliseconds(r.At(0.5))), number(milliseconds(r.At(0.99))), number(swarms.Seconds()*1e6/float64(r.Done)))}, nil
}

// wakes measures P2.
func wakes(ctx context.Context, b *bench) (rows []Row, err error) {
	c, err := b.gather(ctx, seed.SQLite, common(b.agents))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	if err := c.approve(ctx); err != nil {
		return nil, err
	}
	if err := c.Each(ctx, 32, func(ctx context.Context, i int) error { return c.Swarm.Agents[i].Settle(ctx) }); err != nil {
		return nil, err
	}
	var told, fetched []time.Duration
	rounds := max(b.rounds, 3)
	for i := range rounds {
		t, f, err := c.decline(ctx, b, c.api, i)
		if err != nil {
			return nil, err
		}
		told, fetched = append(told, percentile(t, 0.99)), append(fetched, percentile(f, 0.99))
	}
	base, err := b.fixedMessage(ctx, c, rounds)
	if err != nil {
		return nil, err
	}
	against := "one fixed message of 700 bytes to as many parked requests of a bare net/http server with the same TLS, p99"
	note := fmt.Sprintf("one update of all %d agents' plans is declined by the API, then another; %d different inventories, each agent's statement signed for it; rounds: ", len(c.Swarm.Agents), common(b.agents).Kinds)
	return []Row{
		{ID: "P2", What: fmt.Sprintf("decision → signed plan on the wire of all of %s connected agents, p99", thousands(len(c.Swarm.Agents))), Value: median(told).Seconds(), Unit: "s",
			Target: Target{Of: Value, Limit: 1}, Note: "from sending the decision until the statement that names the new plan arrived and was verified; " + note + spread(told)},
		{ID: "P2r", What: "the same beside writing one fixed message", Value: median(told).Seconds(), Unit: "s", Baseline: base.Seconds(), Against: against, Target: Target{Of: Ratio, Limit: 3}},
		{ID: "P2p", What: "the same until each had fetched its plan", Value: median(fetched).Seconds(), Unit: "s", Baseline: base.Seconds(), Against: against, Note: "rounds: " + spread(fetched)},
	}, nil
}

// decline has all agents wait, declines an update at a server, and gives the times until each was told and had fetched its
// plan.
func (c *crowd) decline(ctx context.Context, b *bench, at *client.Client, i int) (told, fetched []time.Duration, err error) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	woken := c.Park(waiting)
	if err := c.parked(ctx); err != nil {
		return nil, nil, err
	}
	list, err := at.Updates(ctx, client.Filter{Status: []approval.Status{approval.Approved}}, client.Page{Limit: 1})
	if err != nil {
		return nil, nil, err
	}
	if len(list.Items) == 0 {
		return nil, nil, errors.New("nothing is left to decline")
	}
	if err := b.quiet(ctx); err != nil {
		return nil, nil, err
	}
	begin := time.Now()
	if _, err := at.Decide(ctx, client.Decide{Updates: []string{string(list.Items[0].ID)}, Status: approval.Declined, Reason: "measured " + strconv.Itoa(i)}); err != nil {
		return nil, nil, err
	}
	for range c.Swarm.Agents {
		select {
		case w := <-woken:
			if w.Err != nil {
				return nil, nil, w.Err
			}
			told, fetched = append(told, w.Told.Sub(begin)), append(fetched, w.Fetched.Sub(begin))
		case <-time.After(2 * time.Minute):
			return nil, nil, fmt.Errorf("only %d of %d agents were told", len(told), len(c.Swarm.Agents))
		}
	}
	return told, fetched, nil
}

func percentile(d []time.Duration, share float64) time.Duration {
	slices.Sort(d)
	return d[min(int(share*float64(len(d))), len(d)-1)]
}

// fixedMessage is the baseline of P2: the agents' certificates, another server.
func (b *bench) fixedMessage(ctx context.Context, c *crowd, rounds int) (time.Duration, error) {
	s, err := bare.Start(ctx, c.CA)
	if err != nil {
		return 0, err
	}
	defer s.Stop()
	conns, err := c.bareConns(ctx, s)
	if err != nil {
		return 0, err
	}
	var samples []time.Duration
	for range rounds {
		arrived := make(chan error, len(conns))
		times := make([]time.Time, len(conns))
		for i, conn := range conns {
			go func() {
				_, err := conn.Post(ctx, "/park", nil)
				times[i] = time.Now()
				arrived <- err
			}()
		}
		if err := until(ctx, "parked requests", float64(len(conns)), func(ctx context.Context) (float64, error) { n, err := s.Parked(ctx); return float64(n), err }); err != nil {
			return 0, err
		}
		if err := b.quiet(ctx); err != nil {
			return 0, err
		}
		begin := time.Now()
		if err := s.Fire(ctx, 700); err != nil {
			return 0, err
		}
		for range conns {
			if err := <-arrived; err != nil {
				return 0, err
			}
		}
		var took []time.Duration
		for _, t := range times {
			took = append(took, t.Sub(begin))
		}
		samples = append(samples, percentile(took, 0.99))
	}
	return median(samples), nil
}

// bareConns connects all agents to a bare server; each has sent one request.
func (c *crowd) bareConns(ctx context.Context, s *bare.Server) ([]*swarm.Conn, error) {
	conns := make([]*swarm.Conn, len(c.Swarm.Agents))
	err := c.Each(ctx, 32, func(ctx context.Context, i int) error {
		conns[i] = c.Swarm.Agents[i].Bare(s.Addr, s.Roots)
		_, err := conns[i].Post(ctx, "/", []byte("x"))
		return err
	})
	return conns, err
}
