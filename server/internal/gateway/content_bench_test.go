package gateway

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"assent/content"
	"assent/content/dir"
	"assent/content/s3"
	"assent/content/s3/s3test"
	"assent/wire"
)

// stored is a feed whose only file lies in a store.
type stored struct {
	content.Store
	digest string
}

func (s stored) Roots() []wire.FeedRoot { return nil }

func (s stored) File(ctx context.Context, _, _ string) (content.File, string, error) {
	f, err := s.Open(ctx, s.digest)
	return f, s.digest, err
}

// inDir is a store with one file, and the path of that.
func inDir(b *testing.B, file []byte) (stored, string) {
	b.Helper()
	at := b.TempDir()
	root, err := os.OpenRoot(at)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { root.Close() })
	s, err := dir.Open(root, 0)
	if err == nil {
		err = s.Put(b.Context(), bytes.NewReader(file), int64(len(file)), content.Digest(file))
	}
	if err != nil {
		b.Fatal(err)
	}
	digest := content.Digest(file)
	return stored{s, digest}, filepath.Join(at, digest[:2], digest)
}

// inBucket is the same in a bucket of an S3 server in a process of its own.
func inBucket(b *testing.B, file []byte) stored {
	b.Helper()
	storage, err := s3test.Start(s3test.Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { storage.Stop() })
	bucket, err := storage.Bucket("bench")
	if err != nil {
		b.Fatal(err)
	}
	s, err := s3.Open(b.Context(), s3.Config{Endpoint: storage.URL, Bucket: bucket.Name, Region: "us-east-1", CredentialsFile: bucket.CredentialsFile})
	if err == nil {
		err = s.Put(b.Context(), bytes.NewReader(file), int64(len(file)), content.Digest(file))
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return stored{s, content.Digest(file)}
}

// served has a gateway serve a store, and returns how long a device takes to load the file.
func served(b *testing.B, files stored) func() time.Duration {
	b.Helper()
	gate := openBench(&bench{t: b, w: newWorld(), clock: &clock{}, behind: func(c *Config) { c.Feeds = files }})
	a := gate.agent()
	return func() time.Duration { return loads(b, a.http, gate.url(wire.PathFeed+"/acme/file")) }
}

// loads loads a file and throws it away.
func loads(b *testing.B, c *http.Client, url string) time.Duration {
	b.Helper()
	begin := time.Now()
	resp, err := c.Get(url)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 || n != benchFile {
		b.Fatalf("%s with %d bytes, %v", resp.Status, n, err)
	}
	return time.Since(begin)
}

const benchFile = 64 << 20 // bytes

// BenchmarkP15 loads a file over mutual TLS from a directory and from a bucket, in turns with a bare net/http file server
// with the same TLS. The device is in this process too; the S3 server is in its own, on the same cores.
func BenchmarkP15(b *testing.B) {
	file := make([]byte, benchFile)
	rand.NewChaCha8([32]byte{}).Read(file)
	kept, path := inDir(b, file)
	gate := openBench(&bench{t: b, w: newWorld(), clock: &clock{}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	bare := &http.Server{TLSConfig: gate.gw.tlsConfig(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, path) })}
	go bare.ServeTLS(l, "", "")
	b.Cleanup(func() { bare.Close() })
	device := gate.agent()
	turns := map[string]func() time.Duration{
		"dir":  served(b, kept),
		"s3":   served(b, inBucket(b, file)),
		"bare": func() time.Duration { return loads(b, device.http, "https://"+l.Addr().String()+"/") },
	}
	total := map[string]time.Duration{}
	for b.Loop() {
		for name, turn := range turns {
			total[name] += turn()
		}
	}
	rate := func(name string) float64 { return float64(b.N) * benchFile / 1e6 / total[name].Seconds() }
	b.ReportMetric(rate("dir"), "dir-MB/s")
	b.ReportMetric(rate("s3"), "s3-MB/s")
	b.ReportMetric(rate("bare"), "bare-MB/s")
	b.ReportMetric(rate("dir")/rate("bare"), "dir-ratio")
	b.ReportMetric(rate("s3")/rate("bare"), "s3-ratio")
}
