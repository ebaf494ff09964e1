package tasks_test

import (
	"testing"

	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/server/internal/index/indextest"
	"assent/server/internal/tasks"
)

// BenchmarkPreview is what a task would mean on ten thousand devices of a hundred kinds.
func BenchmarkPreview(b *testing.B) {
	x, err := index.Open(b.Context(), indextest.NewBig(indextest.Size{Devices: 10_000, Updates: 2_000, Each: 50, Packages: 400, Kinds: 100}), index.Config{})
	if err != nil {
		b.Fatal(err)
	}
	s, err := tasks.New(tasks.Config{Index: x})
	if err != nil {
		b.Fatal(err)
	}
	ada := auth.Actor{Name: "ada", Role: ledger.Administrator, Scope: fleet.Root}
	r := job("big", fleet.Root, nightly)
	r.Task.Rules[0].Admits, r.Task.Rules[0].Criteria = "approved_or_undefined", "security"
	for b.Loop() {
		p, err := s.Preview(b.Context(), ada, r)
		if err != nil || p.Computed != 10_000 {
			b.Fatalf("%+v %v", p.Sentence, err)
		}
	}
}

// BenchmarkList is the list of tasks over the same devices.
func BenchmarkList(b *testing.B) {
	x, err := index.Open(b.Context(), indextest.NewBig(indextest.Size{Devices: 10_000, Updates: 100, Each: 10, Packages: 20, Kinds: 10}), index.Config{})
	if err != nil {
		b.Fatal(err)
	}
	s, err := tasks.New(tasks.Config{Index: x})
	if err != nil {
		b.Fatal(err)
	}
	ada := auth.Actor{Name: "ada", Role: ledger.Administrator, Scope: fleet.Root}
	for _, id := range []string{"a", "b", "c"} {
		if _, err := s.Put(b.Context(), ada, job(id, fleet.Root, nightly)); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := s.Tasks(b.Context(), ada); err != nil {
			b.Fatal(err)
		}
	}
}
