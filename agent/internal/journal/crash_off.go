//go:build !crashtest

package journal

// CrashPoint does nothing in this build.
func CrashPoint(Point) {}

// torn is never asked to tear a record in this build.
func torn() bool { return false }
