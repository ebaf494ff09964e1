package server

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"assent/catalog"
	"assent/client"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/store"
)

// figuresLast is how long a count of the whole fleet serves: a scraper asks more often than it changes much.
const figuresLast = 30 * time.Second

// operations are the figures that tell an operator whether the server and the fleet are well, read when they are scraped.
// They are read from memory and files: a database that does not answer does not take them along.
type operations struct {
	status  func(context.Context, auth.Actor) (client.Status, error)
	trouble func() string // of the database; empty when all is well
	space   *space        // of the database
	ca      []byte        // DER
	backups string        // the file that says when the last backup was made
	log     *slog.Logger

	mu   sync.Mutex
	last client.Status
	at   time.Time

	up, bytes, free, backup, expires, attention, undecided, blocked *prometheus.Desc
}

func newOperations(o *operations) *operations {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("assent_"+name, help, labels, nil)
	}
	o.up = desc("database_up", "1 while the database does its work, 0 since it refused to.")
	o.bytes = desc("database_bytes", "Size of the database, as it was measured last.")
	o.free = desc("database_free_bytes", "Bytes of the database that are used again before it grows; not known of PostgreSQL.")
	o.backup = desc("backup_timestamp_seconds", "When `assentd backup` succeeded last on this server; 0: never.")
	o.expires = desc("certificate_expires_timestamp_seconds", "When a certificate of the server's own ends.", "certificate")
	o.attention = desc("devices_attention", "Devices that somebody should look at, by why: silent for long, quarantined, waiting for a restart, with old package lists.", "why")
	o.undecided = desc("undecided_updates", "Updates that some device needs and nobody decided on, by severity.", "severity")
	o.blocked = desc("blocked_updates", "Updates on devices that are blocked, by cause.", "cause")
	return o
}

// Describe names the figures.
func (o *operations) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{o.up, o.bytes, o.free, o.backup, o.expires, o.attention, o.undecided, o.blocked} {
		ch <- d
	}
}

// Collect reads them.
func (o *operations) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	up := 1.0
	if o.trouble() != "" {
		up = 0
	}
	gauge(o.up, up)
	gauge(o.bytes, float64(o.space.taken.Load()))
	gauge(o.free, float64(o.space.free.Load()))
	gauge(o.backup, float64(lastBackup(o.backups, o.log)))
	if cert, err := x509.ParseCertificate(o.ca); err == nil { // it has been read at the start
		gauge(o.expires, float64(cert.NotAfter.Unix()), "ca")
	}
	s := o.figures()
	for _, why := range []string{"silent", "quarantined", "restart", "stale"} {
		gauge(o.attention, float64(s.Devices[why]), why)
	}
	for _, severity := range []catalog.Severity{catalog.Critical, catalog.High, catalog.Medium, catalog.Low, catalog.Unrated} {
		gauge(o.undecided, float64(s.Undecided[string(severity)]), string(severity))
	}
	blocked := map[string]int{string(installation.NoSpace): 0} // one from the start: the figure is always there
	maps.Copy(blocked, s.Blocked)
	for cause, n := range blocked {
		gauge(o.blocked, float64(n), cause)
	}
}

// figures counts the whole fleet, or returns the last count.
func (o *operations) figures() client.Status {
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Since(o.at) < figuresLast {
		return o.last
	}
	s, err := o.status(context.Background(), auth.Actor{Name: "server", Role: ledger.Viewer, Scope: fleet.Root})
	if err != nil {
		o.log.Warn("the fleet's figures could not be counted", "err", err)
		return o.last
	}
	o.last, o.at = s, time.Now()
	return s
}

// backupStamp is the file in the data directory that says when the last backup was made.
const backupStamp = "last-backup.json"

// stamp is what it holds.
type stamp struct {
	Made time.Time `json:"made"`
}

// noteBackup writes down that a backup was made. A backup is one without it, too.
func noteBackup(data string, made time.Time) error {
	b, err := json.Marshal(stamp{made})
	if err != nil {
		return err
	}
	to := filepath.Join(data, backupStamp)
	if err := os.WriteFile(to+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}

// lastBackup is when the last backup was made, as Unix time; 0: never.
func lastBackup(file string, log *slog.Logger) int64 {
	var s stamp
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			log.Warn("the time of the last backup cannot be read", "err", err)
		}
		return 0
	}
	return s.Made.Unix()
}

// observeStore measures the database's transactions.
func (r *running) observeStore(conf *store.Config) {
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "assent_database_seconds",
		Help: "Time of the database's transactions, by whether they wrote.", Buckets: prometheus.ExponentialBuckets(0.0002, 4, 10)}, []string{"kind"})
	r.pruned = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "assent_pruned_total", Help: "Rows that were forgotten because they were too old, by what they were."}, []string{"what"})
	r.pruned.WithLabelValues("reports") // from the start, so that it reads 0 and not nothing
	r.pruned.WithLabelValues("documents")
	r.plans = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "assent_plan_seconds", Help: "Time to compute a plan.", Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9)})
	r.turn = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "assent_job_turn", Help: "1 while this server is the one of all that does this recurring work."}, []string{"work"})
	r.collect = append(r.collect, seconds, r.pruned, r.plans, r.turn)
	reads, writes := seconds.WithLabelValues("read"), seconds.WithLabelValues("write")
	conf.Observe = func(write bool, took time.Duration) {
		if write {
			writes.Observe(took.Seconds())
		} else {
			reads.Observe(took.Seconds())
		}
	}
}

// showTurn shows while a recurring work is this server's turn.
func (r *running) showTurn(name string, work func(context.Context) error) func(context.Context) error {
	turn := r.turn.WithLabelValues(name)
	return func(ctx context.Context) error {
		turn.Set(1)
		defer turn.Set(0)
		return work(ctx)
	}
}
