package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"assent/lab"
)

// config says what to put into a lab. The zero value is a lab with the Acme repository at step 0 and no devices.
type config struct {
	// Hosts are names for the devices' /etc/hosts with their addresses in the lab.
	Hosts map[string]string `json:"hosts"`
	// Forwards map addresses of the host to addresses in the lab.
	Forwards map[string]string `json:"forwards"`
	// AcmeStep is the first state of the Acme repository.
	AcmeStep int `json:"acme_step"`
	// Mirror serves the Debian archive in the lab. Devices with debian set turn it on by themselves.
	Mirror  bool    `json:"mirror"`
	Devices []group `json:"devices"`
}

// group is one device, or several alike called NAME-1, NAME-2 and so on.
type group struct {
	Name   string `json:"name"`
	Count  int    `json:"count"`   // zero means one, called NAME
	Suite  string `json:"suite"`   // empty means the standard base, bookworm
	Acme   bool   `json:"acme"`    // has the Acme repository as a source and version 1.0 of its packages
	Debian bool   `json:"debian"`  // has the Debian archive as a source, and so real pending updates
	DiskMB int    `json:"disk_mb"` // zero means no limit
}

func serveCommand() *cobra.Command {
	var name, file string
	c := &cobra.Command{Use: "serve", Short: "Build a lab and stay until SIGTERM", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := readConfig(file)
			if err != nil {
				return err
			}
			return serve(c.Context(), name, conf)
		}}
	c.Flags().StringVar(&name, "name", "demo", "name of the lab")
	c.Flags().StringVar(&file, "config", "", "JSON `file` that says what to put in it")
	return c
}

func readConfig(name string) (config, error) {
	var conf config
	if name == "" {
		return conf, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return conf, fmt.Errorf("read configuration: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&conf); err != nil {
		return conf, fmt.Errorf("read configuration %s: %w", name, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return conf, fmt.Errorf("read configuration %s: something follows the end", name)
	}
	return conf, nil
}

func serve(ctx context.Context, name string, conf config) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	l, err := lab.Open(ctx, lab.Config{Name: name, Hosts: conf.Hosts, Log: log})
	if err != nil {
		return err
	}
	if err := fill(ctx, l, conf, log); err != nil {
		return errors.Join(err, l.Close())
	}
	log.Info("ready", "lab", name, "dir", l.Dir())
	<-ctx.Done()
	log.Info("ending", "lab", name)
	return l.Close()
}

func fill(ctx context.Context, l *lab.Lab, conf config, log *slog.Logger) error {
	repo, _, err := l.AcmeRepo()
	if err != nil {
		return err
	}
	if conf.Mirror || slices.ContainsFunc(conf.Devices, func(g group) bool { return g.Debian }) {
		if err := l.StartMirror(ctx); err != nil {
			return err
		}
	}
	layers := map[group]string{}
	for _, g := range conf.Devices {
		if err := g.build(ctx, l, layers); err != nil {
			return err
		}
		log.Info("built", "devices", g.Name, "count", max(g.Count, 1))
	}
	if conf.AcmeStep > 0 {
		if err := lab.PublishAcme(repo, conf.AcmeStep); err != nil {
			return err
		}
	}
	for _, host := range slices.Sorted(maps.Keys(conf.Forwards)) {
		if _, err := l.Forward(host, conf.Forwards[host]); err != nil {
			return err
		}
	}
	return l.MarkReady()
}

func (g group) build(ctx context.Context, l *lab.Lab, layers map[group]string) error {
	spec := lab.StandardBase()
	if g.Suite != "" && g.Suite != spec.Suite {
		spec = lab.MinimalBase(g.Suite)
	}
	base, err := lab.Base(ctx, spec)
	if err != nil {
		return err
	}
	device := lab.DeviceSpec{Name: g.Name, Base: base, DiskMB: g.DiskMB}
	if g.Acme || g.Debian {
		layer, err := g.layer(ctx, l, base, layers)
		if err != nil {
			return err
		}
		device.Layers = []string{layer}
	}
	for i := range max(g.Count, 1) {
		if g.Count > 0 {
			device.Name = fmt.Sprintf("%s-%d", g.Name, i+1)
		}
		if _, err := l.NewDevice(ctx, device); err != nil {
			return err
		}
	}
	return nil
}

// layer prepares one device and freezes it, so that the others need not fetch and install the same again.
func (g group) layer(ctx context.Context, l *lab.Lab, base string, layers map[group]string) (string, error) {
	key := group{Suite: g.Suite, Acme: g.Acme, Debian: g.Debian}
	if done, ok := layers[key]; ok {
		return done, nil
	}
	d, err := l.NewDevice(ctx, lab.DeviceSpec{Name: fmt.Sprintf("template-%d", len(layers)+1), Base: base})
	if err != nil {
		return "", err
	}
	if err := g.prepare(ctx, l, d); err != nil {
		return "", err
	}
	layers[key], err = d.Freeze(ctx)
	return layers[key], err
}

func (g group) prepare(ctx context.Context, l *lab.Lab, d *lab.Device) error {
	var sources []lab.Source
	if g.Debian {
		suite := g.Suite
		if suite == "" {
			suite = lab.StandardBase().Suite
		}
		sources = append(sources, l.DebianSource(suite, suite+"-updates", suite+"-security"))
	}
	if g.Acme {
		_, source, err := l.AcmeRepo()
		if err != nil {
			return err
		}
		sources = append(sources, source)
	}
	if err := d.SetSources(sources...); err != nil {
		return err
	}
	if g.Acme {
		return d.InstallAcme(ctx)
	}
	_, err := d.Output(ctx, "apt-get", "-q", "--error-on=any", "update")
	return err
}
