package s3

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// maxKeyFile bounds a credentials file, in bytes.
const maxKeyFile = 64 << 10

// credentials finds the keys. What is not there is an error here and not an anonymous request later.
func (c Config) credentials() (*credentials.Credentials, error) {
	switch {
	case c.CredentialsFile != "":
		return c.fromFile()
	case c.InstanceRole:
		return credentials.NewIAM(""), nil
	case os.Getenv("AWS_ACCESS_KEY_ID") != "" && os.Getenv("AWS_SECRET_ACCESS_KEY") != "":
		return credentials.NewEnvAWS(), nil
	}
	return nil, errors.New("there are no credentials for the bucket: name a credentials_file, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or say instance_role")
}

// fromFile reads the keys once, so that a file which is not right is said at the start.
func (c Config) fromFile() (*credentials.Credentials, error) {
	f := &keyFile{path: c.CredentialsFile, profile: c.Profile}
	if f.profile == "" {
		f.profile = "default"
	}
	if err := f.load(); err != nil {
		return nil, fmt.Errorf("read the credentials of the bucket: %w", err)
	}
	return credentials.New(f), nil
}

// keyFile reads keys from a file in the format of AWS's shared credentials file, and again when that changed. The library
// has such a provider too, but that one also runs the programs that a file may name.
type keyFile struct {
	path, profile string

	mu      sync.Mutex
	changed time.Time // of the file, when it was read
	keys    credentials.Value
}

// RetrieveWithCredContext implements credentials.Provider. A file that is just being replaced leaves the keys as they were.
func (f *keyFile) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	return f.Retrieve()
}

// Retrieve implements credentials.Provider.
func (f *keyFile) Retrieve() (credentials.Value, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.load()
	return f.keys, nil
}

// IsExpired implements credentials.Provider.
func (f *keyFile) IsExpired() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	return err == nil && !info.ModTime().Equal(f.changed)
}

func (f *keyFile) load() error {
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return fmt.Errorf("anybody may use %s (mode %04o); chmod o= it", f.path, info.Mode().Perm())
	}
	if info.Size() > maxKeyFile {
		return fmt.Errorf("%s is larger than %d bytes", f.path, maxKeyFile)
	}
	b, err := os.ReadFile(f.path)
	if err != nil {
		return err
	}
	keys := section(string(b), f.profile)
	if keys["aws_access_key_id"] == "" || keys["aws_secret_access_key"] == "" {
		return fmt.Errorf("%s has no aws_access_key_id and aws_secret_access_key in the profile %q", f.path, f.profile)
	}
	f.changed = info.ModTime()
	f.keys = credentials.Value{AccessKeyID: keys["aws_access_key_id"], SecretAccessKey: keys["aws_secret_access_key"], SessionToken: keys["aws_session_token"], SignerType: credentials.SignatureV4}
	return nil
}

// section is what an INI file says in one of its sections.
func section(text, name string) map[string]string {
	out := map[string]string{}
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			inside = strings.TrimSpace(strings.Trim(line, "[]")) == name
			continue
		}
		if key, value, ok := strings.Cut(line, "="); ok && inside && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ";") {
			out[strings.ToLower(strings.TrimSpace(key))] = strings.TrimSpace(value)
		}
	}
	return out
}

func (c Config) tls() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile == "" {
		return conf, nil
	}
	b, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the certificates that the bucket's storage is trusted by: %w", err)
	}
	if conf.RootCAs, err = x509.SystemCertPool(); err != nil {
		conf.RootCAs = x509.NewCertPool()
	}
	if !conf.RootCAs.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("read the certificates that the bucket's storage is trusted by: there is none in %s", c.CAFile)
	}
	return conf, nil
}
