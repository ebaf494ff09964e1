// Package s3 keeps content-addressed files in a bucket of S3-compatible storage, so that several servers share them.
//
// A file is the object named by its digest behind the prefix of the store. It is there whole or not at all: what fits into
// one part is checked in memory before the first byte of it is sent, and what is larger goes up in parts that become
// an object only when all of them came and the digest was right. Each request is signed over the SHA-256 of what it
// carries, so the storage refuses what the network changed. Putting never replaces an object that somebody else put
// meanwhile, where the storage knows conditional writes.
//
// Requests that fail for a moment are made again a few times, with growing pauses; a download that breaks goes on where
// it was. Nothing hangs: every request has a time, every download has to go on. What stays wrong is content.ErrAway or
// content.ErrRefused.
//
// It does not guarantee that a file which is removed can be read on after its download broke, and when a file was put is
// known to ten minutes only. Clocks of servers and storage may differ by hours less than the age that Sweep is given.
// Credentials appear in no error and no log.
package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/semaphore"

	"assent/content"
)

// Bounds of the store.
const (
	partSize  = 8 << 20             // bytes of a part, and of the largest file that goes up whole
	maxParts  = 10_000              // of an object, by S3
	maxSize   = partSize * maxParts // of a file: 78 GiB
	putMemory = 12 * partSize       // bytes that all files which are being put may hold
)

// Times that requests may take.
const (
	dialTime     = 10 * time.Second
	shortTime    = 30 * time.Second // without a body to speak of
	partTime     = 5 * time.Minute  // one part
	completeTime = 15 * time.Minute // some storage copies all parts then
	stallTime    = 30 * time.Second // of a download without a byte
	tries        = 5                // of a request: some four seconds with its pauses
)

// freshFor is how long a file counts as just put: putting it again does nothing then.
const freshFor = 10 * time.Minute

// Config says where the bucket is and how to get in. Endpoint and Bucket are needed.
type Config struct {
	Endpoint   string // such as https://s3.eu-central-1.amazonaws.com; http:// only where the network is trusted
	Bucket     string
	Prefix     string // of all names, such as assent/; two installations on one bucket need two
	Region     string // empty: the storage is asked
	Addressing string // how the bucket is named: path, host, or empty for what the endpoint is known for
	CAFile     string // certificates that are trusted besides the system's
	// Credentials: the keys in a file, else those in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, else the instance's role.
	CredentialsFile string // in the format of AWS's shared credentials file; nobody but its owner and group may read it
	Profile         string // in that file; "default" by default
	InstanceRole    bool   // take the role of the machine or the container, from its platform
	// Version stands in the requests.
	Version string
}

// Store is a bucket, or a prefix of one. It is safe for concurrent use, by several programs too.
type Store struct {
	core    minio.Core
	bucket  string
	prefix  string
	where   string // for people
	memory  *semaphore.Weighted
	fresh   time.Duration
	stall   time.Duration
	now     func() time.Time
	closing func()
}

var _ content.Store = (*Store)(nil)

// Open opens a bucket, and refuses one in which this program cannot put, read, list and remove.
func Open(ctx context.Context, c Config) (*Store, error) {
	s, err := connect(c)
	if err != nil {
		return nil, err
	}
	if err := s.prove(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// connect makes the client; it asks nobody yet.
func connect(c Config) (*Store, error) {
	u, err := c.endpoint()
	if err != nil {
		return nil, err
	}
	lookup, ok := map[string]minio.BucketLookupType{"": minio.BucketLookupAuto, "path": minio.BucketLookupPath, "host": minio.BucketLookupDNS}[c.Addressing]
	if !ok {
		return nil, fmt.Errorf("the addressing of the bucket is %q, not path or host", c.Addressing)
	}
	creds, err := c.credentials()
	if err != nil {
		return nil, err
	}
	transport, err := c.transport()
	if err != nil {
		return nil, err
	}
	core, err := minio.NewCore(u.Host, &minio.Options{Creds: creds, Secure: u.Scheme == "https", Region: c.Region, BucketLookup: lookup, Transport: transport, MaxRetries: tries})
	if err != nil {
		return nil, fmt.Errorf("prepare the client of the bucket: %w", err)
	}
	core.SetAppInfo("assent", c.Version)
	return &Store{core: *core, bucket: c.Bucket, prefix: c.prefix(), where: c.Where(),
		memory: semaphore.NewWeighted(putMemory), fresh: freshFor, stall: stallTime, now: time.Now, closing: transport.CloseIdleConnections}, nil
}

// Where says for people which bucket it is.
func (c Config) Where() string {
	return fmt.Sprintf("bucket %s at %s", c.Bucket+"/"+c.prefix(), c.Endpoint)
}

func (c Config) prefix() string {
	if p := strings.Trim(c.Prefix, "/"); p != "" {
		return p + "/"
	}
	return ""
}

// endpoint checks what names the storage.
func (c Config) endpoint() (*url.URL, error) {
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return nil, errors.New("the endpoint of the bucket is not an address such as https://s3.example.org, without a path, a name or a password")
	}
	if c.Bucket == "" {
		return nil, errors.New("the bucket has no name")
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// transport is how the storage is reached. HTTP/1.1: a download has a connection of its own, and breaking it off disturbs
// no other.
func (c Config) transport() (*http.Transport, error) {
	conf, err := c.tls()
	if err != nil {
		return nil, err
	}
	dial := &net.Dialer{Timeout: dialTime}
	return &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: dial.DialContext, TLSClientConfig: conf, TLSHandshakeTimeout: dialTime,
		ResponseHeaderTimeout: completeTime, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 64, DisableCompression: true, ReadBufferSize: 64 << 10, WriteBufferSize: 64 << 10}, nil
}

// Where says for people which bucket it is.
func (s *Store) Where() string { return s.where }

// Close gives up what connections are left.
func (s *Store) Close() error {
	s.closing()
	return nil
}

func (s *Store) key(digest string) string { return s.prefix + digest }

// prove does with a small object what the store needs to do with files.
func (s *Store) prove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, shortTime)
	defer cancel()
	b, key := []byte("Assent checks that it can use this bucket.\n"), s.prefix+"probe-"+rand.Text()
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"put a file into", func() error { return s.upload(ctx, key, b, content.Digest(b), false) }},
		{"read a file of", func() error { return s.readBack(ctx, key, b) }},
		{"list the files of", func() error { return s.listOne(ctx) }},
		{"list the unfinished uploads of", func() error { _, err := s.unfinished(ctx, "", ""); return err }},
		{"remove a file from", func() error { return s.remove(ctx, key) }},
	} {
		if err := explain(step.do()); err != nil {
			return fmt.Errorf("the server cannot %s the %s: %w", step.what, s.where, err)
		}
	}
	return nil
}

func (s *Store) readBack(ctx context.Context, key string, want []byte) (err error) {
	body, _, _, err := s.core.GetObject(ctx, s.bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return explain(err)
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	got, err := io.ReadAll(io.LimitReader(body, int64(len(want))+1))
	if err != nil {
		return explain(err)
	}
	if !bytes.Equal(got, want) {
		return content.ErrMismatch
	}
	return nil
}

func (s *Store) listOne(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for o := range s.core.Client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + "probe-", MaxKeys: 1}) {
		return explain(o.Err)
	}
	return content.ErrUnknown // the probe is there
}
