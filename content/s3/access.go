package s3

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

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
	info, err := os.Stat(c.CredentialsFile)
	if err != nil {
		return nil, fmt.Errorf("read the credentials of the bucket: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("read the credentials of the bucket: anybody may use %s (mode %04o); chmod o= it", c.CredentialsFile, info.Mode().Perm())
	}
	creds := credentials.NewFileAWSCredentials(c.CredentialsFile, c.Profile)
	v, err := creds.GetWithContext(nil)
	if err != nil {
		return nil, fmt.Errorf("read the credentials of the bucket in %s: %w", c.CredentialsFile, err)
	}
	if v.AccessKeyID == "" || v.SecretAccessKey == "" {
		return nil, fmt.Errorf("read the credentials of the bucket: %s has no aws_access_key_id and aws_secret_access_key in the profile %q", c.CredentialsFile, c.profile())
	}
	return creds, nil
}

func (c Config) profile() string {
	if c.Profile == "" {
		return "default"
	}
	return c.Profile
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
