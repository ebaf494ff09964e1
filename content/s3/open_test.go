package s3

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assent/content/s3/s3test"
)

// TestN43_ABucketThatCannotBeUsedIsRefusedAtTheStart, in words that say what is wrong and hold no secret.
func TestN43_ABucketThatCannotBeUsedIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	good, _ := newConfig(t, storage)
	write := func(mode os.FileMode, text string) string {
		at := filepath.Join(t.TempDir(), "credentials")
		if err := os.WriteFile(at, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return at
	}
	const wrong = "a-wrong-secret-that-nobody-may-see"
	denied := func(method string) Config {
		return between(t, good, func(w http.ResponseWriter, r *http.Request) bool {
			return r.Method == method && refuse(w, http.StatusForbidden, "AccessDenied")
		})
	}
	for what, c := range map[string]struct {
		change func(*Config)
		says   []string
	}{
		"no endpoint":       {func(c *Config) { c.Endpoint = "" }, []string{"endpoint"}},
		"a bare host":       {func(c *Config) { c.Endpoint = "s3.example.org" }, []string{"endpoint"}},
		"a secret in it":    {func(c *Config) { c.Endpoint = "https://me:" + wrong + "@s3.example.org" }, []string{"endpoint"}},
		"no bucket":         {func(c *Config) { c.Bucket = "" }, []string{"bucket"}},
		"an odd addressing": {func(c *Config) { c.Addressing = "dns" }, []string{"path or host"}},
		"no CA file":        {func(c *Config) { c.CAFile = "/nowhere/ca.pem" }, []string{"certificates", "/nowhere/ca.pem"}},
		"an empty CA file":  {func(c *Config) { c.CAFile = write(0o600, "none") }, []string{"certificates"}},
		"no credentials":    {func(c *Config) { c.CredentialsFile = "" }, []string{"credentials_file", "AWS_ACCESS_KEY_ID", "instance_role"}},
		"no such file":      {func(c *Config) { c.CredentialsFile = "/nowhere/keys" }, []string{"/nowhere/keys"}},
		"a file for all": {func(c *Config) {
			c.CredentialsFile = write(0o644, "[default]\naws_access_key_id = a\naws_secret_access_key = "+wrong+"\n")
		}, []string{"0644", "chmod"}},
		"an empty file":   {func(c *Config) { c.CredentialsFile = write(0o600, "") }, []string{"aws_access_key_id", "default"}},
		"half a key":      {func(c *Config) { c.CredentialsFile = write(0o600, "[default]\naws_access_key_id = a\n") }, []string{"aws_secret_access_key"}},
		"another profile": {func(c *Config) { c.Profile = "backup" }, []string{"backup"}},
		"a wrong key": {func(c *Config) {
			c.CredentialsFile = write(0o600, "[default]\naws_access_key_id = nobody\naws_secret_access_key = "+wrong+"\n")
		}, []string{"put a file into", good.Bucket, "content_refused"}},
		"a wrong secret": {func(c *Config) {
			c.CredentialsFile = write(0o600, "[default]\naws_access_key_id = "+s3test.AccessKey+"\naws_secret_access_key = "+wrong+"\n")
		}, []string{"put a file into", good.Bucket, "content_refused"}},
		"no such bucket": {func(c *Config) { c.Bucket = "not-there" }, []string{"put a file into", "not-there", "content_refused"}},
		"nobody there":   {func(c *Config) { c.Endpoint = "http://127.0.0.1:1" }, []string{"put a file into", "127.0.0.1:1", "content_away"}},
		"read only":      {func(c *Config) { *c = denied(http.MethodPut) }, []string{"put a file into", "content_refused"}},
		"write only":     {func(c *Config) { *c = denied(http.MethodGet) }, []string{"read a file of", "content_refused"}},
		"add only":       {func(c *Config) { *c = denied(http.MethodDelete) }, []string{"remove a file from", "content_refused"}},
	} {
		t.Run(what, func(t *testing.T) {
			conf := good
			c.change(&conf)
			s, err := Open(t.Context(), conf)
			if err == nil {
				s.Close()
				t.Fatal("it was opened")
			}
			for _, word := range c.says {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("it says %q, and nothing of %q", err, word)
				}
			}
			for _, secret := range []string{wrong, s3test.SecretKey} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("it tells a secret: %v", err)
				}
			}
		})
	}
}

func TestCredentialsComeFromTheEnvironmentToo(t *testing.T) {
	c, _ := newConfig(t, storage)
	c.CredentialsFile = ""
	t.Setenv("AWS_ACCESS_KEY_ID", s3test.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s3test.SecretKey)
	openStore(t, c)
}

// TestKeysThatAreReplacedInTheirFileCountAtOnce, and a file that is just being written takes nothing away.
func TestKeysThatAreReplacedInTheirFileCountAtOnce(t *testing.T) {
	at := filepath.Join(t.TempDir(), "credentials")
	day := time.Now().Add(-time.Hour)
	write := func(text string) {
		t.Helper()
		day = day.Add(time.Second)
		if err := errors.Join(os.WriteFile(at, []byte(text), 0o600), os.Chtimes(at, day, day)); err != nil {
			t.Fatal(err)
		}
	}
	write("# of the operator\n[other]\naws_access_key_id = no\n\n[default]\n; comment = x\nAWS_ACCESS_KEY_ID=one\naws_secret_access_key = a=b/c+d==\naws_session_token = t\ncredential_process = /bin/false\n")
	creds, err := Config{CredentialsFile: at}.credentials()
	if err != nil {
		t.Fatal(err)
	}
	check := func(id, secret string) {
		t.Helper()
		if v, err := creds.GetWithContext(nil); err != nil || v.AccessKeyID != id || v.SecretAccessKey != secret {
			t.Errorf("the keys are %q, %q, %v", v.AccessKeyID, v.SecretAccessKey, err)
		}
	}
	check("one", "a=b/c+d==")
	write("[default]\naws_acc")
	check("one", "a=b/c+d==")
	write("[default]\naws_access_key_id = two\naws_secret_access_key = e\n")
	check("two", "e")
}

// TestOpeningABucketLeavesNothingInIt: what the start tries out is removed again.
func TestOpeningABucketLeavesNothingInIt(t *testing.T) {
	_, b := newStore(t)
	err := filepath.WalkDir(b.Dir, func(name string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && !strings.Contains(name, "/.") {
			t.Errorf("left: %s", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
