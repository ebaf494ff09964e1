package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"assent/bench/daemon"
	"assent/bench/population"
	"assent/bench/process"
	"assent/client"
	"assent/server/pgtest"
	"assent/server/seed"
	"assent/wire"
)

// seeded is a fleet as the seeder wants it.
type seeded struct{ *population.Fleet }

func (s seeded) Devices() int                  { return s.Size.Devices }
func (s seeded) Name(i int) string             { return population.Hostname(i) }
func (s seeded) Kind(i int) int                { return s.KindOf(i) }
func (s seeded) Kinds() int                    { return s.Size.Kinds }
func (s seeded) Packages(k int) wire.Inventory { return s.Inventory(k, 0) }
func (s seeded) Offers(k int) wire.Available   { return s.Available(k, 0) }

// site is a server on a database with a large fleet.
type site struct {
	*daemon.Daemon
	api    *client.Client
	fleet  *population.Fleet
	engine string
	dsn    string
	cfg    daemon.Config
	// took is from the start of the process to the first correct answer, startCPU what the process used until then.
	took, startCPU time.Duration
}

// fleetOf is the size that targets speak of, with another number of devices. Twenty devices share a set of packages, as
// machines of one image do; each has facts of its own.
func fleetOf(devices int) population.Size {
	return population.Size{Devices: devices, Updates: 10_000, Each: 40, Packages: 200, Kinds: max(devices/20, 250)}
}

// population makes up a fleet from the archive of this machine, which is read once.
func (b *bench) population(ctx context.Context, s population.Size) (*population.Fleet, error) {
	if b.archive == nil {
		archive, err := population.ReadArchive(ctx)
		if err != nil {
			return nil, err
		}
		b.archive = archive
	}
	return population.New(b.archive, s)
}

// site makes a server's data directory, fills its database with a fleet, and starts the server on it. What was made is
// kept for the next row that asks for the same.
func (b *bench) site(ctx context.Context, engine string, size population.Size) (*site, error) {
	key := fmt.Sprint(engine, size)
	s := b.sites[key]
	if s == nil {
		var err error
		if s, err = b.found(ctx, engine, size, filepath.Join(b.tmp, fmt.Sprint("site", len(b.sites)))); err != nil {
			return nil, err
		}
		b.sites[key] = s
	}
	return s, s.start(ctx)
}

// found makes a site.
func (b *bench) found(ctx context.Context, engine string, size population.Size, dir string) (*site, error) {
	bin, err := b.programs(ctx, serverProgram)
	if err != nil {
		return nil, err
	}
	f, err := b.population(ctx, size)
	if err != nil {
		return nil, err
	}
	s := &site{fleet: f, engine: engine, dsn: filepath.Join(dir, "assent.db"), cfg: daemon.Config{Program: filepath.Join(bin, serverProgram), Data: dir}}
	if engine == seed.Postgres {
		if s.dsn, err = b.postgres(); err != nil {
			return nil, err
		}
		s.cfg.Env = []string{"ASSENT_DATABASE_URL=" + s.dsn}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if s.Daemon, err = daemon.Start(ctx, s.cfg); err != nil {
		return nil, err
	}
	_, err = s.Client(ctx)
	if err := errors.Join(err, s.Stop()); err != nil {
		return nil, err
	}
	b.sayf("  filling a %s database with %d devices of %d kinds", engine, size.Devices, size.Kinds)
	begin := time.Now()
	err = seed.Fill(ctx, seed.Database{Engine: engine, DSN: s.dsn}, seeded{f})
	b.sayf("  took %v", time.Since(begin).Round(time.Second))
	return s, err
}

// postgres makes a database on a throw-away PostgreSQL that waits for the disk as a real one does.
func (b *bench) postgres() (string, error) {
	if b.pg == nil {
		server, err := pgtest.Start(pgtest.Config{Durable: true})
		if err != nil {
			return "", err
		}
		b.pg = server
	}
	b.databases++
	name := fmt.Sprint("site", b.databases)
	return b.pg.Named(name), b.pg.Do("CREATE DATABASE " + name)
}

// start starts the server and waits until it answers correctly.
func (s *site) start(ctx context.Context) (err error) {
	if s.Daemon, err = daemon.Start(ctx, s.cfg); err != nil {
		return err
	}
	if s.api, err = s.Client(ctx); err != nil {
		return errors.Join(err, s.Stop())
	}
	err = s.correct(ctx)
	s.took, s.startCPU = time.Since(s.Began), process.CPU(s.PID)
	if err != nil {
		return errors.Join(err, s.Stop())
	}
	return nil
}

// correct asks for a page of updates, counted, and for one device, and compares the answers with what was filled in.
func (s *site) correct(ctx context.Context) error {
	needed := true
	list, err := s.api.Updates(ctx, client.Filter{Needed: &needed}, client.Page{Sort: "-needed"})
	if err != nil {
		return err
	}
	d, err := s.api.Device(ctx, string(seed.DeviceID(0)))
	if err != nil {
		return err
	}
	if size := s.fleet.Size; list.Total != size.Updates || d.Name != population.Hostname(0) || len(d.Updates) < size.Each {
		return fmt.Errorf("the server answers with %d updates and %d for %s; it should be %d and %d", list.Total, len(d.Updates), d.Name, size.Updates, size.Each)
	}
	return nil
}
