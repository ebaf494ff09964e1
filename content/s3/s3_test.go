package s3

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"assent/content"
	"assent/content/contenttest"
	"assent/content/s3/s3test"
)

var storage *s3test.Server // of all tests; each has a bucket of its own

func TestMain(m *testing.M) {
	if os.Getenv(putterEnv) != "" {
		putForever()
		return
	}
	var err error
	if storage, err = s3test.Start(s3test.Config{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := storage.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

var buckets atomic.Int64

// newConfig is a new bucket of a server.
func newConfig(t *testing.T, at *s3test.Server) (Config, s3test.Bucket) {
	t.Helper()
	b, err := at.Bucket(fmt.Sprintf("files-%d", buckets.Add(1)))
	if err != nil {
		t.Fatal(err)
	}
	return Config{Endpoint: at.URL, Bucket: b.Name, Prefix: "assent", Region: "us-east-1", Addressing: "path", CAFile: at.CAFile, CredentialsFile: b.CredentialsFile}, b
}

func openStore(t *testing.T, c Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newStore(t *testing.T) (*Store, s3test.Bucket) {
	t.Helper()
	c, b := newConfig(t, storage)
	return openStore(t, c), b
}

func TestStore(t *testing.T) {
	configs := map[content.Store]Config{}
	contenttest.Run(t, func(t *testing.T) content.Store {
		c, _ := newConfig(t, storage)
		s := openStore(t, c)
		configs[s] = c
		return s
	}, func(t *testing.T, s content.Store) content.Store { return openStore(t, configs[s]) })
}

// TestStoreOverTLS: the same suite over TLS, with a certificate that only ca_file knows.
func TestStoreOverTLS(t *testing.T) {
	t.Parallel()
	secure, err := s3test.Start(s3test.Config{TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { secure.Stop() })
	contenttest.Run(t, func(t *testing.T) content.Store {
		c, _ := newConfig(t, secure)
		return openStore(t, c)
	}, nil)
	c, _ := newConfig(t, secure)
	c.CAFile = ""
	if _, err := Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
}
