package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"assent/fault"
)

// config is what `assent login` leaves for the next command.
type config struct {
	Server string `json:"server"`
	Token  string `json:"token,omitempty"`
	CA     string `json:"ca,omitempty"`
	Ledger string `json:"ledger,omitempty"` // the ledger's verifier key as the server gave it at the first sign-in
}

// defaultServer is where assentd listens unless told otherwise.
const defaultServer = "http://127.0.0.1:8480"

// settings merges flags, environment and file. The file's token is only for the file's server: pointing
// --server elsewhere must not hand it over.
func (a *app) settings() (config, error) {
	file, err := a.load()
	if err != nil {
		return config{}, err
	}
	c := config{Server: first(a.server, a.Getenv("ASSENT_SERVER"), file.Server, defaultServer), CA: first(a.ca, a.Getenv("ASSENT_CA")), Token: a.Getenv("ASSENT_TOKEN")}
	if strings.TrimRight(c.Server, "/") == strings.TrimRight(file.Server, "/") {
		c.CA, c.Token, c.Ledger = first(c.CA, file.CA), first(c.Token, file.Token), file.Ledger
	}
	return c, nil
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

var errNoHome = fault.New(fault.Invalid, "no_home", "Neither XDG_CONFIG_HOME nor HOME is set; set one, or use ASSENT_SERVER and ASSENT_TOKEN.")

// path is where the configuration lies; empty when there is no place for it.
func (a *app) path() string {
	if dir := a.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "assent", "config.json")
	}
	if home := a.Getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".config", "assent", "config.json")
	}
	return ""
}

// load reads the configuration; without a file it is empty.
func (a *app) load() (config, error) {
	path := a.path()
	if path == "" {
		return config{}, nil // flags and environment may do
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return config{}, nil
	}
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		return config{}, fault.New(fault.Invalid, "config_open", "Others may read your token in %s; run `chmod 600 %s`, and sign in again if they may have.", path, path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return config{}, fault.New(fault.Invalid, "config_unreadable", "The configuration %s cannot be read: %v.", path, err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var c config
	if err := dec.Decode(&c); err != nil || dec.More() {
		return config{}, fault.New(fault.Invalid, "config_broken", "The configuration %s cannot be understood; delete it and sign in again.", path)
	}
	return c, nil
}

// save writes the configuration so that nobody else can read it and a crash leaves the old or the new one.
func (a *app) save(c config) (string, error) {
	path := a.path()
	if path == "" {
		return "", errNoHome
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the directory of the configuration: %w", err)
	}
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return "", fmt.Errorf("encode the configuration: %w", err)
	}
	f, err := os.CreateTemp(dir, ".config-*") // with mode 0600
	if err != nil {
		return "", fmt.Errorf("write the configuration: %w", err)
	}
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return "", fmt.Errorf("write the configuration: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return path, nil
}
