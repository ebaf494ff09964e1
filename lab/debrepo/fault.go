package debrepo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// FaultKind says how a server misbehaves.
type FaultKind string

// The misbehaviours.
const (
	Hang   FaultKind = "hang"   // accepts the request and never answers
	Slow   FaultKind = "slow"   // Rate bytes per second
	Status FaultKind = "status" // answers with Code and nothing else
	Cut    FaultKind = "cut"    // breaks the connection after half of the body
)

// Fault is a misbehaviour of the server for the paths that contain Match; an empty Match is every path.
type Fault struct {
	Match string
	Kind  FaultKind
	Rate  int `json:",omitempty"` // bytes per second for Slow; zero means one
	Code  int `json:",omitempty"` // for Status
}

// SetFaults replaces the faults of every server of the repository, in whichever process it runs, from the next
// request on. Without arguments the servers behave again; requests that hang already are not released.
func (r *Repo) SetFaults(faults ...Fault) error {
	for _, f := range faults {
		if err := f.check(); err != nil {
			return err
		}
	}
	text, err := json.Marshal(faults)
	if err != nil {
		return fmt.Errorf("encode faults: %w", err)
	}
	if err := writeFile(r.private("faults.json"), text, 0o600); err != nil {
		return fmt.Errorf("set faults: %w", err)
	}
	return nil
}

func (f Fault) check() error {
	switch f.Kind {
	case Hang, Slow, Cut:
		return nil
	case Status:
		if f.Code < 200 || f.Code > 599 {
			return fmt.Errorf("fault on %q: status code %d", f.Match, f.Code)
		}
		return nil
	}
	return fmt.Errorf("fault on %q: unknown kind %q", f.Match, f.Kind)
}

// faultFor finds the first fault for a request path.
func (r *Repo) faultFor(name string) (Fault, bool, error) {
	text, err := os.ReadFile(r.private("faults.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return Fault{}, false, nil
	}
	if err != nil {
		return Fault{}, false, fmt.Errorf("read faults: %w", err)
	}
	var faults []Fault
	if err := json.Unmarshal(text, &faults); err != nil {
		return Fault{}, false, fmt.Errorf("read faults: %w", err)
	}
	for _, f := range faults {
		if strings.Contains(name, f.Match) {
			return f, true, nil
		}
	}
	return Fault{}, false, nil
}

// TamperPackages changes the package indexes of a suite behind its signature, until its next Publish. A device
// that already has the current release fetches no index; publish a new state first.
func (r *Repo) TamperPackages(suite string) error {
	return r.tamper(r.public(path.Join("dists", suite, "main")), func(name string) bool {
		return strings.HasPrefix(filepath.Base(name), "Packages") || strings.Contains(name, "by-hash")
	})
}

// TamperDeb flips one byte at the end of a published package, keeping its size, until its next Publish.
func (r *Repo) TamperDeb(name, version string) error {
	file, err := r.Pool(name, version)
	if err != nil {
		return err
	}
	return r.tamper(r.public(file), func(string) bool { return true })
}

// RemoveDeb removes a published package from the pool and leaves it in the indexes, until its next Publish.
func (r *Repo) RemoveDeb(name, version string) error {
	file, err := r.Pool(name, version)
	if err != nil {
		return err
	}
	return r.locked(func() error { return change{repo: r}.remove(file) })
}

func (r *Repo) tamper(root string, match func(string) bool) error {
	err := r.locked(func() error {
		when, err := r.tick()
		if err != nil {
			return err
		}
		c := change{r, when}
		return filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !match(name) {
				return err
			}
			return c.flipLastByte(name)
		})
	})
	if err != nil {
		return fmt.Errorf("tamper with %s: %w", r.name, err)
	}
	return nil
}

func (c change) flipLastByte(full string) error {
	data, err := os.ReadFile(full)
	if err != nil || len(data) == 0 {
		return err
	}
	data[len(data)-1] ^= 0x55
	name, err := filepath.Rel(c.repo.public(""), full)
	if err != nil {
		return err
	}
	return c.write(name, data)
}
