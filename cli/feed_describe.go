package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"assent/catalog"
	"assent/fault"
	"assent/feed"
)

// description is a release in flags.
type description struct {
	file                                        string
	application, version, title, summary        string
	class, kind, payload, severity, restart     string
	minServer, minAgent, notes, released, fixed string
	platforms, cves, appliesTo, requires        []string
	exploited                                   []string
	supersedes, agreements, titles              []string
	removable, exclusive                        bool
	probe                                       string
	patience                                    int
}

func (d *description) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&d.file, "manifest", "", "file with the description as JSON, instead of all other flags")
	f.StringVar(&d.application, "application", "", "name of the application; the source package's by default")
	f.StringVar(&d.version, "version", "", "version of the release; the source package's by default")
	f.StringVar(&d.title, "title", "", "name for people")
	f.StringVar(&d.summary, "summary", "", "one line about it")
	f.StringVar(&d.class, "class", "", "managed, component or content; managed by default")
	f.StringVar(&d.kind, "kind", "", "full, patch or data; full by default, data for content")
	f.StringVar(&d.payload, "payload", "", "deb, rpm, tar or content; what the files are by default")
	f.StringVar(&d.severity, "severity", "", "critical, high, medium, low or unrated")
	f.StringVar(&d.restart, "restart", "none", "what must be restarted: none, service or device")
	f.StringVar(&d.minServer, "min-server-version", "", "the oldest server that may approve it")
	f.StringVar(&d.minAgent, "min-agent-version", "", "the oldest agent that may install it")
	f.StringVar(&d.notes, "notes-file", "", "file with the release notes, plain text")
	f.StringVar(&d.released, "released", "", "when it was released (RFC 3339); now by default")
	f.StringSliceVar(&d.platforms, "platform", nil, "os/distribution/version/architecture, parts may be empty: linux/debian/12/amd64, linux///amd64; one for all files, or one for each in order")
	f.StringSliceVar(&d.cves, "cve", nil, "a vulnerability that it fixes (may be given again)")
	f.StringSliceVar(&d.exploited, "known-exploited", nil, "one of its vulnerabilities that is known to be exploited (may be given again)")
	f.StringArrayVar(&d.appliesTo, "applies-to", nil, "only on installed versions like '>=1.0, <2.0' (may be given again)")
	f.StringArrayVar(&d.requires, "requires", nil, "prerequisite like database>=3.1 (may be given again)")
	f.StringSliceVar(&d.supersedes, "supersedes", nil, "version that it replaces, besides older ones (may be given again)")
	f.BoolVar(&d.exclusive, "exclusive", false, "installs alone")
	f.StringArrayVar(&d.agreements, "agreement", nil, "licence to be accepted: id:language=file (may be given again)")
	f.StringArrayVar(&d.titles, "agreement-title", nil, "its title: id=title (may be given again)")
	f.BoolVar(&d.removable, "removable", true, "can be taken back from devices when it is declined")
	f.StringVar(&d.fixed, "not-removable", "", "cannot be taken back, and why")
	f.StringVar(&d.probe, "probe", "", "health check: unit:NAME, process:PATH, tcp:PORT, http:PORT/PATH[=STATUS] or file:PATH=SHA256")
	f.IntVar(&d.patience, "probe-timeout", 0, "seconds for all attempts of the probe; 30 by default")
	for flag, values := range map[string][]string{"class": {"managed", "component", "content"}, "kind": {"full", "patch", "data"}, "payload": {"deb", "rpm", "tar", "content"},
		"severity": {"critical", "high", "medium", "low", "unrated"}, "restart": {"none", "service", "device"}, "probe": {"unit:", "process:", "tcp:", "http:", "file:"}} {
		_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
}

// manifest is the release with its items, and the agreement texts by digest. What it says is for feed.Encode to judge.
func (d *description) manifest(set *pflag.FlagSet, files []given) (feed.Manifest, map[string]string, error) {
	texts := map[string]string{}
	m, err := d.base(set, texts)
	if err != nil {
		return m, nil, err
	}
	if err := d.guess(&m, files); err != nil {
		return m, nil, err
	}
	if len(m.Items) > 0 {
		return m, texts, nil // a manifest that names its files by digest
	}
	m.Items, err = d.items(m, files)
	return m, texts, err
}

// base is what flags or the file say.
func (d *description) base(set *pflag.FlagSet, texts map[string]string) (feed.Manifest, error) {
	if d.file == "" {
		return d.fromFlags(texts)
	}
	var other string
	set.Visit(func(f *pflag.Flag) {
		if !slices.Contains([]string{"manifest", "platform", "json", "utc", "server", "ca"}, f.Name) && other == "" {
			other = f.Name
		}
	})
	if other != "" {
		return feed.Manifest{}, usage("--manifest says it all; --%s does not go with it", other)
	}
	return manifestFile(d.file)
}

func (d *description) fromFlags(texts map[string]string) (feed.Manifest, error) {
	m := feed.Manifest{Application: d.application, Version: d.version, Title: d.title, Summary: d.summary, Class: catalog.Class(d.class), Kind: catalog.ReleaseKind(d.kind),
		Payload: catalog.Format(d.payload), Severity: catalog.Severity(d.severity), Restart: catalog.Restart(d.restart), MinServer: d.minServer, MinAgent: d.minAgent,
		CVEs: d.cves, Exploited: d.exploited, AppliesTo: d.appliesTo, Supersedes: d.supersedes, Exclusive: d.exclusive, Removal: catalog.Removal{Removable: d.removable && d.fixed == "", Reason: d.fixed}}
	if d.notes != "" {
		b, err := os.ReadFile(d.notes)
		if err != nil {
			return m, fault.New(fault.Invalid, "file_unreadable", "The release notes cannot be read: %v.", err).On("notes-file")
		}
		m.Notes = strings.ReplaceAll(string(b), "\r\n", "\n")
	}
	if d.released != "" {
		t, err := time.Parse(time.RFC3339, d.released)
		if err != nil {
			return m, usage("--released is a time like 2026-11-01T12:00:00Z, not %q", clean(d.released))
		}
		m.Released = t.UTC()
	}
	for _, s := range d.requires {
		name, version, ok := strings.Cut(s, ">=")
		if !ok {
			return m, usage("--requires is like database>=3.1, not %q", clean(s))
		}
		m.Requires = append(m.Requires, catalog.Requirement{Application: strings.TrimSpace(name), Version: strings.TrimSpace(version)})
	}
	var err error
	if m.Agreements, err = d.readAgreements(texts); err != nil {
		return m, err
	}
	m.Probe, err = d.readProbe()
	return m, err
}

// guess fills in what the files say themselves.
func (d *description) guess(m *feed.Manifest, files []given) error {
	if m.Payload == "" {
		m.Payload = files[0].format
		if m.Class == catalog.Content || m.Payload == "" {
			m.Payload = catalog.ContentFile
		}
	}
	if m.Class == "" {
		m.Class = catalog.Managed
		if m.Payload == catalog.ContentFile {
			if d.payload == "" {
				return usage("%s is neither a package nor an archive; if it is content say --class content", clean(files[0].name))
			}
			m.Class = catalog.Content
		}
	}
	if m.Kind == "" {
		m.Kind = catalog.Full
		if m.Class == catalog.Content {
			m.Kind = catalog.Data
		}
	}
	if m.Restart == "" {
		m.Restart = catalog.RestartNone
	}
	for _, f := range files {
		if m.Payload != catalog.ContentFile && f.format != m.Payload {
			return usage("%s is no %s payload", clean(f.name), clean(string(m.Payload)))
		}
	}
	if isPackage(m.Payload) {
		return guessPackages(m, files)
	}
	if m.Application == "" || m.Version == "" {
		return usage("give --application and --version; only packages say them themselves")
	}
	return nil
}

// isPackage reports whether files in a format say their name, version and architecture themselves.
func isPackage(f catalog.Format) bool { return f == catalog.Deb || f == catalog.RPM }

// guessPackages takes name and version from the source package, which must be the same for all files.
func guessPackages(m *feed.Manifest, files []given) error {
	first := files[0].pkg
	for _, f := range files {
		if f.pkg.Source != first.Source || f.pkg.SourceVersion != first.SourceVersion {
			return usage("%s is of %s %s and %s of %s %s; a release has the packages of one source package", clean(files[0].name), clean(first.Source), clean(first.SourceVersion), clean(f.name), clean(f.pkg.Source), clean(f.pkg.SourceVersion))
		}
	}
	if m.Application == "" {
		m.Application = first.Source
	}
	if m.Version == "" {
		m.Version = first.SourceVersion
	}
	if m.Application != first.Source || m.Version != first.SourceVersion {
		return usage("the packages are of %s %s, not of %s %s: devices know them by that name", clean(first.Source), clean(first.SourceVersion), clean(m.Application), clean(m.Version))
	}
	if m.Summary == "" {
		m.Summary = first.Summary
	}
	return nil
}

func (d *description) items(m feed.Manifest, files []given) ([]feed.Item, error) {
	if n := len(d.platforms); n > 1 && n != len(files) {
		return nil, usage("there are %d platforms for %d files; give one for all of them, or one for each in order", n, len(files))
	}
	var out []feed.Item
	for i, f := range files {
		p := catalog.Platform{OS: "linux"}
		if arch := catalog.DpkgArch(f.pkg.Arch); arch != "all" {
			p.Arch = arch
		}
		if len(d.platforms) > 0 {
			var err error
			if p, err = platform(d.platforms[min(i, len(d.platforms)-1)]); err != nil {
				return nil, err
			}
		}
		it := feed.Item{Name: m.Application, Arch: p.String(), Version: m.Version, Size: f.size, SHA256: f.sha256, Platform: p}
		if isPackage(m.Payload) {
			it.Name, it.Arch, it.Version, it.Control = f.pkg.Package, f.pkg.Arch, f.pkg.Version, f.pkg.Control
		}
		if i > 0 && m.Payload.Side() && slices.ContainsFunc(out, func(o feed.Item) bool { return o.Arch == it.Arch }) {
			return nil, usage("two files are for the platform %s; say which is for which with --platform for each", clean(it.Arch))
		}
		out = append(out, it)
	}
	return out, nil
}

func platform(s string) (catalog.Platform, error) {
	parts := strings.Split(s, "/")
	if len(parts) > 4 {
		return catalog.Platform{}, usage("--platform is os/distribution/version/architecture, not %q", clean(s))
	}
	parts = append(parts, "", "", "")
	return catalog.Platform{OS: parts[0], Distribution: parts[1], Version: parts[2], Arch: parts[3]}, nil
}

// readAgreements reads the texts, and notes their files by digest.
func (d *description) readAgreements(texts map[string]string) ([]catalog.Agreement, error) {
	var out []catalog.Agreement
	for _, s := range d.agreements {
		what, file, ok := strings.Cut(s, "=")
		id, language, found := strings.Cut(what, ":")
		if !ok || !found {
			return nil, usage("--agreement is id:language=file, like eula:en=EULA.txt, not %q", clean(s))
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fault.New(fault.Invalid, "file_unreadable", "The agreement cannot be read: %v.", err).On("agreement")
		}
		sum := sha256.Sum256(b)
		text := catalog.AgreementText{Language: language, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(b))}
		texts[text.SHA256] = file
		i := slices.IndexFunc(out, func(a catalog.Agreement) bool { return a.ID == id })
		if i < 0 {
			i, out = len(out), append(out, catalog.Agreement{ID: id, Title: id})
		}
		out[i].Texts = append(out[i].Texts, text)
	}
	for i := range out {
		slices.SortFunc(out[i].Texts, func(a, b catalog.AgreementText) int { return strings.Compare(a.Language, b.Language) })
	}
	for _, s := range d.titles {
		id, title, ok := strings.Cut(s, "=")
		i := slices.IndexFunc(out, func(a catalog.Agreement) bool { return a.ID == id })
		if !ok || i < 0 {
			return nil, usage("--agreement-title is id=title for an id that --agreement gives, not %q", clean(s))
		}
		out[i].Title = title
	}
	return out, nil
}

// readProbe reads the short form of a health check.
func (d *description) readProbe() (*catalog.Probe, error) {
	if d.probe == "" {
		if d.patience != 0 {
			return nil, usage("--probe-timeout goes with --probe")
		}
		return nil, nil
	}
	kind, rest, _ := strings.Cut(d.probe, ":")
	p := &catalog.Probe{Type: catalog.ProbeType(kind), Timeout: d.patience}
	wrong := usage("--probe is unit:NAME, process:PATH, tcp:PORT, http:PORT/PATH[=STATUS] or file:PATH=SHA256, not %q", clean(d.probe))
	var err error
	switch p.Type {
	case catalog.ProbeUnit:
		if p.Unit = rest; path.Ext(rest) == "" {
			p.Unit += ".service"
		}
	case catalog.ProbeProcess:
		p.Path = rest
	case catalog.ProbeTCP:
		p.Port, err = strconv.Atoi(rest)
	case catalog.ProbeFile:
		p.Path, p.SHA256, _ = strings.Cut(rest, "=")
	case catalog.ProbeHTTP:
		port, where, _ := strings.Cut(rest, "/")
		if i := strings.LastIndexByte(where, '='); i >= 0 {
			if status, bad := strconv.Atoi(where[i+1:]); bad == nil {
				p.Status, where = status, where[:i]
			}
		}
		p.Path = "/" + where
		p.Port, err = strconv.Atoi(port)
	default:
		return nil, wrong
	}
	if err != nil {
		return nil, wrong
	}
	return p, nil
}
