package lab

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
)

// BaseSpec says what file system devices start from. Equal specs share one base, in all processes.
type BaseSpec struct {
	Suite   string   // bookworm, trixie or bullseye
	Include []string // packages on top of the minimal system
}

// baseRecipe is part of the name of a base, so that a change to finishBase makes new ones.
const baseRecipe = 3

// StandardBase is Debian 12 from its main suite alone. Once the updates and security suites are sources too, a dozen
// or more updates are pending, several of them with security advisories.
func StandardBase() BaseSpec {
	return BaseSpec{Suite: "bookworm", Include: []string{
		"openssl", "curl", "perl", "libgnutls30", "libkrb5-3", "ca-certificates", "unattended-upgrades",
		"jq", "unzip", "zip", "expat", "xzdec", "libevent-2.1-7", "libssh-4", "pcre2-utils",
	}}
}

// MinimalBase is the smallest system of a suite that has apt.
func MinimalBase(suite string) BaseSpec {
	return BaseSpec{Suite: suite, Include: []string{"ca-certificates"}}
}

// CacheRoot is where bases and archive files are kept: $ASSENT_LAB_CACHE, or else /var/cache/assent-lab.
func CacheRoot() string {
	if dir := os.Getenv("ASSENT_LAB_CACHE"); dir != "" {
		return dir
	}
	return "/var/cache/assent-lab"
}

// Base gives the directory of the base, and builds it with mmdebstrap if the cache lacks it, which takes about
// twenty seconds. Concurrent builders of the same base, in any process, wait for one. The directory must not be
// changed: running devices lie on it.
func Base(ctx context.Context, spec BaseSpec) (string, error) {
	if !slices.Contains([]string{"bookworm", "trixie", "bullseye"}, spec.Suite) {
		return "", fmt.Errorf("build base: unknown suite %q", spec.Suite)
	}
	root := filepath.Join(CacheRoot(), "bases")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", fmt.Errorf("build base: %w", err)
	}
	dir := filepath.Join(root, spec.Suite+"-"+spec.digest())
	unlock, err := lockFile(ctx, dir+".lock")
	if err != nil {
		return "", fmt.Errorf("build base: %w", err)
	}
	defer unlock.Close()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := buildBase(ctx, spec, dir); err != nil {
		return "", fmt.Errorf("build base %s: %w", spec.Suite, err)
	}
	return dir, nil
}

func (s BaseSpec) digest() string {
	include := slices.Sorted(slices.Values(s.Include))
	text, err := json.Marshal([]any{baseRecipe, s.Suite, slices.Compact(include)})
	if err != nil {
		panic(err) // strings and a number
	}
	return fmt.Sprintf("%x", sha256.Sum256(text))[:12]
}

// buildBase builds beside dir and renames: an interrupted mmdebstrap leaves a plausible half of a system.
func buildBase(ctx context.Context, spec BaseSpec, dir string) error {
	if err := EnsurePackages(ctx, slog.Default(), "mmdebstrap", "iproute2"); err != nil {
		return err
	}
	archive, err := HostArchive()
	if err != nil {
		return err
	}
	tmp := dir + ".new"
	if err := os.RemoveAll(tmp); err != nil { // what an interrupted build left; the lock says that none is running
		return err
	}
	args := []string{"--mode=root", "--variant=minbase", "--format=directory",
		// The mirror may lag behind the clock. The option acts on the build alone, finishBase removes its trace.
		`--aptopt=Acquire::Check-Valid-Until "false"`}
	for _, name := range spec.Include {
		args = append(args, "--include="+name)
	}
	if _, err := output(ctx, "", "mmdebstrap", append(args, spec.Suite, tmp, archive.Main)...); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	if err := finishBase(tmp, spec.systemd()); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return os.Rename(tmp, dir)
}

// powerScript asks the kernel to restart or end the device: reboot(2) in a pid namespace ends its first process
// with a signal that tells the lab which it was. There is no init system that could do it.
const powerScript = `#!/usr/bin/perl
# Of the lab: reboot, poweroff, halt, shutdown [-r|-h|-P|-c] [now|+MINUTES] without an init system.
use POSIX ();
my ($name) = $0 =~ m{([^/]+)$};
my $restart = $name eq "reboot" || ($name eq "shutdown" && grep { $_ eq "-r" } @ARGV);
exit 0 if grep { $_ eq "-c" } @ARGV;
my ($minutes) = map { /^\+(\d+)$/ ? $1 : () } @ARGV;
if ($minutes) { exit 0 if fork; sleep 60 * $minutes; }
my $nr = (POSIX::uname())[4] eq "x86_64" ? 169 : 142;
syscall($nr, 0xfee1dead, 672274793, $restart ? 0x01234567 : 0x4321fedc, 0);
die "$name: $!\n";
`

// finishBase makes a fresh Debian system fit for a device.
func finishBase(dir string, systemd bool) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, name := range []string{"etc/apt/sources.list", "etc/apt/apt.conf.d/99mmdebstrap", "etc/resolv.conf", "etc/hostname"} {
		if err := root.RemoveAll(name); err != nil {
			return err
		}
	}
	files := map[string]string{"etc/apt/apt.conf.d/10lab-languages": "Acquire::Languages \"none\";\n"}
	if systemd {
		files["etc/systemd/journald.conf.d/lab.conf"] = "[Journal]\nStorage=volatile\n" // else 8 MB for each device
		if err := root.MkdirAll("etc/systemd/journald.conf.d", 0o755); err != nil {
			return err
		}
	} else {
		// There is no init system that could start a service.
		files["usr/sbin/policy-rc.d"], files["usr/sbin/reboot"] = "#!/bin/sh\nexit 101\n", powerScript
	}
	for name, text := range files {
		if err := root.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
		if text[0] == '#' {
			if err := root.Chmod(name, 0o755); err != nil {
				return err
			}
		}
	}
	if systemd {
		return nil
	}
	for _, name := range []string{"poweroff", "halt", "shutdown"} {
		if err := root.Symlink("reboot", "usr/sbin/"+name); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}
