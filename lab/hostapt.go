package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Archive is where this machine gets Debian from.
type Archive struct {
	Main     string // URI of the archive proper
	Security string // URI of the security archive
}

// HostArchive reads the archives from the machine's own apt configuration.
func HostArchive() (Archive, error) { return hostArchive("/etc/apt") }

func hostArchive(dir string) (Archive, error) {
	files, err := filepath.Glob(filepath.Join(dir, "sources.list.d", "*"))
	if err != nil {
		return Archive{}, fmt.Errorf("find apt sources: %w", err)
	}
	var all []hostSource
	for _, name := range append(files, filepath.Join(dir, "sources.list")) {
		text, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return Archive{}, fmt.Errorf("read apt sources: %w", err)
		}
		if strings.HasSuffix(name, ".sources") {
			all = append(all, parseDeb822(string(text))...)
		} else if strings.HasSuffix(name, ".list") {
			all = append(all, parseOneLine(string(text))...)
		}
	}
	return chooseArchive(all)
}

// hostSource is one source of the machine: where, and which suites.
type hostSource struct{ uri, suites string }

func chooseArchive(all []hostSource) (Archive, error) {
	var a Archive
	for _, s := range all {
		uri := strings.TrimSuffix(s.uri, "/")
		switch {
		case !strings.HasPrefix(uri, "http://") && !strings.HasPrefix(uri, "https://"):
		case strings.HasSuffix(uri, "/debian-security") && a.Security == "":
			a.Security = uri
		case strings.HasSuffix(uri, "/debian") && a.Main == "":
			a.Main = uri
		}
	}
	if a.Main == "" {
		return a, errors.New("this machine's apt configuration names no Debian archive")
	}
	if a.Security == "" {
		a.Security = strings.TrimSuffix(a.Main, "/debian") + "/debian-security"
	}
	return a, nil
}

func parseDeb822(text string) []hostSource {
	var out []hostSource
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		var s hostSource
		binary, enabled := false, true
		for line := range strings.Lines(paragraph) {
			key, value, ok := strings.Cut(line, ":")
			if !ok || strings.HasPrefix(line, "#") {
				continue
			}
			value = strings.TrimSpace(value)
			switch strings.ToLower(key) {
			case "types":
				binary = slices.Contains(strings.Fields(value), "deb")
			case "uris":
				s.uri, _, _ = strings.Cut(value, " ")
			case "suites":
				s.suites = value
			case "enabled":
				enabled = !strings.EqualFold(value, "no") && !strings.EqualFold(value, "false")
			}
		}
		if binary && enabled && s.uri != "" {
			out = append(out, s)
		}
	}
	return out
}

func parseOneLine(text string) []hostSource {
	var out []hostSource
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		rest, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "deb ")
		if !ok {
			continue
		}
		rest = strings.TrimSpace(rest)
		if strings.HasPrefix(rest, "[") {
			_, rest, _ = strings.Cut(rest, "]")
		}
		if fields := strings.Fields(rest); len(fields) >= 2 {
			out = append(out, hostSource{fields[0], fields[1]})
		}
	}
	return out
}

// EnsurePackages installs the Debian packages that are missing on this machine and logs which. It needs root.
func EnsurePackages(ctx context.Context, log *slog.Logger, names ...string) error {
	var missing []string
	for _, name := range names {
		status, err := output(ctx, "", "dpkg-query", "-W", "-f=${db:Status-Abbrev}", name)
		if err != nil || !strings.HasPrefix(status, "ii") {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	log.Info("installing packages on this machine", "packages", missing)
	args := append([]string{"-o", "DPkg::Lock::Timeout=300", "install", "-y", "--no-install-recommends", "--"}, missing...)
	if _, err := output(ctx, "", "apt-get", args...); err != nil {
		if _, err := output(ctx, "", "apt-get", "-o", "DPkg::Lock::Timeout=300", "update"); err != nil {
			return fmt.Errorf("install %v: %w", missing, err)
		}
		if _, err := output(ctx, "", "apt-get", args...); err != nil {
			return fmt.Errorf("install %v: %w", missing, err)
		}
	}
	return nil
}
