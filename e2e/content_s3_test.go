package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"assent/content/s3/s3test"
	"assent/e2e/stage"
)

// inBucket has a stage's server keep files in a bucket of an S3 server beside it, and gives both.
func inBucket(t *testing.T, of *stage.Stage) (*s3test.Server, s3test.Bucket) {
	t.Helper()
	storage, err := s3test.Start(s3test.Config{Address: "127.0.0.1:9000", Command: of.Lab.Net.Command, Dial: of.Lab.Net.Dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := storage.Stop(); err != nil {
			t.Error(err)
		}
	})
	b, err := storage.Bucket("assent-files")
	if err != nil {
		t.Fatal(err)
	}
	conf, err := json.Marshal(map[string]any{"content": map[string]any{"kind": "s3",
		"s3": map[string]any{"endpoint": storage.URL, "bucket": b.Name, "prefix": "fleet", "credentials_file": b.CredentialsFile}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(of.Dir(), "assentd.json")
	if err := os.WriteFile(file, conf, 0o600); err != nil {
		t.Fatal(err)
	}
	of.Server.Args = append(of.Server.Args, "--config", file)
	return storage, b
}

func TestBucket_DevicesInstallFromItAndWhileItIsAwayEverythingElseGoesOn(t *testing.T) {
	of := raise(t, specs([]string{"web1"})...)
	storage, b := inBucket(t, of)
	v := enrolled(begun(t, of), t).opens("acme")
	v.deb(app("desk", "1.0"))
	v.tree("ledger", "1.0")
	v.issue()
	v.rolledOut("desk@1.0", "web1")
	v.rolledOut("ledger@1.0", "web1")
	if kept, err := os.ReadDir(filepath.Join(b.Dir, "fleet")); err != nil || len(kept) < 4 {
		t.Errorf("the bucket has %d files, %v; want two payloads and two manifests", len(kept), err)
	}
	if _, err := os.Stat(filepath.Join(of.Server.Data, "content")); !os.IsNotExist(err) {
		t.Errorf("there are files in the data directory: %v", err)
	}

	v.deb(app("desk", "2.0"))
	v.issue()
	v.here()
	v.until("the device could take desk 2.0", func() bool { return v.on("web1", "desk@2.0").State == "applicable" })
	storage.Kill()
	v.assent("update", "approve", "desk@2.0")
	v.until("the decision reached the device", func() bool { return v.on("web1", "desk@2.0").State != "applicable" })
	v.tree("ledger", "2.0")
	v.try(v.Vendor.Publish(t.Context()))
	v.refused(exitUnavailable, "content_away", "feed", "refresh", "acme", "--wait")
	v.until("the status is alarmed", func() bool {
		out := v.assent("status")
		return strings.Contains(out, "Feed acme") && strings.Contains(out, "keeps files does not answer")
	})
	v.assent("update", "decline", "ledger@1.0", "--reason", "told while the bucket is away")
	v.until("what needs no file is done", func() bool { return v.on("web1", "ledger@1.0").State == "removed" })
	v.has("web1", "desk", "1.0")

	v.try(storage.Resume())
	v.proven("web1", "desk@2.0")
	v.assent("feed", "refresh", "acme", "--wait")
	v.here()
	v.until("the alarm ends", func() bool { return !strings.Contains(v.assent("status"), "Feed acme") })

	v.try(of.Server.Stop())
	storage.Kill()
	if err := of.Server.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "bucket assent-files/fleet/ at") || !strings.Contains(err.Error(), "content_away") {
		t.Errorf("a start without the bucket: %v", err)
	}
	v.try(storage.Resume())
	v.try(of.Server.Start(t.Context()))
	v.rolledOut("ledger@2.0", "web1")
}
