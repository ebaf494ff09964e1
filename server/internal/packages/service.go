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
	"log/slog"

	"assent/client"
	"assent/content"
	"assent/fault"
	"assent/server/internal/auth"
)

// Book keeps packages and says what may be handed out; *decide.Service is one.
type Book interface {
	Packages(ctx context.Context, who auth.Actor) (client.List[client.PackageRow], error)
	Package(ctx context.Context, who auth.Actor, ref string) (client.PackageRow, error)
	CreatePackage(ctx context.Context, who auth.Actor, r client.PackageRequest) (client.PackageRow, error)
	DeletePackage(ctx context.Context, who auth.Actor, ref string) (client.Act, error)
}

// Files opens a payload of a feed by its digest; *mirror.Mirror is one.
type Files interface {
	Open(ctx context.Context, sha256 string) (content.File, error)
}

// Tokens makes enrolment tokens; *roster.Service is one.
type Tokens interface {
	CreateToken(ctx context.Context, who auth.Actor, r client.TokenRequest) (client.TokenRow, error)
}

// Config is what New needs.
type Config struct {
	Book   Book
	Files  Files
	Tokens Tokens
	Log    *slog.Logger
}

// Service makes packages. It is safe for concurrent use.
type Service struct {
	Book
	files  Files
	tokens Tokens
	log    *slog.Logger
}

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Book == nil || c.Files == nil || c.Tokens == nil {
		return nil, errors.New("packages: a book, files and tokens are needed")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{Book: c.Book, files: c.Files, tokens: c.Tokens, log: c.Log}, nil
}

// Download builds the file of a package.
func (s *Service) Download(context.Context, auth.Actor, string, client.PackageDownload) (client.Download, error) {
	return client.Download{}, fault.New(fault.Unavailable, "download_off", "This server cannot build files of packages yet.")
}
