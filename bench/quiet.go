package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	quietLimit  = 20 * time.Second
	quietSample = 400 * time.Millisecond
	// quietShare is how idle all cores together must be.
	quietShare = 0.8
)

// quiet waits until the machine has next to nothing to do, so that a wall time is that of what is measured. On a
// machine that never is quiet it gives up after a while and says so: the figures are then worth less.
func (b *bench) quiet(ctx context.Context) error {
	for limit := time.Now().Add(quietLimit); time.Now().Before(limit); {
		idle, all, err := cpuTicks()
		if err != nil {
			return err
		}
		if err := sleep(ctx, quietSample); err != nil {
			return err
		}
		idleNow, allNow, err := cpuTicks()
		if err != nil {
			return err
		}
		if float64(idleNow-idle) >= quietShare*float64(allNow-all) {
			return nil
		}
	}
	b.busy++
	b.sayf("  the machine is busy with other things: this measurement is disturbed")
	return nil
}

// cpuTicks reads how long all cores were idle, and how long they were at all.
func cpuTicks() (idle, all int, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, fmt.Errorf("read how busy the machine is: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(line)[1:] {
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, 0, fmt.Errorf("read how busy the machine is: %w", err)
		}
		if i == 3 || i == 4 { // idle and waiting for disks
			idle += n
		}
		if i < 8 { // guests are in user time already
			all += n
		}
	}
	return idle, all, nil
}
