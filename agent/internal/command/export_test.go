package command

import "time"

// WithTools makes a Runner that knows other programs, for this package's tests only.
func WithTools(self string, tools map[Tool]string, grace time.Duration) *Runner {
	return &Runner{paths: tools, self: self, grace: grace}
}

// RunDetachedWith is RunDetached with other programs.
func RunDetachedWith(dir string, tools map[Tool]string) error {
	return (&Runner{paths: tools}).runDetached(dir)
}
