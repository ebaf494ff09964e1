package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"assent/content"
	"assent/content/dir"
	"assent/content/s3"
)

// Where files may be kept.
const (
	contentInDir = "dir"
	contentInS3  = "s3"
)

// contentDir is the place of files in the data directory.
const contentDir = "content"

// files is an open store of files.
type files interface {
	content.Store
	Where() string // for people
	Close() error
}

// openContent opens the store of a kind; data is the data directory.
func (c Config) openContent(ctx context.Context, kind string, data *os.Root) (files, error) {
	if kind == contentInS3 {
		return s3.Open(ctx, c.bucket())
	}
	if err := data.Mkdir(contentDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the directory of files: %w", err)
	}
	root, err := data.OpenRoot(contentDir)
	if err != nil {
		return nil, fmt.Errorf("open the directory of files: %w", err)
	}
	s, err := dir.Open(root, dir.DefaultReserve)
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return directory{s, root}, nil
}

// contentPlace says for people where files are kept.
func (c Config) contentPlace() string {
	if c.Content.Kind == contentInS3 {
		return c.bucket().Where()
	}
	return "directory " + filepath.Join(c.Data, contentDir)
}

// directory is a store in a directory, together with that.
type directory struct {
	*dir.Store
	root *os.Root
}

// Where says for people which directory it is.
func (d directory) Where() string { return "directory " + d.root.Name() }

// Close closes the directory.
func (d directory) Close() error { return d.root.Close() }

// bucket is the bucket's configuration, with this build's version.
func (c Config) bucket() s3.Config {
	b := c.Content.S3
	return s3.Config{Endpoint: b.Endpoint, Bucket: b.Bucket, Prefix: b.Prefix, Region: b.Region, Addressing: b.Addressing, CAFile: b.CAFile,
		CredentialsFile: b.CredentialsFile, Profile: b.Profile, InstanceRole: b.InstanceRole, Version: c.Version}
}
