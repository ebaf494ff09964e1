package lab

import (
	"context"
	"testing"
	"time"
)

func openLab(t *testing.T) *Lab {
	t.Helper()
	l, err := Open(t.Context(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func standardBase(t *testing.T) string {
	t.Helper()
	base, err := Base(t.Context(), StandardBase())
	if err != nil {
		t.Fatal(err)
	}
	return base
}

func newDevice(t *testing.T, l *Lab, name string) *Device {
	t.Helper()
	d, err := l.NewDevice(t.Context(), DeviceSpec{Name: name, Base: standardBase(t)})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustOutput(t *testing.T, d *Device, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := d.Output(ctx, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestFirst(t *testing.T) {
	standardBase(t)
	l := openLab(t)
	t0 := time.Now()
	d := newDevice(t, l, "d1")
	t.Log("created in", time.Since(t0))
	t0 = time.Now()
	t.Log(mustOutput(t, d, "sh", "-c", "hostname; cat /proc/sys/kernel/random/boot_id /etc/machine-id; ls -la / /dev; mount; ps ax 2>/dev/null; ls /proc | head -3; cat /sys/class/net/*/address; id; env; cat /etc/hosts"))
	t.Log("run in", time.Since(t0))
	t0 = time.Now()
	if err := d.PowerCut(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Log("cut in", time.Since(t0))
	t0 = time.Now()
	if err := d.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Log("boot in", time.Since(t0))
	t.Log(mustOutput(t, d, "sh", "-c", "cat /proc/sys/kernel/random/boot_id; echo x > /proc/sys/kernel/hostname; true"))
}
