package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

func (c *command) ready() *cobra.Command {
	within := 30 * time.Second
	cmd := &cobra.Command{Use: "ready", Short: "Wait until the server on this machine can do its work", Args: cobra.NoArgs,
		Long: "Asks the running server's /readyz until it answers that it listens and its database answers. The upgrade of the\npackage uses it to see whether the new version came up.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := c.config()
			if err != nil {
				return err
			}
			if conf, err = conf.normal(); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), within)
			defer cancel()
			return awaitReady(ctx, conf)
		}}
	cmd.Flags().DurationVar(&within, "within", within, "how long to wait")
	return cmd
}

// awaitReady asks the server that runs with a configuration until it is ready or ctx ends.
func awaitReady(ctx context.Context, c Config) error {
	client, url, err := c.ownAPI()
	if err != nil {
		return err
	}
	for {
		err := ready(ctx, client, url+"/readyz")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server did not become ready: %w", errors.Join(context.Cause(ctx), err))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func ready(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", resp.Status)
	}
	return nil
}

// ownAPI is how a program on this machine reaches the API: on loopback where it listens everywhere, and with TLS by its own CA.
func (c Config) ownAPI() (*http.Client, string, error) {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return nil, "", fmt.Errorf("read the address of the API: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	client := &http.Client{Timeout: 5 * time.Second}
	addr := net.JoinHostPort(host, port)
	if loopback(c.Listen) {
		return client, "http://" + addr, nil
	}
	b, err := os.ReadFile(filepath.Join(c.Data, caFile))
	if err != nil {
		return nil, "", fmt.Errorf("read the server's CA: %w", err)
	}
	pool := x509.NewCertPool()
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if cert, err := x509.ParseCertificate(block.Bytes); block.Type == "CERTIFICATE" && err == nil {
			pool.AddCert(cert)
		}
	}
	client.Transport = &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: c.ServerNames[0]}}
	return client, "https://" + addr, nil
}
