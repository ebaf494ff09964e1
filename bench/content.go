package main

import (
	"context"
	"fmt"
)

// downloads measures P15: how fast a device loads a file of a feed from the server, which keeps it in a directory or in a
// bucket. It has no target; the baseline says what TLS and net/http cost by themselves.
func downloads(ctx context.Context, b *bench) ([]Row, error) {
	samples, err := b.goBench(ctx, "./server/internal/gateway", "BenchmarkP15", "8x", b.rounds)
	if err != nil {
		return nil, err
	}
	var rows []Row
	for _, place := range []struct{ kind, id, what, note string }{
		{"dir", "P15", "one device loads 64 MiB of a feed over mutual TLS, kept in a directory", "the device is in the same process"},
		{"s3", "P15b", "the same, kept in a bucket", "the same; the S3 server (versitygw, over a directory) has a process of its own on the same cores"},
	} {
		m, err := middle(samples, place.kind+"-ratio")
		if err != nil {
			return rows, err
		}
		rows = append(rows, Row{ID: place.id, What: place.what, Value: m[place.kind+"-MB/s"], Unit: "MB/s", Baseline: m["bare-MB/s"], Paired: m[place.kind+"-ratio"],
			Against: "bare net/http file server with the same TLS", Note: fmt.Sprintf("%s; median of %d runs of 8 turns", place.note, len(samples))})
	}
	return rows, nil
}
