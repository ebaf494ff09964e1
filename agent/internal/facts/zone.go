package facts

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// utc is the name of the zone that a device without any setting is on.
const utc = "UTC"

// timeZone is the IANA name of the zone that the device is on, empty when it is not known. It follows the C library: the
// file /etc/localtime is the zone, and without it the clock is UTC's, whatever else is written elsewhere. The link's target is the
// name; a copy has none, so it is /etc/timezone's if that zone is what was copied, or UTC if it never is anything else.
func timeZone(root string) string {
	name := filepath.Join(root, "etc/localtime")
	info, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return utc
	case err != nil:
		return ""
	case info.Mode().Type() == fs.ModeSymlink:
		target, err := os.Readlink(name)
		if err != nil {
			return ""
		}
		if zone := zoneOf(target); zone != "" {
			return zone
		}
	}
	return copied(root, read(root, "etc/localtime"))
}

// zoneOf is the name of the zone that a file of the database is for. The database has a second copy of each below posix.
func zoneOf(target string) string {
	_, name, ok := strings.Cut(target, "zoneinfo/")
	if !ok {
		return ""
	}
	return Clean(strings.TrimPrefix(name, "posix/"))
}

// copied names a zone by its data.
func copied(root, data string) string {
	if name := first(root, "etc/timezone"); filepath.IsLocal(name) && data != "" && read(root, "usr/share/zoneinfo/"+name) == data {
		return name
	}
	loc, err := time.LoadLocationFromTZData(utc, []byte(data))
	if err != nil {
		return ""
	}
	for year := 1970; year < 2100; year += 5 {
		for _, month := range []time.Month{time.January, time.July} {
			if name, offset := time.Date(year, month, 1, 0, 0, 0, 0, loc).Zone(); name != utc || offset != 0 {
				return ""
			}
		}
	}
	return utc
}
