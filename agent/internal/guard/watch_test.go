package guard

import (
	"context"
	"path/filepath"
	"testing"
	"time"
)

func TestWatchTellsOfEachEventAndEndsWithItsContext(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "events")
	if err := (Event{ID: "before"}).write(dir); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	told, done := make(chan int), make(chan error, 1)
	go func() {
		done <- Watch(ctx, dir, func() {
			events, err := Events(dir)
			if err != nil {
				t.Error(err)
			}
			select {
			case told <- len(events):
			case <-ctx.Done():
			}
		})
	}()
	want := func(n int) {
		t.Helper()
		for limit := time.After(10 * time.Second); ; {
			select {
			case got := <-told:
				if got == n {
					return
				}
			case <-limit:
				t.Fatalf("nobody told of %d events", n)
			}
		}
	}
	want(1)
	for i, id := range []string{"a", "b"} {
		if err := (Event{ID: id}).write(dir); err != nil {
			t.Fatal(err)
		}
		want(i + 2)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("after the end: %v", err)
	}
}

func TestWatchSaysWhereItCannot(t *testing.T) {
	if err := Watch(t.Context(), "/proc/nothing/events", func() { t.Error("told of events that cannot be") }); err == nil {
		t.Error("a directory that cannot be was watched")
	}
}
