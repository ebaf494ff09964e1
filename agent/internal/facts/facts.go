// Package facts reads what a device is: its name, operating system, kernel, time zone and the two ids
// that tell machines and boots apart.
//
// It reads files below a root directory and never runs a program. Whatever it cannot read is empty, and so is a time zone that
// it cannot name; every string is capped and free of control characters. What concerns packages comes from pkgmgr.
package facts

import (
	"bufio"
	"cmp"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"assent/wire"
)

const maxText = 256

// Read returns the device's facts as far as they do not concern packages. root is "/" on a device.
func Read(root string) wire.Facts {
	os := release(root)
	native, foreign := arches(root)
	return wire.Facts{
		Hostname:  Hostname(root),
		MachineID: MachineID(root),
		OS:        os["ID"],
		OSVersion: os["VERSION_ID"],
		Codename:  os["VERSION_CODENAME"],
		Arch:      native,
		Foreign:   foreign,
		Kernel:    first(root, "proc/sys/kernel/osrelease"),
		TimeZone:  timeZone(root),
	}
}

// Hostname is the name of the machine.
func Hostname(root string) string {
	if name := first(root, "proc/sys/kernel/hostname"); name != "" {
		return name
	}
	return first(root, "etc/hostname")
}

// MachineID is the machine-id, empty when the machine has none yet.
func MachineID(root string) string {
	id := first(root, "etc/machine-id")
	if id == "uninitialized" {
		return ""
	}
	return id
}

// BootID names the device's boot. It is read as init sees it: in a container that is the container's own, which a
// sandbox of systemd hides from its unit.
func BootID(root string) string {
	const file = "proc/sys/kernel/random/boot_id"
	return cmp.Or(first(root, "proc/1/root/"+file), first(root, file))
}

// Uptime is how long the kernel has been running; 0 when unknown.
func Uptime(root string) time.Duration {
	seconds, _, _ := strings.Cut(first(root, "proc/uptime"), " ")
	d, err := time.ParseDuration(seconds + "s")
	if err != nil || d < 0 {
		return 0
	}
	return d
}

// read returns the beginning of a file, at most 64 KiB of it.
func read(root, name string) string {
	f, err := os.Open(filepath.Join(root, name))
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return ""
	}
	return string(b)
}

// first is the first line of a file.
func first(root, name string) string {
	line, _, _ := strings.Cut(read(root, name), "\n")
	return Clean(line)
}

// Clean caps a text and takes out what is not printable.
func Clean(s string) string {
	s = strings.ToValidUTF8(s, "")
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s))
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "")
	}
	return s
}

// release reads os-release(5), the first of its two places that is there.
func release(root string) map[string]string {
	text := read(root, "etc/os-release")
	if text == "" {
		text = read(root, "usr/lib/os-release")
	}
	return parseRelease(text)
}

// parseRelease understands the assignments of os-release(5): NAME=value, value perhaps in quotes.
func parseRelease(text string) map[string]string {
	out := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		key, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		if !ok || strings.HasPrefix(key, "#") {
			continue
		}
		if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		out[key] = Clean(strings.NewReplacer(`\"`, `"`, `\$`, `$`, "\\`", "`", `\\`, `\`).Replace(value))
	}
	return out
}

// debian maps Go's names of architectures to dpkg's.
var debian = map[string]string{"386": "i386", "amd64": "amd64", "arm": "armhf", "arm64": "arm64", "ppc64le": "ppc64el", "riscv64": "riscv64", "s390x": "s390x", "loong64": "loong64", "mips64le": "mips64el"}

// arches returns the native architecture, that of the package dpkg itself, and the foreign ones. dpkg's
// list of architectures exists only where a foreign one was added.
func arches(root string) (native string, foreign []string) {
	native = debian[runtime.GOARCH]
	if a := dpkgArch(root); a != "" {
		native = a
	}
	foreign = []string{}
	for line := range strings.Lines(read(root, "var/lib/dpkg/arch")) {
		if a := Clean(line); a != "" && a != native {
			foreign = append(foreign, a)
		}
	}
	slices.Sort(foreign)
	return native, slices.Compact(foreign)
}

// dpkgArch finds the architecture of the package dpkg in dpkg's own status file without holding it in memory.
func dpkgArch(root string) string {
	f, err := os.Open(filepath.Join(root, "var/lib/dpkg/status"))
	if err != nil {
		return ""
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 16<<10), 1<<20)
	inside := false
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "Package: ") {
			inside = line == "Package: dpkg"
		}
		if arch, ok := strings.CutPrefix(line, "Architecture: "); ok && inside {
			return Clean(arch)
		}
	}
	return ""
}
