package command

import (
	"context"
	"syscall"
)

const (
	niceness    = 19
	ioProcess   = 1       // IOPRIO_WHO_PROCESS
	ioIdleClass = 3 << 13 // IOPRIO_CLASS_IDLE
)

// gentle marks a context.
type gentle struct{}

// Gently has what Run starts with a context give way to everything else on the device: the processor and the disk are had when
// nobody else wants them.
func Gently(ctx context.Context) context.Context {
	return context.WithValue(ctx, gentle{}, true)
}

// yieldTo lowers the priority of a child that was just started, and so of whatever it starts. Where that is not possible, it
// runs like any other.
func yieldTo(ctx context.Context, pid int) {
	if on, _ := ctx.Value(gentle{}).(bool); !on {
		return
	}
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, pid, niceness)
	_, _, _ = syscall.Syscall(syscall.SYS_IOPRIO_SET, ioProcess, uintptr(pid), ioIdleClass)
}
