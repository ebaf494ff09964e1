package server

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assent/client"
	"assent/content"
	"assent/content/s3/s3test"
	"assent/trust/trusttest"
	"assent/wire"
)

// inBucket is a bucket on a new S3 server, and the configuration of it.
func inBucket(t *testing.T) (*s3test.Server, s3test.Bucket, Content) {
	t.Helper()
	storage, err := s3test.Start(s3test.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { storage.Stop() })
	b, err := storage.Bucket("assent-files")
	if err != nil {
		t.Fatal(err)
	}
	return storage, b, Content{Kind: contentInS3, S3: Bucket{Endpoint: storage.URL, Bucket: b.Name, Prefix: "one", Region: "us-east-1", CredentialsFile: b.CredentialsFile}}
}

// subscribed is a running server that follows a feed with one payload.
func subscribed(t *testing.T, data string, change func(*Config)) (l *live, admin string, root, payload []byte) {
	t.Helper()
	vendor := trusttest.NewFeed(t, "acme")
	payload = bytes.Repeat([]byte("payload "), 100_000)
	vendor.Add(trusttest.Manifest("ledger", "1.0"), payload)
	vendor.Publish()
	l = start(t, data, change)
	admin = l.admin()
	if code := l.call(http.MethodPost, "/api/v1/feeds", admin, client.FeedRequest{Name: "acme", URL: vendor.URL(), Root: vendor.Root()}, nil); code != 200 {
		t.Fatalf("subscribe: %d", code)
	}
	l.followed(admin)
	return l, admin, vendor.Root(), payload
}

// TestFilesOfFeedsAreInTheBucket: they come from it whole, by ranges and after a restart; one that is damaged there is
// replaced; and while the bucket is away everything else goes on.
func TestFilesOfFeedsAreInTheBucket(t *testing.T) {
	storage, b, conf := inBucket(t)
	data := t.TempDir()
	l, admin, root, payload := subscribed(t, data, func(c *Config) { c.Content = conf })
	_, device, _ := l.enrol(admin)
	l.verifies(device, root, payload)
	file := filepath.Join(b.Dir, "one", content.Digest(payload))
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, payload) {
		t.Errorf("in the bucket are %d bytes, %v", len(got), err)
	}
	if _, err := os.Stat(filepath.Join(data, contentDir)); err == nil {
		t.Error("there are files in the data directory")
	}
	l.sendsRanges(device, payload)

	bad := bytes.Clone(payload)
	bad[1000] ^= 1
	if err := os.WriteFile(file, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	l.call(http.MethodPost, "/api/v1/feeds/acme/refresh", admin, client.FeedRefresh{Wait: true}, nil)
	for range 1000 { // it is read through in the background
		if got, err := os.ReadFile(file); err == nil && bytes.Equal(got, payload) {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	l.verifies(device, root, payload)

	storage.Kill()
	resp, err := device.Get("https://" + l.agents + wire.PathFeed + "/acme/" + trusttest.Payload(payload))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a device that asks for a file meanwhile: %s", resp.Status)
	}
	var reply wire.CheckInReply
	if code := l.send(device, wire.PathCheckIn, wire.CheckIn{Capability: 1, BootID: "boot", Run: "run", Sequence: 1}, &reply); code != 200 {
		t.Errorf("a check-in meanwhile: %d", code)
	}
	if err := storage.Resume(); err != nil {
		t.Fatal(err)
	}
	l.verifies(device, root, payload)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	l = start(t, data, func(c *Config) { c.Content = conf })
	l.verifies(device, root, payload)
}

// sendsRanges checks what a device that goes on with a download gets.
func (l *live) sendsRanges(device *http.Client, payload []byte) {
	l.t.Helper()
	tag := `"` + content.Digest(payload) + `"`
	for _, c := range []struct {
		rang, ifRange string
		status        int
		want          []byte
	}{
		{"bytes=500000-", tag, http.StatusPartialContent, payload[500_000:]},
		{"bytes=10-19", "", http.StatusPartialContent, payload[10:20]},
		{"bytes=-5", tag, http.StatusPartialContent, payload[len(payload)-5:]},
		{"bytes=500000-", `"another"`, http.StatusOK, payload},
		{"bytes=9999999-", "", http.StatusRequestedRangeNotSatisfiable, nil},
	} {
		req, err := http.NewRequest(http.MethodGet, "https://"+l.agents+wire.PathFeed+"/acme/"+trusttest.Payload(payload), nil)
		if err != nil {
			l.t.Fatal(err)
		}
		req.Header.Set("Range", c.rang)
		if c.ifRange != "" {
			req.Header.Set("If-Range", c.ifRange)
		}
		resp, err := device.Do(req)
		if err != nil {
			l.t.Fatal(err)
		}
		var got bytes.Buffer
		_, err = got.ReadFrom(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || c.want != nil && !bytes.Equal(got.Bytes(), c.want) || c.want != nil && resp.Header.Get("Etag") != tag {
			l.t.Errorf("%s if %q: %s with %d bytes, tag %s, %v", c.rang, c.ifRange, resp.Status, got.Len(), resp.Header.Get("Etag"), err)
		}
	}
}

func TestAServerWhoseBucketCannotBeUsedSaysSoAtItsStart(t *testing.T) {
	storage, _, conf := inBucket(t)
	storage.Kill()
	if said := fails(t, Config{Data: t.TempDir(), Content: conf}); !strings.Contains(said, "bucket assent-files/one/ at "+storage.URL) || !strings.Contains(said, "content_away") {
		t.Errorf("it says %q", said)
	}
	if said := fails(t, Config{Data: t.TempDir(), Content: Content{Kind: "S3"}}); !strings.Contains(said, "content.kind") {
		t.Errorf("it says %q", said)
	}
}

// assentd runs a command of the program and returns what it printed.
func assentd(t *testing.T, c Config, args ...string) (out, problem string, err error) {
	t.Helper()
	b, err := json.Marshal(map[string]any{"data": c.Data, "content": c.Content})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "assentd.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := Command("test")
	cmd.SetArgs(append(args, "--config", file))
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	err = cmd.ExecuteContext(t.Context())
	return stdout.String(), stderr.String(), err
}

// transferred is what a command about files says as JSON.
func transferred(t *testing.T, c Config, args ...string) (content.Transfer, error) {
	t.Helper()
	out, _, err := assentd(t, c, append(args, "--json")...)
	var got content.Transfer
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("it printed %q: %v", out, err)
	}
	return got, err
}

// TestFilesMoveToABucketAndBack: to the bucket while the server runs, and it goes on from there without the feed; back only
// while it is stopped.
func TestFilesMoveToABucketAndBack(t *testing.T) {
	_, b, conf := inBucket(t)
	data := t.TempDir()
	there := Config{Data: data, Content: conf}
	here := there
	here.Content.Kind = contentInDir
	l, _, _, payload := subscribed(t, data, nil)
	first, err := transferred(t, here, "content", "copy", "--to", "s3")
	if err != nil || first.Files == 0 || first.Copied != first.Files || first.Done != first.Files || first.BytesCopied < int64(len(payload)) {
		t.Errorf("the first copy: %+v, %v", first, err)
	}
	if again, err := transferred(t, here, "content", "copy", "--to", "s3"); err != nil || again.Copied != 0 || again.Done != first.Files {
		t.Errorf("the second copy: %+v, %v", again, err)
	}
	if got, err := transferred(t, there, "content", "verify"); err != nil || got.Done != first.Files {
		t.Errorf("verify: %+v, %v", got, err)
	}
	if _, _, err := assentd(t, there, "content", "copy", "--to", "dir"); err == nil || !strings.Contains(err.Error(), "stop the server first") {
		t.Errorf("copied into the directory of a running server: %v", err)
	}
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}

	bad := bytes.Clone(payload)
	bad[0] ^= 1
	digest := content.Digest(payload)
	if err := os.WriteFile(filepath.Join(b.Dir, "one", digest), bad, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(data, contentDir)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"content", "verify"}, {"content", "copy", "--to", "dir"}} {
		if got, err := transferred(t, there, args...); err == nil || len(got.Damaged) != 1 || got.Damaged[0] != digest || got.Done != first.Files {
			t.Errorf("%v of a damaged file: %+v, %v", args, got, err)
		}
	}
	out, _, err := assentd(t, here, "content", "verify")
	if err != nil || !strings.Contains(out, "0 damaged") {
		t.Errorf("what was copied back: %q, %v", out, err)
	}
	if _, err := os.Stat(filepath.Join(data, contentDir, digest[:2], digest)); err == nil {
		t.Error("the damaged file was copied")
	}
	for _, args := range [][]string{{"content", "copy"}, {"content", "copy", "--to", "tape"}, {"content", "verify", "--in", "tape"}} {
		if _, _, err := assentd(t, here, args...); err == nil {
			t.Errorf("%v was done", args)
		}
	}
}

// TestN43_ABackupHoldsNoKeysToTheBucket, and says that the files are not in it.
func TestN43_ABackupHoldsNoKeysToTheBucket(t *testing.T) {
	_, _, conf := inBucket(t)
	data := worked(t)
	keys := filepath.Join(data, "bucket-keys")
	b, err := os.ReadFile(conf.S3.CredentialsFile)
	if err == nil {
		err = os.WriteFile(keys, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	conf.S3.CredentialsFile = keys
	file := filepath.Join(t.TempDir(), "backup.tar")
	_, said, err := assentd(t, Config{Data: data, Content: conf}, "backup", file)
	if err != nil || !strings.Contains(said, "bucket assent-files/one/") || !strings.Contains(said, "not in this backup") {
		t.Errorf("it says %q, %v", said, err)
	}
	if b, err = os.ReadFile(file); err != nil || bytes.Contains(b, []byte(s3test.SecretKey)) || !bytes.Contains(b, []byte(`"content": "bucket assent-files/one/`)) {
		t.Errorf("the keys are in it, or the manifest does not say where the files are (%v)", err)
	}
	if _, err := fs.Stat(os.DirFS(data), "bucket-keys"); err != nil {
		t.Error(err)
	}
}
