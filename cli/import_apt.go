package cli

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"assent/migrate"
)

// aptSources is where the settings of apt are read from.
type aptSources struct {
	preferences, holds, conf []string
}

func (a *app) importApt() *cobra.Command {
	var from aptSources
	c := &cobra.Command{
		Use: "apt [ROOT]", Short: "Pins, holds and unattended-upgrades of a Debian system",
		Long: `Carry over apt's preferences (pins), held packages and the settings of unattended-upgrades: of the system at ROOT, / by default, or of single
files. What keeps versions out becomes declines, a pin to a version the approval of that one with a decline of later ones, unattended-upgrades a task.
What orders archives among each other stays with apt, which the agent asks.`,
		Example: `  assent import apt
  assent import apt /srv/roots/web1 --group Web
  assent import apt --preferences pins.pref --holds holds.txt --group Web -o fleet.yaml
  ssh web1 dpkg --get-selections | assent import apt --holds - --group Web`,
		Args: args(0, 1, ""),
	}
	i := a.addImport(c, true)
	fs := c.Flags()
	fs.StringArrayVar(&from.preferences, "preferences", nil, "a file of apt_preferences(5), instead of a system")
	fs.StringArrayVar(&from.holds, "holds", nil, "held packages: dpkg's status file, or what dpkg --get-selections or apt-mark showhold print; - is the standard input")
	fs.StringArrayVar(&from.conf, "apt-conf", nil, "a file of apt.conf(5) with the settings of unattended-upgrades")
	c.RunE = func(cmd *cobra.Command, roots []string) error {
		single := len(from.preferences)+len(from.holds)+len(from.conf) > 0
		if single && len(roots) > 0 {
			return usage("name a system or single files, and not both")
		}
		if single {
			return i.aptFiles(cmd.Context(), from)
		}
		return i.aptRoot(cmd.Context(), slices.Concat(roots, []string{"/"})[0])
	}
	return c
}

// aptFiles reads single files.
func (i *importing) aptFiles(ctx context.Context, from aptSources) error {
	var all migrate.Draft
	conf := migrate.AptConf{}
	for _, kind := range []struct {
		names []string
		read  func(string, []byte) (migrate.Draft, error)
	}{
		{from.preferences, func(at string, raw []byte) (migrate.Draft, error) { return migrate.Preferences(at, raw, i.group) }},
		{from.holds, func(at string, raw []byte) (migrate.Draft, error) { return migrate.Holds(at, raw, i.group) }},
		{from.conf, func(at string, raw []byte) (migrate.Draft, error) { return migrate.Draft{}, conf.Read(at, raw) }},
	} {
		for _, name := range kind.names {
			raw, err := i.a.readSource(name)
			if err != nil {
				return err
			}
			d, err := kind.read(shownName(name), raw)
			if err != nil {
				return err
			}
			all.Merge(d)
		}
	}
	all.Merge(migrate.Unattended(conf, migrate.Archive{}, i.group))
	return i.run(ctx, all)
}

// aptRoot reads a system. It does not leave it, wherever links lead.
func (i *importing) aptRoot(ctx context.Context, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return usage("the system at %s cannot be read: %v", clean(dir), errors.Unwrap(err))
	}
	defer root.Close()
	s := aptSystem{root: root, group: i.group, conf: migrate.AptConf{}}
	for _, step := range []func() error{s.preferences, s.holds, s.unattended} {
		if err := step(); err != nil {
			return err
		}
	}
	if s.read == 0 {
		return usage("there is no apt at %s: neither etc/apt/preferences nor var/lib/dpkg/status", clean(dir))
	}
	return i.run(ctx, s.draft)
}

// aptSystem is a system that is being read.
type aptSystem struct {
	root  *os.Root
	group string
	draft migrate.Draft
	conf  migrate.AptConf
	read  int // files
}

// file reads a file; nil where there is none.
func (s *aptSystem) file(name string) ([]byte, error) {
	f, err := s.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, usage("the file %s cannot be read: %v", clean(name), errors.Unwrap(err))
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, migrate.MaxInput+1))
	if err != nil {
		return nil, usage("the file %s cannot be read: %v", clean(name), errors.Unwrap(err))
	}
	s.read++
	return raw, nil
}

// each reads a file, and those of the directory beside it that apt reads.
func (s *aptSystem) each(name string, reads func(string) bool, take func(string, []byte) error) error {
	names := []string{name}
	entries, err := fs.ReadDir(s.root.FS(), name+".d")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return usage("the directory %s cannot be read: %v", clean(name+".d"), err)
	}
	for _, e := range entries {
		if full := path.Join(name+".d", e.Name()); !e.IsDir() && reads(e.Name()) {
			names = append(names, full)
		} else if !e.IsDir() {
			s.draft.Notes = append(s.draft.Notes, migrate.Note{At: full, Kind: migrate.AsIs, Text: "apt does not read a file with such a name either."})
		}
	}
	for _, name := range names {
		raw, err := s.file(name)
		if err != nil {
			return err
		}
		if err := take(name, raw); err != nil {
			return err
		}
	}
	return nil
}

func (s *aptSystem) preferences() error {
	return s.each("etc/apt/preferences", migrate.PreferencesName, func(name string, raw []byte) error {
		d, err := migrate.Preferences(name, raw, s.group)
		s.draft.Merge(d)
		return err
	})
}

func (s *aptSystem) holds() error {
	raw, err := s.file("var/lib/dpkg/status")
	if err != nil {
		return err
	}
	d, err := migrate.Holds("var/lib/dpkg/status", raw, s.group)
	s.draft.Merge(d)
	return err
}

func (s *aptSystem) unattended() error {
	reads := func(name string) bool { return path.Ext(name) == "" || path.Ext(name) == ".conf" }
	if err := s.each("etc/apt/apt.conf", reads, s.conf.Read); err != nil {
		return err
	}
	release, err := s.file("etc/os-release")
	if err != nil {
		return err
	}
	s.draft.Merge(migrate.Unattended(s.conf, distribution(string(release)), s.group))
	return nil
}

// distribution is what os-release says of the archive that a system is from: its Origin, as Debian and Ubuntu spell it, and the codename.
func distribution(release string) (a migrate.Archive) {
	for line := range strings.SplitSeq(release, "\n") {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `"'`)
		switch {
		case key == "ID" && value != "":
			a.Origin = strings.ToUpper(value[:1]) + value[1:]
		case key == "VERSION_CODENAME":
			a.Name = value
		}
	}
	return a
}

// readSource reads a file of another product, or the standard input.
func (a *app) readSource(name string) ([]byte, error) {
	in := a.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, usage("the file %s cannot be read: %v", clean(name), errors.Unwrap(err))
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, migrate.MaxInput+1))
	if err != nil {
		return nil, usage("the file %s cannot be read: %v", clean(name), err)
	}
	return raw, nil
}
