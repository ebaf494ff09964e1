package lab

import (
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"
)

// BenchmarkNewDevice creates devices one after another, boots included.
func BenchmarkNewDevice(b *testing.B) {
	base, err := Base(b.Context(), StandardBase())
	if err != nil {
		b.Fatal(err)
	}
	l, err := Open(b.Context(), Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	n := 0
	for b.Loop() {
		n++
		if _, err := l.NewDevice(b.Context(), DeviceSpec{Name: fmt.Sprint("d", n), Base: base}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFleetUpdates is `apt-get update` on twenty devices at once.
func BenchmarkFleetUpdates(b *testing.B) {
	base, err := Base(b.Context(), StandardBase())
	if err != nil {
		b.Fatal(err)
	}
	l, err := Open(b.Context(), Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	_, source, err := l.AcmeRepo()
	if err != nil {
		b.Fatal(err)
	}
	var fleet []*Device
	for i := range 20 {
		d, err := l.NewDevice(b.Context(), DeviceSpec{Name: fmt.Sprint("d", i), Base: base})
		if err != nil {
			b.Fatal(err)
		}
		if err := d.SetSources(source); err != nil {
			b.Fatal(err)
		}
		fleet = append(fleet, d)
	}
	for b.Loop() {
		g, ctx := errgroup.WithContext(b.Context())
		for _, d := range fleet {
			g.Go(func() error {
				_, err := d.Output(ctx, "apt-get", "-q", "--error-on=any", "update")
				return err
			})
		}
		if err := g.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}
