//go:build !crashtest

package journal

// CrashPoint does nothing in this build.
func CrashPoint(Point) {}

// CrashPointAfter does nothing in this build, and does not call first.
func CrashPointAfter(Point, func()) {}

// firstLimit is the size in bytes from which a journal is compacted.
func firstLimit() int64 { return compactAt }
