package pgtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Standby starts a copy of the server that follows it. Whatever the server acknowledges from now on is on both.
func (s *Server) Standby() (_ *Server, err error) {
	n := &Server{cfg: Config{Durable: s.cfg.Durable}, bin: s.bin, who: s.who}
	if n.dir, err = os.MkdirTemp("", "assent-pg"); err != nil {
		return nil, fmt.Errorf("start a standby: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(n.dir))
		}
	}()
	if err := n.own(n.dir); err != nil {
		return nil, err
	}
	copying := exec.Command(filepath.Join(s.bin, "pg_basebackup"), "-D", n.data(), "-h", s.dir, "-U", "assent", "-X", "stream", "-R", "-c", "fast", "--no-sync")
	copying.Dir, copying.SysProcAttr = n.dir, &syscall.SysProcAttr{Credential: n.who}
	if out, err := copying.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("pg_basebackup: %w: %s", err, bytes.TrimSpace(out))
	}
	if err := n.Resume(); err != nil {
		return nil, err
	}
	if err := s.waitFor(n); err != nil {
		return nil, errors.Join(err, n.Stop())
	}
	return n, nil
}

// waitFor has the server acknowledge nothing that is not on the standby too, and returns when that is so.
func (s *Server) waitFor(standby *Server) error {
	if err := errors.Join(s.Do(`ALTER SYSTEM SET synchronous_standby_names = '*'`), s.Do(`SELECT pg_reload_conf()`)); err != nil {
		return fmt.Errorf("follow synchronously: %w", err)
	}
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); time.Sleep(20 * time.Millisecond) { // there is no signal
		n, err := s.Ask(`SELECT count(*)::TEXT FROM pg_stat_replication WHERE sync_state = 'sync'`)
		if err != nil || n == "1" {
			return err
		}
	}
	return fmt.Errorf("the standby does not follow: %s", standby.dir)
}

// Promote makes a standby the server that takes writes.
func (s *Server) Promote() error {
	if err := s.Do(`SELECT pg_promote()`); err != nil {
		return fmt.Errorf("promote the standby: %w", err)
	}
	return nil
}
