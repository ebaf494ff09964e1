// Package stage sets up the whole of Assent on one machine for the demo and the end-to-end tests: a lab of
// real devices, a real assentd process inside the lab's network, the real agent on each device, and the real
// CLI as the operator's only means.
//
// Guarantees: everything it starts ends with Close, also after a crash of the process that opened it (see
// package lab). It knows nothing of Assent but its programs, flags and output.
package stage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"assent/lab"
	"assent/lab/debrepo"
)

// Config says what to set up. Name and Bin are required.
type Config struct {
	Name    string       // of the lab
	Bin     string       // directory of the built programs
	Devices []DeviceSpec // made and switched on; enrolled by Enrol
	Acme    bool         // a signed local repository is a source of every device, its 1.0 packages are installed
	Real    bool         // Debian's own archive with its updates and security suites is a source too
	Forward string       // host address that leads to the API, such as 127.0.0.1:8480; empty: any free port of 127.0.0.1
	Log     *slog.Logger
}

// DeviceSpec is one device.
type DeviceSpec struct {
	Name   string
	DiskMB int // 0: no limit
}

// Stage is a running set-up.
type Stage struct {
	Lab     *lab.Lab
	Repo    *debrepo.Repo // nil without Acme
	Server  *Server
	Front   string // URL of the load balancer before several servers; empty: there is none
	Devices []*Device

	cfg Config
	dir string
}

// Open makes the lab, the repositories and the devices. The server is started by StartServer.
func Open(ctx context.Context, cfg Config) (*Stage, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	l, err := lab.Open(ctx, lab.Config{Name: cfg.Name, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	s := &Stage{Lab: l, cfg: cfg, dir: filepath.Join(l.Dir(), "stage")}
	if err := s.setUp(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Stage) setUp(ctx context.Context) error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return fmt.Errorf("make stage directory: %w", err)
	}
	if err := s.openServer(); err != nil {
		return err
	}
	sources, err := s.sources(ctx)
	if err != nil {
		return err
	}
	s.cfg.Log.Info("building the devices' base (once per machine)")
	base, err := lab.Base(ctx, lab.StandardBase())
	if err != nil {
		return err
	}
	layers, err := s.layer(ctx, base, sources)
	if err != nil {
		return err
	}
	for _, spec := range s.cfg.Devices {
		if err := s.addDevice(ctx, spec, base, layers); err != nil {
			return err
		}
	}
	return nil
}

// sources are the apt sources of every device.
func (s *Stage) sources(ctx context.Context) ([]lab.Source, error) {
	var out []lab.Source
	if s.cfg.Real {
		if err := s.Lab.StartMirror(ctx); err != nil {
			return nil, err
		}
		out = append(out, s.Lab.DebianSource("bookworm", "bookworm-updates", "bookworm-security"))
	}
	if s.cfg.Acme {
		repo, source, err := s.Lab.AcmeRepo()
		if err != nil {
			return nil, err
		}
		s.Repo, out = repo, append(out, source)
	}
	return out, nil
}

// layer makes what all devices share on top of the base: sources, package lists and Acme's first versions.
func (s *Stage) layer(ctx context.Context, base string, sources []lab.Source) ([]string, error) {
	if len(sources) == 0 {
		return nil, nil
	}
	s.cfg.Log.Info("preparing the devices' common disk")
	d, err := s.Lab.NewDevice(ctx, lab.DeviceSpec{Name: "golden", Base: base})
	if err != nil {
		return nil, err
	}
	if err := d.SetSources(sources...); err != nil {
		return nil, err
	}
	if _, err := d.Output(ctx, "apt-get", "-q", "--error-on=any", "update"); err != nil {
		return nil, err
	}
	if s.cfg.Acme {
		if err := d.InstallAcme(ctx); err != nil {
			return nil, err
		}
	}
	if err := d.Install(filepath.Join(s.cfg.Bin, "assent-agent"), "/usr/bin/assent-agent"); err != nil {
		return nil, err
	}
	frozen, err := d.Freeze(ctx) // the device becomes the layer
	return []string{frozen}, err
}

func (s *Stage) addDevice(ctx context.Context, spec DeviceSpec, base string, layers []string) error {
	d, err := s.Lab.NewDevice(ctx, lab.DeviceSpec{Name: spec.Name, Base: base, Layers: layers, DiskMB: spec.DiskMB})
	if err != nil {
		return err
	}
	if len(layers) == 0 {
		if err := d.Install(filepath.Join(s.cfg.Bin, "assent-agent"), "/usr/bin/assent-agent"); err != nil {
			return err
		}
	}
	s.Devices = append(s.Devices, &Device{Device: d, stage: s})
	return nil
}

// Device returns the device called name; it panics on a name that was never made, which is a mistake of the script.
func (s *Stage) Device(name string) *Device {
	i := slices.IndexFunc(s.Devices, func(d *Device) bool { return d.Name() == name })
	if i < 0 {
		panic("stage has no device " + name)
	}
	return s.Devices[i]
}

// Close ends everything.
func (s *Stage) Close() error {
	var errs []error
	if s.Server != nil {
		errs = append(errs, s.Server.Kill())
	}
	return errors.Join(append(errs, s.Lab.Close())...)
}

// Dir is where the stage keeps its own files on the host.
func (s *Stage) Dir() string { return s.dir }
