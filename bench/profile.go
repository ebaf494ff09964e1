package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"assent/bench/daemon"
)

// profile keeps a CPU profile of a server while f runs, where --profiles says so, and at least until it is complete. The
// profile itself costs the server a little.
func (b *bench) profile(ctx context.Context, d *daemon.Daemon, name string, took time.Duration, f func() error) error {
	if b.profiles == "" {
		return f()
	}
	kept := make(chan error, 1)
	go func() { kept <- b.keepProfile(ctx, d, name, took) }()
	if err := f(); err != nil {
		return err
	}
	return <-kept
}

func (b *bench) keepProfile(ctx context.Context, d *daemon.Daemon, name string, took time.Duration) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", d.URL, int(took.Seconds())), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("profile the server: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("profile the server: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("profile the server: %s: %s", resp.Status, text)
	}
	if err := os.MkdirAll(b.profiles, 0o755); err != nil {
		return fmt.Errorf("keep a profile: %w", err)
	}
	return os.WriteFile(filepath.Join(b.profiles, name+".pprof"), text, 0o644)
}
