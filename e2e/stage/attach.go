package stage

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"assent/lab"
)

// record is what a stage tells other processes, in stage.json; it is written when everything is ready.
type record struct {
	URL  string
	Bin  string
	Acme bool
}

// Ready writes down that the stage is complete, for Attach.
func (s *Stage) Ready() error {
	b, err := json.Marshal(record{URL: s.Server.URL, Bin: s.cfg.Bin, Acme: s.cfg.Acme})
	if err != nil {
		return err
	}
	tmp := s.recordFile() + ".new"
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return fmt.Errorf("write stage record: %w", err)
	}
	return os.Rename(tmp, s.recordFile())
}

func (s *Stage) recordFile() string { return filepath.Join(s.dir, "stage.json") }

// Attach joins a stage that another process opened and made Ready. Closing it leaves the stage running.
func Attach(name string) (*Stage, error) {
	l, err := lab.Attach(name)
	if err != nil {
		return nil, err
	}
	s := &Stage{Lab: l, dir: filepath.Join(l.Dir(), "stage")}
	b, err := os.ReadFile(s.recordFile())
	if err != nil {
		return nil, fmt.Errorf("the stage is not ready: %w", err)
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("read stage record: %w", err)
	}
	s.cfg = Config{Name: name, Bin: r.Bin, Acme: r.Acme}
	s.Server = &Server{URL: r.URL, Data: filepath.Join(s.dir, "server"), Log: filepath.Join(s.dir, "assentd.log"), stage: s, keeper: l.State().PID}
	devices, err := l.Devices()
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		s.Devices = append(s.Devices, &Device{Device: d, stage: s})
	}
	if r.Acme {
		s.Repo, err = l.Repo("acme")
	}
	return s, err
}
