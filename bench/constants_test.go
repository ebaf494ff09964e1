package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func TestKeepConstants_ReplacesWhatWasMeasuredAndRefusesWhatNobodyCountsWith(t *testing.T) {
	b := &bench{root: t.TempDir()}
	name := filepath.Join(b.root, constantsFile)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(`{"machine":"old","check_in_us":1,"handshake_us":2}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := b.keepConstants(Report{Rows: []Row{{ID: "P1w", Constants: map[string]float64{"check_in_us": 20}}}}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil || got["check_in_us"] != 20.0 || got["handshake_us"] != 2.0 || got["machine"] == "old" {
		t.Errorf("%v, %v", got, err)
	}
	if err := b.keepConstants(Report{Rows: []Row{{ID: "P9", Constants: map[string]float64{"scan_us": 1}}}}); err == nil {
		t.Error("a constant that nobody counts with was taken")
	}
}

func TestConstants_TheFileOfThisBuildIsWhatRowsMeasure(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", constantsFile))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"check_in_us", "state_change_us", "handshake_us", "handshake_resumed_us", "parked_poll_kib", "fleet_devices", "fleet_updates", "fleet_memory_mib", "fleet_database_mib", "fleet_start_s"} {
		if v, ok := got[key].(float64); !ok || v <= 0 {
			t.Errorf("%s is %v", key, got[key])
		}
		delete(got, key)
	}
	if delete(got, "machine"); len(got) > 0 {
		t.Errorf("no row measures %v", got)
	}
}
