package dnf

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"assent/agent/internal/command"
	"assent/catalog"
	"assent/pkgver"
	"assent/trust/payload"
	"assent/wire"
)

// queryDeadline bounds what only reads.
const queryDeadline = 2 * time.Minute

// installed is one package of rpm's database.
type installed struct {
	Name, Arch, Version   string
	Source, SourceVersion string
}

// database is what rpm's database held.
type database struct {
	Packages []installed     // sorted by name, architecture, then version, oldest first
	Odd      int             // entries that could not be read
	Broken   string          // what an interrupted run left, in words; empty when nothing
	twice    map[string]bool // the packages that are there in two versions and may not be, by nevra
	stamp    string          // of its files; empty: nothing is known yet
}

// The files of rpm's database, in the places and formats that it has had.
var databaseFiles = []string{
	"var/lib/rpm/rpmdb.sqlite", "var/lib/rpm/rpmdb.sqlite-wal", "usr/lib/sysimage/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/rpmdb.sqlite-wal",
	"var/lib/rpm/Packages", "var/lib/rpm/Packages.db", "usr/lib/sysimage/rpm/Packages.db",
}

// stamp changes when rpm's database does; empty if it lies nowhere.
func (d *Dnf) stamp() string {
	var b strings.Builder
	for _, name := range databaseFiles {
		info, err := os.Stat(filepath.Join(d.cfg.Root, name))
		if err != nil {
			continue
		}
		inode, changed := uint64(0), int64(0)
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			inode, changed = st.Ino, st.Ctim.Nano()
		}
		fmt.Fprintln(&b, name, info.Size(), info.ModTime().UnixNano(), changed, inode)
	}
	if b.Len() == 0 {
		return ""
	}
	return wire.Digest([]byte(b.String()))
}

const queryFormat = `%{NAME}\t%{EPOCHNUM}\t%{VERSION}-%{RELEASE}\t%{ARCH}\t%{SOURCERPM}\n`

// query reads rpm's database.
func (d *Dnf) query(ctx context.Context) (database, error) {
	stamp := d.stamp() // before reading: a change meanwhile shows at the next look
	res, err := d.cfg.Command.Run(ctx, command.Call{Tool: command.RPM, Deadline: queryDeadline, Limit: 64 << 20,
		Args: []string{"--query", "--all", "--nodigest", "--nosignature", "--queryformat", queryFormat}})
	if err == nil && res.Code != 0 {
		err = fmt.Errorf("exit code %d: %.300s", res.Code, plain(string(res.Stderr), 300))
	}
	if err == nil && res.Truncated {
		err = errors.New("its answer is too long")
	}
	if err != nil {
		return database{}, fmt.Errorf("read rpm's database: %w", err)
	}
	db := parseQuery(string(res.Stdout))
	db.stamp = stamp
	return db, d.findDuplicates(ctx, &db)
}

// findDuplicates looks for what an interrupted run left: packages that are there in two versions, though they may not. Only dnf
// knows which may, so it is asked where there are any.
func (d *Dnf) findDuplicates(ctx context.Context, db *database) error {
	if !db.doubled() {
		return nil
	}
	res, err := d.cfg.Command.Run(ctx, command.Call{Tool: command.DNF, Deadline: queryDeadline, Args: append(options(), "check", "--duplicates")})
	if err != nil {
		return fmt.Errorf("ask dnf for duplicates: %w", err)
	}
	if res.Code == 0 {
		return nil
	}
	out := string(res.Stdout) + "\n" + string(res.Stderr)
	pairs := parseDuplicates(out)
	if len(pairs) == 0 {
		db.Broken = "dnf cannot check its packages: " + words(out)
		return nil
	}
	db.twice = map[string]bool{}
	var list []string
	for _, p := range pairs {
		db.twice[p[0]], db.twice[p[1]] = true, true
		list = append(list, p[0]+" and "+p[1])
	}
	db.Broken = plain(fmt.Sprintf("a run of dnf was interrupted, so two versions are installed at once: %s. An order for one of them repairs it; by hand: dnf remove --duplicates",
		strings.Join(list[:min(len(list), 5)], ", ")), 900)
	return nil
}

// parseQuery reads rpm's answer. Keys that rpm keeps as packages are none.
func parseQuery(text string) database {
	var db database
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) == 5 && f[0] == "gpg-pubkey" {
			continue
		}
		if len(f) != 5 || len(db.Packages) >= wire.MaxPackages {
			db.Odd++
			continue
		}
		p := installed{Name: f[0], Arch: f[3], Version: withEpoch(f[1], f[2])}
		p.Source, p.SourceVersion = p.Name, p.Version
		if name, version, ok := payload.SourceOf(f[4]); ok {
			p.Source, p.SourceVersion = name, withEpoch(f[1], version)
		}
		if checkName(p.Name, p.Arch, p.Version) != nil || checkName(p.Source, p.Arch, p.SourceVersion) != nil {
			db.Odd++
			continue
		}
		db.Packages = append(db.Packages, p)
	}
	slices.SortFunc(db.Packages, func(a, b installed) int {
		if c := strings.Compare(a.Name+"\x00"+a.Arch, b.Name+"\x00"+b.Arch); c != 0 {
			return c
		}
		return order(a.Version, b.Version)
	})
	return db
}

func withEpoch(epoch, version string) string {
	if epoch == "" || epoch == "0" {
		return version
	}
	return epoch + ":" + version
}

// order of two versions; what cannot be read comes first.
func order(a, b string) int {
	c, err := pkgver.Compare(Ecosystem, a, b)
	if err != nil {
		return strings.Compare(a, b)
	}
	return c
}

// named are the packages with a name, whatever their architecture.
func (db database) named(name string) []installed {
	var out []installed
	for _, p := range db.Packages {
		if p.Name == name {
			out = append(out, p)
		}
	}
	return out
}

// copies are the packages with a name and an architecture, oldest first; more than one is a duplicate or of a kind that may be
// there in several versions.
func (db database) copies(name, arch string) []installed {
	return slices.DeleteFunc(db.named(name), func(p installed) bool { return p.Arch != arch })
}

// has reports whether exactly an item's version is there, alone or not.
func (db database) has(it catalog.Item) bool {
	return slices.ContainsFunc(db.copies(it.Name, it.Arch), func(p installed) bool { return p.Version == it.Version })
}

// newest is the newest package with a name.
func (db database) newest(name string) (installed, bool) {
	all := db.named(name)
	if len(all) == 0 {
		return installed{}, false
	}
	return slices.MaxFunc(all, func(a, b installed) int { return order(a.Version, b.Version) }), true
}

// doubled reports whether some package is there more than once.
func (db database) doubled() bool {
	for i := 1; i < len(db.Packages); i++ {
		if a, b := db.Packages[i-1], db.Packages[i]; a.Name == b.Name && a.Arch == b.Arch {
			return true
		}
	}
	return false
}

// What names may consist of. dnf takes globs, so this is the wall against them too.
var (
	nameSyntax = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._+-]{0,254}$`)
	archSyntax = regexp.MustCompile(`^[a-z0-9_]{1,32}$`)
	digest     = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// checkName refuses what could be taken for anything but one version of one package.
func checkName(name, arch, version string) error {
	if !nameSyntax.MatchString(name) || !archSyntax.MatchString(arch) {
		return fmt.Errorf("%.80q (%.40q) is not the name of a package", name, arch)
	}
	if err := pkgver.Check(Ecosystem, version); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// nevra names one package as dnf does, and as it cannot take for anything else.
func nevra(name, arch, version string) string { return name + "-" + version + "." + arch }
