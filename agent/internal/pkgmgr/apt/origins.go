package apt

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"assent/wire"
)

// originsFile remembers in the state directory the newest Date of each source that this device ever accepted.
// apt itself forgets it with its lists, and then takes an old, validly signed state for new.
const originsFile = "apt-origins.json"

// maxFuture is how far ahead of this device's clock a Date may be and still be remembered: one from the far
// future would make every honest one look rolled back.
const maxFuture = 24 * time.Hour

// originHealth says how fresh each source is, in their order, and when that answer changes by itself.
func (a *Apt) originHealth(t *tree, l *lists, now time.Time) (out []wire.OriginHealth, stale time.Time) {
	highest, err := a.readHighest()
	if err != nil {
		l.find("state_unreadable", []string{err.Error()})
	}
	changed := false
	for _, r := range l.releases {
		h := wire.OriginHealth{Site: cleanText([]byte(r.site()), maxField), Suite: r.suite, Label: r.label, Origin: r.origin,
			Date: r.date, ExpiresAt: r.validUntil}
		if h.Suite == "" {
			h.Suite = cleanText([]byte(r.dist), maxField)
		}
		if r.date.After(highest[r.file]) && !r.date.After(now.Add(maxFuture)) {
			highest[r.file] = r.date
			changed = true
		}
		h.Highest = highest[r.file]
		h.Problem, h.Detail = r.problem(h.Highest, now)
		if r.validUntil.After(now) && (stale.IsZero() || r.validUntil.Before(stale)) {
			stale = r.validUntil
		}
		out = append(out, h)
	}
	if changed {
		if err := a.writeHighest(highest); err != nil {
			a.cfg.Log.Warn("cannot remember how new the package sources are", "err", err)
		}
	}
	return out, stale
}

// withoutFeeds leaves out the health of the repositories of feeds: what counts is the feed's own.
func (l *lists) withoutFeeds(origins []wire.OriginHealth) []wire.OriginHealth {
	out := make([]wire.OriginHealth, 0, len(origins))
	for i, h := range origins {
		if l.releases[i].feed == "" {
			out = append(out, h)
		}
	}
	return out
}

// problem classifies the state of a source (wire.OriginHealth.Problem) from what lies on the device.
func (r *release) problem(highest, now time.Time) (problem, detail string) {
	switch {
	case !r.present:
		return "unreachable", "no release file of this source is on the device; it was never fetched"
	case r.date.Before(highest):
		return "rolled_back", fmt.Sprintf("its date is %s, but %s was accepted here before", r.date.Format(time.RFC3339), highest.Format(time.RFC3339))
	case !r.validUntil.IsZero() && now.After(r.validUntil):
		return "expired", "it was valid until " + r.validUntil.Format(time.RFC3339)
	}
	return "", ""
}

func (a *Apt) readHighest() (map[string]time.Time, error) {
	highest := map[string]time.Time{}
	if a.cfg.StateDir == "" {
		return highest, nil
	}
	data, err := os.ReadFile(filepath.Join(a.cfg.StateDir, originsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return highest, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &highest)
	}
	if err != nil {
		return map[string]time.Time{}, fmt.Errorf("%s: %w", originsFile, err)
	}
	return highest, nil
}

// writeHighest replaces the file as a whole: a power cut leaves the old one or the new one.
func (a *Apt) writeHighest(highest map[string]time.Time) error {
	if a.cfg.StateDir == "" {
		return nil
	}
	if err := os.MkdirAll(a.cfg.StateDir, 0o700); err != nil {
		return err
	}
	data, err := json.MarshalIndent(highest, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(a.cfg.StateDir, originsFile+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed, as it should
	_, err = f.Write(append(data, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(a.cfg.StateDir, originsFile))
}
