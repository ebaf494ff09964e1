package stage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"assent/lab"
)

// Installed is a stage on which everything came from Debian packages and runs as a unit of a real systemd, as at a
// customer's: the server on a device of its own, an agent on each of the Devices.
type Installed struct {
	*Stage
	Host *lab.Device // where the server is installed
}

// OpenInstalled makes the devices and installs nothing yet. The stage's Server has no process here: it is a unit of
// Host, and its URL leads to that device's loopback.
func OpenInstalled(ctx context.Context, cfg Config) (*Installed, error) {
	cfg.Log = slog.New(slog.DiscardHandler)
	l, err := lab.Open(ctx, lab.Config{Name: cfg.Name, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	s := &Installed{Stage: &Stage{Lab: l, cfg: cfg, dir: filepath.Join(l.Dir(), "stage")}}
	if err := s.setUp(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Installed) setUp(ctx context.Context) error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return fmt.Errorf("make stage directory: %w", err)
	}
	base, err := lab.Base(ctx, lab.SystemdBase())
	if err != nil {
		return err
	}
	layer, err := s.acme(ctx, base)
	if err != nil {
		return err
	}
	if s.Host, err = s.Lab.NewDevice(ctx, lab.DeviceSpec{Name: "server", Base: base, Systemd: true}); err != nil {
		return err
	}
	addr, err := s.Host.Forward("127.0.0.1:0", apiAddress)
	if err != nil {
		return err
	}
	s.Server = &Server{URL: "http://" + addr, Data: "/var/lib/assent", stage: s.Stage}
	for _, spec := range s.cfg.Devices {
		d, err := s.Lab.NewDevice(ctx, lab.DeviceSpec{Name: spec.Name, Base: base, Layers: []string{layer}, Systemd: true})
		if err != nil {
			return err
		}
		s.Devices = append(s.Devices, &Device{Device: d, stage: s.Stage})
	}
	return nil
}

// acme makes what the devices share on top of the base: Acme's repository and its first versions.
func (s *Installed) acme(ctx context.Context, base string) (string, error) {
	sources, err := s.sources(ctx)
	if err != nil {
		return "", err
	}
	d, err := s.Lab.NewDevice(ctx, lab.DeviceSpec{Name: "golden", Base: base})
	if err != nil {
		return "", err
	}
	if err := d.SetSources(sources...); err != nil {
		return "", err
	}
	if err := d.InstallAcme(ctx); err != nil {
		return "", err
	}
	return d.Freeze(ctx)
}

// InstallPackages installs files of packages with apt, as a person does, and gives what apt printed.
func InstallPackages(ctx context.Context, d *lab.Device, debs ...string) (string, error) {
	argv := []string{"apt-get", "-y", "-q", "install"}
	for _, deb := range debs {
		to := "/var/tmp/" + filepath.Base(deb)
		if err := d.Install(deb, to); err != nil {
			return "", err
		}
		argv = append(argv, to)
	}
	return d.Output(ctx, argv...)
}

// SignInFromJournal uses the one-time sign-in that the server printed to its journal.
func (s *Installed) SignInFromJournal(ctx context.Context) error {
	journal, err := s.Host.Output(ctx, "journalctl", "--unit=assentd", "--output=cat", "--no-pager")
	if err != nil {
		return err
	}
	token := signIn.FindString(journal)
	if token == "" {
		return fmt.Errorf("the journal of assentd has no sign-in:\n%s", journal)
	}
	return s.Must(ctx, "login", "--server", s.Server.URL, "--token", token)
}

// EnrolUnit enrols a device whose agent waits for that as a unit.
func (s *Installed) EnrolUnit(ctx context.Context, d *Device, group string) error {
	out, err := s.Output(ctx, "token", "create", "--group", group, "--uses", "1", "--json")
	if err != nil {
		return err
	}
	var token struct{ Text string }
	if err := json.Unmarshal([]byte(out), &token); err != nil {
		return fmt.Errorf("read the token: %w", err)
	}
	ip, err := s.Host.IP()
	if err != nil {
		return err
	}
	_, err = d.Output(ctx, "assent-agent", "enrol", "--server", "https://"+net.JoinHostPort(ip, "8443"), "--token", token.Text)
	return err
}

// Property is a property of a unit of a device.
func Property(ctx context.Context, d *lab.Device, unit, name string) (string, error) {
	out, err := d.Output(ctx, "systemctl", "show", "--value", "--property="+name, unit)
	return strings.TrimSpace(out), err
}

// AwaitBoot waits until a device that was in the boot called before has booted again and started all its units.
func AwaitBoot(ctx context.Context, d *lab.Device, before string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		if id, err := d.BootID(); err == nil && id != before {
			if out, _, _, err := d.Run(ctx, "systemctl", "is-system-running"); err == nil && strings.TrimSpace(out) == "running" {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("device %s did not boot again: %w", d.Name(), ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
