package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"syscall"
	"time"

	"assent/fault"
)

// DefaultConfig is where the agent's settings are. No file means: all defaults.
const DefaultConfig = "/etc/assent-agent/config.json"

const maxConfig = 64 << 10

// Config is the agent's settings file. Every field has a usable zero value; an unknown field is an error.
type Config struct {
	Server     string     `json:"server"`      // instead of the address the device was enrolled with
	ServerName string     `json:"server_name"` // expected in the server's certificate instead of the host
	Refresh    Duration   `json:"refresh"`     // between refreshes of the package lists: "4h" by default
	Scan       Duration   `json:"scan"`        // between cheap rescans: "1m" by default
	Quiet      Duration   `json:"quiet"`       // after boot, before the first refresh: "1m" by default
	Probation  Duration   `json:"probation"`   // within which a new version of the agent must have reached the server: "3m" by default
	LogLevel   slog.Level `json:"log_level"`   // "INFO" by default
	Feeds      FeedPolicy `json:"feeds"`       // which feeds the device follows: "signed" by default
}

// FeedPolicy says which feeds a device follows.
type FeedPolicy string

// The policies.
const (
	SignedFeeds    FeedPolicy = "signed"    // all that a signed plan names
	EnrolmentFeeds FeedPolicy = "enrolment" // only those whose root came with the enrolment
)

// UnmarshalText reads a policy. An unknown one is an error: the device would else trust more than was meant.
func (p *FeedPolicy) UnmarshalText(text []byte) error {
	switch v := FeedPolicy(text); v {
	case SignedFeeds, EnrolmentFeeds:
		*p = v
		return nil
	}
	return fmt.Errorf("%q is neither %q nor %q", text, SignedFeeds, EnrolmentFeeds)
}

// Duration is a time.Duration that is written as "4h" or "90s".
type Duration time.Duration

// UnmarshalText reads a duration, which must not be negative.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is no duration such as \"4h\"", text)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes a duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// ReadConfig reads the settings. A file that others than the agent's user can change, or that is a link, is refused:
// whoever can change it decides which server root obeys.
func ReadConfig(path string) (Config, error) {
	var c Config
	refuse := func(format string, args ...any) (Config, error) {
		return Config{}, fault.New(fault.Invalid, "config", "%s: %s", path, fmt.Sprintf(format, args...))
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if errors.Is(err, syscall.ELOOP) {
		return refuse("is a symbolic link; put the file itself there")
	}
	if err != nil {
		return c, fmt.Errorf("read settings: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return c, fmt.Errorf("read settings: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular():
		return refuse("is not a file")
	case info.Mode().Perm()&0o022 != 0:
		return refuse("can be changed by group or others (%v); run `chmod 644` on it", info.Mode().Perm())
	case !ok || int(st.Uid) != os.Geteuid() && st.Uid != 0:
		return refuse("belongs to another user")
	case info.Size() > maxConfig:
		return refuse("is longer than %d bytes", maxConfig)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxConfig))
	if err != nil {
		return c, fmt.Errorf("read settings: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return refuse("%v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return refuse("there is something after the end of the settings")
	}
	return c, nil
}
