package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"assent/server/internal/gateway"
	"assent/server/internal/store"
)

// Config is everything that can be set, in the file and by flags; flags win. The zero value of every
// field is usable.
type Config struct {
	Data        string    `json:"data"`         // directory of keys and the embedded database; /var/lib/assent by default
	Listen      string    `json:"listen"`       // API and console; 127.0.0.1:8480 by default. Plain HTTP on loopback, else TLS with a certificate of Assent's own CA
	AgentListen string    `json:"agent_listen"` // devices; :8443 by default
	ServerNames []string  `json:"server_names"` // host names and IP addresses by which devices and people reach the server; by default those the machine has
	PublicURL   string    `json:"public_url"`   // where browsers reach the console, such as https://assent.example.org; by default the first server name and the port of listen. Passkeys are bound to its host
	LogLevel    string    `json:"log_level"`    // debug, info (the default), warn, error
	Database    Database  `json:"database"`
	Content     Content   `json:"content"`
	Pprof       bool      `json:"pprof"`     // profiles under /debug/pprof, only with the API on loopback
	PlanDays    int       `json:"plan_days"` // how long devices may act without the server (V5); 7 by default
	Retention   Retention `json:"retention"`
	Tracing     Tracing   `json:"tracing"`

	Version string       `json:"-"` // of this build
	Log     *slog.Logger `json:"-"` // nil: JSON lines on standard error
	Out     io.Writer    `json:"-"` // where the first sign-in is printed; nil: nowhere
	// Ready is called when both listeners accept; tests wait for it. It may be nil.
	Ready func(api, agents net.Addr) `json:"-"`

	// The zero values are right but in tests.
	limits      gateway.Limits // of devices
	patience    time.Duration  // of one transaction
	wait        time.Duration  // for a database that is away at the start
	keepReports time.Duration  // instead of days
	pruneEvery  time.Duration  // between two looks for what is too old
}

// Tracing says where traces go (OpenTelemetry); off unless an endpoint is named, here or in OTEL_EXPORTER_OTLP_ENDPOINT.
type Tracing struct {
	Endpoint string  `json:"endpoint"` // URL of an OTLP/HTTP receiver, such as http://127.0.0.1:4318
	Sample   float64 `json:"sample"`   // share of traces that are sent, above 0 up to 1; all by default
}

// Retention says for how many days the server keeps what is no decision. The ledger is kept for ever.
type Retention struct {
	ReportsDays   int `json:"reports_days"`   // reports and events of devices; 400 by default, at least 30: a device that was away must not report anew
	TrendsDays    int `json:"trends_days"`    // samples of the trends, one for each group and day; 732 by default
	MessagesDays  int `json:"messages_days"`  // messages to channels that were done with; 30 by default
	DocumentsDays int `json:"documents_days"` // inventories and available sets that no device has any more; 7 by default
}

// leastReports is the shortest time in days that reports may be kept.
const leastReports = 30

// normal fills in the defaults.
func (r Retention) normal() (Retention, error) {
	for _, f := range []struct {
		days *int
		def  int
	}{{&r.ReportsDays, 400}, {&r.TrendsDays, 732}, {&r.MessagesDays, 30}, {&r.DocumentsDays, 7}} {
		if *f.days < 0 {
			return r, fmt.Errorf("retention: %d days are none; leave it out for %d", *f.days, f.def)
		}
		if *f.days == 0 {
			*f.days = f.def
		}
	}
	if r.ReportsDays < leastReports {
		return r, fmt.Errorf("retention.reports_days is %d: a device that is away for longer would report anew what is forgotten here; keep at least %d days", r.ReportsDays, leastReports)
	}
	return r, nil
}

// days is a number of days as a duration.
func days(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }

// Database says where decisions and facts are kept. Without a URL it is SQLite in the data directory.
type Database struct {
	Path    string `json:"path"`     // of the SQLite file; assent.db in the data directory by default
	URLFile string `json:"url_file"` // file that holds a postgres:// URL: a secret, so never in this file or in a flag
}

// Content says where the files of feeds are kept. By default they are in the data directory.
type Content struct {
	Kind string `json:"kind"` // "dir", the default, or "s3"
	S3   Bucket `json:"s3"`   // of kind s3; it may stand here while the kind is dir, to copy files
}

// Bucket is a bucket of S3-compatible storage, which several servers may share.
type Bucket struct {
	Endpoint        string `json:"endpoint"`         // such as https://s3.eu-central-1.amazonaws.com
	Bucket          string `json:"bucket"`           // its name; it must exist
	Prefix          string `json:"prefix"`           // of all names in it; each installation needs its own
	Region          string `json:"region"`           // asked of the storage by default
	Addressing      string `json:"addressing"`       // "path" or "host"; by default what the endpoint is known for, and path elsewhere
	CAFile          string `json:"ca_file"`          // PEM certificates that the storage is trusted by, besides the system's
	CredentialsFile string `json:"credentials_file"` // keys in the format of AWS's shared credentials file; else AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
	Profile         string `json:"profile"`          // in that file; "default" by default
	InstanceRole    bool   `json:"instance_role"`    // the keys come from the machine's or the container's platform
}

// databaseURL is the variable that may hold the postgres:// URL instead of a file.
const databaseURL = "ASSENT_DATABASE_URL"

// maxConfig bounds the configuration file, in bytes.
const maxConfig = 1 << 20

// Load reads the file, strictly: an unknown key or anything after the one JSON object is an error, so a
// slip never changes what the server does without a word.
func Load(path string) (Config, error) {
	var c Config
	f, err := os.Open(path)
	if err != nil {
		return c, fmt.Errorf("read the configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil || len(data) > maxConfig {
		return c, errors.Join(fmt.Errorf("read the configuration %s: it cannot be read or is larger than %d bytes", path, maxConfig), err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return c, fmt.Errorf("read the configuration %s: %w", path, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return c, fmt.Errorf("read the configuration %s: something follows the JSON object", path)
	}
	return c, nil
}

// normal fills in the defaults.
func (c Config) normal() (Config, error) {
	or := func(v *string, def string) {
		if *v == "" {
			*v = def
		}
	}
	or(&c.Data, "/var/lib/assent")
	or(&c.Listen, "127.0.0.1:8480")
	or(&c.AgentListen, ":8443")
	or(&c.Version, "dev")
	if c.PlanDays <= 0 {
		c.PlanDays = 7
	}
	if or(&c.Content.Kind, contentInDir); c.Content.Kind != contentInDir && c.Content.Kind != contentInS3 {
		return c, fmt.Errorf("content.kind is %q; files are kept in %q or %q", c.Content.Kind, contentInDir, contentInS3)
	}
	if len(c.ServerNames) == 0 {
		c.ServerNames = ownNames()
	}
	var err error
	if c.Retention, err = c.Retention.normal(); err != nil {
		return c, err
	}
	if c.Log == nil {
		level, err := Level(c.LogLevel)
		if err != nil {
			return c, err
		}
		c.Log = slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	}
	if c.Out == nil {
		c.Out = io.Discard
	}
	if c.Pprof && !loopback(c.Listen) {
		return c, fmt.Errorf("profiles are served on loopback only, but the API listens on %s", c.Listen)
	}
	return c, nil
}

// Level reads the name of a log level; empty means info.
func Level(name string) (slog.Level, error) {
	var l slog.Level
	if name == "" {
		return slog.LevelInfo, nil
	}
	if err := l.UnmarshalText([]byte(name)); err != nil {
		return l, fmt.Errorf("the log level %q is not one of debug, info, warn, error", name)
	}
	return l, nil
}

// loopback reports whether an address can be reached from this machine only.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// ownNames are the names under which a server can be reached that was told none.
func ownNames() []string {
	var names []string
	if h, err := os.Hostname(); err == nil && h != "" {
		names = append(names, h)
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return append(names, "localhost")
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			names = append(names, n.IP.String())
		}
	}
	return append(names, "localhost", "127.0.0.1", "::1")
}

// agentURL is where devices find the server: the first name with the agent listener's port.
func (c Config) agentURL(port string) string {
	return "https://" + net.JoinHostPort(c.ServerNames[0], port)
}

// database is the store's configuration. The URL is read from the environment or a file and is never logged.
func (c Config) database() (store.Config, error) {
	url := os.Getenv(databaseURL)
	if c.Database.URLFile != "" {
		b, err := os.ReadFile(c.Database.URLFile)
		if err != nil {
			return store.Config{}, fmt.Errorf("read the database's address: %w", err)
		}
		url = string(b)
	}
	if url = strings.TrimSpace(url); url != "" {
		return store.Config{Engine: store.Postgres, DSN: url, Log: c.Log}, nil
	}
	return store.Config{Engine: store.SQLite, DSN: c.sqlitePath(), Log: c.Log, Now: time.Now}, nil
}

func (c Config) sqlitePath() string {
	if c.Database.Path != "" {
		return c.Database.Path
	}
	return c.Data + "/assent.db"
}
