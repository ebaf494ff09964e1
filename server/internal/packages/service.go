// Package packages makes installation packages into files: one file that installs an application offline, or that brings
// the agent onto a fresh machine and enrols it.
//
// It guarantees: nothing is handed out of an update that is gated, recalled, declined or not readable, or whose agreements
// nobody accepted, at the moment of the download; a file installs exactly the bytes whose SHA-256 the verified feed signed,
// which it checks itself before it installs anything; building is pure: the same files give the same bytes.
//
// It decides nothing about devices (package decide does) and keeps no files.
package packages

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"assent/catalog"
	"assent/client"
	"assent/content"
	"assent/fault"
	"assent/fleet"
	"assent/server/internal/auth"
)

// Book keeps packages and says what may be handed out; *decide.Service is one.
type Book interface {
	Packages(ctx context.Context, who auth.Actor) (client.List[client.PackageRow], error)
	Package(ctx context.Context, who auth.Actor, ref string) (client.PackageRow, error)
	CreatePackage(ctx context.Context, who auth.Actor, r client.PackageRequest) (client.PackageRow, error)
	// CreateAgentPackage makes a package of a release of the agent that lies on the server.
	CreateAgentPackage(ctx context.Context, who auth.Actor, r client.PackageRequest, agent catalog.Release) (client.PackageRow, error)
	DeletePackage(ctx context.Context, who auth.Actor, ref string) (client.Act, error)
	// MayHandOut refuses who may not have the file of a package.
	MayHandOut(ctx context.Context, who auth.Actor, row client.PackageRow) error
}

// Files opens a payload of a feed by its digest; *mirror.Mirror is one.
type Files interface {
	Open(ctx context.Context, sha256 string) (content.File, error)
}

// Tokens makes enrolment tokens; *roster.Service is one.
type Tokens interface {
	CreateToken(ctx context.Context, who auth.Actor, r client.TokenRequest) (client.TokenRow, error)
}

// Config is what New needs. Dir may be empty: then only feeds have the agent.
type Config struct {
	Book   Book
	Files  Files
	Tokens Tokens
	Dir    string // where an administrator may put the agent's Debian packages
	Server string // where devices find the server: https://host:port
	CA     string // SHA-256 of its certificate authority
	Log    *slog.Logger
}

// Service makes packages. It is safe for concurrent use.
type Service struct {
	book       Book
	files      Files
	tokens     Tokens
	dir        string
	server, ca string
	log        *slog.Logger
}

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Book == nil || c.Files == nil || c.Tokens == nil || c.Server == "" {
		return nil, errors.New("packages: a book, files, tokens and the server's address are needed")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{book: c.Book, files: c.Files, tokens: c.Tokens, dir: c.Dir, server: c.Server, ca: c.CA, log: c.Log}, nil
}

// Packages lists the installation packages, the newest first.
func (s *Service) Packages(ctx context.Context, who auth.Actor) (client.List[client.PackageRow], error) {
	list, err := s.book.Packages(ctx, who)
	for i := range list.Items {
		list.Items[i] = s.withLocal(list.Items[i])
	}
	return list, err
}

// Package shows an installation package.
func (s *Service) Package(ctx context.Context, who auth.Actor, ref string) (client.PackageRow, error) {
	row, err := s.book.Package(ctx, who, ref)
	if err != nil {
		return row, err
	}
	return s.withLocal(row), nil
}

// CreatePackage makes an installation package.
func (s *Service) CreatePackage(ctx context.Context, who auth.Actor, r client.PackageRequest) (client.PackageRow, error) {
	if !r.Agent {
		return s.book.CreatePackage(ctx, who, r)
	}
	if r.Update != "" {
		return client.PackageRow{}, fault.New(fault.Invalid, "package_twice", "Name an update or ask for the agent that lies on the server, not both.").On("update")
	}
	all, err := s.locals()
	if err != nil {
		return client.PackageRow{}, err
	}
	release, err := newest(all)
	if err != nil {
		return client.PackageRow{}, err
	}
	row, err := s.book.CreateAgentPackage(ctx, who, r, release)
	if err != nil {
		return row, err
	}
	return s.withLocal(row), nil
}

// DeletePackage deletes an installation package.
func (s *Service) DeletePackage(ctx context.Context, who auth.Actor, ref string) (client.Act, error) {
	return s.book.DeletePackage(ctx, who, ref)
}

// Download builds the file of a package: the vendor's own Debian package where that is all of it, else a script with an
// archive behind it. The caller closes Body.
func (s *Service) Download(ctx context.Context, who auth.Actor, ref string, r client.PackageDownload) (client.Download, error) {
	none := client.Download{}
	row, err := s.Package(ctx, who, ref)
	if err != nil {
		return none, err
	}
	if err := s.book.MayHandOut(ctx, who, row); err != nil {
		return none, err
	}
	if row.Refused != nil {
		return none, fault.New(fault.Conflict, row.Refused.Code, "%s", row.Refused.Message)
	}
	if r.TTL != 0 && !row.Enrols {
		return none, fault.New(fault.Invalid, "ttl_useless", "Only the agent's own package enrols machines, so only that has a time to live.").On("ttl")
	}
	build, err := pick(row, r.Arch)
	if err != nil {
		return none, err
	}
	payloads, err := s.open(ctx, row, build)
	if err != nil {
		return none, err
	}
	d, err := s.build(ctx, who, row, build, r, payloads)
	if err != nil {
		return none, errors.Join(err, closeAll(payloads))
	}
	s.log.Info("download of a package", "by", who.Name, "package", row.ID, "file", d.Name, "size", d.Size, "token", d.Token)
	return d, nil
}

// pick finds the build for an architecture, which may only be left open where there is one.
func pick(row client.PackageRow, arch string) (client.PackageBuild, error) {
	var have []string
	for _, b := range row.Builds {
		if b.Arch == arch || len(row.Builds) == 1 && (arch == "" || b.Arch == "all") {
			return b, nil
		}
		have = append(have, b.Arch)
	}
	switch {
	case len(have) == 0:
		return client.PackageBuild{}, fault.New(fault.Conflict, "no_payload", "Nothing of %q can be downloaded: it, or one of its prerequisites, has no file.", row.Name)
	case arch == "":
		return client.PackageBuild{}, fault.New(fault.Invalid, "arch_missing", "%q has files for %s; say for which (--arch).", row.Name, strings.Join(have, ", ")).On("arch")
	}
	return client.PackageBuild{}, fault.New(fault.NotFound, "no_payload", "%q has no file for %.64q; it has %s.", row.Name, arch, strings.Join(have, ", ")).On("arch")
}

// open opens all files of a build, so that what is missing is said before the first byte is sent.
func (s *Service) open(ctx context.Context, row client.PackageRow, b client.PackageBuild) ([]content.File, error) {
	var out []content.File
	for _, f := range b.Files {
		var opened content.File
		var err error
		if isLocal(row) {
			opened, err = s.openLocal(f.Item)
		} else {
			opened, err = s.files.Open(ctx, f.SHA256)
		}
		if err == nil && opened.Size() != f.Size {
			err = errors.Join(content.ErrMismatch, opened.Close())
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open %s %s of a package: %w", f.Name, f.Version, err), closeAll(out))
		}
		out = append(out, opened)
	}
	return out, nil
}

func closeAll(files []content.File) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// build puts the file together.
func (s *Service) build(ctx context.Context, who auth.Actor, row client.PackageRow, b client.PackageBuild, r client.PackageDownload, payloads []content.File) (client.Download, error) {
	d := client.Download{Name: b.File}
	if len(payloads) == 1 && strings.HasSuffix(b.File, ".deb") {
		d.Size, d.SHA256, d.Body = b.Files[0].Size, b.Files[0].SHA256, payloads[0]
		return d, nil
	}
	k := kit{Title: row.Name, Feed: row.Feed, Build: b}
	if row.Enrols {
		token, err := s.token(ctx, who, row, b, r)
		if err != nil {
			return d, err
		}
		k.Enrol = &token
		d.Name, d.Token, d.Until = "assent-enrol-"+slug(token.Group)+".sh", token.ID, token.Until
	}
	var err error
	d.Body, d.Size, err = assemble(k, payloads)
	return d, err
}

// token makes the token that the agent's package carries. Its note in the ledger says which file it is for.
func (s *Service) token(ctx context.Context, who auth.Actor, row client.PackageRow, b client.PackageBuild, r client.PackageDownload) (enrolment, error) {
	agent := b.Files[len(b.Files)-1]
	made, err := s.tokens.CreateToken(ctx, who, client.TokenRequest{Group: string(orRoot(row.GroupID)), Uses: 1, TTL: r.TTL,
		Note: fmt.Sprintf("download of the package %s: %s %s %s, SHA-256 %s", row.ID, agent.Name, agent.Version, agent.Arch, agent.SHA256)})
	if err != nil {
		return enrolment{}, err
	}
	return enrolment{Server: s.server, CA: s.ca, Group: made.Group, ID: made.ID, Token: made.Text, Until: made.Expires}, nil
}

func orRoot(g fleet.GroupID) fleet.GroupID {
	if g == "" {
		return fleet.Root
	}
	return g
}

// slug makes a name a part of a file's name.
func slug(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	if len(words) == 0 {
		return "machine"
	}
	return strings.Join(slices.Clip(words), "-")
}
